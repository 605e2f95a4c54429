"""What each threshold rule said of each subject."""

from __future__ import annotations

from collections.abc import Sequence

from perf import units
from perf.findings import Assessment, RuleResult
from reports.view.quantities import bare_value
from reports.view.tables import Cell, Column, Row, Table, marked, missing
from reports.view.verdict import Links, subject_links
from reports.view.wording import METRIC_TITLES, RULE_MARKS


def build_rule_table(caption: str, results: Sequence[RuleResult], assessment: Assessment) -> Table:
    """One row per result, linked to the page of its case or kernel."""
    links = subject_links(assessment)
    return Table(
        caption=caption,
        columns=(
            Column("rule"),
            Column("verdict"),
            Column("case or kernel"),
            Column("target"),
            Column("figure"),
            Column("value", numeric=True),
            Column("limit", numeric=True),
            Column("layer"),
            Column("reason"),
        ),
        rows=tuple(_rule_row(result, links) for result in results),
    )


def _rule_row(result: RuleResult, links: Links) -> Row:
    mark = RULE_MARKS[result.verdict]
    figure = METRIC_TITLES[result.metric] + (", worsening" if result.relative else "")
    value = missing(result.reason)
    if result.value is not None:
        value = Cell(rule_figure(result, result.value), sort=result.value, tone=mark.tone)
    return Row(
        cells=(
            Cell(result.rule, sort=result.rule),
            marked(mark),
            Cell(result.subject, sort=result.subject, href=links.get((result.subject, result.target), ""), code=True),
            Cell(result.target, sort=result.target),
            Cell(figure, sort=figure),
            value,
            Cell(rule_figure(result, result.limit), sort=result.limit),
            Cell(result.layer.value, sort=result.layer.value),
            Cell(result.reason, sort=result.reason),
        ),
    )


def rule_figure(result: RuleResult, value: float) -> str:
    """A value or limit of ``result``: a worsening relative to the baseline, or a figure in the metric's unit."""
    return units.change(value) if result.relative else bare_value(result.metric, value)
