"""Hand samples that were taken elsewhere to pytest-benchmark, through its public interface alone.

pytest-benchmark times one function per test, one test after the other. We sample all implementations of a case
alternately, so the samples exist before the tests that report them: each test replays its own through ``pedantic``
with a clock that tells the recorded durations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class ReplayClock:
    """A clock that returns recorded durations as differences of consecutive readings."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, durations_s: Sequence[float]) -> None:
        """Prepare one pair of readings per duration."""
        # Every pair starts at zero: differences of running sums would lose digits of the samples.
        self._readings = (reading for duration in durations_s for reading in (0.0, duration))

    def __call__(self) -> float:
        """The next reading; raises StopIteration when more are asked for than were loaded."""
        return next(self._readings)


REPLAY_CLOCK = ReplayClock()


def record(benchmark: Any, name: str, group: str, seconds_per_call: Sequence[float], iterations: int) -> None:  # noqa: ANN401
    """Let pytest-benchmark keep these samples under ``name``.

    Args:
        benchmark: the fixture of a test marked ``@pytest.mark.benchmark(timer=REPLAY_CLOCK)``.
        name: of the benchmark in the JSON file.
        group: benchmarks of one group stand in one table.
        seconds_per_call: the samples.
        iterations: calls behind each sample.
    """
    REPLAY_CLOCK.load([sample * iterations for sample in seconds_per_call])
    benchmark.name = benchmark.param = name
    benchmark.group = group
    benchmark.params = None  # ours are objects, which the JSON file has no place for
    benchmark.pedantic(_nothing, rounds=len(seconds_per_call), iterations=iterations)


def _nothing() -> None:
    """Stands for the calls that were timed before."""
