"""Measure several implementations of one case alternately, so that all of them meet the same noise.

Each round takes one sample of every contender in a fresh random order. A disturbance that lasts longer than a round
(another tenant, a clock change) then falls on all of them alike and cancels in their ratios.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from perf.timer import Contender, Timer

# A sample must outlast the clock's own error and a scheduler tick's edges by far.
MIN_SAMPLE_S = 2e-3
MIN_ROUNDS = 7
MAX_ROUNDS = 400
# A contender whose one call takes more than this share of its budget cannot give MIN_ROUNDS samples in time.
_MAX_CALL_SHARE = 1 / MIN_ROUNDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples of one contender: mean seconds per call of each round, in the order taken."""

    seconds: tuple[float, ...]
    iterations: int
    spent_s: float  # inside calls, warm-up included


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A contender too slow for its budget."""

    reason: str
    spent_s: float


def measure_alternately(
    contenders: Mapping[str, Contender], timer: Timer, *, seconds_each: float, seed: int = 0
) -> dict[str, Samples | LeftOut]:
    """Sample every contender once per round until the budget is spent.

    Args:
        contenders: implementations by name. The first is always measured; a later one is left out if one call takes
            more than a seventh of ``seconds_each``.
        timer: the clock of the device.
        seconds_each: budget per contender. At least MIN_ROUNDS and at most MAX_ROUNDS rounds are run.
        seed: of the order within rounds.
    """
    left_out: dict[str, LeftOut] = {}
    spent: dict[str, float] = {}
    iterations: dict[str, int] = {}
    for position, (name, contender) in enumerate(contenders.items()):
        per_call, spent[name] = _warm_up(contender, timer, seconds_each)
        if position and per_call > seconds_each * _MAX_CALL_SHARE:
            reason = f"one call takes {per_call:.2g} s, too long for a budget of {seconds_each:g} s"
            left_out[name] = LeftOut(reason=reason, spent_s=spent[name])
        else:
            iterations[name] = max(1, math.ceil(MIN_SAMPLE_S / per_call))
    rounds = _sample_rounds(contenders, timer, iterations, seconds_each * len(iterations), seed)
    measured = {
        name: Samples(
            seconds=tuple(seconds / iterations[name] for seconds in taken),
            iterations=iterations[name],
            spent_s=spent[name] + sum(taken),
        )
        for name, taken in rounds.items()
    }
    return {name: measured.get(name) or left_out[name] for name in contenders}


def _sample_rounds(
    contenders: Mapping[str, Contender], timer: Timer, iterations: Mapping[str, int], budget_s: float, seed: int
) -> dict[str, list[float]]:
    """Seconds of every sample by contender, all of equal length."""
    taken: dict[str, list[float]] = {name: [] for name in iterations}
    order, generator = list(iterations), random.Random(seed)  # noqa: S311 - an order, not a secret
    used, rounds = 0.0, 0
    while rounds < MIN_ROUNDS or (used < budget_s and rounds < MAX_ROUNDS):
        generator.shuffle(order)
        for name in order:
            taken[name].append(_sample(contenders[name], timer, iterations[name]))
            used += taken[name][-1]
        rounds += 1
    return taken


def _sample(contender: Contender, timer: Timer, iterations: int) -> float:
    with contender.setting():
        return timer.seconds(contender.call, iterations)


def _warm_up(contender: Contender, timer: Timer, seconds_each: float) -> tuple[float, float]:
    """Call until two consecutive calls agree within 10 % or a tenth of the budget is spent.

    Returns seconds per call and seconds spent.
    """
    previous = spent = _sample(contender, timer, 1)
    while spent < seconds_each / 10:
        current = _sample(contender, timer, 1)
        spent += current
        if abs(current - previous) <= 0.1 * previous:
            return max(current, 1e-9), spent
        previous = current
    return max(previous, 1e-9), spent
