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

    ``kernel`` and ``change`` are shell patterns, ``instruction`` is the text without the numbers of registers, as the
    report prints it, and may have ``*`` in it; ``line`` is the text of a CUDA line that the instruction comes from, or
    that it was inlined at.
    """

    kernel: str
    line: str
    instruction: str
    change: str
    verdict: Verdict
    reason: str

    def speaks_of(self, mutant: MutantResult) -> bool:
        """Whether the reason is about this mutant."""
        return (
            fnmatchcase(mutant.kernel, self.kernel)
            and fnmatchcase(mutant.change, self.change)
            and fnmatchcase(mutant.instruction, self.instruction.replace("[", "[[]"))
            and any(line.partition(" | ")[2] == self.line for line in mutant.lines)
        )


class _Survivors(Schema):
    survivors: tuple[Survivor, ...]


def read_survivors(path: Path) -> tuple[Survivor, ...]:
    """All reasons that ``path`` holds; raises :class:`kernels.errors.RoofgateError` naming every mistake in it."""
    return validate(read_document(path), _Survivors).survivors


def reason_for(mutant: MutantResult, survivors: Iterable[Survivor]) -> Survivor | None:
    """The first reason that speaks of the mutant."""
    return next((survivor for survivor in survivors if survivor.speaks_of(mutant)), None)
