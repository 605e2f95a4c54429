"""Lowering of mov, of bit operations and of the logic of predicates.

A predicate operand becomes two operands of the operation: the predicate, and 1 if it is negated.
"""

from __future__ import annotations

from profiles.simulator.lowering.context import Context, Lowered, lowers, read_predicate
from profiles.simulator.lowering.modifiers import Modifiers, bits, operands
from profiles.simulator.ptx.syntax import Immediate, Instruction, Vector

_WIDTHS = ("b16", "b32", "b64")


@lowers("mov")
def _move(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    widths = ("16", "32", "64")
    types = [kind + width for kind in "busf" for width in widths if kind + width != "f16"]
    type_name = modifiers.type("pred", "b128", *types)
    modifiers.finish()
    if len(instruction.operands) != 2:
        context.fail("mov has a destination and a source")
    destination, source = instruction.operands
    if type_name == "pred":
        return Lowered("mov.pred", (context.write(destination, "pred"), *read_predicate(source, context)))
    if isinstance(source, Vector):
        whole, parts = (context.write(destination, type_name),), source
        return Lowered(_packing(context, "pack", type_name, parts), whole + _part_slots(context, type_name, parts))
    if isinstance(destination, Vector):
        slots = _destination_slots(context, type_name, destination)
        return Lowered(_packing(context, "unpack", type_name, destination), (*slots, context.read(source, type_name)))
    return Lowered(f"mov.{bits(type_name)}", operands(instruction, context, (type_name, type_name)))


def _packing(context: Context, what: str, type_name: str, parts: Vector) -> str:
    return f"mov.{what}.{bits(type_name)}.{_part_type(context, type_name, parts)}"


def _part_type(context: Context, type_name: str, parts: Vector) -> str:
    whole = int(bits(type_name)[1:])
    count = len(parts.elements)
    known = {(16, 2), (32, 4), (32, 2), (64, 4), (64, 2), (128, 4), (128, 2)}
    if (whole, count) not in known:
        context.fail(f".{type_name} cannot be made of {count} registers, nor split into them")
    return f"b{whole // count}"


def _part_slots(context: Context, type_name: str, parts: Vector) -> tuple[int, ...]:
    part_type = _part_type(context, type_name, parts)
    return tuple(context.read(element, part_type) for element in parts.elements)


def _destination_slots(context: Context, type_name: str, parts: Vector) -> tuple[int, ...]:
    part_type = _part_type(context, type_name, parts)
    return tuple(context.write(element, part_type) for element in parts.elements)


@lowers("and", "or", "xor")
def _bitwise(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("pred", *_WIDTHS)
    modifiers.finish()
    if type_name != "pred":
        return Lowered(instruction.opcode, operands(instruction, context, (type_name,) * 3))
    if len(instruction.operands) != 3:
        context.fail("two sources are expected")
    destination, first, second = instruction.operands
    sources = (*read_predicate(first, context), *read_predicate(second, context))
    return Lowered(instruction.opcode, (context.write(destination, "pred"), *sources))


@lowers("not", "cnot")
def _complement(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("pred", *_WIDTHS)
    modifiers.finish()
    if type_name != "pred":
        return Lowered(instruction.opcode, operands(instruction, context, (type_name,) * 2))
    if instruction.root != "not" or len(instruction.operands) != 2:
        context.fail("cnot has no .pred; not has one source")
    slot, negated = read_predicate(instruction.operands[1], context)
    return Lowered("mov.pred", (context.write(instruction.operands[0], "pred"), slot, 1 - negated))


@lowers("shl", "shr")
def _shift(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    types = _WIDTHS if instruction.root == "shl" else (*_WIDTHS, "u16", "u32", "u64", "s16", "s32", "s64")
    type_name = modifiers.type(*types)
    modifiers.finish()
    kind = type_name if type_name.startswith("s") else bits(type_name)
    return Lowered(f"{instruction.root}.{kind}", operands(instruction, context, (type_name, type_name, "u32")))


@lowers("shf")
def _funnel(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.type("b32")
    direction = modifiers.need("the direction", "l", "r")
    mode = modifiers.need("the mode", "clamp", "wrap")
    modifiers.finish()
    return Lowered(f"shf.{direction}.{mode}.b32", operands(instruction, context, ("b32", "b32", "b32", "u32")))


@lowers("lop3")
def _lookup(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.type("b32")
    modifiers.finish()
    if len(instruction.operands) != 5:
        context.fail("lop3 with a predicate result is not known; expected are d, a, b, c and the table")
    destination, *sources, table = instruction.operands
    if not isinstance(table, Immediate) or not isinstance(table.value, int) or not 0 <= table.value <= 255:
        context.fail("the table must be a literal from 0 to 255")
    slots = tuple(context.read(source, "b32") for source in sources)
    return Lowered("lop3.b32", (context.write(destination, "b32"), *slots, table.value))


@lowers("bfe")
def _extract(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "u64", "s32", "s64")
    modifiers.finish()
    return Lowered(f"bfe.{type_name}", operands(instruction, context, (type_name, type_name, "u32", "u32")))


@lowers("bfi")
def _insert(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("b32", "b64")
    modifiers.finish()
    return Lowered(f"bfi.{type_name}", operands(instruction, context, (type_name,) * 3 + ("u32", "u32")))


@lowers("bmsk")
def _mask(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.type("b32")
    mode = modifiers.need("the mode", "clamp", "wrap")
    modifiers.finish()
    return Lowered(f"bmsk.{mode}.b32", operands(instruction, context, ("b32", "u32", "u32")))


@lowers("szext")
def _extend(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "s32")
    mode = modifiers.need("the mode", "clamp", "wrap")
    modifiers.finish()
    return Lowered(f"szext.{mode}.{type_name}", operands(instruction, context, (type_name, type_name, "u32")))


@lowers("popc", "clz", "brev")
def _count(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("b32", "b64")
    modifiers.finish()
    result = type_name if instruction.root == "brev" else "u32"
    return Lowered(instruction.opcode, operands(instruction, context, (result, type_name)))


@lowers("bfind")
def _find(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "u64", "s32", "s64")
    shift = ".shiftamt" if modifiers.has("shiftamt") else ""
    modifiers.finish()
    return Lowered(f"bfind{shift}.{type_name}", operands(instruction, context, ("u32", type_name)))


@lowers("fns")
def _find_nth(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.type("b32")
    modifiers.finish()
    return Lowered("fns.b32", operands(instruction, context, ("b32", "b32", "b32", "s32")))


@lowers("prmt")
def _permute(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.need("its type", "b32")
    mode = modifiers.take("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")
    modifiers.finish()
    name = f"prmt.b32.{mode}" if mode else "prmt.b32"
    return Lowered(name, operands(instruction, context, ("b32",) * 4))


@lowers("dp4a", "dp2a")
def _dot(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    second = modifiers.type("u32", "s32")
    first = modifiers.type("u32", "s32")
    half = modifiers.need("the half", "lo", "hi") + "." if instruction.root == "dp2a" else ""
    modifiers.finish()
    name = f"{instruction.root}.{half}{first}.{second}"
    return Lowered(name, operands(instruction, context, ("b32",) * 4))
