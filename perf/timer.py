"""Clocks: how long consecutive calls take, on the host and on a CUDA stream."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from itertools import cycle
from typing import Protocol

import torch

from kernels.errors import RoofgateError
from perf.calibration import CACHE_FACTOR, CacheState, is_launch_bound
from perf.gpu_conditions import GpuProbe, open_gpu_probe
from perf.paired.model import GpuConditions

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Contender:
    """One implementation to be timed: the call, and the setting that it needs, entered once per sample."""

    call: Call
    setting: Callable[[], AbstractContextManager[object]] = nullcontext


class Timer(Protocol):
    """Times ``iterations`` consecutive calls."""

    def settle(self) -> None:
        """Wait until nothing that ran before can disturb the next calls."""
        ...

    def seconds(self, call: Call, iterations: int) -> float:
        """Seconds that all ``iterations`` calls took together."""
        ...

    def conditions(self) -> GpuConditions | None:
        """The GPU as it is now; None for a timer of the host."""
        ...

    def describe(self, call: Call) -> Mapping[str, str]:
        """How ``call`` is timed, in words, once it has been: clock, state of the caches, kind of launch."""
        ...


class LaunchPolicy(Enum):
    """How calls reach the GPU."""

    PLAIN = "plain"  # one by one from the host
    GRAPH_WHEN_SHORT = "graph when short"  # as a CUDA graph, where launches take longer than what they launch


def rotating(calls: Sequence[Call]) -> Call:
    """One call that makes ``calls`` in turn, each on its own set of inputs, for :attr:`CacheState.ROTATING`."""
    turns = cycle(calls)
    return lambda: next(turns)()


# The workers of torch's OpenMP pool spin for about 5 ms of processor time after a parallel region. Whoever runs
# meanwhile shares a core with them, which also makes them spin for longer: with less than 8 ms of rest, our kernel
# after torch's took up to twice its time on two cores; from 8 ms on it took what it takes alone.
_SPIN_S = 10e-3


class CpuTimer:
    """The host's monotonic clock around the calls."""

    def settle(self) -> None:
        """Sleep until the spinning threads of other pools have gone to sleep too."""
        time.sleep(_SPIN_S)

    def seconds(self, call: Call, iterations: int) -> float:
        """Wall seconds of ``iterations`` calls."""
        calls = range(iterations)
        started = time.perf_counter()
        for _ in calls:
            call()
        return time.perf_counter() - started

    def conditions(self) -> GpuConditions | None:
        """None: no GPU takes part."""
        return None

    def describe(self, call: Call) -> Mapping[str, str]:  # noqa: ARG002 - all calls are timed alike
        """Clock and caches."""
        return {"clock": "host, monotonic", "cache": CacheState.WARM.value}


# Calls that take longer than this keep the launch queue full whatever the host does.
_SHORT_CALL_S = 0.5e-3
# Far below the 1000 or so launches that the driver queues before a launch waits.
_BURST_CALLS = 16
# So many calls in one graph that replaying it takes the host less time than running it takes the GPU.
_GRAPH_CALLS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    """How one call is launched. ``graph`` holds ``calls`` of it; None for launches from the host."""

    text: str
    graph: torch.cuda.CUDAGraph | None = None
    calls: int = 1


class CudaTimer:
    """Pairs of events on the current stream of the current device: device time.

    While the host enqueues faster than the device works, events before the first call and after the last one bracket
    device time alone. A kernel shorter than its launch lets the queue run dry, and the events then measure the host.
    Such a call (:func:`perf.calibration.is_launch_bound`, tried once in a burst) is captured into a CUDA graph of 64
    calls, and samples replay that graph: the same kernels on the same buffers, launched by the device. A call that
    cannot be captured (it synchronizes, or allocates outside torch) is launched plainly; :meth:`describe` says why.

    With :attr:`CacheState.FLUSHED` every call has an event pair of its own and the durations are summed, so that the
    flushing is not timed. Events resolve about half a microsecond (CUDA runtime API, cudaEventElapsedTime), and each
    pair adds the gaps around its call: flushed times are to be compared with flushed times only. Launches are plain
    then; they hide behind the flush while that takes longer than enqueueing does.

    Args:
        cache: what calls find in L2.
        launch: PLAIN keeps launch-bound calls as they are.
        sets: with ROTATING, how many sets of inputs the calls take turns with, as :func:`rotating` makes them and
            :func:`perf.calibration.rotation_sets` counts them. A graph has every set equally often.

    Raises:
        RoofgateError: the cache is to be flushed and the driver does not tell its size.
    """

    def __init__(
        self,
        *,
        cache: CacheState = CacheState.WARM,
        launch: LaunchPolicy = LaunchPolicy.GRAPH_WHEN_SHORT,
        sets: int = 1,
    ) -> None:
        self._cache = cache
        self._policy = launch if cache is not CacheState.FLUSHED else LaunchPolicy.PLAIN
        self._sets = sets
        self._start, self._end = _event(), _event()
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._flush_buffer = _flush_buffer() if cache is CacheState.FLUSHED else None
        self._launches: dict[Call, _Launch] = {}
        self._probe: GpuProbe | None = None

    def settle(self) -> None:
        """Wait for the device; it has no spinning neighbours, and a pause would only let its clocks fall."""
        torch.cuda.synchronize()

    def seconds(self, call: Call, iterations: int) -> float:
        """Device seconds of ``iterations`` calls; from a graph, in proportion to the whole graphs replayed."""
        if self._flush_buffer is not None:
            return self._flushed_seconds(call, iterations, self._flush_buffer)
        if call not in self._launches:
            self.choose_launch([call])
        launch = self._launches[call]
        if launch.graph is None:
            return self._timed(call, iterations)
        replays = math.ceil(iterations / launch.calls)
        return self._timed(launch.graph.replay, replays) * iterations / (replays * launch.calls)

    def choose_launch(self, calls: Sequence[Call]) -> None:
        """Choose how these calls are launched, the same for all of them, so that their times can be compared.

        As graphs if one of them is launch-bound and all can be captured; plainly otherwise. They must have run before:
        what a first call loads and allocates is neither to be timed nor to be captured.
        """
        if self._policy is LaunchPolicy.PLAIN or not any(self._is_launch_bound(call) for call in calls):
            self._launches |= dict.fromkeys(calls, _Launch(text="plain"))
            return
        try:
            self._launches |= {call: self._captured(call) for call in calls}
        # RuntimeError: torch, of a capture that the call broke. RoofgateError: the call itself, of what it was refused.
        except (RuntimeError, RoofgateError) as error:
            reason = str(error).partition("\n")[0]
            plain = _Launch(text=f"plain, though launch-bound: it cannot be captured ({reason})")
            self._launches |= dict.fromkeys(calls, plain)

    def conditions(self) -> GpuConditions | None:
        """The current device as NVML tells it; all None where it does not."""
        if self._probe is None:
            self._probe = open_gpu_probe(torch.cuda.get_device_properties(torch.cuda.current_device()))
        return self._probe.read()

    def describe(self, call: Call) -> Mapping[str, str]:
        """Clock, state of L2 and launch; the launch only if it has been chosen."""
        if self._flush_buffer is not None:
            cache = f"flushed: {self._flush_buffer.numel()} B written before each call"
            return {"clock": "CUDA events, a pair for each call", "cache": cache, "launch": "plain"}
        rotation = f": {self._sets} sets of inputs" if self._cache is CacheState.ROTATING else ""
        described = {"clock": "CUDA events", "cache": f"{self._cache.value}{rotation}"}
        return described | ({"launch": self._launches[call].text} if call in self._launches else {})

    def _timed(self, call: Call, times: int) -> float:
        torch.cuda.synchronize()
        self._start.record()
        for _ in range(times):
            call()
        self._end.record()
        self._end.synchronize()
        return _elapsed_s(self._start, self._end)

    def _flushed_seconds(self, call: Call, iterations: int, buffer: torch.Tensor) -> float:
        self._pairs.extend((_event(), _event()) for _ in range(iterations - len(self._pairs)))
        pairs = self._pairs[:iterations]
        torch.cuda.synchronize()
        for start, end in pairs:
            buffer.zero_()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return math.fsum(_elapsed_s(start, end) for start, end in pairs)

    def _is_launch_bound(self, call: Call) -> bool:
        if self._timed(call, 1) > _SHORT_CALL_S:
            return False
        host_s = 0.0

        def burst() -> None:
            nonlocal host_s
            started = time.perf_counter()
            for _ in range(_BURST_CALLS):
                call()
            host_s = time.perf_counter() - started

        device_s = self._timed(burst, 1)
        return is_launch_bound(host_s, device_s)

    def _captured(self, call: Call) -> _Launch:
        calls = self._sets * math.ceil(_GRAPH_CALLS / self._sets)
        graph = torch.cuda.CUDAGraph()
        # torch.cuda.graph leaves its own stream current if the capture fails; the outer context restores ours.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            for _ in range(calls):
                call()
        graph.replay()  # the first replay uploads the graph
        torch.cuda.synchronize()
        return _Launch(text=f"CUDA graph of {calls} calls", graph=graph, calls=calls)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _elapsed_s(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
    return float(start.elapsed_time(end)) * 1e-3


def _flush_buffer() -> torch.Tensor:
    """Memory of twice the size of L2 on the current device."""
    cache_bytes = l2_cache_bytes()
    if cache_bytes <= 0:
        raise RoofgateError(f"the driver tells {cache_bytes} B for L2, expected its size; measure with a warm cache")
    return torch.empty(CACHE_FACTOR * cache_bytes, dtype=torch.uint8, device="cuda")


def l2_cache_bytes() -> int:
    """Size of the current device's L2 cache."""
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size)
