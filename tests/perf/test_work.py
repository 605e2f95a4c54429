"""Work is counted exactly, from shapes alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.model import Case, DType, Operation
from perf.work import exp_count, flop_count, intensity, minimum_bytes, visible_pairs

LENGTHS = st.integers(1, 70)


def make_case(seqlen_q: int, seqlen_k: int, *, causal: bool, dtype: DType = DType.BF16) -> Case:
    """A small grouped-query case."""
    return Case(
        operation=Operation.ATTENTION_FWD,
        dtype=dtype,
        batch=3,
        heads_q=4,
        heads_kv=2,
        seqlen_q=seqlen_q,
        seqlen_k=seqlen_k,
        head_dim=16,
        causal=causal,
    )


@given(LENGTHS, LENGTHS, st.booleans())
def test_visible_pairs_are_those_of_the_mask(seqlen_q: int, seqlen_k: int, causal: bool) -> None:
    """The formula equals counting a bottom-right aligned mask, rows that see nothing included."""
    mask = np.ones((seqlen_q, seqlen_k), dtype=bool)
    if causal:
        mask = np.tril(mask, k=seqlen_k - seqlen_q)

    assert visible_pairs(make_case(seqlen_q, seqlen_k, causal=causal)) == mask.sum()


@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k", "pairs"), [(1, 1, 1), (4, 4, 10), (2, 5, 9), (5, 2, 3), (1, 7, 7), (7, 1, 1)]
)
def test_known_causal_counts(seqlen_q: int, seqlen_k: int, pairs: int) -> None:
    """Counts made by hand; with more queries than keys the first rows see nothing and count 0, not less."""
    assert visible_pairs(make_case(seqlen_q, seqlen_k, causal=True)) == pairs


def test_flop_exp_and_bytes_of_a_grouped_case() -> None:
    """4 FLOP per visible pair and head dimension; K and V count once per shared head, and LSE is fp32."""
    case = make_case(10, 20, causal=False)

    assert flop_count(case) == 4 * 3 * 4 * 200 * 16
    assert exp_count(case) == 3 * 4 * 200
    assert minimum_bytes(case) == 2 * (2 * 3 * 4 * 10 * 16 + 2 * 3 * 2 * 20 * 16) + 4 * 3 * 4 * 10


def test_intensity_of_long_square_attention_is_half_its_length() -> None:
    """S / 2 FLOP/B for two-byte elements without a mask, less the log-sum-exp's small share."""
    case = Case(
        operation=Operation.ATTENTION_FWD,
        dtype=DType.BF16,
        batch=1,
        heads_q=8,
        heads_kv=8,
        seqlen_q=4096,
        seqlen_k=4096,
        head_dim=128,
        causal=False,
    )

    assert intensity(case) == pytest.approx(2048, rel=0.01)
