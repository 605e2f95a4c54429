"""Instructions that could touch the registers of a warpgroup product while it is under way.

The run-time (``wgmma_watch.cpp``) follows these registers; kernels without ``wgmma.mma_async`` have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiles.simulator.lowering.control_flow import Access
from profiles.simulator.ptx.syntax import Instruction, Operand, Register, Vector

_PRODUCT = "wgmma.mma_async"
_COPIES = {"mov.b32", "mov.u32", "mov.s32", "mov.f32"}


@dataclass(frozen=True, slots=True)
class Watch:
    """One such instruction. Numbers of registers count the watched ones from 0."""

    site: int
    kind: str  # "product", "copy" or "access"
    reads: tuple[int, ...]  # of a product: the registers of A
    writes: tuple[int, ...]  # of a product: those of D

    def __str__(self) -> str:
        numbers = [len(self.reads), *self.reads, len(self.writes), *self.writes]
        return " ".join(["watch", str(self.site), self.kind, *map(str, numbers)])


def watches(
    instructions: Sequence[Instruction], accesses: Sequence[Access], numbers: Mapping[str, int]
) -> tuple[Watch, ...]:
    """All of a kernel, in the order of their sites.

    Args:
        instructions: of the kernel.
        accesses: registers that each reads and writes.
        numbers: the bit of a register in ``accesses``.
    """
    watched = _products_registers(instructions, numbers)
    if not watched:
        return ()
    watched = _with_copies(instructions, accesses, watched)
    short = {bit: number for number, bit in enumerate(_bits(watched))}
    found = []
    for site, (instruction, access) in enumerate(zip(instructions, accesses, strict=True)):
        if not (access.reads | access.writes) & watched:
            continue
        reads, writes = access.reads & watched, access.writes & watched
        if instruction.opcode.startswith(_PRODUCT):
            reads &= ~writes  # D is read too, but by the product itself
        kind = _kind(instruction)
        found.append(Watch(site, kind, _short(reads, short), _short(writes, short)))
    return tuple(found)


def _products_registers(instructions: Sequence[Instruction], numbers: Mapping[str, int]) -> int:
    registers = 0
    for instruction in instructions:
        if instruction.opcode.startswith(_PRODUCT):
            for operand in instruction.operands[:2]:  # D and A; the other operands are no vectors
                registers |= _vector(operand, numbers)
    return registers


def _vector(operand: Operand, numbers: Mapping[str, int]) -> int:
    elements = operand.elements if isinstance(operand, Vector) else ()
    return sum(1 << numbers[element.name] for element in elements if isinstance(element, Register))


def _with_copies(instructions: Sequence[Instruction], accesses: Sequence[Access], watched: int) -> int:
    """The registers, and those that are copied from or to one of them, directly or not."""
    copies = [
        access.reads | access.writes
        for instruction, access in zip(instructions, accesses, strict=True)
        if _kind(instruction) == "copy" and access.reads
    ]
    before = 0
    while before != watched:
        before = watched
        for pair in copies:
            if pair & watched:
                watched |= pair
    return watched


def _kind(instruction: Instruction) -> str:
    if instruction.opcode.startswith(_PRODUCT):
        return "product"
    is_copy = instruction.opcode in _COPIES and instruction.guard is None
    plain = all(not isinstance(operand, Vector) for operand in instruction.operands)
    return "copy" if is_copy and plain else "access"


def _bits(registers: int) -> list[int]:
    return [bit for bit in range(registers.bit_length()) if registers >> bit & 1]


def _short(registers: int, short: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(short[bit] for bit in _bits(registers))
