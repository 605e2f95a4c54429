"""What a mask needs beside numbers, as host memory and without torch, whose start would dwarf a restart's calls.

Mask plans follow ``struct roofgate_mask_plan``; :mod:`kernels.masks` makes the same of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.interface import AttentionProblem, MaskPlanPointers
from perf.irregular import TILE, dense_mask, sequence_lengths
from perf.model import Case, MaskKind

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_FULL, _PARTIAL = 1, 2  # enum roofgate_tile

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class HostMask:
    """Arrays that a problem points to; they must outlive it."""

    arrays: tuple[npt.NDArray[Any], ...]


def apply_mask(case: Case, problem: AttentionProblem) -> HostMask:
    """Let ``problem``, which has the sizes of ``case`` already, point to its plan, sequences and slopes."""
    arrays: list[npt.NDArray[Any]] = []

    def pointer(array: npt.NDArray[Any]) -> int:
        arrays.append(array)
        return int(array.ctypes.data)

    if case.varlen:
        of_q, of_k = (np.array([0, *accumulate(lengths)], np.int32) for lengths in _lengths(case))
        problem.cu_seqlens_q, problem.cu_seqlens_k = pointer(of_q), pointer(of_k)
        problem.total_q = int(of_q[-1])
        problem.seqlen_q, problem.seqlen_k = (max(lengths) for lengths in _lengths(case))
    if case.alibi:
        slopes = [2 ** (-8 * (head + 1) / case.heads_q) for head in range(case.heads_q)]
        problem.alibi_slopes = pointer(np.array(slopes, np.float32))
    if case.mask.is_planned:
        # Documents differ between the entries of a batch; everything else is shared, by heads too.
        entries = case.batch if case.mask.kind is MaskKind.DOCUMENT else 1
        tiles, query_bits, key_bits = plan_arrays([dense_mask(case, entry) for entry in range(entries)])
        work = (tiles != 0).sum(axis=0)
        problem.plan = MaskPlanPointers(
            tiles=pointer(tiles),
            query_bits=pointer(query_bits),
            key_bits=pointer(key_bits),
            query_order=pointer(_heaviest_pairs_first(work.sum(axis=1))),
            key_order=pointer(_heaviest_pairs_first(work.sum(axis=0))),
        )
        problem.plan.tiles_stride[0] = 0 if entries == 1 else tiles[0].size
    return HostMask(tuple(arrays))


def _lengths(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    of_q, of_k = zip(*sequence_lengths(case), strict=True)
    return of_q, of_k


def plan_arrays(masks: list[npt.NDArray[np.bool_]]) -> tuple[npt.NDArray[np.int32], Words, Words]:
    """Tiles [masks, tiles_q, tiles_k] and the bits of the partial ones, by query and by key [partial tiles, 64].

    Args:
        masks: [seqlen_q, seqlen_k] each, true where a query sees a key.
    """
    by_query = np.stack([_words(mask) for mask in masks])  # [masks, tiles_q, tiles_k, 64]
    by_key = np.stack([_words(mask.T) for mask in masks]).swapaxes(1, 2)
    past_the_end = -masks[0].shape[0] % TILE  # queries that the last tile has too many, which may count as visible
    complete = by_query.copy()
    if past_the_end:
        complete[:, -1, :, TILE - past_the_end :] = _ALL
    is_full = (complete == _ALL).all(axis=-1)
    is_partial = (by_query != 0).any(axis=-1) & ~is_full
    tiles = np.where(is_full, _FULL, 0).astype(np.int32)
    tiles[is_partial] = np.arange(is_partial.sum()) + _PARTIAL
    return tiles, by_query[is_partial], by_key[is_partial]


def _words(mask: npt.NDArray[np.bool_]) -> Words:
    """Bit k of word q of each tile, [tiles_q, tiles_k, 64]; past the edges nothing is visible."""
    padded = np.ascontiguousarray(np.pad(mask, [(0, -size % TILE) for size in mask.shape]))
    words = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)  # the host is little-endian
    return np.ascontiguousarray(words.reshape(-1, TILE, words.shape[1]).swapaxes(1, 2))


def _heaviest_pairs_first(work: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    pairs = np.pad(work, (0, len(work) % 2)).reshape(-1, 2).sum(axis=1)
    return np.argsort(-pairs, kind="stable").astype(np.int32)
