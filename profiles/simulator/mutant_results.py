"""What became of each mutant, and the file that holds it: written after every mutant, so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically

_SCHEMA = 1
WRONG_ANSWER = "wrong-answer"


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    UNCHANGED = "unchanged"  # the program is the kernel's own: no mutant at all
    REFUSED = "refused"  # no valid instruction: no mutant either


Key = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantResult:
    """One mutant: what it is, and who noticed."""

    kernel: str
    architecture: str  # where it ran
    site: int
    kind: str
    change: str
    instruction: str  # of the kernel, without register numbers
    lines: tuple[str, ...]  # "FILE:LINE | text" of the instruction and of where it was inlined, from the inside out
    fate: Fate
    killed_by: tuple[str, ...] = ()  # checks that found something, and WRONG_ANSWER
    launch: str = ""  # the one that it died in
    launches: int = 0  # in which the instruction was executed, up to that

    @property
    def key(self) -> Key:
        """Which mutant it is, as long as the kernels do not change."""
        return self.kernel, self.architecture, self.site, self.change


def read_results(path: Path, inputs: str) -> Mapping[Key, MutantResult]:
    """Results that an earlier run left, if it ran the same mutants on the same simulator; else none.

    Args:
        path: of the file.
        inputs: a digest of all that decides the results.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or (content.get("schema"), content.get("inputs")) != (_SCHEMA, inputs):
        return {}
    results = (_read(item) for item in content["results"])
    return {result.key: result for result in results}


def _read(item: dict[str, Any]) -> MutantResult:
    sequences = {name: tuple(item[name]) for name in ("lines", "killed_by")}
    return MutantResult(**{**item, **sequences, "fate": Fate(item["fate"])})


def write_results(path: Path, inputs: str, results: Mapping[Key, MutantResult]) -> None:
    """Store ``results`` so that :func:`read_results` finds them; sorted, so that equal runs make equal files."""
    ordered = [asdict(results[key]) for key in sorted(results)]
    content = {"schema": _SCHEMA, "inputs": inputs, "results": ordered}
    write_atomically(path, json.dumps(content, indent=1) + "\n")
