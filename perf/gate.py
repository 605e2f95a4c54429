"""Threshold rules against what was found: one result per rule and subject, and the verdict over all of them (pure).

A timed figure breaches a limit only if its whole confidence interval lies beyond it, and keeps it only if the whole
interval lies within; anything between is inconclusive. Static and simulated figures are exact; a hardware counter may
differ by what identical launches of it do.

How much a time may change is judged by the paired comparison of the case, where there is one, and else by the run and
its baseline. A change beyond the limit is a breach only if it was also found a regression among all cases: confirmed by
a second measurement if paired, beyond the noise floor of all cases between two runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from perf.findings import CaseAssessment, Comparison, GateResult, GateVerdict, KernelAssessment, RuleResult
from perf.hardware_tolerance import STATISTICAL, tolerance
from perf.model import Direction, Interval, Layer, Metric, Verdict
from perf.rules import Limit, Maximum, MaximumChange, Minimum, MinimumRatio, MinimumRooflineFraction, Rule, Thresholds
from perf.stats import MIN_CONFIDENCE
from perf.units import change, metric_value

Pair = tuple[str, str]  # case and target, or kernel and architecture

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the rules are applied to."""

    cases: tuple[CaseAssessment, ...]
    kernels: tuple[KernelAssessment, ...]
    instruction_sets: frozenset[str]
    suite: str  # of the present run, or of the comparison if there is no run; empty if there is neither
    failures: tuple[str, ...]  # why no verdict may be a pass or a regression: failed steps, no result at all
    paired: tuple[Comparison, ...] = ()  # changes of time by the paired comparison, which outweigh those of ``cases``


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One value that a rule looks at; exact if it has no interval."""

    value: float
    interval: Interval | None = None


def evaluate(thresholds: Thresholds, findings: Findings) -> GateResult:
    """Apply every rule and conclude.

    ERROR if there are failures; else REGRESSION if anything breaches its limit; else NO_VERDICT if anything is
    inconclusive or nothing could be judged; else PASS.
    """
    results = tuple(result for rule in thresholds.rules for result in apply_rule(rule, findings))
    verdict, reason = _conclude(results, findings.failures)
    return GateResult(verdict=verdict, results=results, reason=reason)


def unmatched_rules(thresholds: Thresholds, cases: Iterable[Pair], kernels: Iterable[Pair]) -> tuple[str, ...]:
    """One complaint for each rule that could never apply to anything: most likely a slip in its globs.

    Args:
        thresholds: the policy.
        cases: every case of every suite with every target that it can run on.
        kernels: every kernel and architecture that was ever captured; with none, nothing is known of them.
    """
    timed, captured = tuple(cases), tuple(kernels)
    return tuple(
        _complaint(rule)
        for rule in thresholds.rules
        if _never_applies(rule, timed if rule.metric.layer is Layer.TIMED else captured)
    )


def _never_applies(rule: Rule, known: tuple[Pair, ...]) -> bool:
    return bool(known) and not any(rule.covers(*pair) for pair in known)


def _complaint(rule: Rule) -> str:
    subjects, kind = ", ".join(rule.subjects), _subject_kind(rule)
    return (
        f"{rule.where}: rule {rule.name!r} matches no {kind}: {subjects} on {', '.join(rule.targets)}; "
        "correct its globs or remove it"
    )


def _subject_kind(rule: Rule) -> str:
    return "case of any suite" if rule.metric.layer is Layer.TIMED else "kernel"


def apply_rule(rule: Rule, findings: Findings) -> tuple[RuleResult, ...]:
    """The results of one rule: one for each subject it covers, or a single NOT_RUN that says why there is none."""
    if rule.metric.layer is Layer.TIMED and findings.suite and (obstacle := _obstacle(rule, findings)):
        return (_not_run(rule, obstacle),)
    find = _case_results if rule.metric.layer is Layer.TIMED else _kernel_results
    return tuple(find(rule, findings)) or (_not_run(rule, _absence(rule, findings)),)


def _obstacle(rule: Rule, findings: Findings) -> str:
    """Why the rule does not apply to this processor; empty if it does."""
    if lacking := sorted(set(rule.requires) - findings.instruction_sets):
        return f"needs {', '.join(lacking)}, which this machine lacks"
    if barring := sorted(set(rule.unless) & findings.instruction_sets):
        return f"not for machines with {', '.join(barring)}, which this one has"
    return ""


def _absence(rule: Rule, findings: Findings) -> str:
    layer = rule.metric.layer
    if layer is not Layer.TIMED:
        layers = {capture.layer for kernel in findings.kernels for capture in kernel.captures}
        return "no such kernel was captured" if layer in layers else f"the {layer.value} layer captured no kernel"
    if findings.suite and not findings.cases and not isinstance(rule.limit, MaximumChange):
        return "no case was measured, only compared; run: nox -s bench"
    return f"no such case was measured in suite {findings.suite}" if findings.suite else "nothing was measured"


def _case_results(rule: Rule, findings: Findings) -> Iterator[RuleResult]:
    if isinstance(rule.limit, MaximumChange):
        yield from _timed_change_results(rule, rule.limit, findings)
        return
    for case in findings.cases:
        if rule.covers(case.case.name, case.target):
            yield _figure_result(rule, case.case.name, case.target, _timed_figure(rule, case))


def _timed_change_results(rule: Rule, limit: MaximumChange, findings: Findings) -> Iterator[RuleResult]:
    """One change of time per case: of the paired comparison where it has the case, else between two runs."""
    in_pairs = limit if limit.in_pairs is None else MaximumChange(fraction=limit.in_pairs)
    changes = {(case.case.name, case.target): (limit, case.comparison) for case in findings.cases}
    changes |= {(change.subject, change.target): (in_pairs, change) for change in findings.paired}
    for allowed, comparison in changes.values():
        if rule.covers(comparison.subject, comparison.target):
            yield _change_result(replace(rule, limit=allowed), allowed, comparison)


def _kernel_results(rule: Rule, findings: Findings) -> Iterator[RuleResult]:
    for kernel in findings.kernels:
        if isinstance(rule.limit, MaximumChange):
            for comparison in kernel.comparisons:
                if comparison.metric is rule.metric and rule.covers(kernel.kernel, comparison.target):
                    yield _change_result(rule, rule.limit, comparison)
            continue
        for capture in kernel.captures:
            if rule.metric in capture.counters and rule.covers(kernel.kernel, capture.architecture):
                figure = Figure(value=capture.counters[rule.metric])
                yield _figure_result(rule, kernel.kernel, capture.architecture, figure)


def _timed_figure(rule: Rule, case: CaseAssessment) -> Figure | str:
    """The figure, or why there is none."""
    times = case.interval_s
    if rule.metric is Metric.TIME:
        return Figure(value=case.own.median_s, interval=times)
    if isinstance(rule.limit, MinimumRatio):
        peer = rule.limit.peer
        found = next((ratio for ratio in case.ratios if ratio.peer == peer), None)
        return Figure(value=found.ratio, interval=found.interval) if found else f"{peer} was not measured on this case"
    if rule.metric is Metric.TIME_OVER_SHARE:
        found_share = case.proportion
        if found_share is None:
            return "the full mask was not measured beside it"
        return Figure(value=found_share.time_over_share, interval=found_share.interval)
    if rule.metric is Metric.THROUGHPUT:
        return _inverse(case.throughput_flop_per_s, case.own.median_s, times)
    if case.roofline is None:
        return "no ceiling was measured for this element type"
    return _inverse(case.roofline.fraction, case.own.median_s, times)


def _inverse(value: float, median_s: float, times: Interval) -> Figure:
    """A figure that is inversely proportional to time."""
    low, high = value * median_s / times.high, value * median_s / times.low
    return Figure(value=value, interval=Interval(low=low, high=high, confidence=times.confidence))


def _bound(limit: Limit) -> tuple[float, int]:
    """The limit's number, and 1 if figures must not exceed it or -1 if they must not be below it."""
    match limit:
        case Maximum(value=value):
            return value, 1
        case Minimum(value=value):
            return value, -1
        case MaximumChange(fraction=fraction):
            return fraction, 1
        case MinimumRatio(at_least=ratio):
            return ratio, -1
        case MinimumRooflineFraction(fraction=fraction):
            return fraction, -1


def _judge(figure: Figure, limit: Limit) -> Verdict:
    number, sign = _bound(limit)
    bounds = figure.interval or Interval(low=figure.value, high=figure.value, confidence=1)
    low, high = sorted((sign * bounds.low, sign * bounds.high))
    if bounds.confidence < MIN_CONFIDENCE:
        return Verdict.INCONCLUSIVE
    if low > sign * number:
        return Verdict.REGRESSED
    return Verdict.UNCHANGED if high <= sign * number else Verdict.INCONCLUSIVE


_WORDS = {
    Verdict.REGRESSED: "breaches",
    Verdict.UNCHANGED: "keeps",
    Verdict.INCONCLUSIVE: "is too uncertain to judge against",
}


def _figure_result(rule: Rule, subject: str, target: str, figure: Figure | str) -> RuleResult:
    if isinstance(figure, str):
        return _result(rule, subject, target, value=None, verdict=Verdict.NOT_RUN, reason=figure)
    number, sign = _bound(rule.limit)
    verdict = _judge(figure, rule.limit)
    shown = metric_value(rule.metric, figure.value)
    if figure.interval:
        low, high = (metric_value(rule.metric, bound) for bound in (figure.interval.low, figure.interval.high))
        shown += f" ({low} to {high})"
    against = f" against {rule.limit.peer}" if isinstance(rule.limit, MinimumRatio) else ""
    limit = f"the {'maximum' if sign > 0 else 'minimum'} of {metric_value(rule.metric, number)}"
    reason = f"{shown}{against} {_WORDS[verdict]} {limit}"
    return _result(rule, subject, target, value=figure.value, verdict=verdict, reason=reason)


def _change_result(rule: Rule, limit: MaximumChange, comparison: Comparison) -> RuleResult:
    """A change judged as a worsening: positive is worse, whichever way the metric improves."""
    worsening = _worsening(comparison)
    verdict, reason = _judge_change(limit, comparison, worsening)
    value = worsening.value if worsening else None
    return _result(rule, comparison.subject, comparison.target, value=value, verdict=verdict, reason=reason)


def _judge_change(limit: MaximumChange, comparison: Comparison, worsening: Figure | None) -> tuple[Verdict, str]:
    if comparison.verdict is Verdict.NOT_RUN:
        return Verdict.NOT_RUN, comparison.reason
    if comparison.verdict is Verdict.IDENTICAL:
        return Verdict.UNCHANGED, comparison.reason
    timed = comparison.metric.layer is Layer.TIMED
    if timed and (worsening is None or worsening.interval is None):
        return Verdict.INCONCLUSIVE, comparison.reason
    if comparison.metric.layer is Layer.HARDWARE:
        limit = replace(limit, fraction=max(limit.fraction, tolerance(comparison.metric)))
    verdict = _judge(worsening, limit) if worsening else _judge_from_zero(comparison)
    if verdict is Verdict.REGRESSED and comparison.metric in STATISTICAL:
        return Verdict.INCONCLUSIVE, comparison.reason
    if timed and verdict is Verdict.REGRESSED and comparison.verdict is not Verdict.REGRESSED:
        verdict = Verdict.INCONCLUSIVE  # beyond the limit as one case, but not among all the cases judged
    why = f"; {comparison.reason}" if timed and verdict is Verdict.INCONCLUSIVE else ""
    values = _values(comparison)
    return verdict, f"{_shown(worsening)} {_WORDS[verdict]} the allowed {change(limit.fraction)}; {values}{why}"


def _judge_from_zero(comparison: Comparison) -> Verdict:
    """From zero to something: no percentage says how much, so it exceeds every one, unless it is for the better."""
    return Verdict.UNCHANGED if comparison.verdict is Verdict.IMPROVED else Verdict.REGRESSED


def _shown(worsening: Figure | None) -> str:
    if worsening is None:
        return "a rise from zero"
    bounds = worsening.interval
    return change(worsening.value) + (f" ({change(bounds.low)} to {change(bounds.high)})" if bounds else "")


def _values(comparison: Comparison) -> str:
    now, before = comparison.candidate, comparison.baseline
    return " against ".join(metric_value(comparison.metric, value) for value in (now, before) if value is not None)


def _worsening(comparison: Comparison) -> Figure | None:
    moved, bounds = comparison.change, comparison.interval
    if moved is None:
        return None
    if comparison.metric.direction is Direction.NEITHER:
        return Figure(value=abs(moved))
    if comparison.metric.direction is Direction.LOWER_IS_BETTER:
        return Figure(value=moved, interval=bounds)
    flipped = bounds and Interval(low=-bounds.high, high=-bounds.low, confidence=bounds.confidence)
    return Figure(value=-moved, interval=flipped)


def _not_run(rule: Rule, reason: str) -> RuleResult:
    subjects, targets = ", ".join(rule.subjects), ", ".join(rule.targets)
    return _result(rule, subjects, targets, value=None, verdict=Verdict.NOT_RUN, reason=reason)


def _result(rule: Rule, subject: str, target: str, *, value: float | None, verdict: Verdict, reason: str) -> RuleResult:
    return RuleResult(
        rule=rule.name,
        subject=subject,
        target=target,
        metric=rule.metric,
        layer=rule.metric.layer,
        value=value,
        limit=_bound(rule.limit)[0],
        verdict=verdict,
        reason=reason,
        relative=isinstance(rule.limit, MaximumChange),
    )


def _conclude(results: tuple[RuleResult, ...], failures: tuple[str, ...]) -> tuple[GateVerdict, str]:
    judged = [result for result in results if result.verdict is not Verdict.NOT_RUN]
    breaches = [result for result in judged if result.verdict is Verdict.REGRESSED]
    unclear = [result for result in judged if result.verdict is Verdict.INCONCLUSIVE]
    if failures:
        return GateVerdict.ERROR, "; ".join(failures)
    if breaches:
        return GateVerdict.REGRESSION, f"{len(breaches)} of {len(judged)} checks breach their limit: {_list(breaches)}"
    if unclear:
        return GateVerdict.NO_VERDICT, f"{len(unclear)} of {len(judged)} checks are inconclusive: {_list(unclear)}"
    if not judged:
        return GateVerdict.NO_VERDICT, "no rule could be judged: " + _list(list(results) or [])
    not_run = len(results) - len(judged)
    return GateVerdict.PASS, f"{len(judged)} checks keep their limits" + (f", {not_run} not run" if not_run else "")


def _list(results: list[RuleResult]) -> str:
    shown = [f"{result.rule} ({result.subject} on {result.target}: {result.reason})" for result in results[:_SHOWN]]
    more = len(results) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "") if shown else "there are no rules"
