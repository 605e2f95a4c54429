"""The child process of one restart: opens both sides, samples them, and prints one JSON object.

``python -m perf.paired.worker`` reads a :class:`Task` from standard input. Which sides it makes is up to the task's
factory, a module with ``make(arguments, libraries, generator) -> Sides``; so a new kind of subject needs no change
here. What a side itself prints goes to standard error: standard output has the answer and nothing else.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from kernels.errors import RoofgateError
from perf.gpu_conditions import keep_unthrottled
from perf.paired.model import Side
from perf.paired.sampling import MIN_BLOCKS, SampledBlocks, Sides, sample_sides

# What the parent tells a refusal by: a RoofgateError of the child, as opposed to a crash.
EXIT_REFUSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker is to do."""

    factory: str  # module name
    arguments: Mapping[str, Any]  # of the factory: plain JSON values
    seed: int
    restart_s: float
    sample_s: float
    libraries: Mapping[str, str] = field(default_factory=dict)  # path by side: "base", "candidate"


def main() -> int:
    """Do the task; returns the exit code."""
    task = Task(**json.load(sys.stdin))
    answers = _own_standard_output()
    generator = random.Random(task.seed)  # noqa: S311 - an order, not a secret
    try:
        sides = _make(task, generator)
        sampled = sample_sides(sides, duration_s=task.restart_s, sample_s=task.sample_s, generator=generator)
    except RoofgateError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    with answers:
        json.dump(_answer(sides, sampled), answers)
    return 0


def _own_standard_output() -> TextIO:
    """Standard output for the answer alone; for everyone else, C code too, it becomes standard error from now on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _make(task: Task, generator: random.Random) -> Sides:
    libraries = {Side(side): Path(path) for side, path in task.libraries.items()}
    sides: Sides = import_module(task.factory).make(task.arguments, libraries, generator)
    return sides


def _answer(sides: Sides, sampled: SampledBlocks) -> dict[str, Any]:
    """The blocks without those during which a GPU was throttled, and how many these were."""
    kept = keep_unthrottled([(block.conditions.gpu,) for block in sampled.blocks], at_least=MIN_BLOCKS)
    note = {"throttled": kept.note} if kept.note else {}
    return {
        "iterations": sampled.iterations,
        "measured_s": sampled.measured_s,
        "setting": {**sides.setting, **note},
        "dropped": kept.dropped,
        "blocks": [asdict(sampled.blocks[index]) for index in kept.indices],
    }


if __name__ == "__main__":
    sys.exit(main())
