"""Atomics: every operation against Python on the same values, in all spaces, with many threads of the host."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options
from tests.profiles.simulator.memory_kernels import LANES, kernel, launch, words

Array = npt.NDArray[np.generic]

SPACES = ("global", "shared", "generic", "shared::cluster")
INTEGERS = {"u32": np.uint32, "s32": np.int32, "u64": np.uint64, "s64": np.int64, "b32": np.uint32, "b64": np.uint64}


def wrapped(value: int, type_name: str) -> int:
    """The value modulo the type's range, as the type reads it."""
    bits = int(type_name[1:])
    value %= 1 << bits
    return value - (1 << bits) if type_name[0] == "s" and value >> (bits - 1) else value


# PTX ISA, "atom": what becomes of a, given b (and, of cas, c).
OPERATIONS: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, _: a + b,
    "min": lambda a, b, _: min(a, b),
    "max": lambda a, b, _: max(a, b),
    "and": lambda a, b, _: a & b,
    "or": lambda a, b, _: a | b,
    "xor": lambda a, b, _: a ^ b,
    "exch": lambda _, b, __: b,
    "cas": lambda a, b, c: c if a == b else a,
    "inc": lambda a, b, _: 0 if a >= b else a + 1,
    "dec": lambda a, b, _: b if a == 0 or a > b else a - 1,
}
FORMS = [
    *((operation, type_name) for operation in ("add", "min", "max") for type_name in ("u32", "s32", "u64", "s64")),
    *((operation, type_name) for operation in ("and", "or", "xor", "exch", "cas") for type_name in ("b32", "b64")),
    ("inc", "u32"),
    ("dec", "u32"),
]


def atomic_body(opcode: str, space: str, width: int, registers: tuple[str, str, str], has_third: bool) -> str:
    """Each lane applies the operation to its element: array 1 memory, 2 b, 3 c, 4 what was there before."""
    result, second, third = registers
    place = {
        "global": ("%rd11", ""),
        "generic": ("%rd11", ""),
        "shared": ("%r20", f"st.shared.b{width} [%r20], {result};"),
        "shared::cluster": ("%r21", f"st.shared.b{width} [%r20], {result};"),
    }[space]
    suffix = "" if space == "generic" else f".{space}"
    name, _, type_name = opcode.partition(".")
    operands = f"{result}, [{place[0]}], {second}" + (f", {third}" if has_third else "")
    back = f"ld.shared.b{width} {second}, [%r20]; st.global.b{width} [%rd11], {second};" if "shared" in space else ""
    return f"""
        mul.lo.u32 %r20, %r1, {width // 8}; cvt.u64.u32 %rd20, %r20; mov.u32 %r22, s; add.u32 %r20, %r20, %r22;
        mapa.shared::cluster.u32 %r21, %r20, 0;
        add.s64 %rd11, %rd1, %rd20; add.s64 %rd12, %rd2, %rd20; add.s64 %rd13, %rd3, %rd20; add.s64 %rd14, %rd4, %rd20;
        ld.global.b{width} {result}, [%rd11]; ld.global.b{width} {second}, [%rd12];
        ld.global.b{width} {third}, [%rd13]; {place[1]}
        atom{suffix}.{name}.{type_name} {operands};
        st.global.b{width} [%rd14], {result}; {back}
    """


values = st.sampled_from([0, 1, 2, 5, 7, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
columns = st.lists(st.tuples(values, values, values), min_size=LANES, max_size=LANES)


@pytest.mark.parametrize(("operation", "type_name"), FORMS)
@settings(max_examples=4, deadline=None)
@given(columns, st.sampled_from(SPACES))
def test_integers_follow_the_isa(operation: str, type_name: str, rows: list[tuple[int, int, int]], space: str) -> None:
    """The old value comes back, the new one is in memory."""
    width = int(type_name[1:])
    dtype = INTEGERS[type_name]
    inputs = [[wrapped(value, type_name) for value in column] for column in zip(*rows, strict=True)]
    # Half of the swaps have to take place.
    inputs[1] = [
        a if operation == "cas" and lane % 2 else b for lane, (a, b) in enumerate(zip(*inputs[:2], strict=True))
    ]
    registers = ("%r5", "%r6", "%r7") if width == 32 else ("%rd5", "%rd6", "%rd7")
    body = atomic_body(f"{operation}.{type_name}", space, width, registers, operation == "cas")
    with DeviceMemory() as memory:
        arrays = [memory.place(np.array(column, dtype)) for column in inputs]
        old = memory.place(np.zeros(LANES, dtype))
        assert launch(memory, kernel(body, 4, shared=512), *arrays, old).findings == ()
    assert old.array.tolist() == inputs[0]
    expected = [wrapped(OPERATIONS[operation](a, b, c), type_name) for a, b, c in zip(*inputs, strict=True)]
    assert arrays[0].array.tolist() == expected


@pytest.mark.parametrize(("text", "expected"), [("cas.b16 %h5, [%rd1], %h6, %h7", [7, 9]), ("exch", None)])
def test_other_widths(memory: DeviceMemory, text: str, expected: list[int] | None) -> None:
    """16 bits leave the neighbour alone; 128 bits are exchanged and swapped whole."""
    if expected is not None:
        array = memory.place(np.array([5, 9], np.uint16))
        launch(memory, kernel(f"mov.u16 %h6, 5; mov.u16 %h7, 7; atom.global.{text};"), array, threads=1)
        assert array.array.tolist() == expected
        return
    array = memory.place(np.arange(8, dtype=np.uint64))
    body = """
        ld.global.b128 %q1, [%rd1+16]; atom.global.exch.b128 %q2, [%rd1], %q1; st.global.b128 [%rd1+32], %q2;
        atom.global.cas.b128 %q3, [%rd1], %q2, %q1; atom.global.cas.b128 %q3, [%rd1+16], %q1, %q2;
    """
    launch(memory, kernel(body), array, threads=1)
    assert array.array.tolist() == [2, 3, 0, 1, 0, 1, 6, 7]


def bfloat16(bits: Array) -> npt.NDArray[np.float32]:
    """The values of bfloat16 numbers."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to nearest, ties to even; NaN becomes 0x7fff."""
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded).astype(np.uint16)


def add_halves(type_name: str, a: Array, b: Array) -> Array:
    """Sums of 16-bit floats by numpy."""
    with np.errstate(all="ignore"):
        if type_name == "bf16":
            return to_bfloat16(bfloat16(a) + bfloat16(b))
        total = a.view(np.float16) + b.view(np.float16)
        return np.where(np.isnan(total), np.uint16(0x7FFF), total.view(np.uint16))


def select_halves(type_name: str, operation: str, a: Array, b: Array) -> Array:
    """The lesser or greater; a NaN gives way, and -0 is below +0."""
    decode = bfloat16 if type_name == "bf16" else lambda bits: bits.view(np.float16).astype(np.float32)
    x, y = decode(a), decode(b)
    below = (x < y) | ((x == y) & np.signbit(x))
    chosen = np.where(below == (operation == "min"), a, b)
    chosen = np.where(np.isnan(x), b, np.where(np.isnan(y), a, chosen))
    return np.where(np.isnan(x) & np.isnan(y), np.uint16(0x7FFF), chosen)


SPECIAL_HALVES = [0, 0x8000, 1, 0x8001, 0x3C00, 0x7BFF, 0x7C00, 0xFC00, 0x7E01, 0x7F80, 0xFF80, 0x7FC1, 0x3F80]
halves = st.lists(st.sampled_from(SPECIAL_HALVES) | st.integers(0, 0xFFFF), min_size=2 * LANES, max_size=2 * LANES)
# Registers of a vector of two elements, and bytes of a lane.
SMALL_FORMS = {"": ("%h5", 2), "x2": ("%r5", 4), "v2": ("{%h5, %h6}", 4)}


@pytest.mark.parametrize("type_name", ["f16", "bf16"])
@pytest.mark.parametrize("form", sorted(SMALL_FORMS))
@pytest.mark.parametrize("operation", ["add", "min", "max"])
@settings(max_examples=3, deadline=None)
@given(halves, halves)
def test_small_floats_round_once(operation: str, form: str, type_name: str, a: list[int], b: list[int]) -> None:
    """Scalars, pairs in one register, and vectors: the same sums and choices, element by element."""
    registers, size = SMALL_FORMS[form]
    first, second = (np.array(values, np.uint16)[: LANES * size // 2] for values in (a, b))
    vector = f".{form}" if form == "v2" else ""
    wide = "x2" if form == "x2" else ""
    load = "v2.b16" if form == "v2" else f"b{8 * size}"
    body = f"""
        mul.wide.u32 %rd11, %r1, {size}; add.s64 %rd12, %rd1, %rd11; add.s64 %rd13, %rd2, %rd11;
        ld.global.{load} {registers}, [%rd13];
        red.global.{operation}.noftz{vector}.{type_name}{wide} [%rd12], {registers};
    """
    with DeviceMemory() as memory:
        array, other = memory.place(first), memory.place(second)
        assert launch(memory, kernel(body, 2), array, other).findings == ()
    if operation == "add":
        expected = add_halves(type_name, first, second)
    else:
        expected = select_halves(type_name, operation, first, second)
    np.testing.assert_array_equal(array.array, expected)


@pytest.mark.parametrize(("space", "kept"), [("global", False), ("shared", True)])
def test_float_sums_flush_in_global_memory_only(memory: DeviceMemory, space: str, kept: bool) -> None:
    """PTX ISA: atom.add.f32 flushes subnormal inputs and results on global memory, not on shared memory."""
    subnormal = np.array([1, 3], np.uint32).view(np.float32)
    array = memory.place(subnormal)
    place = "%rd1" if space == "global" else "%r5"
    body = f"""
        mov.u32 %r5, s; ld.global.v2.f32 {{%f1, %f2}}, [%rd1]; st.shared.f32 [s], %f1;
        atom.{space}.add.f32 %f3, [{place}], %f2; ld.{space}.f32 %f4, [{place}]; st.global.f32 [%rd1], %f4;
    """
    launch(memory, kernel(body, shared=16), array, threads=1)
    assert array.array.view(np.uint32).tolist() == [4 if kept else 0, 3]


def test_float_and_double_sums(memory: DeviceMemory) -> None:
    """In the order of the lanes, each rounded."""
    summands = np.random.default_rng(3).standard_normal(LANES)
    single, double = memory.place(summands.astype(np.float32)), memory.place(summands)
    totals = memory.place(np.zeros(1, np.float32)), memory.place(np.zeros(1))
    body = """
        add.s64 %rd11, %rd1, %rd10; ld.global.f32 %f1, [%rd11]; atom.global.add.f32 %f2, [%rd3], %f1;
        add.s64 %rd12, %rd2, %rd10; add.s64 %rd12, %rd12, %rd10; ld.global.f64 %fd1, [%rd12];
        red.global.add.f64 [%rd4], %fd1;
    """
    assert launch(memory, kernel(body, 4), single, double, *totals).findings == ()
    expected_single, expected_double = np.float32(0), 0.0
    for lane in range(LANES):
        expected_single += single.array[lane]
        expected_double += summands[lane]
    assert (totals[0].array[0], totals[1].array[0]) == (expected_single, expected_double)


def test_a_vector_of_floats_is_added_element_by_element(memory: DeviceMemory) -> None:
    """red.v4.f32 by all lanes to one place."""
    total = memory.place(np.array([0, 1, 2, 3], np.float32))
    body = """
        mov.f32 %f1, 0f3F800000; mov.f32 %f2, 0f40000000; mov.f32 %f3, 0f40400000; mov.f32 %f4, 0f40800000;
        red.global.add.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};
    """
    assert launch(memory, kernel(body), total).findings == ()
    assert total.array.tolist() == [32, 65, 98, 131]


def test_no_addition_is_lost_between_threads_of_the_host(memory: DeviceMemory) -> None:
    """64 blocks of 4 warps on 4 threads: every old value is seen once."""
    counter, seen = words(memory, 1), words(memory, 64 * 128)
    body = """
        atom.global.add.u32 %r3, [%rd1], 1;
        mul.wide.u32 %rd3, %r3, 4; add.s64 %rd3, %rd2, %rd3; st.global.u32 [%rd3], 1;
    """
    options = Options(threads=4)
    assert launch(memory, kernel(body, 2), counter, seen, grid=64, threads=128, options=options).findings == ()
    assert counter.array[0] == 64 * 128
    assert seen.array.all()


def test_only_executing_lanes_take_part(memory: DeviceMemory) -> None:
    """A guard decides who adds, and whose destination is written."""
    array = words(memory, LANES)
    body = """
        mov.u32 %r4, 77; setp.ge.u32 %p1, %r1, 20; @%p1 atom.global.add.u32 %r4, [%rd1], 1;
        add.s64 %rd3, %rd2, %rd10; st.global.u32 [%rd3], %r4;
    """
    total = words(memory, 1)
    launch(memory, kernel(body, 2), total, array)
    assert total.array[0] == 12
    assert array.array.tolist() == [77] * 20 + list(range(12))
