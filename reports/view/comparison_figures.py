"""The charts of one compared case, each with the table that says the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from perf import units
from perf.paired.judged import block_seconds
from perf.paired.model import (
    Block,
    Conditions,
    GpuConditions,
    PairedCase,
    PairedComparison,
    Restart,
    Side,
    Stage,
)
from perf.paired.statistics import block_log_ratio, restart_mean
from reports.chart_parts import plotly_text
from reports.comparison_charts import (
    BASE_COLOUR,
    CANDIDATE_COLOUR,
    Band,
    Course,
    Distribution,
    RestartDots,
    TimedBlock,
    difference_chart,
    distribution_chart,
    shown_range,
    timeline_chart,
)
from reports.view import quantities
from reports.view.case_page import QUANTILES
from reports.view.page import Figure
from reports.view.quantities import plural
from reports.view.tables import Cell, Column, Table, missing, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlacedBlock:
    """A block with its restart's number, from 1, and its place in it, from 1."""

    restart: int
    place: int
    block: Block

    @property
    def change(self) -> float:
        return math.expm1(block_log_ratio(self.block))


def _measured(case: PairedCase) -> list[Restart]:
    """The restarts of which any block is left."""
    return [restart for restart in case.restarts if restart.blocks]


def _placed_blocks(case: PairedCase) -> list[_PlacedBlock]:
    return [
        _PlacedBlock(restart=number, place=place, block=block)
        for number, restart in enumerate(_measured(case), start=1)
        for place, block in enumerate(restart.blocks, start=1)
    ]


def difference_figure(paired: PairedComparison, case: PairedCase) -> Figure:
    """Blocks and restarts of ``case``, which must have been timed, around their interval."""
    dots = [_restart_dots(number, restart) for number, restart in enumerate(_measured(case), start=1)]
    finding, margin = case.finding, paired.plan.margin
    band = None
    if finding.change is not None and finding.interval is not None:
        low, high = finding.interval.low, finding.interval.high
        band = Band(change=finding.change, low=low, high=high)
    low, high = shown_range(dots, band, margin)
    outside = sum(not low <= change <= high for dot in dots for change in dot.changes)
    return Figure(
        id="differences",
        title="Paired differences",
        description="How much longer a call of the candidate took than one of the base: each block (open), and each "
        "restart's trimmed mean (filled), which is what counts. The band is the interval of the change over all "
        "restarts, the dotted lines are the margin. Above zero is slower.",
        spec=difference_chart(dots, band, margin),
        table=_restart_table(case),
        note=f"{plural(outside, 'block')} beyond the edges of the chart; zoom out to see all." if outside else "",
    )


def _restart_dots(number: int, restart: Restart) -> RestartDots:
    mean = math.expm1(restart_mean(restart))
    changes = [math.expm1(block_log_ratio(block)) for block in restart.blocks]
    return RestartDots(
        number=number,
        is_confirmation=restart.stage is Stage.CONFIRMATION,
        changes=tuple(float(f"{change:.6g}") for change in changes),
        texts=tuple(
            f"restart {number}, block {place}: {units.change(one)}" for place, one in enumerate(changes, start=1)
        ),
        mean=mean,
        mean_text=f"restart {number}, {restart.stage.value}: {units.change(mean)}",
    )


def _restart_table(case: PairedCase) -> Table:
    return Table(
        caption="Each restart: a process of its own, with its own order of sides, environment and allocations",
        columns=(
            Column("restart", numeric=True),
            Column("stage"),
            Column("change", hint="trimmed mean over the blocks", numeric=True),
            Column("blocks from", numeric=True),
            Column("to", numeric=True),
            Column("blocks", numeric=True),
            Column("dropped", hint="because the GPU was throttled", numeric=True),
            Column("calls each", hint="calls per sample", numeric=True),
            Column("took", numeric=True),
            Column("seed", numeric=True),
        ),
        rows=rows_of(_restart_row(number, restart) for number, restart in enumerate(_measured(case), start=1)),
    )


def _restart_row(number: int, restart: Restart) -> tuple[Cell, ...]:
    mean = math.expm1(restart_mean(restart))
    changes = [math.expm1(block_log_ratio(block)) for block in restart.blocks]
    return (
        Cell(units.count(number), sort=number),
        Cell(restart.stage.value, sort=restart.stage.value),
        Cell(units.change(mean), sort=mean),
        Cell(units.change(min(changes)), sort=min(changes)),
        Cell(units.change(max(changes)), sort=max(changes)),
        Cell(units.count(len(changes)), sort=len(changes)),
        Cell(units.count(restart.dropped), sort=restart.dropped),
        Cell(units.count(restart.iterations), sort=restart.iterations),
        Cell(quantities.elapsed(restart.wall_s), sort=restart.wall_s),
        Cell(str(restart.seed), sort=restart.seed),
    )


def timeline_figure(case: PairedCase) -> Figure:
    """Both sides of every block over the time since the comparison began."""
    placed = _placed_blocks(case)
    blocks = [
        TimedBlock(
            started_s=round(one.block.started_s, 3),
            base_s=float(f"{block_seconds(one.block, Side.BASE):.6g}"),
            candidate_s=float(f"{block_seconds(one.block, Side.CANDIDATE):.6g}"),
            text=_block_text(one),
        )
        for one in placed
    ]
    return Figure(
        id="timeline",
        title="Blocks over time",
        description="Time per call of both sides in every block (lower quartiles), and what the machine did meanwhile. "
        "What slows the machine moves both sides together and cancels in their ratio.",
        spec=timeline_chart(blocks, _courses([one.block.conditions for one in placed])),
        table=_block_table(placed),
    )


def _block_text(one: _PlacedBlock) -> str:
    lines = [
        f"restart {one.restart}, block {one.place}: {units.change(one.change)}",
        f"base {units.seconds(block_seconds(one.block, Side.BASE))}",
        f"candidate {units.seconds(block_seconds(one.block, Side.CANDIDATE))}",
        _throttling(one.block.conditions),
    ]
    return "<br>".join(plotly_text(line) for line in lines if line)


def _throttling(conditions: Conditions) -> str:
    return ", ".join(conditions.gpu.throttle_reasons) if conditions.gpu else ""


def _courses(found: list[Conditions]) -> list[Course]:
    """What the system told of itself; the chart leaves out what it did not."""
    gpus = [conditions.gpu or GpuConditions() for conditions in found]
    return [
        Course(title="load average", values=tuple(one.load_average for one in found), tick_format=".2f"),
        Course(title="steal", values=tuple(one.steal_fraction for one in found), tick_format=".1%"),
        Course(title="clock", values=tuple(one.frequency_hz for one in found), tick_format=".3s", suffix="Hz"),
        Course(title="SM clock", values=tuple(gpu.sm_clock_hz for gpu in gpus), tick_format=".3s", suffix="Hz"),
        Course(title="power", values=tuple(gpu.power_w for gpu in gpus), tick_format=".0f", suffix=" W"),
        Course(title="GPU", values=tuple(gpu.temperature_c for gpu in gpus), tick_format=".0f", suffix=" °C"),
    ]


def _block_table(placed: list[_PlacedBlock]) -> Table:
    return Table(
        caption="Each block: lower quartiles of the time per call, and the machine around it",
        columns=(
            Column("restart", numeric=True),
            Column("block", numeric=True),
            Column("began", hint="since the comparison began", numeric=True),
            Column("base", numeric=True),
            Column("candidate", numeric=True),
            Column("change", numeric=True),
            Column("load", hint="average of the last minute", numeric=True),
            Column("steal", hint="processor time taken by the hypervisor", numeric=True),
            Column("clock", hint="mean over the processors, or of the GPU's multiprocessors", numeric=True),
        ),
        rows=rows_of(_block_row(one) for one in placed),
    )


def _block_row(one: _PlacedBlock) -> tuple[Cell, ...]:
    base_s, candidate_s = (block_seconds(one.block, side) for side in (Side.BASE, Side.CANDIDATE))
    conditions = one.block.conditions
    clock_hz = conditions.gpu.sm_clock_hz if conditions.gpu else conditions.frequency_hz
    load, steal = conditions.load_average, conditions.steal_fraction
    return (
        Cell(str(one.restart), sort=one.restart),
        Cell(str(one.place), sort=one.place),
        Cell(f"{one.block.started_s:.1f} s", sort=round(one.block.started_s, 3)),
        Cell(units.seconds(base_s), sort=float(f"{base_s:.6g}")),
        Cell(units.seconds(candidate_s), sort=float(f"{candidate_s:.6g}")),
        Cell(units.change(one.change), sort=round(one.change, 6)),
        _UNKNOWN if load is None else Cell(f"{load:.2f}", sort=load),
        _UNKNOWN if steal is None else Cell(units.percent(steal), sort=steal),
        _UNKNOWN if clock_hz is None else Cell(f"{clock_hz / 1e9:.2f} GHz", sort=clock_hz),
    )


_UNKNOWN = missing("the system does not tell")


def _samples(case: PairedCase, side: Side) -> tuple[float, ...]:
    blocks: Iterable[Block] = (block for restart in case.restarts for block in restart.blocks)
    return tuple(sample for block in blocks for sample in (block.base_s if side is Side.BASE else block.candidate_s))


def distribution_figure(case: PairedCase) -> Figure:
    """All samples of both sides."""
    base, candidate = _samples(case, Side.BASE), _samples(case, Side.CANDIDATE)
    styles = (("base", base, BASE_COLOUR, "dash"), ("candidate", candidate, CANDIDATE_COLOUR, "solid"))
    return Figure(
        id="distributions",
        title="Distributions",
        description="The share of the samples that took no longer than the time below: base dashed, candidate solid. "
        "A line further right is slower. Verdicts look at the lower quartiles; a change of rarer calls shows here.",
        spec=distribution_chart(
            [
                Distribution(title=name, samples_s=values, colour=colour, dash=dash)
                for name, values, colour, dash in styles
            ]
        ),
        table=Table(
            caption=f"The time per call that the given share of {plural(len(base), 'sample')} of each side does not "
            "exceed",
            columns=(Column("side"), *(Column(f"{share} %", numeric=True) for share in QUANTILES)),
            rows=rows_of(_quantile_row(name, values) for name, values, _, _ in styles),
        ),
        note="The slowest twentieth of the samples may lie beyond the right edge; zoom out, or see the table.",
    )


def _quantile_row(name: str, samples_s: tuple[float, ...]) -> tuple[Cell, ...]:
    quantiles = np.percentile(samples_s, QUANTILES).tolist()
    return Cell(name, sort=name), *(Cell(units.seconds(value), sort=value) for value in quantiles)
