"""The roofline of the machine that was measured: its ceilings, and the cases below them."""

from __future__ import annotations

from collections.abc import Iterable

from perf import units
from perf.findings import Assessment, CaseAssessment
from perf.model import OWN_IMPLEMENTATION, Ceiling, CeilingKind, Device, DType, Measurement, Operation, Verdict
from perf.roofline import find_ceiling
from perf.work import flop_count, intensity
from reports.chart_parts import plotly_text
from reports.charts import MARKER_MEANING, SYMBOLS, TONES, Dot, DotGroup, Roof, marker, roofline_chart
from reports.view.case_table import roofline_cell
from reports.view.frame import case_path
from reports.view.page import Figure
from reports.view.quantities import plural
from reports.view.tables import MISSING, Cell, Column, Table, missing, rows_of
from reports.view.wording import BOUND_MEANING, CEILING_TITLES, MARKS, case_sort_key, implementation_title

PEER_SYMBOL = "line-ew-open"
DEVICE_TITLES = {Device.CPU: "processor", Device.CUDA: "GPU"}


def measured_figures(assessment: Assessment) -> tuple[Figure, ...]:
    """One roofline per kind of processor that has measured ceilings."""
    figures = (measured_figure(assessment, device, assessment.cases) for device in Device)
    return tuple(figure for figure in figures if figure is not None)


def measured_figure(assessment: Assessment, device: Device, cases: Iterable[CaseAssessment]) -> Figure | None:
    """The ceilings of this run on ``device`` and ``cases`` below them; None without a bandwidth and a peak."""
    ceilings = assessment.run.ceilings if assessment.run else ()
    placed = [case for case in cases if case.device is device and case.roofline is not None]
    dtypes = {case.case.dtype for case in placed} or set(DType)
    roofs = _measured_roofs(ceilings, device, dtypes)
    if not roofs:
        return None
    placed.sort(key=lambda case: case_sort_key(case.case))
    return Figure(
        id=f"roofline-{device.value}",
        title=f"Roofline of this machine's {DEVICE_TITLES[device]}",
        description=f"Attained rate of {plural(len(placed), 'case')} over arithmetic intensity, below the "
        f"ceilings of the same run. {MARKER_MEANING} A cross marks a regression. Colours are those of the verdicts.",
        spec=roofline_chart(roofs, _measured_groups(placed)),
        table=_position_table(placed),
        note="Solid: instruction peak and copy bandwidth of our own microkernels. Dashed: what torch's GEMM reaches. "
        "Select a marker to open its case.",
    )


def _measured_roofs(ceilings: Iterable[Ceiling], device: Device, dtypes: set[DType]) -> list[Roof]:
    ceilings = tuple(ceilings)
    bandwidth = find_ceiling(ceilings, CeilingKind.COPY, device)
    if bandwidth is None:
        return []
    roofs: list[Roof] = []
    for kind, dash in ((CeilingKind.INSTRUCTION_PEAK, "solid"), (CeilingKind.GEMM, "dash")):
        for dtype in DType:
            peak = find_ceiling(ceilings, kind, device, dtype)
            if peak is not None and dtype in dtypes:
                title = f"{dtype.key} {CEILING_TITLES[kind]} {units.flop_rate(peak)}"
                slope = "" if roofs else f"copy {units.byte_rate(bandwidth)}"
                roofs.append(
                    Roof(title=title, peak_flop_per_s=peak, bytes_per_s=bandwidth, slope_title=slope, dash=dash)
                )
    return roofs


def _measured_groups(cases: list[CaseAssessment]) -> list[DotGroup]:
    own = [
        DotGroup(
            title=dtype.key + ("" if operation is Operation.ATTENTION_FWD else " backward"),
            symbol=symbol,
            dots=tuple(
                _own_dot(case) for case in cases if (case.case.operation, case.case.dtype) == (operation, dtype)
            ),
        )
        for operation, symbols in SYMBOLS.items()
        for dtype, symbol in symbols.items()
    ]
    own = [group for group in own if group.dots]
    peers = tuple(_peer_dot(case, min(case.peers, key=_median)) for case in cases if case.peers)
    return [*([_peer_group(peers)] if peers else []), *own]


def _peer_group(dots: tuple[Dot, ...]) -> DotGroup:
    return DotGroup(title="fastest peer", dots=dots, symbol=PEER_SYMBOL, colour="var(--soft)", size=7)


def _median(measurement: Measurement) -> float:
    return measurement.median_s


def _own_dot(case: CaseAssessment) -> Dot:
    return Dot(
        intensity=intensity(case.case),
        flop_per_s=case.throughput_flop_per_s,
        text=_dot_text(case, OWN_IMPLEMENTATION, case.throughput_flop_per_s, case.own.median_s),
        href=case_path(case.case.name, case.target),
        symbol=marker(case.case, has_regressed=case.comparison.verdict is Verdict.REGRESSED),
        colour=TONES.get(case.comparison.verdict, "var(--own)"),
    )


def _peer_dot(case: CaseAssessment, peer: Measurement) -> Dot:
    rate = flop_count(case.case) / peer.median_s
    return Dot(
        intensity=intensity(case.case),
        flop_per_s=rate,
        text=_dot_text(case, peer.implementation, rate, peer.median_s),
        href=case_path(case.case.name, case.target),
        symbol=PEER_SYMBOL,
        colour="var(--soft)",
    )


def _dot_text(case: CaseAssessment, implementation: str, flop_per_s: float, seconds: float) -> str:
    lines = [
        case.case.name,
        f"{implementation_title(implementation)}: {units.flop_rate(flop_per_s)}, {units.seconds(seconds)}",
    ]
    if implementation == OWN_IMPLEMENTATION and case.roofline is not None:
        bound = BOUND_MEANING[case.roofline.bound]
        lines.append(f"{units.percent(case.roofline.fraction)} of the roofline, bounded by {bound}")
        lines.append(MARKS[case.comparison.verdict].word)
    return "<br>".join(plotly_text(line) for line in lines)


def _position_table(cases: list[CaseAssessment]) -> Table:
    rows = []
    for case in cases:
        roofline = case.roofline
        assert roofline is not None  # noqa: S101 - the caller keeps only cases that have one
        gemm = missing("GEMM was not measured for this type")
        if roofline.gemm_fraction is not None:
            gemm = Cell(units.percent(roofline.gemm_fraction), sort=roofline.gemm_fraction)
        rows.append(
            (
                Cell(
                    case.case.name,
                    sort=case_sort_key(case.case),
                    href=case_path(case.case.name, case.target),
                    code=True,
                ),
                _intensity_cell(roofline.intensity_flop_per_byte),
                Cell(units.flop_rate(roofline.attained_flop_per_s), sort=roofline.attained_flop_per_s),
                Cell(units.flop_rate(roofline.attainable_flop_per_s), sort=roofline.attainable_flop_per_s),
                roofline_cell(case),
                gemm,
                Cell(BOUND_MEANING[roofline.bound], sort=roofline.bound),
            )
        )
    return Table(
        caption="Position of each case under the roofline (timed layer)",
        columns=(
            Column("case"),
            Column("intensity", hint="FLOP per byte that must move", numeric=True),
            Column("attained", numeric=True),
            Column("attainable", numeric=True),
            Column("of roofline", numeric=True),
            Column("of GEMM", numeric=True),
            Column("bounded by"),
        ),
        rows=rows_of(rows),
    )


def _intensity_cell(flop_per_byte: float) -> Cell:
    return Cell(units.intensity(flop_per_byte), sort=flop_per_byte)


def build_ceiling_table(assessment: Assessment) -> Table | None:
    """Every measured ceiling with what ran; None if none was measured."""
    ceilings = assessment.run.ceilings if assessment.run else ()
    if not ceilings:
        return None
    rows = (
        (
            Cell(CEILING_TITLES[ceiling.kind]),
            Cell(DEVICE_TITLES[ceiling.device]),
            Cell(ceiling.dtype.key) if ceiling.dtype else missing("holds for every type"),
            Cell(_ceiling_text(ceiling), sort=ceiling.value),
            Cell(units.percent(1 - min(ceiling.samples) / ceiling.value) if ceiling.samples else MISSING),
            Cell(units.count(len(ceiling.samples)), sort=len(ceiling.samples)),
            Cell(ceiling.detail),
        )
        for ceiling in ceilings
    )
    return Table(
        caption="Ceilings measured in this run: the best sample of each (timed layer)",
        columns=(
            Column("ceiling"),
            Column("processor"),
            Column("type"),
            Column("value", numeric=True),
            Column("spread", hint="how far the lowest sample lies below the best", numeric=True),
            Column("samples", numeric=True),
            Column("what ran"),
        ),
        rows=rows_of(rows),
        sortable=False,
    )


def _ceiling_text(ceiling: Ceiling) -> str:
    return (units.byte_rate if ceiling.kind is CeilingKind.COPY else units.flop_rate)(ceiling.value)
