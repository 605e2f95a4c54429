"""Amdahl's law, and what is concluded by it."""

from __future__ import annotations

import math

import pytest

from kernels.errors import EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION
from perf.model import Interval, Verdict
from perf.stats import Estimate
from perf.transformer.amdahl import predicted_log_speedup, speedup
from perf.transformer.conclusions import conclude, exit_code
from tests.perf.transformer.invented_runs import invented_curves, invented_run


@pytest.mark.parametrize(
    ("share", "part", "whole"), [(0.0, 5.0, 1.0), (1.0, 5.0, 5.0), (0.5, 2.0, 4 / 3), (0.8, 4.0, 2.5), (0.6, 1.0, 1.0)]
)
def test_the_law(share: float, part: float, whole: float) -> None:
    """Values worked out by hand."""
    assert speedup(share, part) == pytest.approx(whole)


def test_a_prediction_is_as_uncertain_as_its_figures() -> None:
    """Known figures give a point; the wider their intervals, the wider the prediction's."""

    def estimate(value: float, half: float) -> Estimate:
        return Estimate(value=value, interval=Interval(low=value - half, high=value + half, confidence=0.95))

    known = predicted_log_speedup(estimate(0.8, 0.0), estimate(math.log(4), 0.0))
    unsure = predicted_log_speedup(estimate(0.8, 0.05), estimate(math.log(4), 0.1))

    assert known.value == known.interval.low == known.interval.high == pytest.approx(math.log(2.5))
    assert unsure.interval.low < known.value < unsure.interval.high


@pytest.mark.parametrize("speedup_of_kernel", [0.7, 1.0, 3.0, 8.0])
def test_a_step_that_obeys_the_law_is_as_predicted(speedup_of_kernel: float) -> None:
    """Whether our kernel is faster or slower."""
    (training, _) = conclude(invented_run(speedup_of_kernel))

    assert training.verdict is Verdict.UNCHANGED
    assert training.kernel_speedup.value == pytest.approx(speedup_of_kernel, rel=0.01)
    assert training.share.value == pytest.approx(2 / 3, rel=0.01)
    assert training.alone_share == pytest.approx(2 / 3, rel=0.01)
    assert training.measured.value == pytest.approx(1 / (1 / 3 + 2 / 3 / speedup_of_kernel), rel=0.01)
    assert exit_code(invented_run(speedup_of_kernel)) == EXIT_PASS


def test_time_lost_beside_the_kernel_breaks_the_prediction() -> None:
    """A copy of the tensors, say, that the kernel timed by itself does not need."""
    run = invented_run(extra_s=0.02)

    assert conclude(run)[0].verdict is Verdict.REGRESSED
    assert exit_code(run) == EXIT_REGRESSION


def test_noise_gives_no_verdict() -> None:
    """An interval across the tolerance is neither agreement nor breach."""
    run = invented_run(noise=0.3)

    assert conclude(run)[0].verdict is Verdict.INCONCLUSIVE
    assert exit_code(run) == EXIT_NO_VERDICT


def test_unequal_curves_are_a_breach_whatever_the_times() -> None:
    """A fast model that learns something else is worth nothing."""
    assert exit_code(invented_run(curves=(invented_curves(own_drift=0.1),))) == EXIT_REGRESSION
