"""``cvt`` of pairs: f16x2 and bf16x2 of two f32, and 8-bit floats. The first source is the upper half."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.exact_floats import BF16, E4M3, E5M2, F16, F32, Format, Number, is_negative
from tests.profiles.simulator.instruction_runs import Array, execute, floats
from tests.profiles.simulator.test_conversion_floats import near_ties

WIDE = {"f16x2": F16, "bf16x2": BF16}
NARROW = {"e4m3x2": E4M3, "e5m2x2": E5M2}


def cases(target: Format) -> Array:
    """Special, random and half-way f32 numbers."""
    return np.concatenate([floats("float32", count=200).view(np.uint32), near_ties(target, F32, "uint32")])


def relu(number: Number) -> Number:
    """Zero for what is negative."""
    return F32.value(0) if is_negative(number) else number


@pytest.mark.parametrize("target", WIDE)
def test_pairs_of_halves(memory: DeviceMemory, target: str) -> None:
    """.rn and .rz, .relu, .satfinite."""
    number_format = WIDE[target]
    a = cases(number_format)
    b = np.random.default_rng(1).permutation(a)
    forms = [(mode, flags) for mode in ("rn", "rz") for flags in ("", ".relu", ".satfinite", ".relu.satfinite")]
    results = execute(
        memory, [f"cvt.{mode}{flags}.{target}.f32 %d, %a, %b;" for mode, flags in forms], "uint32", a=a, b=b
    )
    upper, lower = ([F32.value(int(bits)) for bits in values] for values in (a, b))
    for (mode, flags), result in zip(forms, results, strict=True):
        for values, found in ((upper, result >> 16), (lower, result & 0xFFFF)):
            kept = [relu(value) for value in values] if "relu" in flags else values
            expected = [number_format.round(value, mode, "satfinite" in flags) for value in kept]
            np.testing.assert_array_equal(found, np.array(expected), err_msg=mode + flags)


@pytest.mark.parametrize("target", NARROW)
def test_bytes_of_f32(memory: DeviceMemory, target: str) -> None:
    """.satfinite: beyond the largest number, and for infinity, the largest; NaN stays NaN."""
    a = cases(NARROW[target])
    b = np.random.default_rng(1).permutation(a)
    plain, clamped = execute(
        memory, [f"cvt.rn.satfinite{flag}.{target}.f32 %d, %a, %b;" for flag in ("", ".relu")], "uint16", a=a, b=b
    )
    for values, shift in ((a, 8), (b, 0)):
        numbers = [F32.value(int(bits)) for bits in values]
        expected = [NARROW[target].round(number, saturate=True) for number in numbers]
        np.testing.assert_array_equal(plain >> shift & 0xFF, expected)
        expected = [NARROW[target].round(relu(number), saturate=True) for number in numbers]
        np.testing.assert_array_equal(clamped >> shift & 0xFF, expected)


@pytest.mark.parametrize("target", NARROW)
def test_bytes_of_halves(memory: DeviceMemory, target: str) -> None:
    """All f16 numbers, as both halves."""
    low = np.arange(2**16, dtype=np.uint32)
    (found,) = execute(memory, [f"cvt.rn.satfinite.{target}.f16x2 %d, %a;"], "uint16", a=low | np.flip(low) << 16)
    expected = np.array([NARROW[target].round(F16.value(bits), saturate=True) for bits in range(2**16)])
    np.testing.assert_array_equal(found & 0xFF, expected)
    np.testing.assert_array_equal(found >> 8, np.flip(expected))


@pytest.mark.parametrize("source", NARROW)
def test_halves_of_bytes(memory: DeviceMemory, source: str) -> None:
    """All 8-bit numbers, exactly."""
    low = np.arange(2**8, dtype=np.uint16)
    plain, clamped = execute(
        memory, [f"cvt.rn{flag}.f16x2.{source} %d, %a;" for flag in ("", ".relu")], "uint32", a=low | np.flip(low) << 8
    )
    numbers = [NARROW[source].value(bits) for bits in range(2**8)]
    np.testing.assert_array_equal(plain & 0xFFFF, [F16.round(number) for number in numbers])
    np.testing.assert_array_equal(plain >> 16, [F16.round(number) for number in numbers[::-1]])
    np.testing.assert_array_equal(clamped & 0xFFFF, [F16.round(relu(number)) for number in numbers])
