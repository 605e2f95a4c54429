"""What each source line costs, as the simulated layer counted it: data for the report, in a file of its own.

``out/captures/lines/simulated.json``, schema 1. Zeros are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from profiles.simulator.counters import SUMMED, Counts
from profiles.simulator.instruction_class import InstructionClass

SCHEMA = 1

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedLine:
    """One line of a source; its sums are those of :class:`profiles.simulator.counters.LineCounters`."""

    file: str  # from the root of the repository
    line: int  # 1-based
    own: Counts
    direct: Counts
    inclusive: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedKernel:
    """The lines of one kernel on one architecture, sorted by file and line."""

    kernel: str
    architecture: str
    launch: str  # what was run
    total: Counts
    lines: tuple[CountedLine, ...]
    elsewhere: Counts  # of ``total``, what was written in headers of others or has no line


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCounters:
    """All kernels of one source tree, with the text of the files that they name."""

    tree: str
    texts: Mapping[str, tuple[str, ...]]  # lines by file
    kernels: tuple[CountedKernel, ...]


def lines_path(captures: Path) -> Path:
    """Where they are kept below the folder of captures."""
    return captures / "lines" / "simulated.json"


def write_source_counters(path: Path, counters: SourceCounters) -> None:
    """Write them, replacing those of an earlier source tree."""
    content = {
        "schema": SCHEMA,
        "tree": counters.tree,
        "texts": {file: list(lines) for file, lines in counters.texts.items()},
        "kernels": [_kernel_json(kernel) for kernel in counters.kernels],
    }
    write_atomically(path, json.dumps(content, separators=(",", ":")) + "\n")


def read_source_counters(path: Path) -> SourceCounters | None:
    """What was written to ``path``; None if nothing was.

    Raises :class:`RoofgateError` if the file is damaged or of another version.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise RoofgateError(f"{path}: schema {content['schema']!r}, expected {SCHEMA}; run: nox -s profile")
        return SourceCounters(
            tree=str(content["tree"]),
            texts={file: tuple(lines) for file, lines in content["texts"].items()},
            kernels=tuple(_kernel(item) for item in content["kernels"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoofgateError(f"{path}: cannot be read ({error!r:.200}); run: nox -s profile") from error


def _kernel_json(kernel: CountedKernel) -> Json:
    return {
        "kernel": kernel.kernel,
        "architecture": kernel.architecture,
        "launch": kernel.launch,
        "total": _counts_json(kernel.total),
        "elsewhere": _counts_json(kernel.elsewhere),
        "lines": [
            [one.file, one.line, *map(_counts_json, (one.own, one.direct, one.inclusive))] for one in kernel.lines
        ],
    }


def _kernel(item: Json) -> CountedKernel:
    return CountedKernel(
        kernel=item["kernel"],
        architecture=item["architecture"],
        launch=item["launch"],
        total=_counts(item["total"]),
        elsewhere=_counts(item["elsewhere"]),
        lines=tuple(
            CountedLine(
                file=file, line=int(line), own=_counts(own), direct=_counts(direct), inclusive=_counts(inclusive)
            )
            for file, line, own, direct, inclusive in item["lines"]
        ),
    )


def _counts_json(counts: Counts) -> Json:
    summed = {name: value for name in SUMMED if (value := getattr(counts, name))}
    return summed | {"by_class": {kind.value: executed for kind, executed in counts.by_class.items() if executed}}


def _counts(item: Json) -> Counts:
    by_class = {InstructionClass(key): int(executed) for key, executed in item["by_class"].items()}
    return Counts(by_class=by_class, **{name: int(value) for name, value in item.items() if name != "by_class"})
