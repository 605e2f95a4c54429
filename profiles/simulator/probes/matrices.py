"""Probes of Ampere's matrix instructions: which lane holds which element, and how products are rounded.

Operands of the layout probes are small whole numbers, pseudo-random, so that every sum is exact in every format and a
result can be right only if each element of A met the right element of B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.simulator.probes.per_thread import per_thread
from profiles.simulator.probes.probe import LANES, Output, Probe, Tolerance, Words
from profiles.simulator.probes.values import hashed

_MATRIX_BYTES = 128  # 8 rows of 8 elements of 2 bytes
_MATRICES = 4
_WARPS = 3  # cases of an mma probe


def matrix_probes() -> list[Probe]:
    """All of them."""
    return [*_matrix_loads(), *_matrix_stores(), _transpose(), *_products(), *_rounded_products()]


# --- ldmatrix, stmatrix, movmatrix ---


def _numbered(size: int) -> bytes:
    """16-bit elements that hold their own index."""
    return np.arange(size // 2, dtype="<u2").tobytes()


def _row_addresses() -> Words:
    """Byte offsets of the rows of four matrices, in a scattered order of rows."""
    rows = np.arange(LANES, dtype=np.uint64)
    return rows * np.uint64(5) % np.uint64(LANES) * np.uint64(16)


def _matrix_loads() -> list[Probe]:
    probes = []
    for count in (1, 2, 4):
        for trans in ("", ".trans"):
            registers = ", ".join(f"%d{index}" for index in range(count))
            statements = f"""
            .reg .b32 %row;
            add.u32 %row, %buffer, %a0;
            ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%row];
            """
            probes.append(
                Probe(
                    name=f"ldmatrix-x{count}{trans.replace('.', '-')}",
                    target="sm_80",
                    statements=statements,
                    outputs=tuple(Output(f"matrix {index}", "b32") for index in range(count)),
                    inputs=(("b32", _row_addresses()),),
                    shared=_numbered(_MATRICES * _MATRIX_BYTES),
                )
            )
    return probes


def _matrix_stores() -> list[Probe]:
    lanes = np.arange(LANES, dtype=np.uint64)
    sources = [
        ("b32", (lanes << np.uint64(20) | lanes << np.uint64(4)) + np.uint64(index * 0x10001))
        for index in range(_MATRICES)
    ]
    probes = []
    for count in (1, 2, 4):
        for trans in ("", ".trans"):
            registers = ", ".join(f"%a{index + 1}" for index in range(count))
            statements = f"""
            .reg .b32 %row;
            add.u32 %row, %buffer, %a0;
            stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%row], {{{registers}}};
            """
            probes.append(
                Probe(
                    name=f"stmatrix-x{count}{trans.replace('.', '-')}",
                    target="sm_90",
                    statements=statements,
                    inputs=(("b32", _row_addresses()), *sources[:count]),
                    shared=bytes(_MATRICES * _MATRIX_BYTES),
                    dump=_MATRICES * _MATRIX_BYTES,
                )
            )
    return probes


def _transpose() -> Probe:
    return per_thread(
        "movmatrix-trans",
        "sm_80",
        [("b32", hashed(LANES, 100, 32))],
        ["b32: movmatrix.sync.aligned.m8n8.trans.b16 $0, %a0"],
    )


# --- mma.sync ---

# Codes of the whole numbers from -4 to 4.
_SMALL = {
    "f16": (0xC400, 0xC200, 0xC000, 0xBC00, 0x0000, 0x3C00, 0x4000, 0x4200, 0x4400),
    "bf16": (0xC080, 0xC040, 0xC000, 0xBF80, 0x0000, 0x3F80, 0x4000, 0x4040, 0x4080),
    "tf32": (0xC0800000, 0xC0400000, 0xC0000000, 0xBF800000, 0, 0x3F800000, 0x40000000, 0x40400000, 0x40800000),
    "e4m3": (0xC8, 0xC4, 0xC0, 0xB8, 0x00, 0x38, 0x40, 0x44, 0x48),
    "e5m2": (0xC4, 0xC2, 0xC0, 0xBC, 0x00, 0x3C, 0x40, 0x42, 0x44),
    "f64": tuple(int(np.float64(value).view(np.uint64)) for value in range(-4, 5)),
}
ELEMENT_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "f64": 64}


def small_numbers(type_name: str, words: int, seed: int) -> Words:
    """So many registers (32 bits, f64: 64) of small whole numbers; integers take any value."""
    bits = ELEMENT_BITS[type_name]
    width = max(bits, 32)
    if type_name not in _SMALL:
        return hashed(words, seed, width)
    codes = np.array(_SMALL[type_name], np.uint64)
    result = np.zeros(words, np.uint64)
    for index in range(width // bits):
        chosen = hashed(words, seed * 37 + index, 32) % np.uint64(len(codes))
        result |= codes[chosen] << np.uint64(index * bits)
    return result


@dataclass(frozen=True, slots=True)
class Product:
    """One mma instruction and the registers of its fragments."""

    shape: str
    d: str
    a: str
    b: str
    registers: tuple[int, int, int]  # of A, B and C or D
    target: str = "sm_80"
    modifier: str = ""

    @property
    def name(self) -> str:
        """Of the probe."""
        return f"mma-{self.shape}-{self.d}-{self.a}-{self.b}{self.modifier.replace('.', '-')}"

    @property
    def kind(self) -> str:
        """Of all registers."""
        return "b64" if self.a == "f64" else "b32"

    def instruction(self) -> str:
        """PTX on %a0, %a1, ... and %d0, %d1, ..."""
        counts = self.registers
        ends = (counts[0], counts[0] + counts[1], sum(counts))
        starts = (0, *ends[:2])
        sources = [
            "{" + ", ".join(f"%a{index}" for index in range(start, end)) + "}"
            for start, end in zip(starts, ends, strict=True)
        ]
        results = "{" + ", ".join(f"%d{index}" for index in range(counts[2])) + "}"
        opcode = f"mma.sync.aligned.{self.shape}.row.col{self.modifier}.{self.d}.{self.a}.{self.b}.{self.d}"
        return f"{opcode} {results}, {', '.join(sources)};"

    def probe(self, name: str, inputs: Sequence[Words], tolerance: Tolerance | None = None) -> Probe:
        """On one warp's registers after the other."""
        return Probe(
            name=name,
            target=self.target,
            statements=self.instruction(),
            outputs=tuple(Output(f"D, register {index}", self.kind) for index in range(self.registers[2])),
            inputs=tuple((self.kind, words) for words in inputs),
            blocks=len(inputs[0]) // LANES,
            tolerance=tolerance,
        )


_SHORT, _LONG, _M8 = (2, 1, 4), (4, 2, 4), (1, 1, 2)


def products() -> list[Product]:
    """Every form that the simulator knows."""
    found = []
    for kind in ("f16", "bf16"):
        found += [Product("m16n8k8", "f32", kind, kind, _SHORT), Product("m16n8k16", "f32", kind, kind, _LONG)]
    found += [Product("m16n8k8", "f16", "f16", "f16", (2, 1, 2)), Product("m16n8k16", "f16", "f16", "f16", (4, 2, 2))]
    found += [Product("m16n8k4", "f32", "tf32", "tf32", _SHORT), Product("m16n8k8", "f32", "tf32", "tf32", _LONG)]
    found.append(Product("m8n8k4", "f64", "f64", "f64", _M8))
    for a, b in (("e4m3", "e4m3"), ("e4m3", "e5m2"), ("e5m2", "e4m3"), ("e5m2", "e5m2")):
        found.append(Product("m16n8k32", "f32", a, b, _LONG, "sm_89"))
    for bits, depths in ((8, (16, 16, 32)), (4, (32, 32, 64))):
        for a in "su":
            for b in "su":
                types = (f"{a}{bits}", f"{b}{bits}")
                found.append(Product(f"m8n8k{depths[0]}", "s32", *types, _M8))
                found.append(Product(f"m16n8k{depths[1]}", "s32", *types, _SHORT))
                found.append(Product(f"m16n8k{depths[2]}", "s32", *types, _LONG))
    found.append(Product("m16n8k32", "s32", "s8", "s8", _LONG, modifier=".satfinite"))
    found.append(Product("m16n8k64", "s32", "u4", "u4", _LONG, modifier=".satfinite"))
    return found


def _sums(product: Product, words: int, seed: int) -> Words:
    """C: small whole numbers; for integers some near the ends of the range, where wrapping and clamping differ."""
    if product.d == "f32":
        return hashed(words, seed, 6).astype(np.float32).view(np.uint32).astype(np.uint64)
    if product.d != "s32":
        return small_numbers(product.d, words, seed)
    near_ends = np.array([0, 5, 0x7FFFFFFF, 0x80000000, 0x7FFFFF00, 0x80000100], np.uint64)
    chosen: Words = near_ends[hashed(words, seed, 32) % np.uint64(len(near_ends))]
    return chosen


def _products() -> list[Probe]:
    probes = []
    for number, product in enumerate(products()):
        a, b, c = product.registers
        words, seed = _WARPS * LANES, 200 + 20 * number
        inputs = [small_numbers(product.a, words, seed + index) for index in range(a)]
        inputs += [small_numbers(product.b, words, seed + 8 + index) for index in range(b)]
        inputs += [_sums(product, words, seed + 12 + index) for index in range(c)]
        probes.append(product.probe(product.name, inputs))
    return probes


# --- rounding ---

_ROUNDED = ("f16", "bf16", "tf32")
_REASON = (
    "PTX leaves open in which order and precision tensor cores add; the simulator adds one product after the other"
)


def _rounded_products() -> list[Probe]:
    """Sums whose terms have random mantissas and a wide range, so that order and truncation show."""
    probes = []
    for number, product in enumerate(products()):
        if product.d != "f32" or product.shape not in ("m16n8k16", "m16n8k8") or product.a not in _ROUNDED:
            continue
        a, b, c = product.registers
        seed = 2000 + 20 * number
        inputs = [_random_floats(product.a, seed + index) for index in range(a + b)]
        inputs += [_random_floats("tf32", seed + 10 + index) for index in range(c)]
        tolerance = Tolerance(type_name="f32", reason=_REASON, ulp=4, absolute=2.0**-18)
        probes.append(product.probe(f"{product.name}-rounding", inputs, tolerance))
    return probes


def _random_floats(type_name: str, seed: int) -> Words:
    """Numbers of random sign and mantissa between 1/16 and 2."""
    bits = ELEMENT_BITS[type_name]
    mantissa_bits = {"f16": 10, "bf16": 7, "tf32": 23}[type_name]
    bias = 15 if type_name == "f16" else 127
    words = np.zeros(LANES, np.uint64)
    for index in range(32 // bits):
        mantissa = hashed(LANES, seed + 1000 * index, mantissa_bits)
        exponent = np.uint64(bias) - hashed(LANES, seed + 1000 * index + 400, 32) % np.uint64(5)
        sign = hashed(LANES, seed + 1000 * index + 700, 1)
        code = sign << np.uint64(bits - 1) | exponent << np.uint64(mantissa_bits) | mantissa
        if type_name == "tf32":
            code &= np.uint64(0xFFFFE000)
        words |= code << np.uint64(index * bits)
    return words
