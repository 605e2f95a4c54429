"""Theoretical occupancy of a kernel launch from the public rules of each compute capability. No driver needed.

Sources: CUDA C++ Programming Guide, "Compute Capabilities" (technical specifications per compute capability: warps,
blocks, registers and shared memory per multiprocessor), and the Turing, Ampere, Ada and Hopper tuning guides
(occupancy; 1 KiB of shared memory reserved per block from compute capability 8 on). Registers are handed out per warp,
in units of 256, from the four partitions of a multiprocessor, each of which has a quarter of them. Barriers count from
compute capability 9 on, as in NVIDIA's own occupancy calculation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kernels.errors import RoofgateError

KIB = 1024
WARP_SIZE = 32
THREADS_PER_BLOCK = 1024
REGISTERS = 65536  # per multiprocessor
REGISTERS_PER_THREAD = 255
REGISTER_UNIT = 256  # per warp
PARTITIONS = 4  # of a multiprocessor
RESOURCES = ("registers", "shared memory", "warps", "blocks", "barriers")  # that may set the resident blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiprocessor:
    """What one multiprocessor holds at a time."""

    warps: int
    blocks: int
    barriers: int | None  # None where the resident blocks do not share them (before compute capability 9)
    shared_bytes: int  # with the largest carve-out; a block may have all of it but the reserve
    shared_unit_bytes: int = 128
    reserved_bytes: int = 1 * KIB  # of shared memory per block, by the driver


MULTIPROCESSORS: Mapping[tuple[int, int], Multiprocessor] = {
    (7, 5): Multiprocessor(
        warps=32, blocks=16, barriers=None, shared_bytes=64 * KIB, shared_unit_bytes=256, reserved_bytes=0
    ),
    (8, 0): Multiprocessor(warps=64, blocks=32, barriers=None, shared_bytes=164 * KIB),
    (8, 6): Multiprocessor(warps=48, blocks=16, barriers=None, shared_bytes=100 * KIB),
    (8, 9): Multiprocessor(warps=48, blocks=24, barriers=None, shared_bytes=100 * KIB),
    (9, 0): Multiprocessor(warps=64, blocks=32, barriers=64, shared_bytes=228 * KIB),
    (10, 0): Multiprocessor(warps=64, blocks=32, barriers=64, shared_bytes=228 * KIB),
    (12, 0): Multiprocessor(warps=48, blocks=24, barriers=24, shared_bytes=100 * KIB),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What one thread block of a launch needs."""

    threads: int
    registers: int  # per thread
    shared_bytes: int  # static and dynamic
    barriers: int = 0

    @property
    def warps(self) -> int:
        """Warps that the block occupies, the last one perhaps in part."""
        return _divide_up(self.threads, WARP_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How many warps can be resident, as a fraction of what the multiprocessor holds."""

    fraction: float  # 0 if the block cannot be launched
    blocks: int  # resident per multiprocessor
    limiter: str  # "registers", or several resources that allow equally few blocks: "registers, shared memory"


def theoretical_occupancy(block: Block, architecture: str) -> Occupancy:
    """The occupancy of launches with ``block`` on ``architecture`` ("sm_90a").

    fraction = resident blocks * warps per block / warps per multiprocessor, where the scarcest of registers, shared
    memory, warps, blocks and barriers sets the resident blocks.

    Raises :class:`RoofgateError` for an architecture whose limits are not known here.
    """
    multiprocessor = MULTIPROCESSORS[_compute_capability(architecture)]
    allowed = {
        "registers": _blocks_by_registers(block),
        "warps": multiprocessor.warps // block.warps if block.threads <= THREADS_PER_BLOCK else 0,
        "blocks": multiprocessor.blocks,
    }
    if shared_bytes := _allocated_shared_bytes(block, multiprocessor):
        allowed["shared memory"] = multiprocessor.shared_bytes // shared_bytes
    if multiprocessor.barriers is not None and block.barriers:
        allowed["barriers"] = multiprocessor.barriers // block.barriers
    blocks = min(allowed.values())
    limiter = ", ".join(name for name in RESOURCES if allowed.get(name) == blocks)
    fraction = blocks * block.warps / multiprocessor.warps
    return Occupancy(fraction=fraction, blocks=blocks, limiter=limiter)


def _blocks_by_registers(block: Block) -> int:
    registers_per_warp = _divide_up(block.registers * WARP_SIZE, REGISTER_UNIT) * REGISTER_UNIT
    if block.registers > REGISTERS_PER_THREAD:
        return 0
    warps_per_partition = REGISTERS // PARTITIONS // max(registers_per_warp, REGISTER_UNIT)
    return warps_per_partition * PARTITIONS // block.warps


def _allocated_shared_bytes(block: Block, multiprocessor: Multiprocessor) -> int:
    unit = multiprocessor.shared_unit_bytes
    return _divide_up(block.shared_bytes + multiprocessor.reserved_bytes, unit) * unit


def _compute_capability(architecture: str) -> tuple[int, int]:
    match = re.fullmatch(r"sm_(\d+)(\d)[af]?", architecture)
    capability = (int(match[1]), int(match[2])) if match else None
    if capability is None or capability not in MULTIPROCESSORS:
        known = ", ".join(f"sm_{major}{minor}" for major, minor in MULTIPROCESSORS)
        raise RoofgateError(
            f"no occupancy limits for architecture {architecture!r} (known: {known}); "
            "add its row to MULTIPROCESSORS in profiles/occupancy.py"
        )
    return capability


def _divide_up(value: int, unit: int) -> int:
    return -(-value // unit)
