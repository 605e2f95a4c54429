"""What the detector was to reach, set before it was measured, against what it reached (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from perf.detector.regimes import Regime
from perf.detector.scores import Rate, Rule, Score, estimate_score, measured_durations, rules, score, select
from perf.detector.trials import COUNTS, SLOWDOWNS, Result
from perf.detector.workloads import WORKLOADS

OURS = Rule(name="roofgate", method="roofgate")
_FALSE_ALARM_DECISIONS, _FALSE_ALARM_RATE, _FALSE_ALARM_BOUND = 300, 0.01, 0.025
_DETECTIONS: Mapping[Regime, Mapping[float, float]] = {
    Regime.QUIET: {0.05: 0.99, 0.03: 0.95, 0.02: 0.80},
    Regime.LOADED: {0.05: 0.95, 0.03: 0.80},
}
_MEASURED_S = 5.0
_COVERAGE = (0.93, 0.97)


class Outcome(Enum):
    """Whether a target was reached."""

    MET = "met"
    MISSED = "missed"
    OPEN = "open"  # too few trials so far to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One target, in words, and what was reached."""

    what: str
    target: str
    reached: str
    outcome: Outcome


def check_targets(results: Sequence[Result]) -> list[Check]:
    """Every target that trials can show, against ``results`` (see :func:`perf.detector.scores.counted`)."""
    ours = [result for result in results if result.trial.method == OURS.method]
    return [
        *(_false_alarms(ours, regime) for regime in Regime),
        *(
            _detection(ours, regime, slowdown, least)
            for regime, targets in _DETECTIONS.items()
            for slowdown, least in targets.items()
        ),
        _measuring_time(ours),
        _coverage(ours),
        *_against_rivals(results),
    ]


def rate_text(rate: Rate) -> str:
    """``0.7 % (0.2 to 2.4), 2 of 300``; a dash of no decisions."""
    if not rate.total:
        return "-"
    bounds = rate.interval
    return f"{100 * rate.value:.1f} % ({100 * bounds.low:.1f} to {100 * bounds.high:.1f}), {rate.count} of {rate.total}"


def slowdown_text(slowdown: float) -> str:
    """``5 %``."""
    return f"{100 * slowdown:g} %"


def _false_alarms(ours: Sequence[Result], regime: Regime) -> Check:
    rate = score(select(ours, regime=regime), OURS).false_alarms
    is_met = rate.total > 0 and rate.value <= _FALSE_ALARM_RATE and rate.interval.high <= _FALSE_ALARM_BOUND
    is_enough = rate.total >= _FALSE_ALARM_DECISIONS
    return Check(
        what=f"false alarms on identical code, {regime.value}",
        target=(
            f"at most {slowdown_text(_FALSE_ALARM_RATE)}, upper bound at most {slowdown_text(_FALSE_ALARM_BOUND)}, "
            f"{_FALSE_ALARM_DECISIONS} or more decisions"
        ),
        reached=rate_text(rate),
        outcome=_outcome(is_met, is_enough),
    )


def _detection(ours: Sequence[Result], regime: Regime, slowdown: float, least: float) -> Check:
    scored = score(select(ours, regime=regime, slowdown=slowdown), OURS)
    rate = scored.detections.get(slowdown, Rate(count=0, total=0))
    planned = COUNTS[OURS.method].slowed * len(WORKLOADS)
    return Check(
        what=f"detects {slowdown_text(slowdown)}, {regime.value}",
        target=f"at least {slowdown_text(least)}",
        reached=rate_text(rate),
        outcome=_outcome(rate.value >= least, rate.total + scored.errors >= planned),
    )


def _measuring_time(ours: Sequence[Result]) -> Check:
    taken = measured_durations(ours)
    return Check(
        what="seconds of measuring per decision",
        target=f"at most {_MEASURED_S:g} s, every decision",
        reached=f"at most {taken.largest_s:.2f} s" if taken else "-",
        outcome=_outcome(taken is not None and taken.largest_s <= _MEASURED_S, taken is not None),
    )


def _coverage(ours: Sequence[Result]) -> Check:
    rate = estimate_score(ours).coverage
    low, high = _COVERAGE
    return Check(
        what="coverage of the 95 % interval of the change, all trials",
        target=f"{100 * low:g} to {100 * high:g} %",
        reached=rate_text(rate),
        outcome=_outcome(low <= rate.value <= high, rate.total > 0),
    )


def _against_rivals(results: Sequence[Result]) -> Iterator[Check]:
    for rule in rules(results):
        for regime in Regime:
            if rule.method != OURS.method:
                here = select(results, regime=regime)
                yield _against(score(here, OURS), score(here, rule), rule, regime)


def _against(ours: Score, theirs: Score, rule: Rule, regime: Regime) -> Check:
    shared = sorted(set(ours.detections) & set(theirs.detections))
    not_higher = [each for each in shared if not _is_higher(ours.detections[each], theirs.detections[each])]
    is_met = not not_higher and _is_lower(ours.false_alarms, theirs.false_alarms)
    is_enough = shared == list(SLOWDOWNS) and ours.false_alarms.total > 0 and theirs.false_alarms.total > 0
    return Check(
        what=f"against {rule.name}, {regime.value}",
        target="fewer false alarms, higher detection at every slowdown",
        reached=_against_text(ours, theirs, not_higher) if is_enough else "-",
        outcome=_outcome(is_met, is_enough),
    )


def _is_higher(ours: Rate, theirs: Rate) -> bool:
    """Also where both are certain, for then nothing is higher."""
    return ours.value > theirs.value or ours.value == theirs.value == 1.0


def _is_lower(ours: Rate, theirs: Rate) -> bool:
    """Also where both are zero, for then nothing is lower."""
    return ours.value < theirs.value or ours.value == theirs.value == 0.0


def _against_text(ours: Score, theirs: Score, not_higher: Sequence[float]) -> str:
    alarms = f"false alarms {100 * ours.false_alarms.value:.1f} % against {100 * theirs.false_alarms.value:.1f} %"
    if not not_higher:
        return f"{alarms}; detection higher at every slowdown"
    exceptions = ", ".join(
        f"{slowdown_text(slowdown)} ({100 * ours.detections[slowdown].value:.0f} against "
        f"{100 * theirs.detections[slowdown].value:.0f} %)"
        for slowdown in not_higher
    )
    return f"{alarms}; detection not higher at {exceptions}"


def _outcome(is_met: bool, is_enough: bool) -> Outcome:
    if not is_enough:
        return Outcome.OPEN
    return Outcome.MET if is_met else Outcome.MISSED
