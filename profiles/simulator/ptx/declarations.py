"""Declarations of PTX: registers, variables, parameters, and the directives of a kernel."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from profiles.simulator.ptx.errors import Malformed
from profiles.simulator.ptx.literals import immediate, integer
from profiles.simulator.ptx.operands import NAME
from profiles.simulator.ptx.syntax import Immediate, Parameter, Symbol, Variable

BYTES = {
    **dict.fromkeys(("b8", "u8", "s8"), 1),
    **dict.fromkeys(("b16", "u16", "s16", "f16", "bf16"), 2),
    **dict.fromkeys(("b32", "u32", "s32", "f32", "f16x2", "bf16x2"), 4),
    **dict.fromkeys(("b64", "u64", "s64", "f64"), 8),
    "b128": 16,
}
ADDRESS_BYTES = 8
_MOST_REGISTERS = 1 << 20  # of one range; a larger number is a mistake
_MOST_BYTES = 1 << 32  # of one variable

_REGISTERS = re.compile(rf"\.reg\s*(?:\.align\s+\w+\s*)?\.(\w+)\s+({NAME}[^.;{{}}]*)", re.ASCII)
_RANGE = re.compile(rf"({NAME})\s*(?:<\s*(\w+)\s*>)?", re.ASCII)
_PARAMETER = re.compile(
    rf"\.param\s*(?:\.align\s+(?P<align>\w+)\s*)?\.(?P<type>\w+)\s+(?:\.ptr\s*(?:\.(?:global|shared|const|local)\s*)?"
    rf"(?:\.align\s+\w+\s*)?)?(?P<name>{NAME})\s*(?P<extents>(?:\[\s*\w*\s*\]\s*)*)",
    re.ASCII,
)
_VARIABLE = re.compile(
    r"(?P<linkage>(?:\.(?:visible|weak|extern|common)\s*)*)\.(?P<space>global|const|shared|local|param)\s*"
    r"(?:\.attribute\s*\((?:[^()]|\([^()]*\))*\)\s*)?(?:\.align\s+(?P<align>\w+)\s*)?(?:\.v(?P<vector>[24])\s*)?"
    r"\.(?P<type>\w+)\s+(?P<declarators>.*)",
    re.ASCII | re.DOTALL,
)
_DECLARATOR = re.compile(
    rf"\s*(?P<name>{NAME})\s*(?P<extents>(?:\[\s*\w*\s*\]\s*)*)(?:=\s*(?P<initial>\{{[^;]*?\}}(?=\s*(?:,\s*{NAME}|\Z))"
    r"|[^,{}]+))?\s*(?:,|\Z)",
    re.ASCII,
)
_EXTENT = re.compile(r"\[\s*(\w*)\s*\]", re.ASCII)
_ADDRESS_VALUE = re.compile(rf"(?:generic\s*\(\s*({NAME})\s*\)|({NAME}))\s*(?:([+-])\s*(\w+))?", re.ASCII)
_DIRECTIVE = re.compile(r"\.(\w+)((?:\s+\w+(?:\s*,\s*\w+)*)?)\s*", re.ASCII)
_PRAGMA = re.compile(r"\.pragma\s[^;]*;")

KERNEL_DIRECTIVES = frozenset(
    (
        *("maxntid", "reqntid", "minnctapersm", "maxnctapersm", "maxnreg", "noreturn"),
        *("explicitcluster", "reqnctapercluster", "maxclusterrank", "blocksareclusters"),
    )
)


def registers(text: str) -> Iterator[tuple[str, str]]:
    """(name, type) of the registers that ``.reg .b32 %r<10>, a, b`` declares."""
    match = _REGISTERS.fullmatch(text)
    if match is None:
        raise Malformed("expected a declaration such as .reg .b32 %r<10> (vectors of registers are not supported)")
    kind = match[1]
    if kind != "pred" and kind not in BYTES:
        raise Malformed(f"expected a type of a register in place of `.{kind}`")
    for piece in match[2].split(","):
        name = _RANGE.fullmatch(piece.strip())
        if name is None:
            raise Malformed(f"expected the name of a register in place of `{piece.strip()}`")
        for suffix in [""] if name[2] is None else _numbers(name[2]):
            yield name[1] + suffix, kind


def _numbers(text: str) -> list[str]:
    count = integer(text)
    if count > _MOST_REGISTERS:
        raise Malformed(f"expected at most {_MOST_REGISTERS} registers in a range, not {count}")
    return [str(index) for index in range(count)]


def parameters(text: str) -> tuple[Parameter, ...]:
    """The parameters of a kernel, placed one after the other at their alignments."""
    placed: list[Parameter] = []
    end = 0
    for piece in text.split(",") if text.strip() else ():
        name, size, alignment = parameter(piece.strip())
        offset = math.ceil(end / alignment) * alignment
        placed.append(Parameter(name, offset, size, alignment))
        end = offset + size
    return tuple(placed)


def parameter(text: str) -> tuple[str, int, int]:
    """(name, size, alignment) of a ``.param`` in the head of a function."""
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise Malformed(f"expected a parameter such as .param .u64 name in place of `{text}`")
    unit = _bytes(match["type"])
    return match["name"], unit * _count(match["extents"]), _alignment(match["align"], unit)


def _bytes(kind: str) -> int:
    if kind not in BYTES:
        raise Malformed(f"expected a type in place of `.{kind}` (textures, surfaces and samplers are not supported)")
    return BYTES[kind]


def _alignment(text: str | None, natural: int) -> int:
    alignment = natural if text is None else integer(text)
    if alignment < 1 or alignment & (alignment - 1):
        raise Malformed(f"expected a power of two as the alignment, not {alignment}")
    return alignment


def _count(extents: str) -> int:
    """Number of elements of ``[4][8]``; 0 for ``[]``."""
    return math.prod(integer(extent) if extent else 0 for extent in _EXTENT.findall(extents))


def variables(text: str) -> Iterator[Variable]:
    """The variables of one declaration, without its semicolon."""
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise Malformed("expected the declaration of a variable such as .shared .align 16 .b8 name[1024]")
    kind, width = match["type"], int(match["vector"] or 1)
    unit = _bytes(kind)
    rest = match["declarators"].rstrip()
    position = 0
    while position < len(rest):
        declarator = _DECLARATOR.match(rest, position)
        if declarator is None:
            raise Malformed(f"expected a variable's name in place of `{rest[position:]}`")
        yield _variable(declarator, match["space"], _alignment(match["align"], unit * width), kind, width)
        position = declarator.end()


def _variable(declarator: re.Match[str], space: str, alignment: int, kind: str, width: int) -> Variable:
    unit = BYTES[kind]
    values = _values(declarator["initial"])
    count = _count(declarator["extents"]) * width
    size = unit * (count or len(values))
    if not 0 <= size <= _MOST_BYTES or len(values) * unit > size:
        raise Malformed(f"expected at most {min(size, _MOST_BYTES)} bytes in `{declarator['name']}`")
    initial = bytearray()
    relocations: list[tuple[int, Symbol]] = []
    for value in values:
        if (symbol := _address_value(value)) is not None:
            if unit != ADDRESS_BYTES:
                raise Malformed(f"expected elements of 64 bits for the address `{value}`")
            relocations.append((len(initial), symbol))
        initial += bytes(unit) if symbol is not None else _encode(value, kind)
    return Variable(declarator["name"], space, alignment, size, bytes(initial), tuple(relocations))


def _values(initial: str | None) -> list[str]:
    """The initialisers in order. Inner braces are dropped: only full rows may be written with them."""
    if initial is None:
        return []
    return [piece.strip() for piece in re.sub(r"[{}]", " ", initial).split(",") if piece.strip()]


def _address_value(text: str) -> Symbol | None:
    match = _ADDRESS_VALUE.fullmatch(text)
    if match is None or text == "WARP_SZ":
        return None
    offset = integer(match[4]) if match[4] else 0
    return Symbol(match[1] or match[2], -offset if match[3] == "-" else offset)


def _encode(text: str, kind: str) -> bytes:
    """The bytes of a literal as an element of a variable."""
    size = BYTES[kind]
    value = immediate(text).value
    if isinstance(value, float):
        return _encode_float(text, kind)
    if kind in ("f32", "f64"):
        return _encode_float(f"{value}.0", kind)
    if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
        raise Malformed(f"expected a value of .{kind} in place of `{text}`")
    return (value % (1 << 8 * size)).to_bytes(size, "little")


def _encode_float(text: str, kind: str) -> bytes:
    literal: Immediate = immediate(text)
    if kind not in _FLOAT_FORMATS:
        raise Malformed(f"expected an integer in place of `{text}` for .{kind}")
    try:
        return struct.pack(_FLOAT_FORMATS[kind], literal.value)
    except OverflowError:
        raise Malformed(f"expected a value of .{kind} in place of `{text}`") from None


_FLOAT_FORMATS = {"f32": "<f", "f64": "<d"}


def directives(text: str) -> dict[str, tuple[int, ...]]:
    """The directives between a kernel's parameters and its body, with their numbers."""
    found: dict[str, tuple[int, ...]] = {}
    text = _PRAGMA.sub(" ", text).strip()
    position = 0
    while position < len(text):
        match = _DIRECTIVE.match(text, position)
        if match is None or match[1] not in KERNEL_DIRECTIVES:
            raise Malformed(f"expected a directive of a kernel such as .maxntid 128 in place of `{text[position:]}`")
        found[match[1]] = tuple(integer(number.strip()) for number in match[2].split(",") if number.strip())
        position = match.end()
    return found
