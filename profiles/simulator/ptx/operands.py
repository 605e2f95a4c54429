"""Operands of PTX instructions (PTX ISA, "Instruction Operands"): text to syntax."""

from __future__ import annotations

import re
from collections.abc import Callable

from profiles.simulator.ptx.errors import Malformed
from profiles.simulator.ptx.literals import immediate, integer
from profiles.simulator.ptx.syntax import (
    Address,
    Immediate,
    Negated,
    Operand,
    Pair,
    Register,
    Sink,
    SpecialRegister,
    Symbol,
    Vector,
)

NAME = r"[A-Za-z_$%][\w$]*"
Resolve = Callable[[str], "Register | SpecialRegister | Symbol"]  # what a name stands for; raises Malformed

_OFFSETS = r"(?:\s*+[+-]\s*+(?:-\s*+)?\w++)*+"
_NAMED = re.compile(rf"({NAME}(?:\.[a-z]+)?)({_OFFSETS})", re.ASCII)
_OFFSET = re.compile(r"([+-])\s*(-?)\s*(\w+)", re.ASCII)
# An operand up to the comma that ends it; possessive, so that unbalanced text fails at once.
_PIECE = re.compile(
    r"\s*((?:[^,\[\]{}()]++|\[(?:[^\[\]{}]++|\{[^{}\[\]]*+\})*+\]|\{[^{}\[\]]*+\}|\([^(){}\[\]]*+\))++)", re.ASCII
)
_ADDRESS = re.compile(r"\[\s*([^,\[\]{}]+?)\s*(?:,\s*\{([^{}]*)\}\s*)?\]", re.ASCII)


def split_operands(text: str) -> list[str]:
    """The operands of an instruction, cut at the commas outside of brackets."""
    pieces: list[str] = []
    position = 0
    while position < len(text) or pieces:
        match = _PIECE.match(text, position)
        if match is None:
            raise Malformed(f"expected an operand in place of `{text[position:].strip()}`")
        pieces.append(match[1].rstrip())
        position = match.end()
        if position == len(text):
            break
        if text[position] != ",":
            raise Malformed(f"expected a comma in place of `{text[position:].strip()}`")
        position += 1
    return pieces


def parse_operand(text: str, resolve: Resolve) -> Operand:
    """One operand; ``text`` has no white space around it."""
    if text == "_":
        return Sink()
    reader = _READERS.get(text[:1])
    if reader is not None and not _is_signed_number(text):
        return reader(text, resolve)
    if "|" in text:
        return _pair(text, resolve)
    return _plain(text, resolve)


def _is_signed_number(text: str) -> bool:
    return text[0] == "-" and text[1:].lstrip()[:1].isdigit()


def _address(text: str, resolve: Resolve) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise Malformed(f"expected an address such as [%rd1+8] in place of `{text}`")
    base, offset = _base_and_offset(match[1], resolve)
    coordinates = None if match[2] is None else _elements(match[2], resolve)
    return Address(base, offset, coordinates)


def _base_and_offset(text: str, resolve: Resolve) -> tuple[Register | Symbol | Immediate, int]:
    named = _NAMED.fullmatch(text)
    if named is None:
        return Immediate(integer(text), text), 0
    base = resolve(named[1])
    if isinstance(base, SpecialRegister):
        raise Malformed(f"expected a register, a variable or a number as the address, not `{named[1]}`")
    return base, _sum(named[2])


def _sum(offsets: str) -> int:
    """Sum of the offsets in ``+8+-4``."""
    total = 0
    for sign, negative, digits in _OFFSET.findall(offsets):
        value = integer(digits)
        total += value if (sign == "-") == bool(negative) else -value
    return total


def _elements(text: str, resolve: Resolve) -> tuple[Operand, ...]:
    return tuple(parse_operand(piece.strip(), resolve) for piece in text.split(","))


def _vector(text: str, resolve: Resolve) -> Vector:
    if not text.endswith("}"):
        raise Malformed(f"expected a vector such as {{%r1, %r2}} in place of `{text}`")
    return Vector(_elements(text[1:-1], resolve))


def _negated(text: str, resolve: Resolve) -> Negated:
    register = resolve(text[1:].strip())
    if not isinstance(register, Register):
        raise Malformed(f"expected a register after `{text[0]}`")
    return Negated(register)


def _pair(text: str, resolve: Resolve) -> Pair:
    first, _, second = text.partition("|")
    if "|" in second:
        raise Malformed(f"expected two destinations in place of `{text}`")
    return Pair(parse_operand(first.strip(), resolve), parse_operand(second.strip(), resolve))


def _plain(text: str, resolve: Resolve) -> Operand:
    named = _NAMED.fullmatch(text)
    if named is None or text == "WARP_SZ":
        return immediate(text)
    found = resolve(named[1])
    if not named[2]:
        return found
    if not isinstance(found, Symbol):
        raise Malformed(f"expected brackets around `{text}`: only variables have an offset outside of an address")
    return Symbol(found.name, found.offset + _sum(named[2]))


_READERS: dict[str, Callable[[str, Resolve], Operand]] = {"[": _address, "{": _vector, "!": _negated, "-": _negated}
