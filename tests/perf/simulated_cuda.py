"""A CUDA device that exists only as two clocks: the host's, and the moment until which the stream is busy.

It has the rules that decide what events measure: launches cost the host time and queue up, an event is passed when
everything before it has run, and a graph runs without the host. Put under :mod:`torch.cuda` by :meth:`install`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from perf import timer

REPLAY_LAUNCH_S = 5e-6
L2_BYTES = 1 << 20


@dataclass
class SimulatedCuda:
    """The state of host and device. ``log`` names what reached the device, in order."""

    host_now: float = 0.0
    busy_until: float = 0.0
    log: list[str] = field(default_factory=list)
    capturing: list[tuple[str, float]] | None = None
    stream: str = "default"

    def kernel(self, name: str, *, launch_s: float, run_s: float) -> Callable[[], None]:
        """A call that launches one kernel."""

        def call() -> None:
            self.host_now += launch_s
            self.launch(name, run_s)

        return call

    def launch(self, name: str, run_s: float) -> None:
        """Enqueue, or add to the graph that is being captured."""
        if self.capturing is not None:
            self.capturing.append((name, run_s))
            return
        self.log.append(name)
        self.busy_until = max(self.busy_until, self.host_now) + run_s

    def synchronize(self) -> None:
        """Let the host wait; refused while capturing, as CUDA does."""
        if self.capturing is not None:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of the message")
        self.host_now = max(self.host_now, self.busy_until)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace what the timer uses of torch and of the clock."""
        world = self

        class Event:
            def __init__(self, *, enable_timing: bool) -> None:
                assert enable_timing
                self.at = 0.0

            def record(self) -> None:
                self.at = max(world.busy_until, world.host_now)

            def synchronize(self) -> None:
                world.host_now = max(world.host_now, self.at)

            def elapsed_time(self, end: Event) -> float:
                return (end.at - self.at) * 1e3

        class Graph:
            def __init__(self) -> None:
                self.kernels: list[tuple[str, float]] = []

            def replay(self) -> None:
                world.host_now += REPLAY_LAUNCH_S
                world.log.append("replay")
                for name, run_s in self.kernels:
                    world.launch(name, run_s)

        @contextmanager
        def capture(graph: Graph) -> Iterator[None]:
            # As torch: its own stream stays current if the capture breaks.
            world.stream, world.capturing = "capture", graph.kernels
            try:
                yield
            except RuntimeError:
                world.capturing = None
                raise
            world.stream, world.capturing = "default", None

        @contextmanager
        def stream(which: SimpleNamespace) -> Iterator[None]:
            try:
                yield
            finally:
                world.stream = which.name

        properties = SimpleNamespace(L2_cache_size=L2_BYTES, pci_domain_id=0, pci_bus_id=1, pci_device_id=0)
        replaced: dict[str, Any] = {
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": capture,
            "stream": stream,
            "current_stream": lambda: SimpleNamespace(name=world.stream, cuda_stream=0),
            "current_device": lambda: 0,
            "is_available": lambda: True,
            "get_device_name": lambda: "Simulated GPU",
            "synchronize": self.synchronize,
            "get_device_properties": lambda _: properties,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(timer, "time", SimpleNamespace(perf_counter=lambda: world.host_now))
