"""Two revisions on the same attention problem, one process for each: for what lies outside the libraries.

``arguments``: ``case``, ``device``, ``threads``, and ``roots``, the checkout of each side. Each side's process runs
that checkout's own Python code (:mod:`perf.paired.process_side`) and times itself on request, so that what is compared
is the torch op as a user calls it: dispatch, checks, allocation and kernel. A process start is a random effect of its
own, which is why the restarts, each with two new processes, are what the interval is built from.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kernels.errors import RoofgateError
from perf.conditions import ConditionsProbe
from perf.paired.model import Side
from perf.paired.sampling import Sides

_PROGRAM = Path(__file__).with_name("process_side.py")
_READY = "ready"


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The two sides; raises :class:`RoofgateError` with the last words of a process that does not start."""
    del libraries  # each checkout opens its own
    processes = {
        side: _SideProcess(side, Path(arguments["roots"][side.value]), arguments)
        for side in generator.sample(list(Side), 2)
    }
    for process in processes.values():
        process.wait_until_ready()
    probe = ConditionsProbe()
    return Sides(
        samplers={side: processes[side].ask for side in Side},
        begin_block=probe.begin,
        end_block=probe.end,
        setting={"clock": "host, monotonic, in each side's own process", "threads": f"{arguments['threads']}, unbound"},
    )


class _SideProcess:
    """One side's process, which answers a number of calls with the seconds that they took."""

    def __init__(self, side: Side, root: Path, arguments: Mapping[str, Any]) -> None:
        self._side = side
        # A file and not a pipe: nobody reads it while the process lives, and a full pipe would stop the process.
        self._errors = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 - as long as the process
        # -P keeps the program's own folder, and so the modules of today's version beside it, from being found first.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), json.dumps(dict(arguments))],
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *_python_path()])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        weakref.finalize(self, _end, self._process, self._errors)

    def wait_until_ready(self) -> None:
        line = self._read_line()
        if line != _READY:
            raise RoofgateError(f"{self._side.value}: the measuring process said {line!r}, expected {_READY!r}")

    def ask(self, iterations: int) -> float:
        """Seconds that so many calls took in the process."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._process.stdin.write(f"{iterations}\n")
        self._process.stdin.flush()
        return float(self._read_line())

    def _read_line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        line = self._process.stdout.readline()
        if line:
            return line.strip()
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        raise RoofgateError(f"{self._side.value}: the measuring process ended: {lines[-1] if lines else 'no message'}")


def _end(process: subprocess.Popen[str], errors: IO[str]) -> None:
    """End the process and close what it was asked through; done when nobody can ask any more, or at exit."""
    process.kill()
    process.communicate()
    errors.close()


def _python_path() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
