"""The page of one case: samples, peers, roofline position, floors on declared GPUs, and history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perf import units
from perf.findings import Assessment, CaseAssessment, Comparison, PeerRatio
from perf.model import Case, Interval, Measurement, Verdict
from perf.work import flop_count, intensity, minimum_bytes
from reports.chart_parts import plotly_text
from reports.charts import (
    HistoryDot,
    SampleSeries,
    history_chart,
    samples_chart,
    shown_samples,
)
from reports.view import quantities
from reports.view.case_table import ratio_cell
from reports.view.changes import change_text
from reports.view.compared import comparison_links
from reports.view.frame import build_frame, case_path, target_path
from reports.view.measured_roofline import measured_figure
from reports.view.page import Figure, Page
from reports.view.proportion_table import NOTE as PROPORTION_NOTE
from reports.view.proportion_table import build_proportion_table
from reports.view.quantities import moment, plural, span
from reports.view.roofline_pages import FLOOR_COLUMNS, floor_cells
from reports.view.tables import MISSING, Cell, Column, Mark, Table, missing, rows_of
from reports.view.verdict import Fact
from reports.view.wording import (
    BOUND_MEANING,
    MARKS,
    OPERATION_TITLES,
    change_sentence,
    implementation_title,
    mask_words,
)

QUANTILES = (0, 5, 25, 50, 75, 95, 100)
SERIES_STYLES = (
    ("var(--own)", "circle"),
    ("var(--series-1)", "square"),
    ("var(--series-2)", "diamond"),
    ("var(--series-3)", "cross"),
    ("var(--series-4)", "triangle-up"),
)


@dataclass(frozen=True, slots=True)
class Detail:
    """One line of the details of a measurement."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePage:
    """The content of a case's page."""

    name: str
    description: str
    mark: Mark
    verdict_text: str
    verdict_reason: str
    comparison_href: str  # the case's page in the paired comparison; empty if it was not timed there
    facts: tuple[Fact, ...]
    peers: Table
    masks: Table | None  # time against the share of tiles
    masks_note: str
    samples: Figure
    roofline: Figure | None
    roofline_note: str
    floors: Table | None
    history: Figure | None
    history_note: str
    details: tuple[Detail, ...]


def build_case_page(assessment: Assessment, case: CaseAssessment) -> Page:
    """The page of ``case``."""
    roofline = measured_figure(assessment, case.device, (case,)) if case.roofline else None
    history = _history_figure(assessment, case) if case.history else None
    samples = _samples_figure(case)
    comparison = case.comparison
    content = CasePage(
        name=case.case.name,
        description=describe(case.case, case.target),
        mark=MARKS[comparison.verdict],
        verdict_text=_verdict_text(comparison),
        verdict_reason=comparison.reason,
        comparison_href=comparison_links(assessment).get((case.case.name, case.target), ""),
        facts=tuple(_facts(assessment, case)),
        peers=_peer_table(case),
        masks=build_proportion_table(assessment, case),
        masks_note=PROPORTION_NOTE,
        samples=samples,
        roofline=roofline,
        roofline_note="" if roofline else "No ceiling was measured for this case's type in this run.",
        floors=_floor_table(assessment, case) if case.floors else None,
        history=history,
        history_note="" if history else "This is the first run of this case on this machine.",
        details=_details(case),
    )
    figures = tuple(figure for figure in (samples, roofline, history) if figure is not None)
    frame = build_frame(assessment, case_path(case.case.name, case.target), case.case.name)
    return Page(template="case.html", frame=frame, content=content, figures=figures)


def describe(one: Case, target: str) -> str:
    """The problem in words: shapes, element type and mask."""
    heads = (
        f"{one.heads_q} heads" if one.heads_q == one.heads_kv else f"{one.heads_q} query and {one.heads_kv} KV heads"
    )
    lengths = f"{one.seqlen_q}" if one.seqlen_q == one.seqlen_k else f"{one.seqlen_q} queries by {one.seqlen_k} keys"
    return (
        f"{OPERATION_TITLES[one.operation].capitalize()} in {one.dtype.key} on {target}: batch {one.batch}, {heads}, "
        f"sequence length {lengths}, head dimension {one.head_dim}, {mask_words(one)}."
    )


def _verdict_text(comparison: Comparison) -> str:
    """What changed; of identical machine code nothing did, whatever the clock says."""
    if comparison.change is None or comparison.verdict is Verdict.IDENTICAL:
        return ""
    return change_sentence(comparison)


def _facts(assessment: Assessment, case: CaseAssessment) -> list[Fact]:
    interval, comparison = case.interval_s, case.comparison
    facts = [
        Fact(
            name="median time",
            value=units.seconds(case.own.median_s),
            detail=f"{quantities.confidence(interval)} interval {span(interval, units.seconds)}",
        ),
        Fact(
            name="rate",
            value=units.flop_rate(case.throughput_flop_per_s),
            detail=f"of {units.flop_total(flop_count(case.case))} per call",
        ),
    ]
    if case.roofline is not None:
        gemm = case.roofline.gemm_fraction
        facts.append(
            Fact(
                name="of the measured roofline",
                value=units.percent(case.roofline.fraction),
                detail=f"{units.percent(gemm)} of the GEMM rate" if gemm is not None else "GEMM was not measured",
            )
        )
    if case.ratios:
        best = min(case.ratios, key=lambda ratio: ratio.ratio)
        facts.append(
            Fact(
                name=f"times {implementation_title(best.peer)}",
                value=units.ratio(best.ratio),
                detail=f"interval {span(best.interval, units.ratio)}, the fastest peer",
            )
        )
    tone = MARKS[comparison.verdict].tone
    value = MISSING if comparison.change is None else units.change(comparison.change)
    detail = change_text(replace(comparison, change=None)) or comparison.reason
    before = assessment.paired.base.name if assessment.paired and case.between_runs else "the baseline"
    facts.append(Fact(name=f"change from {before}", value=value, detail=detail, tone=tone))
    return facts


def _peer_table(case: CaseAssessment) -> Table:
    ratios = {ratio.peer: ratio for ratio in case.ratios}
    return Table(
        caption="This implementation and its peers, measured alternately in one run (timed layer).",
        columns=(
            Column("implementation"),
            Column("median", numeric=True),
            Column("we are faster by", hint="ratio of the paired samples, with its interval", numeric=True),
            Column("rate", numeric=True),
            Column("quartiles", hint="half of the samples lie between these", numeric=True),
            Column("samples", numeric=True),
            Column("calls each", hint="calls per sample", numeric=True),
        ),
        rows=rows_of(_implementation_row(one, ratios) for one in (case.own, *case.peers)),
    )


def _implementation_row(one: Measurement, ratios: dict[str, PeerRatio]) -> tuple[Cell, ...]:
    first, third = np.percentile(one.samples_s, (25, 75)).tolist()
    rate = flop_count(one.case) / one.median_s
    ratio = ratios.get(one.implementation)
    return (
        Cell(implementation_title(one.implementation), sort=one.implementation),
        Cell(units.seconds(one.median_s), sort=one.median_s),
        ratio_cell(ratio) if ratio else missing("this is the implementation under test"),
        Cell(units.flop_rate(rate), sort=rate),
        Cell(span(Interval(low=first, high=third), units.seconds), sort=third - first),
        Cell(units.count(len(one.samples_s)), sort=len(one.samples_s)),
        Cell(units.count(one.iterations), sort=one.iterations),
    )


def _samples_figure(case: CaseAssessment) -> Figure:
    measurements = (case.own, *case.peers)
    series = [
        SampleSeries(
            title=implementation_title(one.implementation),
            samples_s=one.samples_s,
            colour=SERIES_STYLES[index % len(SERIES_STYLES)][0],
            symbol=SERIES_STYLES[index % len(SERIES_STYLES)][1],
        )
        for index, one in enumerate(measurements)
    ]
    return Figure(
        id="samples",
        title="Samples",
        description="Time per call of every implementation in the order taken, and beside it how the samples are "
        "distributed. The dashed line is the median. Samples of one round were taken next to each other.",
        spec=samples_chart(series),
        table=_quantile_table(measurements),
        note=shown_samples(max(len(one.samples_s) for one in measurements)),
    )


def _quantile_table(measurements: Sequence[Measurement]) -> Table:
    return Table(
        caption="How the samples are distributed: the time per call that the given share of the samples does not "
        "exceed (timed layer, every sample)",
        columns=(Column("implementation"), *(Column(f"{share} %", numeric=True) for share in QUANTILES)),
        rows=rows_of(
            (
                Cell(implementation_title(one.implementation), sort=one.implementation),
                *(Cell(units.seconds(value), sort=value) for value in np.percentile(one.samples_s, QUANTILES).tolist()),
            )
            for one in measurements
        ),
    )


def _history_figure(assessment: Assessment, case: CaseAssessment) -> Figure:
    dots = [
        HistoryDot(
            commit=point.commit,
            median_s=point.median_s,
            text=_history_text(point.commit, point.started, point.median_s),
        )
        for point in case.history
    ]
    started = assessment.run.started if assessment.run else ""
    commit = assessment.commit.short
    dots.append(
        HistoryDot(commit=commit, median_s=case.own.median_s, text=_history_text(commit, started, case.own.median_s))
    )
    return Figure(
        id="history",
        title="History on this machine",
        description=f"Median time over {plural(len(dots), 'run')}, oldest first; the star is this run. "
        "Runs on different days differ in more than the code: the verdict comes from the comparison, not from here.",
        spec=history_chart(dots),
        table=_history_table(case),
    )


def _history_text(commit: str, started: str, median_s: float) -> str:
    return "<br>".join(plotly_text(line) for line in (f"commit {commit}", moment(started), units.seconds(median_s)))


def _history_table(case: CaseAssessment) -> Table:
    return Table(
        caption="Earlier runs of this case on this machine, newest first (timed layer)",
        columns=(
            Column("commit"),
            Column("started"),
            Column("median time", numeric=True),
            Column("times the fastest peer", numeric=True),
            Column("run"),
        ),
        rows=rows_of(
            (
                Cell(point.commit[:10], sort=point.commit, code=True),
                Cell(moment(point.started), sort=point.started),
                Cell(units.seconds(point.median_s), sort=point.median_s),
                missing("no peer ran")
                if point.peer_ratio is None
                else Cell(units.ratio(point.peer_ratio), sort=point.peer_ratio),
                Cell(point.run_id, sort=point.run_id, code=True),
            )
            for point in reversed(case.history)
        ),
    )


def _floor_table(assessment: Assessment, case: CaseAssessment) -> Table:
    titles = {target.name: target.title for target in assessment.targets}
    return Table(
        caption="The time that no version of this case can beat on each declared GPU, and what sets it (computed from "
        "declared peaks, not measured)",
        columns=(
            Column("target"),
            *FLOOR_COLUMNS,
        ),
        rows=rows_of(
            (
                Cell(titles.get(floor.target, floor.target), sort=floor.target, href=target_path(floor.target)),
                *floor_cells(case, floor),
            )
            for floor in case.floors
        ),
    )


def _details(case: CaseAssessment) -> tuple[Detail, ...]:
    own, one = case.own, case.case
    between_runs = (Detail("between two runs", _between_runs_text(case.between_runs)),) if case.between_runs else ()
    return (
        Detail("work", f"{units.flop_total(flop_count(one))} and at least {units.byte_total(minimum_bytes(one))}"),
        Detail("arithmetic intensity", units.intensity(intensity(one))),
        Detail("bounded by", BOUND_MEANING[case.roofline.bound] if case.roofline else "unknown: no measured ceiling"),
        Detail("instruction set", own.isa or "not recorded"),
        Detail("machine code", own.library_fingerprint or "not recorded"),
        Detail("difference from the first peer", _difference_text(own)),
        *between_runs,
    )


def _between_runs_text(comparison: Comparison) -> str:
    """What the paired comparison took the place of."""
    text = change_text(comparison)
    return (
        f"{MARKS[comparison.verdict].word}{f', {text}' if text else ''} ({comparison.reason}); not used for the verdict"
    )


def _difference_text(own: Measurement) -> str:
    if own.max_abs_difference is None:
        return "not checked"
    return f"{own.max_abs_difference:.3g} at most, absolute"
