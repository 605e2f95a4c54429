"""What people have found out about mutants that nobody notices."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from perf.yaml_document import Schema, read_document, validate
from profiles.simulator.mutant_results import MutantResult

Verdict = Literal["equivalent", "not found"]


class Survivor(Schema):
    """One reason, and the mutants that it speaks of.

    ``kernel``, ``instruction`` and ``change`` are shell patterns of what the report prints. ``lines`` are texts of CUDA
    lines, all of which the instruction comes from or was inlined at. ``executed`` is false for code that no launch
    reaches.
    """

    kernel: str
    lines: tuple[str, ...]
    instruction: str
    change: str
    executed: bool = True
    verdict: Verdict
    reason: str

    def speaks_of(self, mutant: MutantResult) -> bool:
        """Whether the reason is about this mutant."""
        return (
            fnmatchcase(mutant.kernel, self.kernel)
            and fnmatchcase(mutant.change, self.change)
            and fnmatchcase(mutant.instruction, self.instruction.replace("[", "[[]"))
            and {line.partition(" | ")[2] for line in mutant.lines}.issuperset(self.lines)
            and bool(mutant.launches) == self.executed
        )


class _Survivors(Schema):
    survivors: tuple[Survivor, ...]


def read_survivors(path: Path) -> tuple[Survivor, ...]:
    """All reasons that ``path`` holds; raises :class:`kernels.errors.RoofgateError` naming every mistake in it."""
    return validate(read_document(path), _Survivors).survivors


def reason_for(mutant: MutantResult, survivors: Iterable[Survivor]) -> Survivor | None:
    """The first reason that speaks of the mutant."""
    return next((survivor for survivor in survivors if survivor.speaks_of(mutant)), None)
