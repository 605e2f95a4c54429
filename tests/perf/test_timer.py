"""The CUDA timer on a simulated device, and the pure rules of calibration."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from perf import timer
from perf.calibration import (
    STABLE_WITHIN,
    CacheState,
    is_launch_bound,
    is_stable,
    iterations_per_sample,
    rotation_sets,
    warm_up,
)
from perf.gpu_conditions import GpuProbe
from perf.paired.model import GpuConditions
from perf.timer import CpuTimer, CudaTimer, LaunchPolicy, rotating
from tests.perf.simulated_cuda import L2_BYTES, SimulatedCuda

SECONDS = st.floats(1e-7, 1e2)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimulatedCuda:
    """A simulated device under torch."""
    world = SimulatedCuda()
    world.install(monkeypatch)
    return world


def test_a_long_kernel_is_timed_without_its_launches(cuda: SimulatedCuda) -> None:
    """The queue stays full, so the events bracket device time alone."""
    call = cuda.kernel("long", launch_s=20e-6, run_s=1e-3)
    measured = CudaTimer()

    # The first launch finds an idle device, so one launch time is inside.
    assert measured.seconds(call, 100) == pytest.approx(100e-3, rel=1e-3)
    assert measured.describe(call) == {"clock": "CUDA events", "cache": "warm", "launch": "plain"}


def test_a_kernel_shorter_than_its_launch_is_replayed_from_a_graph(cuda: SimulatedCuda) -> None:
    """Launched plainly, 3 us kernels would be taken for 20 us ones."""
    call = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    measured = CudaTimer()

    assert measured.seconds(call, 1000) / 1000 == pytest.approx(3e-6, rel=0.02)
    assert measured.describe(call)["launch"] == "CUDA graph of 64 calls"


def test_a_kernel_somewhat_longer_than_its_launch_stays_plain(cuda: SimulatedCuda) -> None:
    """The queue does not run dry."""
    call = cuda.kernel("medium", launch_s=20e-6, run_s=40e-6)
    measured = CudaTimer()

    assert measured.seconds(call, 1000) / 1000 == pytest.approx(40e-6, rel=0.02)
    assert measured.describe(call)["launch"] == "plain"


def test_the_plain_policy_is_obeyed(cuda: SimulatedCuda) -> None:
    """Who wants to see the launches does."""
    call = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    measured = CudaTimer(launch=LaunchPolicy.PLAIN)

    assert measured.seconds(call, 100) / 100 == pytest.approx(20e-6, rel=0.02)
    assert "replay" not in cuda.log


def test_a_call_that_cannot_be_captured_is_launched_plainly_with_the_reason(cuda: SimulatedCuda) -> None:
    """It synchronizes; afterwards the stream is the caller's again, not the one of the broken capture."""
    kernel = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)

    def call() -> None:
        kernel()
        cuda.synchronize()

    measured = CudaTimer()

    assert measured.seconds(call, 10) > 0
    assert measured.describe(call)["launch"] == (
        "plain, though launch-bound: it cannot be captured (operation not permitted when stream is capturing)"
    )
    assert cuda.stream == "default"


def test_a_refusal_of_ours_during_capture_falls_back_too(cuda: SimulatedCuda) -> None:
    """A library answers with a status, which becomes a RoofgateError rather than one of torch's."""
    kernel = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)

    def call() -> None:
        if cuda.capturing is not None:
            cuda.capturing = None
            raise RoofgateError("status 900")
        kernel()

    measured = CudaTimer()
    measured.seconds(call, 10)

    assert "status 900" in measured.describe(call)["launch"]


def test_how_a_call_is_launched_is_chosen_once(cuda: SimulatedCuda) -> None:
    """Otherwise samples of one series would not be comparable."""
    call = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    measured = CudaTimer()
    measured.seconds(call, 10)
    cuda.log.clear()
    measured.seconds(call, 640)

    assert cuda.log.count("replay") == 10
    assert cuda.log.count("short") == 640


def test_calls_that_are_compared_are_launched_alike(cuda: SimulatedCuda) -> None:
    """If one side is launch-bound both are replayed; if one cannot be, neither is."""
    short = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    medium = cuda.kernel("medium", launch_s=20e-6, run_s=40e-6)
    measured = CudaTimer()
    measured.choose_launch([short, medium])
    assert measured.describe(medium)["launch"] == measured.describe(short)["launch"] == "CUDA graph of 64 calls"

    def synchronizing() -> None:
        short()
        cuda.synchronize()

    measured = CudaTimer()
    measured.choose_launch([medium, synchronizing])
    assert measured.describe(medium)["launch"].startswith("plain, though launch-bound")


def test_a_slow_call_is_tried_once_before_it_is_timed(cuda: SimulatedCuda) -> None:
    """A burst of a call that takes seconds would outlast any budget."""
    call = cuda.kernel("slow", launch_s=20e-6, run_s=2.0)
    CudaTimer().seconds(call, 1)

    assert cuda.log == ["slow", "slow"]


def flushing(monkeypatch: pytest.MonkeyPatch, cuda: SimulatedCuda, run_s: float) -> list[int]:
    """Let the flush buffer be one that logs its writes; returns the sizes asked for."""
    sizes: list[int] = []

    def empty(size: int, **_: object) -> SimpleNamespace:
        sizes.append(size)
        return SimpleNamespace(numel=lambda: size, zero_=cuda.kernel("flush", launch_s=5e-6, run_s=run_s))

    monkeypatch.setattr(torch, "empty", empty)
    return sizes


def test_with_a_flushed_cache_only_the_calls_are_timed(monkeypatch: pytest.MonkeyPatch, cuda: SimulatedCuda) -> None:
    """Twice the size of L2 is written before every call, outside its pair of events."""
    sizes = flushing(monkeypatch, cuda, run_s=50e-6)
    call = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    measured = CudaTimer(cache=CacheState.FLUSHED)

    assert measured.seconds(call, 20) == pytest.approx(20 * 3e-6)
    assert cuda.log == ["flush", "short"] * 20
    assert sizes == [2 * L2_BYTES]
    assert measured.describe(call) == {
        "clock": "CUDA events, a pair for each call",
        "cache": f"flushed: {2 * L2_BYTES} B written before each call",
        "launch": "plain",
    }


def test_fewer_flushed_calls_after_more_are_timed_alone(monkeypatch: pytest.MonkeyPatch, cuda: SimulatedCuda) -> None:
    """Events are kept between samples; those of an earlier, longer one must not be added."""
    flushing(monkeypatch, cuda, run_s=50e-6)
    call = cuda.kernel("short", launch_s=20e-6, run_s=3e-6)
    measured = CudaTimer(cache=CacheState.FLUSHED)
    measured.seconds(call, 20)

    assert measured.seconds(call, 2) == pytest.approx(2 * 3e-6)


def test_an_unknown_cache_size_is_an_error_with_a_next_step(
    monkeypatch: pytest.MonkeyPatch,
    cuda: SimulatedCuda,  # noqa: ARG001 - installs the device
) -> None:
    """Flushing nothing would be recorded as flushed."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=0))

    with pytest.raises(RoofgateError, match="tells 0 B for L2, expected its size; measure with a warm cache"):
        CudaTimer(cache=CacheState.FLUSHED)


@pytest.mark.parametrize("sets", [1, 3, 5, 100])
def test_a_graph_of_rotating_inputs_has_every_set_equally_often(cuda: SimulatedCuda, sets: int) -> None:
    """Otherwise replays would meet the sets of their beginning again, still in the cache."""
    calls = [cuda.kernel(f"set {index}", launch_s=20e-6, run_s=3e-6) for index in range(sets)]
    call = rotating(calls)
    measured = CudaTimer(cache=CacheState.ROTATING, sets=sets)
    measured.seconds(call, 1)
    cuda.log.clear()
    measured.seconds(call, 1)
    counts = {cuda.log.count(f"set {index}") for index in range(sets)}

    assert len(counts) == 1
    assert measured.describe(call)["cache"] == f"rotating: {sets} sets of inputs"


def test_rotating_calls_take_turns() -> None:
    """In the order given, without end."""
    seen: list[int] = []
    call = rotating([lambda index=index: seen.append(index) for index in range(3)])  # type: ignore[misc]
    for _ in range(7):
        call()

    assert seen == [0, 1, 2, 0, 1, 2, 0]


def test_the_gpu_is_looked_for_when_it_is_first_asked_about(
    monkeypatch: pytest.MonkeyPatch, cuda: SimulatedCuda
) -> None:
    """Once, and only by who wants conditions: ceilings do not."""
    opened: list[object] = []

    def open_probe(properties: object) -> GpuProbe:
        opened.append(properties)
        return GpuProbe(None, None, "none")

    monkeypatch.setattr(timer, "open_gpu_probe", open_probe)
    measured = CudaTimer()
    measured.seconds(cuda.kernel("long", launch_s=1e-6, run_s=1e-3), 1)
    assert opened == []

    assert measured.conditions() == measured.conditions() == GpuConditions()
    assert len(opened) == 1


def test_the_host_has_no_gpu_conditions() -> None:
    """And says how it times."""
    assert CpuTimer().conditions() is None
    assert CpuTimer().describe(lambda: None) == {"clock": "host, monotonic", "cache": "warm"}
    assert CpuTimer().seconds(lambda: None, 3) >= 0


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([1.0] * 5, False),  # too few to tell
        ([1.0] * 6, True),
        ([9.0, 5.0, 3.0, 2.0, 1.5, 1.2], False),
        ([9.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], True),  # one outlier in a window does not matter
        ([1.0, 1.0, 1.0, 1.04, 1.04, 1.04], True),
        ([1.0, 1.0, 1.0, 1.06, 1.06, 1.06], False),
        ([1.06, 1.06, 1.06, 1.0, 1.0, 1.0], False),
    ],
)
def test_stable_is_two_medians_of_three_within_five_percent(batches: list[float], expected: bool) -> None:
    """The rule of the warm-up."""
    assert is_stable(batches) is expected


@given(st.lists(SECONDS, min_size=6, max_size=12), st.floats(1e-3, 1e3))
def test_stability_does_not_depend_on_the_unit(batches: list[float], scale: float) -> None:
    """Only on proportions; exact ties with the bound aside."""
    before, after = sorted(batches[-6:-3])[1], sorted(batches[-3:])[1]
    if abs(abs(after - before) / before - STABLE_WITHIN) > 1e-9:
        assert is_stable([scale * each for each in batches]) is is_stable(batches)


@given(SECONDS, SECONDS)
def test_a_sample_is_just_long_enough(sample_s: float, per_call_s: float) -> None:
    """One call fewer would be too short."""
    iterations = iterations_per_sample(sample_s, per_call_s)

    assert iterations >= 1
    assert iterations * per_call_s >= sample_s * (1 - 1e-12)
    assert iterations == 1 or (iterations - 1) * per_call_s < sample_s * (1 + 1e-12)


def heating(*per_call_s: float) -> tuple[Callable[[int], float], list[int]]:
    """A clock whose batches take these seconds per call, the last one for ever; and the sizes of the batches."""
    sizes: list[int] = []

    def seconds(iterations: int) -> float:
        sizes.append(iterations)
        return iterations * per_call_s[min(len(sizes), len(per_call_s)) - 1]

    return seconds, sizes


def test_a_warm_up_ends_when_calls_are_stable() -> None:
    """Three cold batches, then six that agree as medians."""
    seconds, sizes = heating(4e-3, 3e-3, 2e-3, 1e-3)
    warm = warm_up(seconds, batch_s=1e-3, limit_s=10.0)

    assert warm.is_stable
    assert warm.per_call_s == pytest.approx(1e-3)
    assert 6 < len(sizes) < 10


def test_a_warm_up_that_never_settles_ends_with_its_time() -> None:
    """Every batch is faster than the one before."""
    seconds, sizes = heating(*(0.9**index for index in range(200)))
    warm = warm_up(seconds, batch_s=1e-9, limit_s=5.0)

    assert not warm.is_stable
    assert 5.0 <= warm.spent_s <= 6.0
    assert warm.spent_s == pytest.approx(sum(0.9**index for index in range(len(sizes))))


def test_a_warm_up_is_at_least_one_call() -> None:
    """However little time there is."""
    seconds, sizes = heating(5.0)

    assert warm_up(seconds, batch_s=1e-3, limit_s=0.0).per_call_s == 5.0
    assert sizes == [1]


def test_short_calls_are_warmed_up_in_batches() -> None:
    """So that the clock's error does not choose the number of iterations."""
    seconds, sizes = heating(50e-6, 2e-6)
    warm_up(seconds, batch_s=1e-3, limit_s=10.0)

    assert sizes[:2] == [1, 20]
    assert sizes[2] == pytest.approx(500, abs=1)


def test_calls_too_fast_for_the_clock_end_the_warm_up() -> None:
    """Zero seconds are a figure like any other, and no division by it follows."""
    seconds, _ = heating(0.0)

    assert warm_up(seconds, batch_s=1e-9, limit_s=1.0).per_call_s > 0


@given(st.integers(1, 1 << 40), st.integers(0, 1 << 30))
def test_rotating_sets_just_outgrow_twice_the_cache(set_bytes: int, cache_bytes: int) -> None:
    """One set fewer would not."""
    sets = rotation_sets(set_bytes, cache_bytes)

    assert sets * set_bytes > 2 * cache_bytes
    assert sets == 1 or (sets - 1) * set_bytes <= 2 * cache_bytes


@given(st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-3), st.integers(8, 64))
def test_launch_bound_is_where_a_dry_queue_is(launch_s: float, run_s: float, calls: int) -> None:
    """By the two formulas of the docstring; kernels within a third of their launch are left to either side."""
    dry = launch_s >= run_s
    device_s = calls * launch_s + run_s if dry else launch_s + calls * run_s
    if run_s < launch_s or run_s > 1.34 * launch_s:
        assert is_launch_bound(calls * launch_s, device_s) is dry
