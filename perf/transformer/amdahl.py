"""Amdahl's law: what a faster part gives the whole (pure).

Amdahl (1967), "Validity of the single processor approach to achieving large scale computing capabilities": a part that
takes the fraction p of the time and becomes s times as fast makes the whole 1 / ((1 - p) + p / s) times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from perf.model import Interval
from perf.stats import Estimate, median_interval


def speedup(share: float, part_speedup: float) -> float:
    """Times as fast as before.

    Args:
        share: of the time that the part took before, from 0 to 1.
        part_speedup: how many times as fast the part has become; positive.
    """
    return 1.0 / ((1.0 - share) + share / part_speedup)


def median_estimate(samples: Sequence[float]) -> Estimate:
    """The median with its interval."""
    ordered = sorted(samples)
    middle = len(ordered) // 2
    value = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Estimate(value=value, interval=median_interval(samples))


def predicted_log_speedup(share: Estimate, log_part_speedup: Estimate) -> Estimate:
    """The logarithm of the whole's speed-up, with the errors of both figures.

    Each figure is moved to its bounds in turn while the other stays, and the two effects are added in squares, as is
    right for independent errors.
    """

    def predicted(fraction: float, log_speedup: float) -> float:
        return math.log(speedup(min(1.0, max(0.0, fraction)), math.exp(log_speedup)))

    value = predicted(share.value, log_part_speedup.value)
    moved = [
        [predicted(bound, log_part_speedup.value) - value for bound in (share.interval.low, share.interval.high)],
        [
            predicted(share.value, bound) - value
            for bound in (log_part_speedup.interval.low, log_part_speedup.interval.high)
        ],
    ]
    down = math.hypot(*(max(0.0, -min(effects)) for effects in moved))
    up = math.hypot(*(max(0.0, *effects) for effects in moved))
    confidence = min(share.interval.confidence, log_part_speedup.interval.confidence)
    return Estimate(value=value, interval=Interval(low=value - down, high=value + up, confidence=confidence))
