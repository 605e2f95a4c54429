"""Inlines a call of a device function: the callee's body takes the place of the ``call``.

Parameters that PTX passes in ``.param`` space live in local memory, where caller and callee name the same variable;
those that it passes in registers are moved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiles.simulator.ptx import declarations
from profiles.simulator.ptx.errors import Malformed
from profiles.simulator.ptx.frames import Frame, Origin
from profiles.simulator.ptx.operands import NAME, split_operands
from profiles.simulator.ptx.scopes import Scope
from profiles.simulator.ptx.statements import RawInstruction
from profiles.simulator.ptx.syntax import Address, Operand, Register, SourceLine, Symbol, Variable

if TYPE_CHECKING:
    from profiles.simulator.ptx.kernel_builder import KernelBuilder

_CALL = re.compile(
    rf"(?:\(\s*([^()]*?)\s*\)\s*,\s*)?({NAME})\s*(?:,\s*\(\s*([^()]*?)\s*\)\s*)?(,.*)?", re.ASCII | re.DOTALL
)
_MOST_INSTRUCTIONS = 1 << 17
_DEEPEST = 64  # calls within calls
_REGISTER = re.compile(rf"\.reg\s*\.(\w+)\s+({NAME})", re.ASCII)


def inline_call(builder: KernelBuilder, raw: RawInstruction, scope: Scope, origin: Origin) -> None:
    """Add what a ``call`` does. Raises Malformed for a call that cannot be inlined."""
    if len(builder.instructions) > _MOST_INSTRUCTIONS:
        raise Malformed(f"expected at most {_MOST_INSTRUCTIONS} instructions with all calls inlined")
    match = _CALL.fullmatch(raw.operands)
    if match is None:
        raise Malformed("expected a call such as call (result), function, (argument)")
    returns, name, arguments, table = match.groups()
    _check_callee(builder, name, table, origin)
    callee = builder.functions[name]
    call = _Call(builder, scope, builder.inner_scope(_module_of(scope)), origin)
    end, after = (call.label(f"{name}.{place}") for place in ("end", "after"))
    if raw.guard:
        skip = RawInstruction(raw.guard, not raw.guard_negated, "bra", "")
        builder.emit(skip, (Symbol(after),), scope, origin)
    passed = call.bind(callee.parameters, arguments or "")
    returned = call.bind(callee.returns, returns or "")
    for formal, actual in passed:
        call.move_in(formal, actual)
    call.run(name, end)
    builder.labels[end] = len(builder.instructions)
    for formal, actual in returned:
        call.move_out(formal, actual)
    builder.labels[after] = len(builder.instructions)


def _check_callee(builder: KernelBuilder, name: str, table: str | None, origin: Origin) -> None:
    advice = "mark the function __forceinline__"
    if table is not None or name.startswith("%"):
        raise Malformed(f"expected a call by name: indirect calls cannot be inlined; {advice}")
    callee = builder.functions.get(name)
    if callee is None or callee.is_entry or callee.body is None:
        raise Malformed(
            f"expected a function with a body: `{name}` has none in this module; {advice} or do not call it"
        )
    if len(origin.frame.callers) == _DEEPEST:
        raise Malformed(f"expected calls at most {_DEEPEST} deep; {advice}")
    if name in origin.frame.callers:
        raise Malformed(f"expected no recursion: `{name}` calls itself; write it as a loop")


def _module_of(scope: Scope) -> Scope:
    while scope.parent is not None:
        scope = scope.parent
    return scope


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: the blocks of the caller and of the callee."""

    builder: KernelBuilder
    outer: Scope
    inner: Scope
    origin: Origin

    def label(self, name: str) -> str:
        """A label that only this call has."""
        return self.inner.unique(f"${name}")

    def bind(self, formals: str, actuals: str) -> list[tuple[Operand, Operand]]:
        """Declare the callee's parameters. Returns those (formal, actual) whose values have to be moved."""
        pieces = [piece.strip() for piece in formals.split(",")] if formals.strip() else []
        given = [self.outer.operand(piece) for piece in split_operands(actuals)]
        if len(pieces) != len(given):
            raise Malformed(f"expected {len(pieces)} parameters, not {len(given)}")
        bound = [(self._formal(piece, actual), actual) for piece, actual in zip(pieces, given, strict=True)]
        return [(formal, actual) for formal, actual in bound if formal != actual]

    def _formal(self, text: str, actual: Operand) -> Operand:
        if register := _REGISTER.fullmatch(text):
            return self.builder.declare_register(register[2], register[1], self.inner)
        name, size, alignment = declarations.parameter(text)
        if isinstance(actual, Symbol) and actual.name in self.builder.variables:
            self.inner.declare(name, actual)
            return actual
        formal = Symbol(self.inner.unique(name))
        self.builder.variables[formal.name] = Variable(formal.name, "local", alignment, size)
        self.inner.declare(name, formal)
        return formal

    def move_in(self, formal: Operand, actual: Operand) -> None:
        """Give a parameter its value."""
        if isinstance(formal, Register):
            self._emit(f"mov.{self._move_type(formal)}", formal, actual)
        elif isinstance(formal, Symbol):
            self._emit(f"st.local.b{self._bits(formal)}", Address(formal), actual)

    def move_out(self, formal: Operand, actual: Operand) -> None:
        """Give the caller a result."""
        if isinstance(formal, Register):
            self._emit(f"mov.{self._move_type(formal)}", actual, formal)
        elif isinstance(formal, Symbol):
            self._emit(f"ld.local.b{self._bits(formal)}", actual, Address(formal))

    def _move_type(self, register: Register) -> str:
        kind = self.builder.registers[register.name]
        return kind if kind == "pred" else f"b{8 * declarations.BYTES[kind]}"

    def _bits(self, formal: Symbol) -> int:
        size = self.builder.variables[formal.name].size
        if size not in declarations.BYTES.values():
            raise Malformed(f"expected a .param variable for a parameter of {size} bytes")
        return 8 * size

    def _emit(self, opcode: str, *operands: Operand) -> None:
        self.builder.emit(RawInstruction("", False, opcode, ""), operands, self.outer, self.origin)

    def run(self, name: str, end: str) -> None:
        """Add the callee's body."""
        builder, frame = self.builder, self.origin.frame
        here = builder.line_table.current
        sites: tuple[SourceLine, ...] = () if here is None else (here.line, *here.inlined_at)
        inner = Frame(builder.functions[name], sites + frame.call_sites, end, (*frame.callers, name))
        builder.read_body(inner, self.inner)
        builder.line_table.current = here
