"""Basic blocks of a kernel, and which registers are live where. Sets of registers are ints, one bit for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiles.simulator.ptx.syntax import Instruction, Kernel, Symbol

_ENDS = {"ret", "exit", "trap"}
_JUMPS = {"bra", "brx"}


@dataclass(frozen=True, slots=True)
class Access:
    """Registers that one instruction reads and writes.

    ``kills`` are those whose old value is gone for every lane that was on the way: a write under a guard leaves the
    other lanes' values, so it kills nothing. Lanes on another path have a program counter of their own, so that the
    liveness of one thread holds for all lanes of a register.
    """

    reads: int
    writes: int
    kills: int


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions ``first`` to ``end`` (exclusive), and the indices of the blocks that may follow."""

    first: int
    end: int
    successors: tuple[int, ...]


def targets(instruction: Instruction, kernel: Kernel) -> tuple[int, ...]:
    """Sites that a branch may jump to; none for other instructions, and for names that are no labels."""
    if instruction.root not in _JUMPS or not instruction.operands:
        return ()
    last = instruction.operands[-1]
    if not isinstance(last, Symbol):
        return ()
    labels = kernel.branch_tables.get(last.name, (last.name,))
    return tuple(kernel.labels[label] for label in labels if label in kernel.labels)


def basic_blocks(kernel: Kernel) -> tuple[Block, ...]:
    """The kernel's blocks in order; falling off the end ends a thread."""
    instructions = kernel.instructions
    starts = {0, *kernel.labels.values()}
    for site, instruction in enumerate(instructions):
        if instruction.root in _JUMPS or instruction.root in _ENDS:
            starts.add(site + 1)
    firsts = sorted(start for start in starts if start < len(instructions))
    number = {first: index for index, first in enumerate(firsts)}
    ends = [*firsts[1:], len(instructions)]
    return tuple(
        Block(first, end, _successors(end - 1, kernel, number)) for first, end in zip(firsts, ends, strict=False)
    )


def _successors(site: int, kernel: Kernel, number: dict[int, int]) -> tuple[int, ...]:
    last = kernel.instructions[site]
    sites = list(targets(last, kernel))
    if last.guard is not None or last.root not in _JUMPS | _ENDS:
        sites.append(site + 1)
    return tuple(number[target] for target in dict.fromkeys(sites) if target in number)


def live_out(blocks: Sequence[Block], accesses: Sequence[Access]) -> list[int]:
    """For each block the registers whose values may be read after it."""
    summaries = [_summary(accesses[block.first : block.end]) for block in blocks]
    live_in = [reads for reads, _ in summaries]
    result = [0] * len(blocks)
    changed = True
    while changed:
        changed = False
        for index in reversed(range(len(blocks))):
            out = 0
            for successor in blocks[index].successors:
                out |= live_in[successor]
            if out != result[index]:
                reads, kills = summaries[index]
                result[index], live_in[index], changed = out, reads | (out & ~kills), True
    return result


def _summary(accesses: Sequence[Access]) -> tuple[int, int]:
    reads = kills = 0
    for access in accesses:
        reads |= access.reads & ~kills
        kills |= access.kills
    return reads, kills


def each_live_after(blocks: Sequence[Block], accesses: Sequence[Access], visit: Callable[[Access, int], None]) -> None:
    """Call ``visit(access, live)`` for every instruction with the registers that are live behind it."""
    for block, live in zip(blocks, live_out(blocks, accesses), strict=True):
        for access in reversed(accesses[block.first : block.end]):
            visit(access, live)
            live = (live & ~access.kills) | access.reads
