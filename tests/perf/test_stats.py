"""Intervals cover what they say, and noise bounds hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import quantile_test

from perf.model import Interval
from perf.stats import (
    MAX_BLOCKS,
    Estimate,
    difference,
    exponential,
    median_interval,
    noise_bound,
    paired_log_ratio,
    widened,
)

SECONDS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=80)


@given(SECONDS)
def test_interval_holds_the_median_and_lies_within_the_samples(samples: list[float]) -> None:
    """An interval never claims more than was seen."""
    bounds = median_interval(samples)

    assert min(samples) <= bounds.low <= np.median(samples) * (1 + 1e-12)
    assert np.median(samples) * (1 - 1e-12) <= bounds.high <= max(samples)
    assert 0 <= bounds.confidence <= 1


@pytest.mark.parametrize("count", [6, 7, 12, MAX_BLOCKS])
def test_interval_is_scipys_for_independent_samples(count: int) -> None:
    """The order statistics are those of scipy.stats.quantile_test."""
    samples = np.random.default_rng(count).normal(10, 1, count)
    theirs = quantile_test(samples, q=0, p=0.5).confidence_interval(0.95)
    ours = median_interval([float(value) for value in samples])

    assert (ours.low, ours.high) == (theirs.low, theirs.high)


@pytest.mark.parametrize(("count", "confidence"), [(1, 0.0), (2, 0.5), (5, 0.9375)])
def test_few_samples_say_how_little_they_show(count: int, confidence: float) -> None:
    """The range of n samples covers the median with probability 1 - 2 ** (1 - n)."""
    bounds = median_interval([float(value) for value in range(1, count + 1)])

    assert (bounds.low, bounds.high, bounds.confidence) == (1.0, count, confidence)


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.93), (0.7, 0.90)])
def test_coverage_with_and_without_autocorrelation(memory: float, least: float) -> None:
    """Blocks keep the coverage near 95 % where consecutive samples resemble each other."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        values, last = [], generator.normal()
        for step in generator.normal(0, math.sqrt(1 - memory**2), 200):
            last = memory * last + step
            values.append(float(last))
        bounds = median_interval(values)
        hits += bounds.low <= 0 <= bounds.high

    assert hits / 400 >= least


def test_what_slows_a_round_cancels_in_the_paired_ratio() -> None:
    """A machine-wide drift of 30 % leaves the ratio exact."""
    drift = np.random.default_rng(1).lognormal(0, 0.3, 50)
    ratio = exponential(paired_log_ratio([3 * float(d) for d in drift], [float(d) for d in drift]))

    assert ratio.value == pytest.approx(3)
    assert ratio.interval.high - ratio.interval.low < 1e-9


def test_pairs_stop_at_the_shorter_sequence() -> None:
    """Rounds that only one implementation has are no pairs."""
    assert paired_log_ratio([2.0, 2.0, 9.0], [1.0, 1.0]).value == pytest.approx(math.log(2))


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_differences_and_widening_keep_the_value_inside(value: float, down: float, up: float, noise: float) -> None:
    """Adding uncertainty never narrows an interval and never moves the value."""
    estimate = Estimate(value=value, interval=Interval(low=value - down, high=value + up))
    apart = difference(estimate, Estimate(value=0.0, interval=Interval(low=-noise, high=noise)))
    wider = widened(estimate, noise)

    for found in (apart, wider):
        assert found.value == value
        assert found.interval.low <= estimate.interval.low + 1e-12
        assert found.interval.high >= estimate.interval.high - 1e-12


def test_noise_bound_holds_for_all_comparisons_together() -> None:
    """In at most about 5 % of trials does any of 8 comparisons pass the bound from 8 controls."""
    generator = np.random.default_rng(5)
    passed = 0
    for _ in range(500):
        bound = noise_bound([float(value) for value in generator.normal(0, 0.02, 8)], comparisons=8)
        passed += bool(np.abs(generator.normal(0, 0.02, 8)).max() > bound)

    assert passed / 500 < 0.08


def test_noise_bound_grows_with_noise_and_comparisons() -> None:
    """More noise, more comparisons or fewer controls never make the bound smaller."""
    controls = [0.01, -0.02, 0.015, -0.005]

    assert noise_bound([2 * value for value in controls], 1) == pytest.approx(2 * noise_bound(controls, 1))
    assert noise_bound(controls, 10) > noise_bound(controls, 1)
    assert noise_bound(controls, 1) > noise_bound(controls * 3, 1)
