"""From the restarts of a case to its verdict: screening, confirmation, conclusion (pure).

*Screening* looks at the restarts after 6, 9, 14 and 24 of them (``Plan.looks``). At each look a case is

* UNCHANGED if the change is shown to lie within the margin (two one-sided tests). Each look may err with probability
  ``screening_error`` / number of looks, so that all looks together err with at most ``screening_error`` whatever the
  dependence between them (Bonferroni);
* suspect if the change differs from zero, by a one-sided test at the level ``screening_error`` in the direction of its
  estimate, and this exceeds the margin: two criteria, statistical significance and relevance (Roychoudhury, Scheuer and
  Neuenschwander, 2018, "Beyond p-values: a phase II dual-criterion design", Clinical Trials 15(5)). No correction for
  the looks or for the two directions is needed here, because a suspicion alone never becomes a verdict;
* open otherwise, until the time is spent; then INCONCLUSIVE.

*Confirmation* measures suspects again, in new processes, after all cases have been screened. How many restarts it takes
is fixed before its first one, from what screening saw. A change is REGRESSED or IMPROVED only if these new restarts by
themselves differ from zero in the same direction, at ``false_alarm_rate`` adjusted for the number of suspects
(:func:`perf.paired.statistics.adjusted_p_values`), and the estimate over all restarts still exceeds the margin. Since
this test uses no restart that screening looked at, neither the number of looks nor the selection of cases inflates its
error.

The interval shown is Student's over all restarts of both stages. Its coverage under this sequential rule is checked by
simulation in the tests and by measurement in docs/detector.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from perf.model import Interval, Verdict
from perf.paired import statistics
from perf.paired.model import Finding, Plan
from perf.stats import as_change
from perf.units import change as change_text
from perf.units import percent

# Of the time of a case, at most this share goes into screening; the rest is kept for a confirmation.
SCREENING_SHARE = 0.6
# What screening saw of a suspect is too much rather than too little, for it was selected by it.
_SHRINKAGE = 0.8
_LATER = 1.6
_CONFIRMATION_POWER = 0.95
_MAX_CONFIRMATION_RESTARTS = 60


class Outlook(Enum):
    """What a look at screening says."""

    OPEN = "open"
    UNCHANGED = "unchanged"
    SUSPECT = "suspect"


def looks_within(seconds_per_case: float) -> tuple[int, ...]:
    """When to look: the default plan's looks and, where the time allows for more restarts, later ones.

    It depends on the time alone, so that it is fixed before anything is measured. Each look is 1.6 times later than the
    one before: looking costs error rate, and half as much scatter takes four times as many restarts.
    """
    default = Plan()
    looks, most = [*default.looks], seconds_per_case * SCREENING_SHARE / default.restart_s
    while (later := round(_LATER * looks[-1])) <= most:
        looks.append(later)
    return tuple(looks)


def screening_outlook(values: Sequence[float], plan: Plan) -> Outlook:
    """What these restarts (log ratios, at least two) say so far."""
    margin = math.log1p(plan.margin)
    if statistics.equivalence_p_value(values, margin) <= plan.screening_error / len(plan.looks):
        return Outlook.UNCHANGED
    estimate = statistics.mean(values)
    differs = statistics.p_value(values, 0.0, "greater" if estimate > 0 else "less") <= plan.screening_error
    return Outlook.SUSPECT if differs and abs(estimate) > margin else Outlook.OPEN


def confirmation_restarts(values: Sequence[float], affordable: int, plan: Plan) -> int:
    """How many new restarts would confirm the change that screening saw, with 95 % probability if it is real.

    Args:
        values: log ratios of the screening's restarts.
        affordable: the time's limit; at least the plan's minimum is taken all the same.
        plan: error rate and minimum.
    """
    estimate, scatter = _SHRINKAGE * abs(statistics.mean(values)), statistics.deviation(values)
    most = max(plan.min_confirmation_restarts, min(affordable, _MAX_CONFIRMATION_RESTARTS))
    for count in range(plan.min_confirmation_restarts, most):
        if statistics.detectable_change(scatter, count, plan.false_alarm_rate, _CONFIRMATION_POWER) <= estimate:
            return count
    return most


def minimum_detectable_change(values: Sequence[float], restarts: int, plan: Plan) -> float:
    """The least true slowdown, as a fraction, that this case's budget finds with 80 % probability.

    Both stages have to find it, each with the root of 80 %; and the estimate has to exceed the margin.

    Args:
        values: log ratios of the restarts so far, whose scatter is taken for that of all.
        restarts: that the budget allows for, both stages together.
        plan: margin and error rates.
    """
    power = math.sqrt(statistics.POWER)
    scatter = statistics.deviation(values)
    screening = min(max(plan.looks[0], round(restarts * SCREENING_SHARE)), plan.looks[-1])
    confirmation = min(max(plan.min_confirmation_restarts, restarts - screening), _MAX_CONFIRMATION_RESTARTS)
    needs = (
        statistics.detectable_change(scatter, screening, plan.screening_error, power),
        statistics.detectable_change(scatter, confirmation, plan.false_alarm_rate, power),
        math.log1p(plan.margin) + statistics.detectable_change(scatter, screening, 0.5, power),
    )
    return math.expm1(max(needs))


def confirmation_p_value(screening: Sequence[float], confirmation: Sequence[float]) -> float:
    """How easily the new restarts could look like this without the change that screening saw."""
    return statistics.p_value(confirmation, 0.0, "greater" if statistics.mean(screening) > 0 else "less")


def conclude_screening(values: Sequence[float], outlook: Outlook, mde: float, plan: Plan) -> Finding:
    """The finding on a case that was never suspected."""
    change, interval = _change(values, plan)
    if outlook is Outlook.UNCHANGED:
        reason = f"shown to lie within the margin of {percent(plan.margin)}"
        return Finding(verdict=Verdict.UNCHANGED, reason=reason, change=change, interval=interval, mde=mde)
    spent, remedy = "the time is spent", "measure longer (--seconds) or on a quieter machine"
    if len(values) >= plan.looks[-1]:  # more time would be of no use
        spent, remedy = f"the last look was at {len(values)} restarts", "measure on a quieter machine"
    unclear = f"too uncertain to be called within the margin of {percent(plan.margin)} or beyond it"
    reason = f"{spent}: {_range(interval)} is {unclear}; {remedy}"
    return Finding(verdict=Verdict.INCONCLUSIVE, reason=reason, change=change, interval=interval, mde=mde)


def conclude_confirmation(
    screening: Sequence[float], confirmation: Sequence[float], adjusted_p: float, mde: float, plan: Plan
) -> Finding:
    """The finding on a suspect after its confirmation, whose p-value is adjusted for the number of suspects."""
    change, interval = _change([*screening, *confirmation], plan)
    first, second = (math.expm1(statistics.mean(values)) for values in (screening, confirmation))
    differs = adjusted_p <= plan.false_alarm_rate
    is_confirmed = differs and abs(math.log1p(change)) > math.log1p(plan.margin)
    verdict = Verdict.INCONCLUSIVE
    reason = f"a first measurement said {change_text(first)}; a second one, {change_text(second)}, did not confirm it"
    if differs:
        reason += f" to be more than the margin of {percent(plan.margin)}"
    if is_confirmed:
        verdict = Verdict.REGRESSED if change > 0 else Verdict.IMPROVED
        reason = f"a second, independent measurement ({change_text(second)}) confirmed the first ({change_text(first)})"
    return Finding(
        verdict=verdict,
        reason=reason,
        change=change,
        interval=interval,
        mde=mde,
        confirmed=is_confirmed,
        p_value=adjusted_p,
    )


def _change(values: Sequence[float], plan: Plan) -> tuple[float, Interval]:
    """The change as a fraction, with its interval."""
    estimate = as_change(statistics.mean_interval(values, plan.confidence))
    return estimate.value, estimate.interval


def _range(interval: Interval) -> str:
    return f"{change_text(interval.low)} to {change_text(interval.high)}"
