"""Builds a kernel from its entry and the functions that it calls, which are inlined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from profiles.simulator.ptx import declarations
from profiles.simulator.ptx.calls import inline_call
from profiles.simulator.ptx.errors import Malformed, PtxError
from profiles.simulator.ptx.frames import Frame, Origin
from profiles.simulator.ptx.layout import Function
from profiles.simulator.ptx.line_table import LineTable
from profiles.simulator.ptx.operands import split_operands
from profiles.simulator.ptx.scopes import Scope
from profiles.simulator.ptx.statements import RawInstruction, Statement, cut_instruction, read_statements
from profiles.simulator.ptx.syntax import (
    Address,
    Guard,
    Instruction,
    Kernel,
    Operand,
    Parameter,
    Register,
    SourceLocation,
    Symbol,
    Variable,
)

_INNER_SPACES = ("shared", "local", "param")


@dataclass
class KernelBuilder:
    """What is known of the kernel so far. Bodies are read twice: names first, as labels are used before they stand."""

    functions: Mapping[str, Function]
    line_table: LineTable
    parameters: tuple[Parameter, ...]
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    branch_tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _scopes: int = 0

    def build(self, entry: Function, directives: dict[str, tuple[int, ...]]) -> Kernel:
        """The kernel, once its body has been read."""
        return Kernel(
            name=entry.name,
            parameters=self.parameters,
            registers=self.registers,
            variables=tuple(self.variables.values()),
            instructions=tuple(self.instructions),
            labels=self.labels,
            branch_tables=self.branch_tables,
            directives=directives,
        )

    def read_body(self, frame: Frame, scope: Scope) -> None:
        """Add the instructions of a function's body; ``scope`` has its parameters, and gets its names."""
        function = frame.function
        statements = self._declare(read_statements(function.body or "", function.body_line), scope, frame)
        for statement, inner in statements:
            if statement.kind == "loc":
                self.line_table.move(statement.text)
                continue
            try:
                self._read(statement, inner, frame)
            except Malformed as problem:
                raise PtxError(statement.line, statement.text, str(problem)) from None

    def inner_scope(self, parent: Scope) -> Scope:
        """A block inside of another, with a suffix of its own."""
        self._scopes += 1
        return Scope(parent, f"#{self._scopes}")

    def emit(self, raw: RawInstruction, operands: tuple[Operand, ...], scope: Scope, origin: Origin) -> None:
        """Add an instruction."""
        guard = Guard(scope.register(raw.guard), raw.guard_negated) if raw.guard else None
        self.instructions.append(
            Instruction(raw.opcode, operands, guard, origin.line, self._location(origin.frame), origin.text)
        )

    def _location(self, frame: Frame) -> SourceLocation | None:
        current = self.line_table.current
        if current is None or not frame.call_sites:
            return current
        return replace(current, inlined_at=current.inlined_at + frame.call_sites)

    def _declare(self, statements: Iterable[Statement], scope: Scope, frame: Frame) -> list[tuple[Statement, Scope]]:
        """Enter all names of a body. Returns the other statements, each with its block."""
        outermost, rest = scope, []
        for statement in statements:
            if statement.kind == "open":
                scope = self.inner_scope(scope)
            elif statement.kind == "close":
                if scope is outermost or scope.parent is None:
                    raise PtxError(statement.line, statement.text, "expected no more `}` than `{`")
                scope = scope.parent
            else:
                rest.append((statement, scope))
                self._declare_names(statement, scope, frame)
        return [(statement, inner) for statement, inner in rest if statement.kind != "declaration"]

    def _declare_names(self, statement: Statement, scope: Scope, frame: Frame) -> None:
        try:
            if statement.kind in ("label", "table"):
                scope.declare(statement.text, Symbol(scope.unique(statement.text)))
            elif statement.kind == "declaration" and statement.text.startswith(".reg"):
                for name, kind in declarations.registers(statement.text):
                    self.declare_register(name, kind, scope)
            elif statement.kind == "declaration":
                for variable in declarations.variables(statement.text):
                    self._declare_variable(variable, scope, frame, statement.line)
        except Malformed as problem:
            raise PtxError(statement.line, statement.text, str(problem)) from None

    def declare_register(self, name: str, kind: str, scope: Scope) -> Register:
        """A new register of a block."""
        register = Register(scope.unique(name))
        scope.declare(name, register)
        self.registers[register.name] = kind
        return register

    def _declare_variable(self, variable: Variable, scope: Scope, frame: Frame, line: int) -> None:
        if variable.space not in _INNER_SPACES:
            raise Malformed(f"expected a .{variable.space} variable outside of functions")
        # A callee's shared variable is one variable however often it is inlined.
        shared = variable.space == "shared" and frame.callers
        name = f"{frame.function.name}.{variable.name}@{line}" if shared else scope.unique(variable.name)
        space = "shared" if variable.space == "shared" else "local"
        scope.declare(variable.name, Symbol(name))
        self.variables[name] = replace(variable, name=name, space=space)

    def _read(self, statement: Statement, scope: Scope, frame: Frame) -> None:
        if statement.kind == "label":
            self.labels[scope.unique(statement.text)] = len(self.instructions)
        elif statement.kind == "table":
            self.branch_tables[scope.unique(statement.text)] = self._targets(statement.targets, scope)
        else:
            self._read_instruction(statement, scope, frame)

    def _targets(self, text: str, scope: Scope) -> tuple[str, ...]:
        names = []
        for piece in text.split(","):
            target = scope.resolve(piece.strip())
            if not isinstance(target, Symbol):
                raise Malformed(f"expected a label in place of `{piece.strip()}`")
            names.append(target.name)
        return tuple(names)

    def _read_instruction(self, statement: Statement, scope: Scope, frame: Frame) -> None:
        raw = cut_instruction(statement.text)
        origin = Origin(statement.line, " ".join(statement.text.split()), frame)
        if raw.opcode in ("call", "call.uni"):
            inline_call(self, raw, scope, origin)
        elif raw.opcode in ("ret", "ret.uni") and frame.end is not None:
            self.emit(replace(raw, opcode="bra"), (Symbol(frame.end),), scope, origin)
        else:
            operands = tuple([scope.operand(piece) for piece in split_operands(raw.operands)])
            if ".param" in raw.opcode:
                raw = self._in_local_memory(raw, operands, frame)
            self.emit(raw, operands, scope, origin)

    def _in_local_memory(self, raw: RawInstruction, operands: tuple[Operand, ...], frame: Frame) -> RawInstruction:
        """An access to a parameter of a call as an access to local memory, where those of inlined calls are."""
        address = next((operand for operand in operands if isinstance(operand, Address)), None)
        base = address.base if address is not None else None
        of_call = base.name in self.variables if isinstance(base, Symbol) else bool(frame.callers)
        if not of_call or ".param::entry" in raw.opcode:
            return raw
        return replace(raw, opcode=raw.opcode.replace(".param::func", ".local").replace(".param", ".local"))
