"""Launches for a profiler: our kernel on one case, inside one NVTX range that holds nothing else."""

from __future__ import annotations

import torch

from kernels.errors import RoofgateError
from perf.case_inputs import make_inputs
from perf.model import Case, Device
from perf.peers import own_contender


def launch_in_range(case: Case, launches: int, name: str) -> None:
    """Launch our kernel ``launches`` times inside the NVTX range ``name`` and wait for it.

    Making the inputs launches kernels of torch, and the first call loads code: both happen before the range.

    Raises:
        RoofgateError: no CUDA device, no kernel for the case, a library that is not built, or less than one launch.
    """
    if launches < 1:
        raise RoofgateError(f"{launches} launches; expected at least 1")
    if not torch.cuda.is_available():
        raise RoofgateError("torch finds no CUDA device; run on a machine with an NVIDIA GPU and torch's CUDA build")
    contender = own_contender(case, make_inputs(case, Device.CUDA))
    contender.call()
    torch.cuda.synchronize()
    torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]
    try:
        for _ in range(launches):
            contender.call()
        torch.cuda.synchronize()
    finally:
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
