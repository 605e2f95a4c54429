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

    def seconds(self, call: Call, iterations: int) -> float:
        """Seconds that all ``iterations`` calls took together."""
        ...


class CpuTimer:
    """The host's monotonic clock around the calls."""

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

    def seconds(self, call: Call, iterations: int) -> float:
        """Device seconds of ``iterations`` calls."""
        torch.cuda.synchronize()
        self._start.record()
        for _ in range(iterations):
            call()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) * 1e-3
