"""The ceilings of arithmetic on the simulated device: the launch, and whether it computed what it claims.

Each kernel stores the sum of what its first thread holds. What that has to be follows from the operands, which the
kernels make from a hash, and from the products that the host code claims; kernels/csrc/ceilings_cuda.cu has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from kernels.interface import CeilingFlopsParams, KernelDType
from perf.model import DType
from profiles.simulated_launches import ProductLaunch
from profiles.simulator.run import LaunchResult
from profiles.simulator.simulated_library import SimulatedLibrary

Floats = npt.NDArray[np.float64]

# FLOP of one lane's share of an instruction: of mma.m16n8k16 and wgmma.m64n256k16, over the lanes that join in it.
_FLOP_PER_LANE = {"fma": 2, "mma": 2 * 16 * 8 * 16 // 32, "wgmma": 2 * 64 * 256 * 16 // 128}
_RELATIVE_TOLERANCE = 2e-6  # of a sum of thousands of float32 products, against the sum of their magnitudes


def run_products(library: SimulatedLibrary, launch: ProductLaunch) -> str:
    """Call the library; returns what is wrong, empty if nothing is.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or the launch fails.
    """
    sink = library.memory.place(np.full(1, np.nan, dtype=np.float32), name="sink")
    params = CeilingFlopsParams(iterations=launch.iterations, dtype=KernelDType[launch.dtype.name], sink=sink.address)
    claimed = library.ceiling_flops(params)
    executed = sum(map(executed_flop, library.outcome.launches))
    if executed != claimed:
        return f"{executed:g} FLOP executed, {claimed:g} claimed"
    expected, magnitude = expected_sum(_kernel(library.outcome.launches), launch)
    if abs(float(sink.array[0]) - expected) <= _RELATIVE_TOLERANCE * magnitude:
        return ""
    return f"the sum is {sink.array[0]:g}, expected {expected:g}"


def executed_flop(launch: LaunchResult) -> int:
    """What the products of a launch amount to, by its counters."""
    counted = zip(launch.kernel.instructions, launch.counters, strict=True)
    return sum(
        site.lanes * _FLOP_PER_LANE[instruction.root]
        for instruction, site in counted
        if _is_product(instruction.opcode)
    )


def _is_product(opcode: str) -> bool:
    return opcode.startswith(("fma.", "mma.", "wgmma.mma_async."))


def _kernel(launches: Iterable[LaunchResult]) -> str:
    """Which kind of product the launched kernel makes: "fma", "mma" or "wgmma"."""
    roots = {i.root for launch in launches for i in launch.kernel.instructions if _is_product(i.opcode)}
    return next(iter(roots))


def expected_sum(kind: str, launch: ProductLaunch) -> tuple[float, float]:
    """The sum that the first thread stores, in float64, and the size of what it is a sum of."""
    if kind == "mma":
        return 0.0, 16.0 * 8 * 4  # each chain adds a product and subtracts it again
    if kind == "fma":
        values = _swinging_chains(launch.iterations)
        return float(values.sum()), float(np.abs(values).sum())
    return _tile_product(launch.dtype) if launch.iterations else (0.0, 1.0)  # each iteration starts anew


def _hash(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    values = values * np.uint32(0x9E3779B9) + np.uint32(0x7F4A7C15)
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    return (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)


def _swinging_chains(iterations: int, chains: int = 16, links: int = 4) -> Floats:
    """Values of the first thread's chains x <- b - 0.999 x."""
    bits = np.uint32(0x3F800000) | (_hash(np.arange(chains, dtype=np.uint32)) >> np.uint32(9))
    x = bits.view(np.float32).astype(np.float64)
    b = x[0]  # both are made from the number 0
    for _ in range(iterations * links):
        x = b - float(np.float32(0.999)) * x
    return x


_ROW_ELEMENTS = 64
_ROWS_A, _ROWS_B = 64, 256
_REPETITIONS = 4  # 16 steps of 16 elements over rows of 64
_PAIR_BITS: Mapping[DType, tuple[int, int]] = {
    DType.BF16: (0x3F803F80, 0x807F807F),
    DType.FP16: (0x3C003C00, 0x83FF83FF),
}


def _tile_product(dtype: DType) -> tuple[float, float]:
    """The first thread's share of A B^T: rows 0 and 8, and two of every eight columns."""
    ones, free = (np.uint32(bits) for bits in _PAIR_BITS[dtype])
    words = np.arange((_ROWS_A + _ROWS_B) * _ROW_ELEMENTS // 2, dtype=np.uint32)
    stored = _as_floats(ones | (_hash(words) & free), dtype).reshape(-1, _ROW_ELEMENTS)
    tiles = _without_swizzle(stored)
    a, b = tiles[:_ROWS_A][[0, 8]], tiles[_ROWS_A:][np.arange(_ROWS_B) % 8 < 2]
    return float(_REPETITIONS * (a @ b.T).sum()), float(_REPETITIONS * (np.abs(a) @ np.abs(b).T).sum())


def _as_floats(words: npt.NDArray[np.uint32], dtype: DType) -> Floats:
    halves = words.view(np.uint16)  # the lower half first
    if dtype is DType.FP16:
        return halves.view(np.float16).astype(np.float64)
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def _without_swizzle(stored: Floats) -> Floats:
    """Rows as wgmma reads them: the 16-byte chunk c of row r stands at c ^ (r % 8)."""
    rows = np.arange(len(stored))[:, None]
    columns = np.arange(_ROW_ELEMENTS)[None, :]
    tiles: Floats = stored[rows, ((columns // 8) ^ (rows % 8)) * 8 + columns % 8]
    return tiles
