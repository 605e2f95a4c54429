"""The devices that simulated host code sees: what ``cudaDeviceGetAttribute`` answers on each architecture.

What follows from the compute capability is that of :mod:`profiles.occupancy`. Multiprocessors and L2 differ between
products; each architecture is simulated as one of them: sm_80 as the A100, sm_86 as the RTX A6000, sm_89 as the L4,
sm_90 as the H100 SXM (NVIDIA's architecture whitepapers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from kernels.errors import RoofgateError
from profiles.occupancy import (
    MULTIPROCESSORS,
    REGISTERS,
    THREADS_PER_BLOCK,
    WARP_SIZE,
)

KIB = 1024
MIB = 1024 * KIB
_SHARED_WITHOUT_ASKING = 48 * KIB
_CONSTANT_BYTES = 64 * KIB


class Attribute(IntEnum):
    """``enum cudaDeviceAttr``."""

    MAX_THREADS_PER_BLOCK = 1
    MAX_BLOCK_X = 2
    MAX_BLOCK_Y = 3
    MAX_BLOCK_Z = 4
    MAX_GRID_X = 5
    MAX_GRID_Y = 6
    MAX_GRID_Z = 7
    MAX_SHARED_PER_BLOCK = 8
    TOTAL_CONSTANT = 9
    WARP_SIZE = 10
    MAX_REGISTERS_PER_BLOCK = 12
    MULTIPROCESSORS = 16
    L2_BYTES = 38
    MAX_THREADS_PER_MULTIPROCESSOR = 39
    MAJOR = 75
    MINOR = 76
    MAX_SHARED_PER_MULTIPROCESSOR = 81
    MAX_REGISTERS_PER_MULTIPROCESSOR = 82
    COOPERATIVE_LAUNCH = 95
    MAX_SHARED_PER_BLOCK_OPT_IN = 97
    MAX_BLOCKS_PER_MULTIPROCESSOR = 106
    RESERVED_SHARED_PER_BLOCK = 111
    CLUSTER_LAUNCH = 120


@dataclass(frozen=True, slots=True)
class _Product:
    multiprocessors: int
    l2_bytes: int


_PRODUCTS: Mapping[tuple[int, int], _Product] = {
    (8, 0): _Product(multiprocessors=108, l2_bytes=40 * MIB),
    (8, 6): _Product(multiprocessors=84, l2_bytes=6 * MIB),
    (8, 9): _Product(multiprocessors=58, l2_bytes=48 * MIB),
    (9, 0): _Product(multiprocessors=132, l2_bytes=50 * MIB),
}


def device_attributes(architecture: str) -> Mapping[Attribute, int]:
    """All attributes of the device for an architecture such as "sm_90a".

    Raises :class:`RoofgateError` for an architecture that no device here stands for.
    """
    match = re.fullmatch(r"sm_(\d+)(\d)[af]?", architecture)
    capability = (int(match[1]), int(match[2])) if match else (0, 0)
    if capability not in _PRODUCTS:
        known = ", ".join(f"sm_{major}{minor}" for major, minor in _PRODUCTS)
        raise RoofgateError(f"no simulated device for architecture {architecture!r}; there are: {known}")
    product, multiprocessor = _PRODUCTS[capability], MULTIPROCESSORS[capability]
    return {
        Attribute.MAX_THREADS_PER_BLOCK: THREADS_PER_BLOCK,
        Attribute.MAX_BLOCK_X: 1024,
        Attribute.MAX_BLOCK_Y: 1024,
        Attribute.MAX_BLOCK_Z: 64,
        Attribute.MAX_GRID_X: 2**31 - 1,
        Attribute.MAX_GRID_Y: 65535,
        Attribute.MAX_GRID_Z: 65535,
        Attribute.MAX_SHARED_PER_BLOCK: _SHARED_WITHOUT_ASKING,
        Attribute.TOTAL_CONSTANT: _CONSTANT_BYTES,
        Attribute.WARP_SIZE: WARP_SIZE,
        Attribute.MAX_REGISTERS_PER_BLOCK: REGISTERS,
        Attribute.MULTIPROCESSORS: product.multiprocessors,
        Attribute.L2_BYTES: product.l2_bytes,
        Attribute.MAX_THREADS_PER_MULTIPROCESSOR: multiprocessor.warps * WARP_SIZE,
        Attribute.MAJOR: capability[0],
        Attribute.MINOR: capability[1],
        Attribute.MAX_SHARED_PER_MULTIPROCESSOR: multiprocessor.shared_bytes,
        Attribute.MAX_REGISTERS_PER_MULTIPROCESSOR: REGISTERS,
        Attribute.COOPERATIVE_LAUNCH: 0,  # blocks of a simulated grid are not all resident
        Attribute.MAX_SHARED_PER_BLOCK_OPT_IN: multiprocessor.shared_bytes - multiprocessor.reserved_bytes,
        Attribute.MAX_BLOCKS_PER_MULTIPROCESSOR: multiprocessor.blocks,
        Attribute.RESERVED_SHARED_PER_BLOCK: multiprocessor.reserved_bytes,
        Attribute.CLUSTER_LAUNCH: int(capability >= (9, 0)),
    }
