"""What kind of work a PTX instruction is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from kernels.errors import RoofgateError


class InstructionClass(Enum):
    """What an instruction does, as the counters tell it. Of PTX, not of the machine code that is made of it."""

    TENSOR = "tensor"  # products on the tensor cores
    FLOAT = "float"  # floating-point arithmetic and comparison, of one lane or a packed pair
    SPECIAL = "special"  # ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh and division: the special function unit (MUFU)
    INTEGER = "integer"  # integer arithmetic, logic, comparison, and addresses
    CONVERT = "convert"  # between types
    MOVE = "move"  # registers, constants and selection
    LANES = "lanes"  # exchange between the lanes of a warp
    LOAD_STORE = "load_store"  # memory of every kind, atomics and asynchronous copies
    CONTROL = "control"  # branches, barriers, fences and waiting


_FLOAT_TYPES = frozenset(
    {"f16", "f16x2", "bf16", "bf16x2", "tf32", "f32", "f32x2", "f64", "e4m3", "e4m3x2", "e5m2", "e5m2x2"}
)

_ROOTS: Mapping[InstructionClass, str] = {
    InstructionClass.TENSOR: "mma wmma wgmma",
    InstructionClass.FLOAT: "fma testp copysign",
    InstructionClass.SPECIAL: "rcp sqrt rsqrt ex2 lg2 sin cos tanh",
    InstructionClass.INTEGER: (
        "mul24 mad24 sad rem popc clz bfind fns brev bfe bfi bmsk szext dp4a dp2a addc subc madc and or xor not cnot "
        "lop3 shl shr shf prmt cvta isspacep mapa getctarank createpolicy"
    ),
    InstructionClass.CONVERT: "cvt",
    InstructionClass.MOVE: "mov selp",
    InstructionClass.LANES: "shfl vote match activemask elect redux movmatrix",
    InstructionClass.LOAD_STORE: (
        "ld ldu st ldmatrix stmatrix atom red cp prefetch prefetchu applypriority discard multimem tensormap"
    ),
    InstructionClass.CONTROL: (
        "bra brx call ret exit trap brkpt nop nanosleep pmevent bar barrier mbarrier fence membar griddepcontrol "
        "setmaxnreg"
    ),
}
_CLASS_BY_ROOT = {root: kind for kind, roots in _ROOTS.items() for root in roots.split()}

# Floating-point or integer, by their last type: what a comparison compares, not what it gives.
_EITHER = frozenset({"add", "sub", "mul", "mad", "div", "abs", "neg", "min", "max", "set", "setp", "slct"})

# Parts of families that move data or multiply, which only order them.
_ORDERING = frozenset({"fence", "commit_group", "wait_group", "wait_all", "mbarrier"})


def instruction_class(opcode: str) -> InstructionClass:
    """The class of an opcode with its modifiers: ``fma.rn.f32`` is FLOAT, ``cp.async.wait_all`` is CONTROL.

    Raises:
        RoofgateError: the opcode is of no known kind.
    """
    root, *modifiers = opcode.split(".")
    if root in _EITHER:
        return _arithmetic_class(root, modifiers)
    found = _CLASS_BY_ROOT.get(root)
    if found is None:
        raise RoofgateError(
            f"no class is known for the instruction {opcode!r}; add {root!r} to profiles/simulator/instruction_class.py"
        )
    if root in ("cp", "wgmma") and _orders(modifiers):
        return InstructionClass.CONTROL
    return found


def _arithmetic_class(root: str, modifiers: list[str]) -> InstructionClass:
    if modifiers[-1:] and modifiers[-1] in _FLOAT_TYPES:
        return InstructionClass.SPECIAL if root == "div" else InstructionClass.FLOAT
    return InstructionClass.INTEGER


def _orders(modifiers: list[str]) -> bool:
    """Whether a copy or product instruction only orders others. ``mbarrier`` alone names how a bulk copy completes."""
    kind = modifiers[1:2] if modifiers[:1] == ["async"] else modifiers[:1]
    if kind == ["bulk"]:
        kind = modifiers[2:3]
    return bool(_ORDERING.intersection(kind))
