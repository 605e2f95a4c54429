"""A small project with one commit per slowdown, for ``asv continuous`` to compare."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError

SLOWDOWNS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)
# Two rounds of at most a second on each side, in samples of 10 ms at least (asv's own default).
_ROUNDS, _ROUND_S, _MOST_SAMPLES = 2, 1.0, 100
_PREPARE_TIMEOUT_S, _TIMEOUT_S = 600, 120

_SETUP = """
from setuptools import setup
setup(name="knob", version="1.0", py_modules=["knob"])
"""
_BENCHMARK = f"""
import os, sys
from pathlib import Path
import knob

sys.path.insert(0, os.environ["ROOFGATE_ROOT"])  # asv keeps PYTHONPATH from its processes

class Suite:
    rounds = {_ROUNDS}
    repeat = (5, {_MOST_SAMPLES}, {_ROUND_S})
    timeout = {_TIMEOUT_S}

    def setup(self):
        from perf.detector.workloads import make_single
        self.call = make_single(
            os.environ["ROOFGATE_WORKLOAD"],
            knob.SLOWDOWN,
            Path(os.environ["ROOFGATE_LIBRARY"]),
            int(os.environ["ROOFGATE_START_BLOCKS"]),
        )

    def time_workload(self):
        self.call()
"""
_CONFIGURATION = {
    "version": 1,
    "project": "knob",
    "repo": ".",
    "branches": ["main"],
    "environment_type": "virtualenv",
    "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"],
    "benchmark_dir": "benchmarks",
    "build_cache_size": 2 * len(SLOWDOWNS),
    "build_command": ["python -m pip wheel --no-deps --no-build-isolation -w {build_cache_dir} {build_dir}"],
    "install_command": ["in-dir={env_dir} python -m pip install --no-index --no-deps --force-reinstall {wheel_file}"],
    "matrix": {"req": {"setuptools": [], "wheel": []}},
}


class AsvProject:
    """The project in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make commits and environments, unless they are there; raises :class:`RoofgateError` if asv cannot."""
        done = self._folder / "prepared"
        if done.exists():
            return
        (self._folder / "benchmarks").mkdir(parents=True, exist_ok=True)
        self._write("setup.py", _SETUP)
        self._write("asv.conf.json", json.dumps(_CONFIGURATION))
        self._write("benchmarks/__init__.py", "")
        self._write("benchmarks/bench.py", _BENCHMARK)
        self._git("init", "--quiet", "--initial-branch=main", ".")
        # The second commit without a slowdown is the candidate of trials in which nothing changed.
        for tag, slowdown in (("base", 0.0), *((_tag(slowdown), slowdown) for slowdown in SLOWDOWNS)):
            self._write("knob.py", f"SLOWDOWN = {slowdown}  # {tag}\n")
            self._git("add", "--all", ":!env", ":!results")
            self._git("commit", "--quiet", f"--message={tag}")
            self._git("tag", "--force", tag)
        self._asv(["machine", "--yes"], {}, _PREPARE_TIMEOUT_S)
        self._asv(["setup"], {}, _PREPARE_TIMEOUT_S)
        done.write_text("")

    def continuous(self, slowdown: float, factor: float, environment: Mapping[str, str]) -> tuple[bool, float]:
        """Whether asv says that the slowed commit is worse than the base, and the seconds that it measured for."""
        for results in self._folder.glob("results/*/*-*.json"):
            results.unlink()  # asv would not measure a commit again that it has a result of
        arguments = ["continuous", "--factor", str(factor), "base", _tag(slowdown)]
        output = self._asv(arguments, environment, _TIMEOUT_S)
        if "BENCHMARKS NOT SIGNIFICANTLY CHANGED" in output:
            return False, 2 * _ROUNDS * _ROUND_S
        if "SOME BENCHMARKS HAVE CHANGED SIGNIFICANTLY" not in output:
            raise RoofgateError(f"asv gave no verdict: {output[-500:]}")
        return "PERFORMANCE DECREASED" in output, 2 * _ROUNDS * _ROUND_S

    def _asv(self, arguments: list[str], environment: Mapping[str, str], timeout_s: int) -> str:
        command = [sys.executable, "-m", "asv", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=dict(environment) or None,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise RoofgateError(f"asv {arguments[0]} did not end within {timeout_s} s") from None
        # asv ends with 1 both for a worse commit and for an environment that cannot be made: the text tells.
        if done.returncode not in (0, 1):
            raise RoofgateError(f"asv {arguments[0]} failed: {(done.stdout + done.stderr)[-500:]}")
        return done.stdout + done.stderr

    def _git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=roofgate", "-c", "user.email=roofgate@localhost")
        subprocess.run(["git", *identity, *arguments], cwd=self._folder, check=True, timeout=60)

    def _write(self, name: str, content: str) -> None:
        write_atomically(self._folder / name, content)


def _tag(slowdown: float) -> str:
    return f"slowed-{slowdown * 100:g}-percent"
