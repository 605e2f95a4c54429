"""A small executable that stands in for ncu: it plays a run that was recorded, and answers for its own reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiles.ncu.command_line import NsightCompute, parse_options

HELP = """
usage: ncu [options] [program] [program-arguments]
  --config-file arg (=on)      Use config.ncu-cfg config file to set parameters
  -o [ --export ] arg          Set the output file for writing the profile report.
  --check-exit-code arg (=yes) Check the application exit code
  --clock-control arg (=base)  Control the behavior of the GPU clocks during profiling. Allowed values:
  --pipeline-boost-state arg   Control the Tensor Core boost state.
"""
WHOLE, ABSENT, EMPTY, TRUNCATED = "whole", "absent", "empty", "truncated"


@dataclass(frozen=True, kw_only=True)
class Play:
    """How one run goes."""

    exit_code: int = 0
    log: str = '==PROF== Profiling "attention_fwd" - 0: 0%....50%....100% - 3 passes\n'
    output: str = ""  # of the workload and of ncu, on standard output
    report: str = WHOLE
    extra_launches: int = 0  # beside those asked for
    unavailable: tuple[str, ...] = ()  # metrics whose value is n/a
    crash: bool = False  # ends by a signal
    hangs: bool = False  # never ends, and neither does its child


class FakeNcu:
    """The executable in a folder.

    Args:
        folder: receives it and what it notes.
        plays: by the collection's name, "*" for all others.
        version: what ``--version`` answers.
        help_text: what ``--help`` answers.
    """

    def __init__(
        self, folder: Path, plays: Mapping[str, Play], version: str = "2025.3.1.0", help_text: str = HELP
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ncu"
        self._calls = folder / "calls.jsonl"
        self.child = folder / "child.pid"
        scenario = {
            "version": f"NVIDIA (R) Nsight Compute Command Line Profiler\nVersion {version} (build 1) (public-release)",
            "help": help_text,
            "plays": {name: asdict(play) for name, play in plays.items()},
            "calls": str(self._calls),
            "child": str(self.child),
        }
        (folder / "scenario.json").write_text(json.dumps(scenario))
        self.path.write_text(f"#!{sys.executable} -S\nFOLDER = {str(folder)!r}\n{_PROGRAM}")
        self.path.chmod(0o755)

    @property
    def installed(self) -> NsightCompute:
        """As the project sees it."""
        return NsightCompute(path=str(self.path), version=(2025, 3, 1), options=parse_options(HELP))

    @property
    def captures(self) -> list[dict[str, Any]]:
        """The capturing runs so far: ``{"name": of the collection, "argv": [...], "environment": {...}}``."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def names(self) -> list[str]:
        """The collections that were run, in order."""
        return [call["name"] for call in self.captures]


_PROGRAM = r"""
import json, os, pathlib, signal, subprocess, sys, time

scenario = json.loads(pathlib.Path(FOLDER, "scenario.json").read_text())
arguments = sys.argv[1:]


def after(option):
    return arguments[arguments.index(option) + 1] if option in arguments else None


def quoted(fields):
    return ",".join('"' + str(field).replace('"', '""') + '"' for field in fields)


def print_report(path):
    try:
        report = json.loads(pathlib.Path(path).read_text())
    except FileNotFoundError:
        sys.exit(f"==ERROR== Could not open report file '{path}'.")
    except ValueError:
        print(f"==ERROR== Failed to load report file '{path}'.")
        sys.exit(1)
    metrics = sorted(report["metrics"])
    names = ["ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size",
             "Grid Size", "Device", "CC"]
    print(quoted([*names, *metrics]))
    print(quoted(["" for _ in names] + ["inst" for _ in metrics]))
    for number in range(report["launches"]):
        row = [number, 7, "python3.11", "127.0.0.1", "attention_fwd<bf16, 64, 0>(Params)", 1, 7, "(128, 1, 1)",
               "(8, 1, 1)", 0, "9.0"]
        values = ["n/a" if metric in report["unavailable"] else 1000 + len(metric) for metric in metrics]
        print(quoted([*row, *values]))


if arguments == ["--version"]:
    print(scenario["version"])
elif arguments == ["--help"]:
    print(scenario["help"])
elif "--import" in arguments:
    print_report(after("--import"))
else:
    report = pathlib.Path(after("--export"))
    name = report.name.removesuffix(".ncu-rep")
    with open(scenario["calls"], "a") as calls:
        calls.write(json.dumps({"name": name, "argv": sys.argv, "environment": dict(os.environ)}) + "\n")
    play = scenario["plays"].get(name) or scenario["plays"]["*"]
    pathlib.Path(after("--log-file")).write_text(play["log"])
    print(play["output"], end="", flush=True)
    asked = after("--metrics")
    content = json.dumps({
        "metrics": asked.split(",") if asked else ["gpu__time_duration.sum"],
        "launches": int(after("--launches")) + play["extra_launches"],
        "unavailable": play["unavailable"],
    })
    if play["report"] != "absent":
        report.write_text({"whole": content, "empty": "", "truncated": content[:9]}[play["report"]])
    if play["hangs"]:
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path(scenario["child"]).write_text(str(child.pid))
        time.sleep(600)
    if play["crash"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    sys.exit(play["exit_code"])
"""
