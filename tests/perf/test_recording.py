"""Recorded samples pass through pytest-benchmark unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.recording import REPLAY_CLOCK, ReplayClock, record


@given(durations=st.lists(st.floats(1e-9, 1e3), max_size=50))
def test_differences_of_readings_are_the_durations(durations: list[float]) -> None:
    """Exactly: no digit is lost to a running sum."""
    clock = ReplayClock()
    clock.load(durations)
    replayed = []
    for _ in durations:
        started = clock()
        replayed.append(clock() - started)

    assert replayed == durations


def test_asking_for_more_than_was_recorded_fails() -> None:
    """A missing sample must not become a zero."""
    clock = ReplayClock()
    clock.load([1.0])
    clock(), clock()
    with pytest.raises(StopIteration):
        clock()


@pytest.mark.benchmark(timer=REPLAY_CLOCK)
@pytest.mark.parametrize("iterations", [1, 7])
def test_pytest_benchmark_keeps_the_samples(benchmark: Any, iterations: int) -> None:
    """Its statistics are those of our samples, per call."""
    samples = [0.25, 0.125, 0.5]
    record(benchmark, "name", "group", samples, iterations)
    if benchmark.disabled:
        pytest.skip("benchmarks are disabled by an option of this pytest run")

    assert benchmark.stats.stats.data == samples
    assert benchmark.stats.name == "name"
    assert benchmark.stats.group == "group"
