"""Cuts the body of a function into statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from profiles.simulator.ptx.errors import Malformed, PtxError
from profiles.simulator.ptx.line_table import LOC
from profiles.simulator.ptx.operands import NAME

_STATEMENT = re.compile(
    rf"\s*+(?:(?P<loc>{LOC})"
    rf"|(?P<table>{NAME})\s*:\s*\.branchtargets\s(?P<targets>[^;{{}}]*);"
    rf"|(?P<prototype>{NAME}\s*:\s*\.(?:callprototype|calltargets)\b[^;{{}}]*;)"
    rf"|(?P<label>{NAME})\s*:(?!:)"
    r"|(?P<open>\{)|(?P<close>\})"
    r"|(?P<pragma>\.pragma\s[^;{}]*;)"
    r"|(?P<declaration>\.\w[^;]*);"
    r"|(?P<instruction>[^;{}.\s][^;]*);)",
    re.ASCII,
)
_INSTRUCTION = re.compile(r"(?:@\s*(!?)\s*([\w$%]+)\s+)?([a-z][\w.:]*)(?:\s*(.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``kind``: loc, table, label, open, close, declaration or instruction."""

    kind: str
    line: int
    text: str  # without the semicolon; of a label or a table its name
    targets: str = ""  # of a table: the labels


def read_statements(body: str, line: int) -> Iterator[Statement]:
    """The statements of a body whose first character is on ``line``. Raises PtxError where there is none."""
    position, end = 0, len(body.rstrip())
    while position < end:
        match = _STATEMENT.match(body, position)
        kind = match.lastgroup if match else None
        if match is None or kind is None:
            line += body.count("\n", position, len(body) - len(body[position:].lstrip()))
            raise PtxError(line, body[position:].lstrip().partition("\n")[0], "expected a statement that ends with `;`")
        if kind == "targets":
            kind = "table"
        start = match.start(kind)
        line += body.count("\n", position, start)
        if kind not in ("prototype", "pragma"):
            yield Statement(kind, line, match[kind].rstrip(), match["targets"] or "")
        position = match.end()
        line += body.count("\n", start, position)


@dataclass(frozen=True, slots=True)
class RawInstruction:
    """An instruction cut into parts: the name of its guard ("" if none), opcode and text of its operands."""

    guard: str
    guard_negated: bool
    opcode: str
    operands: str


def cut_instruction(text: str) -> RawInstruction:
    """The parts of an instruction. Raises Malformed if it does not begin like one."""
    match = _INSTRUCTION.fullmatch(text)
    if match is None:
        raise Malformed("expected an instruction such as add.s32 %r1, %r2, %r3")
    return RawInstruction(match[2] or "", bool(match[1]), match[3], match[4] or "")
