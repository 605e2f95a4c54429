"""Work is counted exactly, from shapes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.irregular import dense_mask, document_ids, extent, kept_blocks
from perf.model import CAUSAL, FULL, Case, DType, Mask, MaskKind, Operation
from perf.work import exp_count, flop_count, intensity, minimum_bytes, share_of_tiles, visible_pairs

LENGTHS = st.integers(1, 300)


def make_case(seqlen_q: int, seqlen_k: int, *, mask: Mask, dtype: DType = DType.BF16) -> Case:
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
        mask=mask,
    )


MASKS = st.one_of(
    st.sampled_from([FULL, CAUSAL]),
    st.builds(Mask, st.sampled_from([MaskKind.WINDOW, MaskKind.PREFIX, MaskKind.DOCUMENT]), st.integers(1, 200)),
    st.builds(Mask, st.just(MaskKind.BLOCKS), st.integers(1, 100)),
)


@st.composite
def any_case(draw: st.DrawFn) -> Case:
    """A forward case of any mask that a case can have."""
    case = make_case(draw(LENGTHS), draw(LENGTHS), mask=draw(MASKS))
    return replace(case, varlen=not case.mask.is_planned and draw(st.booleans()))


@given(any_case())
def test_counts_are_those_of_the_mask_pair_by_pair(case: Case) -> None:
    """Pairs, tiles and keys equal counting a dense mask, queries that see nothing included."""
    masks = [dense_mask(case, entry) for entry in range(case.batch)]
    counts = extent(case)

    assert visible_pairs(case) == counts.pairs == sum(int(mask.sum()) for mask in masks)
    assert counts.queries == sum(len(mask) for mask in masks)
    assert counts.keys == sum(int(mask.any(axis=0).sum()) for mask in masks)
    assert counts.tiles == sum(dense_tiles(mask) for mask in masks)
    assert counts.all_tiles == sum(-(-case.seqlen_q // 64) * -(-case.seqlen_k // 64) for _ in masks)


def dense_tiles(mask: npt.NDArray[np.bool_]) -> int:
    """Tiles of 64 x 64 with a visible pair."""
    padded = np.pad(mask, [(0, -size % 64) for size in mask.shape])
    rows, columns = (size // 64 for size in padded.shape)
    return int(padded.reshape(rows, 64, columns, 64).any(axis=(1, 3)).sum())


@given(any_case())
def test_a_dense_mask_is_what_the_mask_says(case: Case) -> None:
    """Formula by formula."""
    for entry in range(case.batch):
        mask = dense_mask(case, entry)
        # Of each query among the keys.
        position = np.arange(len(mask))[:, None] + mask.shape[1] - len(mask)

        assert np.array_equal(mask, _by_formula(case, entry, position, np.arange(mask.shape[1])))


def _by_formula(
    case: Case, entry: int, position: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    causal, size = keys <= position, case.mask.size
    if case.mask.kind is MaskKind.FULL:
        return np.ones_like(causal)
    if case.mask.kind is MaskKind.WINDOW:
        causal &= keys >= position - size
    elif case.mask.kind is MaskKind.PREFIX:
        causal |= keys < size
    elif case.mask.kind is MaskKind.DOCUMENT:
        causal &= _same_document(case, entry, position)
    return _of_blocks(case) if case.mask.kind is MaskKind.BLOCKS else causal


def _same_document(case: Case, entry: int, position: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    ids = document_ids(case)[entry]
    same: npt.NDArray[np.bool_] = ids[np.clip(position, 0, None)] == ids
    return same


def _of_blocks(case: Case) -> npt.NDArray[np.bool_]:
    kept = kept_blocks(case)
    mask = [[kept[i // 128, j // 128] for j in range(case.seqlen_k)] for i in range(case.seqlen_q)]
    return np.array(mask)


@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k", "pairs"), [(1, 1, 1), (4, 4, 10), (2, 5, 9), (5, 2, 3), (1, 7, 7), (7, 1, 1)]
)
def test_known_causal_counts(seqlen_q: int, seqlen_k: int, pairs: int) -> None:
    """Counts made by hand; with more queries than keys the first rows see nothing and count 0, not less."""
    assert visible_pairs(make_case(seqlen_q, seqlen_k, mask=CAUSAL)) == 3 * pairs


def test_flop_exp_and_bytes_of_a_grouped_case() -> None:
    """4 FLOP per visible pair and head dimension; K and V count once per shared head, and LSE is fp32."""
    case = make_case(10, 20, mask=FULL)

    assert flop_count(case) == 4 * 3 * 4 * 200 * 16
    assert exp_count(case) == 3 * 4 * 200
    assert minimum_bytes(case) == 2 * (2 * 3 * 4 * 10 * 16 + 2 * 3 * 2 * 20 * 16) + 4 * 3 * 4 * 10


def test_a_backward_pass_is_five_products_of_the_same_pairs() -> None:
    """2.5 times the forward FLOPs with the recomputed QK^T, as many exponentials, and every tensor once."""
    forward = make_case(10, 20, mask=FULL)
    backward = replace(forward, operation=Operation.ATTENTION_BWD)

    assert flop_count(backward) == 5 * flop_count(forward) // 2
    assert exp_count(backward) == exp_count(forward)
    assert minimum_bytes(backward) == 2 * (4 * 3 * 4 * 10 * 16 + 4 * 3 * 2 * 20 * 16) + 4 * 3 * 4 * 10


@pytest.mark.parametrize(
    ("mask", "seqlen", "share"),
    [(FULL, 1024, 1.0), (CAUSAL, 1024, 17 / 32), (Mask(MaskKind.WINDOW, 64), 1024, 31 / 256), (FULL, 100, 1.0)],
)
def test_known_shares_of_tiles(mask: Mask, seqlen: int, share: float) -> None:
    """Counted by hand: 16 tiles a side, of which causal has 136 and a window of one tile the diagonal and the next."""
    assert share_of_tiles(make_case(seqlen, seqlen, mask=mask)) == share


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
        mask=FULL,
    )

    assert intensity(case) == pytest.approx(2048, rel=0.01)
