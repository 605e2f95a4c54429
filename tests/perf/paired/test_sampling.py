"""Samples alternate in ABBA order, last long enough, and a drift cancels. The clock is simulated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from perf.paired import sampling
from perf.paired.model import Conditions, Side
from perf.paired.sampling import MIN_BLOCKS, QUADRUPLES, SampledBlocks, Sampler, Sides, sample_sides
from perf.paired.statistics import block_log_ratio

# Of each side, where calls are short: three single ones, and a row of them.
WARM_UP_CALLS = 4


class SimulatedClock:
    """Samplers whose calls take simulated time, and a record of who was called for how many calls."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.order: list[tuple[Side, int]] = []

    def sampler(self, side: Side, per_call_s: Callable[[float], float]) -> Sampler:
        """A sampler of ``side``; ``per_call_s`` tells the seconds of a call at a time of the clock."""

        def sample(iterations: int) -> float:
            seconds = iterations * per_call_s(self.now_s)
            self.now_s += seconds
            self.order.append((side, iterations))
            return seconds

        return sample

    def sides(self, base: Callable[[float], float], candidate: Callable[[float], float]) -> Sides:
        """Both sides on this clock."""
        return Sides(
            samplers={
                Side.BASE: self.sampler(Side.BASE, base),
                Side.CANDIDATE: self.sampler(Side.CANDIDATE, candidate),
            }
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    """The clock that sampling sees, too."""
    simulated = SimulatedClock()
    monkeypatch.setattr(sampling, "time", SimpleNamespace(perf_counter=lambda: simulated.now_s))
    return simulated


def take(sides: Sides, *, duration_s: float = 0.2, sample_s: float = 1e-3, seed: int = 1) -> SampledBlocks:
    """Blocks with the defaults of a plan."""
    return sample_sides(sides, duration_s=duration_s, sample_s=sample_s, generator=random.Random(seed))  # noqa: S311


def quadruples(clock: SimulatedClock) -> list[tuple[Side, ...]]:
    """The order of sides in each, without the warm-up."""
    order = [side for side, _ in clock.order[2 * WARM_UP_CALLS :]]
    return [tuple(order[start : start + 4]) for start in range(0, len(order), 4)]


A, B = Side.BASE, Side.CANDIDATE


def test_every_quadruple_is_abba_or_baab_at_random(clock: SimulatedClock) -> None:
    """Both sides equally often, and each of the two orders about as often as the other."""
    take(clock.sides(lambda _: 1e-4, lambda _: 1e-4), duration_s=2.0)
    counts = Counter(quadruples(clock))

    assert set(counts) == {(A, B, B, A), (B, A, A, B)}
    share = counts[A, B, B, A] / counts.total()
    assert counts.total() >= 400
    assert 0.4 < share < 0.6


def test_the_order_follows_from_the_seed(clock: SimulatedClock) -> None:
    """The same seed repeats a restart, another one varies it."""
    orders = []
    for seed in (1, 1, 2):
        clock.order.clear()
        take(clock.sides(lambda _: 1e-4, lambda _: 1e-4), seed=seed)
        orders.append(quadruples(clock))

    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("per_call_s", [1e-6, 3e-5, 4e-4, 1e-3, 0.02])
def test_a_sample_is_as_many_calls_as_its_length_needs(clock: SimulatedClock, per_call_s: float) -> None:
    """And no more; the record is in seconds per call."""
    sampled = take(clock.sides(lambda _: per_call_s, lambda _: per_call_s))
    samples = [sample for block in sampled.blocks for sample in (*block.base_s, *block.candidate_s)]

    assert 1e-3 * (1 - 1e-9) <= sampled.iterations * per_call_s <= (1e-3 + per_call_s) * (1 + 1e-9)
    assert {iterations for _, iterations in clock.order[2 * WARM_UP_CALLS :]} == {sampled.iterations}
    assert samples == pytest.approx([per_call_s] * len(samples))


def test_both_sides_have_equally_many_calls_in_a_sample(clock: SimulatedClock) -> None:
    """Chosen by the slower one: a side that is ten times as fast has samples a tenth as long."""
    sampled = take(clock.sides(lambda _: 1e-5, lambda _: 1e-4))

    assert sampled.iterations == 10
    assert {iterations for _, iterations in clock.order[2 * WARM_UP_CALLS :]} == {10}


def test_the_first_calls_do_not_decide_how_long_a_sample_is(clock: SimulatedClock) -> None:
    """A first call pays for what later ones find done, so the least of three counts."""
    start_s = clock.now_s
    sampled = take(clock.sides(lambda now: 0.02 if now == start_s else 1e-5, lambda _: 1e-5))

    assert sampled.iterations == 100


def test_calls_in_a_row_decide_how_long_a_sample_is(clock: SimulatedClock) -> None:
    """A single call has the clock's and the caches' cost on top: here five times its own."""
    sides = clock.sides(lambda _: 1e-6, lambda _: 1e-6)
    with_cost = {side: lambda count, take_=take_: take_(count) + 5e-6 for side, take_ in sides.samplers.items()}
    sampled = take(Sides(samplers=with_cost))

    assert sampled.iterations * 1e-6 == pytest.approx(1e-3, rel=0.05)


def test_a_disturbed_try_does_not_shorten_samples(clock: SimulatedClock) -> None:
    """An interruption makes a row of calls look slow; the single calls before it are believed then."""
    interrupted = lambda _: 1.0 if len(clock.order) == 2 * (WARM_UP_CALLS - 1) else 1e-5  # noqa: E731
    sampled = take(clock.sides(interrupted, lambda _: 1e-5))

    assert sampled.iterations == 100


@pytest.mark.parametrize(
    ("per_call_s", "expected"), [(1e-4, QUADRUPLES), (5e-3, QUADRUPLES), (0.01, 3), (0.03, 1), (0.5, 1)]
)
def test_long_calls_make_blocks_of_fewer_quadruples(clock: SimulatedClock, per_call_s: float, expected: int) -> None:
    """So that a block stays shorter than what disturbs it, and there are two of them whatever they take."""
    sampled = take(clock.sides(lambda _: per_call_s, lambda _: per_call_s))

    assert {len(block.base_s) for block in sampled.blocks} == {2 * expected}
    assert {len(block.candidate_s) for block in sampled.blocks} == {2 * expected}
    assert len(sampled.blocks) >= MIN_BLOCKS


def test_very_long_calls_are_not_warmed_up_for_long(clock: SimulatedClock) -> None:
    """One call of each side is enough where it takes longer than a warm-up may."""
    sampled = take(clock.sides(lambda _: 0.5, lambda _: 0.5))

    assert len(clock.order) == 2 + 4 * MIN_BLOCKS
    assert len(sampled.blocks) == MIN_BLOCKS


def test_blocks_fill_the_time_of_a_restart(clock: SimulatedClock) -> None:
    """They begin one after the other until it is over, and all of it is counted as measured."""
    sampled = take(clock.sides(lambda _: 1e-4, lambda _: 1e-4), duration_s=0.2)
    block_s = 4 * QUADRUPLES * 1e-3
    starts = [block.started_s for block in sampled.blocks]

    assert starts == pytest.approx([block_s * index for index in range(10)], abs=1e-9)
    assert sampled.measured_s == pytest.approx(0.2)


@pytest.mark.parametrize("drift", [0.5, -0.5])
def test_a_linear_drift_cancels(clock: SimulatedClock, drift: float) -> None:
    """A machine that gets slower or faster by half in a second leaves a change of 3 % as it is."""
    start_s = clock.now_s
    base = lambda now: 1e-3 * (1 + drift * (now - start_s))  # noqa: E731
    sampled = take(clock.sides(base, lambda now: 1.03 * base(now)), duration_s=0.4)

    for block in sampled.blocks:
        assert block_log_ratio(block) == pytest.approx(0.02956, abs=0.004)
    mean = sum(map(block_log_ratio, sampled.blocks)) / len(sampled.blocks)
    assert mean == pytest.approx(0.02956, abs=0.0015)


def test_the_machine_is_looked_at_around_each_block(clock: SimulatedClock) -> None:
    """Before and after, never between samples."""
    events: list[str] = []
    sides = clock.sides(lambda _: 1e-4, lambda _: 1e-4)

    def end_block() -> Conditions:
        events.append(f"end after {len(clock.order)}")
        return Conditions(load_average=float(len(events)))

    observed = Sides(
        samplers=sides.samplers,
        begin_block=lambda: events.append(f"begin after {len(clock.order)}"),
        end_block=end_block,
    )
    sampled = take(observed, duration_s=0.0)
    begun, block = 2 * WARM_UP_CALLS, 4 * QUADRUPLES

    assert events == [
        f"begin after {begun}",
        f"end after {begun + block}",
        f"begin after {begun + block}",
        f"end after {begun + 2 * block}",
    ]
    assert [each.conditions.load_average for each in sampled.blocks] == [2.0, 4.0]
