"""Lowering of arithmetic: of integers, f32 and f64, halves, and the approximations.

Operations are named as in PTX without what does not change the result: ``add.b32`` for every 32-bit integer,
``add.ftz.f32`` for ``add.rn.ftz.f32``. Operands are the destination and the sources in PTX's order. Rounding other than
to the nearest makes ``add.directed.f32``, with three numbers behind: the rounding (:data:`modifiers.ROUNDINGS`), .ftz
and .sat.
"""

from __future__ import annotations

from profiles.simulator.lowering.context import CARRY, Context, Lowered, lowers
from profiles.simulator.lowering.modifiers import HALVES, INTEGERS, ROUNDINGS, Modifiers, bits, operands
from profiles.simulator.ptx.syntax import Immediate, Instruction, Sink


def _named(*parts: str) -> str:
    return ".".join(part for part in parts if part)


@lowers("add", "sub")
def _add(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS, "u16x2", "s16x2", "f32", "f64", *HALVES)
    if type_name in INTEGERS:
        return _integer_sum(instruction, context, modifiers, type_name)
    if type_name in ("u16x2", "s16x2"):
        modifiers.finish()
        return Lowered(f"{instruction.root}.u16x2", operands(instruction, context, (type_name,) * 3))
    return _rounded(instruction, context, modifiers, type_name, sources=2)


def _integer_sum(instruction: Instruction, context: Context, modifiers: Modifiers, type_name: str) -> Lowered:
    saturating = type_name == "s32" and modifiers.has("sat")
    modifiers.finish()
    name = f"{instruction.root}.sat.s32" if saturating else f"{instruction.root}.{bits(type_name)}"
    return Lowered(name, operands(instruction, context, (type_name,) * 3))


def _float(
    instruction: Instruction, context: Context, modifiers: Modifiers, type_name: str, sources: int, root: str = ""
) -> Lowered:
    """An instruction of floats that all have one type and are not rounded, or always to the nearest."""
    name = root or instruction.root
    flags = modifiers.present(*_flags(name, type_name))
    modifiers.finish()
    return Lowered(_named(name, *flags, type_name), operands(instruction, context, (type_name,) * (1 + sources)))


def _rounded(
    instruction: Instruction, context: Context, modifiers: Modifiers, type_name: str, sources: int, root: str = ""
) -> Lowered:
    """Like :func:`_float`, with one of .rn .rz .rm .rp."""
    directed = ROUNDINGS[modifiers.take(*(ROUNDINGS if type_name in ("f32", "f64") else ("rn",))) or "rn"]
    if not directed:
        return _float(instruction, context, modifiers, type_name, sources, root)
    name = root or instruction.root
    flags = modifiers.present(*_flags(name, type_name))
    modifiers.finish()
    slots = operands(instruction, context, (type_name,) * (1 + sources))
    return Lowered(f"{name}.directed.{type_name}", (*slots, directed, int("ftz" in flags), int("sat" in flags)))


_SATURATING = ("add", "sub", "mul", "fma")


def _flags(root: str, type_name: str) -> tuple[str, ...]:
    """The modifiers that an operation may have, in the order of its name."""
    if root == "tanh" or type_name == "f64":
        return ("ftz",) if root in ("rcp.approx", "rsqrt.approx") else ()
    if type_name == "f32":
        return ("ftz", "sat") if root in _SATURATING else ("ftz",)
    relu = ("relu",) if root == "fma" else ()
    if type_name.startswith("bf16"):
        return ("ftz",) if root == "ex2" else relu
    if root == "ex2":
        return ()
    return ("ftz", "sat", *relu) if root in _SATURATING else ("ftz",)


@lowers("mul")
def _multiply(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS, "f32", "f64", *HALVES)
    if type_name in INTEGERS:
        return _integer_product(instruction, context, modifiers, type_name, (type_name, type_name))
    return _rounded(instruction, context, modifiers, type_name, sources=2)


@lowers("mad")
def _multiply_add(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS, "f32", "f64")
    if type_name in INTEGERS:
        return _integer_product(instruction, context, modifiers, type_name, (type_name,) * 3)
    return _rounded(instruction, context, modifiers, type_name, sources=3, root="fma")


def _integer_product(
    instruction: Instruction, context: Context, modifiers: Modifiers, type_name: str, sources: tuple[str, ...]
) -> Lowered:
    part = modifiers.need("the part of the product", "lo", "hi", "wide")
    saturating = instruction.root == "mad" and part == "hi" and type_name == "s32" and modifiers.has("sat")
    modifiers.finish()
    result = _twice(type_name, context) if part == "wide" else type_name
    slots = operands(instruction, context, (result, *sources[:2], *(result for _ in sources[2:])))
    kind = bits(type_name) if part == "lo" else type_name
    return Lowered(_named(instruction.root, part, "sat" if saturating else "", kind), slots)


def _twice(type_name: str, context: Context) -> str:
    if type_name.endswith("64"):
        context.fail("there is no integer with twice 64 bits")
    return type_name[0] + str(2 * int(type_name[1:]))


@lowers("fma")
def _fused(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", "f64", *HALVES)
    if {"sat", "relu"} <= set(instruction.parts):
        context.fail(".sat and .relu exclude each other")
    return _rounded(instruction, context, modifiers, type_name, sources=3)


@lowers("mul24", "mad24")
def _24_bits(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "s32")
    part = modifiers.need("the part of the product", "lo", "hi")
    saturating = instruction.root == "mad24" and part == "hi" and type_name == "s32" and modifiers.has("sat")
    modifiers.finish()
    count = 3 if instruction.root == "mul24" else 4
    name = _named(instruction.root, part, "sat" if saturating else "", type_name)
    return Lowered(name, operands(instruction, context, (type_name,) * count))


@lowers("sad")
def _absolute_difference(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS)
    modifiers.finish()
    return Lowered(f"sad.{type_name}", operands(instruction, context, (type_name,) * 4))


@lowers("rem")
def _remainder(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS)
    modifiers.finish()
    return Lowered(f"rem.{type_name}", operands(instruction, context, (type_name,) * 3))


@lowers("div")
def _divide(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS, "f32", "f64")
    if type_name in INTEGERS:
        modifiers.finish()
        return Lowered(f"div.{type_name}", operands(instruction, context, (type_name,) * 3))
    precision = modifiers.take("approx", "full") if type_name == "f32" else None
    if precision is None:
        return _rounded(instruction, context, modifiers, type_name, sources=2)
    # .full promises 2 ulp; the correctly rounded quotient is within.
    root = "div.approx" if precision == "approx" else "div"
    return _float(instruction, context, modifiers, type_name, sources=2, root=root)


@lowers("abs", "neg")
def _sign(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("s16", "s32", "s64", "f32", "f64", *HALVES)
    if type_name in INTEGERS:
        modifiers.finish()
        kind = bits(type_name) if instruction.root == "neg" else type_name
        return Lowered(f"{instruction.root}.{kind}", operands(instruction, context, (type_name,) * 2))
    return _float(instruction, context, modifiers, type_name, sources=1)


@lowers("min", "max")
def _extremum(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type(*INTEGERS, "u16x2", "s16x2", "f32", "f64", *HALVES)
    if type_name in INTEGERS or type_name in ("u16x2", "s16x2"):
        flags: tuple[str, ...] = modifiers.present("relu")
    else:
        flags = _float_extremum_flags(modifiers, context)
    modifiers.finish()
    return Lowered(_named(instruction.root, *flags, type_name), operands(instruction, context, (type_name,) * 3))


def _float_extremum_flags(modifiers: Modifiers, context: Context) -> tuple[str, ...]:
    flags = modifiers.present("NaN", "xorsign", "ftz")
    if modifiers.has("abs") != ("xorsign" in flags):
        context.fail(".xorsign and .abs belong together")
    return flags


@lowers("copysign")
def _copy_sign(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", "f64")
    modifiers.finish()
    return Lowered(f"copysign.{type_name}", operands(instruction, context, (type_name,) * 3))


@lowers("rcp", "sqrt")
def _root_or_reciprocal(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", "f64")
    if not modifiers.has("approx"):
        return _rounded(instruction, context, modifiers, type_name, sources=1)
    if type_name == "f32":  # the correctly rounded result is within what .approx promises
        return _float(instruction, context, modifiers, type_name, sources=1)
    if instruction.opcode != "rcp.approx.ftz.f64":
        context.fail("the approximation in f64 is rcp.approx.ftz.f64")
    return _float(instruction, context, modifiers, type_name, sources=1, root="rcp.approx")


@lowers("rsqrt")
def _reciprocal_root(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", "f64")
    modifiers.need("the precision", "approx")
    root = "rsqrt.approx" if type_name == "f64" and "ftz" in instruction.parts else "rsqrt"
    return _float(instruction, context, modifiers, type_name, sources=1, root=root)


@lowers("sin", "cos", "lg2")
def _approximation(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32")
    modifiers.need("the precision", "approx")
    return _float(instruction, context, modifiers, type_name, sources=1)


@lowers("ex2", "tanh")
def _half_approximation(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("f32", *HALVES)
    modifiers.need("the precision", "approx")
    return _float(instruction, context, modifiers, type_name, sources=1)


@lowers("addc", "subc", "madc")
def _with_carry(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "s32", "u64", "s64")
    return _carrying(instruction, context, modifiers, type_name)


@lowers("add.cc", "sub.cc", "mad.lo.cc", "mad.hi.cc")
def _starting_carry(instruction: Instruction, context: Context) -> Lowered:
    modifiers = Modifiers(instruction, context)
    type_name = modifiers.type("u32", "s32", "u64", "s64")
    return _carrying(instruction, context, modifiers, type_name)


def _carrying(instruction: Instruction, context: Context, modifiers: Modifiers, type_name: str) -> Lowered:
    """The operation "addc" and the like: carry in and whether it counts, carry out, destination, sources."""
    root = instruction.root.removesuffix("c") + "c"
    multiplied = root == "madc"
    part = modifiers.need("the part of the product", "lo", "hi") if multiplied else ""
    starts = not instruction.root.endswith("c")
    ends = modifiers.has("cc")
    modifiers.finish()
    slots = operands(instruction, context, (type_name,) * (4 if multiplied else 3))
    carry_in = context.read(Immediate(0, "0") if starts else CARRY, "pred")
    carry_out = context.write(CARRY if ends else Sink(), "pred")
    kind = type_name if part == "hi" else bits(type_name)
    return Lowered(_named(root, part, kind), (*slots, carry_in, carry_out))
