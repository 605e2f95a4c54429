"""The bits of a literal in the type that an instruction wants."""

from __future__ import annotations

import struct

from profiles.simulator.lowering.context import slot_bytes
from profiles.simulator.ptx.syntax import Immediate

_FORMATS = {"f16": "<e", "f32": "<f", "f64": "<d"}
_BITS_OF_FLOATS = {"0f": 4, "0d": 8}


def literal_bits(literal: Immediate, type_name: str) -> int:
    """The unsigned bits of a literal, as wide as a register of the type; 0 or 1 for a predicate.

    Integers are cut to the type, as PTX does; packed types take them as bits. A floating-point literal is rounded to
    nearest even.

    Raises:
        ValueError: if the type cannot hold such a literal; the text is for the user.
    """
    if type_name == "pred":
        return int(literal.value != 0)
    width = slot_bytes(type_name)
    if isinstance(literal.value, int):
        if type_name in ("f32", "f64"):
            raise ValueError(f"the integer {literal.text} where a floating-point literal is expected")
        return literal.value & ((1 << 8 * width) - 1)
    exact = _exact_bits(literal, width)
    return exact if exact is not None else _rounded_bits(literal, type_name, literal.value)


def _exact_bits(literal: Immediate, width: int) -> int | None:
    """Bits of a hexadecimal literal of just this width; the payload of a NaN is kept."""
    prefix = literal.text[:2].lower()
    if _BITS_OF_FLOATS.get(prefix) != width:
        return None
    return int(literal.text[2:], 16)


def _rounded_bits(literal: Immediate, type_name: str, value: float) -> int:
    if type_name == "bf16":
        return _bfloat16_bits(value)
    if type_name not in _FORMATS:
        raise ValueError(f"the floating-point literal {literal.text} where .{type_name} is expected")
    try:
        data = struct.pack(_FORMATS[type_name], value)
    except OverflowError:
        raise ValueError(f"{literal.text} is too large for .{type_name}") from None
    return int.from_bytes(data, "little")


def _bfloat16_bits(value: float) -> int:
    """Nearest even. Rounding through float32 is exact enough: literals that need more digits do not occur in PTX."""
    bits = int.from_bytes(struct.pack("<f", value), "little")
    if value != value:
        return bits >> 16 | 0x40
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16
