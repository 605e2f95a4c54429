"""Slots of a warp's register file.

A warp's file should fit the processor's first cache, so registers that are never live at the same time share a slot.
Registers of one instruction never do: see :mod:`profiles.simulator.lowering.context`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from profiles.simulator.lowering.control_flow import Access, Block, each_live_after

LANES = 32
SLOT_ALIGNMENT = 64  # bytes
PREDICATE_BYTES = 4  # one bit per lane


def interference(blocks: Sequence[Block], accesses: Sequence[Access], count: int) -> list[int]:
    """For each of ``count`` registers those that hold a value where it is written.

    Two registers need different slots if either holds the other.
    """
    conflicts = [0] * count

    def visit(access: Access, live: int) -> None:
        if access.writes:
            others = live | access.reads | access.writes
            for register in each_bit(access.writes):
                conflicts[register] |= others

    each_live_after(blocks, accesses, visit)
    return conflicts


def colours(registers: Sequence[int], conflicts: Sequence[int], alone: int) -> tuple[dict[int, int], int]:
    """Give each register the first number that no conflicting register has; also says how many numbers there are.

    Args:
        registers: of one width, in the order of their first appearance, which keeps neighbours close.
        conflicts: as :func:`interference` gives them.
        alone: registers that share with nobody.
    """
    members: list[int] = []
    excluded: list[int] = []
    result = {}
    for register in registers:
        bit = 1 << register
        exclusive = alone & bit
        conflicting = -1 if exclusive else conflicts[register]
        number = next(
            (i for i, group in enumerate(members) if not group & conflicting and not excluded[i] & bit), len(members)
        )
        if number == len(members):
            members.append(0)
            excluded.append(0)
        members[number] |= bit
        excluded[number] |= conflicting
        result[register] = number
    return result, len(members)


def allocate(widths: Sequence[int], conflicts: Sequence[int], alone: int) -> tuple[list[int], int]:
    """Byte offset of every register, and the bytes of the file, a multiple of the slots' alignment.

    ``widths`` are bytes per lane, 1 for a predicate.
    """
    offsets = [0] * len(widths)
    end = 0
    for width in sorted(set(widths), reverse=True):  # predicates last: they are packed
        same = [register for register, other in enumerate(widths) if other == width]
        numbers, count = colours(same, conflicts, alone)
        size = slot_size(width)
        for register, number in numbers.items():
            offsets[register] = end + number * size
        end += count * size
    return offsets, align(end, SLOT_ALIGNMENT)


def slot_size(width: int) -> int:
    """Bytes of a slot of ``width`` bytes per lane, 1 for a predicate."""
    return PREDICATE_BYTES if width == 1 else LANES * width


def align(offset: int, alignment: int) -> int:
    """The first multiple of ``alignment`` that is not below ``offset``."""
    return -(-offset // alignment) * alignment


def each_bit(mask: int) -> Iterator[int]:
    """Numbers of the bits that are set, from the lowest."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
