"""The methods that are asked for a verdict: ours, pytest-benchmark's comparison and asv's, each by its real program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kernels.errors import RoofgateError
from perf.detector.asv_project import AsvProject
from perf.detector.workloads import Workload
from perf.model import Verdict
from perf.paired import engine
from perf.paired.model import Plan, Side
from perf.paired.restarts import Subject, run_restart

# Wall seconds that a decision may take, for every method: the rivals measure for 2 s (pytest-benchmark) or twice 1 s
# (asv) on each side, and what their processes take to start comes on top.
DECISION_S = 5.0
_PYTEST_BENCHMARK_S = 2.0
PYTEST_BENCHMARK_RULES = ("min", "median", "mean")
PYTEST_BENCHMARK_THRESHOLD = "5%"
ASV_FACTOR = 1.05
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a trial needs besides its workload: a built library and the constants of this machine."""

    library: Path
    start_blocks: int
    scratch: Path  # what a method keeps between trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a method said. ``alarms`` is true where it would fail a build; a method may apply several rules at once."""

    alarms: Mapping[str, bool]
    wall_s: float
    measured_s: float | None = None
    verdict: str = ""  # ours alone
    change: float | None = None
    low: float | None = None
    high: float | None = None
    detail: Mapping[str, float] = field(default_factory=dict)


Method = Callable[[Workload, float, int, Setting], Decision]


def paired(workload: Workload, slowdown: float, seed: int, setting: Setting) -> Decision:
    """Our paired comparison with its default rules and DECISION_S to spend."""
    plan = Plan(seconds_per_case=DECISION_S, seed=seed)
    arguments = {"workload": workload.name, "slowdown": slowdown, "start_blocks": setting.start_blocks}
    libraries = dict.fromkeys(Side, setting.library)
    subject = Subject(name=workload.name, factory="perf.detector.workloads", arguments=arguments, libraries=libraries)
    origin = time.monotonic()
    known = engine.compare(
        [subject.name], plan, lambda _, stage, restart_seed: run_restart(subject, plan, stage, restart_seed, origin)
    )
    wall_s = time.monotonic() - origin
    finding = engine.findings(known, plan)[subject.name]
    if finding.interval is None:
        raise RoofgateError(finding.reason)
    progress = known[subject.name]
    return Decision(
        alarms={"roofgate": finding.verdict is Verdict.REGRESSED},
        wall_s=wall_s,
        measured_s=sum(restart.measured_s for restart in progress.restarts),
        verdict=finding.verdict.value,
        change=finding.change,
        low=finding.interval.low,
        high=finding.interval.high,
        detail={"restarts": len(progress.restarts), "mde": finding.mde or 0.0},
    )


_PYTEST_FILE = """
import os
from pathlib import Path
from perf.detector.workloads import make_single

def test_workload(benchmark):
    benchmark(
        make_single(
            os.environ["ROOFGATE_WORKLOAD"],
            float(os.environ["ROOFGATE_SLOWDOWN"]),
            Path(os.environ["ROOFGATE_LIBRARY"]),
            int(os.environ["ROOFGATE_START_BLOCKS"]),
        )
    )
"""
_FAILED_FIELD = re.compile(r"Field '(\w+)' has failed")


def pytest_benchmark(workload: Workload, slowdown: float, seed: int, setting: Setting) -> Decision:
    """``pytest --benchmark-compare-fail`` as its documentation has it: a saved run, then a run that is compared."""
    del seed  # it has none
    with tempfile.TemporaryDirectory(prefix="roofgate-trial-") as name:
        folder = Path(name)
        (folder / "test_workload.py").write_text(_PYTEST_FILE)
        started = time.monotonic()
        _pytest(folder, workload, 0.0, setting, ["--benchmark-save=base"])
        # All values behind one option: given several times, only the last one counts.
        checks = [f"{rule}:{PYTEST_BENCHMARK_THRESHOLD}" for rule in PYTEST_BENCHMARK_RULES]
        options = ["--benchmark-compare=0001", "--benchmark-compare-fail", *checks]
        done = _pytest(folder, workload, slowdown, setting, options)
        wall_s = time.monotonic() - started
    failed = set(_FAILED_FIELD.findall(done.stdout + done.stderr))
    if bool(failed) != bool(done.returncode):
        raise RoofgateError(f"pytest-benchmark ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    alarms = {f"pytest-benchmark {rule} 5 %": rule in failed for rule in PYTEST_BENCHMARK_RULES}
    return Decision(alarms=alarms, wall_s=wall_s, measured_s=2 * _PYTEST_BENCHMARK_S)


def _pytest(
    folder: Path, workload: Workload, slowdown: float, setting: Setting, options: list[str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_workload.py"]
    command += [f"--benchmark-max-time={_PYTEST_BENCHMARK_S}", *options]
    done = subprocess.run(
        command,
        cwd=folder,
        env=workload_environment(workload, setting) | {"ROOFGATE_SLOWDOWN": str(slowdown)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode and "--benchmark-save=base" in options:
        raise RoofgateError(f"pytest-benchmark could not measure: {(done.stdout + done.stderr)[-500:]}")
    return done


def workload_environment(workload: Workload, setting: Setting) -> dict[str, str]:
    """The environment in which another tool's benchmark file finds the workload."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "ROOFGATE_ROOT": str(Path.cwd()),
        "ROOFGATE_WORKLOAD": workload.name,
        "ROOFGATE_LIBRARY": str(setting.library.resolve()),
        "ROOFGATE_START_BLOCKS": str(setting.start_blocks),
    }


def asv(workload: Workload, slowdown: float, seed: int, setting: Setting) -> Decision:
    """``asv continuous`` between two commits of a small project, whose environments exist already."""
    del seed  # it has none
    project = AsvProject(setting.scratch / "asv")
    project.prepare()
    started = time.monotonic()
    regressed, measured_s = project.continuous(slowdown, ASV_FACTOR, workload_environment(workload, setting))
    return Decision(
        alarms={f"asv continuous {ASV_FACTOR:g}": regressed},
        wall_s=time.monotonic() - started,
        measured_s=measured_s,
    )


METHODS: Mapping[str, Method] = {"roofgate": paired, "pytest-benchmark": pytest_benchmark, "asv": asv}
