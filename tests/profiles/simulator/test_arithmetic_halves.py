"""f16 and bf16 arithmetic is exact arithmetic rounded once; x2 is the same in both halves."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator import exact_floats as exact
from tests.profiles.simulator.exact_floats import BF16, F16, Format, Number
from tests.profiles.simulator.instruction_runs import Array, execute, pairs

FORMATS = {"f16": F16, "bf16": BF16}


def halves(number_format: Format, count: int, seed: int = 1) -> Array:
    """Bits of special numbers of the format and of random ones."""
    edges = [0, 1, 2, number_format.largest, number_format.infinity, number_format.nan]
    edges += [1 << number_format.mantissa_bits, (1 << number_format.mantissa_bits) - 1]
    edges += [number_format.round(exact.Fraction(value)) for value in (1, 3)]
    random = np.random.default_rng(seed).integers(0, 2**16, count)
    return np.concatenate([edges, np.array(edges) | number_format.sign, random]).astype(np.uint16)


def flushed(bits: int, number_format: Format) -> int:
    """.ftz of a number."""
    return bits if bits & number_format.infinity else bits & number_format.sign


def saturated(number: Number) -> Number:
    """.sat of an exact result."""
    if isinstance(number, str):
        return exact.Fraction(1) if number == "inf" else exact.Fraction(0)
    return min(max(number, exact.Fraction(0)), exact.Fraction(1))


@pytest.mark.parametrize("type_name", FORMATS)
def test_sums_and_products(memory: DeviceMemory, type_name: str) -> None:
    """``add`` sub mul: rounding to f32 first must not show."""
    number_format = FORMATS[type_name]
    a, b = pairs(halves(number_format, 60))
    results = execute(memory, [f"{name}.{type_name} %d, %a, %b;" for name in ("add", "sub", "mul")], "uint16", a=a, b=b)
    x, y = ([number_format.value(int(bits)) for bits in values] for values in (a, b))
    functions = (exact.add, lambda p, q: exact.add(p, exact.negate(q)), exact.multiply)
    for function, found in zip(functions, results, strict=True):
        expected = [number_format.round(function(p, q)) for p, q in zip(x, y, strict=True)]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("type_name", FORMATS)
def test_fma(memory: DeviceMemory, type_name: str) -> None:
    """Rounded once, also when the product and the addend are far apart; .relu clamps at zero and keeps NaN."""
    number_format = FORMATS[type_name]
    generator = np.random.default_rng(8)
    values = halves(number_format, 300)
    a, b, c = (generator.choice(values, 4000) for _ in range(3))
    plain, clamped = execute(
        memory, [f"fma.rn.{type_name} %d, %a, %b, %c;", f"fma.rn.relu.{type_name} %d, %a, %b, %c;"], "uint16",
        a=a, b=b, c=c,
    )  # fmt: skip
    triples = zip(*([number_format.value(int(bits)) for bits in x] for x in (a, b, c)), strict=True)
    expected = np.array([number_format.round(exact.fused(*triple)) for triple in triples], np.uint16)
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(clamped, np.where(expected & number_format.sign, 0, expected))


def test_f16_ftz_and_sat(memory: DeviceMemory) -> None:
    """.ftz flushes operands and result, .sat clamps to [0, 1]."""
    a, b = pairs(halves(F16, 20))
    c = np.random.default_rng(2).permutation(a)
    flush, clamp, fused = execute(
        memory, ["mul.ftz.f16 %d, %a, %b;", "add.sat.f16 %d, %a, %b;", "fma.rn.ftz.sat.f16 %d, %a, %b, %c;"],
        "uint16", a=a, b=b, c=c,
    )  # fmt: skip
    for case, bits in enumerate(zip(a.tolist(), b.tolist(), c.tolist(), strict=True)):
        x, y, z = (F16.value(flushed(value, F16)) for value in bits)
        assert flush[case] == flushed(F16.round(exact.multiply(x, y)), F16)
        assert fused[case] == flushed(F16.round(saturated(exact.fused(x, y, z))), F16)
        assert clamp[case] == F16.round(saturated(exact.add(F16.value(bits[0]), F16.value(bits[1]))))


@pytest.mark.parametrize("type_name", FORMATS)
def test_extrema_and_signs(memory: DeviceMemory, type_name: str) -> None:
    """``min`` and max prefer numbers to NaN, .NaN does not; neg and abs make NaN canonical (seen on an H100)."""
    number_format = FORMATS[type_name]
    a, b = pairs(halves(number_format, 20))
    names = ["min", "max", "max.NaN"]
    results = execute(memory, [f"{name}.{type_name} %d, %a, %b;" for name in names], "uint16", a=a, b=b)

    def key(bits: int) -> int:
        return -(bits & 0x7FFF) - 1 if bits & 0x8000 else bits

    for case, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        valid = [value for value in (x, y) if value & 0x7FFF <= number_format.infinity]
        assert results[0][case] == min(valid, key=key, default=0x7FFF)
        assert results[1][case] == max(valid, key=key, default=0x7FFF)
        assert results[2][case] == (max(valid, key=key) if len(valid) == 2 else 0x7FFF)
    negative, absolute = execute(memory, [f"neg.{type_name} %d, %a;", f"abs.{type_name} %d, %a;"], "uint16", a=a)
    number = (a & 0x7FFF) <= number_format.infinity
    np.testing.assert_array_equal(negative, np.where(number, a ^ 0x8000, 0x7FFF))
    np.testing.assert_array_equal(absolute, np.where(number, a & 0x7FFF, 0x7FFF))


@pytest.mark.parametrize("type_name", FORMATS)
@pytest.mark.parametrize(
    "root", ["add", "sub", "mul", "min", "max.NaN", "fma.rn", "neg", "abs", "ex2.approx", "tanh.approx"]
)
def test_x2_is_both_halves(memory: DeviceMemory, type_name: str, root: str) -> None:
    """The packed instruction gives what the single one gives for each half."""
    if root == "ex2.approx" and type_name == "bf16":
        root += ".ftz"
    operands = {
        "fma.rn": "%a, %b, %c",
        "neg": "%a",
        "abs": "%a",
        "ex2.approx": "%a",
        "ex2.approx.ftz": "%a",
        "tanh.approx": "%a",
    }
    sources = operands.get(root, "%a, %b")
    words = {name: np.random.default_rng(seed).integers(0, 2**32, 128, np.uint32) for seed, name in enumerate("abc")}
    (packed,) = execute(memory, [f"{root}.{type_name}x2 %d, {sources};"], "uint32", **words)
    for shift in (0, 16):
        single = {name: (values >> shift).astype(np.uint16) for name, values in words.items()}
        (expected,) = execute(memory, [f"{root}.{type_name} %d, {sources};"], "uint16", **single)
        np.testing.assert_array_equal((packed >> shift).astype(np.uint16), expected)
