"""wgmma: where elements lie in shared memory and in registers, and how sums are formed.

Places in shared memory are those of the PTX ISA's "Shared Memory Matrix Layout", written out here in terms of core
matrices (8 lines of 16 bytes) and swizzle atoms; places in registers are those of its figures of the fragments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options, Outcome
from tests.profiles.simulator.memory_kernels import kernel, launch
from tests.profiles.simulator.mma_fragments import element_bits, float_value, random_elements

Array = npt.NDArray[Any]

THREADS = 128
ROWS = 64
K_BYTES = 32  # of a product, whatever the element type
B_PLACE = 8192  # of B in shared memory; A lies at 0
SHARED = 48 * 1024
SWIZZLE_CODES = {0: 0, 128: 1, 64: 2, 32: 3}


@dataclass(frozen=True)
class Layout:
    """How one operand lies in shared memory: its descriptor, but for the address."""

    swizzle: int  # bytes of the span
    leading: int  # bytes
    stride: int  # bytes
    transposed: bool = False  # MN-major
    start: int = 0  # bytes behind the place: a K step inside the span

    def __str__(self) -> str:
        return f"{'mn' if self.transposed else 'k'}{self.swizzle}-{self.leading}-{self.stride}+{self.start}"

    def descriptor(self, place: int) -> int:
        """The 64 bits of the PTX ISA's "Matrix Descriptor Format"."""
        address = place + self.start
        fields = (address >> 4) | (self.leading >> 4) << 16 | (self.stride >> 4) << 32
        return fields | SWIZZLE_CODES[self.swizzle] << 62

    def address(self, place: int, line: int, k: int, element_bytes: int) -> int:
        """Byte address of element ``k`` of a row of A or column of B."""
        linear = (
            place
            + self.start
            + (self._transposed(line, k) if self.transposed else self._straight(line, k * element_bytes))
        )
        if not self.swizzle:
            return linear
        chunks = self.swizzle // 16
        return linear ^ (linear // 128 % chunks) * 16

    def _straight(self, line: int, byte: int) -> int:
        group, row = divmod(line, 8)
        if not self.swizzle:  # core matrices: 8 rows of 16 bytes, one after the other
            return group * self.stride + byte // 16 * self.leading + row * 16 + byte % 16
        return group * self.stride + row * self.swizzle + byte

    def _transposed(self, line: int, k: int) -> int:
        """16-bit elements; lines run along memory."""
        per_row = (self.swizzle or 16) // 2  # lines of an atom
        atom, column = divmod(line, per_row)
        group, row = divmod(k, 8)
        across, along = (self.leading, self.stride) if self.swizzle else (self.stride, self.leading)
        return atom * across + group * along + row * per_row * 2 + column * 2


# Distances are chosen so that no two can be mistaken for each other.
K_MAJOR = [
    Layout(0, 128, 256),
    Layout(0, 1152, 128),
    Layout(32, 16, 256),
    Layout(64, 16, 512),
    Layout(64, 16, 512, start=32),
    Layout(128, 16, 1024),
    *(Layout(128, 16, 1024, start=start) for start in (32, 64, 96)),
]
MN_MAJOR = [
    Layout(0, 128, 256, True),
    Layout(0, 2304, 128, True),
    Layout(32, 512, 256, True),
    Layout(64, 1024, 512, True),
    Layout(128, 2048, 1024, True),
]


@dataclass(frozen=True)
class Product:
    """One instruction."""

    d: str
    a: str
    b: str
    columns: int
    a_layout: Layout | None = K_MAJOR[5]  # None: in registers
    b_layout: Layout = K_MAJOR[5]
    add: bool = True
    sign_a: int = 1
    sign_b: int = 1
    clamp: bool = False

    @property
    def depth(self) -> int:
        """K."""
        return K_BYTES * 8 // element_bits(self.a)

    @property
    def registers(self) -> int:
        """Of D in a lane."""
        return self.columns // (4 if self.d == "f16" else 2)

    def __str__(self) -> str:
        return f"n{self.columns} {self.d} {self.a} {self.b} {self.a_layout or 'registers'} {self.b_layout}"

    def instruction(self) -> str:
        """As PTX."""
        sums = ", ".join(f"%d{i}" for i in range(self.registers))
        a = "%rd20" if self.a_layout else "{%a0, %a1, %a2, %a3}"
        operands = [f"{{{sums}}}", a, "%rd21", "%p1"]
        if self.d != "s32":
            operands += [str(self.sign_a), str(self.sign_b)]
        if element_bits(self.a) == 16:
            operands += [str(int(self.a_layout.transposed))] if self.a_layout else []
            operands += [str(int(self.b_layout.transposed))]
        clamp = ".satfinite" if self.clamp else ""
        name = f"wgmma.mma_async.sync.aligned.m64n{self.columns}k{self.depth}{clamp}.{self.d}.{self.a}.{self.b}"
        return f"{name} {', '.join(operands)};"


PROLOGUE = f"""
    .reg .b32 %d<128>; .reg .b32 %a<4>;
    mov.u32 %r20, s; mov.u32 %r10, %r1;
FILL:
    shl.b32 %r11, %r10, 4; setp.ge.u32 %p2, %r11, {SHARED}; @%p2 bra FILLED;
    cvt.u64.u32 %rd11, %r11; add.u64 %rd12, %rd2, %rd11; ld.global.v4.u32 {{%r13, %r14, %r15, %r16}}, [%rd12];
    add.u32 %r12, %r20, %r11; st.shared.v4.u32 [%r12], {{%r13, %r14, %r15, %r16}};
    add.u32 %r10, %r10, {THREADS}; bra FILL;
FILLED:
    fence.proxy.async.shared::cta;
    bar.sync 0;
"""


def thread_words(name: str, count: int, base: str, operation: str) -> str:
    """Moves ``count`` registers of every thread from or to an array of (thread, register)."""
    lines = [f"mul.lo.u32 %r17, %r1, {4 * count}; cvt.u64.u32 %rd13, %r17; add.u64 %rd13, {base}, %rd13;"]
    for i in range(count):
        place, register = f"[%rd13+{4 * i}]", f"%{name}{i}"
        lines.append(
            f"ld.global.u32 {register}, {place};" if operation == "ld" else f"st.global.u32 {place}, {register};"
        )
    return "\n".join(lines)


def product_text(product: Product) -> str:
    """A kernel that computes one product: arrays are D (in and out), the shared memory and A's registers."""
    a_descriptor = product.a_layout.descriptor(0) if product.a_layout else 0
    body = f"""{PROLOGUE}
    {thread_words("d", product.registers, "%rd1", "ld")}
    {thread_words("a", 4, "%rd3", "ld")}
    mov.u64 %rd20, {a_descriptor}; mov.u64 %rd21, {product.b_layout.descriptor(B_PLACE)};
    setp.eq.u32 %p1, %r20, {int(not product.add)};
    wgmma.fence.sync.aligned;
    {product.instruction()}
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    {thread_words("d", product.registers, "%rd1", "st")}"""
    return kernel(body, 3, SHARED)


@dataclass
class Operands:
    """Codes and numbers of A (rows, K), B (columns, K) and D (rows, columns)."""

    a: Array
    b: Array
    d: Array
    values: dict[str, Array] = field(default_factory=dict)


def random_operands(product: Product, seed: int) -> Operands:
    """Whose sums the test can form without error."""
    random = np.random.default_rng(seed)
    a, a_values = random_elements(product.a, (ROWS, product.depth), random)
    b, b_values = random_elements(product.b, (product.columns, product.depth), random)
    if product.d == "f32":
        d_values = random.uniform(-8, 8, (ROWS, product.columns)).astype(np.float32)
        d = d_values.view(np.uint32)
    else:
        d, d_values = random_elements("f16" if product.d == "f16" else "s32", (ROWS, product.columns), random)
    return Operands(a, b, d, {"a": a_values, "b": b_values, "d": d_values})


def expected_codes(product: Product, operands: Operands) -> Array:
    """Products are exact and added to D with k ascending, each sum rounded to f32; f16 sums are rounded at the end."""
    a, b, d = (operands.values[name] for name in "abd")
    if product.d == "s32":
        sums = a.astype(np.int64) @ b.astype(np.int64).T + (d.astype(np.int64) if product.add else 0)
        if product.clamp:
            sums = np.clip(sums, -(2**31), 2**31 - 1)
        return (sums & 0xFFFFFFFF).astype(np.uint32)
    sums32 = (d if product.add else np.zeros_like(d)).astype(np.float32)
    for k in range(product.depth):
        products = product.sign_a * product.sign_b * a[:, None, k].astype(np.float64) * b[None, :, k].astype(np.float64)
        sums32 = (sums32.astype(np.float64) + products).astype(np.float32)
    if product.d == "f16":
        return sums32.astype(np.float16).view(np.uint16).astype(np.uint32)
    return sums32.view(np.uint32)


def shared_image(product: Product, operands: Operands) -> Array:
    """Shared memory with A and B; the rest is 0xff, which is NaN in every floating-point format."""
    image = np.full(SHARED, 0xFF, np.uint8)
    for layout, place, codes, type_name in (
        (product.a_layout, 0, operands.a, product.a),
        (product.b_layout, B_PLACE, operands.b, product.b),
    ):
        size = element_bits(type_name) // 8
        for line, k in np.ndindex(*(codes.shape if layout else (0, 0))):
            assert layout is not None
            address = layout.address(place, line, k, size)
            image[address : address + size] = np.frombuffer(int(codes[line, k]).to_bytes(size, "little"), np.uint8)
    return image


def a_registers(product: Product, codes: Array) -> Array:
    """Four words of every thread: rows g and g + 8 of the warp's 16, then the same in the upper half of K."""
    bits = element_bits(product.a)
    per_word = 32 // bits
    words = np.zeros((THREADS, 4), np.uint32)
    for thread, i, element in np.ndindex(THREADS, 4, per_word):
        warp, lane = divmod(thread, 32)
        row = 16 * warp + lane // 4 + 8 * (i % 2)
        k = i // 2 * 4 * per_word + lane % 4 * per_word + element
        words[thread, i] |= np.uint32(codes[row, k]) << np.uint32(bits * element)
    return words


def d_place(thread: int, element: int) -> tuple[int, int]:
    """Row and column of element ``element`` of a thread's part of D."""
    warp, lane = divmod(thread, 32)
    row = 16 * warp + lane // 4 + 8 * (element // 2 % 2)
    return row, element // 4 * 8 + lane % 4 * 2 + element % 2


def d_registers(product: Product, codes: Array) -> Array:
    """D as words of (thread, register)."""
    per_word = 2 if product.d == "f16" else 1
    words = np.zeros((THREADS, product.registers), np.uint32)
    for thread, element in np.ndindex(THREADS, product.registers * per_word):
        code = np.uint32(codes[d_place(thread, element)])
        words[thread, element // per_word] |= code << np.uint32(16 * (element % per_word))
    return words


def run(product: Product, operands: Operands, options: Options | None = None) -> tuple[Outcome, Array]:
    """The outcome and D's words."""
    with DeviceMemory() as memory:
        d = memory.place(d_registers(product, operands.d), name="d")
        image = memory.place(shared_image(product, operands), name="image")
        a = memory.place(a_registers(product, operands.a), name="a")
        outcome = launch(memory, product_text(product), d, image, a, threads=THREADS, options=options)
        return outcome, d.array


FLOAT8 = ("e4m3", "e5m2")
PRODUCTS = [
    *(Product("f32", "bf16", "bf16", 16, a_layout=layout, b_layout=other)
      for layout, other in zip(K_MAJOR, [*K_MAJOR[1:], K_MAJOR[0]], strict=True)),
    *(Product("f32", "f16", "f16", 136, a_layout=layout, b_layout=other)
      for layout, other in zip(MN_MAJOR, [*MN_MAJOR[1:], MN_MAJOR[0]], strict=True)),
    Product("f32", "bf16", "bf16", 256, a_layout=MN_MAJOR[4], b_layout=K_MAJOR[5], add=False),
    Product("f32", "bf16", "bf16", 24, a_layout=K_MAJOR[0], b_layout=MN_MAJOR[2], sign_a=-1),
    Product("f32", "bf16", "bf16", 64, a_layout=None, b_layout=MN_MAJOR[4]),
    Product("f32", "f16", "f16", 8, a_layout=None, sign_b=-1),
    Product("f16", "f16", "f16", 32, sign_a=-1, sign_b=-1),
    Product("f16", "f16", "f16", 40, a_layout=None, add=False),
    Product("f32", "tf32", "tf32", 16, a_layout=K_MAJOR[3]),
    Product("f32", "tf32", "tf32", 72, a_layout=None, b_layout=K_MAJOR[0]),
    *(Product("f32", a, b, 16, a_layout=K_MAJOR[1]) for a in FLOAT8 for b in FLOAT8),
    *(Product("f16", a, b, 16, a_layout=None) for a in FLOAT8 for b in FLOAT8),
    Product("s32", "s8", "s8", 32, a_layout=K_MAJOR[2]),
    Product("s32", "s8", "u8", 32, a_layout=None, clamp=True),
    Product("s32", "u8", "s8", 32, a_layout=K_MAJOR[7], clamp=True),
    Product("s32", "u8", "u8", 32, a_layout=None),
]  # fmt: skip


@pytest.mark.parametrize("product", PRODUCTS, ids=str)
def test_products(product: Product) -> None:
    """Every element of D, for every type, layout and source of A; nothing to report."""
    operands = random_operands(product, 1)

    outcome, found = run(product, operands)

    assert outcome.findings == ()
    np.testing.assert_array_equal(found, d_registers(product, expected_codes(product, operands)))


def test_results_do_not_depend_on_the_checks_or_the_schedule() -> None:
    """Bit by bit."""
    product = PRODUCTS[0]
    operands = random_operands(product, 2)

    results = [run(product, operands, Options(check_races=seed > 0, seed=seed))[1] for seed in range(3)]

    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_float_formats_of_eight_bits() -> None:
    """Spot checks of the codes that the other tests rely on: the largest e4m3 and the smallest e5m2 number."""
    assert float_value(0x7E, 4, 3) == 448
    assert float_value(0x01, 5, 2) == 2.0**-16
