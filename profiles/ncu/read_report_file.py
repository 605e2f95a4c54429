"""Report files (``.ncu-rep``) by way of NVIDIA's ``ncu-report`` package, which runs in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from profiles.ncu import read_child
from profiles.ncu.model import Extent, Launch, Report, Rule
from profiles.ncu.read_frame import MAGIC, count_results
from profiles.ncu.read_names import range_name, without_links
from profiles.ncu.read_process import run_contained
from profiles.ncu.read_units import parse_unit
from profiles.ncu.read_values import Metrics

TIMEOUT = 120.0  # seconds; 105 launches take a third of one
_NOT_COUNTERS = ("group:", "breakdown:")  # lists of other metrics' names
_NO_VALUE = "no value"
_NO_UNIT = "no unit"
_TIME = "__time_"  # in the names of the only metrics that are not in base units
_COMPRESSED = ".ncu-repz"

Json = Mapping[str, Any]


def read_report_file(path: Path, content: bytes, site: Path | None) -> Report | None:
    """Read a report; None if the package ``ncu-report`` is not installed.

    Args:
        path: the report.
        content: the bytes of the file.
        site: a folder in which the package is looked for first.

    Raises:
        RoofgateError: the file is empty, cut off, damaged, of a newer version than the package reads, or holds nothing.
    """
    compressed = path.suffix == _COMPRESSED and content and not content.startswith(MAGIC)
    declared = None if compressed else count_results(content, str(path))
    answer = _ask_child(path, site)
    if answer.get("absent"):
        return None
    launches = tuple(_launch(number, launch) for number, launch in enumerate(answer["launches"]))
    reader = f"ncu-report {answer['version']}"
    if not launches:
        raise RoofgateError(_nothing_read(path, reader, declared))
    if declared is not None and declared != len(launches):
        lost = f"{reader} reads {len(launches)} of the {declared} launches that the file declares"
        raise RoofgateError(f"{path}: {lost}; the report is damaged: copy or capture it again")
    return Report(path=str(path), reader=reader, launches=launches)


def _nothing_read(path: Path, reader: str, declared: int | None) -> str:
    if declared == 0:
        return f"{path}: the report holds no launch; see what the capture's filters matched"
    return f"{path}: {reader} reads nothing from it; it is damaged, or newer: pip install --upgrade ncu-report"


def _ask_child(path: Path, site: Path | None) -> Json:
    folders = [str(site)] if site else []
    folders += [folder for folder in (os.environ.get("PYTHONPATH"),) if folder]
    command = (sys.executable, "-P", read_child.__file__, str(path.absolute()))
    changes = {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}
    answer = run_contained(command, changes, TIMEOUT, str(path))
    if answer.exit_code != 0:
        last = answer.errors.strip().rpartition("\n")[2]
        raise RoofgateError(f"{path}: ncu-report failed ({last or 'without a word'}); the file may be damaged")
    try:
        return dict(json.loads(answer.output.decode("utf-8", "replace")))
    except ValueError as error:
        raise RoofgateError(f"{path}: the reader's answer broke off; the file is damaged") from error


def _launch(number: int, launch: Json) -> Launch:
    read = _metrics(launch["metrics"])
    return Launch(
        number=number,
        kernel=launch["kernel"],
        function=launch["function"],
        grid=_extent(read, "launch__grid_dim"),
        block=_extent(read, "launch__block_dim"),
        device=_word(read, "device__attribute_display_name"),
        compute_capability=_compute_capability(read),
        ranges=tuple(range_name(domain, name) for domain, name in launch["ranges"]),
        counters=read.counters,
        missing=read.missing,
        rules=tuple(Rule(section, rule, kind, without_links(text)) for section, rule, kind, text in launch["rules"]),
    )


def _metrics(rows: list[Any]) -> Metrics:
    read = Metrics()
    for name, value, unit, parts in rows:
        if name.startswith(_NOT_COUNTERS):
            continue
        if value is None:
            read.add_missing(name, _NO_VALUE)
        elif isinstance(value, str):
            read.add_word(name, value)
        elif _TIME in name and not unit:  # a chip that the package does not know: are these nanoseconds?
            read.add_missing(name, _NO_UNIT)
        else:
            read.add_number(name, value, parse_unit(unit), parts)
    return read


def _word(read: Metrics, name: str) -> str:
    counter = read.counters.get(name)
    return str(counter.value) if counter else ""


def _integer(read: Metrics, name: str) -> int | None:
    counter = read.counters.get(name)
    return int(counter.value) if counter is not None and isinstance(counter.value, float) else None


def _extent(read: Metrics, name: str) -> Extent | None:
    x, y, z = (_integer(read, f"{name}_{axis}") for axis in "xyz")
    return None if x is None or y is None or z is None else (x, y, z)


def _compute_capability(read: Metrics) -> str:
    parts = [_integer(read, f"device__attribute_compute_capability_{part}") for part in ("major", "minor")]
    return "" if None in parts else ".".join(map(str, parts))
