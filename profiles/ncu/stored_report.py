"""Captures of Nsight Compute kept as JSON of our own, so that they are rendered later without NVIDIA's reader.

``out/captures/imports/<name>.json`` for imported files and ``out/captures/hardware/<case>.json`` for captures of our
own kernels, schema 1. Values stand as they were read, to the last digit; what a launch lacks is kept as lacking.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from perf.model import Problem
from perf.stored_document import read_document
from profiles.ncu.model import Counter, Exactness, Extent, Launch, Report, Rule

SCHEMA = 1
_KEY = "roofgate-capture"
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report of the site, and the one that it is compared with if there is one."""

    name: str  # of its file
    report: Report
    against: str = ""  # the file of the baseline beside it
    baseline: Report | None = None


def imports_folder(captures: Path) -> Path:
    """Where imported reports are kept below the folder of captures."""
    return captures / "imports"


def hardware_folder(captures: Path) -> Path:
    """Where captures that were made here are kept below the folder of captures."""
    return captures / "hardware"


def stored_path(folder: Path, source: Path) -> Path:
    """The file that keeps what was read from ``source``: the same for the same file, apart for files of one name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", source.stem).strip("-.")[:60] or "report"
    return folder / f"{readable}-{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:8]}.json"


def write_report(path: Path, report: Report, against: str = "") -> None:
    """Keep ``report`` at ``path``, replacing what was there; ``against`` names the file beside it of its baseline."""
    content = {
        _KEY: {
            "schema": SCHEMA,
            "path": report.path,
            "reader": report.reader,
            "notes": list(report.notes),
            "against": against,
        },
        "launches": [_launch_json(launch) for launch in report.launches],
    }
    write_atomically(path, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")


def read_stored_report(path: Path) -> Report:
    """What was kept at ``path``.

    Raises :class:`RoofgateError` if the file is damaged, of another version, or none of ours.
    """
    return _read(path).report


def _read(path: Path) -> StoredReport:
    try:
        document = read_document(path, _KEY, SCHEMA)
        head = document[_KEY]
        launches = tuple(_launch(item) for item in document["launches"])
        report = Report(path=head["path"], reader=head["reader"], launches=launches, notes=tuple(head["notes"]))
        return StoredReport(name=path.name, report=report, against=head.get("against", ""))
    except RoofgateError as error:
        raise RoofgateError(f"{path}: {error}; import the report again") from error
    except _MALFORMED as error:
        raise RoofgateError(f"{path}: not a stored capture ({error!r:.200}); import the report again") from error


def read_stored_reports(folder: Path) -> tuple[tuple[StoredReport, ...], tuple[Problem, ...]]:
    """Every report kept in ``folder``, by file name, and one problem for each file that cannot be read."""
    reports: list[StoredReport] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.json")):
        try:
            reports.append(_read(path))
        except RoofgateError as error:
            problems.append(Problem(subject="stored capture", reason=f"skipped: {error}"))
    by_name = {stored.name: stored.report for stored in reports}
    return tuple(replace(stored, baseline=by_name.get(stored.against)) for stored in reports), tuple(problems)


def with_baselines(reports: Sequence[StoredReport], older: Sequence[StoredReport]) -> tuple[StoredReport, ...]:
    """``reports`` with those of ``older`` that have the same file names as their baselines."""
    by_name = {stored.name: stored.report for stored in older}
    return tuple(replace(stored, baseline=by_name.get(stored.name, stored.baseline)) for stored in reports)


def is_stored_report(path: Path) -> bool:
    """Whether ``path`` looks like a file of ours rather than one of Nsight Compute's."""
    return path.suffix == ".json"


def _launch_json(launch: Launch) -> Json:
    return {
        "number": launch.number,
        "kernel": launch.kernel,
        "function": launch.function,
        "grid": launch.grid,
        "block": launch.block,
        "device": launch.device,
        "compute_capability": launch.compute_capability,
        "ranges": list(launch.ranges),
        "counters": {name: _counter_json(counter) for name, counter in launch.counters.items()},
        "missing": dict(launch.missing),
        "rules": [[rule.section, rule.rule, rule.kind, rule.message] for rule in launch.rules],
    }


def _counter_json(counter: Counter) -> list[Any]:
    fields: list[Any] = [counter.value, counter.unit, counter.exactness.value]
    return [*fields, dict(counter.instances)] if counter.instances else fields


def _launch(item: Json) -> Launch:
    return Launch(
        number=int(item["number"]),
        kernel=item["kernel"],
        function=item["function"],
        grid=_extent(item["grid"]),
        block=_extent(item["block"]),
        device=item["device"],
        compute_capability=item["compute_capability"],
        ranges=tuple(item["ranges"]),
        counters={name: _counter(name, fields) for name, fields in item["counters"].items()},
        missing=dict(item["missing"]),
        rules=tuple(Rule(*fields) for fields in item["rules"]),
    )


def _extent(item: list[int] | None) -> Extent | None:
    if item is None:
        return None
    x, y, z = item
    return int(x), int(y), int(z)


_EXACTNESS: Mapping[str, Exactness] = {exactness.value: exactness for exactness in Exactness}


def _counter(name: str, fields: list[Any]) -> Counter:
    value, unit, exactness, *instances = fields
    if not isinstance(value, str):
        value = float(value)
        if not isfinite(value):
            raise ValueError(f"{name} is {value}")
    return Counter(
        name=name,
        value=value,
        unit=unit,
        exactness=_EXACTNESS[exactness],
        instances=instances[0] if instances else {},
    )
