"""Inputs of probes: the values at which an instruction's behaviour changes, and fixed pseudo-random words."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import numpy as np

from profiles.simulator.probes.probe import LANES, Words

F32_CODES = (
    0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000,
    0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001, 0x3FC00000, 0x40200000,
)  # fmt: skip
F64_CODES = (
    0x0000000000000000, 0x8000000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x0000000000000001,
    0x000FFFFFFFFFFFFF, 0x0010000000000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000,
    0x7FF8000000000000, 0x7FF0000000000001, 0x3FF8000000000000, 0x4004000000000000, 0x41DFFFFFFFC00000,
    0x41E0000000000000, 0xC1E0000000100000, 0x43E0000000000000, 0x3FE0000000000000, 0xBFE0000000000000,
    0x47EFFFFFE0000000, 0x47EFFFFFF0000000, 0x380FFFFFFFFFFFFF, 0x36A0000000000000, 0x3FF0000010000000,
    0x3FF0000030000000, 0x40EFFFFFFFFFFFFF, 0xC340000000000001, 0xFFF4000000000123, 0x7FFA5555E0000000,
)  # fmt: skip
F16_CODES = (
    0x0000, 0x8000, 0x3C00, 0xBC00, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE55, 0x7C01,
    0x3E00, 0x4100,
)  # fmt: skip
BF16_CODES = (
    0x0000, 0x8000, 0x3F80, 0xBF80, 0x0001, 0x007F, 0x0080, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0xFFC5, 0x7F81,
    0x3FC0, 0x4020,
)  # fmt: skip
INTEGERS_32 = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0x12345678, 0x00FFFFFF, 0x0000FF80)
INTEGERS_64 = (0, 1, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0x123456789ABCDEF0, 1 << 53 | 1)


def words_of(values: Sequence[int]) -> Words:
    """Values as words, repeated from the first until they fill whole warps."""
    count = -(-len(values) // LANES) * LANES
    return np.array([values[index % len(values)] for index in range(count)], np.uint64)


def hashed(count: int, seed: int, bits: int = 64) -> Words:
    """Pseudo-random words of so many bits, the same everywhere: splitmix64 of Steele, Lea and Flood."""
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (state ^ state >> np.uint64(31)) >> np.uint64(64 - bits)


def hashed_bytes(count: int, seed: int) -> bytes:
    """Pseudo-random bytes."""
    return hashed(-(-count // 8), seed).astype("<u8").tobytes()[:count]


def all_tuples(*columns: Sequence[int]) -> list[Words]:
    """Every combination of the columns' values, as one column of words each."""
    return [words_of(column) for column in zip(*itertools.product(*columns), strict=True)]


def f32(value: float) -> int:
    """The code of a number."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _around(value: float) -> list[int]:
    """A number and its neighbours, of both signs."""
    code = f32(value)
    return [sign | code + step for step in (-1, 0, 1) for sign in (0, 1 << 31)]


# Where the result of a conversion to a smaller type changes: ties, overflow, the ends of the subnormal numbers.
F32_CONVERTED = (
    *F32_CODES,
    *(
        code
        for value in (
            1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-4, 1 + 3 * 2**-4, 1.125, 1.375, 0.5, 1.5, 2.5,
            2**-14, 2**-24, 2**-25, 3 * 2**-25, 2**-126, 2**-133, 2**-134, 65504.0, 65520.0, 448.0, 464.0, 480.0,
            57344.0, 61440.0, 2**-6, 2**-9, 2**-10, 3 * 2**-10, 2**-16, 2**-17, 3 * 2**-17, 127.5, 255.5, 32767.5,
            65535.5, 2.0**31, 2.0**32, 2.0**63, 2.0**64, 3.38953139e38,
        )
        for code in _around(value)
    ),
    *(int(code) for code in hashed(32, 1, 32)),
)  # fmt: skip
