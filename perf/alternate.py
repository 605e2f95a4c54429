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

# A sample must outlast the clock's error and a scheduler tick by far, and the rest before it by enough that most of the
# time goes into kernels.
MIN_SAMPLE_S = 20e-3
MIN_ROUNDS = 7
MAX_ROUNDS = 400
# After another contender the caches hold its data, so that every sample has one untimed call before it, unless calls
# are so long that this does not matter.
_LONG_CALL_S = 100e-3
# A contender whose one call takes more than this share of its budget would hold up all the others.
_MAX_CALL_SHARE = 1 / 4


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
            more than a quarter of ``seconds_each``.
        timer: the clock of the device.
        seconds_each: budget per contender. At least MIN_ROUNDS and at most MAX_ROUNDS rounds are run.
        seed: of the order within rounds.
    """
    left_out: dict[str, LeftOut] = {}
    spent: dict[str, float] = {}
    plans: dict[str, _Plan] = {}
    for position, (name, contender) in enumerate(contenders.items()):
        per_call, spent[name] = _warm_up(contender, timer, seconds_each)
        if position and per_call > seconds_each * _MAX_CALL_SHARE:
            reason = f"one call takes {per_call:.2g} s, too long for a budget of {seconds_each:g} s"
            left_out[name] = LeftOut(reason=reason, spent_s=spent[name])
        else:
            plans[name] = _plan(per_call)
    taken = _sample_rounds(contenders, timer, plans, seconds_each * len(plans), seed)
    measured = {
        name: Samples(
            seconds=tuple(sample.timed_s / plans[name].iterations for sample in samples),
            iterations=plans[name].iterations,
            spent_s=spent[name] + sum(sample.lead_in_s + sample.timed_s for sample in samples),
        )
        for name, samples in taken.items()
    }
    return {name: measured.get(name) or left_out[name] for name in contenders}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a contender is sampled: calls before the clock starts, and calls that it times together."""

    lead_in: int
    iterations: int


@dataclass(frozen=True, slots=True)
class _Sample:
    lead_in_s: float
    timed_s: float


def _plan(per_call_s: float) -> _Plan:
    return _Plan(lead_in=int(per_call_s < _LONG_CALL_S), iterations=max(1, math.ceil(MIN_SAMPLE_S / per_call_s)))


def _sample_rounds(
    contenders: Mapping[str, Contender], timer: Timer, plans: Mapping[str, _Plan], budget_s: float, seed: int
) -> dict[str, list[_Sample]]:
    """Every sample by contender; all lists have equal length."""
    taken: dict[str, list[_Sample]] = {name: [] for name in plans}
    order, generator = list(plans), random.Random(seed)  # noqa: S311 - an order, not a secret
    used, rounds = 0.0, 0
    while rounds < MIN_ROUNDS or (used < budget_s and rounds < MAX_ROUNDS):
        generator.shuffle(order)
        for name in order:
            sample = _sample(contenders[name], timer, plans[name])
            taken[name].append(sample)
            used += sample.lead_in_s + sample.timed_s
        rounds += 1
    return taken


def _sample(contender: Contender, timer: Timer, plan: _Plan) -> _Sample:
    with contender.setting():
        timer.settle()
        lead_in_s = timer.seconds(contender.call, plan.lead_in) if plan.lead_in else 0.0
        return _Sample(lead_in_s, timer.seconds(contender.call, plan.iterations))


def _warm_up(contender: Contender, timer: Timer, seconds_each: float) -> tuple[float, float]:
    """Call until two consecutive calls agree within 10 % or a tenth of the budget is spent.

    Returns seconds per call and seconds spent.
    """
    single = _Plan(lead_in=0, iterations=1)
    previous = spent = _sample(contender, timer, single).timed_s
    while spent < seconds_each / 10:
        current = _sample(contender, timer, single).timed_s
        spent += current
        if abs(current - previous) <= 0.1 * previous:
            return max(current, 1e-9), spent
        previous = current
    return max(previous, 1e-9), spent
