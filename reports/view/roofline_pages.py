"""The pages of the rooflines: the measured machine's, and one per declared GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment, CaseAssessment, Floor
from perf.model import Device, DType, Target
from perf.work import flop_count, intensity
from reports.chart_parts import plotly_text
from reports.charts import MARKER_MEANING, Dot, DotGroup, Roof, marker, roofline_chart
from reports.view import quantities
from reports.view.frame import ROOFLINES_PATH, build_frame, case_path, target_path
from reports.view.measured_roofline import build_ceiling_table, measured_figures
from reports.view.page import Figure, Page
from reports.view.quantities import plural
from reports.view.tables import Cell, Column, Table, missing, rows_of
from reports.view.wording import BOUND_MEANING, case_sort_key

BOUND_COLOURS = {"bytes": "var(--series-0)", "tensor": "var(--series-1)", "exp": "var(--series-2)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooflines:
    """The content of rooflines.html."""

    measured: tuple[Figure, ...]
    measured_note: str
    ceilings: Table | None
    targets: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRoofline:
    """The content of the page of one declared GPU."""

    title: str
    facts: Table
    figure: Figure
    note: str


def build_roofline_pages(assessment: Assessment) -> tuple[Page, ...]:
    """The page of the measured rooflines and one page per declared GPU."""
    measured = measured_figures(assessment)
    gpus = declared_gpus(assessment)
    content = Rooflines(
        measured=measured,
        measured_note="" if measured else "No ceiling was measured for this commit; run: nox -s bench",
        ceilings=build_ceiling_table(assessment),
        targets=_target_table("Declared GPUs: what their makers promise (dense, fp32 accumulation)", gpus),
    )
    frame = build_frame(assessment, ROOFLINES_PATH, "Rooflines")
    overview = Page(template="rooflines.html", frame=frame, content=content, figures=measured)
    return (overview, *(_target_page(assessment, target) for target in gpus))


def declared_gpus(assessment: Assessment) -> tuple[Target, ...]:
    """Declared targets that have a roofline: GPUs with a bandwidth and a peak."""
    return tuple(
        target
        for target in assessment.targets
        if target.device is Device.CUDA and target.dram_bytes_per_s and target.flop_per_s
    )


def _target_page(assessment: Assessment, target: Target) -> Page:
    placed = [(case, floor) for case in assessment.cases for floor in case.floors if floor.target == target.name]
    placed.sort(key=lambda pair: case_sort_key(pair[0].case))
    figure = _target_figure(target, placed)
    content = TargetRoofline(
        title=target.title,
        facts=_target_table(f"What is declared of {target.title}", (target,)),
        figure=figure,
        note="" if placed else "No case was measured for this commit, so only the roofs are drawn.",
    )
    frame = build_frame(assessment, target_path(target.name), f"Roofline of {target.title}")
    return Page(template="target.html", frame=frame, content=content, figures=(figure,))


Placed = list[tuple[CaseAssessment, Floor]]


def _target_figure(target: Target, placed: Placed) -> Figure:
    bandwidth = target.dram_bytes_per_s or 0.0  # declared_gpus() keeps only targets that have one
    roofs = [
        Roof(
            title=f"{names} {units.flop_rate(peak)}",
            peak_flop_per_s=peak,
            bytes_per_s=bandwidth,
            slope_title="" if index else units.byte_rate(bandwidth),
        )
        for index, (peak, names) in enumerate(_types_by_peak(target).items())
    ]
    groups = [
        DotGroup(
            title=f"bounded by {meaning}",
            symbol="circle",
            colour=BOUND_COLOURS[bound],
            dots=tuple(_floor_dot(case, floor) for case, floor in placed if floor.bound == bound),
        )
        for bound, meaning in BOUND_MEANING.items()
    ]
    return Figure(
        id="roofline",
        title=f"Roofline of {target.title}",
        description=f"The highest rate that {plural(len(placed), 'case')} can reach on {target.title}, over "
        "arithmetic intensity. Nothing here was measured: it follows from declared peaks. The softmax's exponentials "
        "can hold a case below the roof.",
        spec=roofline_chart(roofs, [group for group in groups if group.dots]),
        table=_floor_table(target, placed),
        note=MARKER_MEANING,
    )


def _types_by_peak(target: Target) -> dict[float, str]:
    """Types that share a peak share a roof."""
    peaks = dict.fromkeys(target.flop_per_s.values())
    return {peak: ", ".join(dtype.key for dtype, value in target.flop_per_s.items() if value == peak) for peak in peaks}


def _floor_dot(case: CaseAssessment, floor: Floor) -> Dot:
    rate = flop_count(case.case) / floor.seconds
    lines = (
        case.case.name,
        f"at best {units.flop_rate(rate)}, {units.seconds(floor.seconds)}",
        f"bounded by {BOUND_MEANING[floor.bound]}",
    )
    return Dot(
        intensity=intensity(case.case),
        flop_per_s=rate,
        text="<br>".join(plotly_text(line) for line in lines),
        href=case_path(case.case.name, case.target),
        symbol=marker(case.case),
        colour=BOUND_COLOURS[floor.bound],
    )


def _floor_table(target: Target, placed: Placed) -> Table:
    return Table(
        caption=f"Floor of each case on {target.title}: the time that no version can beat (from declared peaks)",
        columns=(
            Column("case"),
            *FLOOR_COLUMNS,
        ),
        rows=rows_of(
            (
                Cell(
                    case.case.name,
                    sort=case_sort_key(case.case),
                    href=case_path(case.case.name, case.target),
                    code=True,
                ),
                *floor_cells(case, floor),
            )
            for case, floor in placed
        ),
    )


# Of the cells that floor_cells gives.
FLOOR_COLUMNS = (
    Column("floor", numeric=True),
    Column("bounded by"),
    Column("bytes", numeric=True),
    Column("matrix arithmetic", numeric=True),
    Column("exponentials", numeric=True),
    Column("rate at the floor", numeric=True),
)


def floor_cells(case: CaseAssessment, floor: Floor) -> tuple[Cell, ...]:
    """The floor, its bound, its three parts and the rate that it amounts to."""
    parts = (("bytes", floor.bytes_s), ("tensor", floor.tensor_s), ("exp", floor.exp_s))
    rate = flop_count(case.case) / floor.seconds
    return (
        Cell(units.seconds(floor.seconds), sort=floor.seconds, tone="strong"),
        Cell(BOUND_MEANING[floor.bound], sort=floor.bound),
        *(
            missing("not declared") if seconds is None else Cell(units.seconds(seconds), sort=seconds)
            for _, seconds in parts
        ),
        Cell(units.flop_rate(rate), sort=rate),
    )


def _target_table(caption: str, gpus: tuple[Target, ...]) -> Table:
    dtypes = [dtype for dtype in DType if any(dtype in target.flop_per_s for target in gpus)]
    rows = (
        (
            Cell(target.title, sort=target.title, href=target_path(target.name)),
            Cell(target.architecture, sort=target.architecture),
            *(_rate_cell(target.flop_per_s.get(dtype), units.flop_rate) for dtype in dtypes),
            _rate_cell(target.exp_per_s, quantities.exponential_rate),
            _rate_cell(target.dram_bytes_per_s, units.byte_rate),
            Cell(target.source or "not said"),
        )
        for target in gpus
    )
    return Table(
        caption=caption,
        columns=(
            Column("target"),
            Column("architecture"),
            *(Column(f"{dtype.key} peak", numeric=True) for dtype in dtypes),
            Column("exponentials", numeric=True),
            Column("bandwidth", numeric=True),
            Column("source"),
        ),
        rows=rows_of(rows),
    )


def _rate_cell(value: float | None, text: Callable[[float], str]) -> Cell:
    return missing("not declared") if value is None else Cell(text(value), sort=value)
