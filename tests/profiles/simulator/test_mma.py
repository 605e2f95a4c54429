"""mma.sync: which element each register of each lane holds, and how products are rounded and clamped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Outcome, launch_kernel, load_kernel
from tests.profiles.simulator.mma_fragments import (
    A_PLACES,
    B_PLACES,
    LANES,
    SUM_PLACES,
    Array,
    Place,
    Words,
    element_bits,
    from_registers,
    random_elements,
    to_registers,
)

CASES = 6
NAN = 0x7FFFFFFF
SMALLEST, LARGEST = -(2**31), 2**31 - 1


def kernel_text(opcode: str, counts: dict[str, int], *, in_place: bool = False, wide: bool = False) -> str:
    """A kernel of blocks of one warp: each loads its A, B, C, executes one mma, and stores D.

    ``counts`` are the registers of "d", "a", "b", "c". With ``in_place`` D is C, with its registers in reverse order.
    """
    width = 64 if wide else 32
    names = {name: [f"%{name}{index}" for index in range(count)] for name, count in counts.items()}
    if in_place:
        names["d"] = names["c"][::-1]
    lines = [f".reg .b{width} %{name}<{count}>;" for name, count in counts.items()]
    for name in "abcd":
        lines += [
            f"ld.param.u64 %base, [{name}];",
            f"mad.lo.u32 %index, %block, {counts[name] * LANES}, %lane;",
            f"mad.wide.u32 %{name}p, %index, {width // 8}, %base;",
        ]
        if name != "d":
            lines += [
                f"ld.global.b{width} {register}, [%{name}p+{index * LANES * width // 8}];"
                for index, register in enumerate(names[name])
            ]
    fragments = ", ".join("{" + ", ".join(names[name]) + "}" for name in "dabc")
    lines.append(f"{opcode} {fragments};")
    lines += [
        f"st.global.b{width} [%dp+{index * LANES * width // 8}], {register};"
        for index, register in enumerate(names["d"])
    ]
    return module_text(lines)


def module_text(lines: list[str]) -> str:
    """A module with one kernel that executes the lines."""
    body = "\n".join(lines)
    return f"""
.version 8.7
.target sm_89
.address_size 64
.visible .entry product(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)
{{
.reg .b64 %base, %ap, %bp, %cp, %dp;
.reg .b32 %index, %block, %lane;
mov.u32 %block, %ctaid.x;
mov.u32 %lane, %tid.x;
{body}
ret;
}}
"""


def multiply(ptx: str, a: Array, b: Array, c: Array) -> Array:
    """D of all cases, in registers like C's."""
    with DeviceMemory() as memory:
        d = memory.place(np.full_like(c, 0xAB), name="d")
        arguments = [memory.place(a), memory.place(b), memory.place(c), d]
        outcome = launch_kernel(
            ptx, "product", grid=(len(a), 1, 1), block=(LANES, 1, 1), arguments=arguments, memory=memory
        )
        assert outcome.findings == ()
        return d.array.copy()


@dataclass(frozen=True, slots=True)
class Form:
    """One mma instruction, as its opcode says."""

    shape: str
    d: str
    a: str
    b: str
    modifier: str = ""

    @property
    def opcode(self) -> str:
        """As PTX writes it."""
        return f"mma.sync.aligned.{self.shape}.row.col{self.modifier}.{self.d}.{self.a}.{self.b}.{self.d}"

    @property
    def rows(self) -> int:
        """M."""
        return int(self.shape[1 : self.shape.index("n")])

    @property
    def depth(self) -> int:
        """K."""
        return int(self.shape[self.shape.index("k") + 1 :])

    @property
    def a_place(self) -> Place:
        """Where the elements of A are."""
        return A_PLACES[self.shape, element_bits(self.a)]

    @property
    def b_place(self) -> Place:
        """Where the elements of B are."""
        return B_PLACES[self.shape, element_bits(self.b)]

    def __str__(self) -> str:
        return f"{self.shape}.{self.d}.{self.a}.{self.b}{self.modifier}"


FLOAT_FORMS = [
    *(Form(shape, d, "f16", "f16") for shape in ("m16n8k8", "m16n8k16") for d in ("f32", "f16")),
    *(Form(shape, "f32", "bf16", "bf16") for shape in ("m16n8k8", "m16n8k16")),
    *(Form(shape, "f32", "tf32", "tf32") for shape in ("m16n8k4", "m16n8k8")),
    *(
        Form(shape, d, a, b)
        for shape in ("m16n8k16", "m16n8k32")
        for d in ("f32", "f16")
        for a in ("e4m3", "e5m2")
        for b in ("e4m3", "e5m2")
    ),
]
INTEGER_FORMS = [
    Form(shape, "s32", a + bits, b + bits, modifier)
    for bits, shapes in (("8", ("m8n8k16", "m16n8k16", "m16n8k32")), ("4", ("m8n8k32", "m16n8k32", "m16n8k64")))
    for shape in shapes
    for a in "su"
    for b in "su"
    for modifier in ("", ".satfinite")
]


@dataclass(frozen=True, slots=True)
class Factors:
    """Random A and B: in registers, and the numbers (cases, rows, k) and (cases, k, columns) that they mean."""

    a_words: Words
    b_words: Words
    a: Array
    b: Array


def random_factors(form: Form, random: np.random.Generator) -> Factors:
    """A and B of CASES products."""
    a_codes, a = random_elements(form.a, (CASES, form.rows, form.depth), random)
    b_codes, b = random_elements(form.b, (CASES, form.depth, 8), random)
    a_words = to_registers(a_codes, form.a_place, element_bits(form.a))
    return Factors(a_words, to_registers(b_codes, form.b_place, element_bits(form.b)), a, b)


def text_for(form: Form, factors: Factors, sums: Words, *, in_place: bool = False) -> str:
    """A kernel for these fragments."""
    counts = {"d": sums.shape[1], "a": factors.a_words.shape[1], "b": factors.b_words.shape[1], "c": sums.shape[1]}
    return kernel_text(form.opcode, counts, in_place=in_place)


def accumulated(factors: Factors, c: Array) -> Array:
    """The sum with k ascending, each step rounded to f32 once: the order that the simulator documents."""
    total = c.astype(np.float32)
    for k in range(factors.a.shape[2]):
        exact = factors.a[:, :, k, None] * factors.b[:, k, None, :] + total.astype(np.float64)
        total = exact.astype(np.float32)
    return total


@pytest.mark.parametrize("form", FLOAT_FORMS, ids=str)
def test_float_products_are_the_sequential_sums_of_the_documented_fragments(form: Form) -> None:
    """Every element of D comes from the documented row and column; sums go with k ascending."""
    random = np.random.default_rng(1)
    factors = random_factors(form, random)
    place, bits = SUM_PLACES[form.rows], int(form.d[1:])
    dtype, code = (np.float16, np.uint16) if bits == 16 else (np.float32, np.uint32)
    c = (np.round(random.uniform(-64, 64, (CASES, form.rows, 8)) * 8) / 8).astype(dtype)
    c_words = to_registers(c.view(code), place, bits)

    d_words = multiply(text_for(form, factors, c_words), factors.a_words, factors.b_words, c_words)

    expected = accumulated(factors, c).astype(dtype)
    assert np.array_equal(from_registers(d_words, place, bits, form.rows), expected.view(code))


@pytest.mark.parametrize("form", INTEGER_FORMS, ids=str)
def test_integer_products_are_exact_and_wrap_or_clamp(form: Form) -> None:
    """Integer sums are exact; beyond s32 they wrap around, or with .satfinite stay at its ends."""
    random = np.random.default_rng(2)
    factors = random_factors(form, random)
    place = SUM_PLACES[form.rows]
    c = random.integers(SMALLEST, LARGEST, (CASES, form.rows, 8), dtype=np.int64)
    c[0], c[1] = SMALLEST + 9, LARGEST - 9  # sums leave the range
    c_words = to_registers(c.astype(np.int32).view(np.uint32), place, 32)

    d_words = multiply(text_for(form, factors, c_words), factors.a_words, factors.b_words, c_words)

    exact = factors.a @ factors.b + c
    expected = np.clip(exact, SMALLEST, LARGEST) if form.modifier else (exact + 2**31) % 2**32 - 2**31
    found = from_registers(d_words, place, 32, form.rows).view(np.int32)
    assert np.array_equal(found, expected)
    assert not np.array_equal(exact, expected)


def test_f64_products_are_the_sequential_sums_of_the_documented_fragments() -> None:
    """Fragments of m8n8k4; the numbers are small integers, so that the order cannot matter."""
    random = np.random.default_rng(3)
    a, b, c = (random.integers(-(2**20), 2**20, (CASES, *shape)).astype(float) for shape in ((8, 4), (4, 8), (8, 8)))
    lane = np.arange(LANES)
    group, thread = lane // 4, lane % 4
    c_words = np.stack([c[:, group, 2 * thread], c[:, group, 2 * thread + 1]], axis=1)
    opcode = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64"
    ptx = kernel_text(opcode, {"d": 2, "a": 1, "b": 1, "c": 2}, wide=True)

    d_words = multiply(ptx, a[:, group, thread], b[:, thread, group], c_words)

    found = np.zeros_like(c)
    found[:, group, 2 * thread], found[:, group, 2 * thread + 1] = d_words[:, 0], d_words[:, 1]
    assert np.array_equal(found, a @ b + c)


def one_product(a: int, b: int, c: float) -> int:
    """Bits of D[0][0] where all other bf16 elements of A are zero: A[0][0] is ``a``, column 0 of B is ``b``."""
    form = Form("m16n8k8", "f32", "bf16", "bf16")
    a_codes, b_codes = np.zeros((1, 16, 8), np.uint32), np.zeros((1, 8, 8), np.uint32)
    a_codes[0, 0, 0], b_codes[0, 0, 0] = a, b
    sums = np.full((1, 16, 8), c, np.float32)
    factors = Factors(
        to_registers(a_codes, form.a_place, 16), to_registers(b_codes, form.b_place, 16), a_codes, b_codes
    )
    c_words = to_registers(sums.view(np.uint32), SUM_PLACES[16], 32)
    d_words = multiply(text_for(form, factors, c_words), factors.a_words, factors.b_words, c_words)
    return int(from_registers(d_words, SUM_PLACES[16], 32, 16)[0, 0, 0])


INFINITY_BF16, ONE_BF16, QUIET_BF16 = 0x7F80, 0x3F80, 0x7FC1


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        pytest.param(QUIET_BF16, ONE_BF16, 0.0, NAN, id="NaN of any payload gives the canonical NaN"),
        pytest.param(0x8000 | INFINITY_BF16, ONE_BF16, float("inf"), NAN, id="infinity minus infinity"),
        pytest.param(INFINITY_BF16, ONE_BF16, 1.0, 0x7F800000, id="infinity"),
        pytest.param(INFINITY_BF16, 0, 0.0, NAN, id="infinity times zero"),
        pytest.param(0x0001, ONE_BF16, 0.0, 0x00010000, id="a subnormal bf16 keeps its value"),
        pytest.param(0x0080, 0x3F00, 0.0, 0x00400000, id="a subnormal product is not flushed"),
    ],
)
def test_special_numbers(a: int, b: int, c: float, expected: int) -> None:
    """NaN is always the canonical one; infinities follow IEEE; nothing is flushed to zero."""
    assert one_product(a, b, c) == expected


@pytest.mark.parametrize("form", [FLOAT_FORMS[2], FLOAT_FORMS[3], INTEGER_FORMS[-1]], ids=str)
def test_d_may_be_the_registers_of_c_in_another_order(form: Form) -> None:
    """All sources are read before D is written."""
    random = np.random.default_rng(4)
    factors = random_factors(form, random)
    c_words = np.zeros((CASES, 2 if form.d == "f16" else form.rows // 4, LANES), np.uint32)
    c_words[:, :] = np.arange(LANES, dtype=np.uint32)  # differ, and are nearly zero as floats

    apart = multiply(text_for(form, factors, c_words), factors.a_words, factors.b_words, c_words)
    together = multiply(text_for(form, factors, c_words, in_place=True), factors.a_words, factors.b_words, c_words)

    assert np.array_equal(apart, together)


WORDS_OF_SHAPE = {"d": 4, "a": 4, "b": 2, "c": 4}
PRODUCT = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"


def run_zeros(ptx: str, threads: int) -> Outcome:
    """One block on zeros."""
    with DeviceMemory() as memory:
        arguments = [memory.place(np.zeros(1024, np.uint32)) for _ in "abcd"]
        return launch_kernel(ptx, "product", grid=(1, 1, 1), block=(threads, 1, 1), arguments=arguments, memory=memory)


def test_a_warp_without_all_its_lanes_cannot_multiply() -> None:
    """.aligned instructions are undefined if lanes of the warp do not exist."""
    outcome = run_zeros(kernel_text(PRODUCT, WORDS_OF_SHAPE), threads=16)

    assert [finding.check for finding in outcome.findings] == ["divergence"]
    assert outcome.findings[0].lanes == tuple(range(16, 32))


def test_lanes_that_branch_around_a_product_are_found() -> None:
    """All lanes have to execute the same mma."""
    text = kernel_text(PRODUCT, WORDS_OF_SHAPE)
    around = text.replace(PRODUCT, f".reg .pred %p; setp.eq.u32 %p, %lane, 7; @%p bra END;\n{PRODUCT}")

    outcome = run_zeros(around.replace("ret;", "END: ret;"), threads=32)

    assert [finding.check for finding in outcome.findings] == ["divergence"]


@pytest.mark.parametrize(
    ("opcode", "reason"),
    [
        ("wmma.load.a.sync.aligned.row.m16n16k16.shared.f16", "wmma"),
        ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", "m8n8k4"),
        ("mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32", "row.col"),
        ("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc", "one-bit"),
        ("mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32", "sparse"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32", "types"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16", "types"),
        ("mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16", "types"),
        ("mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32", "satfinite"),
        ("mma.sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32", "kind::f8f6f4"),
        ("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64", "m16n8k16"),
        ("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", "2 registers"),
    ],
)
def test_a_form_that_is_not_known_is_refused_with_its_reason(opcode: str, reason: str) -> None:
    """Nothing is ignored silently: the refusal names the PTX line and what is not known."""
    ptx = kernel_text(opcode, WORDS_OF_SHAPE)

    with pytest.raises(LoweringError, match="PTX line") as refusal:
        load_kernel(ptx, "product")

    assert reason in str(refusal.value)
    assert opcode in str(refusal.value)
