"""Matrices as the registers of a warp, by the index formulas of the PTX ISA ("Matrix Fragments for mma")."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Words = npt.NDArray[Any]  # 32 bits each: (cases, registers, lanes)
# Group, thread in the group and number of the element in the lane -> row, column.
Place = Callable[[int, int, int], tuple[int, int]]

LANES = 32

# By shape and bits of an element.
A_PLACES: dict[tuple[str, int], Place] = {
    ("m16n8k8", 16): lambda g, t, i: (g if i < 2 else g + 8, 2 * t + (i & 1)),
    ("m16n8k16", 16): lambda g, t, i: (g if i < 2 or 4 <= i < 6 else g + 8, 2 * t + (i & 1) + (0 if i < 4 else 8)),
    ("m16n8k4", 32): lambda g, t, i: (g if i == 0 else g + 8, t),
    ("m16n8k8", 32): lambda g, t, i: (g if i in (0, 2) else g + 8, t if i in (0, 1) else t + 4),
    ("m8n8k16", 8): lambda g, t, i: (g, 4 * t + i),
    ("m16n8k16", 8): lambda g, t, i: (g if i < 4 else g + 8, 4 * t + (i & 3)),
    ("m16n8k32", 8): lambda g, t, i: (g if i < 4 or 8 <= i < 12 else g + 8, 4 * t + (i & 3) + (0 if i < 8 else 16)),
    ("m8n8k32", 4): lambda g, t, i: (g, 8 * t + i),
    ("m16n8k32", 4): lambda g, t, i: (g if i < 8 else g + 8, 8 * t + (i & 7)),
    ("m16n8k64", 4): lambda g, t, i: (g if i < 8 or 16 <= i < 24 else g + 8, 8 * t + (i & 7) + (0 if i < 16 else 32)),
    ("m8n8k4", 64): lambda g, t, _: (g, t),
}
B_PLACES: dict[tuple[str, int], Place] = {
    ("m16n8k8", 16): lambda g, t, i: (2 * t + i, g),
    ("m16n8k16", 16): lambda g, t, i: (2 * t + (i & 1) + (0 if i < 2 else 8), g),
    ("m16n8k4", 32): lambda g, t, _: (t, g),
    ("m16n8k8", 32): lambda g, t, i: (t if i == 0 else t + 4, g),
    ("m8n8k16", 8): lambda g, t, i: (4 * t + i, g),
    ("m16n8k16", 8): lambda g, t, i: (4 * t + i, g),
    ("m16n8k32", 8): lambda g, t, i: (4 * t + (i & 3) + (0 if i < 4 else 16), g),
    ("m8n8k32", 4): lambda g, t, i: (8 * t + i, g),
    ("m16n8k32", 4): lambda g, t, i: (8 * t + i, g),
    ("m16n8k64", 4): lambda g, t, i: (8 * t + (i & 7) + (0 if i < 8 else 32), g),
    ("m8n8k4", 64): lambda g, t, _: (t, g),
}
SUM_PLACES: dict[int, Place] = {
    16: lambda g, t, i: (g if i < 2 else g + 8, 2 * t + (i & 1)),
    8: lambda g, t, i: (g, 2 * t + i),
}


def float_value(code: int, exponent_bits: int, mantissa_bits: int) -> float:
    """The number that a small IEEE-like format means, without its specials."""
    bias = 2 ** (exponent_bits - 1) - 1
    mantissa = code % 2**mantissa_bits / 2**mantissa_bits
    exponent = code >> mantissa_bits & (2**exponent_bits - 1)
    sign = -1 if code >> (exponent_bits + mantissa_bits) else 1
    significand = mantissa if exponent == 0 else 1 + mantissa
    return math.ldexp(sign * significand, max(exponent, 1) - bias)


FLOAT_FORMATS = {"f16": (5, 10), "bf16": (8, 7), "e4m3": (4, 3), "e5m2": (5, 2)}
# Magnitudes between which every sum of a few products fits the 53 bits of f64, where the test can add without error.
FLOAT_RANGE = 2.0**-7, 2.0**7


@cache
def float_codes(type_name: str) -> tuple[Array, Array]:
    """Codes of zero and of all numbers of FLOAT_RANGE, and their values."""
    bits = 1 + sum(FLOAT_FORMATS[type_name])
    every = np.arange(2**bits, dtype=np.uint32)
    values = np.array([float_value(int(code), *FLOAT_FORMATS[type_name]) for code in every])
    known = (values == 0) | ((np.abs(values) >= FLOAT_RANGE[0]) & (np.abs(values) <= FLOAT_RANGE[1]))
    return every[known], values[known]


def element_bits(type_name: str) -> int:
    """Bits that an element takes in a register."""
    return {"tf32": 32, "e4m3": 8, "e5m2": 8, "bf16": 16}.get(type_name) or int(type_name[1:])


def random_elements(type_name: str, shape: tuple[int, ...], random: np.random.Generator) -> tuple[Array, Array]:
    """Codes as they lie in a register, and the numbers that they mean."""
    if type_name in FLOAT_FORMATS:
        codes, values = float_codes(type_name)
        chosen = random.integers(len(codes), size=shape)
        return codes[chosen], values[chosen]
    if type_name == "tf32":
        values = np.round(random.uniform(-8, 8, shape) * 128) / 128  # at most 11 bits
        rest = random.integers(2**13, size=shape, dtype=np.uint32)  # belongs to no tf32 number
        return values.astype(np.float32).view(np.uint32) | rest, values
    bits = element_bits(type_name)
    codes = random.integers(2**bits, size=shape, dtype=np.uint32)
    values = codes.astype(np.int64)
    return codes, values - (values >> (bits - 1) << bits) if type_name[0] == "s" else values


def to_registers(matrices: Array, place: Place, bits: int) -> Words:
    """Codes of whole matrices (cases, rows, columns) as the fragments of 32 lanes."""
    per_word = 32 // bits
    count = matrices.shape[1] * matrices.shape[2] // LANES
    words = np.zeros((len(matrices), count // per_word, LANES), np.uint32)
    for lane in range(LANES):
        for element in range(count):
            row, column = place(lane // 4, lane % 4, element)
            code = matrices[:, row, column].astype(np.uint32)
            words[:, element // per_word, lane] |= code << np.uint32(element % per_word * bits)
    return words


def from_registers(words: Words, place: Place, bits: int, rows: int) -> Array:
    """The inverse of :func:`to_registers` for matrices of eight columns."""
    per_word = 32 // bits
    matrices = np.zeros((len(words), rows, 8), np.uint32)
    for lane in range(LANES):
        for element in range(rows * 8 // LANES):
            row, column = place(lane // 4, lane % 4, element)
            code = words[:, element // per_word, lane] >> np.uint32(element % per_word * bits)
            matrices[:, row, column] = code & np.uint32(2**bits - 1)
    return matrices
