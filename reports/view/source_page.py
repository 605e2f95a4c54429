"""The sources of one kernel with what each line executes: one heat column per counter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment
from profiles.simulator.counters import Counts
from profiles.simulator.instruction_class import InstructionClass
from profiles.source_counters import CountedKernel, CountedLine
from reports.view.frame import Link, build_frame, kernel_path, source_path
from reports.view.page import Page
from reports.view.quantities import plural
from reports.view.tables import Column

HEAT_LEVELS = 8
CONTEXT_LINES = 3  # shown around lines that execute something
NO_CONFLICT = 1.0  # wavefronts per request


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One figure of one line. ``level`` from 0 (none) to HEAT_LEVELS says how dark its cell is."""

    text: str
    level: int
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLineView:
    """One line of a file; without cells if it executes nothing."""

    number: int
    anchor: str
    text: str
    cells: tuple[HeatCell, ...]
    conflict: str  # what is wrong with it, in words; empty if nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive lines of a file, and how many lines before them are left out since they execute nothing."""

    left_out: str
    lines: tuple[SourceLineView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFileView:
    """One file."""

    name: str
    stretches: tuple[Stretch, ...]
    rest: str  # lines left out at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage:
    """The content of a kernel's source page on one architecture."""

    name: str
    architecture: str
    kernel: Link
    launch: str
    others: tuple[Link, ...]  # the same kernel on other architectures
    columns: tuple[Column, ...]
    conflicts: tuple[Link, ...]
    conflicts_note: str
    files: tuple[SourceFileView, ...]
    elsewhere: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counter:
    """One heat column."""

    title: str
    hint: str
    value: Callable[[CountedLine], float | None]
    text: Callable[[float], str]
    best: float = 0.0  # a value without heat


def build_source_page(
    assessment: Assessment, counted: CountedKernel, texts: Mapping[str, Sequence[str]], others: Sequence[CountedKernel]
) -> Page:
    """The page of one kernel on one architecture.

    Args:
        assessment: for the page's frame.
        counted: what its lines execute.
        texts: lines of the files that ``counted`` names.
        others: the same kernel on all architectures, this one included.
    """
    counters = [one for one in COUNTERS if any(one.value(line) for line in counted.lines)]
    conflicts = sorted((line for line in counted.lines if _conflict(line)), key=_wavefronts, reverse=True)
    path = source_path(counted.kernel, counted.architecture)
    content = SourcePage(
        name=counted.kernel,
        architecture=counted.architecture,
        kernel=Link(text=counted.kernel, href=kernel_path(counted.kernel)),
        launch=counted.launch,
        others=tuple(_architecture_link(one, path) for one in others),
        columns=tuple(Column(one.title, hint=one.hint, numeric=True) for one in counters),
        conflicts=tuple(_conflict_link(line, texts, path) for line in conflicts),
        conflicts_note=_conflicts_note(counted, conflicts),
        files=tuple(_file(file, texts.get(file, ()), counted, counters) for file in _files(counted)),
        elsewhere=_elsewhere(counted),
    )
    frame = build_frame(assessment, path, f"{counted.kernel} on {counted.architecture}, source")
    return Page(template="source.html", frame=frame, content=content)


def _executed(kind: InstructionClass) -> Callable[[CountedLine], float | None]:
    return lambda line: line.inclusive.by_class.get(kind)


def _summed(name: str) -> Callable[[CountedLine], float | None]:
    return lambda line: getattr(line.inclusive, name) or None


def short_count(value: float) -> str:
    """At most five characters: ``9 999``, ``12.3k``, ``4.56M``."""
    if value < 10_000:
        return units.count(value)
    scale, suffix = next(pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= pair[0])
    scaled = value / scale
    return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{suffix}"


def ratio_text(value: float) -> str:
    """``1.0``, ``15.3``: two decimals only where they say something."""
    return f"{value:.1f}" if math.isclose(value, round(value, 1)) else f"{value:.2f}"


def _wavefronts(line: CountedLine) -> float:
    """Of the requests that are made right at the line: outer calls would repeat them, and mix them with others."""
    return line.direct.wavefronts_per_request or 0.0


def _per_request(line: CountedLine) -> float | None:
    return line.inclusive.wavefronts_per_request


def _sectors(line: CountedLine) -> float | None:
    return line.inclusive.sectors_per_request


def _class_counter(kind: InstructionClass, title: str, hint: str) -> _Counter:
    return _Counter(title=title, hint=f"warp-instructions: {hint}", value=_executed(kind), text=short_count)


COUNTERS = (
    _Counter(
        title="executed",
        hint="warp-instructions of the line and of what was inlined at it",
        value=_summed("executed"),
        text=short_count,
    ),
    _Counter(
        title="own",
        hint="warp-instructions of the line alone, without what was inlined at it",
        value=lambda line: line.own.executed or None,
        text=short_count,
    ),
    _class_counter(InstructionClass.TENSOR, "tensor", "products on the tensor cores"),
    _class_counter(InstructionClass.FLOAT, "float", "floating-point arithmetic (FMA and its kin)"),
    _class_counter(InstructionClass.SPECIAL, "special", "exponentials, logarithms, reciprocals (MUFU)"),
    _class_counter(InstructionClass.INTEGER, "integer", "integer arithmetic, logic and addresses"),
    _class_counter(InstructionClass.CONVERT, "convert", "conversions between types"),
    _class_counter(InstructionClass.MOVE, "move", "moves and selections; most have no machine instruction"),
    _class_counter(InstructionClass.LANES, "lanes", "exchange between the lanes of a warp"),
    _class_counter(InstructionClass.LOAD_STORE, "memory", "loads, stores, atomics and copies"),
    _class_counter(InstructionClass.CONTROL, "control", "branches, barriers, fences and waiting"),
    _Counter(
        title="wave/req",
        hint="shared-memory wavefronts per request: 1.0 is free of bank conflicts",
        value=_per_request,
        text=ratio_text,
        best=NO_CONFLICT,
    ),
    _Counter(
        title="sect/req",
        hint="32-byte sectors per request to global memory: 4 for 4 bytes a lane, 16 for 16 bytes, if coalesced",
        value=_sectors,
        text=ratio_text,
    ),
    _Counter(
        title="diverge",
        hint="executions without all lanes of the warp, and branches that split it",
        value=_summed("divergent"),
        text=short_count,
    ),
    _Counter(title="barrier", hint="barriers, counted by warps", value=_summed("barriers"), text=short_count),
    _Counter(title="copied", hint="bytes moved by asynchronous copies", value=_summed("copy_bytes"), text=short_count),
)


def heat_level(value: float, largest: float) -> int:
    """How dark a cell is: the root of its share of the column's largest, so that small shares still differ."""
    return math.ceil(HEAT_LEVELS * math.sqrt(value / largest)) if value > 0 else 0


def _conflict(line: CountedLine) -> str:
    wavefronts = _wavefronts(line)
    return f"bank conflict: {ratio_text(wavefronts)} wavefronts per request" if wavefronts > NO_CONFLICT else ""


def _conflict_link(line: CountedLine, texts: Mapping[str, Sequence[str]], path: str) -> Link:
    source = _text(texts.get(line.file, ()), line.line).strip()
    return Link(text=f"{line.file}:{line.line}: {_conflict(line)}: {source}", href=f"{path}#{_anchor(line)}")


def _conflicts_note(counted: CountedKernel, conflicts: Sequence[CountedLine]) -> str:
    if conflicts:
        return (
            "Shared memory serves requests of these lines in more than one wavefront. A line of a function that was "
            "inlined shows all its calls together, and each calling line its own."
        )
    if counted.total.shared_requests:
        requests = units.count(counted.total.shared_requests)
        return f"No bank conflict: each of {requests} requests to shared memory takes one wavefront."
    return "The kernel makes no request to shared memory."


def _architecture_link(counted: CountedKernel, path: str) -> Link:
    href = source_path(counted.kernel, counted.architecture)
    return Link(text=counted.architecture, href=href, current=href == path)


def _files(counted: CountedKernel) -> list[str]:
    """The file with the most executed instructions of its own first."""
    own: dict[str, int] = {}
    for line in counted.lines:
        own[line.file] = max(own.get(line.file, 0), line.inclusive.executed)
    return sorted(own, key=lambda file: (-own[file], file))


def _file(file: str, text: Sequence[str], counted: CountedKernel, counters: Sequence[_Counter]) -> SourceFileView:
    largest = [max((one.value(line) or 0.0) - one.best for line in counted.lines) for one in counters]
    lines = {line.line: line for line in counted.lines if line.file == file}
    last = max(len(text), *lines)
    shown = sorted({near for line in lines for near in range(line - CONTEXT_LINES, line + CONTEXT_LINES + 1)})
    stretches: list[Stretch] = []
    before = 0
    for run in _runs([number for number in shown if 1 <= number <= last]):
        views = tuple(_line(file, number, text, lines.get(number), counters, largest) for number in run)
        stretches.append(Stretch(left_out=_left_out(before + 1, run[0] - 1), lines=views))
        before = run[-1]
    return SourceFileView(name=file, stretches=tuple(stretches), rest=_left_out(before + 1, last))


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _left_out(first: int, last: int) -> str:
    if last < first:
        return ""
    return f"line {first} executes nothing" if first == last else f"lines {first} to {last} execute nothing"


def _line(
    file: str,
    number: int,
    text: Sequence[str],
    counted: CountedLine | None,
    counters: Sequence[_Counter],
    largest: Sequence[float],
) -> SourceLineView:
    cells = [_cell(counted, one, most) for one, most in zip(counters, largest, strict=True)] if counted else []
    return SourceLineView(
        number=number,
        anchor=f"{_file_anchor(file)}-{number}",
        text=_text(text, number),
        cells=tuple(cells),
        conflict=_conflict(counted) if counted else "",
    )


def _cell(line: CountedLine, counter: _Counter, largest: float) -> HeatCell:
    value = counter.value(line)
    if not value:
        return HeatCell("", 0)
    text = counter.text(value)
    exact = units.count(value)
    return HeatCell(text, heat_level(value - counter.best, largest), hint="" if exact == text else exact)


def _text(lines: Sequence[str], number: int) -> str:
    return lines[number - 1] if number <= len(lines) else ""


def _anchor(line: CountedLine) -> str:
    return f"{_file_anchor(line.file)}-{line.line}"


def _file_anchor(file: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in file.rpartition("/")[2])


def _elsewhere(counted: CountedKernel) -> str:
    rest: Counts = counted.elsewhere
    if not rest.executed:
        return ""
    share = units.percent(rest.executed / counted.total.executed)
    return (
        f"{plural(rest.executed, 'warp-instruction')} ({share}) come from headers of others or from no line; they are "
        "counted at the lines above that call them, and in no line's own."
    )
