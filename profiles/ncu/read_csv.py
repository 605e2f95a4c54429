"""CSV exports of Nsight Compute: the raw page and the details page, of every version since 2021."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from kernels.errors import RoofgateError
from profiles.ncu.model import Extent, Launch, Report, Rule
from profiles.ncu.read_csv_records import Record, Table, read_table
from profiles.ncu.read_labels import metric_name
from profiles.ncu.read_names import function_name, nvtx_ranges
from profiles.ncu.read_numbers import NumberGrammar, find_grammar, looks_numeric
from profiles.ncu.read_units import parse_unit
from profiles.ncu.read_values import Metrics, value_text

_KERNEL_COLUMNS = frozenset(
    {"ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Kernel Time", "Context", "Stream"}
    | {"Block Size", "Grid Size", "Device", "CC"}
)
_METRIC_COLUMNS = frozenset({"Section Name", "Metric Name", "Metric Unit", "Metric Value"})
_RULE_COLUMNS = frozenset({"Rule Name", "Rule Type", "Rule Description"})
_PUSH_POP, _START_END = "thread Domain:", "Id:Domain:"
_EXTENT = re.compile(r"\(([0-9]{1,10}), *([0-9]{1,10}), *([0-9]{1,10})\)")
_COMPUTE_CAPABILITY = re.compile(r"[0-9]+\.[0-9]+")
_DEVICE_NAME = "device__attribute_display_name"
_ROUNDED = "values are as ncu printed them, mostly rounded to two decimals"
_SCALED = "ncu scaled some units (--print-units auto), which rounds small digits away"
_NO_INSTANCES = "the parts of instanced metrics have no names in a CSV export and are left out"

Row = Mapping[str, str]


def read_csv(content: bytes, path: str) -> Report:
    """Read a raw or details page; ``path`` is for messages.

    Raises:
        RoofgateError: no launch in it (with what ncu wrote instead), another page, a damaged table, numbers of an
            unknown or undecidable locale.
    """
    table = read_table(content, path)
    if not table.records:
        raise RoofgateError(f"{path}: a header and no launch; ncu says: {' '.join(table.messages) or 'nothing'}")
    if table.header[0] != "ID" or not {"ID", "Kernel Name"} <= set(table.header):
        raise _wrong_page(table)
    if "Metric Value" in table.header:
        return _read_details(table)
    return _read_raw(table)


def _wrong_page(table: Table) -> RoofgateError:
    page = "a source page"
    if "Invocations" in table.header:
        page = "a summary (--print-summary), in which launches are merged"
    remedy = "ncu --import REPORT --csv --page raw --print-units base"
    return RoofgateError(f"{table.path}: {page}; export the launches themselves with: {remedy}")


def _read_raw(table: Table) -> Report:
    units, records = table.records[0], table.records[1:]
    _require_widths(table)
    if not records or not _are_units(table, units):
        raise table.damaged(units, "expected the row of units and then a launch")
    metrics = [index for index, name in enumerate(table.header) if _is_metric(name)]
    grammar = find_grammar(_numbers(record.fields[index] for record in records for index in metrics), table.path)
    columns = [(table.header[index], units.fields[index], index) for index in metrics]
    launches = []
    for record in records:
        row = dict(zip(table.header, record.fields, strict=True))
        read = Metrics()
        for name, unit, index in columns:
            read.add_text(name, record.fields[index], parse_unit(unit), grammar)
        launches.append(_launch(table, record, row, read, ()))
    _require_order(table, records)
    return _report(table, "raw page", launches, {unit for _, unit, _ in columns})


def _are_units(table: Table, record: Record) -> bool:
    pairs = zip(table.header, record.fields, strict=True)
    return all(not looks_numeric(text) if _is_metric(name) else text == "" for name, text in pairs)


def _is_metric(name: str) -> bool:
    return name not in _KERNEL_COLUMNS and not name.startswith((_PUSH_POP, _START_END))


def _require_widths(table: Table) -> None:
    for record in table.records:
        if len(record.fields) != len(table.header):
            raise table.damaged(record, f"{len(record.fields)} fields, expected {len(table.header)}")


def _require_order(table: Table, records: Sequence[Record]) -> None:
    for before, record in pairwise(records):
        if int(before.fields[0]) >= int(record.fields[0]):
            raise table.damaged(record, f"launch {record.fields[0]} after launch {before.fields[0]}")


def _read_details(table: Table) -> Report:
    columns = set(table.header)
    if not columns >= _METRIC_COLUMNS or len(_RULE_COLUMNS & columns) not in (0, len(_RULE_COLUMNS)):
        lacking = ", ".join(sorted((_METRIC_COLUMNS | _RULE_COLUMNS) - columns))
        raise table.damaged(table.records[0], f"the details page above it lacks the columns {lacking}")
    metric_width = table.header.index("Metric Value") + 1
    rows = [_details_row(table, record, metric_width) for record in table.records]
    grammar = find_grammar(_numbers(row["Metric Value"] for row in rows), table.path)
    launches: list[Launch] = []
    firsts: list[Record] = []
    pairs = zip(table.records, rows, strict=True)
    for _, group in groupby(pairs, key=lambda pair: _identity(table, pair[1])):
        members = list(group)
        firsts.append(members[0][0])
        launches.append(_details_launch(table, members, grammar))
    _require_order(table, firsts)
    return _report(table, "details page", launches, {row["Metric Unit"] for row in rows})


def _details_row(table: Table, record: Record, metric_width: int) -> Row:
    """A metric's row ends, with one empty field, behind its value; a rule's row has every field."""
    width = len(record.fields)
    cut = width == metric_width + 1 and record.fields[-1] == ""
    if not cut and width != len(table.header):
        raise table.damaged(record, f"{width} fields, expected {metric_width + 1} or {len(table.header)}")
    row = dict(zip(table.header, record.fields, strict=False))
    if bool(row["Metric Name"]) == bool(row.get("Rule Name")):
        raise table.damaged(record, "expected a metric or a rule")
    return row


def _identity(table: Table, row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in table.header[: table.header.index("Section Name")])


def _details_launch(table: Table, members: Sequence[tuple[Record, Row]], grammar: NumberGrammar) -> Launch:
    read, rules = Metrics(), []
    for _, row in members:
        if row["Metric Name"]:
            name = metric_name(row["Section Name"], row.get("Body Item Label", ""), row["Metric Name"])
            read.add_text(name, row["Metric Value"], parse_unit(row["Metric Unit"]), grammar)
        else:
            rules.append(Rule(row["Section Name"], row["Rule Name"], row["Rule Type"], row["Rule Description"]))
    record, row = members[0]
    return _launch(table, record, row, read, tuple(rules))


def _launch(table: Table, record: Record, row: Row, read: Metrics, rules: tuple[Rule, ...]) -> Launch:
    if re.fullmatch("[0-9]{1,9}", row["ID"]) is None:
        raise table.damaged(record, f"the launch's ID is {row['ID']!r}, expected a number")
    device = read.counters.get(_DEVICE_NAME)
    return Launch(
        number=int(row["ID"]),
        kernel=row["Kernel Name"],
        function=function_name(row["Kernel Name"]),
        grid=_extent(table, record, row, "Grid Size"),
        block=_extent(table, record, row, "Block Size"),
        device=str(device.value) if device else "",
        compute_capability=_compute_capability(table, record, row),
        ranges=tuple(_ranges(row)),
        counters=read.counters,
        missing=read.missing,
        rules=rules,
    )


def _extent(table: Table, record: Record, row: Row, column: str) -> Extent | None:
    if column not in row:  # ncu of 2021
        return None
    match = _EXTENT.fullmatch(row[column])
    if match is None:
        raise table.damaged(record, f"{column} is {row[column]!r}, expected (X, Y, Z)")
    return int(match[1]), int(match[2]), int(match[3])


def _compute_capability(table: Table, record: Record, row: Row) -> str:
    text = row.get("CC", "")
    if text and not _COMPUTE_CAPABILITY.fullmatch(text):
        raise table.damaged(record, f"CC is {text!r}, expected a compute capability such as 9.0")
    return text


def _ranges(row: Row) -> Iterator[str]:
    for prefix in (_PUSH_POP, _START_END):
        for name, cell in row.items():
            if name.startswith(prefix):
                yield from nvtx_ranges(cell)


def _numbers(cells: Iterator[str]) -> Iterator[str]:
    return (text for text in map(value_text, cells) if looks_numeric(text))


def _report(table: Table, page: str, launches: Sequence[Launch], units: set[str]) -> Report:
    notes = [_ROUNDED]
    if any(parse_unit(unit).exponent not in (0, -9) for unit in units):
        notes.append(_SCALED)
    if any(value_text(cell) != cell for record in table.records for cell in record.fields if cell.endswith(")")):
        notes.append(_NO_INSTANCES)
    notes += [message for message in table.messages if message.startswith(("==ERROR==", "==WARNING=="))]
    return Report(path=table.path, reader=f"CSV, {page}", launches=tuple(launches), notes=tuple(notes))
