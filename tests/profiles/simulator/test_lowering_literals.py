"""Literals of PTX as bits of a type."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.simulator.lowering.literals import literal_bits
from profiles.simulator.ptx.syntax import Immediate


def single(bits: int) -> Immediate:
    """A ``0f`` literal."""
    value = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return Immediate(value, f"0f{bits:08X}")


@given(st.integers(0, 2**32 - 1))
def test_a_hexadecimal_single_is_its_own_bits(bits: int) -> None:
    """Also the payload of a NaN."""
    assert literal_bits(single(bits), "f32") == bits
    assert literal_bits(single(bits), "b32") == bits


@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from([("u16", 16), ("s32", 32), ("b64", 64), ("b8", 16)]))
def test_integers_are_cut_to_the_register(value: int, case: tuple[str, int]) -> None:
    """Integer literals have 64 bits in PTX and are cut to the operand's size."""
    type_name, bits = case
    assert literal_bits(Immediate(value, str(value)), type_name) == value % 2**bits


@given(st.floats(width=64))
def test_doubles_keep_their_bits(value: float) -> None:
    """A ``0d`` literal is its own bits."""
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    assert literal_bits(Immediate(value, f"0d{bits:016X}"), "f64") == bits


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=65504, min_value=-65504))
def test_half_literals_are_rounded_to_nearest(value: float) -> None:
    """As numpy rounds to float16."""
    assert literal_bits(Immediate(value, repr(value)), "f16") == int(np.float16(value).view(np.uint16))


@given(st.integers(0, 2**32 - 1))
def test_bfloat16_literals_are_rounded_to_nearest_even(bits: int) -> None:
    """The result is the nearer of the two neighbours, the even one of a tie."""
    value = single(bits).value
    result = literal_bits(single(bits), "bf16")
    back = struct.unpack("<f", (result << 16).to_bytes(4, "little"))[0]
    if math.isnan(value):
        assert math.isnan(back)
        return
    neighbours = [struct.unpack("<f", (b << 16).to_bytes(4, "little"))[0] for b in (bits >> 16, (bits >> 16) + 1)]
    below, above = (abs(float(value) - n) if math.isfinite(n) else math.inf for n in neighbours)
    if math.isfinite(neighbours[1]):
        assert abs(float(value) - back) == min(below, above)
        assert below != above or result % 2 == 0


def test_a_predicate_literal_is_its_truth() -> None:
    """Any integer but zero is true."""
    assert literal_bits(Immediate(0, "0"), "pred") == 0
    assert literal_bits(Immediate(2, "2"), "pred") == 1


@pytest.mark.parametrize(
    ("literal", "type_name", "words"),
    [
        (Immediate(1, "1"), "f32", "integer 1"),
        (Immediate(1.5, "1.5"), "u32", "floating-point literal 1.5"),
        (Immediate(1e300, "1e300"), "f32", "too large"),
        (Immediate(1, "1"), "q32", "no PTX type"),
    ],
)
def test_what_no_type_can_hold_is_refused(literal: Immediate, type_name: str, words: str) -> None:
    """The message says what is wrong with the literal."""
    with pytest.raises(ValueError, match=words):
        literal_bits(literal, type_name)
