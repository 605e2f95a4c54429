"""Clocks: how long consecutive calls take, on the host and on a CUDA stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

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


class CudaTimer:
    """A pair of events on the current stream: device time, without the host's launch cost when the queue is full.

    L2 is warm: consecutive calls find what the one before left there.
    """

    def __init__(self) -> None:
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def settle(self) -> None:
        """Wait for the device; it has no spinning neighbours, and a pause would only let its clocks fall."""
        torch.cuda.synchronize()

    def seconds(self, call: Call, iterations: int) -> float:
        """Device seconds of ``iterations`` calls."""
        torch.cuda.synchronize()
        self._start.record()
        for _ in range(iterations):
            call()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) * 1e-3
