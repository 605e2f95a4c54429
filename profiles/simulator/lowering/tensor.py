"""The tensor path of Ampere: cp.async, ldmatrix, stmatrix, movmatrix and mma.sync.

Operations and their operands, in order. "s" is the slot of a register or constant, "p" that of a predicate, "n" a
number; a shared address is three operands, a global address two (:mod:`.addresses`).

=============================================== =================================================================
operation                                       operands
=============================================== =================================================================
cp.async                                        shared address, global address, n bytes written, s bytes read
cp.async.ignore                                 the same, p read nothing, n 1 if p is negated
cp.async.commit_group, cp.async.wait_all        none
cp.async.wait_group                             n groups that may still be under way
cp.async.mbarrier.arrive[.noinc]                shared address
ldmatrix.x{1,2,4}[.trans]                       s destination of each matrix, shared address
stmatrix.x{1,2,4}[.trans]                       shared address, s source of each matrix
movmatrix.trans                                 s destination, s source
mma.SHAPE.D.A.B[.satfinite]                     s registers of D, A, B, C in the order of PTX; C has the type of D
=============================================== =================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.simulator.lowering.addresses import global_address, shared_address
from profiles.simulator.lowering.context import Context, Lowered, lowers, read_predicate
from profiles.simulator.ptx.syntax import Immediate, Instruction, Negated, Operand, Register, Vector

_SHARED_SPACES = {"shared", "shared::cta"}

# Caching, and how much of a line to fetch with it: no effect on values.
_COPY_HINTS = {"L2::cache_hint", "L2::64B", "L2::128B", "L2::256B"}
_COPY_BYTES = {"ca": (4, 8, 16), "cg": (16,)}

_WORD = "b32"
_MATRICES = {"x1": 1, "x2": 2, "x4": 4}


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many registers of a lane hold each fragment."""

    a: int
    b: int
    sums: int  # of C or D, if a register holds one number


_M8 = _Shape(a=1, b=1, sums=2)
_M16_SHORT = _Shape(a=2, b=1, sums=4)
_M16_LONG = _Shape(a=4, b=2, sums=4)

_FLOAT8 = {"e4m3", "e5m2"}
_INTEGER8 = {"s8", "u8"}
_INTEGER4 = {"s4", "u4"}

# By the types of A and B: the shapes that are known, and the types of C and D. PTX ISA, "Matrix shape".
_MMA_FORMS: tuple[tuple[set[str], dict[str, _Shape], set[str]], ...] = (
    ({"f16"}, {"m16n8k8": _M16_SHORT, "m16n8k16": _M16_LONG}, {"f32", "f16"}),
    ({"bf16"}, {"m16n8k8": _M16_SHORT, "m16n8k16": _M16_LONG}, {"f32"}),
    ({"tf32"}, {"m16n8k4": _M16_SHORT, "m16n8k8": _M16_LONG}, {"f32"}),
    (_FLOAT8, {"m16n8k16": _M16_SHORT, "m16n8k32": _M16_LONG}, {"f32", "f16"}),
    (_INTEGER8, {"m8n8k16": _M8, "m16n8k16": _M16_SHORT, "m16n8k32": _M16_LONG}, {"s32"}),
    (_INTEGER4, {"m8n8k32": _M8, "m16n8k32": _M16_SHORT, "m16n8k64": _M16_LONG}, {"s32"}),
    ({"f64"}, {"m8n8k4": _M8}, {"f64"}),
)


@lowers("cp.async")
def lower_async_copy(instruction: Instruction, context: Context) -> Lowered:
    """``cp.async.{ca,cg}.shared.global [target], [source], bytes{, read-bytes | ignore}{, cache-policy}``."""
    parts, operands = instruction.parts, instruction.operands
    cache, space = (*parts[2:4], "", "")[:2]
    if cache not in _COPY_BYTES or space not in _SHARED_SPACES or parts[4:5] != ("global",):
        context.fail("of cp.async, only .ca and .cg from .global to .shared are known")
    hints = _no_more_than(_COPY_HINTS, parts[5:], context)
    if "L2::cache_hint" in hints:
        operands = operands[:-1]
    if len(operands) not in (3, 4):
        context.fail("cp.async has two addresses, a size and at most one more operand")
    size = _number(operands[2], context)
    if size not in _COPY_BYTES[cache]:
        context.fail(f"cp.async.{cache} copies {' or '.join(map(str, _COPY_BYTES[cache]))} bytes, not {size}")
    addresses = (*shared_address(operands[0], space, context), *global_address(operands[1], context), size)
    if len(operands) == 4 and _is_predicate(operands[3], context):
        whole = context.read(operands[2], "u32")
        return Lowered("cp.async.ignore", (*addresses, whole, *read_predicate(operands[3], context)))
    return Lowered("cp.async", (*addresses, context.read(operands[-1], "u32")))


@lowers("cp.async.commit_group", "cp.async.wait_all")
def lower_copy_groups(instruction: Instruction, context: Context) -> Lowered:
    """``cp.async.commit_group`` and ``cp.async.wait_all``."""
    if len(instruction.parts) != 3 or instruction.operands:
        context.fail("it has neither modifiers nor operands")
    return Lowered(instruction.opcode)


@lowers("cp.async.wait_group")
def lower_wait_for_group(instruction: Instruction, context: Context) -> Lowered:
    """``cp.async.wait_group pending``."""
    if len(instruction.parts) != 3 or len(instruction.operands) != 1:
        context.fail("it has no modifiers and one operand, a number")
    pending = _number(instruction.operands[0], context)
    if pending < 0:
        context.fail("the number of groups cannot be negative")
    return Lowered("cp.async.wait_group", (pending,))


@lowers("cp.async.mbarrier")
def lower_arrival_of_copies(instruction: Instruction, context: Context) -> Lowered:
    """``cp.async.mbarrier.arrive{.noinc}{.shared}.b64 [mbarrier]``."""
    parts = instruction.parts
    if parts[3:4] != ("arrive",) or parts[-1] != "b64" or len(instruction.operands) != 1:
        context.fail("only cp.async.mbarrier.arrive{.noinc}{.shared}.b64 [mbarrier] is known")
    modifiers = _no_more_than({"noinc", *_SHARED_SPACES}, parts[4:-1], context)
    space = next((part for part in modifiers if part in _SHARED_SPACES), None)
    name = "cp.async.mbarrier.arrive" + (".noinc" if "noinc" in modifiers else "")
    return Lowered(name, shared_address(instruction.operands[0], space, context))


@lowers("ldmatrix", "stmatrix")
def lower_matrix_access(instruction: Instruction, context: Context) -> Lowered:
    """``ldmatrix.sync.aligned.m8n8.xN{.trans}{.shared}.b16 {d...}, [address]``; ``stmatrix ... [address], {s...}``."""
    parts = instruction.parts
    if parts[1:4] != ("sync", "aligned", "m8n8") or parts[-1] != "b16" or parts[4] not in _MATRICES:
        context.fail(f"of {instruction.root}, only .sync.aligned.m8n8 with .x1, .x2 or .x4 and .b16 is known")
    count = _MATRICES[parts[4]]
    modifiers = _no_more_than({"trans", *_SHARED_SPACES}, parts[5:-1], context)
    space = next((part for part in modifiers if part in _SHARED_SPACES), None)
    name = f"{instruction.root}.{parts[4]}" + (".trans" if "trans" in modifiers else "")
    if len(instruction.operands) != 2:
        context.fail("it has two operands: registers and an address")
    if instruction.root == "ldmatrix":
        registers, address = instruction.operands
        return Lowered(name, (*_written(registers, count, context), *shared_address(address, space, context)))
    address, registers = instruction.operands
    return Lowered(name, (*shared_address(address, space, context), *_words(registers, count, _WORD, context)))


@lowers("movmatrix")
def lower_matrix_transpose(instruction: Instruction, context: Context) -> Lowered:
    """``movmatrix.sync.aligned.m8n8.trans.b16 d, a``."""
    if instruction.opcode != "movmatrix.sync.aligned.m8n8.trans.b16" or len(instruction.operands) != 2:
        context.fail("only movmatrix.sync.aligned.m8n8.trans.b16 with two registers is known")
    target, source = instruction.operands
    slot = context.read(source, _WORD)
    return Lowered("movmatrix.trans", (context.write(target, _WORD), slot))


@lowers("mma")
def lower_product(instruction: Instruction, context: Context) -> Lowered:
    """``mma.sync.aligned.SHAPE.row.col{.satfinite}.D.A.B.C d, a, b, c``."""
    parts = instruction.parts
    is_plain = parts[1:3] == ("sync", "aligned") and parts[4:6] == ("row", "col") and "popc" not in parts
    if not is_plain or len(parts) < 10:
        context.fail(
            "of mma, only mma.sync.aligned.SHAPE.row.col{.satfinite}.D.A.B.C is known: "
            "neither sparse, nor scaled, nor one-bit products"
        )
    shape_name, modifiers = parts[3], parts[6:-4]
    d_type, a_type, b_type, c_type = parts[-4:]
    shape = _product_shape(shape_name, parts[-4:], context)
    clamp = "satfinite" in _no_more_than({"satfinite"} if d_type == "s32" else set(), modifiers, context)
    if len(instruction.operands) != 4:
        context.fail("mma has four operands: D, A, B and C")
    d, a, b, c = instruction.operands
    sums = shape.sums // 2 if c_type == "f16" else shape.sums
    word = "b64" if a_type == "f64" else _WORD
    sources = (
        *_words(a, shape.a, word, context),
        *_words(b, shape.b, word, context),
        *_words(c, sums, word, context),
    )
    name = f"mma.{shape_name}.{d_type}.{a_type}.{b_type}" + (".satfinite" if clamp else "")
    return Lowered(name, (*_written(d, sums, context, word), *sources))


@lowers("wmma")
def lower_opaque_product(instruction: Instruction, context: Context) -> Lowered:
    """``wmma.*``: PTX leaves open which element a register holds."""
    del instruction
    context.fail("wmma leaves the layout of fragments to the hardware; use ldmatrix and mma.sync instead")


def _product_shape(name: str, types: Sequence[str], context: Context) -> _Shape:
    d_type, a_type, b_type, c_type = types
    for factors, shapes, sums in _MMA_FORMS:
        if a_type in factors and b_type in factors and d_type in sums:
            if name not in shapes or c_type != d_type:
                break
            return shapes[name]
    return context.fail(f"a product of shape {name} with the types {', '.join(types)} of D, A, B, C is not known")


def _no_more_than(known: set[str], modifiers: Sequence[str], context: Context) -> Sequence[str]:
    for modifier in modifiers:
        if modifier not in known:
            context.fail(f"the modifier .{modifier} is not known here")
    return modifiers


def _elements(operand: Operand, count: int, context: Context) -> tuple[Operand, ...]:
    elements = operand.elements if isinstance(operand, Vector) else (operand,)
    if len(elements) != count:
        context.fail(f"a fragment has {count} registers here, not {len(elements)}")
    return elements


def _words(operand: Operand, count: int, type_name: str, context: Context) -> tuple[int, ...]:
    return tuple(context.read(element, type_name) for element in _elements(operand, count, context))


def _written(operand: Operand, count: int, context: Context, type_name: str = _WORD) -> tuple[int, ...]:
    return tuple(context.write(element, type_name) for element in _elements(operand, count, context))


def _number(operand: Operand, context: Context) -> int:
    if not isinstance(operand, Immediate) or not isinstance(operand.value, int):
        context.fail("a literal integer is expected here")
    return operand.value


def _is_predicate(operand: Operand, context: Context) -> bool:
    if isinstance(operand, Negated):
        return True
    return isinstance(operand, Register) and context.register_type(operand) == "pred"
