"""Lowering of cvt: between integers, between integers and floats, between floats, and of packed small floats.

Frequent conversions have operations of their own ("cvt.f32.f16"); the others are "cvt" with numbers behind the
registers: types, rounding and modifiers, as the run-time's conversion_float.cpp reads them.
"""

from __future__ import annotations

from profiles.simulator.lowering.context import Context, Lowered, lowers
from profiles.simulator.lowering.modifiers import INTEGERS, ROUNDINGS, Modifiers, bits, operands
from profiles.simulator.ptx.syntax import Instruction, Register

_INTEGERS = (*INTEGERS, "u8", "s8")
_FLOATS = ("f16", "bf16", "f32", "f64")
_PAIRS = ("f16x2", "bf16x2")
_BYTE_PAIRS = ("e4m3x2", "e5m2x2")
# Numbers of the types and roundings, as the run-time has them.
_KINDS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f16", "bf16", "f32", "f64", "tf32")
_ROUNDINGS = ROUNDINGS | {"rna": 4}
_INTEGRAL = {"rni": 0, "rzi": 1, "rmi": 2, "rpi": 3}
# Without any modifier but .rn, which widening does not have.
_FREQUENT = {
    ("f32", "f16"): "cvt.f32.f16",
    ("f32", "bf16"): "cvt.f32.bf16",
    ("f16", "f32"): "cvt.rn.f16.f32",
    ("bf16", "f32"): "cvt.rn.bf16.f32",
    ("f64", "f32"): "cvt.f64.f32",
    ("f32", "f64"): "cvt.rn.f32.f64",
    ("f32", "s32"): "cvt.rn.f32.s32",
    ("f32", "u32"): "cvt.rn.f32.u32",
    ("f64", "s32"): "cvt.rn.f64.s32",
    ("f64", "u32"): "cvt.rn.f64.u32",
}


@lowers("cvt")
def _convert(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    source = modifiers.type(*_INTEGERS, *_FLOATS, *_PAIRS, *_BYTE_PAIRS)
    result = modifiers.type(*_INTEGERS, *_FLOATS, "tf32", *_PAIRS, *_BYTE_PAIRS)
    if source in _INTEGERS and result in _INTEGERS:
        return _between_integers(instruction, context, modifiers, result, source)
    if (source == "f32" and result in (*_PAIRS, *_BYTE_PAIRS)) or {source, result} <= {"f16x2", *_BYTE_PAIRS}:
        return _packed(instruction, context, modifiers, result, source)
    if source not in _KINDS or result not in _KINDS:
        context.fail(f"there is no conversion of .{source} to .{result}")
    return _with_floats(instruction, context, modifiers, result, source)


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


def _with_floats(instruction: Instruction, context: Context, modifiers: Modifiers, result: str, source: str) -> Lowered:
    rounding, integral = _rounding(modifiers, context, result, source)
    flags = [int(modifiers.has(name)) for name in ("ftz", "sat", "relu", "satfinite")]
    modifiers.finish()
    slots = operands(instruction, context, (result, source))
    if result == "f64" and source in ("u64", "s64"):
        return Lowered(f"cvt.f64.{source}", (*slots, rounding))
    if (result, source, rounding) == ("tf32", "f32", _ROUNDINGS["rna"]) and not any(flags):
        return Lowered("cvt.rna.tf32.f32", slots)
    if (result, source) in _FREQUENT and rounding == 0 and not integral and not any(flags):
        return Lowered(_FREQUENT[result, source], slots)
    return Lowered("cvt", (*slots, _KINDS.index(source), _KINDS.index(result), rounding, int(integral), *flags))


def _rounding(modifiers: Modifiers, context: Context, result: str, source: str) -> tuple[int, bool]:
    """Number of the rounding, and whether it is to a whole number."""
    whole = modifiers.take(*_INTEGRAL)
    if whole is not None:
        if source in _INTEGERS or result not in (*_INTEGERS, source):
            context.fail(f".{whole} is for floats that become integers, or whole numbers of their type")
        return _INTEGRAL[whole], True
    if result in _INTEGERS:
        context.fail(f"a float becomes an integer with one of {', '.join('.' + name for name in _INTEGRAL)}")
    found = modifiers.take(*_ROUNDINGS)
    if found is None and not _is_exact(result, source):
        context.fail(f"the conversion of .{source} to .{result} needs a rounding")
    return _ROUNDINGS[found or "rn"], False


def _is_exact(result: str, source: str) -> bool:
    return result == source or (source in _FLOATS and result == "f64") or (source[-2:] == "16" and result == "f32")


def _packed(instruction: Instruction, context: Context, modifiers: Modifiers, result: str, source: str) -> Lowered:
    rounding = modifiers.need("the rounding", "rn") if result in _BYTE_PAIRS or source != "f32" else None
    rounding = rounding or modifiers.need("the rounding", "rn", "rz")
    flags = modifiers.present("satfinite", "relu")
    modifiers.finish()
    if result in _BYTE_PAIRS and "satfinite" not in flags:
        context.fail(f"the conversion to .{result} needs .satfinite")
    if source in _BYTE_PAIRS and "satfinite" in flags:
        context.fail(f".satfinite is not for the conversion of .{source}, which is exact")
    sources = ("f32", "f32") if source == "f32" else (source,)
    name = ".".join(("cvt", *flags, rounding, result, source))
    return Lowered(name, operands(instruction, context, (result, *sources)))


@lowers("cvt.pack")
def _pack(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    modifiers.need("its name", "pack")
    third = modifiers.take("b32")
    modifiers.type("s32")
    types = ("u8", "s8", "u4", "s4", "u2", "s2") if third else ("u16", "s16")
    result = modifiers.type(*types)
    modifiers.need("the clamping", "sat")
    modifiers.finish()
    slots = operands(instruction, context, ("b32", "s32", "s32", "b32")[: 4 if third else 3])
    above = () if third else (slots[1],)  # is shifted out
    return Lowered("cvt.pack", (*slots, *above, int(result[1:]), int(result.startswith("s"))))
