"""Run probes on the GPU in a process of their own, since an error in one kernel ends the context of all.

``python -m profiles.simulator.probes.gpu_worker FOLDER`` reads names of probes from standard input, one a line, and
leaves ``NAME.npy`` (the result words) or ``NAME.txt`` (why there is none) for each until an error ends the context.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from profiles.simulator.probes.catalogue import find_probes
from profiles.simulator.probes.gpu_driver import Driver, DriverError
from profiles.simulator.probes.kernel_text import ENTRY, kernel_text
from profiles.simulator.probes.probe import WORD_BYTES, Probe, Words


def main(folder: Path, names: list[str]) -> int:
    """Run the probes; returns the exit code: 0, or 1 if an error ended the context before the last of them."""
    probes = find_probes()
    driver = Driver()
    driver.open()
    for name in names:
        try:
            np.save(folder / f"{name}.npy", run_on_gpu(driver, probes[name]))
        except DriverError as error:
            (folder / f"{name}.txt").write_text(str(error))
            if error.ends_context:
                return 1
    return 0


def run_on_gpu(driver: Driver, probe: Probe) -> Words:
    """The result words of one probe; raises :class:`DriverError`."""
    function = driver.load(kernel_text(probe), ENTRY)
    inputs = driver.place(probe.input_bytes or bytes(WORD_BYTES))
    stored = driver.place(bytes(max(probe.stored_words, 1) * WORD_BYTES))
    scratch = driver.place(probe.scratch or bytes(WORD_BYTES))
    tensors = [driver.place(tensor.content) for tensor in probe.tensors]
    maps = [driver.encode(tensor, address) for tensor, address in zip(probe.tensors, tensors, strict=True)]
    addresses = [struct.pack("<Q", address) for address in (inputs, stored, scratch)]
    driver.launch(
        function, blocks=probe.blocks, block=probe.block, cluster=probe.cluster, parameters=[*addresses, *maps]
    )
    parts = [driver.fetch(stored, probe.stored_words * WORD_BYTES)]
    if probe.scratch:
        parts.append(driver.fetch(scratch, len(probe.scratch)))
    parts += [
        driver.fetch(address, len(tensor.content))
        for tensor, address in zip(probe.tensors, tensors, strict=True)
        if tensor.written
    ]
    return np.frombuffer(b"".join(parts), np.uint64)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.stdin.read().split()))
