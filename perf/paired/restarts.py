"""Run one restart: a fresh process with an environment, allocations and library files of its own.

What a process inherits by accident (the size of its environment, which moves its stack; the pages that its libraries
happen to lie in; the order of opening) biases one side against the other for as long as the process lives, and can be
worth several percent (Mytkowicz et al., 2009, "Producing wrong data without doing anything obviously wrong!", ASPLOS).
So each restart draws them anew.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from perf.paired.codec import decode
from perf.paired.model import Plan, Restart, Side, Stage
from perf.paired.worker import EXIT_REFUSED, Task

_MAX_PADDING_BYTES = 4096
_TIMEOUT_S = 300


class RestartError(RoofgateError):
    """A restart that gave nothing: refused, crashed or hung. The message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared: enough for a worker to make its two sides.

    Attributes:
        name: for people and files.
        factory: the module that makes the sides.
        arguments: of the factory; plain JSON values.
        libraries: path by side, where the sides are libraries.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[Side, Path] = field(default_factory=dict)


def run_restart(subject: Subject, plan: Plan, stage: Stage, seed: int, origin: float) -> Restart:
    """Measure ``subject`` in a new process.

    Args:
        subject: what to measure.
        plan: how long.
        stage: why; only kept.
        seed: of everything that is random in this restart.
        origin: ``time.monotonic()`` at the start of the comparison, to which blocks are dated.

    Raises:
        RestartError: the process refused, crashed or did not end.
    """
    started = time.monotonic()
    generator = random.Random(seed)  # noqa: S311 - accidents to be varied, not secrets
    with tempfile.TemporaryDirectory(prefix="roofgate-restart-") as folder:
        libraries = {
            side.value: _copied(path, Path(folder), side, generator) for side, path in subject.libraries.items()
        }
        task = Task(
            factory=subject.factory,
            arguments=subject.arguments,
            seed=seed,
            restart_s=plan.restart_s,
            sample_s=plan.sample_s,
            libraries=libraries,
        )
        answer = _ask_worker(subject.name, task, generator)
    ended = time.monotonic()
    known = {"stage": stage.value, "seed": seed, "wall_s": ended - started}
    measured = _read_answer(subject.name, answer, known)
    # The worker dates its blocks from its first one; they filled the end of the process's life.
    first = ended - origin - measured.blocks[-1].started_s
    blocks = tuple(replace(block, started_s=first + block.started_s) for block in measured.blocks)
    return replace(measured, blocks=blocks)


def _copied(library: Path, folder: Path, side: Side, generator: random.Random) -> str:
    """The path of a copy under a name of random length: new pages, another string on the stack."""
    copy = folder / f"{side.value}-{'x' * generator.randrange(64)}.so"
    try:
        shutil.copyfile(library, copy)
    except OSError as error:
        raise RestartError(f"the library of {side.value} cannot be copied for a restart: {error}") from error
    return str(copy)


def _ask_worker(name: str, task: Task, generator: random.Random) -> str:
    """What the worker answers."""
    padding = "x" * generator.randrange(_MAX_PADDING_BYTES)
    environment = {**os.environ, "ROOFGATE_PADDING": padding, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "perf.paired.worker"],
            input=json.dumps(asdict(task)),
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a crash may print anything
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise RestartError(f"{name}: the measuring process did not end within {_TIMEOUT_S} s and was killed") from None
    if done.returncode == EXIT_REFUSED and done.stderr.strip():
        raise RestartError(done.stderr.strip())
    if done.returncode:
        raise RestartError(f"{name}: the measuring process {_how_it_ended(done.returncode)}; {_last_line(done.stderr)}")
    return done.stdout


def _how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return f"it said last: {lines[-1]}" if lines else "it said nothing"


def _read_answer(name: str, answer: str, known: Mapping[str, object]) -> Restart:
    """The restart from the worker's answer and what is ``known`` of it here."""
    try:
        measured: Restart = decode(Restart, {**json.loads(answer), **known})
    except (ValueError, TypeError) as error:
        raise RestartError(
            f"{name}: the measuring process answered {answer!r:.80}, expected a restart: {error}"
        ) from error
    samples = [sample for block in measured.blocks for sample in (*block.base_s, *block.candidate_s)]
    if not samples or min(samples) <= 0:
        raise RestartError(f"{name}: the measuring process took samples of 0 s or none; the clock cannot be used")
    return measured
