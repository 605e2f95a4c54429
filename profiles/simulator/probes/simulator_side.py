"""Run a probe on the simulator."""

from __future__ import annotations

import numpy as np

from kernels.errors import RoofgateError
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.probes.kernel_text import ENTRY, kernel_text
from profiles.simulator.probes.probe import Probe, Words
from profiles.simulator.run import Options, launch_kernel


def simulate(probe: Probe) -> Words:
    """The result words, as :attr:`Probe.sections` describes them.

    Raises:
        RoofgateError: the simulator cannot run the probe, or finds a mistake in it.
    """
    with DeviceMemory() as memory:
        inputs = memory.place(np.frombuffer(probe.input_bytes or bytes(8), np.uint8), name="in")
        stored = memory.place(np.zeros(max(probe.stored_words, 1), np.uint64), name="out")
        scratch = memory.place(np.frombuffer(probe.scratch or bytes(8), np.uint8), name="scratch")
        tensors = [memory.place(np.frombuffer(tensor.content, np.uint8), name="tensor") for tensor in probe.tensors]
        maps = [tensor.at(array.address).encode() for tensor, array in zip(probe.tensors, tensors, strict=True)]
        outcome = launch_kernel(
            kernel_text(probe),
            ENTRY,
            grid=(probe.blocks, 1, 1),
            block=(probe.block, 1, 1),
            cluster=(probe.cluster, 1, 1),
            arguments=[inputs, stored, scratch, *maps],
            memory=memory,
            options=Options(check_races=True, count=False),
        )
        if outcome.findings:
            raise RoofgateError(f"probe {probe.name}: {outcome.findings[0].message}")
        parts = [stored.array[: probe.stored_words].tobytes()]
        if probe.scratch:
            parts.append(scratch.array.tobytes())
        parts += [array.array.tobytes() for tensor, array in zip(probe.tensors, tensors, strict=True) if tensor.written]
        return np.frombuffer(b"".join(parts), np.uint64)
