"""``cvt`` from and to floats: one rounding of the exact value, in each mode; clamping to integers; NaN."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.exact_floats import BF16, F16, F32, F64, TF32, Format, Number, kept_nan
from tests.profiles.simulator.instruction_runs import Array, execute, floats, integers

FORMATS = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64}
WORDS = {"f16": "uint16", "bf16": "uint16", "f32": "uint32", "f64": "uint64"}
INTEGERS = {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("u", "uint"), ("s", "int")) for bits in (16, 32, 64)}
MODES = ("rn", "rz", "rm", "rp")


def words(type_name: str, count: int = 120) -> Array:
    """Bits of special and random numbers of a format."""
    if type_name == "bf16":
        return (floats("float32", count=count).view(np.uint32) >> 16).astype(np.uint16)
    return floats(f"float{type_name[1:]}", count=count).view(WORDS[type_name])


def near_ties(target: Format, source: Format, word: str) -> Array:
    """Numbers of ``source`` at, above and below the middle between two numbers of ``target``, and small ones."""
    generator = np.random.default_rng(3)
    dropped = source.mantissa_bits - target.mantissa_bits
    places = generator.integers(0, 2**target.mantissa_bits, 30)
    least = max(1, source.bias - target.bias - target.mantissa_bits - 3)
    starts = [*range(least, least + target.mantissa_bits + 6, 3), source.bias - 2]
    bits = [
        (start << source.mantissa_bits) + (int(place) << dropped) + (1 << (dropped - 1)) + step
        for start in starts
        for place in places
        for step in (-1, 0, 1)
    ]
    return np.array([value | sign for value in bits for sign in (0, source.sign)], word)


def converted(bits: int, target: str, source: str, mode: str = "rn") -> int:
    """The result's bits; NaN of f64 and to f64 is kept, and of bf16 in f32 it is not touched (seen on an H100)."""
    number = FORMATS[source].value(bits)
    if number == "nan" and "f64" in (target, source):
        return kept_nan(FORMATS[source], FORMATS[target], bits)
    if number == "nan" and (target, source) == ("f32", "bf16"):
        return bits << 16
    return FORMATS[target].round(number, mode)


@pytest.mark.parametrize(
    ("target", "source"), [("f16", "f32"), ("bf16", "f32"), ("f16", "f64"), ("bf16", "f64"), ("f32", "f64")]
)
def test_narrowing_rounds_once(memory: DeviceMemory, target: str, source: str) -> None:
    """Also into subnormal numbers, and beyond the largest."""
    a = np.concatenate(
        [words(source, 300), near_ties(FORMATS[target], FORMATS[source], WORDS[source])]
    )  # fmt: skip
    results = execute(memory, [f"cvt.{mode}.{target}.{source} %d, %a;" for mode in MODES], WORDS[target], a=a)
    for mode, found in zip(MODES, results, strict=True):
        expected = np.array([converted(bits, target, source, mode) for bits in a.tolist()], WORDS[target])
        np.testing.assert_array_equal(found, expected, err_msg=mode)


@pytest.mark.parametrize(("target", "source"), [("f32", "f16"), ("f32", "bf16"), ("f64", "f16"), ("f64", "f32")])
def test_widening_is_exact(memory: DeviceMemory, target: str, source: str) -> None:
    """All 65,536 values of the halves; NaN of f16 becomes the canonical one of f32."""
    a = np.arange(2**16, dtype=np.uint16) if source != "f32" else words("f32", 2000)
    (found,) = execute(memory, [f"cvt.{target}.{source} %d, %a;"], WORDS[target], a=a)
    expected = [converted(bits, target, source) for bits in a.tolist()]
    np.testing.assert_array_equal(found, np.array(expected, WORDS[target]))


def test_flushing_f32_on_its_way_to_f64_makes_nan_canonical(memory: DeviceMemory) -> None:
    """The canonical one of f32, widened (seen on an H100)."""
    a = np.array([0x7FC00000, 0xFFC12345, 0x7F800001], np.uint32)
    (found,) = execute(memory, ["cvt.ftz.f64.f32 %d, %a;"], "uint64", a=a)
    assert found.tolist() == [0x7FFFFFFFE0000000] * 3


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=96))
def test_any_f32_to_f16_and_bf16_and_back(memory: DeviceMemory, cases: list[int]) -> None:
    """Rounding to nearest of arbitrary bits."""
    a = np.array(cases, np.uint32)
    half, brain = execute(memory, ["cvt.rn.f16.f32 %d, %a;", "cvt.rn.bf16.f32 %d, %a;"], "uint16", a=a)
    for bits, found, other in zip(cases, half.tolist(), brain.tolist(), strict=True):
        assert found == F16.round(F32.value(bits))
        assert other == BF16.round(F32.value(bits))


def integral(number: Number, mode: str) -> int:
    """A finite number as an integer: .rni, .rzi, .rmi, .rpi."""
    assert isinstance(number, Fraction)
    functions = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}
    return functions[mode](number)


def expected_integer(number: Number, mode: str, target: str, source: str) -> int:
    """Clamped to the type; NaN is 0, or only the highest bit where f64 or a 64-bit integer takes part."""
    info = np.iinfo(INTEGERS[target])
    if number == "nan":
        special = source == "f64" or info.bits == 64
        return (info.min or info.max // 2 + 1) if special else 0
    if number in ("inf", "-inf"):
        return int(info.max if number == "inf" else info.min)
    whole = 0 if number == "-0" else integral(number, mode)
    return min(max(whole, int(info.min)), int(info.max))


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", INTEGERS)
def test_floats_become_integers(memory: DeviceMemory, target: str, source: str) -> None:
    """Rounded to a whole number in each of the modes, then clamped."""
    number_format = FORMATS[source]
    halves = [Fraction(n, 2) for n in range(-9, 10)] + [Fraction(2) ** n for n in (15, 16, 31, 32, 63, 64)]
    values = [number_format.round(value) for value in halves] + [number_format.round(-value) for value in halves]
    a = np.concatenate([words(source, 40), np.array(values, WORDS[source])])
    modes = ("rni", "rzi", "rmi", "rpi")
    results = execute(memory, [f"cvt.{mode}.{target}.{source} %d, %a;" for mode in modes], INTEGERS[target], a=a)
    for mode, result in zip(modes, results, strict=True):
        for bits, found in zip(a.tolist(), result.tolist(), strict=True):
            assert found == expected_integer(number_format.value(bits), mode, target, source), (mode, hex(bits))


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", FORMATS)
def test_integers_become_floats(memory: DeviceMemory, target: str, source: str) -> None:
    """Rounded once: 64-bit integers that lie just beside the middle between two floats, too."""
    info = np.iinfo(INTEGERS[source])
    ties = [
        (1 << top) + (1 << (top - FORMATS[target].mantissa_bits - 1)) + step
        for top in range(FORMATS[target].mantissa_bits + 2, info.bits - 1)
        for step in (-1, 0, 1)
    ]
    a = np.concatenate([integers(INTEGERS[source], count=40), np.array(ties, INTEGERS[source])])
    results = execute(memory, [f"cvt.{mode}.{target}.{source} %d, %a;" for mode in MODES], WORDS[target], a=a)
    for mode, result in zip(MODES, results, strict=True):
        expected = [FORMATS[target].round(Fraction(value), mode) for value in a.tolist()]
        np.testing.assert_array_equal(result, np.array(expected, WORDS[target]), err_msg=mode)


@pytest.mark.parametrize("type_name", ["f32", "f64", "f16"])
def test_whole_numbers_of_the_same_type(memory: DeviceMemory, type_name: str) -> None:
    """``cvt.rzi.f32.f32`` is trunc and so on; the sign of zero stays."""
    a = floats(f"float{type_name[1:]}")
    functions = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
    results = execute(
        memory, [f"cvt.{mode}.{type_name}.{type_name} %d, %a;" for mode in functions], str(a.dtype), a=a
    )  # fmt: skip
    for function, found in zip(functions.values(), results, strict=True):
        expected = function(a)
        np.testing.assert_array_equal(found, expected)
        known = ~np.isnan(a)
        np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])


def test_tf32(memory: DeviceMemory) -> None:
    """The low 13 bits become zero by rounding, ties away from zero with .rna; .satfinite and .relu."""
    a = np.concatenate([words("f32", 300), near_ties(TF32, F32, "uint32")])
    modes = ("rna", "rn", "rz")
    results = execute(memory, [f"cvt.{mode}.tf32.f32 %d, %a;" for mode in modes], "uint32", a=a)
    values = [F32.value(int(bits)) for bits in a]
    number = np.array([value != "nan" for value in values])
    for mode, found in zip(modes, results, strict=True):
        expected = np.array([TF32.round(value, mode) << 13 for value in values], np.uint32)
        np.testing.assert_array_equal(found[number], expected[number], err_msg=mode)
        # Seen on an H100: .rna cuts NaN off, even if infinity is left.
        nan = a[~number] & 0xFFFFE000 if mode == "rna" else 0x7FFFE000
        np.testing.assert_array_equal(found[~number], nan)
    (finite, clamped) = execute(
        memory, ["cvt.rna.satfinite.tf32.f32 %d, %a;", "cvt.rn.relu.tf32.f32 %d, %a;"], "uint32",
        a=np.array([0x7F800000, 0xFF800000, 0xBF800000], np.uint32),
    )  # fmt: skip
    assert finite.tolist() == [0x7F7FE000, 0xFF7FE000, 0xBF800000]
    assert clamped.tolist() == [0x7F800000, 0, 0]


def test_modifiers_of_floats(memory: DeviceMemory) -> None:
    """.ftz flushes an f32 source and result, .sat clamps to [0, 1], .relu at zero, .satfinite at the largest."""
    a = np.array([1e-40, -1e-40, -2, 0.5, 3, np.inf, np.nan, -np.inf], np.float32)
    half, relu, finite = execute(
        memory, ["cvt.rn.sat.f16.f32 %d, %a;", "cvt.rn.relu.f16.f32 %d, %a;", "cvt.rn.satfinite.bf16.f32 %d, %a;"],
        "uint16", a=a,
    )  # fmt: skip
    one, three, infinity = 0x3C00, 0x4200, 0x7C00
    assert half.tolist() == [0, 0, 0, 0x3800, one, one, 0, 0]
    assert relu.tolist() == [0, 0, 0, 0x3800, three, infinity, 0x7FFF, 0]
    assert finite.tolist()[2:] == [0xC000, 0x3F00, 0x4040, 0x7F7F, 0x7FFF, 0xFF7F]
    flushed, wide = execute(memory, ["cvt.ftz.sat.f32.f32 %d, %a;", "cvt.rpi.ftz.f32.f32 %d, %a;"], "float32", a=a)
    np.testing.assert_array_equal(flushed, np.array([0, 0, 0, 0.5, 1, 1, 0, 0], np.float32))
    np.testing.assert_array_equal(wide[:4], [0, 0, -2, 1])
    (narrow,) = execute(memory, ["cvt.rn.ftz.f32.f64 %d, %a;"], "float32", a=np.array([1e-40, -1e-45, 1e-30]))
    assert narrow.view(np.uint32).tolist() == [0, 0x80000000, np.float32(1e-30).view(np.uint32)]


@pytest.mark.parametrize("kind", ["u8", "s8"])
def test_bytes(memory: DeviceMemory, kind: str) -> None:
    """8-bit integers lie in 16-bit registers, of which only the low byte counts."""
    a = np.array([0x0000, 0x1234, 0xFF80, 0x00FF, 0xAB7F], np.uint16)
    (found,) = execute(memory, [f"cvt.rn.f32.{kind} %d, %a;"], "float32", a=a)
    np.testing.assert_array_equal(found, (a & 0xFF).astype(np.uint8).view(np.int8 if kind == "s8" else np.uint8))
    values = np.array([-1, 300, 127.5, np.nan, -200], np.float32)
    (back,) = execute(memory, [f"cvt.rni.{kind}.f32 %d, %a;"], "int16", a=values)
    assert back.tolist() == ([0, 255, 128, 0, 0] if kind == "u8" else [-1, 127, 127, 0, -128])
