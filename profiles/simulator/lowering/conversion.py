"""Lowering of cvt: between integers, between integers and floats, between floats, and of packed small floats."""

from __future__ import annotations

from profiles.simulator.lowering.context import Context, Lowered, lowers
from profiles.simulator.lowering.modifiers import INTEGERS, Modifiers, bits, operands
from profiles.simulator.ptx.syntax import Instruction, Register

_INTEGERS = (*INTEGERS, "u8", "s8")
_FLOATS = ("f16", "bf16", "f32", "f64")
_PAIRS = ("f16x2", "bf16x2")


@lowers("cvt")
def _convert(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    source = modifiers.type(*_INTEGERS, *_FLOATS, *_PAIRS)
    result = modifiers.type(*_INTEGERS, *_FLOATS, *_PAIRS)
    if source in _INTEGERS and result in _INTEGERS:
        return _between_integers(instruction, context, modifiers, result, source)
    if source == "f32" and result in _PAIRS:
        return _to_pair(instruction, context, modifiers, result)
    context.fail(f"the conversion of .{source} to .{result} is not known")


def _between_integers(
    instruction: Instruction, context: Context, modifiers: Modifiers, result: str, source: str
) -> Lowered:
    saturating = modifiers.has("sat")
    modifiers.finish()
    result_register = _register_type(instruction, context, 0, result)
    source_register = _register_type(instruction, context, 1, source)
    slots = operands(instruction, context, (result_register, source_register))
    exact = bits(result_register) == bits(result) and bits(source_register) == bits(source)
    if exact and not saturating:
        return Lowered(f"cvt.{result}.{source}", slots)
    return Lowered(
        f"cvt.{bits(result_register)}.{bits(source_register)}",
        (*slots, *_integer(source), *_integer(result), int(saturating)),
    )


def _integer(type_name: str) -> tuple[int, int]:
    """Bits of a type, and 1 if it is signed."""
    return int(type_name[1:]), int(type_name.startswith("s"))


def _register_type(instruction: Instruction, context: Context, index: int, type_name: str) -> str:
    """The type to ask for an operand that may be a register wider than the instruction's type."""
    operand = instruction.operands[index]
    if not isinstance(operand, Register):
        return type_name if bits(type_name) != "b8" else "b16"
    declared = bits(context.register_type(operand))
    if int(declared[1:]) < int(bits(type_name)[1:]):
        context.fail(f"{operand.name} is too narrow for .{type_name}")
    return declared


def _to_pair(instruction: Instruction, context: Context, modifiers: Modifiers, result: str) -> Lowered:
    rounding = modifiers.need("the rounding", "rn", "rz")
    flags = modifiers.present("satfinite", "relu")
    modifiers.finish()
    name = ".".join(("cvt", *flags, rounding, result, "f32"))
    return Lowered(name, operands(instruction, context, (result, "f32", "f32")))
