"""Intervals and noise bounds of repeated timings (pure).

Consecutive samples of one process are not independent: a disturbance outlasts a sample. Every interval here is
therefore built from the medians of at most :data:`MAX_BLOCKS` consecutive blocks of samples, the method of batch
means (Schmeiser, 1982, "Batch size effects in the analysis of simulation output", Operations Research 30(3): 10 to 30
batches suffice), and is the distribution-free interval of the median from order statistics (Conover, 1999, "Practical
Nonparametric Statistics", section 3.2). ``scipy.stats.quantile_test`` gives the same bounds, but takes longer to load
than the gate may run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median

from perf.model import Interval

MAX_BLOCKS = 20
CONFIDENCE = 0.95
# Below this an interval is of so few samples (five give 0.94, four 0.88) that no verdict rests on it.
MIN_CONFIDENCE = 0.9

# Of a logarithm: nothing is told apart beyond it, and its exponential is still a float.
_LARGEST_BOUND = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its confidence interval."""

    value: float
    interval: Interval


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the median of ``samples``, which are in the order taken.

    With too few samples for ``confidence`` (five or less for 95 %) it is the range of the samples, and its own
    ``confidence`` says how little that is: 1 - 2 ** (1 - n).
    """
    blocks = sorted(_block_medians(samples))
    depth = _order_statistic(len(blocks), confidence)
    middle = median(samples)  # of all samples: with uneven noise the median of the blocks may lie beside it
    return Interval(
        low=min(blocks[depth - 1], middle),
        high=max(blocks[-depth], middle),
        confidence=_coverage(len(blocks), depth) if depth == 1 else confidence,
    )


def paired_log_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """The median of ln(numerator / denominator) over the rounds that both sequences have.

    Sample i of both comes from the same round, so that whatever slowed that round cancels.
    """
    logs = [math.log(above / below) for above, below in zip(numerator, denominator, strict=False)]
    return Estimate(value=median(logs), interval=median_interval(logs))


def exponential(estimate: Estimate) -> Estimate:
    """A log ratio as a ratio."""
    bounds = estimate.interval
    interval = Interval(low=math.exp(bounds.low), high=math.exp(bounds.high), confidence=bounds.confidence)
    return Estimate(value=math.exp(estimate.value), interval=interval)


def as_change(estimate: Estimate) -> Estimate:
    """A log ratio as a relative change: exp(x) - 1."""
    bounds = estimate.interval
    interval = Interval(low=math.expm1(bounds.low), high=math.expm1(bounds.high), confidence=bounds.confidence)
    return Estimate(value=math.expm1(estimate.value), interval=interval)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first`` - ``second`` of two independent estimates, with the interval by variance recovery.

    Each bound is at the root of the summed squared distances (Zou and Donner, 2008, "Construction of confidence limits
    about effect measures: a general approach", Statistics in Medicine 27(10)), so that lopsided intervals stay
    lopsided.
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.interval.low, second.interval.high - second.value)
    up = math.hypot(first.interval.high - first.value, second.value - second.interval.low)
    confidence = min(first.interval.confidence, second.interval.confidence)
    return Estimate(value=value, interval=Interval(low=value - down, high=value + up, confidence=confidence))


def widened(estimate: Estimate, noise: float) -> Estimate:
    """``estimate`` with an independent error of half-width ``noise`` added to its interval, in squares."""
    bounds, value = estimate.interval, estimate.value
    interval = Interval(
        low=value - math.hypot(value - bounds.low, noise),
        high=value + math.hypot(bounds.high - value, noise),
        confidence=bounds.confidence,
    )
    return Estimate(value=value, interval=interval)


def noise_bound(controls: Sequence[float], comparisons: int, confidence: float = CONFIDENCE) -> float:
    """How far from zero ``comparisons`` further differences of identical code lie at most, at ``confidence`` for all.

    The two-sided normal prediction bound about a known mean of zero, t(n, 1 - alpha / 2m) * root mean square of the n
    controls, with Bonferroni's correction for the m comparisons (Hahn and Meeker, 1991, "Statistical Intervals"). The
    root mean square is kept rather than a robust scale: an outlier among the controls is noise that this machine has.

    Args:
        controls: differences between two runs of what did not change; at least one.
        comparisons: how many differences will be judged by the bound.
        confidence: that none of them passes the bound by noise alone.
    """
    # Imported here: loading it takes a third of the gate's second, and without a baseline nothing needs it.
    from scipy.special import stdtrit

    count = len(controls)
    scale = math.sqrt(sum(control * control for control in controls) / count)
    tail = (1 - confidence) / (2 * max(1, comparisons))
    return min(float(stdtrit(count, 1 - tail)) * scale, _LARGEST_BOUND)


def _block_medians(samples: Sequence[float]) -> list[float]:
    """Medians of at most MAX_BLOCKS consecutive blocks of nearly equal size."""
    count = min(MAX_BLOCKS, len(samples))
    edges = [round(index * len(samples) / count) for index in range(count + 1)]
    return [median(samples[start:stop]) for start, stop in pairwise(edges)]


@lru_cache(maxsize=256)
def _order_statistic(count: int, confidence: float) -> int:
    """The greatest k >= 1 for which the k-th least and k-th greatest of ``count`` values enclose the median."""
    depth = 1
    while depth < (count + 1) // 2 and _coverage(count, depth + 1) >= confidence:
        depth += 1
    return depth


@lru_cache(maxsize=1024)
def _coverage(count: int, depth: int) -> float:
    """The probability that the depth-th least and depth-th greatest of ``count`` values enclose the median."""
    below = sum(math.comb(count, index) for index in range(depth))
    return 1.0 - math.ldexp(below, 1 - count)
