"""Loads, stores, atomics, fences and what computes with addresses.

Operations and their operands, in order. "s" is the slot of a register or constant, "p" that of a predicate, "n" a
number. "Address" stands for four operands: s register of the base, n its bytes per lane (4 or 8), n offset in bytes,
n order: 0 for a weak access, else the sum of 1 (strong), 2 (acquire) and 4 (release).

================================== ===================================================================================
operation                          operands
================================== ===================================================================================
ld.SPACE[.v2|.v4].TYPE             address, s destinations
st.SPACE[.v2|.v4].TYPE             address, s sources
atom[.v2|.v4|.v8].OP.TYPE          address, n space (0 generic, 1 global, 2 shared), s destinations, s sources,
                                   of cas: s new value; ``red`` is an ``atom`` whose result nobody reads
fence                              n order: the sum of 2 (acquire) and 4 (release)
cvta                               s destination, s source, n distance to the window of the generic address space
isspacep                           p destination, s address, n start of the window
isspacep.shared::cta               p destination, s address
mapa.u32, mapa.u64                 s destination, s address, s rank
getctarank.u32, getctarank.u64     s destination, s address
createpolicy                       s destination
================================== ===================================================================================

SPACE is shared, global, const, local, param or generic. TYPE is b16, b32, b64, b128, or, where the register is wider
than the element, the element with its sign and the register's bits: ``u8.to16``, ``s16.to32``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from profiles.simulator.lowering.context import Context, Lowered, lowers, slot_bytes
from profiles.simulator.lowering.modifiers import Modifiers
from profiles.simulator.ptx.syntax import Address, Immediate, Instruction, Operand, Register, Sink, Symbol, Vector

_STRONG, _ACQUIRE, _RELEASE = 1, 2, 4
_ORDERS = {
    "weak": 0,
    "volatile": _STRONG,
    "relaxed": _STRONG,
    "acquire": _STRONG | _ACQUIRE,
    "release": _STRONG | _RELEASE,
    "acq_rel": _STRONG | _ACQUIRE | _RELEASE,
}
_SCOPES = ("cta", "cluster", "gpu", "sys")

# Where the windows of runtime/memory.h begin in the generic address space.
_WINDOWS = {
    "global": 0,
    "shared": 1 << 56,
    "shared::cta": 1 << 56,
    "shared::cluster": 1 << 56,
    "local": 2 << 56,
    "param": 3 << 56,
    "param::entry": 3 << 56,
}
_SPACES = {
    "shared": "shared",
    "shared::cta": "shared",
    "shared::cluster": "shared",
    "global": "global",
    "const": "const",
    "local": "local",
    "param": "param",
    "param::entry": "param",
}
_GENERIC = "generic"
_ADDRESS_TYPES = {"shared": "u32", "local": "u32", "param": "u32", "global": "u64", "const": "u64", _GENERIC: "u64"}

# Advice to the caches: no effect on values. The non-coherent path (nc) reads what is in memory.
_HINTS = {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"}
_HINT_PREFIXES = ("L1::", "L2::")
_POLICY = "L2::cache_hint"

_TYPES = {f"{kind}{bits}" for kind in "bus" for bits in (8, 16, 32, 64)} | {"b128", "f32", "f64"}
_VECTORS = {"v2": 2, "v4": 4, "v8": 8}
_MAX_ACCESS_BYTES = 16


def _modifiers(instruction: Instruction, context: Context) -> Modifiers:
    """The modifiers without the advice to the caches."""
    modifiers = Modifiers(instruction, context)
    modifiers.present(*_HINTS, *(part for part in instruction.parts if part.startswith(_HINT_PREFIXES)))
    return modifiers


def _order(modifiers: Modifiers, default: str) -> int:
    modifiers.take(*_SCOPES)
    return _ORDERS[modifiers.take(*_ORDERS) or default]


@lowers("ld", "ldu")
def lower_load(instruction: Instruction, context: Context) -> Lowered:
    """``ld{.order}{.scope}{.space}{.hints}{.vector}.type d, [a]{, policy}``."""
    modifiers = _modifiers(instruction, context)
    order, space, vector, type_name = _access(modifiers)
    destination, address = _operands(instruction, context, 2)
    elements = _elements(destination, vector, context)
    register_bytes = _register_bytes(elements, type_name, context)
    registers = tuple(context.write(element, f"b{8 * register_bytes}") for element in elements)
    name = _operation("ld", space, vector, type_name, register_bytes, context)
    return Lowered(name, (*_address(address, space, order, context), *registers))


@lowers("st")
def lower_store(instruction: Instruction, context: Context) -> Lowered:
    """``st{.order}{.scope}{.space}{.hints}{.vector}.type [a], b{, policy}``."""
    modifiers = _modifiers(instruction, context)
    order, space, vector, type_name = _access(modifiers)
    if space in ("const", "param"):
        context.fail(f"a kernel cannot write .{space} memory")
    address, source = _operands(instruction, context, 2)
    elements = _elements(source, vector, context)
    register_bytes = _register_bytes(elements, type_name, context)
    registers = tuple(_read_source(element, type_name, register_bytes, context) for element in elements)
    name = _operation("st", space, vector, type_name.replace("s", "u"), register_bytes, context)
    return Lowered(name, (*_address(address, space, order, context), *registers))


def _access(modifiers: Modifiers) -> tuple[int, str, str, str]:
    order = _order(modifiers, "weak")
    space = _SPACES.get(modifiers.take(*_SPACES) or "", _GENERIC)
    vector = modifiers.take(*_VECTORS) or ""
    type_name = modifiers.type(*_TYPES)
    modifiers.finish()
    return order, space, vector, type_name


def _operands(instruction: Instruction, context: Context, count: int) -> tuple[Operand, ...]:
    """The operands without the cache policy, which may be there without its modifier."""
    given = len(instruction.operands)
    if given not in (count, count + (_POLICY in instruction.parts)):
        context.fail(f"{given} operands where {count} are expected")
    return instruction.operands[:count]


def _elements(operand: Operand, vector: str, context: Context) -> tuple[Operand, ...]:
    elements = operand.elements if isinstance(operand, Vector) else (operand,)
    expected = _VECTORS.get(vector, 1)
    if len(elements) != expected:
        context.fail(f"{len(elements)} registers where {expected} are expected")
    return elements


def _register_bytes(elements: Sequence[Operand], type_name: str, context: Context) -> int:
    """Bytes per lane of the registers: as wide as the type or wider, and all the same."""
    widths = {slot_bytes(context.register_type(element)) for element in elements if isinstance(element, Register)}
    widths = widths or {slot_bytes(type_name)}
    if len(widths) > 1:
        context.fail("the registers of a vector have different widths")
    (width,) = widths
    if width < slot_bytes(type_name):
        context.fail(f"a register of {8 * width} bits is too narrow for .{type_name}")
    return width


def _read_source(element: Operand, type_name: str, register_bytes: int, context: Context) -> int:
    if isinstance(element, Register):
        return context.read(element, f"b{8 * register_bytes}")
    if slot_bytes(type_name) == register_bytes:
        return context.read(element, type_name)
    return context.read(element, f"{type_name[0]}{8 * register_bytes}")


def _operation(root: str, space: str, vector: str, type_name: str, register_bytes: int, context: Context) -> str:
    bits = int(type_name[1:])
    if bits // 8 * _VECTORS.get(vector, 1) > _MAX_ACCESS_BYTES:
        context.fail(f"an access of more than {_MAX_ACCESS_BYTES} bytes exists only on sm_100 and later")
    is_wider = 8 * register_bytes > bits
    sign = "s" if type_name[0] == "s" else "u"
    suffix = f"{sign}{bits}.to{8 * register_bytes}" if is_wider else f"b{bits}"
    return ".".join(part for part in (root, space, vector, suffix) if part)


def _address(operand: Operand, space: str, order: int, context: Context) -> tuple[int, int, int, int]:
    """The four operands of an address."""
    if not isinstance(operand, Address):
        operand = Address(operand) if isinstance(operand, Register | Symbol | Immediate) else context.fail("no address")
    base = operand.base
    if isinstance(base, Register):
        width = slot_bytes(context.register_type(base))
        if width not in (4, 8):
            context.fail(f"an address in a register of {8 * width} bits")
        return context.read(base, f"b{8 * width}"), width, operand.offset, order
    type_name = _ADDRESS_TYPES[space]
    return context.read(_moved(base, operand.offset, space, context), type_name), slot_bytes(type_name), 0, order


def _moved(base: Symbol | Immediate, offset: int, space: str, context: Context) -> Symbol | Immediate:
    if isinstance(base, Immediate):
        value = int(base.value) + offset
        return Immediate(value, str(value))
    actual = context.symbol_space(base)
    if actual != space and {actual, space} not in ({"global", _GENERIC}, {"const", _GENERIC}):
        context.fail(f"{base.name!r} is a variable in .{actual}, not in .{space}")
    return replace(base, offset=base.offset + offset)


_ATOMIC_OPERATIONS = {
    **{f"{op}.{kind}{bits}": f"{op}.b{bits}" for op in ("and", "or", "xor") for kind in "bu" for bits in (32, 64)},
    **{f"add.{name}": f"add.{name}" for name in ("u32", "u64", "f32", "f64")},
    "add.s32": "add.u32",  # two's complement
    "add.s64": "add.u64",
    **{f"{op}.{name}": f"{op}.{name}" for op in ("min", "max") for name in ("u32", "s32", "u64", "s64")},
    **{f"{op}.{name}": f"{op}.{name}" for op in ("add", "min", "max") for name in ("f16", "bf16", "f16x2", "bf16x2")},
    **{f"{op}.u32": f"{op}.u32" for op in ("inc", "dec")},
    **{f"exch.{kind}{bits}": f"exch.b{bits}" for kind in "bu" for bits in (32, 64)},
    **{f"cas.{kind}{bits}": f"cas.b{bits}" for kind in "bu" for bits in (32, 64)},
    "cas.b16": "cas.b16",
    "cas.b128": "cas.b128",
    "exch.b128": "exch.b128",
}
_ATOMIC_SPACES = {_GENERIC: 0, "global": 1, "shared": 2}
_SMALL_FLOATS = ("f16", "bf16", "f16x2", "bf16x2")


@lowers("atom", "red")
def lower_atomic(instruction: Instruction, context: Context) -> Lowered:
    """``atom{.order}{.scope}{.space}.op{.vector}{.noftz}.type d, [a], b{, c}{, policy}``; ``red`` has no d."""
    modifiers = _modifiers(instruction, context)
    order = _order(modifiers, "relaxed")
    space = _SPACES.get(modifiers.take("global", "shared", "shared::cta", "shared::cluster") or "", _GENERIC)
    type_name = modifiers.type(*_TYPES, *_SMALL_FLOATS)
    if type_name in _SMALL_FLOATS:
        modifiers.need("its treatment of subnormal numbers", "noftz")
    vector = modifiers.take(*_VECTORS) or ""
    kind = modifiers.need("an operation", "and", "or", "xor", "exch", "cas", "add", "inc", "dec", "min", "max")
    modifiers.finish()
    operation = _ATOMIC_OPERATIONS.get(f"{kind}.{type_name}")
    if operation is None:
        context.fail(f"there is no atomic .{kind} of .{type_name}")
    address, slots = _atomic_registers(instruction, context, vector)
    operands = (*_address(address, space, order, context), _ATOMIC_SPACES[space], *slots)
    return Lowered(_atomic_name(operation, vector, space, context), operands)


def _atomic_name(operation: str, vector: str, space: str, context: Context) -> str:
    if not vector:
        return f"atom.{operation}"
    type_name = operation.split(".")[1]
    known = {"f32": ("v2", "v4"), "f16": ("v2", "v4", "v8"), "bf16": ("v2", "v4", "v8")}
    allowed = known.get(type_name.removesuffix("x2"), ())
    size = slot_bytes(type_name) * _VECTORS[vector] if vector in allowed else _MAX_ACCESS_BYTES + 1
    if size > _MAX_ACCESS_BYTES or space == "shared":
        context.fail(f"there is no atomic .{operation} of a .{vector} in .{space} memory")
    return f"atom.{vector}.{operation}"


def _atomic_registers(instruction: Instruction, context: Context, vector: str) -> tuple[Operand, tuple[int, ...]]:
    """The address, and slots of the destinations and sources; sinks take the place of what ``red`` lacks."""
    register_type = instruction.parts[-1]
    is_swap = "cas" in instruction.parts
    count = 3 + is_swap - (instruction.root == "red")
    given = _operands(instruction, context, count)
    destinations: tuple[Operand, ...] = (Sink(),) * _VECTORS.get(vector, 1)
    if instruction.root == "atom":
        if not isinstance(given[0], Sink):
            destinations = _elements(given[0], vector, context)
        given = given[1:]
    address, source, *new_value = given
    slots = (
        *(context.write(element, register_type) for element in destinations),
        *(context.read(element, register_type) for element in _elements(source, vector, context)),
        *(context.read(element, register_type) for element in new_value),
    )
    return address, slots


@lowers("membar")
def lower_old_fence(instruction: Instruction, context: Context) -> Lowered:
    """``membar.level`` is ``fence.sc`` of the scope."""
    if instruction.opcode not in ("membar.cta", "membar.gl", "membar.sys"):
        context.fail(f"{instruction.opcode!r} is not known; use fence.proxy for proxies")
    return Lowered("fence", (_ACQUIRE | _RELEASE,))


@lowers("fence")
def lower_fence(instruction: Instruction, context: Context) -> Lowered:
    """``fence{.sc,.acq_rel,.acquire,.release}.scope``, of memory; proxies have fences of their own."""
    modifiers = Modifiers(instruction, context)
    semantics = modifiers.take("sc", "acq_rel", "acquire", "release") or "acq_rel"
    modifiers.need("a scope", *_SCOPES)
    modifiers.finish()
    return Lowered("fence", (_ORDERS["acq_rel" if semantics == "sc" else semantics] & ~_STRONG,))


@lowers("prefetch", "prefetchu", "applypriority", "discard")
def lower_advice(_instruction: Instruction, _context: Context) -> Lowered:
    """Advice to the caches: no effect on values, and no access either."""
    return Lowered("nop")


@lowers("createpolicy")
def lower_policy(instruction: Instruction, context: Context) -> Lowered:
    """``createpolicy`` makes an operand of cache hints, which have no effect here."""
    return Lowered("createpolicy", (context.write(instruction.operands[0], "b64"),))


@lowers("cvta")
def lower_address_conversion(instruction: Instruction, context: Context) -> Lowered:
    """``cvta{.to}.space.u64 d, a``: between an address in a space and the generic one."""
    modifiers = Modifiers(instruction, context)
    is_back = modifiers.has("to")
    space = modifiers.need("a state space", *_WINDOWS, "const")
    modifiers.type("u64")
    modifiers.finish()
    destination, source = instruction.operands
    distance = _WINDOWS.get(space, 0)
    slots = (context.write(destination, "b64"), context.read(source, "b64"))
    return Lowered("cvta", (*slots, -distance if is_back else distance))


@lowers("isspacep")
def lower_space_question(instruction: Instruction, context: Context) -> Lowered:
    """``isspacep.space p, a``."""
    modifiers = Modifiers(instruction, context)
    space = modifiers.need("a state space", *_WINDOWS)
    modifiers.finish()
    destination, source = instruction.operands
    slots = (context.write(destination, "pred"), context.read(source, "b64"))
    if space in ("shared", "shared::cta"):
        return Lowered("isspacep.shared::cta", slots)
    return Lowered("isspacep", (*slots, _WINDOWS[space]))


@lowers("mapa")
def lower_map_to_rank(instruction: Instruction, context: Context) -> Lowered:
    """``mapa{.shared::cluster}.type d, a, rank``: the place of a in the memory of another block of the cluster."""
    type_name = _rank_type(instruction, context)
    destination, source, rank = instruction.operands
    slots = (context.write(destination, type_name), context.read(source, type_name), context.read(rank, "u32"))
    return Lowered(f"mapa.{type_name}", slots)


@lowers("getctarank")
def lower_rank_question(instruction: Instruction, context: Context) -> Lowered:
    """``getctarank{.shared::cluster}.type d, a``: the rank of the block that owns a shared address."""
    type_name = _rank_type(instruction, context)
    destination, source = instruction.operands
    return Lowered(f"getctarank.{type_name}", (context.write(destination, "u32"), context.read(source, type_name)))


def _rank_type(instruction: Instruction, context: Context) -> str:
    modifiers = Modifiers(instruction, context)
    modifiers.take("shared::cluster")
    type_name = modifiers.type("u32", "u64")
    modifiers.finish()
    return type_name
