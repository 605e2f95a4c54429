"""Bulk and tensor copies of Hopper (TMA).

Operations and their operands, in order. "s" is the slot of a register or constant, "n" a number; a shared address is
three operands, a global address two (:mod:`.addresses`); a tensor is n rank, the global address of its map, and s each
coordinate. In brackets: with .multicast::cluster.

=================================== =============================================================================
operation                           operands
=================================== =============================================================================
cp.async.bulk.load                  shared destination, shared mbarrier, s bytes, global source, [s mask of blocks]
cp.async.bulk.copy                  shared destination, shared mbarrier, s bytes, shared source
cp.async.bulk.store                 global destination, s bytes, shared source
cp.reduce.async.bulk.shared         n reduction, n type, then as cp.async.bulk.copy
cp.reduce.async.bulk.global         n reduction, n type, then as cp.async.bulk.store
cp.async.bulk.tensor.load           tensor, shared destination, shared mbarrier, [s mask of blocks]
cp.async.bulk.tensor.store          tensor, shared source
cp.reduce.async.bulk.tensor         n reduction, tensor, shared source
cp.async.bulk.commit_group          none
cp.async.bulk.wait_group[.read]     n groups that may still be under way
=================================== =============================================================================
"""

from __future__ import annotations

from profiles.simulator.lowering.addresses import global_address, shared_address
from profiles.simulator.lowering.context import Context, Lowered, lowers
from profiles.simulator.lowering.modifiers import Modifiers
from profiles.simulator.ptx.syntax import Address, Immediate, Instruction, Operand

# The order is that of the enumerations in the run-time's bulk_reduce.h.
_REDUCTIONS = ("add", "min", "max", "inc", "dec", "and", "or", "xor")
_REDUCED_TYPES = ("u32", "s32", "u64", "s64", "f16", "bf16", "f32", "f64")
_BIT_TYPES = {"b32": "u32", "b64": "u64"}

_COMPLETION = "mbarrier::complete_tx::bytes"
_MULTICAST = "multicast::cluster"
_CACHE_HINT = "L2::cache_hint"
_SHARED = ("shared::cluster", "shared::cta")
_RANKS = {f"{rank}d": rank for rank in range(1, 6)}


@lowers("cp.async.bulk")
def lower_bulk_copy(instruction: Instruction, context: Context) -> Lowered:
    """All of ``cp.async.bulk``: copies, tensor copies, prefetches and groups."""
    modifiers = Modifiers(instruction, context)
    for part in ("async", "bulk"):
        modifiers.need("its name", part)
    operands = _without_policy(instruction, modifiers)
    if modifiers.has("prefetch"):
        modifiers.present("tensor", *_RANKS, "L2", "global", "tile")
        modifiers.finish()
        return Lowered("nop")  # into the L2 cache: no effect on values
    if modifiers.has("commit_group"):
        modifiers.finish()
        return Lowered("cp.async.bulk.commit_group")
    if modifiers.has("wait_group"):
        return _wait(operands, modifiers, context)
    if modifiers.has("tensor"):
        return _tensor_copy(operands, modifiers, context)
    return _copy(operands, modifiers, context)


@lowers("cp.reduce.async")
def lower_bulk_reduction(instruction: Instruction, context: Context) -> Lowered:
    """``cp.reduce.async.bulk`` and ``cp.reduce.async.bulk.tensor``."""
    modifiers = Modifiers(instruction, context)
    for part in ("reduce", "async", "bulk"):
        modifiers.need("its name", part)
    operands = _without_policy(instruction, modifiers)
    is_tensor = modifiers.has("tensor")
    reduction = _REDUCTIONS.index(modifiers.need("a reduction", *_REDUCTIONS))
    if is_tensor:
        tensor_store = _tensor_store(operands, modifiers, context)
        return Lowered("cp.reduce.async.bulk.tensor", (reduction, *tensor_store))
    modifiers.has("noftz")  # f16 and bf16 keep subnormal numbers here
    type_name = modifiers.type(*_REDUCED_TYPES, *_BIT_TYPES)
    kind = (reduction, _REDUCED_TYPES.index(_BIT_TYPES.get(type_name, type_name)))
    if modifiers.has("bulk_group"):
        return Lowered("cp.reduce.async.bulk.global", (*kind, *_store(operands, modifiers, context)))
    return Lowered("cp.reduce.async.bulk.shared", (*kind, *_copy_between_blocks(operands, modifiers, context)))


@lowers("prefetch.tensormap")
def lower_map_prefetch(instruction: Instruction, context: Context) -> Lowered:
    """``prefetch.tensormap [map]``: no effect on values."""
    if instruction.opcode != "prefetch.tensormap":
        context.fail("only prefetch.tensormap is known")
    return Lowered("nop")


@lowers("tensormap")
def lower_map_change(instruction: Instruction, context: Context) -> Lowered:
    """``tensormap.replace`` and ``tensormap.cp_fenceproxy``: the bytes of a tensor map are the driver's secret."""
    del instruction
    context.fail("tensor maps that a kernel changes are not simulated; make one with cuTensorMapEncodeTiled")


def _wait(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> Lowered:
    read = modifiers.has("read")
    modifiers.finish()
    if len(operands) != 1 or not isinstance(operands[0], Immediate) or not isinstance(operands[0].value, int):
        context.fail("a literal number of groups is expected")
    return Lowered("cp.async.bulk.wait_group" + (".read" if read else ""), (operands[0].value,))


def _copy(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> Lowered:
    if modifiers.has("bulk_group"):
        return Lowered("cp.async.bulk.store", _store(operands, modifiers, context))
    if not modifiers.has("global"):
        return Lowered("cp.async.bulk.copy", _copy_between_blocks(operands, modifiers, context))
    space = modifiers.need("the destination", *_SHARED)
    multicast = _completes_on_mbarrier(modifiers)
    modifiers.finish()
    destination, source, size, barrier, *mask = _exactly(operands, 5 if multicast else 4, context)
    slots = (
        *shared_address(destination, space, context),
        *shared_address(barrier, space, context),
        context.read(size, "u32"),
        *global_address(source, context),
        *(context.read(blocks, "u16") for blocks in mask),
    )
    return Lowered("cp.async.bulk.load", slots)


def _copy_between_blocks(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> tuple[int, ...]:
    space = modifiers.need("the destination", "shared::cluster")
    own = modifiers.need("the source", "shared::cta")
    modifiers.need("how it completes", _COMPLETION)
    modifiers.finish()
    destination, source, size, barrier = _exactly(operands, 4, context)
    return (
        *shared_address(destination, space, context),
        *shared_address(barrier, space, context),
        context.read(size, "u32"),
        *shared_address(source, own, context),
    )


def _store(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> tuple[int, ...]:
    modifiers.need("the destination", "global")
    space = modifiers.need("the source", "shared::cta")
    modifiers.finish()
    destination, source, size = _exactly(operands, 3, context)
    return (
        *global_address(destination, context),
        context.read(size, "u32"),
        *shared_address(source, space, context),
    )


def _tensor_copy(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> Lowered:
    if modifiers.has("bulk_group"):
        return Lowered("cp.async.bulk.tensor.store", _tensor_store(operands, modifiers, context))
    rank = _tile_rank(modifiers)
    modifiers.need("the source", "global")
    space = modifiers.need("the destination", *_SHARED)
    multicast = _completes_on_mbarrier(modifiers)
    modifiers.finish()
    destination, tensor, barrier, *mask = _exactly(operands, 4 if multicast else 3, context)
    slots = (
        *_tensor(tensor, rank, context),
        *shared_address(destination, space, context),
        *shared_address(barrier, space, context),
        *(context.read(blocks, "u16") for blocks in mask),
    )
    return Lowered("cp.async.bulk.tensor.load", slots)


def _tensor_store(operands: tuple[Operand, ...], modifiers: Modifiers, context: Context) -> tuple[int, ...]:
    rank = _tile_rank(modifiers)
    modifiers.has("bulk_group")
    modifiers.need("the destination", "global")
    space = modifiers.need("the source", "shared::cta")
    modifiers.finish()
    tensor, source = _exactly(operands, 2, context)
    return (*_tensor(tensor, rank, context), *shared_address(source, space, context))


def _tile_rank(modifiers: Modifiers) -> int:
    rank = _RANKS[modifiers.need("the number of dimensions", *_RANKS)]
    modifiers.has("tile")  # what it is without im2col or another mode
    return rank


def _tensor(operand: Operand, rank: int, context: Context) -> tuple[int, ...]:
    if not isinstance(operand, Address) or operand.coordinates is None:
        context.fail("a tensor map and coordinates in brackets are expected")
    if len(operand.coordinates) != rank:
        context.fail(f"{len(operand.coordinates)} coordinates for {rank} dimensions")
    coordinates = (context.read(coordinate, "s32") for coordinate in operand.coordinates)
    return (rank, *global_address(operand, context), *coordinates)


def _completes_on_mbarrier(modifiers: Modifiers) -> bool:
    """Whether the load goes to several blocks of the cluster."""
    modifiers.need("how it completes", _COMPLETION)
    return modifiers.has(_MULTICAST)


def _without_policy(instruction: Instruction, modifiers: Modifiers) -> tuple[Operand, ...]:
    """The operands but for the cache policy at the end."""
    return instruction.operands[:-1] if modifiers.has(_CACHE_HINT) else instruction.operands


def _exactly(operands: tuple[Operand, ...], count: int, context: Context) -> tuple[Operand, ...]:
    if len(operands) != count:
        context.fail(f"{len(operands)} operands where {count} are expected")
    return operands
