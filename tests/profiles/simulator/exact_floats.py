"""Floating-point formats and rounding by exact rational arithmetic: what the simulator is compared with.

Written from IEEE 754 and the PTX ISA alone: a number is rounded by comparing it with the two numbers of the format
around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Special = str  # "nan", "inf", "-inf", "-0"
Number = Fraction | Special


@dataclass(frozen=True, slots=True)
class Format:
    """A binary format with a sign, in the low bits of an integer."""

    exponent_bits: int
    mantissa_bits: int
    infinite: bool = True  # else the highest exponent has numbers, and only all ones is NaN

    @property
    def bias(self) -> int:
        """What is added to an exponent."""
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return 1 << (self.exponent_bits + self.mantissa_bits)

    @property
    def nan(self) -> int:
        """The canonical NaN of PTX: all ones but the sign."""
        return self.sign - 1

    @property
    def infinity(self) -> int:
        """Bits of the positive infinity; of no meaning without one."""
        return (2**self.exponent_bits - 1) << self.mantissa_bits

    @property
    def largest(self) -> int:
        """Bits of the largest finite number."""
        return (self.infinity if self.infinite else self.nan) - 1

    def value(self, bits: int) -> Number:
        """The number that the bits stand for."""
        magnitude = bits & (self.sign - 1)
        negative = bool(bits & self.sign)
        if magnitude > self.largest:
            is_infinite = self.infinite and magnitude == self.infinity
            return ("-inf" if negative else "inf") if is_infinite else "nan"
        if magnitude == 0:
            return "-0" if negative else Fraction(0)
        number = self._finite(magnitude)
        return -number if negative else number

    def _finite(self, magnitude: int) -> Fraction:
        field, mantissa = magnitude >> self.mantissa_bits, magnitude & (2**self.mantissa_bits - 1)
        significand = mantissa + (2**self.mantissa_bits if field else 0)
        return Fraction(significand) * Fraction(2) ** (max(field, 1) - self.bias - self.mantissa_bits)

    def round(self, number: Number, mode: str = "rn", saturate: bool = False) -> int:
        """Bits of the number of this format that PTX's rounding ``mode`` gives; ``saturate`` is .satfinite."""
        if number == "nan":
            return self.nan
        if number in ("inf", "-inf"):
            return self._beyond(number == "-inf", "rn", saturate)
        if number == "-0":
            return self.sign
        assert isinstance(number, Fraction)
        negative = number < 0
        magnitude = self._round_magnitude(abs(number), negative, mode)
        if magnitude > self.largest:
            return self._beyond(negative, mode, saturate)
        return magnitude | (self.sign if negative else 0)

    def _round_magnitude(self, number: Fraction, negative: bool, mode: str) -> int:
        """Bits; the exponent may grow beyond the format."""
        if number == 0:
            return 0
        exponent = math.floor(math.log2(number.numerator) - math.log2(number.denominator))
        exponent += (number >= Fraction(2) ** (exponent + 1)) - (number < Fraction(2) ** exponent)
        exponent = max(exponent, 1 - self.bias)
        steps = number / Fraction(2) ** (exponent - self.mantissa_bits)
        low = steps.numerator // steps.denominator
        rest = steps - low
        up = {
            "rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1),
            "rna": rest >= Fraction(1, 2),
            "rz": False,
            "rm": negative and rest > 0,
            "rp": not negative and rest > 0,
        }[mode]
        # `low` has the implicit one in the place of the exponent's last bit, unless it is subnormal.
        return ((exponent - 1 + self.bias) << self.mantissa_bits) + low + up

    def _beyond(self, negative: bool, mode: str, saturate: bool) -> int:
        stays = mode == "rz" or mode == ("rp" if negative else "rm")
        if saturate or (stays and self.infinite):
            magnitude = self.largest
        else:
            magnitude = self.infinity if self.infinite else self.nan
        return magnitude | (self.sign if negative else 0)


F16 = Format(5, 10)
BF16 = Format(8, 7)
TF32 = Format(8, 10)
F32 = Format(8, 23)
F64 = Format(11, 52)
E4M3 = Format(4, 3, infinite=False)
E5M2 = Format(5, 2)


def kept_nan(source: Format, target: Format, *operands: int) -> int:
    """The NaN where f64 takes part, as seen on an H100 (driver 580, CUDA 13.0); PTX leaves it open.

    Args:
        source: format of the operands.
        target: format of the result.
        operands: bits, in the order in which the hardware prefers them. The first that is NaN gives its sign and as
            much of its payload as fits, and becomes quiet; an invalid operation has none, and gives the negative one.
    """
    quiet = 1 << (target.mantissa_bits - 1)
    for bits in operands:
        if source.value(bits) == "nan":
            payload = (bits % 2**source.mantissa_bits) << target.mantissa_bits >> source.mantissa_bits
            return (target.sign if bits & source.sign else 0) | target.infinity | payload | quiet
    return target.sign | target.infinity | quiet


def is_negative(number: Number) -> bool:
    """The sign bit, of zeros and infinities too."""
    return number.startswith("-") if isinstance(number, str) else number < 0


def _infinite(number: Number) -> bool:
    return number in ("inf", "-inf")


def _plain(number: Number) -> Fraction:
    return Fraction(0) if isinstance(number, str) else number


def _zero(negative: bool) -> Number:
    return "-0" if negative else Fraction(0)


def _infinity(negative: bool) -> Number:
    return "-inf" if negative else "inf"


def add(a: Number, b: Number, mode: str = "rn") -> Number:
    """The exact sum; the sign of a zero depends on the rounding."""
    if "nan" in (a, b) or (_infinite(a) and _infinite(b) and a != b):
        return "nan"
    if _infinite(a) or _infinite(b):
        return a if _infinite(a) else b
    total = _plain(a) + _plain(b)
    if total != 0:
        return total
    if is_negative(a) == is_negative(b):
        return _zero(is_negative(a))
    return _zero(mode == "rm")


def multiply(a: Number, b: Number) -> Number:
    """The exact product."""
    negative = is_negative(a) != is_negative(b)
    infinite = _infinite(a) or _infinite(b)
    if "nan" in (a, b) or (infinite and 0 in (_or_infinite(a), _or_infinite(b))):
        return "nan"
    if infinite:
        return _infinity(negative)
    return _plain(a) * _plain(b) or _zero(negative)


def divide(a: Number, b: Number) -> Number:
    """The exact quotient."""
    negative = is_negative(a) != is_negative(b)
    if "nan" in (a, b) or (_infinite(a) and _infinite(b)) or (_or_infinite(a) == 0 == _or_infinite(b)):
        return "nan"
    if _infinite(a) or _or_infinite(b) == 0:
        return _infinity(negative)
    if _infinite(b):
        return _zero(negative)
    return _plain(a) / _plain(b) or _zero(negative)


def _or_infinite(number: Number) -> Fraction | None:
    return None if _infinite(number) else _plain(number)


def negate(a: Number) -> Number:
    """The number with the other sign."""
    if isinstance(a, str):
        return {"nan": "nan", "inf": "-inf", "-inf": "inf", "-0": Fraction(0)}[a]
    return -a or "-0"


def fused(a: Number, b: Number, c: Number, mode: str = "rn") -> Number:
    """The sum a * b + c without rounding between."""
    return add(multiply(a, b), c, mode)


def root(a: Number) -> Number:
    """The square root, to 200 bits, with a sign of what follows: enough to round it to any format."""
    if a == "nan" or (is_negative(a) and a != "-0"):
        return "nan"
    if isinstance(a, str) or a == 0:
        return a
    shift = 400 + 2 * a.denominator.bit_length()
    scaled = (a.numerator << shift) // a.denominator
    floor = math.isqrt(scaled)
    exact = floor * floor == scaled and (scaled * a.denominator) == a.numerator << shift
    return (Fraction(floor) + (0 if exact else Fraction(1, 2))) / 2 ** (shift // 2)
