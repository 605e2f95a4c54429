"""Comparisons: ordered and unordered, their combination with a predicate, and choices (selp, slct, testp)."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from tests.profiles.simulator.instruction_runs import Array, execute, floats, integers, pairs

RELATIONS = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
ALIASES = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
CHOICE = "selp.u32 %d, 1, 0, %p;"


def setp(opcode: str) -> str:
    """PTX that leaves 1 in %d where the comparison holds."""
    return f"{opcode} %p, %a, %b; {CHOICE}"


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_integer_comparisons(memory: DeviceMemory, bits: int) -> None:
    """Signed and unsigned order; lo ls hi hs are the unsigned ones; bits are equal or not."""
    for kind, numpy_type in (("s", f"int{bits}"), ("u", f"uint{bits}")):
        a, b = pairs(integers(numpy_type))
        names = {name: name for name in RELATIONS} | (ALIASES if kind == "u" else {})
        results = execute(memory, [setp(f"setp.{name}.{kind}{bits}") for name in names], "uint32", a=a, b=b)
        for name, found in zip(names.values(), results, strict=True):
            np.testing.assert_array_equal(found, RELATIONS[name](a, b), err_msg=name)
    (equal,) = execute(memory, [setp(f"setp.eq.b{bits}")], "uint32", a=a, b=b)
    np.testing.assert_array_equal(equal, a == b)


def expected_of_floats(name: str, a: Array, b: Array) -> Array:
    """Ordered comparisons are false for NaN, those with u true."""
    nan = np.isnan(a) | np.isnan(b)
    if name in ("num", "nan"):
        return nan if name == "nan" else ~nan
    holds = RELATIONS[name[:2]](a, b)
    return holds | nan if name.endswith("u") else holds & ~nan


FLOAT_RELATIONS = (*RELATIONS, *(f"{name}u" for name in RELATIONS), "num", "nan")


@pytest.mark.parametrize("type_name", ["f32", "f64", "f16"])
def test_float_comparisons(memory: DeviceMemory, type_name: str) -> None:
    """All 14, over all pairs of special and random numbers."""
    a, b = pairs(floats(f"float{type_name[1:]}"))
    results = execute(memory, [setp(f"setp.{name}.{type_name}") for name in FLOAT_RELATIONS], "uint32", a=a, b=b)
    for name, found in zip(FLOAT_RELATIONS, results, strict=True):
        np.testing.assert_array_equal(found, expected_of_floats(name, a, b), err_msg=name)


def test_bf16_comparisons(memory: DeviceMemory) -> None:
    """As of the f32 whose upper half it is."""
    a, b = pairs(floats("float32").view(np.uint32) >> 16 << 16)
    halves = [(x >> 16).astype(np.uint16) for x in (a, b)]
    results = execute(
        memory, [setp(f"setp.{name}.bf16") for name in FLOAT_RELATIONS], "uint32", a=halves[0], b=halves[1]
    )
    for name, found in zip(FLOAT_RELATIONS, results, strict=True):
        np.testing.assert_array_equal(found, expected_of_floats(name, a.view(np.float32), b.view(np.float32)))


def test_ftz_compares_subnormal_numbers_as_zero(memory: DeviceMemory) -> None:
    """1e-40 equals zero with .ftz only."""
    a, b = np.array([1e-40, 1e-40], np.float32), np.array([0, -1e-40], np.float32)
    flushed, kept = execute(memory, [setp("setp.eq.ftz.f32"), setp("setp.eq.f32")], "uint32", a=a, b=b)
    assert (flushed.tolist(), kept.tolist()) == ([1, 1], [0, 0])


def test_combination_with_a_predicate(memory: DeviceMemory) -> None:
    """With p = (a < b) op c and q = !(a < b) op c, with c negated or not."""
    a, b, c = (
        np.array(column, np.int32)
        for column in zip(*((x, y, z) for x in (1, 2) for y in (1, 2) for z in (0, 1)), strict=True)
    )
    operations = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
    instructions = [
        f"setp.ne.s32 %t, %c, 0; setp.lt.{name}.s32 %p|%q, %a, %b, {sign}%t;"
        " .reg .b32 %x; selp.u32 %x, 1, 0, %p; selp.u32 %d, 2, 0, %q; or.b32 %d, %d, %x;"
        for name in operations
        for sign in ("", "!")
    ]
    results = iter(execute(memory, instructions, "uint32", a=a, b=b, c=c))
    for function in operations.values():
        for other in (c == 1, c == 0):
            expected = function(a < b, other) + 2 * function(~(a < b), other)
            np.testing.assert_array_equal(next(results), expected)


def test_the_destination_may_be_the_predicate_operand(memory: DeviceMemory) -> None:
    """``setp.and`` p|q, a, b, p reads p before it is written."""
    a, b = np.array([1, 1, 3], np.int32), np.array([2, 2, 2], np.int32)
    c = np.array([1, 0, 1], np.int32)
    text = "setp.ne.s32 %p, %c, 0; setp.lt.and.s32 %p|%q, %a, %b, %p; selp.u32 %d, 5, 7, %q; @%p mov.u32 %d, 6;"
    (found,) = execute(memory, [text], "uint32", a=a, b=b, c=c)
    assert found.tolist() == [6, 7, 5]


def test_guarded_comparison_keeps_other_lanes(memory: DeviceMemory) -> None:
    """A predicate keeps its value in lanes that do not execute."""
    g, a = np.array([0, 1, 0, 1], np.int32), np.array([1, 1, 0, 0], np.int32)
    text = f"setp.eq.s32 %p, 0, 0; setp.ne.s32 %q, %g, 0; @%q setp.ne.s32 %p, %a, 0; {CHOICE}"
    (found,) = execute(memory, [text], "uint32", a=a, g=g)
    assert found.tolist() == [1, 1, 1, 0]


def test_set_gives_all_ones_or_one(memory: DeviceMemory) -> None:
    """For an integer result 0xffffffff, for f32 1.0."""
    a, b = np.array([1, 2], np.float32), np.array([2, 1], np.float32)
    bits, number = execute(memory, ["set.lt.u32.f32 %d, %a, %b;", "set.lt.f32.f32 %d, %a, %b;"], "uint32", a=a, b=b)
    assert bits.tolist() == [0xFFFFFFFF, 0]
    assert number.tolist() == [0x3F800000, 0]


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_choices(memory: DeviceMemory, bits: int) -> None:
    """``selp`` takes a where the predicate holds; slct where c >= 0, which -0 is and NaN is not."""
    a = np.arange(6).astype(f"uint{bits}")
    b = (a + 100).astype(f"uint{bits}")
    c = np.array([1, -1, 0, -0.0, np.nan, -1e-40], np.float32)
    whole = np.array([5, -5, 0, -1, 2**31 - 1, -(2**31)], np.int32)
    selected, by_float, by_flushed, by_integer = execute(
        memory,
        [f"setp.gt.f32 %p, %c, 0f00000000; selp.b{bits} %d, %a, %b, %p;", f"slct.b{bits}.f32 %d, %a, %b, %c;",
         f"slct.ftz.u{bits}.f32 %d, %a, %b, %c;", f"slct.s{bits}.s32 %d, %a, %b, %i;".replace("%i;", "%w;")],
        f"uint{bits}", a=a, b=b, c=c, w=whole,
    )  # fmt: skip
    np.testing.assert_array_equal(selected, np.where(c > 0, a, b))
    np.testing.assert_array_equal(by_float, np.where(c >= 0, a, b))
    np.testing.assert_array_equal(by_flushed, np.where((c >= 0) | (c == c[5]), a, b))
    np.testing.assert_array_equal(by_integer, np.where(whole >= 0, a, b))


@pytest.mark.parametrize("type_name", ["f32", "f64"])
def test_testp(memory: DeviceMemory, type_name: str) -> None:
    """Zero is finite, a number, and normal."""
    a = floats(f"float{type_name[1:]}")
    tiny = np.finfo(a.dtype).tiny
    magnitude = np.abs(a)
    expected = {
        "finite": np.isfinite(a), "infinite": np.isinf(a), "number": ~np.isnan(a), "notanumber": np.isnan(a),
        "normal": np.isfinite(a) & ((magnitude >= tiny) | (a == 0)), "subnormal": (magnitude > 0) & (magnitude < tiny),
    }  # fmt: skip
    results = execute(memory, [f"testp.{name}.{type_name} %p, %a; {CHOICE}" for name in expected], "uint32", a=a)
    for (name, wanted), found in zip(expected.items(), results, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("setp.lo.s32 %p, %a, %b;", "unsigned"),
        ("setp.ltu.s32 %p, %a, %b;", "needs the comparison"),
        ("setp.lt.ftz.s32 %p, %a, %b;", "ftz"),
        ("add.sat.u32 %d, %a, %b;", ".sat is not understood"),
        ("mul.u32 %d, %a, %b;", "needs the part of the product"),
        ("mul.wide.u64 %d, %a, %b;", "twice 64 bits"),
        ("mul.lo.u64 %d, %a, %b;", "another size"),
        ("fma.rn.oob.f16 %d, %a, %b, %a;", ".oob is not understood"),
        ("fma.rn.sat.relu.f16 %d, %a, %b, %a;", "exclude"),
        ("add.ftz.bf16 %d, %a, %b;", ".ftz is not understood"),
        ("sin.approx.sat.f32 %d, %a;", ".sat is not understood"),
        ("add.rz.f16 %d, %a, %b;", ".rz is not understood"),
        ("sqrt.approx.f64 %d, %a;", "rcp.approx.ftz.f64"),
        ("cvt.f16.f32 %d, %a;", "rounding"),
        ("cvt.rn.e4m3x2.f32 %d, %a, %b;", "satfinite"),
        ("lop3.b32 %d, %a, %b, %a, 256;", "0 to 255"),
        ("add.s32 %d, %a;", "2 operands where 3 are expected"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(memory: DeviceMemory, instruction: str, reason: str) -> None:
    """A modifier is never ignored: the message says which one, and where."""
    a = np.zeros(1, np.uint32)
    with pytest.raises(LoweringError, match=reason) as caught:
        execute(memory, [instruction], "uint32", a=a, b=a)
    assert instruction.split()[0] in str(caught.value)
    assert "PTX line" in str(caught.value)
