"""What changed against the baseline: timed cases with their intervals, and exact figures of kernels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment, Comparison, KernelAssessment
from perf.model import Verdict
from reports.view.compared import comparison_links, time_changes
from reports.view.frame import case_path, kernel_path
from reports.view.quantities import bare_value, plural, span
from reports.view.strips import ChangeAxis, IntervalStrip, change_axis
from reports.view.tables import Cell, Column, Row, Table, marked, missing
from reports.view.wording import MARKS, METRIC_TITLES, VERDICT_ORDER, exact_mark

MAX_ROWS = 12
NOTABLE = (Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.IMPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The section "What changed". A table is None where there is nothing to put in it; the sentences say so."""

    timed: Table | None
    timed_rest: str
    exact: Table | None
    exact_rest: str


def build_changes(assessment: Assessment) -> Changes:
    """The notable changes, worst first, and a sentence on the rest."""
    notable = notable_changes(assessment)[:MAX_ROWS]
    exact = kernel_changes(assessment.kernels)
    return Changes(
        timed=_timed_table(notable, assessment) if notable else None,
        timed_rest=_timed_rest(assessment, len(notable)),
        exact=_exact_table(exact[:MAX_ROWS], assessment) if exact else None,
        exact_rest=_exact_rest(assessment, len(exact)),
    )


def notable_changes(assessment: Assessment) -> list[Comparison]:
    """Changes of time, and those that could not be judged, worst first."""
    return sorted((change for change in time_changes(assessment) if change.verdict in NOTABLE), key=by_urgency)


def kernel_changes(kernels: tuple[KernelAssessment, ...]) -> list[tuple[KernelAssessment, Comparison]]:
    """Every comparison of a kernel whose figure moved, worst first."""
    moved = [(kernel, comparison) for kernel in kernels for comparison in kernel.comparisons if has_moved(comparison)]
    return sorted(moved, key=lambda pair: VERDICT_ORDER.index(pair[1].verdict))


def is_compared(kernel: KernelAssessment) -> bool:
    """Whether any figure of ``kernel`` has a pin."""
    return any(comparison.verdict is not Verdict.NOT_RUN for comparison in kernel.comparisons)


def differs(comparison: Comparison) -> bool:
    """Whether an exact figure is another on either side, or is there on one side alone."""
    return comparison.baseline != comparison.candidate


def has_moved(comparison: Comparison) -> bool:
    """Whether an exact figure differs from its pin; a figure without a pin did not move."""
    return comparison.verdict is not Verdict.NOT_RUN and differs(comparison)


def axis_of(assessment: Assessment) -> ChangeAxis:
    """The axis on which the changes of all cases are drawn."""
    intervals = [change.interval for change in time_changes(assessment) if change.interval is not None]
    noise = assessment.paired.controls.noise if assessment.paired else assessment.noise.value
    return change_axis(intervals, noise or 0.0)


def strip_of(comparison: Comparison, axis: ChangeAxis) -> IntervalStrip | None:
    """The interval of a comparison on ``axis``."""
    if comparison.interval is None or comparison.change is None:
        return None
    mark = MARKS[comparison.verdict]
    label = f"{mark.word}: {change_text(comparison)}"
    return axis.strip(comparison.change, comparison.interval, tone=mark.tone, label=label)


def change_text(comparison: Comparison) -> str:
    """``+7.9 % [+7.3, +8.5] %``."""
    parts = []
    if comparison.change is not None:
        parts.append(units.change(comparison.change))
    if comparison.interval is not None:
        parts.append(span(comparison.interval, units.change))
    return " ".join(parts)


def change_cell(comparison: Comparison) -> Cell:
    """The change with its interval; sorts by size of the change."""
    if comparison.change is None:
        return missing(comparison.reason)
    interval = comparison.interval
    mark = MARKS[comparison.verdict]
    return Cell(
        units.change(comparison.change),
        sort=comparison.change,
        detail=span(interval, units.change) if interval else "",
        tone="soft" if comparison.verdict is Verdict.IDENTICAL else mark.tone,
        hint=comparison.reason,
    )


def by_urgency(change: Comparison) -> tuple[int, float, str]:
    """Sorts changes: the worst verdict first, then the largest."""
    return VERDICT_ORDER.index(change.verdict), -abs(change.change or 0.0), change.subject


def change_links(assessment: Assessment) -> dict[tuple[str, str], str]:
    """Where the change of each case is explained: its page of the paired comparison, or else its own."""
    cases = {(case.case.name, case.target): case_path(case.case.name, case.target) for case in assessment.cases}
    return cases | comparison_links(assessment)


def _timed_table(changes: list[Comparison], assessment: Assessment) -> Table:
    axis, links = axis_of(assessment), change_links(assessment)
    against = f"{assessment.paired.base.name}, compared in pairs" if assessment.paired else "the baseline"
    ticks = [(value, units.change(value)) for value in (-axis.limit, axis.limit)]
    return Table(
        caption=f"Change of time per case against {against}, with its interval. Right of zero is slower; the shaded "
        "band is the noise floor.",
        columns=(
            Column("case"),
            Column("verdict"),
            Column("change", numeric=True),
            Column("interval", strip=axis.header([*ticks, (0.0, "0")])),
        ),
        rows=tuple(_timed_row(change, axis, links) for change in changes),
        sortable=False,
    )


def _timed_row(change: Comparison, axis: ChangeAxis, links: dict[tuple[str, str], str]) -> Row:
    href = links.get((change.subject, change.target), "")
    name = Cell(change.subject, href=href, code=True, hint=change.reason)
    strip = Cell("", strip=strip_of(change, axis))
    return Row(cells=(name, marked(MARKS[change.verdict]), change_cell(change), strip))


def _timed_rest(assessment: Assessment, shown: int) -> str:
    changes = time_changes(assessment)
    if not changes:
        return "No case was timed for this commit."
    counts = {verdict: sum(change.verdict is verdict for change in changes) for verdict in VERDICT_ORDER}
    if counts[Verdict.NOT_RUN] == len(changes):
        timed = f"{plural(len(assessment.cases), 'case')} timed, " if assessment.cases else ""
        return f"{timed}none compared: {changes[0].reason}."
    notable = sum(counts[verdict] for verdict in NOTABLE)
    parts = [f"{units.count(notable - shown)} more changed or inconclusive"] if notable > shown else []
    parts += [
        f"{units.count(counts[verdict])} {MARKS[verdict].word}"
        for verdict in (Verdict.UNCHANGED, Verdict.IDENTICAL, Verdict.NOT_RUN)
        if counts[verdict]
    ]
    return ", ".join(parts) + (" cases." if shown == 0 else " besides these." if parts else "")


def _exact_table(changes: list[tuple[KernelAssessment, Comparison]], assessment: Assessment) -> Table:
    kernels = {kernel.kernel for kernel in assessment.kernels}
    caption = "Exact figures of CUDA kernels that differ from the baseline. They carry no noise."
    return build_exact_table([comparison for _, comparison in changes], kernels, caption)


def build_exact_table(changes: Sequence[Comparison], kernels: Collection[str], caption: str) -> Table:
    """One row per exact figure, before and after; ``kernels`` are those that have a page."""
    return Table(
        caption=caption,
        columns=(
            Column("kernel"),
            Column("architecture"),
            Column("layer"),
            Column("figure"),
            Column("before", numeric=True),
            Column("now", numeric=True),
            Column("verdict"),
        ),
        rows=tuple(_exact_row(comparison, kernels) for comparison in changes),
        sortable=False,
    )


def _exact_row(comparison: Comparison, kernels: Collection[str]) -> Row:
    href = kernel_path(comparison.subject) if comparison.subject in kernels else ""
    mark = exact_mark(comparison)
    values = [
        missing("absent")
        if value is None
        else Cell(bare_value(comparison.metric, value), sort=value, tone=tone, hint=comparison.reason)
        for value, tone in ((comparison.baseline, ""), (comparison.candidate, mark.tone))
    ]
    return Row(
        cells=(
            Cell(comparison.subject, href=href, code=True),
            Cell(comparison.target),
            Cell(comparison.metric.layer.value),
            Cell(METRIC_TITLES[comparison.metric]),
            *values,
            marked(mark),
        )
    )


def _exact_rest(assessment: Assessment, changed: int) -> str:
    if not assessment.kernels:
        return ""
    if not any(is_compared(kernel) for kernel in assessment.kernels):
        return f"{plural(len(assessment.kernels), 'CUDA kernel')} analysed; no pinned figure to compare with."
    if not changed:
        return f"No exact figure of {plural(len(assessment.kernels), 'CUDA kernel')} changed."
    hidden = changed - MAX_ROWS
    return f"{units.count(hidden)} more changed figures stand on the kernels' pages." if hidden > 0 else ""
