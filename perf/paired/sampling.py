"""Sample two sides alternately inside one process: what a restart consists of. Light to import, for every restart does.

A side is a :data:`Sampler`: a function from a number of calls to the seconds that they took. How it takes them (host
clock, CUDA events, another process) is its own affair.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from perf.paired.model import Block, Conditions, Side

# ABBA quadruples in a block: ten samples of either side, of whose lower quartile a few disturbed ones move nothing.
QUADRUPLES = 5
MIN_BLOCKS = 2
# Long calls would make such blocks last longer than disturbances do; then a block has fewer quadruples.
_LONGEST_BLOCK_S = 0.15
_WARM_UP_CALLS = 3
_MAX_WARM_UP_S = 0.1
_LEAST_CALL_S = 1e-9  # no call takes less: a clock that says so did not tick

Sampler = Callable[[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The two sides, and how to look at the machine around a block.

    Attributes:
        samplers: seconds of so many consecutive calls, of each side.
        begin_block: called before a block.
        end_block: called after it; what the machine was like meanwhile.
        setting: how calls are timed, in words, for the record.
    """

    samplers: Mapping[Side, Sampler]
    begin_block: Callable[[], None] = lambda: None
    end_block: Callable[[], Conditions] = Conditions
    setting: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledBlocks:
    """The blocks of one restart, in the order taken. ``started_s`` of each is since the first."""

    iterations: int
    blocks: tuple[Block, ...]
    measured_s: float  # inside timed calls


def sample_sides(sides: Sides, *, duration_s: float, sample_s: float, generator: random.Random) -> SampledBlocks:
    """Warm up, choose how many calls a sample needs, and take blocks until the time is over.

    Args:
        sides: what to sample.
        duration_s: of all blocks together, at least MIN_BLOCKS of them.
        sample_s: least length of a sample of the slower side; the other has as many calls.
        generator: of the order within quadruples.
    """
    per_call = max(_warm_up(sides.samplers[side]) for side in Side)
    iterations = _choose_iterations(sides.samplers, per_call, sample_s)
    quadruples = max(1, min(QUADRUPLES, int(_LONGEST_BLOCK_S / (4 * iterations * per_call))))
    blocks: list[Block] = []
    measured_s, clock = 0.0, time.perf_counter()
    while len(blocks) < MIN_BLOCKS or time.perf_counter() - clock < duration_s:
        sides.begin_block()
        started_s = time.perf_counter() - clock
        seconds = _sample_block(sides.samplers, iterations, quadruples, generator)
        measured_s += sum(map(sum, seconds.values()))
        blocks.append(_block(seconds, iterations, started_s, sides.end_block()))
    return SampledBlocks(iterations=iterations, blocks=tuple(blocks), measured_s=measured_s)


def _warm_up(sampler: Sampler) -> float:
    """Seconds per call after a few calls: the least, for a first call pays for what later ones find done."""
    seconds = [sampler(1)]
    while len(seconds) < _WARM_UP_CALLS and sum(seconds) < _MAX_WARM_UP_S:
        seconds.append(sampler(1))
    return max(min(seconds), _LEAST_CALL_S)


def _choose_iterations(samplers: Mapping[Side, Sampler], per_call: float, sample_s: float) -> int:
    """Calls that last ``sample_s`` on the slower side, where one call in warming up took ``per_call`` seconds.

    Calls in a row are faster than such single ones: measured, 1.7 instead of 4.9 microseconds. So short calls are tried
    in a row before their number is fixed; if that try is disturbed, it changes nothing.
    """
    first_guess = max(1, math.ceil(sample_s / per_call))
    if first_guess == 1:
        return 1
    in_a_row = max(samplers[side](first_guess) for side in Side) / first_guess
    return max(first_guess, math.ceil(sample_s / max(in_a_row, _LEAST_CALL_S)))


def _sample_block(
    samplers: Mapping[Side, Sampler], iterations: int, quadruples: int, generator: random.Random
) -> dict[Side, list[float]]:
    seconds: dict[Side, list[float]] = {side: [] for side in Side}
    for _ in range(quadruples):
        first, second = generator.sample(list(Side), 2)
        for side in (first, second, second, first):
            seconds[side].append(samplers[side](iterations))
    return seconds


def _block(seconds: Mapping[Side, list[float]], iterations: int, started_s: float, conditions: Conditions) -> Block:
    per_call = {side: tuple(sample / iterations for sample in samples) for side, samples in seconds.items()}
    return Block(
        base_s=per_call[Side.BASE],
        candidate_s=per_call[Side.CANDIDATE],
        started_s=started_s,
        conditions=conditions,
    )
