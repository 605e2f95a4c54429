"""Arithmetic of f32 and f64: the exact results rounded once, in each mode; modifiers, extrema and signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator import exact_floats as exact
from tests.profiles.simulator.exact_floats import F32, F64, Format, Number, kept_nan
from tests.profiles.simulator.instruction_runs import Array, execute, floats, pairs

MODES = ("rn", "rz", "rm", "rp")
TYPES = {"f32": ("float32", F32, np.uint32), "f64": ("float64", F64, np.uint64)}
NAN32 = 0x7FFFFFFF
BINARY: dict[str, Callable[[Number, Number, str], Number]] = {
    "add": exact.add,
    "sub": lambda a, b, mode: exact.add(a, exact.negate(b), mode),
    "mul": lambda a, b, _mode: exact.multiply(a, b),
    "div": lambda a, b, _mode: exact.divide(a, b),
}


# Which operand's NaN an f64 result keeps, if several are.
PREFERRED = {"add": (1, 0), "sub": (1, 0), "mul": (1, 0), "div": (0, 1), "fma": (1, 2, 0)}


def settled(number: Number, mode: str, number_format: Format, *operands: int) -> int:
    """A result's bits: of f32 with the canonical NaN, of f64 with that of the first operand that is one."""
    if number == "nan" and number_format == F64:
        return kept_nan(F64, F64, *operands)
    return number_format.round(number, mode)


def bits_of(values: Array) -> list[int]:
    """Each element as an unsigned integer."""
    return [int(value) for value in values.view(f"u{values.itemsize}")]


def numbers(values: Array, number_format: Format) -> list[Number]:
    """Each element as an exact number."""
    return [number_format.value(bits) for bits in bits_of(values)]


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("root", BINARY)
def test_binary_operations_round_once(memory: DeviceMemory, type_name: str, root: str) -> None:
    """Every mode, for all pairs of special and random numbers."""
    numpy_type, number_format, word = TYPES[type_name]
    a, b = pairs(floats(numpy_type, count=8))
    results = execute(memory, [f"{root}.{mode}.{type_name} %d, %a, %b;" for mode in MODES], numpy_type, a=a, b=b)
    operands = list(zip(bits_of(a), bits_of(b), strict=True))
    for mode, result in zip(MODES, results, strict=True):
        expected = [
            settled(
                BINARY[root](number_format.value(pair[0]), number_format.value(pair[1]), mode),
                mode, number_format, *(pair[index] for index in PREFERRED[root]),
            )
            for pair in operands
        ]  # fmt: skip
        np.testing.assert_array_equal(result.view(word), np.array(expected, word), err_msg=mode)


@pytest.mark.parametrize("type_name", TYPES)
def test_fma_rounds_once(memory: DeviceMemory, type_name: str) -> None:
    """Also where the product is cancelled, overflows or underflows on its own."""
    numpy_type, number_format, word = TYPES[type_name]
    values = floats(numpy_type, count=200)
    generator = np.random.default_rng(5)
    a, b, c = (generator.choice(values, 1500) for _ in range(3))
    with np.errstate(all="ignore"):
        c[:200] = -(a[:200] * b[:200])
    results = execute(memory, [f"fma.{mode}.{type_name} %d, %a, %b, %c;" for mode in MODES], numpy_type, a=a, b=b, c=c)
    triples = list(zip(*map(bits_of, (a, b, c)), strict=True))
    for mode, result in zip(MODES, results, strict=True):
        expected = [
            settled(
                exact.fused(*map(number_format.value, triple), mode),
                mode, number_format, *(triple[index] for index in PREFERRED["fma"]),
            )
            for triple in triples
        ]  # fmt: skip
        np.testing.assert_array_equal(result.view(word), np.array(expected, word), err_msg=mode)


@pytest.mark.parametrize("type_name", TYPES)
def test_sqrt_and_rcp_round_once(memory: DeviceMemory, type_name: str) -> None:
    """IEEE forms of the functions of one operand."""
    numpy_type, number_format, word = TYPES[type_name]
    a = floats(numpy_type, count=200)
    instructions = [f"{root}.{mode}.{type_name} %d, %a;" for root in ("sqrt", "rcp") for mode in MODES]
    results = iter(execute(memory, instructions, numpy_type, a=a))
    for function in (exact.root, lambda x: exact.divide(exact.Fraction(1), x)):
        values = [function(x) for x in numbers(a, number_format)]
        for mode in MODES:
            expected = [
                settled(value, mode, number_format, bits) for value, bits in zip(values, bits_of(a), strict=True)
            ]
            np.testing.assert_array_equal(next(results).view(word), np.array(expected, word), err_msg=mode)


def test_f64_keeps_the_nan_of_an_operand(memory: DeviceMemory) -> None:
    """Quiet and with its sign, of min, max, neg and abs too; an invalid operation is negative (seen on an H100)."""
    first, second, third = 0x7FF0000000000001, 0xFFF4000000000123, 0x7FF8000000000011
    bits = {"a": [first, first, 0x7FF0 << 48], "b": [second, 0, 0xFFF0 << 48], "c": [third, third, 0x3FF0 << 48]}
    arrays = {name: np.array(values, np.uint64).view(np.float64) for name, values in bits.items()}
    quiet_first, quiet_second, invalid = 0x7FF8000000000001, 0xFFFC000000000123, 0xFFF8 << 48
    expected = {
        "add.rn.f64 %d, %a, %b;": [quiet_second, quiet_first, invalid],
        "div.rn.f64 %d, %a, %b;": [quiet_first, quiet_first, invalid],
        "fma.rn.f64 %d, %a, %b, %c;": [quiet_second, third, 0xFFF0 << 48],
        "fma.rz.f64 %d, %a, %c, %b;": [third, third, 0xFFF8 << 48],
        "max.f64 %d, %a, %b;": [quiet_second, 0, 0x7FF0 << 48],
        "neg.f64 %d, %b;": [quiet_second, 1 << 63, 0x7FF0 << 48],
        "abs.f64 %d, %b;": [quiet_second, 0, 0x7FF0 << 48],
        "copysign.f64 %d, %b, %a;": [first | 1 << 63, first, 0xFFF0 << 48],
    }
    results = execute(memory, list(expected), "float64", **arrays)
    for (instruction, wanted), found in zip(expected.items(), results, strict=True):
        assert list(map(hex, bits_of(found))) == list(map(hex, wanted)), instruction


def test_ftz_flushes_operands_and_results(memory: DeviceMemory) -> None:
    """A subnormal number becomes the zero of its sign, before and after."""
    tiny = np.float32(np.finfo(np.float32).tiny)
    small = np.float32(1e-40)
    a = np.array([small, -small, tiny, -tiny, tiny], np.float32)
    b = np.array([tiny, small, 0.5, 0.5, 1.0], np.float32)
    total, product, quotient = execute(
        memory,
        ["add.ftz.f32 %d, %a, %b;", "mul.ftz.f32 %d, %a, %b;", "div.rz.ftz.f32 %d, %b, %a;"],
        "float32", a=a, b=b,
    )  # fmt: skip
    np.testing.assert_array_equal(total, np.array([tiny, 0, 0.5, 0.5, 1.0], np.float32))
    assert bits_of(product) == [0, 0x80000000, 0, 0x80000000, bits_of(np.array([tiny]))[0]]
    assert bits_of(quotient[:2]) == [0x7F800000, NAN32]


def test_sat_clamps_to_one_and_makes_nan_zero(memory: DeviceMemory) -> None:
    """.sat: [0, 1]; NaN and -0 give +0."""
    a = np.array([np.nan, -0.0, -3, 0.25, 1, 7, np.inf, -np.inf], np.float32)
    expected = np.array([0, 0, 0, 0.25, 1, 1, 1, 0], np.float32)
    zero = np.full(8, -0.0, np.float32)
    for result in execute(
        memory, ["add.sat.f32 %d, %a, %z;", "add.rz.sat.f32 %d, %a, %z;", "fma.rn.sat.f32 %d, %a, 0f3F800000, %z;"],
        "float32", a=a, z=zero,
    ):  # fmt: skip
        assert bits_of(result) == bits_of(expected)


def test_minimum_and_maximum_prefer_numbers_to_nan(memory: DeviceMemory) -> None:
    """One NaN gives the other operand, two the canonical NaN, -0 is below +0; .NaN gives NaN for one."""
    nan = np.nan
    a = np.array([1, nan, nan, -0.0, 0.0, -np.inf], np.float32)
    b = np.array([2, 3, nan, 0.0, -0.0, nan], np.float32)
    low, high, low_nan, high_nan = execute(
        memory, [f"{name}.f32 %d, %a, %b;" for name in ("min", "max", "min.NaN", "max.NaN")], "float32", a=a, b=b
    )
    zero, minus = 0, 0x80000000
    one, two, three, minus_infinity = 0x3F800000, 0x40000000, 0x40400000, 0xFF800000
    assert bits_of(low) == [one, three, NAN32, minus, minus, minus_infinity]
    assert bits_of(high) == [two, three, NAN32, zero, zero, minus_infinity]
    assert bits_of(low_nan) == [one, NAN32, NAN32, minus, minus, NAN32]
    assert bits_of(high_nan) == [two, NAN32, NAN32, zero, zero, NAN32]


def test_xorsign_takes_magnitudes_and_the_sign_of_the_product(memory: DeviceMemory) -> None:
    """max.xorsign.abs(-3, 2) is -3, of (-3, -2) it is 3; NaN has no sign."""
    a = np.array([-3, -3, 1, np.nan], np.float32)
    b = np.array([2, -2, -5, -4], np.float32)
    high, low = execute(
        memory, ["max.xorsign.abs.f32 %d, %a, %b;", "min.ftz.xorsign.abs.f32 %d, %a, %b;"], "float32", a=a, b=b
    )
    np.testing.assert_array_equal(high[:3], [-3, 3, -5])
    np.testing.assert_array_equal(low[:3], [-2, 2, -1])
    assert abs(high[3]) == abs(low[3]) == 4


def test_signs(memory: DeviceMemory) -> None:
    """``neg`` and abs change the sign of zeros and infinities too; copysign gives a's sign to b."""
    a = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf], np.float32)
    b = np.array([2.0, 2.0, -2.0, -2.0, 0.0, 0.0], np.float32)
    negative, absolute, copied = execute(
        memory, ["neg.f32 %d, %a;", "abs.f32 %d, %a;", "copysign.f32 %d, %a, %b;"], "float32", a=a, b=b
    )
    assert bits_of(negative) == bits_of(-a)
    assert bits_of(absolute) == bits_of(np.abs(a))
    assert bits_of(copied) == bits_of(np.array([2.0, -2.0, 2.0, -2.0, 0.0, -0.0], np.float32))
