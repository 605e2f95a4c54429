"""Literals of PTX (PTX ISA, "Constants")."""

from __future__ import annotations

import math
import re
import struct

from profiles.simulator.ptx.errors import Malformed
from profiles.simulator.ptx.syntax import Immediate

WARP_SIZE = 32

_INTEGER = re.compile(r"([+-]?)\s*(?:0[xX]([0-9a-fA-F]{1,32})|0[bB]([01]{1,64})|(0[0-7]{0,32})|([1-9][0-9]{0,19}))U?")
_SINGLE = re.compile(r"([+-]?)0[fF]([0-9a-fA-F]{8})")
_DOUBLE = re.compile(r"([+-]?)0[dD]([0-9a-fA-F]{16})")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]{1,4})?")
_BASES = (16, 2, 8, 10)  # of the groups of _INTEGER, after the sign


def integer(text: str) -> int:
    """Value of an integer literal with an optional sign. Raises Malformed beyond -2^63 to 2^64 - 1."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise Malformed(f"expected an integer in place of `{text}`")
    sign, *digits = match.groups()
    magnitude = next(int(group, base) for group, base in zip(digits, _BASES, strict=True) if group is not None)
    value = -magnitude if sign == "-" else magnitude
    if not -(2**63) <= value < 2**64:
        raise Malformed(f"expected an integer of 64 bits in place of `{text}`")
    return value


def immediate(text: str) -> Immediate:
    """A literal operand: an integer, a float by its bits (``0f``, ``0d``) or in decimal, or ``WARP_SZ``."""
    if text == "WARP_SZ":
        return Immediate(WARP_SIZE, text)
    if _INTEGER.fullmatch(text):
        return Immediate(integer(text), text)
    return Immediate(_floating(text), text)


def _floating(text: str) -> float:
    for pattern, form in ((_SINGLE, ">f"), (_DOUBLE, ">d")):
        if match := pattern.fullmatch(text):
            (value,) = struct.unpack(form, bytes.fromhex(match[2]))
            return -float(value) if match[1] == "-" else float(value)
    if _DECIMAL.fullmatch(text):
        if math.isinf(value := float(text)):
            raise Malformed(f"expected a number that a double can hold in place of `{text}`")
        return value
    raise Malformed(f"expected an operand in place of `{text}`")
