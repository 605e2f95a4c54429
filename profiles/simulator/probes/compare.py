"""Hold two results of a probe against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from profiles.simulator.probes.probe import Probe, Tolerance, Words, place_of

_CODES = {"f16": ("u2", "f2"), "f32": ("u4", "f4"), "f64": ("u8", "f8")}
_MANTISSA_BITS = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}
_SMALLEST_EXPONENT = {"f16": -14, "bf16": -126, "f32": -126, "f64": -1022}

Numbers = npt.NDArray[np.float64]


class Status(StrEnum):
    """How a comparison ended."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome for one probe."""

    probe: str
    status: Status
    detail: str = ""
    differing: int = 0  # words
    words: int = 0


def compare(probe: Probe, expected: Words, found: Words) -> Row:
    """Every word of two results, within the probe's tolerance."""
    if expected.shape != found.shape:
        return Row(probe.name, Status.DIFFERS, f"{len(found)} words; expected {len(expected)}")
    apart = np.flatnonzero(~agreement(expected, found, probe.tolerance))
    if not len(apart):
        return Row(probe.name, Status.EQUAL, _spread(probe, expected, found), 0, len(expected))
    first = int(apart[0])
    detail = f"{place_of(probe, first)}: expected {expected[first]:#x}, got {found[first]:#x}"
    return Row(probe.name, Status.DIFFERS, detail, len(apart), len(expected))


def agreement(expected: Words, found: Words, tolerance: Tolerance | None) -> npt.NDArray[np.bool_]:
    """For each word whether the two are equal, or close enough."""
    same: npt.NDArray[np.bool_] = expected == found
    if tolerance is None:
        return same
    first, second = as_numbers(expected, tolerance.type_name), as_numbers(found, tolerance.type_name)
    with np.errstate(invalid="ignore", over="ignore"):
        bound = np.maximum(
            tolerance.absolute,
            np.maximum(tolerance.relative * np.abs(first), tolerance.ulp * _ulp(first, tolerance.type_name)),
        )
        close = np.isfinite(first) & np.isfinite(second) & (np.abs(first - second) <= bound)
    agree: npt.NDArray[np.bool_] = same | close | (np.isnan(first) & np.isnan(second))
    return agree


def as_numbers(words: Words, type_name: str) -> Numbers:
    """What the low bits of the words mean."""
    if type_name == "bf16":
        upper = (words & np.uint64(0xFFFF)).astype(np.uint32) << np.uint32(16)
        return upper.view(np.float32).astype(np.float64)
    codes, numbers = _CODES[type_name]
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return words.astype(codes).view(numbers).astype(np.float64)  # the high bits fall off


def _ulp(numbers: Numbers, type_name: str) -> Numbers:
    """Distance to the next number of the type. Of what is not finite: anything."""
    magnitudes = np.where(np.isfinite(numbers), np.abs(numbers), 1.0)
    smallest = math.ldexp(1.0, _SMALLEST_EXPONENT[type_name])
    exponents = np.frexp(np.maximum(magnitudes, smallest))[1] - 1
    return np.asarray(np.ldexp(1.0, exponents - _MANTISSA_BITS[type_name]))


def _spread(probe: Probe, expected: Words, found: Words) -> str:
    """What a tolerance hid."""
    tolerance = probe.tolerance
    others = np.flatnonzero(expected != found)
    if tolerance is None or not len(others):
        return ""
    first, second = as_numbers(expected, tolerance.type_name), as_numbers(found, tolerance.type_name)
    finite = others[np.isfinite(first[others]) & np.isfinite(second[others])]
    if not len(finite):
        return f"{len(others)} words differ in how they write NaN"
    distances = np.abs(first[finite] - second[finite])
    ulps = distances / _ulp(first, tolerance.type_name)[finite]
    return f"{len(others)} words differ, by up to {distances.max():.3g} or {ulps.max():.3g} ulp: {tolerance.reason}"
