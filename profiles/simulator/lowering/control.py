"""Control flow, barriers and collectives of a warp.

Operations and their operands, in order. "s" is the slot of a 32-bit register (or constant), "p" that of a predicate,
"n" a number. A predicate that may be written negated is followed by n = 1 if it is, else 0. Operands in brackets are
there or not: ask for the operand count.

=========================================== ======================================================================
operation                                   operands
=========================================== ======================================================================
bra, bra.uni                                n target site; a guard decides who jumps (.uni: all of them or none)
brx                                         s index, then n target sites; an index beyond them is undefined in PTX
exit                                        none; also ``ret`` of the kernel
trap                                        none
nop                                         none; ``pmevent``
barrier.sync[.aligned]                      s barrier, s lanes or n = -1 for the whole block
barrier.arrive[.aligned]                    s barrier, s lanes
barrier.red.popc[.aligned]                  s destination, s barrier, s lanes or n = -1, p source, n negated
barrier.red.and[.aligned], .red.or          p destination, s barrier, s lanes or n = -1, p source, n negated
bar.warp.sync                               s members
shfl.up .down .bfly .idx                    s destination, s source, s distance ("b"), s clamp and segment ("c"),
                                            s members, [p destination: the source lane was in range]
vote.all .any .uni                          p destination, p source, n negated, s members
vote.ballot                                 s destination, p source, n negated, s members
match.any.b32 .b64                          s destination (mask), source slot of that width, s members
match.all.b32 .b64                          the same, [p destination: all are equal]
redux.add.u32                               s destination, s source, s members (s32 is the same)
redux.min.u32 .s32, redux.max.u32 .s32      the same
redux.and.b32 .or.b32 .xor.b32              the same
redux.min[.abs][.NaN].f32, redux.max...     the same
activemask                                  s destination
elect                                       s destination (lane number), p destination, s members
nanosleep                                   s nanoseconds; lets others run
clock.b32, clock.b64                        destination slot of that width: warp-instructions executed so far
=========================================== ======================================================================

A destination may be the very register of a source (``shfl %r1, %r1, ...``): read the sources of all lanes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from profiles.simulator.lowering.context import Context, Lowered, lowers, read_predicate
from profiles.simulator.ptx.syntax import Immediate, Instruction, Operand, Pair, SpecialRegister

_BARRIERS = 16
_WARP_LANES = 32
_WHOLE_BLOCK = -1
_REDUX_OPERATIONS = {
    **{f"{kind}.{type_name}": f"{kind}.{type_name}" for kind in ("min", "max") for type_name in ("u32", "s32")},
    **{f"{kind}.b32": f"{kind}.b32" for kind in ("and", "or", "xor")},
    "add.u32": "add.u32",
    "add.s32": "add.u32",  # two's complement
    **{
        f"{kind}{absolute}{nan}.f32": f"{kind}{absolute}{nan}.f32"
        for kind in ("min", "max")
        for absolute in ("", ".abs")
        for nan in ("", ".NaN")
    },
}
_CLOCKS = {"%clock": "b32", "%clock64": "b64"}


@lowers("bra")
def lower_branch(instruction: Instruction, context: Context) -> Lowered:
    """``bra{.uni} label``."""
    (target,) = _operands(instruction, context, 1)
    name = _one_of(instruction, context, instruction.opcode, ("bra", "bra.uni"))
    return Lowered(name, (context.label(target),))


@lowers("brx")
def lower_indexed_branch(instruction: Instruction, context: Context) -> Lowered:
    """``brx.idx{.uni} index, table``."""
    index, table = _operands(instruction, context, 2)
    _one_of(instruction, context, instruction.opcode, ("brx.idx", "brx.idx.uni"))
    return Lowered("brx", (context.read(index, "u32"), *context.branch_table(table)))


@lowers("ret", "exit")
def lower_exit(instruction: Instruction, context: Context) -> Lowered:
    """``ret`` and ``exit`` are the same in a kernel: functions are inlined before."""
    _operands(instruction, context, 0)
    _one_of(instruction, context, instruction.opcode, ("ret", "ret.uni", "exit"))
    return Lowered("exit")


@lowers("trap")
def lower_trap(instruction: Instruction, context: Context) -> Lowered:
    """``trap`` ends the launch with a finding."""
    _one_of(instruction, context, instruction.opcode, ("trap",))
    return Lowered("trap")


@lowers("pmevent")
def lower_nothing(instruction: Instruction, context: Context) -> Lowered:
    """What changes no state of the program: a performance monitor's event."""
    _one_of(instruction, context, instruction.opcode, ("pmevent", "pmevent.mask"))
    return Lowered("nop")


@lowers("bar", "barrier")
def lower_barrier(instruction: Instruction, context: Context) -> Lowered:
    """``bar{.cta}.X`` is ``barrier{.cta}.X.aligned``; X is sync, arrive, red.popc, red.and or red.or."""
    modifiers = list(instruction.parts[1:])
    if modifiers[:1] == ["cta"]:
        del modifiers[0]
    aligned = instruction.root == "bar" or "aligned" in modifiers
    if instruction.root == "barrier" and aligned:
        modifiers.remove("aligned")
    kind = _one_of(instruction, context, ".".join(modifiers), _BARRIER_FORMS)
    suffix = ".aligned" if aligned else ""
    return Lowered(f"barrier.{_BARRIER_FORMS[kind]}{suffix}", _barrier_operands(instruction, context, kind))


_BARRIER_FORMS = {
    "sync": "sync",
    "arrive": "arrive",
    "red.popc.u32": "red.popc",
    "red.and.pred": "red.and",
    "red.or.pred": "red.or",
}


def _barrier_operands(instruction: Instruction, context: Context, kind: str) -> tuple[int, ...]:
    if kind == "sync":
        return _barrier_and_lanes(_operands(instruction, context, 1, 2), context)
    if kind == "arrive":
        return _barrier_and_lanes(_operands(instruction, context, 2), context)
    destination, *barrier, source = _operands(instruction, context, 3, 4)
    result = context.write(destination, "u32" if kind == "red.popc.u32" else "pred")
    return (result, *_barrier_and_lanes(barrier, context), *read_predicate(source, context))


def _barrier_and_lanes(operands: Sequence[Operand], context: Context) -> tuple[int, int]:
    barrier, *lanes = operands
    if isinstance(barrier, Immediate) and not 0 <= barrier.value < _BARRIERS:
        context.fail(f"barrier {barrier.text} does not exist: they are numbered 0 to {_BARRIERS - 1}")
    if not lanes:
        return context.read(barrier, "u32"), _WHOLE_BLOCK
    (count,) = lanes
    if isinstance(count, Immediate) and (count.value <= 0 or count.value % _WARP_LANES):
        context.fail(f"{count.text} threads at a barrier: expected a positive multiple of {_WARP_LANES}")
    return context.read(barrier, "u32"), context.read(count, "u32")


@lowers("bar.warp")
def lower_warp_barrier(instruction: Instruction, context: Context) -> Lowered:
    """``bar.warp.sync members``."""
    _one_of(instruction, context, instruction.opcode, ("bar.warp.sync",))
    (members,) = _operands(instruction, context, 1)
    return Lowered("bar.warp.sync", (context.read(members, "b32"),))


@lowers("shfl")
def lower_shuffle(instruction: Instruction, context: Context) -> Lowered:
    """``shfl.sync.MODE.b32 d|p, a, b, c, members``."""
    if instruction.parts[1:2] != ("sync",):
        context.fail("shfl without .sync does not exist on sm_70 and later; use shfl.sync")
    mode = _one_of(instruction, context, ".".join(instruction.parts[2:]), tuple(f"{mode}.b32" for mode in _SHUFFLES))
    destination, *sources = _operands(instruction, context, 5)
    result, predicate = _destination(destination, context)
    return Lowered(
        f"shfl.{mode.removesuffix('.b32')}",
        (result, *(context.read(source, "b32") for source in sources), *predicate),
    )


_SHUFFLES = ("up", "down", "bfly", "idx")


def _destination(operand: Operand, context: Context) -> tuple[int, tuple[int, ...]]:
    """Slots of ``d`` or ``d|p``: of d, and of p if it is there."""
    if isinstance(operand, Pair):
        return context.write(operand.first, "b32"), (context.write(operand.second, "pred"),)
    return context.write(operand, "b32"), ()


@lowers("vote")
def lower_vote(instruction: Instruction, context: Context) -> Lowered:
    """``vote.sync.{all,any,uni}.pred p, {!}a, members`` and ``vote.sync.ballot.b32 d, {!}a, members``."""
    if instruction.parts[1:2] != ("sync",):
        context.fail("vote without .sync does not exist on sm_70 and later; use vote.sync")
    forms = ("all.pred", "any.pred", "uni.pred", "ballot.b32")
    mode, type_name = _one_of(instruction, context, ".".join(instruction.parts[2:]), forms).split(".")
    destination, source, members = _operands(instruction, context, 3)
    return Lowered(
        f"vote.{mode}",
        (context.write(destination, type_name), *read_predicate(source, context), context.read(members, "b32")),
    )


@lowers("match")
def lower_match(instruction: Instruction, context: Context) -> Lowered:
    """``match.any.sync.TYPE d, a, members`` and ``match.all.sync.TYPE d|p, a, members``."""
    forms = tuple(f"match.{mode}.sync.{width}" for mode in ("any", "all") for width in ("b32", "b64"))
    _, mode, _, type_name = _one_of(instruction, context, instruction.opcode, forms).split(".")
    destination, source, members = _operands(instruction, context, 3)
    if mode == "any" and isinstance(destination, Pair):
        context.fail("match.any has no predicate destination")
    result, predicate = _destination(destination, context)
    operands = (result, context.read(source, type_name), context.read(members, "b32"), *predicate)
    return Lowered(f"match.{mode}.{type_name}", operands)


@lowers("redux")
def lower_reduction(instruction: Instruction, context: Context) -> Lowered:
    """``redux.sync.OP.TYPE d, a, members``."""
    if instruction.parts[1:2] != ("sync",):
        context.fail("redux has no form without .sync")
    form = _one_of(instruction, context, ".".join(instruction.parts[2:]), _REDUX_OPERATIONS)
    destination, source, members = _operands(instruction, context, 3)
    type_name = instruction.parts[-1]
    operands = (context.write(destination, type_name), context.read(source, type_name), context.read(members, "b32"))
    return Lowered(f"redux.{_REDUX_OPERATIONS[form]}", operands)


@lowers("activemask")
def lower_active_mask(instruction: Instruction, context: Context) -> Lowered:
    """``activemask.b32 d``: the lanes that execute it."""
    _one_of(instruction, context, instruction.opcode, ("activemask.b32",))
    (destination,) = _operands(instruction, context, 1)
    return Lowered("activemask", (context.write(destination, "b32"),))


@lowers("elect")
def lower_elect(instruction: Instruction, context: Context) -> Lowered:
    """``elect.sync d|p, members``: true in one lane of the members."""
    _one_of(instruction, context, instruction.opcode, ("elect.sync",))
    destination, members = _operands(instruction, context, 2)
    if not isinstance(destination, Pair):
        context.fail("elect.sync needs two destinations, d|p")
    result, predicate = _destination(destination, context)
    return Lowered("elect", (result, *predicate, context.read(members, "b32")))


@lowers("nanosleep")
def lower_sleep(instruction: Instruction, context: Context) -> Lowered:
    """``nanosleep.u32 t``: takes no time here, but lets other warps run."""
    _one_of(instruction, context, instruction.opcode, ("nanosleep.u32",))
    (time,) = _operands(instruction, context, 1)
    return Lowered("nanosleep", (context.read(time, "u32"),))


def reads_clock(instruction: Instruction) -> bool:
    """Whether it is a ``mov`` of a special register that changes while a warp runs."""
    return (
        instruction.root == "mov"
        and len(instruction.operands) == 2
        and isinstance(instruction.operands[1], SpecialRegister)
        and instruction.operands[1].name in _CLOCKS
    )


def lower_clock(instruction: Instruction, context: Context) -> Lowered:
    """``mov.u32 d, %clock`` and ``mov.u64 d, %clock64`` count executed instructions: there are no cycles here."""
    destination, source = instruction.operands
    type_name = _CLOCKS[source.name] if isinstance(source, SpecialRegister) else ""
    _one_of(instruction, context, instruction.opcode, tuple(f"mov.{kind}{type_name[1:]}" for kind in "bus"))
    return Lowered(f"clock.{type_name}", (context.write(destination, type_name),))


def _operands(instruction: Instruction, context: Context, *counts: int) -> tuple[Operand, ...]:
    if len(instruction.operands) not in counts:
        expected = " or ".join(str(count) for count in counts)
        context.fail(f"{len(instruction.operands)} operands where {expected} are expected")
    return instruction.operands


def _one_of(instruction: Instruction, context: Context, form: str, known: Sequence[str] | dict[str, str]) -> str:
    if form not in known:
        context.fail(f"{instruction.opcode!r} is not known in this form; known: {', '.join(known)}")
    return form
