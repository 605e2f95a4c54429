"""From log ratios to words: what screening sees, what a confirmation takes, and what each finding says."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from perf.model import Verdict
from perf.paired import decision, statistics
from perf.paired.decision import Outlook
from perf.paired.model import Plan

PLAN = Plan()
MARGIN = math.log1p(PLAN.margin)
# Six values with mean 0 and standard deviation 1.
SHAPE = [float(value) for value in np.array([-1.5, -0.75, -0.25, 0.25, 0.75, 1.5]) / 1.1180339887498949]


def values(middle: float, scatter: float) -> list[float]:
    """Six log ratios of exactly this mean and standard deviation."""
    return [middle + scatter * value for value in SHAPE]


@pytest.mark.parametrize(
    ("middle", "scatter", "outlook"),
    [
        (0.0, 0.001, Outlook.UNCHANGED),
        (0.004, 0.001, Outlook.UNCHANGED),  # differs from zero for certain, and is none worth attention
        (0.0, 0.02, Outlook.OPEN),
        (0.03, 0.005, Outlook.SUSPECT),
        (-0.03, 0.005, Outlook.SUSPECT),
        (0.03, 0.05, Outlook.OPEN),  # relevant, not significant
        (0.0099, 0.005, Outlook.OPEN),  # significant, not relevant: under the margin of 1 %
        (0.0105, 0.005, Outlook.SUSPECT),
    ],
)
def test_screening_needs_significance_and_relevance(middle: float, scatter: float, outlook: Outlook) -> None:
    """A suspect differs from zero and exceeds the margin; unchanged is shown to lie within it."""
    assert decision.screening_outlook(values(middle, scatter), PLAN) is outlook


def test_equal_values_decide_at_once() -> None:
    """Without any scatter the change is known."""
    assert decision.screening_outlook([0.0] * 6, PLAN) is Outlook.UNCHANGED
    assert decision.screening_outlook([0.05] * 6, PLAN) is Outlook.SUSPECT
    assert decision.screening_outlook([MARGIN] * 6, PLAN) is Outlook.OPEN
    assert decision.confirmation_restarts([0.05] * 6, 20, PLAN) == PLAN.min_confirmation_restarts


def test_each_look_has_its_share_of_the_error() -> None:
    """Evidence that would do for one look does not for one of four, so UNCHANGED errs at most at the level of all."""
    weak = values(0.0, 0.0105)  # p = 0.033, between 0.05 / 4 and 0.05
    p_value = statistics.equivalence_p_value(weak, MARGIN)

    assert PLAN.screening_error / len(PLAN.looks) < p_value < PLAN.screening_error
    assert decision.screening_outlook(weak, PLAN) is Outlook.OPEN
    assert decision.screening_outlook(weak, Plan(looks=(6,))) is Outlook.UNCHANGED


def test_confirmation_takes_more_restarts_for_a_smaller_change() -> None:
    """Between the plan's minimum and what can be afforded."""
    counts = [decision.confirmation_restarts(values(middle, 0.02), 40, PLAN) for middle in (0.1, 0.04, 0.03, 0.011)]

    assert counts == sorted(counts)
    assert counts[0] == PLAN.min_confirmation_restarts
    assert PLAN.min_confirmation_restarts < counts[1] < 40
    assert counts[-1] == 40


def test_confirmation_takes_its_minimum_even_without_time() -> None:
    """Fewer would confirm nothing."""
    assert decision.confirmation_restarts(values(0.011, 0.02), -3, PLAN) == PLAN.min_confirmation_restarts


def test_confirmation_has_the_power_that_it_is_planned_for() -> None:
    """95 % of confirmations of a true change of four fifths of what screening saw find it."""
    seen, scatter = 0.03, 0.015
    count = decision.confirmation_restarts(values(seen, scatter), 60, PLAN)
    generator = random.Random(5)  # noqa: S311
    found = 0
    for _ in range(400):
        new = [generator.gauss(0.8 * seen, scatter) for _ in range(count)]
        found += decision.confirmation_p_value([seen], new) <= PLAN.false_alarm_rate

    assert 6 < count < 60
    assert found / 400 == pytest.approx(0.95, abs=0.03)


def test_confirmation_counts_only_in_the_direction_of_screening() -> None:
    """The opposite change is no confirmation, however clear."""
    slower, faster = values(0.03, 0.005), values(-0.03, 0.005)

    assert decision.confirmation_p_value(slower, slower) < 1e-4
    assert decision.confirmation_p_value(faster, faster) < 1e-4
    assert decision.confirmation_p_value(slower, faster) > 0.999
    assert decision.confirmation_p_value(faster, slower) > 0.999


def test_detectable_change_exceeds_the_margin_and_falls_with_restarts() -> None:
    """A change has to show beyond the margin, so less than it is never promised."""
    few, many = (decision.minimum_detectable_change(values(0.0, 0.01), count, PLAN) for count in (12, 48))

    assert PLAN.margin < many < few
    assert decision.minimum_detectable_change([0.0] * 6, 24, PLAN) == pytest.approx(PLAN.margin)


@pytest.mark.parametrize(("middle", "verdict"), [(0.03, Verdict.REGRESSED), (-0.03, Verdict.IMPROVED)])
def test_a_confirmed_change_has_its_direction(middle: float, verdict: Verdict) -> None:
    """The change, its interval and the p-value stand with the verdict."""
    first, second = values(middle, 0.003), values(middle, 0.004)
    finding = decision.conclude_confirmation(first, second, 0.0004, 0.02, PLAN)

    assert (finding.verdict, finding.confirmed, finding.p_value, finding.mde) == (verdict, True, 0.0004, 0.02)
    assert finding.change == pytest.approx(math.expm1(middle))
    assert finding.interval is not None
    assert finding.interval.low < math.expm1(middle) < finding.interval.high
    assert finding.interval.confidence == PLAN.confidence
    assert "independent measurement" in finding.reason


@pytest.mark.parametrize("adjusted_p", [0.0101, 0.5, 1.0])
def test_a_suspect_without_confirmation_is_inconclusive(adjusted_p: float) -> None:
    """And the reason gives both measurements."""
    finding = decision.conclude_confirmation(values(0.03, 0.003), values(0.0, 0.003), adjusted_p, 0.02, PLAN)

    assert (finding.verdict, finding.confirmed) == (Verdict.INCONCLUSIVE, False)
    assert "+3.0 %" in finding.reason
    assert "0.0 %" in finding.reason
    assert finding.reason.endswith("did not confirm it")


def test_a_small_change_is_not_reported_as_a_regression() -> None:
    """It is there, by the second measurement too, and over both no more than the margin; the reason says which."""
    finding = decision.conclude_confirmation(values(0.0105, 0.001), values(0.008, 0.001), 1e-6, 0.02, PLAN)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason.endswith("did not confirm it to be more than the margin of 1.0 %")


def test_findings_of_screening_say_why() -> None:
    """Unchanged is a finding; inconclusive names what would help: more time only while looks are left."""
    unchanged = decision.conclude_screening(values(0.0, 0.001), Outlook.UNCHANGED, 0.01, PLAN)
    spent = decision.conclude_screening(values(0.0, 0.02), Outlook.OPEN, 0.04, PLAN)
    last = decision.conclude_screening(values(0.0, 0.02) * 4, Outlook.OPEN, 0.04, PLAN)

    assert (unchanged.verdict, unchanged.reason) == (Verdict.UNCHANGED, "shown to lie within the margin of 1.0 %")
    assert spent.verdict is last.verdict is Verdict.INCONCLUSIVE
    assert "--seconds" in spent.reason
    assert "--seconds" not in last.reason
    assert "24 restarts" in last.reason
    assert not any(finding.confirmed or finding.p_value for finding in (unchanged, spent, last))
