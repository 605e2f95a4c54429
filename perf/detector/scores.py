"""How often the verdicts of the trials were right (pure): rates with their intervals, and the least slowdown found.

Intervals of rates are Wilson's (1927, "Probable inference, the law of succession, and statistical inference", JASA
22(158)): unlike the textbook's normal interval they hold near 0 and 1, where the rates of a good detector lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import binomtest

from perf.detector.methods import METHODS, Decision
from perf.detector.regimes import Regime
from perf.detector.trials import Result, Trial
from perf.model import Interval, Verdict

CONFIDENCE = 0.95
# The detection rate that the minimum detectable effect is defined by.
MDE_DETECTION = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``count`` of ``total`` decisions."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """As a fraction; NaN of no decisions."""
        return self.count / self.total if self.total else float("nan")

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the probability; of no decisions it is all that is possible."""
        if not self.total:
            return Interval(low=0.0, high=1.0, confidence=CONFIDENCE)
        bounds = binomtest(self.count, self.total).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
        return Interval(low=float(bounds.low), high=float(bounds.high), confidence=CONFIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds per decision. The largest is kept because a limit is for every decision."""

    median_s: float
    percentile_90_s: float
    largest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateScore:
    """Our estimates of the change against the change that was planted."""

    coverage: Rate  # the planted change lay in the interval
    bias: float  # mean of estimate - planted, as a fraction; NaN of no estimates
    deviation: float  # standard deviation of the same; NaN of fewer than two


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way of a method to raise an alarm: what a user would put in a build."""

    name: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one rule did on some trials.

    A false alarm is an alarm on identical code; for us a verdict "improved" is one too, and stands apart as well.
    """

    false_alarms: Rate
    false_improvements: Rate
    detections: Mapping[float, Rate]  # alarms by slowdown above zero
    mde: float | None  # None: not within the slowdowns that were tried
    inconclusive: Rate
    errors: int  # trials in which the method gave no decision


def counted(results: Sequence[Result]) -> list[Result]:
    """The results that count: of each trial the first that ran under the load of its regime, in the plan's order."""
    first: dict[int, Result] = {}
    for result in results:
        if result.is_valid:
            first.setdefault(result.trial.number, result)
    return [first[number] for number in sorted(first)]


def disturbed(results: Sequence[Result]) -> int:
    """How many trials ran under another load than their regime says, so that they were or will be repeated."""
    return sum(not result.is_valid for result in results)


def rules(results: Sequence[Result]) -> list[Rule]:
    """Every rule that made a decision, in the order of the methods."""
    names = {
        (result.trial.method, name): None
        for result in results
        if result.decision is not None
        for name in result.decision.alarms
    }
    ordered = sorted(names, key=lambda pair: list(METHODS).index(pair[0]))
    return [Rule(name=name, method=method) for method, name in ordered]


def select(
    results: Sequence[Result],
    *,
    regime: Regime | None = None,
    workload: str | None = None,
    slowdown: float | None = None,
) -> list[Result]:
    """The results under this regime, of this workload and at this slowdown; None means any."""

    def wanted(trial: Trial) -> bool:
        return (
            regime in (None, trial.regime) and workload in (None, trial.workload) and slowdown in (None, trial.slowdown)
        )

    return [result for result in results if wanted(result.trial)]


def score(results: Sequence[Result], rule: Rule) -> Score:
    """Score one rule over all those of ``results`` (see :func:`counted`) that its method was asked for."""
    asked = [result for result in results if result.trial.method == rule.method]
    decided = _decisions(asked)
    unchanged = [decision for slowdown, decision in decided if slowdown == 0.0]
    slowdowns = sorted({slowdown for slowdown, _ in decided} - {0.0})
    detections = {
        slowdown: _rate(decision.alarms[rule.name] for planted, decision in decided if planted == slowdown)
        for slowdown in slowdowns
    }
    false_alarms = _rate(decision.alarms[rule.name] or _says(decision, Verdict.IMPROVED) for decision in unchanged)
    return Score(
        false_alarms=false_alarms,
        false_improvements=_rate(_says(decision, Verdict.IMPROVED) for decision in unchanged),
        detections=detections,
        mde=minimum_detectable_effect({0.0: false_alarms, **detections}),
        inconclusive=_rate(_says(decision, Verdict.INCONCLUSIVE) for _, decision in decided),
        errors=len(asked) - len(decided),
    )


def minimum_detectable_effect(curve: Mapping[float, Rate]) -> float | None:
    """The smallest slowdown that is found with 80 % probability, or None if it lies above those tried.

    Rates by slowdown (fractions) are first made monotone, for chance makes them fall here and there: isotonic
    regression by pool-adjacent-violators, weighted by the number of decisions (Barlow et al., 1972, "Statistical
    Inference under Order Restrictions"). Between slowdowns the curve is taken to be straight.
    """
    slowdowns = sorted(slowdown for slowdown, rate in curve.items() if rate.total)
    if not slowdowns:
        return None
    fit = isotonic_regression(
        [curve[slowdown].value for slowdown in slowdowns], weights=[curve[slowdown].total for slowdown in slowdowns]
    )
    points = list(zip(slowdowns, (float(rate) for rate in fit.x), strict=True))
    if points[0][1] >= MDE_DETECTION:
        return points[0][0]
    for (below, low), (above, high) in pairwise(points):
        if high >= MDE_DETECTION:
            return below + (above - below) * (MDE_DETECTION - low) / (high - low)
    return None


def estimate_score(results: Sequence[Result]) -> EstimateScore:
    """Coverage, bias and scatter of the intervals and estimates in ``results``; methods that give none are left out."""
    errors, covered = [], []
    for planted, decision in _decisions(results):
        if decision.change is None or decision.low is None or decision.high is None:
            continue
        errors.append(decision.change - planted)
        covered.append(decision.low <= planted <= decision.high)
    return EstimateScore(
        coverage=_rate(covered),
        bias=float(np.mean(errors)) if errors else float("nan"),
        deviation=float(np.std(errors, ddof=1)) if len(errors) > 1 else float("nan"),
    )


def verdicts(results: Sequence[Result]) -> Counter[Verdict]:
    """How often each verdict was given, by methods that give one."""
    return Counter(Verdict(decision.verdict) for _, decision in _decisions(results) if decision.verdict)


def wall_durations(results: Sequence[Result]) -> Durations | None:
    """Wall seconds per decision, or None of no decisions."""
    return _durations([decision.wall_s for _, decision in _decisions(results)])


def measured_durations(results: Sequence[Result]) -> Durations | None:
    """Seconds inside timed calls per decision, or None where no method told."""
    told = (decision.measured_s for _, decision in _decisions(results))
    return _durations([seconds for seconds in told if seconds is not None])


def _durations(seconds: Sequence[float]) -> Durations | None:
    if not seconds:
        return None
    median_s, percentile_90_s, largest_s = (float(value) for value in np.quantile(seconds, (0.5, 0.9, 1.0)))
    return Durations(median_s=median_s, percentile_90_s=percentile_90_s, largest_s=largest_s)


def _decisions(results: Sequence[Result]) -> list[tuple[float, Decision]]:
    """Planted slowdown and decision of every result that has one."""
    return [(result.trial.slowdown, result.decision) for result in results if result.decision is not None]


def _says(decision: Decision, verdict: Verdict) -> bool:
    return decision.verdict == verdict.value


def _rate(outcomes: Iterable[bool]) -> Rate:
    known = list(outcomes)
    return Rate(count=sum(known), total=len(known))
