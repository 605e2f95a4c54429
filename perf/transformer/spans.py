"""Clocks around the attention inside a step: forward by reading them before and after, backward by autograd.

Two functions that hand their tensors through unchanged stand before and after the attention. In the backward pass
autograd runs them in the opposite order, the latter one right before the attention's own backward and the former right
after it, since nodes that are ready run in the reverse order of their creation. What each reads is a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from perf.transformer.decoder import Attend
from perf.transformer.results import Spans


class Clock(Protocol):
    """Marks moments of the device's work."""

    def mark(self) -> Any:  # noqa: ANN401 - a moment, known to the clock alone
        """Now, in the order of the work."""
        ...

    def seconds(self, start: Any, stop: Any) -> float:  # noqa: ANN401
        """Between two moments, once both have passed."""
        ...


class HostClock:
    """The host's monotonic clock; kernels of the host have ended when their calls return."""

    def mark(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()

    def seconds(self, start: float, stop: float) -> float:
        """The difference."""
        return stop - start


class CudaClock:
    """Events on the current stream."""

    def mark(self) -> torch.cuda.Event:
        """An event behind everything enqueued so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, stop: torch.cuda.Event) -> float:
        """Device time between two events; waits for the latter."""
        stop.synchronize()
        return 1e-3 * float(start.elapsed_time(stop))


class SpanRecorder:
    """Collects where attention begins and ends in each step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._forward: list[tuple[Any, Any]] = []
        self._backward_starts: list[Any] = []
        self._backward_ends: list[Any] = []
        self._forward_s: list[float] = []
        self._backward_s: list[float] = []
        self._step_s: list[float] = []

    def around(self, attend: Attend) -> Attend:
        """``attend`` with clocks around it."""

        def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            q, k, v = _hand_through(lambda: self._backward_ends.append(self._clock.mark()), q, k, v)
            start = self._clock.mark()
            o = attend(q, k, v)
            self._forward.append((start, self._clock.mark()))
            return _hand_through(lambda: self._backward_starts.append(self._clock.mark()), o)[0]

        return attended

    def step(self, call: Callable[[], object]) -> None:
        """Make one step and keep its spans."""
        start = self._clock.mark()
        call()
        stop = self._clock.mark()
        seconds = self._clock.seconds
        backward = zip(self._backward_starts, self._backward_ends, strict=True)  # layers in the order gone through
        self._step_s.append(seconds(start, stop))
        self._forward_s.append(sum(seconds(*span) for span in self._forward))
        self._backward_s.append(sum((seconds(*span) for span in backward), 0.0))
        for marks in (self._forward, self._backward_starts, self._backward_ends):
            marks.clear()

    def spans(self, last: int) -> Spans:
        """Those of the ``last`` steps."""
        return Spans(
            forward_s=tuple(self._forward_s[-last:]),
            backward_s=tuple(self._backward_s[-last:]),
            step_s=tuple(self._step_s[-last:]),
        )


def _hand_through(notice: Callable[[], None], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    handed: tuple[torch.Tensor, ...] = _HandThrough.apply(notice, *tensors)  # type: ignore[no-untyped-call]
    return handed


class _HandThrough(torch.autograd.Function):
    """Tensors as they are, in both directions; ``notice`` is called in the backward pass."""

    @staticmethod
    def forward(ctx: Any, notice: Callable[[], None], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: ANN401
        ctx.notice = notice
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        ctx.notice()
        return (None, *gradients)
