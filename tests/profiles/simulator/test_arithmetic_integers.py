"""Integer arithmetic against Python's own integers: results wrap, clamp with .sat, and carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.instruction_runs import Array, execute, integers, pairs

TYPES = {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("u", "uint"), ("s", "int")) for bits in (16, 32, 64)}


def wrapped(values: Sequence[int], type_name: str) -> Array:
    """The values modulo 2^bits, as numpy's type."""
    bits = np.iinfo(type_name).bits
    return np.array([value % 2**bits for value in values], f"uint{bits}").view(type_name)


def clamped(values: Sequence[int], type_name: str) -> Array:
    """The nearest values that the type holds."""
    info = np.iinfo(type_name)
    return np.array([min(max(value, info.min), info.max) for value in values], type_name)


def columns(*arrays: Array) -> list[tuple[int, ...]]:
    """The cases, as Python integers."""
    return list(zip(*(array.tolist() for array in arrays), strict=True))


def truncated_quotient(a: int, b: int) -> int:
    """Division towards zero; by zero, which PTX leaves open: all bits set."""
    if b == 0:
        return -1
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int) -> int:
    """With the sign of a; by zero, which PTX leaves open, all bits set (seen on an H100)."""
    return a - b * truncated_quotient(a, b) if b else -1


BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, _bits: a + b,
    "sub": lambda a, b, _bits: a - b,
    "mul.lo": lambda a, b, _bits: a * b,
    "mul.hi": lambda a, b, bits: a * b >> bits,
    "min": lambda a, b, _bits: min(a, b),
    "max": lambda a, b, _bits: max(a, b),
    "div": lambda a, b, _bits: truncated_quotient(a, b),
    "rem": lambda a, b, _bits: remainder(a, b),
}


@pytest.mark.parametrize("type_name", TYPES)
def test_operations_of_two_numbers(memory: DeviceMemory, type_name: str) -> None:
    """All pairs of the ends of the type and others: wrapping, INT_MIN / -1 and division by zero are among them."""
    numpy_type, bits = TYPES[type_name], int(type_name[1:])
    a, b = pairs(integers(numpy_type))
    results = execute(memory, [f"{name}.{type_name} %d, %a, %b;" for name in BINARY], numpy_type, a=a, b=b)
    for (name, function), result in zip(BINARY.items(), results, strict=True):
        expected = wrapped([function(x, y, bits) for x, y in columns(a, b)], numpy_type)
        np.testing.assert_array_equal(result, expected, err_msg=name)


@pytest.mark.parametrize("type_name", TYPES)
def test_operations_of_three_numbers(memory: DeviceMemory, type_name: str) -> None:
    """``mad.lo``, mad.hi and sad."""
    numpy_type, bits = TYPES[type_name], int(type_name[1:])
    a, b = pairs(integers(numpy_type))
    c = np.random.default_rng(2).permutation(a)
    low, high, difference = execute(
        memory, [f"{name}.{type_name} %d, %a, %b, %c;" for name in ("mad.lo", "mad.hi", "sad")], numpy_type,
        a=a, b=b, c=c,
    )  # fmt: skip
    cases = columns(a, b, c)
    np.testing.assert_array_equal(low, wrapped([x * y + z for x, y, z in cases], numpy_type))
    np.testing.assert_array_equal(high, wrapped([(x * y >> bits) + z for x, y, z in cases], numpy_type))
    np.testing.assert_array_equal(difference, wrapped([abs(x - y) + z for x, y, z in cases], numpy_type))


@pytest.mark.parametrize("type_name", ["u16", "s16", "u32", "s32"])
def test_wide_products(memory: DeviceMemory, type_name: str) -> None:
    """``mul.wide`` and mad.wide give twice the bits, with the sign of the type."""
    numpy_type = TYPES[type_name]
    wide = TYPES[f"{type_name[0]}{2 * int(type_name[1:])}"]
    a, b = pairs(integers(numpy_type))
    c = np.resize(integers(wide), len(a))
    product, total = execute(
        memory, [f"mul.wide.{type_name} %d, %a, %b;", f"mad.wide.{type_name} %d, %a, %b, %c;"], wide, a=a, b=b, c=c
    )
    np.testing.assert_array_equal(product, wrapped([x * y for x, y in columns(a, b)], wide))
    np.testing.assert_array_equal(total, wrapped([x * y + z for x, y, z in columns(a, b, c)], wide))


def test_saturating_sums_clamp(memory: DeviceMemory) -> None:
    """.sat of s32 stops at the ends of the type."""
    a, b = pairs(integers("int32"))
    c = np.random.default_rng(3).permutation(a)
    total, difference, high = execute(
        memory, ["add.sat.s32 %d, %a, %b;", "sub.sat.s32 %d, %a, %b;", "mad.hi.sat.s32 %d, %a, %b, %c;"], "int32",
        a=a, b=b, c=c,
    )  # fmt: skip
    cases = columns(a, b, c)
    np.testing.assert_array_equal(total, clamped([x + y for x, y, _ in cases], "int32"))
    np.testing.assert_array_equal(difference, clamped([x - y for x, y, _ in cases], "int32"))
    np.testing.assert_array_equal(high, clamped([(x * y >> 32) + z for x, y, z in cases], "int32"))


@pytest.mark.parametrize("type_name", ["u32", "s32"])
def test_24_bit_products(memory: DeviceMemory, type_name: str) -> None:
    """Of the low 24 bits of the operands; .hi are bits 16 to 47 of the product."""
    numpy_type = TYPES[type_name]
    a, b = pairs(integers(numpy_type))
    c = np.random.default_rng(4).permutation(a)
    operations = [f"mul24.{part}.{type_name} %d, %a, %b;" for part in ("lo", "hi")]
    operations += [f"mad24.{part}.{type_name} %d, %a, %b, %c;" for part in ("lo", "hi")]
    results = execute(memory, operations, numpy_type, a=a, b=b, c=c)

    def low_24(value: int) -> int:
        low = value % 2**24
        return low - 2**24 if type_name == "s32" and low >= 2**23 else low

    products = [low_24(x) * low_24(y) for x, y in columns(a, b)]
    added = c.tolist()
    expected = [products, [product >> 16 for product in products]]
    expected += [[x + z for x, z in zip(values, added, strict=True)] for values in expected]
    for result, values in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wrapped(values, numpy_type))


@pytest.mark.parametrize("type_name", ["s16", "s32", "s64"])
def test_sign_operations(memory: DeviceMemory, type_name: str) -> None:
    """``abs`` and neg of the most negative number wrap to itself."""
    numpy_type = TYPES[type_name]
    a = integers(numpy_type)
    absolute, negative = execute(memory, [f"abs.{type_name} %d, %a;", f"neg.{type_name} %d, %a;"], numpy_type, a=a)
    np.testing.assert_array_equal(absolute, wrapped([abs(x) for x in a.tolist()], numpy_type))
    np.testing.assert_array_equal(negative, wrapped([-x for x in a.tolist()], numpy_type))


def test_two_halves_and_relu(memory: DeviceMemory) -> None:
    """``x2`` works on both halves apart; .relu takes zero for what is negative."""
    a, b = pairs(integers("int16"))
    c, d = np.flip(a), np.roll(b, 7)
    first = (a.view(np.uint16).astype(np.uint32) << 16) | c.view(np.uint16)
    second = (b.view(np.uint16).astype(np.uint32) << 16) | d.view(np.uint16)
    names = ["add.u16x2", "min.s16x2", "max.u16x2"]
    results = execute(memory, [f"{name} %d, %a, %b;" for name in names], "uint32", a=first, b=second)
    expected = [
        (a + b, c + d),
        (np.minimum(a, b), np.minimum(c, d)),
        tuple(np.maximum(x.view(np.uint16), y.view(np.uint16)).view(np.int16) for x, y in ((a, b), (c, d))),
    ]
    for result, (high, low) in zip(results, expected, strict=True):
        np.testing.assert_array_equal((result >> 16).astype(np.uint16).view(np.int16), high)
        np.testing.assert_array_equal((result & 0xFFFF).astype(np.uint16).view(np.int16), low)
    (clamped_pair,) = execute(memory, ["min.relu.s16x2 %d, %a, %b;"], "uint32", a=first, b=second)
    np.testing.assert_array_equal((clamped_pair >> 16).astype(np.int16), np.maximum(np.minimum(a, b), 0))
    (whole,) = execute(memory, ["max.relu.s32 %d, %a, %b;"], "int32", a=a.astype(np.int32), b=b.astype(np.int32))
    np.testing.assert_array_equal(whole, np.maximum(np.maximum(a, b), 0))


LONG_SUM = """
    .reg .b32 %al, %ah, %bl, %bh, %dl, %dh;
    mov.b64 {{%al, %ah}}, %a; mov.b64 {{%bl, %bh}}, %b;
    {low}.cc.u32 %dl, %al, %bl;
    {high}.u32 %dh, %ah, %bh;
    mov.b64 %d, {{%dl, %dh}};
"""
# 64 x 64 -> the upper 32 bits of the lower 64, as compilers write it.
LONG_PRODUCT = """
    .reg .b32 %al, %ah, %bl, %bh, %d0, %d1;
    mov.b64 {%al, %ah}, %a; mov.b64 {%bl, %bh}, %b;
    mul.lo.u32 %d0, %al, %bl;
    mul.hi.u32 %d1, %al, %bl;
    mad.lo.u32 %d1, %al, %bh, %d1;
    mad.lo.u32 %d1, %ah, %bl, %d1;
    mov.b64 %d, {%d0, %d1};
"""
# Bit 0: the carry of a + b; bits 1 and 2: of the high and low product of the low halves plus the high halves.
CARRIES = """
    .reg .b32 %al, %ah, %bl, %bh, %x, %c0, %c1, %c2;
    mov.b64 {%al, %ah}, %a; mov.b64 {%bl, %bh}, %b;
    add.cc.u64 %d, %a, %b;      addc.u32 %c0, 0, 0;
    mad.hi.cc.u32 %x, %al, %bl, %ah; addc.u32 %c1, 0, 0;
    mad.lo.cc.u32 %x, %al, %bl, %bh; addc.cc.u32 %c2, 0, 0;
    mad.lo.u32 %c0, %c1, 2, %c0;
    mad.lo.u32 %c0, %c2, 4, %c0;
    cvt.u64.u32 %d, %c0;
"""


def test_carries_join_words(memory: DeviceMemory) -> None:
    """``add.cc`` with addc is the long sum, sub.cc with subc the long difference; the product needs no carry."""
    a, b = pairs(integers("uint64"))
    total, difference, product, carries = execute(
        memory,
        [LONG_SUM.format(low="add", high="addc"), LONG_SUM.format(low="sub", high="subc"), LONG_PRODUCT, CARRIES],
        "uint64", a=a, b=b,
    )  # fmt: skip
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(difference, a - b)
    np.testing.assert_array_equal(product, a * b)
    for x, y, found in columns(a, b, carries):
        low = x % 2**32 * (y % 2**32)
        high = (low >> 32) + (x >> 32) >= 2**32
        lowest = low % 2**32 + (y >> 32) >= 2**32
        assert found == (x + y >= 2**64) + 2 * high + 4 * lowest


def test_a_carry_passes_through_a_full_word(memory: DeviceMemory) -> None:
    """All ones plus the carry in carries again, and zero less the borrow borrows again."""
    a = np.array([0, 1, 2**32 - 1], np.uint32)
    begin = ".reg .b32 %x; {first}.cc.u32 %x, {start}, %a; {next}.cc.u32 %x, {word}, 0; {next}.u32 %d, 0, 0;"
    total, difference = execute(
        memory,
        [
            begin.format(first="add", next="addc", start="0xFFFFFFFF", word="0xFFFFFFFF"),
            begin.format(first="sub", next="subc", start="0", word="0"),
        ],
        "uint32",
        a=a,
    )
    assert total.tolist() == [0, 1, 1]
    assert difference.tolist() == [0, 2**32 - 1, 2**32 - 1]


def test_the_carry_belongs_to_the_lane(memory: DeviceMemory) -> None:
    """Lanes that a guard excludes keep the carry that they had."""
    a = np.array([2**32 - 1, 2**32 - 1, 0, 0], np.uint32)
    chosen = np.array([1, 0, 1, 0], np.uint32)
    guarded = """
        setp.ne.u32 %p, %g, 0;
        add.cc.u32 %d, 1, 1;
        @%p add.cc.u32 %d, %a, 1;
        addc.u32 %d, 0, 0;
    """
    (carry,) = execute(memory, [guarded], "uint32", a=a, g=chosen)
    assert carry.tolist() == [1, 0, 0, 0]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(*(st.integers(0, 2**32 - 1) for _ in range(3))), min_size=1, max_size=64
    )
)  # fmt: skip
def test_dot_products(memory: DeviceMemory, cases: list[tuple[int, int, int]]) -> None:
    """``dp4a`` and dp2a: signed and unsigned bytes, added to the third operand, wrapping."""
    a, b, c = (np.array(column, np.uint32) for column in zip(*cases, strict=True))
    types = [(first, second) for first in ("u32", "s32") for second in ("u32", "s32")]
    operations = [f"dp4a.{first}.{second} %d, %a, %b, %c;" for first, second in types]
    operations += [f"dp2a.{half}.{x}.{y} %d, %a, %b, %c;" for half in ("lo", "hi") for x, y in types]
    results = iter(execute(memory, operations, "uint32", a=a, b=b, c=c))
    number = {"u32": "u", "s32": "i"}
    for first, second in types:
        x = a.view(f"{number[first]}1").reshape(-1, 4).astype(int)
        y = b.view(f"{number[second]}1").reshape(-1, 4).astype(int)
        np.testing.assert_array_equal(next(results), wrapped(((x * y).sum(1) + c).tolist(), "uint32"))
    for start in (0, 2):
        for first, second in types:
            x = a.view(f"{number[first]}2").reshape(-1, 2).astype(int)
            y = b.view(f"{number[second]}1").reshape(-1, 4).astype(int)[:, start : start + 2]
            np.testing.assert_array_equal(next(results), wrapped(((x * y).sum(1) + c).tolist(), "uint32"))
