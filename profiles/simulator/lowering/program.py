"""A lowered kernel, and the text in which the run-time gets it (read by ``runtime/program.cpp``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiles.simulator.lowering.wgmma_watch import Watch
from profiles.simulator.ptx.syntax import Variable

FORMAT = "roofgate-program 1"


@dataclass(frozen=True, slots=True)
class LiteralConstant:
    """The same bits in every lane; ``value`` is unsigned, and 0 or 1 for a predicate."""

    value: int

    def __str__(self) -> str:
        return f"value {self.value:x}"


@dataclass(frozen=True, slots=True)
class SpecialConstant:
    """A special register; ``name`` has no percent sign."""

    name: str

    def __str__(self) -> str:
        return f"special {self.name}"


@dataclass(frozen=True, slots=True)
class AddressConstant:
    """The address of a global or constant variable plus ``addend`` bytes."""

    variable: str
    addend: int

    def __str__(self) -> str:
        return f"address {self.variable} {self.addend}"


Constant = LiteralConstant | SpecialConstant | AddressConstant


@dataclass(frozen=True, slots=True)
class Guard:
    """The predicate that decides which lanes execute: its byte offset in the register file."""

    offset: int
    negated: bool

    def __str__(self) -> str:
        return f"!{self.offset}" if self.negated else str(self.offset)


@dataclass(frozen=True, slots=True)
class Operation:
    """One decoded instruction."""

    name: str
    operands: tuple[int, ...]
    guard: Guard | None

    def __str__(self) -> str:
        guard = "-" if self.guard is None else self.guard
        return " ".join(["op", self.name, str(guard), str(len(self.operands)), *map(str, self.operands)])


@dataclass(frozen=True)
class Program:
    """What the run-time executes; operation i is instruction i of the kernel."""

    kernel: str
    parameter_bytes: int
    static_shared_bytes: int
    dynamic_shared_alignment: int  # bytes; the dynamic array begins at the first such multiple behind the static part
    local_bytes: int  # per lane
    register_bytes: int  # of one warp's file
    cluster: tuple[int, int, int] | None
    max_threads: int  # of a block; 0: not stated
    required_threads: tuple[int, int, int]  # of a block; zeros: not stated
    variables: tuple[Variable, ...]  # global and constant ones that the kernel can reach
    constants: tuple[tuple[int, int, Constant], ...]  # (byte offset in the file, bytes per lane or 1: predicate, what)
    operations: tuple[Operation, ...]
    watches: tuple[Watch, ...] = ()  # instructions that could touch the registers of products under way


def program_text(program: Program) -> str:
    """The program file of the run-time."""
    return "\n".join(_lines(program)) + "\n"


def _lines(program: Program) -> Iterator[str]:
    yield FORMAT
    yield f"kernel {program.kernel}"
    yield f"parameters {program.parameter_bytes}"
    yield f"shared {program.static_shared_bytes} {program.dynamic_shared_alignment}"
    yield f"local {program.local_bytes}"
    yield f"registers {program.register_bytes}"
    if program.cluster is not None:
        yield " ".join(["cluster", *map(str, program.cluster)])
    yield " ".join(["threads", str(program.max_threads), *map(str, program.required_threads)])
    for variable in program.variables:
        initial = variable.initial.hex() or "-"
        yield f"variable {variable.name} {variable.space} {variable.size} {variable.alignment} {initial}"
    for variable in program.variables:
        for offset, symbol in variable.relocations:
            yield f"relocation {variable.name} {offset} {symbol.name} {symbol.offset}"
    for offset, width, constant in program.constants:
        yield f"constant {offset} {width} {constant}"
    yield from map(str, program.operations)
    yield from map(str, program.watches)
    yield "end"
