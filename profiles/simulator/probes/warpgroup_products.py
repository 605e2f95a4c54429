"""Probes of wgmma: what each matrix descriptor selects, where the sums lie, and how they are rounded.

Shared memory is full of small whole numbers, so a product is right only if the descriptor reads the very elements that
the layout means, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from profiles.simulator.probes.matrices import small_numbers
from profiles.simulator.probes.probe import Output, Probe, Tolerance, Words
from profiles.simulator.probes.values import hashed

_THREADS = 128
_ROWS = 64
_LINES = 8  # rows of a group
_GRANULE = 16  # bytes
_DEPTH = {"f16": 16, "bf16": 16, "tf32": 8, "e4m3": 32, "e5m2": 32, "s8": 32, "u8": 32}
_INTEGERS = ("s8", "u8")
_SWIZZLE_CODES = {0: 0, 128: 1, 64: 2, 32: 3}  # bits 62 and 63 of a descriptor
_A_REGISTERS = 4
_NEAR_THE_END = 0x7FFF0000  # of the range of s32
_B_PLACE = 8192  # of B in shared memory; A needs no more in any layout here


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one factor in shared memory, as its descriptor says it. Distances and places are bytes."""

    swizzle: int
    leading: int
    stride: int
    mn_major: bool = False
    start: int = 0  # of the first element, in the layout

    def descriptor(self) -> int:
        """All but the address. PTX ISA, "Matrix descriptor format"."""
        return self.leading >> 4 << 16 | self.stride >> 4 << 32 | _SWIZZLE_CODES[self.swizzle] << 62


def k_major(swizzle: int, start: int = 0) -> Layout:
    """Rows of the swizzle's span; without one, 8 x 16 byte matrices, those of one group of rows side by side."""
    if not swizzle:
        return Layout(0, leading=_LINES * _GRANULE, stride=2 * _LINES * _GRANULE)
    return Layout(swizzle, leading=_GRANULE, stride=_LINES * swizzle, start=start)


def mn_major(swizzle: int) -> Layout:
    """Eight values of k in a row of blocks: first all of K, then the next elements of M or N."""
    if not swizzle:
        return Layout(0, leading=4096, stride=_LINES * _GRANULE, mn_major=True)
    return Layout(swizzle, leading=2 * _LINES * swizzle, stride=_LINES * swizzle, mn_major=True)


_ROWS_OF_128_BYTES = k_major(128)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpgroupProduct:
    """One wgmma.mma_async. ``layout_a`` is None if A comes from registers."""

    name: str
    d: str = "f32"
    a: str = "f16"
    b: str = "f16"
    columns: int = 16
    layout_a: Layout | None = _ROWS_OF_128_BYTES
    layout_b: Layout = _ROWS_OF_128_BYTES
    add: bool = False  # to what D holds
    signs: tuple[int, int] = (1, 1)
    satfinite: bool = False

    @property
    def registers(self) -> int:
        """Of D, in a thread."""
        return self.columns // (4 if self.d == "f16" else 2)

    def statements(self) -> str:
        """From full shared memory to D in registers."""
        return "\n".join(
            [
                ".reg .b64 %base, %descriptor_a, %descriptor_b;",
                ".reg .b32 %start;",
                ".reg .pred %add;",
                "fence.proxy.async;",
                "bar.sync 0;",
                *self._descriptor("a", self.layout_a, 0),
                *self._descriptor("b", self.layout_b, _B_PLACE),
                *self._first_sums(),
                f"setp.ne.u32 %add, {int(self.add)}, 0;",
                "wgmma.fence.sync.aligned;",
                self._instruction(),
                "wgmma.commit_group.sync.aligned;",
                "wgmma.wait_group.sync.aligned 0;",
            ]
        )

    def _descriptor(self, name: str, layout: Layout | None, place: int) -> Iterator[str]:
        if layout is None:
            return
        yield f"add.u32 %start, %buffer, {place + layout.start};"
        yield "shr.u32 %start, %start, 4;"
        yield "cvt.u64.u32 %base, %start;"
        yield f"or.b64 %descriptor_{name}, %base, 0x{layout.descriptor():016x};"

    def _first_sums(self) -> Iterator[str]:
        """Small numbers that differ from thread to thread and from register to register."""
        for index in range(self.registers):
            if self.d == "f16":
                yield f"mov.b32 %d{index}, 0x{0x3C004000 + index % 8 * 0x01000100:08x};"
                continue
            yield f"add.u32 %start, %lane, {index + (_NEAR_THE_END if self.satfinite else 0)};"
            yield f"cvt.rn.f32.u32 %d{index}, %start;" if self.d == "f32" else f"mov.b32 %d{index}, %start;"

    def _instruction(self) -> str:
        clamp = ".satfinite" if self.satfinite else ""
        opcode = f"wgmma.mma_async.sync.aligned.m64n{self.columns}k{_DEPTH[self.a]}.{self.d}.{self.a}.{self.b}{clamp}"
        sums = "{" + ", ".join(f"%d{index}" for index in range(self.registers)) + "}"
        registers = "{" + ", ".join(f"%a{index}" for index in range(_A_REGISTERS)) + "}"
        numbers: list[int] = [] if self.a in _INTEGERS else list(self.signs)
        if self.a in ("f16", "bf16"):
            numbers += [int(layout.mn_major) for layout in (self.layout_a, self.layout_b) if layout]
        factor = "%descriptor_a" if self.layout_a else registers
        return ", ".join([f"{opcode} {sums}", factor, "%descriptor_b", "%add", *map(str, numbers)]) + ";"

    def probe(self, shared: bytes, registers: list[Words], tolerance: Tolerance | None = None) -> Probe:
        """On this content of shared memory, and A's registers."""
        return Probe(
            name=f"wgmma-{self.name}",
            target="sm_90a",
            statements=self.statements(),
            outputs=tuple(Output(f"D, register {index}", "b32") for index in range(self.registers)),
            inputs=tuple(("b32", words) for words in registers) if self.layout_a is None else (),
            block=_THREADS,
            shared=shared,
            tolerance=tolerance,
        )


def warpgroup_probes() -> list[Probe]:
    """All of them."""
    return [*(_exact(product, 3000 + 50 * number) for number, product in enumerate(_products())), *_rounded()]


def _exact(product: WarpgroupProduct, seed: int) -> Probe:
    registers = [small_numbers(product.a, _THREADS, seed + index) for index in range(_A_REGISTERS)]
    shared = _numbers(product.a, _B_PLACE, seed + 10) + _numbers(product.b, _b_bytes(product), seed + 20)
    return product.probe(shared, registers)


def _numbers(type_name: str, size: int, seed: int) -> bytes:
    return small_numbers(type_name, size // 4, seed).astype("<u4").tobytes()


def _b_bytes(product: WarpgroupProduct) -> int:
    """Bytes of B, to the end of what the descriptor can reach."""
    layout = product.layout_b
    if layout.mn_major and layout.swizzle:
        return product.columns // (layout.swizzle // 2) * layout.leading
    groups = product.columns // _LINES
    end = (groups - 1) * layout.stride + layout.leading + _LINES * max(layout.swizzle, _GRANULE)
    return -(-end // 1024) * 1024


def _products() -> Iterator[WarpgroupProduct]:
    plain = WarpgroupProduct(name="")
    yield from _k_major_products(plain)
    yield from _mn_major_products(plain)
    yield from _register_products(plain)
    for columns in (8, 64, 128, 256):
        yield replace(plain, name=f"f16-n{columns}", columns=columns)
    for d, a, b in (("f16", "f16", "f16"), ("f16", "e4m3", "e5m2"), ("f32", "e4m3", "e5m2"), ("f32", "e5m2", "e4m3")):
        yield replace(plain, name=f"{d}-{a}-{b}", d=d, a=a, b=b, add=True)
    for a, b in (("s8", "u8"), ("u8", "s8"), ("u8", "u8")):
        yield replace(plain, name=f"s32-{a}-{b}", d="s32", a=a, b=b, add=True)
    yield replace(plain, name="s32-satfinite", d="s32", a="u8", b="u8", satfinite=True, add=True)
    yield replace(plain, name="s32-n24", d="s32", a="s8", b="s8", columns=24)
    for number, signs in enumerate(((-1, 1), (1, -1), (-1, -1))):
        yield replace(plain, name=f"signs-{number}", signs=signs, add=True)
    yield replace(plain, name="added", add=True)


def _k_major_products(plain: WarpgroupProduct) -> Iterator[WarpgroupProduct]:
    for kind in ("f16", "bf16", "tf32", "e4m3", "e5m2", "s8"):
        for swizzle in (0, 32, 64, 128):
            layout = k_major(swizzle)
            d = "s32" if kind == "s8" else "f32"
            yield replace(
                plain, name=f"{kind}-k-major-{swizzle}", d=d, a=kind, b=kind, layout_a=layout, layout_b=layout
            )
    for swizzle, start in ((64, 32), (128, 32), (128, 64), (128, 96)):
        layout = k_major(swizzle, start)
        yield replace(plain, name=f"f16-k-major-{swizzle}-from-byte-{start}", layout_a=layout, layout_b=layout)
    apart = Layout(0, leading=1024, stride=128)
    yield replace(plain, name="f16-k-major-0-planes", layout_a=apart, layout_b=apart)


def _mn_major_products(plain: WarpgroupProduct) -> Iterator[WarpgroupProduct]:
    for swizzle in (0, 32, 64, 128):
        layout = mn_major(swizzle)
        yield replace(plain, name=f"a-mn-major-{swizzle}", layout_a=layout, columns=64)
        yield replace(plain, name=f"b-mn-major-{swizzle}", layout_b=layout, columns=64)
        yield replace(
            plain,
            name=f"bf16-mn-major-{swizzle}",
            a="bf16",
            b="bf16",
            layout_a=layout,
            layout_b=layout,
            columns=128,
        )


def _register_products(plain: WarpgroupProduct) -> Iterator[WarpgroupProduct]:
    for kind in ("f16", "bf16", "tf32", "e4m3", "s8"):
        d = "s32" if kind == "s8" else "f32"
        yield replace(plain, name=f"{kind}-a-in-registers", d=d, a=kind, b=kind, layout_a=None, add=True)
    yield replace(plain, name="a-in-registers-b-mn-major", layout_a=None, layout_b=mn_major(128), columns=64)


_REASON = (
    "PTX leaves open in which order and precision tensor cores add; the simulator adds one product after the other"
)


def _rounded() -> list[Probe]:
    """Random mantissas; products of 8-bit floats are added with fewer bits than f32 has."""
    probes = []
    for number, (kind, bound) in enumerate((("f16", 2.0**-18), ("bf16", 2.0**-18), ("e4m3", 2.0**-7))):
        product = WarpgroupProduct(name=f"{kind}-rounding", a=kind, b=kind)
        shared = _fractions(kind, _B_PLACE + _b_bytes(product), 5000 + 100 * number)
        tolerance = Tolerance(type_name="f32", reason=_REASON, absolute=bound, ulp=4)
        probes.append(product.probe(shared, [], tolerance))
    return probes


def _fractions(kind: str, size: int, seed: int) -> bytes:
    """Codes of numbers from 1/8 to 1 of both signs."""
    bits, low, high = {"f16": (16, 0x3000, 0x3C00), "bf16": (16, 0x3E00, 0x3F80), "e4m3": (8, 0x20, 0x38)}[kind]
    count = size * 8 // bits
    codes = hashed(count, seed, 32) % np.uint64(high - low) + np.uint64(low)
    codes |= hashed(count, seed + 1, 1) << np.uint64(bits - 1)
    return codes.astype(f"<u{bits // 8}").tobytes()
