"""The modifiers of an opcode, taken one by one, so that none is overlooked; and the slots of plain operands."""

from __future__ import annotations

from profiles.simulator.lowering.context import Context
from profiles.simulator.ptx.syntax import Instruction

INTEGERS = ("u16", "u32", "u64", "s16", "s32", "s64")
HALVES = ("f16", "f16x2", "bf16", "bf16x2")
# As in the run-time's numerics.h.
ROUNDINGS = {"rn": 0, "rz": 1, "rm": 2, "rp": 3}


class Modifiers:
    """The parts of an opcode behind its root. Those that a lowering function did not take are not understood.

    Args:
        instruction: whose opcode it is.
        context: told of what is missing or left over.
    """

    def __init__(self, instruction: Instruction, context: Context) -> None:
        self._left = list(instruction.parts[1:])
        self._context = context

    def take(self, *names: str) -> str | None:
        """Remove and return the first part that is one of the names."""
        for part in self._left:
            if part in names:
                self._left.remove(part)
                return part
        return None

    def has(self, name: str) -> bool:
        """Whether the modifier was there; it is taken."""
        return self.take(name) is not None

    def need(self, what: str, *names: str) -> str:
        """Like :meth:`take`, but one of the names must be there; ``what`` says what they are."""
        found = self.take(*names)
        if found is None:
            self._context.fail(f"the opcode needs {what}: one of {', '.join('.' + name for name in names)}")
        return found

    def present(self, *names: str) -> tuple[str, ...]:
        """All of the names that are there, in the order asked for; they are taken."""
        return tuple(name for name in names if self.has(name))

    def type(self, *names: str) -> str:
        """The type at the end of the opcode, which must be one of the names."""
        if not self._left or self._left[-1] not in names:
            found = "." + self._left[-1] if self._left else "nothing"
            self._context.fail(f"the type is {found}; known here: {', '.join('.' + name for name in names)}")
        return self._left.pop()

    def finish(self) -> None:
        """Fail if a modifier is left."""
        if self._left:
            self._context.fail(f"the modifier {', '.join('.' + part for part in self._left)} is not understood here")


def bits(type_name: str) -> str:
    """The bits of a type, without a meaning: "b32" of "s32"."""
    return "b" + type_name.lstrip("usfb")


def operands(instruction: Instruction, context: Context, types: tuple[str, ...]) -> tuple[int, ...]:
    """Slots of the destination and the sources; ``types`` are theirs, in order."""
    if len(instruction.operands) != len(types):
        context.fail(f"{len(instruction.operands)} operands where {len(types)} are expected")
    destination, *sources = instruction.operands
    read = [context.read(source, type_name) for source, type_name in zip(sources, types[1:], strict=True)]
    return (context.write(destination, types[0]), *read)
