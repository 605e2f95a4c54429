"""Lowering of comparisons and choices: setp, set, selp, slct, testp."""

from __future__ import annotations

from profiles.simulator.lowering.context import Context, Lowered, lowers, read_predicate
from profiles.simulator.lowering.modifiers import INTEGERS, Modifiers, bits, operands
from profiles.simulator.ptx.syntax import Instruction, Operand, Pair, Sink

_BITS = ("b16", "b32", "b64")
_FLOATS = ("f32", "f64", "f16", "bf16", "f16x2", "bf16x2")
_EQUALITY = ("eq", "ne")
_ORDER = ("lt", "le", "gt", "ge")
_UNSIGNED_ORDER = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_UNORDERED = ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
# As in the run-time's comparison.cpp.
_COMBINATIONS = {"and": 1, "or": 2, "xor": 3}
_ONE = {"f32": 0x3F800000, "f16": 0x3C00, "bf16": 0x3F80, "u16": 0xFFFF, "u32": 0xFFFFFFFF}
_ONE |= {"s16": _ONE["u16"], "s32": _ONE["u32"]}


def _comparison(modifiers: Modifiers, type_name: str, context: Context) -> str:
    """The run-time's name of a comparison: "lt.s32"."""
    flush = "ftz." if modifiers.has("ftz") else ""
    if type_name in _FLOATS:
        relation = modifiers.need("the comparison", *_EQUALITY, *_ORDER, *_UNORDERED)
        return f"{relation}.{flush}{type_name}"
    if flush:
        context.fail(".ftz is for floats")
    names = _EQUALITY if type_name in _BITS else (*_EQUALITY, *_ORDER, *_UNSIGNED_ORDER)
    relation = modifiers.need("the comparison", *names)
    if relation in _UNSIGNED_ORDER and type_name.startswith("s"):
        context.fail(f".{relation} is for unsigned numbers")
    kind = bits(type_name) if relation in _EQUALITY else type_name
    return f"{_UNSIGNED_ORDER.get(relation, relation)}.{kind}"


def _combination(
    instruction: Instruction, context: Context, modifiers: Modifiers
) -> tuple[tuple[Operand, Operand], tuple[int, int, int]]:
    """The two sources, and: the predicate that the result is combined with, whether it is negated, and how."""
    how = modifiers.take(*_COMBINATIONS)
    expected = 4 if how else 3
    if len(instruction.operands) != expected:
        context.fail(f"{len(instruction.operands)} operands where {expected} are expected")
    first, second = instruction.operands[1:3]
    if how is None:
        return (first, second), (context.write(Sink(), "pred"), 0, 0)
    return (first, second), (*read_predicate(instruction.operands[3], context), _COMBINATIONS[how])


@lowers("setp")
def _set_predicate(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*_BITS, *INTEGERS, *_FLOATS)
    name = _comparison(modifiers, type_name, context)
    plain = not any(part in _COMBINATIONS for part in instruction.parts)
    sources, combination = _combination(instruction, context, modifiers)
    modifiers.finish()
    slots = tuple(context.read(source, type_name) for source in sources)
    destination = instruction.operands[0]
    if plain and not isinstance(destination, Pair) and not type_name.endswith("x2"):
        return Lowered(f"setp.{name}", (context.write(destination, "pred"), *slots))
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    written = (context.write(pair.first, "pred"), context.write(pair.second, "pred"))
    return Lowered(f"setp.combined.{name}", (*written, *slots, *combination))


@lowers("set")
def _set(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*_BITS, *INTEGERS, *_FLOATS)
    result = modifiers.type("u32", "s32", "f32", "u16", "s16", "f16", "bf16", "f16x2", "bf16x2")
    name = _comparison(modifiers, type_name, context)
    sources, combination = _combination(instruction, context, modifiers)
    modifiers.finish()
    slots = tuple(context.read(source, type_name) for source in sources)
    width = "32" if bits(result) == "b32" or result.endswith("x2") else "16"
    written = context.write(instruction.operands[0], result)
    one = _ONE[result.removesuffix("x2")]
    return Lowered(f"set.b{width}.{name}", (written, *slots, *combination, one))


@lowers("selp")
def _select(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*_BITS, *INTEGERS, "f32", "f64")
    modifiers.finish()
    if len(instruction.operands) != 4:
        context.fail("selp has a destination, two sources and a predicate")
    destination, first, second, chosen = instruction.operands
    slots = (context.write(destination, type_name), context.read(first, type_name), context.read(second, type_name))
    return Lowered(f"selp.{bits(type_name)}", (*slots, *read_predicate(chosen, context)))


@lowers("slct")
def _choose(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    by = modifiers.type("s32", "f32")
    type_name = modifiers.type(*_BITS, *INTEGERS, "f32", "f64")
    flush = ".ftz" if by == "f32" and modifiers.has("ftz") else ""
    modifiers.finish()
    slots = operands(instruction, context, (type_name, type_name, type_name, by))
    return Lowered(f"slct{flush}.{bits(type_name)}.{by}", slots)


@lowers("testp")
def _test(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", "f64")
    what = modifiers.need("the property", "finite", "infinite", "number", "notanumber", "normal", "subnormal")
    modifiers.finish()
    return Lowered(f"testp.{what}.{type_name}", operands(instruction, context, ("pred", type_name)))
