"""The formulas are those of numpy and scipy, and keep what disturbs where it arises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import nct, t, ttest_1samp

from perf.paired import statistics
from perf.paired.model import Block, Restart, Stage

SECONDS = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=40)
PAIRS = st.lists(st.tuples(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3)), min_size=1, max_size=20)
VALUES = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=30)


def block(base_s: list[float], candidate_s: list[float]) -> Block:
    """A block of these samples."""
    return Block(base_s=tuple(base_s), candidate_s=tuple(candidate_s), started_s=0.0)


def restart(log_ratios: list[float]) -> Restart:
    """A restart whose blocks have these log ratios."""
    blocks = tuple(block([1e-3], [1e-3 * math.exp(value)]) for value in log_ratios)
    return Restart(
        stage=Stage.SCREENING, seed=1, iterations=1, blocks=blocks, dropped=0, measured_s=0.1, wall_s=0.2, setting={}
    )


def sample(count: int, seed: int, middle: float = 0.0) -> list[float]:
    """Normal values with standard deviation 1 %."""
    return [float(value) for value in np.random.default_rng(seed).normal(middle, 0.01, count)]


@given(SECONDS)
def test_lower_quartile_is_numpys(samples: list[float]) -> None:
    """The quantile of order 1/4 by linear interpolation."""
    assert statistics.lower_quartile(samples) == pytest.approx(float(np.quantile(samples, 0.25)), rel=1e-12)


def test_lower_quartile_is_not_moved_by_slow_samples() -> None:
    """Seven of ten disturbed samples, however slow, leave it within the undisturbed ones."""
    assert statistics.lower_quartile([1.0, 1.01, 1.02, 1.03] + [50.0] * 6) <= 1.03
    assert statistics.lower_quartile([1.0] * 4 + [50.0] * 6) == 1.0


@given(PAIRS)
def test_block_log_ratio_changes_sign_when_the_sides_are_swapped(pairs: list[tuple[float, float]]) -> None:
    """Neither side is favoured."""
    base, candidate = (list(side) for side in zip(*pairs, strict=True))
    forward = statistics.block_log_ratio(block(base, candidate))

    assert statistics.block_log_ratio(block(candidate, base)) == pytest.approx(-forward, abs=1e-12)


@given(PAIRS, st.floats(0.1, 10.0))
def test_block_log_ratio_ignores_what_slows_both_sides(pairs: list[tuple[float, float]], factor: float) -> None:
    """A common factor cancels, so another clock of the processor is no change."""
    base, candidate = (list(side) for side in zip(*pairs, strict=True))
    slowed = block([factor * value for value in base], [factor * value for value in candidate])

    assert statistics.block_log_ratio(slowed) == pytest.approx(
        statistics.block_log_ratio(block(base, candidate)), abs=1e-9
    )


@pytest.mark.parametrize("wild", [math.log(5.0), -math.log(5.0)])
def test_restart_mean_ignores_one_wild_block_of_five(wild: float) -> None:
    """The highest and the lowest fifth are trimmed."""
    calm = [0.010, 0.011, 0.012, 0.013]

    assert 0.010 <= statistics.restart_mean(restart([*calm, wild])) <= 0.013


def test_restart_mean_of_four_blocks_is_their_mean() -> None:
    """A fifth of four is less than a block: nothing is trimmed."""
    assert statistics.restart_mean(restart([0.0, 0.01, 0.02, 0.09])) == pytest.approx(0.03)


@given(VALUES, st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_is_scipys(values: list[float], confidence: float) -> None:
    """Student's, over the restarts."""
    assume(np.std(values) > 1e-6)
    ours = statistics.mean_interval(values, confidence)
    theirs = ttest_1samp(values, 0.0).confidence_interval(confidence)

    assert ours.value == pytest.approx(float(np.mean(values)), abs=1e-12)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert ours.interval.confidence == confidence


@given(VALUES, st.floats(-0.2, 0.2), st.sampled_from(["greater", "less"]))
def test_p_value_is_scipys(values: list[float], reference: float, alternative: str) -> None:
    """The one-sided test of ``ttest_1samp``."""
    assume(np.std(values) > 1e-6)
    theirs = ttest_1samp(values, reference, alternative=alternative).pvalue

    assert statistics.p_value(values, reference, alternative) == pytest.approx(float(theirs), rel=1e-6, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "alternative", "expected"),
    [(0.25, "greater", 0.0), (0.25, "less", 1.0), (0.0, "greater", 1.0), (0.0, "less", 1.0), (-0.25, "less", 0.0)],
)
def test_equal_values_are_certain_and_not_nan(value: float, alternative: str, expected: float) -> None:
    """Where no value differs from another, the mean is known: no warning, no NaN."""
    assert statistics.p_value([value] * 6, 0.0, alternative) == expected  # type: ignore[arg-type]
    bounds = statistics.mean_interval([value] * 6, 0.95).interval
    assert (bounds.low, bounds.high) == (value, value)
    assert statistics.deviation([value] * 6) == 0.0


@given(VALUES, st.floats(0.001, 0.2))
def test_equivalence_is_the_worse_of_two_one_sided_tests(values: list[float], margin: float) -> None:
    """Schuirmann's: both bounds have to be excluded."""
    assume(np.std(values) > 1e-6)
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue

    assert statistics.equivalence_p_value(values, margin) == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)


def test_equivalence_agrees_with_the_interval() -> None:
    """It is shown at level a exactly when the interval of confidence 1 - 2a lies within the margin."""
    outcomes = set()
    for seed in range(200):
        values = sample(8, seed, middle=0.004)
        bounds = statistics.mean_interval(values, 0.9).interval
        is_within = bounds.low > -0.01 and bounds.high < 0.01
        outcomes.add(is_within)
        assert (statistics.equivalence_p_value(values, 0.01) < 0.05) is is_within
    assert outcomes == {True, False}


def test_adjusted_p_values_are_benjamini_and_hochbergs() -> None:
    """p(i) * m / i in ascending order, made monotone from the largest down."""
    p_values = [0.01, 0.04, 0.03, 0.005]

    assert statistics.adjusted_p_values(p_values) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert statistics.adjusted_p_values([0.02]) == [0.02]
    assert statistics.adjusted_p_values([]) == []


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_adjusting_never_strengthens_evidence(p_values: list[float]) -> None:
    """An adjusted p-value is no smaller than the p-value, and keeps the order."""
    adjusted = statistics.adjusted_p_values(p_values)

    assert all(after >= before - 1e-12 for before, after in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= -1e-12)


@pytest.mark.parametrize("restarts", [6, 9, 14, 24])
@pytest.mark.parametrize("error", [0.05, 0.01])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_detectable_change_is_found_as_often_as_it_says(restarts: int, error: float, power: float) -> None:
    """The approximation keeps the exact power of the non-central t distribution within four percentage points."""
    scatter = 0.01
    change = statistics.detectable_change(scatter, restarts, error, power)
    critical = t.ppf(1 - error, restarts - 1)
    exact = float(nct.sf(critical, restarts - 1, change / scatter * math.sqrt(restarts)))

    assert exact == pytest.approx(power, abs=0.04)


def test_detectable_change_follows_scatter_and_restarts() -> None:
    """It is proportional to the scatter, and falls with more restarts."""
    one = statistics.detectable_change(0.01, 12, 0.05)

    assert statistics.detectable_change(0.02, 12, 0.05) == pytest.approx(2 * one)
    assert statistics.detectable_change(0.01, 48, 0.05) < one / 2
    assert statistics.detectable_change(0.0, 12, 0.05) == 0.0


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    """95 % of intervals of six normal values hold the true mean."""
    hits = 0
    for seed in range(1000):
        bounds = statistics.mean_interval(sample(6, seed, middle=0.02), 0.95).interval
        hits += bounds.low <= 0.02 <= bounds.high

    assert hits / 1000 == pytest.approx(0.95, abs=0.02)
