"""Time against the share of tiles that masks leave, for all cases of the same shapes in one run."""

from __future__ import annotations

from perf import units
from perf.findings import Assessment, CaseAssessment
from perf.proportion import full_case
from perf.work import share_of_tiles
from reports.view.frame import case_path
from reports.view.quantities import span
from reports.view.tables import Cell, Column, Table, missing, rows_of
from reports.view.wording import case_sort_key, mask_words

NOTE = (
    "A tile is 64 queries by 64 keys. A kernel that skips tiles without a visible pair, and takes no longer for the "
    "others, takes the full mask's time times the share of tiles: 1.00 in the last column. But for causal masks, our "
    "kernel was also sampled with the full mask, in the same rounds: the ratios are of these samples, not of the times."
)


def build_proportion_table(assessment: Assessment, case: CaseAssessment) -> Table | None:
    """One row per mask on the shapes of ``case``; None where nothing was measured beside the full mask."""
    full = full_case(case.case)
    alike = [each for each in assessment.cases if each.target == case.target and full_case(each.case) == full]
    if all(each.proportion is None for each in alike):
        return None
    alike.sort(key=lambda each: share_of_tiles(each.case), reverse=True)
    return Table(
        caption="Masks on the same shapes, in this run (timed layer)",
        columns=(
            Column("mask"),
            Column("share of tiles", hint="tiles with a visible pair, in all of the full mask", numeric=True),
            Column("time", hint="median per call", numeric=True),
            Column("of the full mask's time", numeric=True),
            Column("time over share", hint="1 is proportional; with its interval", numeric=True),
        ),
        rows=rows_of(_row(each, is_this=each is case) for each in alike),
    )


def _row(each: CaseAssessment, *, is_this: bool) -> tuple[Cell, ...]:
    words, share = mask_words(each.case), share_of_tiles(each.case)
    proportion = each.proportion
    whole = missing("not measured beside the full mask")
    name = Cell(words, sort=case_sort_key(each.case), href="" if is_this else case_path(each.case.name, each.target))
    return (
        name,
        Cell(units.percent(share), sort=share),
        Cell(units.seconds(each.own.median_s), sort=each.own.median_s),
        whole if proportion is None else Cell(units.percent(proportion.time), sort=proportion.time),
        whole
        if proportion is None
        else Cell(
            units.ratio(proportion.time_over_share),
            sort=proportion.time_over_share,
            detail=span(proportion.interval, units.ratio),
        ),
    )
