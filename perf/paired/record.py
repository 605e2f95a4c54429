"""Paired comparisons as files: immutable once complete, replaced restart round by restart round until then.

``out/comparisons/<id>.json`` holds a complete comparison, ``<id>.unfinished.json`` one that is being measured or was
interrupted. A file starts with a short header, so that the comparison of some sources is found without reading the
samples of all others.

Schema history of ``document["roofgate_comparison"]["schema"]``:

* 1 (2026-11-24): first. The comparison as :mod:`perf.paired.codec` writes it, samples in seconds per call. Until
  2026-11-24 a case had ``causal``, true or false, in place of ``mask``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.model import Problem
from perf.paired.codec import decode, encode
from perf.paired.model import Block, PairedComparison, RevisionInfo
from perf.stored_document import read_document

SCHEMA = 1
_KEY = "roofgate_comparison"
_SUFFIX, _UNFINISHED_SUFFIX = ".json", ".unfinished.json"
# The header, which names the sources, lies well within.
_HEADER_BYTES = 1024
# No call takes less or more; outside of these a file is damaged, and ratios would leave the range of floats.
_SHORTEST_S, _LONGEST_S = 1e-12, 1e9


def comparison_id(started: str, base: RevisionInfo, candidate: RevisionInfo) -> str:
    """The name of a comparison and of its file: ``20261124T135947Z-0123456789-89abcdef01+``, base before candidate.

    Args:
        started: ISO 8601 in UTC.
        base: the revision compared with.
        candidate: the revision judged; ``+`` marks uncommitted edits.
    """
    stamp = started.split("+")[0].split(".")[0].rstrip("Z").replace("-", "").replace(":", "")
    return f"{stamp}Z-{base.short}-{candidate.short}"


def write_comparison(folder: Path, comparison: PairedComparison) -> Path:
    """Write ``comparison`` into ``folder`` and return the path.

    An unfinished one replaces its earlier state. A complete one takes the place of its unfinished state and is never
    overwritten: raises :class:`RoofgateError` if it is already stored.
    """
    unfinished = folder / f"{comparison.id}{_UNFINISHED_SUFFIX}"
    path = folder / f"{comparison.id}{_SUFFIX}" if comparison.complete else unfinished
    if comparison.complete and path.exists():
        raise RoofgateError(f"{path} exists and comparisons are never overwritten; wait a second and compare again")
    write_atomically(path, json.dumps(_document(comparison), separators=(",", ":"), allow_nan=False) + "\n")
    if comparison.complete:
        unfinished.unlink(missing_ok=True)
    return path


def _document(comparison: PairedComparison) -> dict[str, Any]:
    header = {"schema": SCHEMA, "candidate_tree": comparison.candidate.tree, "base_tree": comparison.base.tree}
    # Where the file lies is no part of it.
    return {_KEY: header, "comparison": encode(replace(comparison, path=""))}


def read_comparison(path: Path) -> PairedComparison:
    """Read one file, complete or not; raises :class:`RoofgateError` that says why it cannot be used."""
    document = read_document(path, _KEY, SCHEMA)
    try:
        comparison: PairedComparison = decode(PairedComparison, document.get("comparison"))
        _check_samples(comparison)
    except (ValueError, RecursionError) as error:
        raise RoofgateError(f"not the content of a comparison ({str(error).lstrip('.: ')[:300]})") from error
    return replace(comparison, path=str(path))


def _check_samples(comparison: PairedComparison) -> None:
    """Judged here, not where they are used, so that one damaged file is skipped as a whole."""
    for paired in (*comparison.cases, *comparison.self_controls):
        for restart in paired.restarts:
            if not all(_is_sound(block) for block in restart.blocks):
                raise ValueError(f"{paired.case.name}: a block needs equally many positive seconds of both sides")


def _is_sound(block: Block) -> bool:
    base, candidate = block.base_s, block.candidate_s
    if not base or len(base) != len(candidate):
        return False
    return min(*base, *candidate) > _SHORTEST_S and max(*base, *candidate) < _LONGEST_S


def find_comparison(
    workspace: Workspace, candidate_tree: str, fingerprint: str | None = None
) -> tuple[PairedComparison | None, tuple[Problem, ...]]:
    """The newest complete comparison whose candidate has these sources, and what could not be read while looking.

    Args:
        workspace: where results lie.
        candidate_tree: digest of the sources (:func:`kernels.workspace.source_tree`).
        fingerprint: of the machine that it must have been measured on; any machine if None.
    """
    problems: list[Problem] = []
    for path, comparison in _read_mentioning(_complete_files(workspace.comparisons), candidate_tree, problems):
        if comparison.candidate.tree == candidate_tree and comparison.complete:
            if fingerprint in {None, comparison.machine.fingerprint}:
                return comparison, tuple(problems)
            where = f"left out: it was measured on another machine ({comparison.machine.title})"
            problems.append(Problem(subject=str(path), reason=where))
    return None, tuple(problems)


def find_unfinished(
    workspace: Workspace, base_tree: str, candidate_tree: str
) -> tuple[PairedComparison | None, tuple[Problem, ...]]:
    """The newest interrupted comparison of these two source trees, for ``--resume``, and what could not be read."""
    problems: list[Problem] = []
    for _, comparison in _read_mentioning(_unfinished_files(workspace.comparisons), candidate_tree, problems):
        if (comparison.base.tree, comparison.candidate.tree) == (base_tree, candidate_tree):
            return comparison, tuple(problems)
    return None, tuple(problems)


def _complete_files(folder: Path) -> tuple[Path, ...]:
    """Newest first; none if there is no such folder."""
    return tuple(path for path in _files(folder) if not path.name.endswith(_UNFINISHED_SUFFIX))


def _unfinished_files(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in _files(folder) if path.name.endswith(_UNFINISHED_SUFFIX))


def _files(folder: Path) -> list[Path]:
    visible = (path for path in folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))
    return sorted(visible, key=lambda path: path.name, reverse=True)


def _read_mentioning(
    paths: tuple[Path, ...], tree: str, problems: list[Problem]
) -> Iterator[tuple[Path, PairedComparison]]:
    """The comparisons in those files whose header may name ``tree``; files that cannot be read join ``problems``."""
    for path in paths:
        try:
            if _may_mention(path, tree):
                yield path, read_comparison(path)
        except RoofgateError as error:
            problems.append(Problem(subject=str(path), reason=f"skipped: {error}"))


def _may_mention(path: Path, tree: str) -> bool:
    """Whether the header names ``tree``, or the file has no header of ours and reading it will say what is wrong."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return True
    return json.dumps(tree).encode() in header or _KEY.encode() not in header
