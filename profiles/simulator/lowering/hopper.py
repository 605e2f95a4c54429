"""Hopper's synchronisation and products: mbarrier, barrier.cluster, proxy fences, wgmma.

Operations and their operands, in order. "s" is the slot of a register or constant, "p" that of a predicate, "n" a
number; a shared address is three operands (:mod:`.addresses`).

=============================================== =================================================================
operation                                       operands
=============================================== =================================================================
mbarrier.init                                   shared address, s count
mbarrier.inval                                  shared address
mbarrier.expect_tx, mbarrier.complete_tx        shared address, s bytes
mbarrier.arrive[.relaxed]                       s destination (state), shared address, s count
mbarrier.arrive.noComplete                      the same
mbarrier.arrive.expect_tx[.relaxed]             s destination (state), shared address, s bytes
mbarrier.arrive_drop...                         as mbarrier.arrive
mbarrier.wait[.relaxed]                         p destination, shared address, s state
mbarrier.wait.parity[.relaxed]                  p destination, shared address, s parity
mbarrier.pending_count                          s destination, s state
barrier.cluster.arrive[.relaxed][.aligned]      none
barrier.cluster.wait[.aligned]                  none
fence.proxy.async, fence.mbarrier_init          none
setmaxnreg                                      none
wgmma.fence, wgmma.commit_group                 none
wgmma.wait_group                                n groups that may still be under way
wgmma.D.A.B[.satfinite].ss                      n columns, p scale-d, n 1 if that is negated, n sign of the product,
                                                n 1 if A is M-major, n 1 if B is N-major, s descriptor of B,
                                                s descriptor of A, then s each register of D
wgmma.D.A.B[.satfinite].rs                      the same, with four s registers of A instead of its descriptor
=============================================== =================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from profiles.simulator.lowering.addresses import SHARED_SPACES, shared_address
from profiles.simulator.lowering.context import Context, Lowered, lowers, read_predicate
from profiles.simulator.lowering.modifiers import Modifiers
from profiles.simulator.ptx.syntax import Immediate, Instruction, Operand, Vector

_SCOPES = ("cta", "cluster")
_ONE = Immediate(1, "1")


# --- mbarrier ---


@lowers("mbarrier.init", "mbarrier.inval")
def lower_mbarrier_object(instruction: Instruction, context: Context) -> Lowered:
    """``mbarrier.init.b64 [address], count`` and ``mbarrier.inval.b64 [address]``."""
    kind, modifiers, space = _mbarrier(instruction, context)
    modifiers.finish()
    address, *count = _operands(instruction, context, 2 if kind == "init" else 1)
    slots = [context.read(number, "u32") for number in count]
    return Lowered(f"mbarrier.{kind}", (*shared_address(address, space, context), *slots))


@lowers("mbarrier.expect_tx", "mbarrier.complete_tx")
def lower_mbarrier_transactions(instruction: Instruction, context: Context) -> Lowered:
    """``mbarrier.expect_tx{.relaxed.scope}{.space}.b64 [address], bytes``."""
    kind, modifiers, space = _mbarrier(instruction, context)
    modifiers.present("relaxed", *_SCOPES)  # the only order there is
    modifiers.finish()
    address, count = _operands(instruction, context, 2)
    return Lowered(f"mbarrier.{kind}", (*shared_address(address, space, context), context.read(count, "u32")))


@lowers("mbarrier.arrive", "mbarrier.arrive_drop")
def lower_mbarrier_arrival(instruction: Instruction, context: Context) -> Lowered:
    """``mbarrier.arrive{.expect_tx | .noComplete}{.order.scope}{.space}.b64 state, [address]{, count}``."""
    kind, modifiers, space = _mbarrier(instruction, context)
    form = modifiers.take("expect_tx", "noComplete")
    order = modifiers.take("release", "relaxed")
    modifiers.present(*_SCOPES)
    modifiers.finish()
    if form is None:
        state, address, *number = _operands(instruction, context, 2, 3)
    else:
        state, address, *number = _operands(instruction, context, 3)
    name = ".".join(filter(None, ("mbarrier", kind, form, "relaxed" if order == "relaxed" else None)))
    count = context.read(number[0] if number else _ONE, "u32")
    place = shared_address(address, space, context)
    return Lowered(name, (context.write(state, "b64"), *place, count))


@lowers("mbarrier.test_wait", "mbarrier.try_wait")
def lower_mbarrier_wait(instruction: Instruction, context: Context) -> Lowered:
    """``mbarrier.{test,try}_wait{.parity}{.order.scope}{.space}.b64 done, [address], {state,parity}{, time}``."""
    kind, modifiers, space = _mbarrier(instruction, context)
    by_parity = modifiers.has("parity")
    order = modifiers.take("acquire", "relaxed")
    modifiers.present(*_SCOPES)
    modifiers.finish()
    # The longest time to wait in nanoseconds, as a hint, may follow.
    done, address, phase, *_ = _operands(instruction, context, 3, 4 if kind == "try_wait" else 3)
    name = "mbarrier.wait" + (".parity" if by_parity else "") + (".relaxed" if order == "relaxed" else "")
    slot = context.read(phase, "u32" if by_parity else "b64")
    place = shared_address(address, space, context)
    return Lowered(name, (context.write(done, "pred"), *place, slot))


@lowers("mbarrier.pending_count")
def lower_mbarrier_pending_count(instruction: Instruction, context: Context) -> Lowered:
    """``mbarrier.pending_count.b64 count, state``."""
    _, modifiers, _ = _mbarrier(instruction, context)
    modifiers.finish()
    count, state = _operands(instruction, context, 2)
    slot = context.read(state, "b64")
    return Lowered("mbarrier.pending_count", (context.write(count, "u32"), slot))


def _mbarrier(instruction: Instruction, context: Context) -> tuple[str, Modifiers, str | None]:
    """What follows "mbarrier.", the modifiers behind it, and the state space (None: generic)."""
    modifiers = Modifiers(instruction, context)
    modifiers.type("b64")
    kind = modifiers.need("an operation", instruction.parts[1])
    return kind, modifiers, modifiers.take(*SHARED_SPACES)


# --- clusters, proxies, resources ---


@lowers("barrier.cluster")
def lower_cluster_barrier(instruction: Instruction, context: Context) -> Lowered:
    """``barrier.cluster.arrive{.release,.relaxed}{.aligned}`` and ``barrier.cluster.wait{.acquire}{.aligned}``."""
    modifiers = Modifiers(instruction, context)
    modifiers.need("a scope", "cluster")
    kind = modifiers.need("an operation", "arrive", "wait")
    order = modifiers.take("release", "relaxed") if kind == "arrive" else modifiers.take("acquire")
    aligned = modifiers.take("aligned")
    modifiers.finish()
    _operands(instruction, context, 0)
    relaxed = "relaxed" if order == "relaxed" else None
    return Lowered(".".join(filter(None, ("barrier.cluster", kind, relaxed, aligned))))


@lowers("fence.proxy")
def lower_proxy_fence(instruction: Instruction, context: Context) -> Lowered:
    """``fence.proxy.async{.space}``; of the other proxies, none has a state of its own here."""
    modifiers = Modifiers(instruction, context)
    modifiers.need("a proxy", "proxy")
    proxy = modifiers.need("a proxy", "async", "alias", "tensormap::generic")
    if proxy == "async":
        modifiers.take("global", *SHARED_SPACES)
    if proxy == "tensormap::generic":
        modifiers.present("release", "acquire", "cta", "cluster", "gpu", "sys")
    modifiers.finish()
    return Lowered("fence.proxy.async" if proxy == "async" else "nop")


@lowers("fence.mbarrier_init")
def lower_mbarrier_fence(instruction: Instruction, context: Context) -> Lowered:
    """``fence.mbarrier_init.release.cluster``."""
    if instruction.opcode != "fence.mbarrier_init.release.cluster":
        context.fail("only fence.mbarrier_init.release.cluster is known")
    return Lowered("fence.mbarrier_init")


@lowers("setmaxnreg")
def lower_register_limit(instruction: Instruction, context: Context) -> Lowered:
    """``setmaxnreg.{inc,dec}.sync.aligned.u32 count``: registers are no resource here."""
    modifiers = Modifiers(instruction, context)
    modifiers.type("u32")
    modifiers.need("a direction", "inc", "dec")
    _need_aligned(modifiers)
    modifiers.finish()
    (operand,) = _operands(instruction, context, 1)
    count = _number(operand, context)
    if count % 8 or not 24 <= count <= 256:
        context.fail(f"{count} registers: expected a multiple of 8 from 24 to 256")
    return Lowered("setmaxnreg")


@lowers("griddepcontrol")
def lower_grid_dependency(instruction: Instruction, context: Context) -> Lowered:
    """``griddepcontrol.{launch_dependents,wait}``: launches follow each other here."""
    modifiers = Modifiers(instruction, context)
    modifiers.need("an operation", "launch_dependents", "wait")
    modifiers.finish()
    return Lowered("nop")


# --- wgmma ---

_FLOAT8 = ("e4m3", "e5m2")
_INTEGER8 = ("s8", "u8")
_COLUMNS = tuple(range(8, 257, 8))
_INTEGER_COLUMNS = (8, 16, 24, *range(32, 257, 16))


@dataclass(frozen=True, slots=True)
class _Products:
    """What the types of A and B decide. PTX ISA, "wgmma.mma_async"."""

    types: tuple[str, ...]  # of A and B
    depth: int  # K
    sums: tuple[str, ...]  # types of D
    columns: tuple[int, ...] = _COLUMNS
    signed: bool = True  # has the operands imm-scale-a and imm-scale-b
    transposed: bool = False  # has imm-trans-a and imm-trans-b


_PRODUCTS = (
    _Products(("f16",), 16, ("f16", "f32"), transposed=True),
    _Products(("bf16",), 16, ("f32",), transposed=True),
    _Products(("tf32",), 8, ("f32",)),
    _Products(_FLOAT8, 32, ("f16", "f32")),
    _Products(_INTEGER8, 32, ("s32",), columns=_INTEGER_COLUMNS, signed=False),
)
_SHAPE = re.compile(r"m64n(\d+)k(\d+)")
_ELEMENT_TYPES = ("f16", "f32", "bf16", "tf32", *_FLOAT8, "s32", *_INTEGER8)
_REGISTERS_OF_A = 4


@lowers("wgmma.fence", "wgmma.commit_group")
def lower_wgmma_order(instruction: Instruction, context: Context) -> Lowered:
    """``wgmma.fence.sync.aligned`` and ``wgmma.commit_group.sync.aligned``."""
    modifiers = Modifiers(instruction, context)
    kind = modifiers.need("an operation", "fence", "commit_group")
    _need_aligned(modifiers)
    modifiers.finish()
    _operands(instruction, context, 0)
    return Lowered(f"wgmma.{kind}")


@lowers("wgmma.wait_group")
def lower_wgmma_wait(instruction: Instruction, context: Context) -> Lowered:
    """``wgmma.wait_group.sync.aligned groups``."""
    modifiers = Modifiers(instruction, context)
    modifiers.need("an operation", "wait_group")
    _need_aligned(modifiers)
    modifiers.finish()
    (groups,) = _operands(instruction, context, 1)
    return Lowered("wgmma.wait_group", (_number(groups, context),))


@lowers("wgmma.mma_async")
def lower_wgmma_product(instruction: Instruction, context: Context) -> Lowered:
    """``wgmma.mma_async.sync.aligned.m64nNkK.D.A.B{.satfinite} d, a, b-descriptor, scale-d, ...``."""
    modifiers = Modifiers(instruction, context)
    modifiers.need("an operation", "mma_async")
    _need_aligned(modifiers)
    columns, depth = _shape(instruction, modifiers, context)
    clamp = modifiers.take("satfinite")
    types = [modifiers.need("the types of D, A and B", *_ELEMENT_TYPES) for _ in range(3)]
    modifiers.finish()
    products = _products(types, columns, depth, context)
    if clamp and products.sums != ("s32",):
        context.fail(".satfinite is for sums of integers")
    d, a, b, scale_d, *rest = _operands(instruction, context, *_operand_counts(instruction, products))
    name = ".".join(filter(None, ("wgmma", *types, clamp, "rs" if isinstance(a, Vector) else "ss")))
    scale = read_predicate(scale_d, context)
    signs = _signs(rest, isinstance(a, Vector), products, context)
    factors = (context.read(b, "b64"), *_factor_a(a, context))
    return Lowered(name, (columns, *scale, *signs, *factors, *_sums(d, columns, types[0], context)))


def _shape(instruction: Instruction, modifiers: Modifiers, context: Context) -> tuple[int, int]:
    part = next((part for part in instruction.parts if part.startswith("m64n")), "")
    found = _SHAPE.fullmatch(part)
    if found is None:
        context.fail("the opcode needs a shape m64nNkK; sparse products are not known")
    modifiers.has(part)
    return int(found[1]), int(found[2])


def _products(types: list[str], columns: int, depth: int, context: Context) -> _Products:
    d, a, b = types
    known = [item for item in _PRODUCTS if a in item.types and b in item.types and d in item.sums]
    if not known:
        context.fail(f"products of {a} and {b} in {d} are not known")
    if depth != known[0].depth or columns not in known[0].columns:
        context.fail(f"there is no shape m64n{columns}k{depth} for these types")
    return known[0]


def _operand_counts(instruction: Instruction, products: _Products) -> tuple[int]:
    from_registers = len(instruction.operands) > 1 and isinstance(instruction.operands[1], Vector)
    transposes = 0 if not products.transposed else 1 if from_registers else 2
    return (4 + (2 if products.signed else 0) + transposes,)


def _signs(rest: list[Operand], from_registers: bool, products: _Products, context: Context) -> tuple[int, int, int]:
    """Sign of the product, 1 if A is M-major, 1 if B is N-major."""
    numbers = [_number(operand, context) for operand in rest]
    scales = numbers[:2] if products.signed else [1, 1]
    majors = numbers[2:] if products.transposed else [0, 0]
    if products.transposed and from_registers:
        majors = [0, *majors]
    if any(scale not in (1, -1) for scale in scales) or any(major not in (0, 1) for major in majors):
        context.fail("expected 1 or -1 for imm-scale-a and -b, and 0 or 1 for imm-trans-a and -b")
    return scales[0] * scales[1], majors[0], majors[1]


def _factor_a(operand: Operand, context: Context) -> tuple[int, ...]:
    if not isinstance(operand, Vector):
        return (context.read(operand, "b64"),)
    if len(operand.elements) != _REGISTERS_OF_A:
        context.fail(f"A has {len(operand.elements)} registers; expected {_REGISTERS_OF_A}")
    return tuple(context.read(element, "b32") for element in operand.elements)


def _sums(operand: Operand, columns: int, type_name: str, context: Context) -> tuple[int, ...]:
    expected = columns // (4 if type_name == "f16" else 2)
    if not isinstance(operand, Vector) or len(operand.elements) != expected:
        context.fail(f"D must be a vector of {expected} registers")
    return tuple(context.update(element, "b32") for element in operand.elements)


# --- operands ---


def _need_aligned(modifiers: Modifiers) -> None:
    modifiers.need(".sync", "sync")
    modifiers.need(".aligned", "aligned")


def _operands(instruction: Instruction, context: Context, *counts: int) -> tuple[Operand, ...]:
    if len(instruction.operands) not in counts:
        expected = " or ".join(map(str, counts))
        context.fail(f"{len(instruction.operands)} operands where {expected} are expected")
    return instruction.operands


def _number(operand: Operand, context: Context) -> int:
    if not isinstance(operand, Immediate) or not isinstance(operand.value, int):
        context.fail("a literal number is expected")
    return operand.value
