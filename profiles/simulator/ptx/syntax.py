"""What a PTX module says, as data. Nothing here knows how it is written or what an instruction does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a CUDA source, as the compiler's line table names it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where an instruction comes from: its line, and the call sites it was inlined at, from the inside out."""

    line: SourceLine
    inlined_at: tuple[SourceLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """A register by its unique name: names of inner scopes are renamed apart by the parser."""

    name: str


@dataclass(frozen=True, slots=True)
class SpecialRegister:
    """A read-only register such as ``%tid.x`` or ``%laneid``; the name keeps the percent sign and the component."""

    name: str


@dataclass(frozen=True, slots=True)
class Immediate:
    """A literal. ``value`` is an int (also of ``0x`` and binary literals) or, for ``0f``/``0d`` literals, a float."""

    value: int | float
    text: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """The address of a variable or parameter plus ``offset`` bytes; or the name of a label, function or table."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """``[base + offset]``; ``coordinates`` are the second part of a tensor address ``[base, {c0, c1}]``."""

    base: Register | Symbol | Immediate
    offset: int = 0
    coordinates: tuple[Operand, ...] | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """``{a, b, ...}``."""

    elements: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """``!p``, or ``-r`` where an instruction allows it."""

    operand: Register


@dataclass(frozen=True, slots=True)
class Pair:
    """``p|q``: two destinations."""

    first: Operand
    second: Operand


@dataclass(frozen=True, slots=True)
class Sink:
    """``_``: a destination nobody reads."""


Operand = Register | SpecialRegister | Immediate | Symbol | Address | Vector | Negated | Pair | Sink


@dataclass(frozen=True, slots=True)
class Guard:
    """``@p`` or ``@!p``."""

    register: Register
    negated: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction. Its place in :attr:`Kernel.instructions` identifies it everywhere (its "site")."""

    opcode: str  # with all modifiers: "ld.global.v4.u32"
    operands: tuple[Operand, ...]
    guard: Guard | None
    ptx_line: int  # 1-based, in the module's text
    location: SourceLocation | None
    text: str  # as written, on one line, without the guard's "@" part removed

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The opcode at its dots: ("ld", "global", "v4", "u32")."""
        return tuple(self.opcode.split("."))

    @property
    def root(self) -> str:
        """What it is, without modifiers: "ld"."""
        return self.parts[0]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in a state space: "shared", "global", "const", "local"."""

    name: str
    space: str
    alignment: int  # bytes
    size: int  # bytes; 0 for an ``extern`` array of unknown size
    initial: bytes = b""  # zero-filled up to ``size``
    relocations: tuple[tuple[int, Symbol], ...] = ()  # (byte offset, 8-byte address stored there)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter and its place in the block of parameters."""

    name: str
    offset: int  # bytes
    size: int  # bytes
    alignment: int


@dataclass(frozen=True)
class Kernel:
    """One ``.entry``.

    ``registers`` maps every (unique) register name to its PTX type without the dot: "pred", "b16", "f32", "b64", ...
    ``labels`` maps a label to the index of the instruction that it precedes (the number of instructions for a label at
    the end). ``branch_tables`` maps a ``.branchtargets`` label to the labels that it lists. ``directives`` maps
    "maxntid", "reqntid", "minnctapersm", "maxnreg", "reqnctapercluster", "explicitcluster", ... to its numbers.
    """

    name: str
    parameters: tuple[Parameter, ...]
    registers: dict[str, str]
    variables: tuple[Variable, ...]  # declared inside: shared, local
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    directives: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def parameter_bytes(self) -> int:
        """Size of the block of parameters."""
        return max((parameter.offset + parameter.size for parameter in self.parameters), default=0)


@dataclass(frozen=True)
class Module:
    """A PTX file: what it was made for, its variables, and the kernels that were asked for."""

    version: str  # "9.0"
    target: str  # "sm_90a"
    files: dict[int, str]  # the line table's files
    variables: tuple[Variable, ...]  # of the module: shared, global, const
    kernels: dict[str, Kernel]
