"""What is random of a case, and which (query, key) pairs its mask leaves visible. Exact, and the same on every run.

Lengths and blocks are drawn from a generator that the batch, the lengths and the mask alone seed: cases that differ in
type, heads or operation share them, and so do all implementations of a case. Lengths follow a log-normal distribution,
as those of texts do (and as serving and training benchmarks draw them); its spread ``sigma`` is 0.8, which puts the
longest tenth of the texts at 2.8 times their median or more.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from perf.case import Case, MaskKind

TILE = 64  # queries and keys of a tile, of which the kernels skip those without a visible pair
BLOCK = 128  # queries and keys of a block of MaskKind.BLOCKS
_SIGMA = 0.8
# Of the greatest length: the median of a batch of sequences. A fifth of them are as long as is allowed.
_MEDIAN_SHARE = 0.5

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def sequence_lengths(case: Case) -> tuple[tuple[int, int], ...]:
    """Queries and keys of each sequence of the batch: the case's own, or with ``varlen`` the same share of both."""
    longest = (case.seqlen_q, case.seqlen_k)
    if not case.varlen:
        return (longest,) * case.batch
    generator = _generator(case)
    shares = [min(1.0, _MEDIAN_SHARE * generator.lognormvariate(0.0, _SIGMA)) for _ in range(case.batch)]
    lengths = [tuple(max(1, round(share * length)) for length in longest) for share in shares]
    return tuple((of_q, of_k) for of_q, of_k in lengths)


def document_lengths(case: Case) -> tuple[tuple[int, ...], ...]:
    """Lengths of the documents that fill the keys of each batch entry, the last one cut short. Of MaskKind.DOCUMENT."""
    generator = _generator(case)
    location = math.log(case.mask.size) - _SIGMA**2 / 2  # so that the mean is the mask's size
    return tuple(_filling(case.seqlen_k, location, generator) for _ in range(case.batch))


def _filling(total: int, location: float, generator: random.Random) -> tuple[int, ...]:
    lengths: list[int] = []
    left = total
    while left:
        lengths.append(min(left, max(1, round(generator.lognormvariate(location, _SIGMA)))))
        left -= lengths[-1]
    return tuple(lengths)


def document_ids(case: Case) -> Ints:
    """Which document each key belongs to, [batch, seqlen_k]. Of MaskKind.DOCUMENT."""
    return np.stack([np.repeat(np.arange(len(lengths)), lengths) for lengths in document_lengths(case)])


def kept_blocks(case: Case) -> Bools:
    """Blocks that are not empty, [ceil(seqlen_q / 128), ceil(seqlen_k / 128)], for all batches and heads alike.

    Of MaskKind.BLOCKS. Exactly the mask's percentage of all blocks is empty, rounded, unless the diagonal that stays
    leaves less.
    """
    shape = (-(-case.seqlen_q // BLOCK), -(-case.seqlen_k // BLOCK))
    kept = np.zeros(shape, dtype=np.bool_)
    ends = np.minimum(np.arange(1, shape[0] + 1) * BLOCK, case.seqlen_q)  # of the queries of each row of blocks
    diagonal = (ends - 1 + case.seqlen_k - case.seqlen_q) // BLOCK
    rows = np.flatnonzero(diagonal >= 0)
    kept[rows, diagonal[rows]] = True
    others = [int(index) for index in np.flatnonzero(~kept)]
    wanted = kept.size - round(kept.size * case.mask.size / 100) - len(rows)
    kept.flat[_generator(case).sample(others, max(0, wanted))] = True
    return kept


def _generator(case: Case) -> random.Random:
    # Seeded by a text, which Python hashes with SHA-512: the same on every machine and version.
    seed = f"{case.batch} {case.seqlen_q} {case.seqlen_k} {case.mask.name}"
    return random.Random(seed)  # noqa: S311 - no secret


def visible_ranges(case: Case, entry: int) -> tuple[Ints, Ints]:
    """The first visible key of each query of one batch entry and the end of its keys, each [queries of the entry].

    A query that sees nothing has an empty range. Not of MaskKind.BLOCKS, whose queries have many ranges.
    """
    length_q, length_k = sequence_lengths(case)[entry]
    position = np.arange(length_q, dtype=np.int64) + length_k - length_q
    first, last = np.zeros_like(position), np.full_like(position, length_k)
    if case.mask.kind is not MaskKind.FULL:
        last = np.clip(position + 1, 0, length_k)
    if case.mask.kind is MaskKind.WINDOW:
        first = position - case.mask.size
    elif case.mask.kind is MaskKind.PREFIX:
        last = np.maximum(last, min(case.mask.size, length_k))
    elif case.mask.kind is MaskKind.DOCUMENT:
        lengths = np.array(document_lengths(case)[entry])
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        first = starts[np.clip(position, 0, None)]
    return np.clip(first, 0, last), last


def dense_mask(case: Case, entry: int) -> Bools:
    """Whether query i of one batch entry sees key j, [queries, keys] of the entry; the same for all heads."""
    if case.mask.kind is MaskKind.BLOCKS:
        wide = kept_blocks(case).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        return wide[: case.seqlen_q, : case.seqlen_k]
    first, last = visible_ranges(case, entry)
    keys = np.arange(sequence_lengths(case)[entry][1])
    return (first[:, None] <= keys) & (keys < last[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of a case there is, summed over the batch and for one head."""

    queries: int
    keys: int  # that some query sees
    pairs: int  # visible
    tiles: int  # of 64 queries by 64 keys, with a visible pair
    all_tiles: int  # of the full mask on the greatest lengths


@lru_cache(maxsize=4096)
def extent(case: Case) -> Extent:
    """Exact counts of ``case``. Cached, for reports ask for them again and again."""
    if case.mask.kind is MaskKind.BLOCKS:
        one = _extent_of_blocks(case)
    else:
        # Without anything random all entries are alike.
        is_random = case.varlen or case.mask.kind is MaskKind.DOCUMENT
        parts = [_extent_of_entry(case, entry) for entry in range(case.batch if is_random else 1)]
        one = _sum(parts)
        if is_random:
            return one
    return _sum([one] * case.batch)


def _sum(parts: list[Extent]) -> Extent:
    return Extent(**{field: sum(getattr(part, field) for part in parts) for field in Extent.__slots__})


def _extent_of_entry(case: Case, entry: int) -> Extent:
    first, last = visible_ranges(case, entry)
    sees = first < last
    # Neighbouring queries see overlapping or adjoining ranges, so that their union is one range.
    padding = -len(first) % TILE
    lowest = np.pad(np.where(sees, first, case.seqlen_k), (0, padding), constant_values=case.seqlen_k)
    highest = np.pad(np.where(sees, last, 0), (0, padding))
    lowest, highest = lowest.reshape(-1, TILE).min(axis=1), highest.reshape(-1, TILE).max(axis=1)
    tiles = np.where(highest > lowest, -(-highest // TILE) - lowest // TILE, 0)
    return Extent(
        queries=len(first),
        keys=int(max(0, highest.max() - lowest.min())),
        pairs=int((last - first).sum()),
        tiles=int(tiles.sum()),
        all_tiles=_all_tiles(case),
    )


def _extent_of_blocks(case: Case) -> Extent:
    kept = kept_blocks(case)
    of_q, of_k = (
        np.minimum(BLOCK, length - np.arange(count) * BLOCK)
        for length, count in zip((case.seqlen_q, case.seqlen_k), kept.shape, strict=True)
    )
    tiles_q, tiles_k = -(-of_q // TILE), -(-of_k // TILE)
    return Extent(
        queries=case.seqlen_q,
        keys=int(of_k[kept.any(axis=0)].sum()),
        pairs=int(of_q @ kept.astype(np.int64) @ of_k),
        tiles=int(tiles_q @ kept.astype(np.int64) @ tiles_k),
        all_tiles=_all_tiles(case),
    )


def _all_tiles(case: Case) -> int:
    return -(-case.seqlen_q // TILE) * -(-case.seqlen_k // TILE)
