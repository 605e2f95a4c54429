"""What a lowering function gets and gives: the contract between the core and the families of instructions.

A lowering function turns one PTX instruction into one operation of the run-time. It is run twice for each instruction:
first to learn which registers are read and written, then with the slots that they got. So it must be deterministic and
free of side effects, and may not look at the numbers that it gets for slots.

Two different PTX registers that one instruction names never share a slot, even if one of them dies there; so a handler
may write a destination before it has read all sources, unless the program itself names one register twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from kernels.errors import RoofgateError
from profiles.simulator.ptx.syntax import Instruction, Negated, Operand, Register, Symbol


class LoweringError(RoofgateError):
    """An instruction that the simulator does not know, or not in this form."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """An operation of the run-time and its operands: byte offsets of registers in the warp's file, or numbers."""

    operation: str
    operands: tuple[int, ...] = ()


# The condition code that add.cc and the like write and addc reads: a predicate that every kernel has.
CARRY = Register("CC.CF")


class Context(Protocol):
    """What the operands of one instruction are. Types are PTX types without the dot: "u32", "f16x2", "b64", "pred"."""

    def read(self, operand: Operand, type_name: str) -> int:
        """Slot of a register, or of the constant that a literal, a special register or an address makes.

        A register must be as wide as the type (8-bit types are held in 16 bits): where PTX allows wider ones, ask for
        :meth:`register_type` first. A shared, local or parameter symbol is its offset; a global or constant one its
        address.
        """

    def write(self, operand: Operand, type_name: str) -> int:
        """Slot of a destination; a sink (``_``) gives a slot that nobody reads."""

    def update(self, operand: Operand, type_name: str) -> int:
        """Slot of a register that is read and then written."""

    def register_type(self, register: Register) -> str:
        """The type that the register was declared with: "b32", "f32", "pred", ..."""

    def label(self, operand: Operand) -> int:
        """Site of the instruction that a label stands before."""

    def branch_table(self, operand: Operand) -> tuple[int, ...]:
        """Sites of the labels that a ``.branchtargets`` table lists."""

    def symbol_address(self, symbol: Symbol) -> int:
        """Address of a shared, local or parameter variable, plus the symbol's offset; fails for other spaces."""

    def symbol_space(self, symbol: Symbol) -> str:
        """State space of a variable: "shared", "local", "param", "global" or "const"."""

    def fail(self, reason: str) -> NoReturn:
        """Raise a :class:`LoweringError` that names the instruction, its PTX line and its CUDA line."""


Lowering = Callable[[Instruction, Context], Lowered]

# By the opcode's first parts: "ldmatrix", "cp.async", "cp.async.bulk". Filled when the families are imported.
LOWERINGS: dict[str, Lowering] = {}


def lowers(*prefixes: str) -> Callable[[Lowering], Lowering]:
    """Make a function known as the one that lowers all opcodes that begin so: ``@lowers("ldmatrix", "cp.async.bulk")``.

    A prefix is one to three whole parts of the opcode; the longest that is known decides.
    """

    def register(function: Lowering) -> Lowering:
        for prefix in prefixes:
            if prefix in LOWERINGS:
                raise ValueError(f"two functions lower {prefix!r}: {LOWERINGS[prefix]} and {function}")
            LOWERINGS[prefix] = function
        return function

    return register


def find_lowering(instruction: Instruction) -> Lowering | None:
    """The function that lowers the instruction; None if its opcode is unknown."""
    parts = instruction.parts
    for length in (3, 2, 1):
        function = LOWERINGS.get(".".join(parts[:length]))
        if function is not None:
            return function
    return None


def read_predicate(operand: Operand, context: Context) -> tuple[int, int]:
    """Slot of a predicate that may be written ``!p``, and 1 if it is."""
    if isinstance(operand, Negated):
        return context.read(operand.operand, "pred"), 1
    return context.read(operand, "pred"), 0


def slot_bytes(type_name: str) -> int:
    """Bytes per lane of a register of a PTX type: 2, 4, 8 or 16; a predicate, one bit per lane, counts as 1.

    Raises:
        ValueError: for a name that is no PTX type.
    """
    if type_name == "pred":
        return 1
    width = _PACKED_BYTES.get(type_name) or _bits(type_name) // 8
    return max(width, 2)


_PACKED_BYTES = {
    "f16x2": 4, "bf16x2": 4, "bf16": 2, "tf32": 4, "u16x2": 4, "s16x2": 4, "u8x4": 4, "s8x4": 4, "f32x2": 8,
    "e4m3x2": 2, "e5m2x2": 2, "e4m3": 2, "e5m2": 2,
}  # fmt: skip


def _bits(type_name: str) -> int:
    kind, digits = type_name[:1], type_name[1:]
    if kind not in ("b", "u", "s", "f") or digits not in ("8", "16", "32", "64", "128"):
        raise ValueError(f"{type_name!r} is no PTX type")
    return int(digits)
