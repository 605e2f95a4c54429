"""The table of all cases, and the cells that it shares with the pages of the cases."""

from __future__ import annotations

from perf import units
from perf.findings import Assessment, CaseAssessment, PeerRatio
from reports.view import quantities
from reports.view.changes import change_cell
from reports.view.frame import case_path
from reports.view.quantities import plural, span
from reports.view.strips import Sparkline, sparkline
from reports.view.tables import Cell, Column, Row, Table, marked, missing
from reports.view.wording import BOUND_MEANING, MARKS, VERDICT_ORDER, case_sort_key, implementation_title

SPARKLINE_POINTS = 50


def build_case_table(assessment: Assessment) -> Table:
    """One row per case: time, rate, roofline, peers, change, verdict and course over the last runs."""
    peers = peer_names(assessment)
    present = {case.comparison.verdict for case in assessment.cases}
    return Table(
        caption="Cases of this run. A time is the median per call with its confidence interval (timed layer).",
        columns=(
            Column("case"),
            Column("verdict"),
            Column("change", hint="of the time against the baseline; more is slower", numeric=True),
            Column("time", hint="median per call, with its confidence interval", numeric=True),
            Column("rate", hint="useful floating-point operations per second", numeric=True),
            Column("of roofline", hint="attained over attainable under the ceilings of this run", numeric=True),
            *(
                Column(f"vs {implementation_title(peer)}", hint="times as fast as the peer", numeric=True)
                for peer in peers
            ),
            Column("course", hint="median time over the last runs on this machine; down is faster"),
        ),
        rows=tuple(
            _case_row(case, peers) for case in sorted(assessment.cases, key=lambda one: case_sort_key(one.case))
        ),
        groups=tuple(MARKS[verdict] for verdict in VERDICT_ORDER if verdict in present),
    )


def peer_names(assessment: Assessment) -> tuple[str, ...]:
    """Every peer that some case was compared with, in order of appearance."""
    return tuple(dict.fromkeys(ratio.peer for case in assessment.cases for ratio in case.ratios))


def _case_row(case: CaseAssessment, peers: tuple[str, ...]) -> Row:
    ratios = {ratio.peer: ratio for ratio in case.ratios}
    mark = MARKS[case.comparison.verdict]
    return Row(
        cells=(
            Cell(case.case.name, sort=case_sort_key(case.case), href=case_path(case.case.name, case.target), code=True),
            marked(mark),
            change_cell(case.comparison),
            time_cell(case),
            Cell(units.flop_rate(case.throughput_flop_per_s), sort=case.throughput_flop_per_s),
            roofline_cell(case),
            *(ratio_cell(ratios.get(peer)) for peer in peers),
            Cell("", sparkline=course(case), tone=mark.tone) if case.history else missing("first run on this machine"),
        ),
        group=mark.word,
    )


def time_cell(case: CaseAssessment) -> Cell:
    """Median seconds per call with its interval."""
    interval = case.interval_s
    return Cell(
        units.seconds(case.own.median_s),
        sort=case.own.median_s,
        detail=span(interval, units.seconds),
        hint=f"{quantities.confidence(interval)} interval of the median, {len(case.own.samples_s)} samples",
    )


def roofline_cell(case: CaseAssessment) -> Cell:
    """Attained over attainable, and what bounds the case."""
    if case.roofline is None:
        return missing("no ceiling was measured for this type")
    return Cell(
        units.percent(case.roofline.fraction),
        sort=case.roofline.fraction,
        hint=f"bounded by {BOUND_MEANING[case.roofline.bound]}",
    )


def ratio_cell(ratio: PeerRatio | None) -> Cell:
    """How many times as fast as a peer, with the interval."""
    if ratio is None:
        return missing("this peer did not run here")
    return Cell(
        units.ratio(ratio.ratio),
        sort=ratio.ratio,
        detail=span(ratio.interval, units.ratio),
        tone="regressed" if ratio.interval.high < 1.0 else "",
    )


def course(case: CaseAssessment) -> Sparkline | None:
    """Median times of the last runs, the present one last."""
    values = [*(point.median_s for point in case.history[-SPARKLINE_POINTS:]), case.own.median_s]
    label = (
        f"median time over {plural(len(values), 'run')}: from {units.seconds(values[0])} to {units.seconds(values[-1])}"
    )
    return sparkline(values, label)
