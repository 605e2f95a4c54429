"""One captured launch: where its time goes, its roofline, what its warps wait for, and every counter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment
from profiles.ncu.busy_time import TimeFloor, time_floor
from profiles.ncu.explain_text import agreement_sentences
from profiles.ncu.instructions import InstructionMix, instruction_mix
from profiles.ncu.launch_occupancy import LaunchOccupancy, launch_occupancy
from profiles.ncu.layer_links import agreements, matching_captures
from profiles.ncu.memory_flow import Flow, memory_flow
from profiles.ncu.model import Launch, Report
from profiles.ncu.roofline import Roofline, roofline
from profiles.ncu.stalls import Stalls, stall_breakdown
from reports.view.capture_figures import COMPUTE, MEMORY, CapturedKernel, launch_count, quantity, value_text
from reports.view.capture_roofline import capture_roofline_figure
from reports.view.frame import Link, build_frame
from reports.view.page import Figure, Page
from reports.view.tables import MISSING, Cell, Column, Table, missing, rows_of
from reports.view.verdict import Fact

OPCODES_SHOWN = 20
_STALLS_SAID = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One entry of a list of bars."""

    name: str
    value: str
    fraction: float
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Shares of a whole, as bars with their figures."""

    caption: str
    heading: str
    unit: str
    bars: tuple[Bar, ...]
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRow:
    """One counter, as finished text: there are hundreds on a page, so rows are kept light."""

    name: str
    value: str
    unit: str
    layer: str
    exactness: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """One metric without a value, and what the report holds in its place."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLaunchPage:
    """The content of the page of a captured launch."""

    name: str
    whole_name: str  # with template arguments; empty if that is all there is
    summary: str
    source: str
    others: Link
    facts: tuple[Fact, ...]
    findings: tuple[str, ...]
    roofline: Figure | None
    roofline_note: str
    stalls: Bars | None
    memory: Table | None
    mix: Bars | None
    mix_note: str
    agreements: tuple[str, ...]
    rules: Table | None
    counters: tuple[CounterRow, ...]
    missing: tuple[MissingRow, ...]


def build_capture_launch_page(assessment: Assessment, report: Report, kernel: CapturedKernel, launch: Launch) -> Page:
    """The page of one ``launch`` of ``kernel``."""
    path, roof = kernel.launch_path(launch), roofline(launch)
    occupancy, floor = launch_occupancy(launch), time_floor(launch, roof)
    stalls, mix = stall_breakdown(launch), instruction_mix(launch)
    figure = capture_roofline_figure(roof, path)
    count = len(kernel.group.launches)
    content = CaptureLaunchPage(
        name=kernel.name,
        whole_name=kernel.whole_name,
        summary=_summary(launch, kernel.group.shape),
        source=report.path,
        others=Link(text=f"All {launch_count(count)} together" if count > 1 else "The kernel", href=kernel.path),
        facts=_facts(launch, floor, occupancy),
        findings=tuple(_findings(floor, roof, occupancy, stalls, mix)),
        roofline=figure,
        roofline_note="" if figure else "The capture lacks the counters of a roofline: work, traffic and their peaks.",
        stalls=_stall_bars(stalls),
        memory=_memory_table(memory_flow(launch)),
        mix=_mix_bars(mix),
        mix_note=mix.spill_sentence.capitalize() + "." if mix.spill_sentence else "",
        agreements=tuple(_agreements(assessment, launch)),
        rules=_rule_table(launch),
        counters=tuple(_counter_rows(launch)),
        missing=tuple(MissingRow(name=name, reason=found or "empty") for name, found in sorted(launch.missing.items())),
    )
    frame = build_frame(assessment, path, f"launch {launch.number} of {kernel.name}")
    return Page(
        template="capture_launch.html", frame=frame, content=content, figures=(figure,) if figure is not None else ()
    )


def _summary(launch: Launch, shape: str) -> str:
    parts = [f"Launch {launch.number}", shape, launch.device]
    if launch.compute_capability:
        parts.append(f"compute capability {launch.compute_capability}")
    if launch.ranges:
        parts.append(f"in the range {' / '.join(launch.ranges)}")
    return ", ".join(part for part in parts if part) + "."


def _facts(launch: Launch, floor: TimeFloor | None, occupancy: LaunchOccupancy) -> tuple[Fact, ...]:
    facts: list[tuple[str, str, str]] = []
    if floor is not None:
        busiest = floor.floor
        facts.append(("time", units.seconds(floor.seconds), "under the profiler"))
        facts.append(("busiest", busiest.resource, f"{units.percent(busiest.fraction)} of the time"))
    for title, name in (("compute", COMPUTE), ("memory", MEMORY)):
        value = launch.number_of(name)
        if value is not None:
            facts.append((title, quantity(value, launch.counters[name].unit), "of the peak, by Nsight Compute"))
    if occupancy.theoretical is not None:
        facts.append(("occupancy", units.percent(occupancy.theoretical), _occupancy_detail(occupancy)))
    return tuple(Fact(name=name, value=value, detail=detail) for name, value, detail in facts)


def _occupancy_detail(occupancy: LaunchOccupancy) -> str:
    reached = f"{units.percent(occupancy.achieved)} reached" if occupancy.achieved is not None else ""
    limiter = f"limited by {occupancy.limiter}" if occupancy.limiter else ""
    return ", ".join(part for part in (reached, limiter) if part)


def _findings(
    floor: TimeFloor | None, roof: Roofline, occupancy: LaunchOccupancy, stalls: Stalls, mix: InstructionMix
) -> Iterable[str]:
    """What the analyses say, the weightiest first."""
    if floor is not None:
        yield floor.sentence
        yield from (busy.sentence for busy in floor.busy[1:4])
    yield from (level.sentence for level in roof.traffic)
    yield from (work.sentence for work in roof.work[:2])
    if stalls.states:
        yield "Warps: " + "; ".join(stall.sentence for stall in stalls.states[:_STALLS_SAID])
    yield from (sentence for sentence in (occupancy.sentence, mix.sentence, mix.spill_sentence) if sentence)


def _agreements(assessment: Assessment, launch: Launch) -> list[str]:
    """Where the static and simulated layers say the same of this kernel, if it is one of ours, and where not."""
    captures = [capture for kernel in assessment.kernels for capture in kernel.captures]
    return agreement_sentences(agreements(launch, matching_captures(launch, captures)))


def _stall_bars(stalls: Stalls) -> Bars | None:
    if not stalls.states:
        return None
    bars = tuple(
        Bar(
            name=f"{stall.meaning} ({stall.reason})",
            value=MISSING if stall.cycles is None else f"{stall.cycles:.3g}",
            fraction=stall.share,
            share=units.percent(stall.share),
        )
        for stall in stalls.states
    )
    return Bars(
        caption=f"What warps spend their time on ({stalls.source}; statistical)",
        heading="state",
        unit="cycles per instruction",
        bars=bars,
    )


def _mix_bars(mix: InstructionMix) -> Bars | None:
    if not mix.opcodes:
        return None
    rest = len(mix.opcodes) - OPCODES_SHOWN
    more = f"; {rest} rarer opcodes are left out" if rest > 0 else ""
    return Bars(
        caption=f"Instructions that warps executed, by opcode{more}",
        heading="opcode",
        unit="executed",
        bars=tuple(
            Bar(
                name=opcode.name,
                value=units.count(opcode.executed),
                fraction=opcode.share,
                share=units.percent(opcode.share),
            )
            for opcode in mix.opcodes[:OPCODES_SHOWN]
        ),
        code=True,
    )


def _memory_table(flows: tuple[Flow, ...]) -> Table | None:
    if not flows:
        return None
    titles = ("requests", "sectors", "sectors/request", "wavefronts", "wavefronts/request", "bytes", "bytes/sector")
    return Table(
        caption="From the core to the memory (hardware layer). Sectors are 32 bytes; a dash is what was not captured.",
        columns=(
            Column("level"),
            Column("access"),
            *(Column(title, numeric=True) for title in titles),
            Column("hits", numeric=True),
        ),
        rows=rows_of(_flow_row(flow) for flow in flows),
        sortable=False,
    )


def _flow_row(flow: Flow) -> tuple[Cell, ...]:
    return (
        Cell(flow.level),
        Cell(flow.access),
        _cell(flow.requests, units.count),
        _cell(flow.sectors, units.count),
        _cell(flow.sectors_per_request, _ratio),
        _cell(flow.wavefronts, units.count),
        _cell(flow.wavefronts_per_request, _ratio),
        _cell(flow.bytes, units.byte_total),
        _cell(flow.bytes_per_sector, _ratio),
        _cell(flow.hit_rate, units.percent),
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _cell(value: float | None, text: Callable[[float], str]) -> Cell:
    return missing("not captured") if value is None else Cell(text(value), sort=value)


def _rule_table(launch: Launch) -> Table | None:
    if not launch.rules:
        return None
    return Table(
        caption="Results of the rules of Nsight Compute, in its words",
        columns=(Column("section"), Column("rule"), Column("kind"), Column("message")),
        rows=rows_of(
            (Cell(rule.section), Cell(rule.rule, code=True), Cell(rule.kind), Cell(rule.message))
            for rule in launch.rules
        ),
        sortable=False,
    )


def _counter_rows(launch: Launch) -> Iterable[CounterRow]:
    for name in sorted(launch.counters):
        counter = launch.counters[name]
        yield CounterRow(
            name=name,
            value=value_text(counter.value),
            unit=counter.unit,
            layer=counter.layer.value,
            exactness=counter.exactness.value,
        )
