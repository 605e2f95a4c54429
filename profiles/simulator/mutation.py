"""Small mistakes in a kernel, one instruction each, as a programmer or a compiler might make them. Pure.

A mutation replaces one instruction of a kernel by another, so sites and labels stay what they are; a deleted
instruction becomes one that does nothing. A test of the checks runs each mutant and asks whether anybody notices
(mutation testing: DeMillo, Lipton and Sayward, "Hints on test data selection", IEEE Computer, 1978).

Left out are changes that are known to change nothing: another number for a barrier of the whole block, swapped
sources of a commutative operation, and fewer bytes of a parameter, whose value is small in every small launch.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from profiles.simulator.ptx.syntax import (
    Address,
    Guard,
    Immediate,
    Instruction,
    Kernel,
    Operand,
    Register,
    Symbol,
    Vector,
)

Changed = Iterator[tuple[str, Instruction]]  # what is done, in words, and the instruction that results

_ADDRESS_STEP = 16  # bytes: a chunk of a copy, and the next row of nothing


@dataclass(frozen=True, slots=True)
class Mutation:
    """One changed instruction."""

    site: int
    kind: str  # "comparison"
    change: str  # "lt -> le"
    instruction: Instruction  # what stands at the site instead


def mutations(kernel: Kernel) -> tuple[Mutation, ...]:
    """All mutations of a kernel, in the order of its instructions."""
    return tuple(
        Mutation(site, kind, change, mutated)
        for site, instruction in enumerate(kernel.instructions)
        for kind, mistakes in _MISTAKES.items()
        for change, mutated in mistakes(instruction)
    )


def mutate(kernel: Kernel, mutation: Mutation) -> Kernel:
    """The kernel with the mutation made."""
    before, after = kernel.instructions[: mutation.site], kernel.instructions[mutation.site + 1 :]
    return replace(kernel, instructions=(*before, mutation.instruction, *after))


ItemT = TypeVar("ItemT")


def spread(items: Sequence[ItemT], group_of: Callable[[ItemT], Hashable], count: int, seed: int) -> list[ItemT]:
    """Choose ``count`` items at random, but take one of each group before the second of any.

    The choice is equal for equal seeds, and a larger ``count`` adds to it. Fewer items than ``count`` are all chosen.
    """
    generator = random.Random(seed)  # noqa: S311 - no secret
    groups: dict[Hashable, list[ItemT]] = {}
    for item in items:
        groups.setdefault(group_of(item), []).append(item)
    order = list(groups.values())
    generator.shuffle(order)
    for group in order:
        generator.shuffle(group)
    rounds = range(max(map(len, order), default=0))
    return [group[place] for place in rounds for group in order if place < len(group)][:count]


_REGISTER_NUMBER = re.compile(r"(?<=%)([a-z]+)\d+")
_MANGLED_NAME = re.compile(r"\b_Z\w+")


def shape(instruction: Instruction) -> str:
    """The instruction's text without what changes from one compilation to the next: ``add.s32 %r, %r, 1``."""
    return _MANGLED_NAME.sub("SYMBOL", _REGISTER_NUMBER.sub(r"\1", instruction.text))


# --- deletions ---

# Without these no register lacks a value that the kernel goes on to read.
_DELETABLE = {"bar", "barrier", "bra", "cp", "fence", "mbarrier", "membar", "red", "st", "stmatrix", "wgmma"}


def _delete(instruction: Instruction) -> Changed:
    writes_register = instruction.root == "mbarrier" and not isinstance(instruction.operands[0], Address)
    adds_in_place = instruction.root == "mma" and instruction.operands[0] == instruction.operands[3]
    if (instruction.root in _DELETABLE and not writes_register) or adds_in_place:
        yield "deleted", replace(instruction, opcode="pmevent", operands=(Immediate(0, "0"),), guard=None)


# --- opcodes ---

_OPPOSITES = {
    "lt": "le", "le": "lt", "gt": "ge", "ge": "gt", "eq": "ne", "ne": "eq", "lo": "ls", "ls": "lo", "hi": "hs",
    "hs": "hi", "equ": "neu", "neu": "equ", "ltu": "leu", "leu": "ltu", "gtu": "geu", "geu": "gtu",
}  # fmt: skip
_OTHER_OPERATIONS = {
    "add": "sub", "sub": "add", "min": "max", "max": "min", "and": "or", "or": "and", "xor": "or", "div": "rem",
}  # fmt: skip
_OTHER_OPCODES = {
    "shl.b32": "shr.u32", "shl.b64": "shr.u64", "shr.u32": "shl.b32", "shr.s32": "shr.u32", "mul.lo.s32": "add.s32",
    "mul.lo.s64": "add.s64", "mul.f32": "add.f32", "not.b32": "mov.b32", "neg.f32": "mov.f32",
    "ex2.approx.ftz.f32": "mov.f32", "rcp.approx.ftz.f32": "mov.f32", "lg2.approx.ftz.f32": "mov.f32",
}  # fmt: skip


def _compare_otherwise(instruction: Instruction) -> Changed:
    if instruction.root == "setp":
        relation = instruction.parts[1]
        if relation in _OPPOSITES:
            yield _renamed(instruction, 1, _OPPOSITES[relation])


def _operate_otherwise(instruction: Instruction) -> Changed:
    if instruction.root in _OTHER_OPERATIONS:
        yield _renamed(instruction, 0, _OTHER_OPERATIONS[instruction.root])
    elif instruction.opcode in _OTHER_OPCODES:
        other = _OTHER_OPCODES[instruction.opcode]
        yield f"{instruction.opcode} -> {other}", replace(instruction, opcode=other)


def _renamed(instruction: Instruction, place: int, name: str) -> tuple[str, Instruction]:
    parts = list(instruction.parts)
    change = f"{parts[place]} -> {name}"
    parts[place] = name
    return change, replace(instruction, opcode=".".join(parts))


def _shuffle_otherwise(instruction: Instruction) -> Changed:
    if instruction.root == "shfl":
        for mode in ("bfly", "down", "up"):
            if mode != instruction.parts[2]:
                yield _renamed(instruction, 2, mode)


def _transpose(instruction: Instruction) -> Changed:
    if instruction.root in ("ldmatrix", "stmatrix"):
        if "trans" in instruction.parts:
            yield ".trans removed", replace(instruction, opcode=instruction.opcode.replace(".trans", ""))
        else:
            place = instruction.opcode.index(".shared")
            opcode = f"{instruction.opcode[:place]}.trans{instruction.opcode[place:]}"
            yield ".trans added", replace(instruction, opcode=opcode)


def _multiply_other_type(instruction: Instruction) -> Changed:
    if instruction.root in ("mma", "wgmma"):
        for ours, other in ((".f16.f16", ".bf16.bf16"), (".bf16.bf16", ".f16.f16")):
            if f".f32{ours}" in instruction.opcode:
                yield f"{ours} -> {other}", replace(instruction, opcode=instruction.opcode.replace(ours, other))


# --- operands ---


def _change_immediates(instruction: Instruction) -> Changed:
    # Barriers are all alike; sizes of copies and factors of wgmma have mistakes of their own.
    fixed = instruction.root in ("bar", "barrier", "wgmma") or _is_small_copy(instruction)
    is_wait = "wait_group" in instruction.opcode or instruction.opcode.startswith("bar.warp")
    if fixed and not is_wait:
        return
    places = [(place, operand) for place, operand in enumerate(instruction.operands) if isinstance(operand, Immediate)]
    for place, operand in places:
        for value in _other_values(operand.value):
            if "wait_group" in instruction.opcode and value < 0:
                continue
            new = _immediate(value)
            name = f"{operand.text} -> {new.text}{_which(place, len(places))}"
            yield name, _with_operand(instruction, place, new)


def _which(place: int, count: int) -> str:
    """Names an operand, if there are several that could be meant."""
    return f" in operand {place}" if count > 1 else ""


def _is_small_copy(instruction: Instruction) -> bool:
    return instruction.opcode.startswith(("cp.async.ca.", "cp.async.cg."))


def _other_values(value: float) -> tuple[float, ...]:
    if isinstance(value, float):
        return () if value == 0 else (-value, 2 * value)
    return tuple(dict.fromkeys(other for other in (2 * value, value + 1, value - 1) if other != value))


def _immediate(value: float) -> Immediate:
    if isinstance(value, float):
        return Immediate(value, f"0f{struct.pack('>f', value).hex().upper()}")
    return Immediate(value, str(value))


def _with_operand(instruction: Instruction, place: int, operand: Operand) -> Instruction:
    operands = instruction.operands
    return replace(instruction, operands=(*operands[:place], operand, *operands[place + 1 :]))


def _shift_addresses(instruction: Instruction) -> Changed:
    if instruction.root == "bra":
        return
    places = [
        (place, operand) for place, operand in enumerate(instruction.operands) if isinstance(operand, Address | Symbol)
    ]
    for place, operand in places:
        for step in (_ADDRESS_STEP, -_ADDRESS_STEP):
            moved = replace(operand, offset=operand.offset + step)
            yield f"address {step:+d}{_which(place, len(places))}", _with_operand(instruction, place, moved)


# Places of two operands that are not exchangeable.
_ORDERED = {
    "sub": (1, 2), "div": (1, 2), "setp": (1, 2), "selp": (1, 2), "cvt": (1, 2), "bfi": (1, 2), "fma": (2, 3),
    "mad": (2, 3),
}  # fmt: skip


def _swap_operands(instruction: Instruction) -> Changed:
    places = _ORDERED.get(instruction.root)
    if places is None or len(instruction.operands) <= places[1] or _is_equality(instruction):
        return
    if instruction.operands[places[0]] != instruction.operands[places[1]]:
        yield f"operands {places[0]} and {places[1]} swapped", _swapped(instruction, *places)


def _is_equality(instruction: Instruction) -> bool:
    return instruction.root == "setp" and instruction.parts[1] in ("eq", "ne", "equ", "neu")


def _swapped(instruction: Instruction, first: int, second: int) -> Instruction:
    operands = list(instruction.operands)
    operands[first], operands[second] = operands[second], operands[first]
    return replace(instruction, operands=tuple(operands))


def _swap_fragments(instruction: Instruction) -> Changed:
    """Registers of a fragment in the wrong order, or of the wrong one."""
    if instruction.root == "mma":
        yield from _swap_elements(instruction, {"D 0 and 1": (0, 0, 1), "A 1 and 2": (1, 1, 2), "B 0 and 1": (2, 0, 1)})
        yield from _swap_first_of_factors(instruction)
    elif instruction.root in ("ldmatrix", "stmatrix"):
        place = 0 if instruction.root == "ldmatrix" else 1
        yield from _swap_elements(instruction, {"registers 1 and 2": (place, 1, 2)})
    elif instruction.opcode.startswith("wgmma.mma_async"):
        yield from _swap_elements(instruction, {"D 0 and 1": (0, 0, 1)})
        if isinstance(instruction.operands[1], Register):
            yield "descriptors swapped", _swapped(instruction, 1, 2)


def _swap_elements(instruction: Instruction, swaps: dict[str, tuple[int, int, int]]) -> Changed:
    for name, (place, first, second) in swaps.items():
        vector = instruction.operands[place]
        if isinstance(vector, Vector) and len(vector.elements) > second:
            elements = list(vector.elements)
            elements[first], elements[second] = elements[second], elements[first]
            yield f"{name} swapped", _with_operand(instruction, place, Vector(tuple(elements)))


def _swap_first_of_factors(instruction: Instruction) -> Changed:
    _, a, b, _ = instruction.operands
    if isinstance(a, Vector) and isinstance(b, Vector):
        changed = _with_operand(instruction, 1, Vector((b.elements[0], *a.elements[1:])))
        yield "A 0 and B 0 swapped", _with_operand(changed, 2, Vector((a.elements[0], *b.elements[1:])))


def _change_factors(instruction: Instruction) -> Changed:
    """The numbers at the end of wgmma: signs of A and B, and whether they are transposed."""
    if not instruction.opcode.startswith("wgmma.mma_async"):
        return
    first = next((i for i, operand in enumerate(instruction.operands) if isinstance(operand, Immediate)), None)
    if first is None:
        return
    yield "A negated", _with_operand(instruction, first, Immediate(-1, "-1"))
    for place in range(first + 2, len(instruction.operands)):
        name = "B" if place == len(instruction.operands) - 1 else "A"
        yield f"{name} transposed", _with_operand(instruction, place, Immediate(1, "1"))


# --- guards and widths ---


def _change_guard(instruction: Instruction) -> Changed:
    guard = instruction.guard
    if guard is not None:
        yield "guard negated", replace(instruction, guard=Guard(guard.register, not guard.negated))
        yield "guard removed", replace(instruction, guard=None)


_HALVES = {"b32": "b16", "u32": "u16", "s32": "s16", "b64": "b32", "u64": "u32", "s64": "s32"}


def _narrow(instruction: Instruction) -> Changed:
    """Fewer bytes loaded or stored. The upper half of a parameter matters only for sizes that no small launch has."""
    if instruction.root in ("ld", "st") and "param" not in instruction.parts:
        yield from _narrow_access(instruction)
    elif _is_small_copy(instruction) and instruction.operands[2] == Immediate(16, "16"):
        narrow = replace(instruction, opcode=instruction.opcode.replace(".cg", ".ca"))
        if len(instruction.operands) == 3:
            yield "16 -> 8 bytes", _with_operand(narrow, 2, Immediate(8, "8"))
        else:
            yield "size of the source removed", replace(instruction, operands=instruction.operands[:3])


def _narrow_access(instruction: Instruction) -> Changed:
    place = 0 if instruction.root == "ld" else 1
    vector = instruction.operands[place]
    if isinstance(vector, Vector):
        half = vector.elements[: len(vector.elements) // 2]
        name, value = ("", half[0]) if len(half) == 1 else (f".v{len(half)}", Vector(half))
        opcode = instruction.opcode.replace(f".v{len(vector.elements)}", name)
        yield "half of the vector", _with_operand(replace(instruction, opcode=opcode), place, value)
    elif instruction.parts[-1] in _HALVES:
        yield _renamed(instruction, len(instruction.parts) - 1, _HALVES[instruction.parts[-1]])


_MISTAKES: dict[str, Callable[[Instruction], Changed]] = {
    "deletion": _delete,
    "comparison": _compare_otherwise,
    "operation": _operate_otherwise,
    "shuffle": _shuffle_otherwise,
    "transposition": _transpose,
    "element type": _multiply_other_type,
    "immediate": _change_immediates,
    "address": _shift_addresses,
    "operand order": _swap_operands,
    "fragment": _swap_fragments,
    "factor": _change_factors,
    "guard": _change_guard,
    "width": _narrow,
}
KINDS = tuple(_MISTAKES)
