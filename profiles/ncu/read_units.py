"""Units of Nsight Compute in their many spellings -> SI base units, with exact powers of ten.

``Mbyte``, ``nsecond``, ``ns``, ``Ghz`` and ``cycle/nsecond`` are scaled; the names of what is counted (``inst``,
``warp``, ``sector``, ...) are dropped, since two of NVIDIA's own readers name them differently for one metric.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache

_PREFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "K": 3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_DIMENSIONS = {
    "byte": "B",
    "bytes": "B",
    "second": "s",
    "s": "s",
    "hz": "Hz",
    "cycle": "cycle",
    "cycles": "cycle",
    "1": "",
}
_COUNTED = re.compile(
    "inst|warps?|threads?|blocks?|requests?|sectors?|registers?|pass|passes|samples?|branch|branches|clusters?|SM"
    "|instances?|wavefronts?|nodes?|ops?"
)
_PREFIXED = re.compile("([numKkMGTP])(byte|bytes|second|s|hz)")
_EXACT = Context(prec=1000)  # more digits than any cell holds
_SPELLINGS = {"cycle/s": "Hz", "Hz": "Hz", "%": "%"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in which values are kept, and the power of ten that brings a value of the file into it."""

    name: str
    exponent: int

    def convert(self, value: float) -> float:
        """``value`` in this unit, rounded once: powers of ten up to 10**22 are exact as floats."""
        return value * 10.0**self.exponent if self.exponent >= 0 else value / 10.0**-self.exponent

    def convert_decimal(self, value: Decimal) -> float:
        """``value`` in this unit: the float nearest to the exact decimal."""
        return float(_EXACT.scaleb(value, self.exponent))


@cache
def parse_unit(text: str) -> Unit:
    """The unit that ``text`` means. A spelling that is not known stays as it is, with the value unscaled."""
    top, slash, bottom = text.strip().partition("/")
    numerator = _parse_noun(top)
    denominator = _parse_noun(bottom) if slash else Unit("", 0)
    if numerator is None or denominator is None:
        return Unit(_SPELLINGS.get(text, text), 0)
    exponent = numerator.exponent - denominator.exponent
    name = f"{numerator.name or '1'}/{denominator.name}" if denominator.name else numerator.name
    return Unit(_SPELLINGS.get(name, name), exponent)


def _parse_noun(text: str) -> Unit | None:
    if text == "" or _COUNTED.fullmatch(text):
        return Unit("", 0)
    if text in _DIMENSIONS:
        return Unit(_DIMENSIONS[text], 0)
    if match := _PREFIXED.fullmatch(text):
        return Unit(_DIMENSIONS[match[2]], _PREFIXES[match[1]])
    return None
