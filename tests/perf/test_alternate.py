"""Alternating measurement, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from perf.alternate import MAX_ROUNDS, MIN_ROUNDS, MIN_SAMPLE_S, LeftOut, Samples, measure_alternately
from perf.paired.model import GpuConditions
from perf.timer import Call, Contender


@dataclass
class World:
    """A clock, a log of what ran, and a GPU if there is one."""

    now: float = 0.0
    slowdown: float = 1.0
    gpu: Callable[[], GpuConditions | None] = lambda: None
    log: list[str] = field(default_factory=list)

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        """A call that takes ``seconds`` times the present slowdown."""

        def call() -> None:
            self.now += seconds * self.slowdown
            self.log.append(name)

        return call

    def settle(self) -> None:
        """As perf.timer.Timer: a rest of 10 ms."""
        self.now += 0.01

    def seconds(self, call: Call, iterations: int) -> float:
        """As perf.timer.Timer."""
        started = self.now
        for _ in range(iterations):
            call()
        return self.now - started

    def conditions(self) -> GpuConditions | None:
        """As perf.timer.Timer."""
        return self.gpu()

    def describe(self, call: Call) -> Mapping[str, str]:  # noqa: ARG002 - all calls are timed alike
        """As perf.timer.Timer."""
        return {"clock": "of the test"}


def samples(result: Samples | LeftOut) -> Samples:
    """The result of a contender that must have been measured."""
    assert isinstance(result, Samples)
    return result


def test_every_contender_gets_one_sample_per_round() -> None:
    """So that sample i of one pairs with sample i of another."""
    world = World()
    contenders = {"ours": Contender(world.work("ours", 0.01)), "peer": Contender(world.work("peer", 0.03))}
    result = measure_alternately(contenders, world, seconds_each=1.0)

    lengths = {len(samples(each).seconds) for each in result.values()}
    assert len(lengths) == 1
    assert lengths.pop() >= MIN_ROUNDS


def test_the_budget_is_spent_and_not_exceeded_by_more_than_a_round() -> None:
    """Measuring stops with the round in which the budget runs out."""
    world = World()
    contenders = {"ours": Contender(world.work("ours", 0.01)), "peer": Contender(world.work("peer", 0.03))}
    result = measure_alternately(contenders, world, seconds_each=1.0)
    spent = sum(each.spent_s for each in result.values())

    assert 2.0 <= spent <= 2.0 + 2 * (0.02 + 0.03) + 0.3


def test_a_short_call_is_repeated_within_a_sample() -> None:
    """A sample outlasts the clock's error; its value is still per call."""
    world = World()
    result = samples(
        measure_alternately({"ours": Contender(world.work("ours", 1e-5))}, world, seconds_each=0.1)["ours"]
    )

    assert result.iterations * 1e-5 >= MIN_SAMPLE_S * 0.999
    assert result.seconds == pytest.approx([1e-5] * len(result.seconds))
    assert len(result.seconds) <= MAX_ROUNDS


def test_a_slow_peer_is_left_out_with_its_reason() -> None:
    """It is named, not silently missing, and does not eat the others' time."""
    world = World()
    contenders = {"ours": Contender(world.work("ours", 0.01)), "math": Contender(world.work("math", 5.0))}
    result = measure_alternately(contenders, world, seconds_each=1.0)

    assert isinstance(result["math"], LeftOut)
    assert "one call takes 5 s" in result["math"].reason
    assert world.log.count("math") == 1


def test_our_own_kernel_is_measured_however_slow() -> None:
    """A regression must not become 'not run'."""
    world = World()
    result = measure_alternately({"ours": Contender(world.work("ours", 5.0))}, world, seconds_each=1.0)

    assert len(samples(result["ours"]).seconds) == MIN_ROUNDS


def test_a_disturbance_longer_than_a_round_cancels_in_the_ratio() -> None:
    """Both slow down together, so every paired ratio stays what it is."""
    world = World()

    def disturbed(name: str, seconds: float) -> Contender:
        quiet = world.work(name, seconds)

        def call() -> None:
            world.slowdown = 3.0 if 0.5 < world.now < 1.2 else 1.0
            quiet()

        return Contender(call)

    result = measure_alternately({"a": disturbed("a", 0.01), "b": disturbed("b", 0.02)}, world, seconds_each=1.0)
    pairs = zip(samples(result["a"]).seconds, samples(result["b"]).seconds, strict=True)
    ratios = [b / a for a, b in pairs]

    disturbed_rounds = sum(ratio != pytest.approx(2.0) for ratio in ratios)
    assert disturbed_rounds <= 2  # the rounds that the disturbance began and ended in


def test_the_order_within_rounds_varies() -> None:
    """Always going second would be a systematic difference."""
    world = World()
    names = ["a", "b", "c"]
    measure_alternately({name: Contender(world.work(name, 0.03)) for name in names}, world, seconds_each=2.0)
    warm_up = 6 * len(names)
    samples_taken = world.log[warm_up::2]  # a sample is one call of lead-in and one that is timed
    rounds = [tuple(samples_taken[start : start + 3]) for start in range(0, len(samples_taken), 3)]

    assert all(set(order) == set(names) for order in rounds)
    assert len(set(rounds)) > 2


def test_what_ran_before_does_not_reach_into_a_sample() -> None:
    """Whoever follows the disturber starts slowly; the rest before a sample takes that, and no sample shows it."""
    world = World()
    spinning_until = 0.0

    def disturber() -> None:
        nonlocal spinning_until
        world.now += 0.01
        spinning_until = world.now + 0.008

    def victim() -> None:
        world.now += 0.002 * (1.5 if world.now < spinning_until else 1.0)

    contenders = {"victim": Contender(victim), "disturber": Contender(disturber)}
    result = measure_alternately(contenders, world, seconds_each=0.5)

    assert samples(result["victim"]).seconds == pytest.approx([0.002] * len(samples(result["victim"]).seconds))


def test_the_setting_is_entered_around_every_sample_and_not_around_every_call() -> None:
    """Forcing a backend costs more than a small kernel, so it must stay out of the sample."""
    world = World()
    entered = []

    @contextmanager
    def setting() -> Iterator[None]:
        entered.append(world.now)
        yield

    result = measure_alternately({"peer": Contender(world.work("peer", 1e-4), setting)}, world, seconds_each=0.1)
    calls = len(world.log)

    assert len(entered) < calls
    assert len(entered) >= len(samples(result["peer"]).seconds)


FAST = GpuConditions(sm_clock_hz=1.98e9, power_w=400.0)
CAPPED = GpuConditions(sm_clock_hz=1.7e9, power_w=700.0, throttle_reasons=("hardware slowdown",))


def two_contenders(world: World) -> dict[str, Contender]:
    """Calls of 10 and 20 ms."""
    return {"ours": Contender(world.work("ours", 0.01)), "peer": Contender(world.work("peer", 0.02))}


def test_a_throttled_sample_drops_its_round_for_all() -> None:
    """What is left still pairs by round: here the throttled rounds are slower, and none of them is left."""
    world = World()

    def throttled_for_a_while() -> GpuConditions:
        is_throttled = 0.6 < world.now < 0.8
        world.slowdown = 1.3 if is_throttled else 1.0
        return CAPPED if is_throttled else FAST

    world.gpu = throttled_for_a_while
    result = measure_alternately(two_contenders(world), world, seconds_each=1.0)
    ours, peer = samples(result["ours"]), samples(result["peer"])

    assert ours.dropped == peer.dropped > 0
    assert len(ours.seconds) == len(peer.seconds) >= MIN_ROUNDS
    assert ours.seconds == pytest.approx([0.01] * len(ours.seconds))
    assert ours.conditions == FAST
    assert "throttled" not in ours.setting


def test_a_gpu_that_is_always_throttled_keeps_its_samples_and_says_so() -> None:
    """An empty result would hide the machine."""
    world = World(gpu=lambda: CAPPED)
    ours = samples(measure_alternately(two_contenders(world), world, seconds_each=0.5)["ours"])

    assert ours.dropped == 0
    assert len(ours.seconds) >= MIN_ROUNDS
    assert ours.setting["throttled"].startswith(f"throttled in {len(ours.seconds)} of {len(ours.seconds)} and kept")
    assert ours.conditions == CAPPED


def test_time_in_dropped_rounds_is_spent_all_the_same() -> None:
    """The share of time inside kernels is about what ran, not about what was kept."""
    quiet, throttled = World(gpu=lambda: FAST), World()
    throttled.gpu = lambda: CAPPED if throttled.now > 1.5 else FAST
    whole, partly = (
        samples(measure_alternately(two_contenders(world), world, seconds_each=1.0)["ours"])
        for world in (quiet, throttled)
    )

    assert whole.dropped == 0 < partly.dropped
    assert whole.spent_s == pytest.approx(partly.spent_s)


def test_samples_say_how_they_were_timed() -> None:
    """In the timer's words; without a GPU there are no conditions."""
    world = World()
    ours = samples(measure_alternately(two_contenders(world), world, seconds_each=0.5)["ours"])

    assert ours.setting == {"clock": "of the test"}
    assert ours.conditions is None
    assert ours.dropped == 0


def test_calls_that_get_faster_are_warmed_up_before_they_are_sampled() -> None:
    """A first call that loads, compiles or touches pages must not choose how many calls make a sample."""
    world = World()
    remaining = [0.05, 0.02, 0.005, 0.002]

    def call() -> None:
        world.now += remaining.pop(0) if remaining else 0.001

    ours = samples(measure_alternately({"ours": Contender(call)}, world, seconds_each=2.0)["ours"])

    assert ours.iterations == 20
    assert ours.seconds == pytest.approx([0.001] * len(ours.seconds))
