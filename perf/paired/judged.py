"""A paired case in the words of the gate and the report: one change of time with its verdict (pure)."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from perf.findings import Comparison
from perf.model import Metric, Verdict
from perf.paired.model import Block, ControlFinding, Finding, PairedCase, PairedComparison, Side
from perf.paired.statistics import lower_quartile

# What identical code that seems to change takes nothing from: neither rests on a clock.
_NOT_TIMED = frozenset({Verdict.IDENTICAL, Verdict.NOT_RUN})


def timed_changes(comparison: PairedComparison) -> tuple[Comparison, ...]:
    """What the comparison says of the time of each of its cases, in their order.

    Where the controls moved no timed finding can be relied on: it becomes inconclusive and loses its interval.
    """
    return tuple(_timed_change(case, comparison.controls) for case in comparison.cases)


def relied_on(finding: Finding, controls: ControlFinding) -> Finding:
    """``finding``, or that nothing can be concluded because identical code seemed to change in this comparison."""
    if not controls.is_disturbed or finding.verdict in _NOT_TIMED:
        return finding
    reason = f"identical code seemed to change in this comparison ({', '.join(controls.moved)}); compare again"
    return replace(finding, verdict=Verdict.INCONCLUSIVE, reason=reason, confirmed=False, p_value=None)


def _timed_change(case: PairedCase, controls: ControlFinding) -> Comparison:
    finding = relied_on(case.finding, controls)
    is_lost = controls.is_disturbed and finding.verdict is Verdict.INCONCLUSIVE
    return Comparison(
        subject=case.case.name,
        target=case.target,
        metric=Metric.TIME,
        baseline=typical_seconds(case, Side.BASE),
        candidate=typical_seconds(case, Side.CANDIDATE),
        change=finding.change,
        interval=None if is_lost else finding.interval,
        verdict=finding.verdict,
        reason=finding.reason,
    )


def typical_seconds(case: PairedCase, side: Side) -> float | None:
    """Seconds per call of one side: the median over all blocks of their lower quartiles; None if nothing was timed.

    The quartile is what blocks are compared by. The change is not the ratio of these two: it pairs them block by block.
    """
    quartiles = [block_seconds(block, side) for restart in case.restarts for block in restart.blocks]
    return median(quartiles) if quartiles else None


def block_seconds(block: Block, side: Side) -> float:
    """Seconds per call of one side of a block: the lower quartile of its samples."""
    return lower_quartile(block.base_s if side is Side.BASE else block.candidate_s)
