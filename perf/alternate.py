"""Measure several implementations of one case alternately, so that all of them meet the same noise.

Each round takes one sample of every contender in a fresh random order. A disturbance that lasts longer than a round
(another tenant, a clock change) then falls on all of them alike and cancels in their ratios. On a GPU, a round with any
sample that was taken while the GPU was throttled (:func:`perf.gpu_conditions.is_throttled`) is dropped for all of them,
so that samples still pair up, and counted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perf.calibration import WarmUp, iterations_per_sample, warm_up
from perf.gpu_conditions import Kept, around, keep_unthrottled, summarize
from perf.paired.model import GpuConditions
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
# No more of a contender's budget than this goes into its warm-up.
_MAX_WARM_UP_SHARE = 1 / 10
_WARM_UP_BATCH_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples of one contender: mean seconds per call of each round that was kept, in the order taken."""

    seconds: tuple[float, ...]
    iterations: int
    spent_s: float  # inside calls, warm-up and dropped rounds included
    dropped: int = 0  # rounds, the same for all contenders
    conditions: GpuConditions | None = None  # medians over the samples kept; None on the host
    setting: Mapping[str, str] = field(default_factory=dict)  # how it was timed: "cache": "warm"


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
        warm = _warm_up(contender, timer, seconds_each)
        spent[name] = warm.spent_s
        if position and warm.per_call_s > seconds_each * _MAX_CALL_SHARE:
            reason = f"one call takes {warm.per_call_s:.2g} s, too long for a budget of {seconds_each:g} s"
            left_out[name] = LeftOut(reason=reason, spent_s=spent[name])
        else:
            plans[name] = _plan(warm.per_call_s)
    taken = _sample_rounds(contenders, timer, plans, seconds_each * len(plans), seed)
    kept = _kept_rounds(taken)
    measured = {
        name: _samples(samples, kept, plans[name], spent[name], timer.describe(contenders[name].call))
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
    conditions: GpuConditions | None


def _plan(per_call_s: float) -> _Plan:
    return _Plan(lead_in=int(per_call_s < _LONG_CALL_S), iterations=iterations_per_sample(MIN_SAMPLE_S, per_call_s))


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
        before = timer.conditions()
        lead_in_s = timer.seconds(contender.call, plan.lead_in) if plan.lead_in else 0.0
        timed_s = timer.seconds(contender.call, plan.iterations)
        return _Sample(lead_in_s, timed_s, around(before, timer.conditions()))


def _kept_rounds(taken: Mapping[str, Sequence[_Sample]]) -> Kept:
    """The rounds without a throttled sample; all, if fewer than MIN_ROUNDS would be left."""
    rounds = list(zip(*taken.values(), strict=True))
    return keep_unthrottled([[sample.conditions for sample in each] for each in rounds], at_least=MIN_ROUNDS)


def _samples(
    taken: Sequence[_Sample], kept: Kept, plan: _Plan, warm_up_s: float, setting: Mapping[str, str]
) -> Samples:
    left = [taken[index] for index in kept.indices]
    return Samples(
        seconds=tuple(sample.timed_s / plan.iterations for sample in left),
        iterations=plan.iterations,
        spent_s=warm_up_s + sum(sample.lead_in_s + sample.timed_s for sample in taken),
        dropped=kept.dropped,
        conditions=summarize([sample.conditions for sample in left if sample.conditions is not None]),
        setting={**setting, **({"throttled": kept.note} if kept.note else {})},
    )


def _warm_up(contender: Contender, timer: Timer, seconds_each: float) -> WarmUp:
    """As :func:`perf.calibration.warm_up`, within a tenth of the budget, each batch settled like a sample."""

    def seconds(iterations: int) -> float:
        with contender.setting():
            timer.settle()
            return timer.seconds(contender.call, iterations)

    return warm_up(seconds, batch_s=_WARM_UP_BATCH_S, limit_s=seconds_each * _MAX_WARM_UP_SHARE)
