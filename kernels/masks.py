"""Mask plans: any attention mask at all, cut into tiles that are empty, full, or partial with a bit for each pair.

A plan is made of torch tensors by torch operations, on the host or on the GPU, and so costs no rebuild: a new mask
may come with each call. No builder holds more than a chunk of the mask as single booleans, beside the tensor that
:func:`from_tensor` is given. Patterns that are intervals of keys (:func:`documents`, :func:`prefix_lm`) or blocks
(:func:`from_blocks`) never exist as booleans at all: they cost the number of tiles, plus the bits of the partial ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from kernels.errors import RoofgateError

TILE = 64  # queries and keys of a tile: ROOFGATE_PLAN_TILE
EMPTY, FULL, PARTIAL = 0, 1, 2  # enum roofgate_tile

_ALL = -1  # 64 bits
_TRANSPOSITION = (  # size of the blocks, and the lower bits of each
    (32, 0x00000000FFFFFFFF),
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
_EIGHT = torch.arange(8, dtype=torch.uint8)
_LOWEST_BITS = torch.tensor([(1 << bits) - 1 for bits in range(TILE)] + [_ALL])  # as many as the index says
_BYTES_AT_ONCE = 1 << 24  # of a mask, one byte an element: keeps the temporaries of packing in the megabytes


class MaskError(RoofgateError, ValueError):
    """No plan can be made of this: the message says which property, and what would be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPlan:
    """``struct roofgate_mask_plan`` as tensors, all contiguous and on the device of Q.

    ``query_bits`` and ``key_bits`` hold 64 bits a word, as int64.
    """

    tiles: torch.Tensor  # int32 [batch or 1, heads_q or 1, tiles_q, tiles_k]: EMPTY, FULL or PARTIAL + tile number
    query_bits: torch.Tensor  # int64 [partial tiles, 64]: bit k of word q: query q sees key k
    key_bits: torch.Tensor  # int64 [partial tiles, 64]: bit q of word k
    query_order: torch.Tensor  # int32 [ceil(tiles_q / 2)]: pairs of tiles, heaviest first
    key_order: torch.Tensor  # int32 [ceil(tiles_k / 2)]
    seqlen_q: int
    seqlen_k: int

    @property
    def device(self) -> torch.device:
        """Where all the tensors are."""
        return self.tiles.device

    def share_of_tiles(self) -> float:
        """Tiles that are not empty, in all tiles: what is left of the work of a full mask. 0 if there are no tiles."""
        return float((self.tiles != EMPTY).double().mean()) if self.tiles.numel() else 0.0

    def dense(self) -> torch.Tensor:
        """The mask that the plan stands for: bool [batch or 1, heads_q or 1, seqlen_q, seqlen_k]."""
        batch, heads, tiles_q, tiles_k = self.tiles.shape
        eights = self.words(self.tiles).view(torch.uint8).view(*self.tiles.shape, TILE, 8, 1)  # keys 0 to 7 first
        bits = (eights >> _EIGHT.to(self.device) & 1).transpose(3, 4).bool()
        pairs = bits.reshape(batch, heads, tiles_q * TILE, tiles_k * TILE)
        return pairs[:, :, : self.seqlen_q, : self.seqlen_k]

    def words(self, tiles: torch.Tensor) -> torch.Tensor:
        """The query bits of any of its tiles: int64 [..., 64] for tiles [...]. Only those of partial tiles are kept."""
        words = -(tiles == FULL).long()[..., None].repeat_interleave(TILE, -1)
        is_partial = tiles >= PARTIAL
        words[is_partial] = self.query_bits[tiles[is_partial].long() - PARTIAL]
        return words

    def __and__(self, other: MaskPlan) -> MaskPlan:
        """What both let a query see, in time for the tiles and the bits of partial ones; raises :class:`MaskError`."""
        lengths, others = (self.seqlen_q, self.seqlen_k), (other.seqlen_q, other.seqlen_k)
        if lengths != others or self.device != other.device:
            raise MaskError(
                f"masks of {lengths} on {self.device} and of {others} on {other.device} do not fit together"
            )
        is_seen = (self.tiles != EMPTY) & (other.tiles != EMPTY)
        first, second = self.tiles.expand_as(is_seen), other.tiles.expand_as(is_seen)
        is_full = (first == FULL) & (second == FULL)
        open_tiles = is_seen & ~is_full
        words = self.words(first[open_tiles]) & other.words(second[open_tiles])
        return _assemble(is_full, open_tiles, words, *lengths)


def from_tensor(visible: torch.Tensor) -> MaskPlan:
    """The plan of a mask, on the device of the mask.

    Args:
        visible: bool [seqlen_q, seqlen_k] or [batch or 1, heads_q or 1, seqlen_q, seqlen_k], true where a query sees a
            key; any strides, and an extent of 1 is shared by all.

    Raises:
        MaskError: the tensor has another dtype or shape.
    """
    if visible.dtype != torch.bool or visible.dim() not in (2, 4):
        raise MaskError(
            f"mask is {visible.dtype} {tuple(visible.shape)}; expected torch.bool, [seqlen_q, seqlen_k] or "
            "[batch or 1, heads or 1, seqlen_q, seqlen_k]"
        )
    mask = visible if visible.dim() == 4 else visible[None, None]
    planner = _Planner(mask.shape, mask.device)
    for batch, heads, rows in planner.chunks():
        planner.add(batch, heads, rows, mask[batch, heads, rows])
    return planner.plan()


def from_function(
    visible: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    seqlen_q: int,
    seqlen_k: int,
    *,
    batch: int = 1,
    heads: int = 1,
    device: torch.device | str = "cpu",
) -> MaskPlan:
    """The plan of a mask function, evaluated by chunks of rows.

    Args:
        visible: of batch and head, int64 [], of query positions, int64 [rows, 1], and key positions, int64
            [1, seqlen_k]: a bool tensor that broadcasts to [rows, seqlen_k], as FlexAttention's ``mask_mod`` gives.
        seqlen_q: queries.
        seqlen_k: keys.
        batch: entries of the batch that the function tells apart.
        heads: query heads that it tells apart.
        device: of the positions and of the plan.

    Raises:
        MaskError: the function gives another dtype or shape.
    """
    planner = _Planner((batch, heads, seqlen_q, seqlen_k), torch.device(device))
    keys = torch.arange(seqlen_k, device=device)[None, :]
    for entry, some_heads, rows in planner.chunks():
        queries = torch.arange(rows.start, rows.stop, device=device)[:, None]
        masks = []
        for head in range(some_heads.start, some_heads.stop):
            mask = visible(torch.tensor(entry, device=device), torch.tensor(head, device=device), queries, keys)
            if mask.dtype != torch.bool or mask.dim() > 2:
                raise MaskError(
                    f"the mask function gave {mask.dtype} {tuple(mask.shape)}; expected torch.bool that broadcasts to "
                    f"[{len(queries)}, {seqlen_k}]"
                )
            masks.append(mask.expand(len(queries), seqlen_k))
        planner.add(entry, some_heads, rows, torch.stack(masks))
    return planner.plan()


def from_intervals(begin: torch.Tensor, end: torch.Tensor, seqlen_k: int) -> MaskPlan:
    """The plan of a mask where each query sees the keys from ``begin`` to before ``end``, straight from the intervals.

    Args:
        begin: int [batch or 1, heads_q or 1, seqlen_q] or [seqlen_q]; may be below 0.
        end: likewise; may be beyond ``seqlen_k``. A query whose interval is empty sees nothing.
        seqlen_k: keys.

    Raises:
        MaskError: another shape or dtype.
    """
    for name, tensor in (("begin", begin), ("end", end)):
        if tensor.is_floating_point() or tensor.dim() not in (1, 3) or tensor.shape != begin.shape:
            raise MaskError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}; expected integers, [seqlen_q] or "
                "[batch or 1, heads or 1, seqlen_q], the same for both"
            )
    shape = begin.shape[:-1] if begin.dim() == 3 else (1, 1)
    seqlen_q = begin.shape[-1]
    first, last = (bound.long().clamp(0, seqlen_k).reshape(*shape, seqlen_q) for bound in (begin, end))
    first = torch.where(first < last, first, seqlen_k)  # an empty interval lies behind all keys
    last = torch.where(first < last, last, 0)

    def rows(bound: torch.Tensor, missing: int) -> torch.Tensor:
        """By tiles: [batch, heads, tiles_q, 1, 64]; ``missing`` is for the queries that the last one has too many."""
        return pad(bound, (0, -seqlen_q % TILE), value=missing).view(*shape, -(-seqlen_q // TILE), 1, TILE)

    start = torch.arange(0, seqlen_k, TILE, device=begin.device)
    is_seen = (rows(first, seqlen_k).amin(-1) < start + TILE) & (rows(last, 0).amax(-1) > start)
    is_full = (rows(first, 0).amax(-1) <= start) & (rows(last, seqlen_k).amin(-1) >= start + TILE)
    open_tiles = is_seen & ~is_full
    batch, head, row, tile = open_tiles.nonzero(as_tuple=True)
    lower, upper = (rows(bound, 0)[batch, head, row, 0] - start[tile][:, None] for bound in (first, last))
    lowest = _LOWEST_BITS.to(begin.device)
    words = lowest[upper.clamp(0, TILE)] & ~lowest[lower.clamp(0, TILE)]
    return _assemble(is_full, open_tiles, words, seqlen_q, seqlen_k)


def documents(ids: torch.Tensor, *, causal: bool = True) -> MaskPlan:
    """Documents end to end in one row: a query sees its own only.

    Args:
        ids: integers [seqlen] or [batch, seqlen]; another document begins wherever the number changes.
        causal: within a document, hide keys behind the query.

    Raises:
        MaskError: another shape or dtype.
    """
    if ids.is_floating_point() or ids.dim() not in (1, 2):
        raise MaskError(f"ids are {ids.dtype} {tuple(ids.shape)}; expected integers, [seqlen] or [batch, seqlen]")
    rows = ids if ids.dim() == 2 else ids[None]
    seqlen = rows.shape[1]
    if rows.numel() == 0:
        return from_intervals(rows[:, None], rows[:, None], seqlen)
    position = torch.arange(seqlen, device=ids.device)
    begins = pad(rows[:, 1:] != rows[:, :-1], (1, 0), value=True)
    begin = torch.where(begins, position, 0).cummax(1).values
    if causal:
        end = (position + 1).expand_as(begin)
    else:
        next_begin = torch.where(begins, position, seqlen).flip(1).cummin(1).values.flip(1)
        end = pad(next_begin[:, 1:], (0, 1), value=seqlen)
    return from_intervals(begin[:, None], end[:, None], seqlen)


def prefix_lm(prefix: torch.Tensor, seqlen_q: int, seqlen_k: int | None = None) -> MaskPlan:
    """Causal, aligned to the bottom right, but every query sees a prefix whole.

    Args:
        prefix: its length, integers [] or [batch].
        seqlen_q: queries.
        seqlen_k: keys, if they differ.

    Raises:
        MaskError: another shape or dtype.
    """
    if prefix.is_floating_point() or prefix.dim() > 1:
        raise MaskError(f"prefix is {prefix.dtype} {tuple(prefix.shape)}; expected integers, [] or [batch]")
    seqlen_k = seqlen_q if seqlen_k is None else seqlen_k
    causal_end = torch.arange(seqlen_q, device=prefix.device) + (seqlen_k - seqlen_q + 1)
    end = torch.maximum(causal_end, prefix.reshape(-1, 1, 1))
    return from_intervals(torch.zeros_like(end), end, seqlen_k)


def from_blocks(visible: torch.Tensor, block: int, seqlen_q: int, seqlen_k: int) -> MaskPlan:
    """The plan of a block-sparse mask, straight from its blocks.

    Args:
        visible: bool [blocks_q, blocks_k] or [batch or 1, heads_q or 1, blocks_q, blocks_k].
        block: queries and keys of a block: a multiple of 64.
        seqlen_q: queries, of which the last block may hold fewer.
        seqlen_k: keys, likewise.

    Raises:
        MaskError: another shape or dtype, or a block that is not whole tiles.
    """
    if block <= 0 or block % TILE:
        raise MaskError(f"block is {block}; expected a multiple of {TILE}")
    expected = (-(-seqlen_q // block), -(-seqlen_k // block))
    if visible.dtype != torch.bool or visible.dim() not in (2, 4) or visible.shape[-2:] != expected:
        raise MaskError(
            f"blocks are {visible.dtype} {tuple(visible.shape)}; expected torch.bool, {list(expected)} or "
            f"[batch or 1, heads or 1, *{list(expected)}]"
        )
    blocks = visible if visible.dim() == 4 else visible[None, None]
    tiles = blocks.repeat_interleave(block // TILE, 2).repeat_interleave(block // TILE, 3)
    tiles = tiles[:, :, : -(-seqlen_q // TILE), : -(-seqlen_k // TILE)]
    is_ragged = torch.arange(TILE, (tiles.shape[3] + 1) * TILE, TILE, device=visible.device) > seqlen_k
    open_tiles = tiles & is_ragged
    words = _LOWEST_BITS[seqlen_k % TILE].to(visible.device).repeat(int(open_tiles.sum()), TILE)
    is_last = open_tiles.nonzero()[:, 2] == seqlen_q // TILE
    words[is_last, seqlen_q % TILE :] = 0
    return _assemble(tiles & ~is_ragged, open_tiles, words, seqlen_q, seqlen_k)


class _Planner:
    """Takes a mask [batch, heads, seqlen_q, seqlen_k] by chunks and makes the plan of it."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self._batch, self._heads, self._seqlen_q, self._seqlen_k = shape
        tiles = (self._batch, self._heads, -(-self._seqlen_q // TILE), -(-self._seqlen_k // TILE))
        self._is_full, self._is_partial = (torch.zeros(tiles, dtype=torch.bool, device=device) for _ in range(2))
        self._words: list[torch.Tensor] = []

    def chunks(self) -> Iterator[tuple[int, slice, slice]]:
        """One entry of the batch, heads and queries: what :meth:`add` takes at a time, in this order.

        Several heads go together where each is small, for a chunk costs a dozen launches, whatever its size.
        """
        rows = max(1, _BYTES_AT_ONCE // max(1, self._seqlen_k * TILE)) * TILE
        heads = max(1, rows // max(1, self._seqlen_q))
        for batch in range(self._batch):
            for head in range(0, self._heads, heads):
                for row in range(0, self._seqlen_q, rows):
                    yield (
                        batch,
                        slice(head, min(head + heads, self._heads)),
                        slice(row, min(row + rows, self._seqlen_q)),
                    )

    def add(self, batch: int, heads: slice, rows: slice, visible: torch.Tensor) -> None:
        """Bool [heads, rows, seqlen_k] of these heads and queries."""
        words = _pack(visible)
        missing = -visible.shape[1] % TILE  # queries that the last tile has too many: they are no reason for a bit
        last = words[:, -1:, :, TILE - missing :]
        last.fill_(_ALL)
        is_full = (words == _ALL).all(-1)
        last.fill_(0)
        is_partial = (words != 0).any(-1) & ~is_full
        place = (batch, heads, slice(rows.start // TILE, -(-rows.stop // TILE)))
        self._is_full[place] = is_full
        self._is_partial[place] = is_partial
        self._words.append(words[is_partial])

    def plan(self) -> MaskPlan:
        """The plan of all that was added."""
        words = torch.cat(self._words) if self._words else self._is_full.new_zeros(0, TILE, dtype=torch.int64)
        return _assemble(self._is_full, self._is_partial, words, self._seqlen_q, self._seqlen_k)


def _assemble(
    is_full: torch.Tensor, is_open: torch.Tensor, words: torch.Tensor, seqlen_q: int, seqlen_k: int
) -> MaskPlan:
    """The plan from its full tiles, and from the query bits of those that may be partial or empty, in their order."""
    is_partial = (words != 0).any(-1)
    numbers = torch.cumsum(is_partial, 0, dtype=torch.int32) + (PARTIAL - 1)
    tiles = is_full.int() * FULL
    tiles[is_open] = torch.where(is_partial, numbers, EMPTY)
    query_bits = words[is_partial]
    work = (tiles != EMPTY).sum(dim=(0, 1))
    return MaskPlan(
        tiles=tiles,
        query_bits=query_bits,
        key_bits=_transpose_bits(query_bits),
        query_order=_heaviest_pairs_first(work.sum(1)),
        key_order=_heaviest_pairs_first(work.sum(0)),
        seqlen_q=seqlen_q,
        seqlen_k=seqlen_k,
    )


def _heaviest_pairs_first(work: torch.Tensor) -> torch.Tensor:
    """The order of pairs of tiles, from the work of each tile."""
    padded = pad(work, (0, len(work) % 2))
    return torch.argsort(padded.view(-1, 2).sum(1), descending=True, stable=True).int()


def _pack(visible: torch.Tensor) -> torch.Tensor:
    """Bool [n, rows, keys] as int64 [n, tiles of rows, tiles of keys, 64]: bit k of word q; past the edges, 0."""
    count, rows, keys = visible.shape
    tiles_q, tiles_k = -(-rows // TILE), -(-keys // TILE)
    if visible.numel() == 0:
        return torch.zeros(count, tiles_q, tiles_k, TILE, dtype=torch.int64, device=visible.device)
    if visible.is_contiguous() and visible.data_ptr() % 8 == 0 and rows % TILE == keys % TILE == 0:
        padded = visible.view(torch.uint8)
    else:
        padded = torch.zeros(count, tiles_q * TILE, tiles_k * TILE, dtype=torch.uint8, device=visible.device)
        padded[:, :rows, :keys] = visible
    # Eight booleans at a time: byte i of the word, 0 or 1, comes to bit 56 + i of the product. No two of the 64
    # partial products meet at one bit, so nothing carries.
    eights = padded.view(torch.int64).mul(0x0102040810204080).bitwise_right_shift_(56)
    words = eights.to(torch.uint8).view(torch.int64)
    return words.view(count, tiles_q, TILE, tiles_k).transpose(2, 3).contiguous()


def _transpose_bits(words: torch.Tensor) -> torch.Tensor:
    """Each row of int64 [n, 64], a matrix of 64 x 64 bits, transposed: bit q of word k was bit k of word q.

    Six steps, each of which exchanges the off-diagonal quarters of all blocks of one size.
    """
    answer = words.clone()
    for size, low in _TRANSPOSITION:
        halves = answer.view(len(answer), TILE // (2 * size), 2, size)
        upper, lower = halves[:, :, 0], halves[:, :, 1]
        # `low` also removes the copies of the sign that the arithmetic shift brings in.
        exchanged = upper.bitwise_right_shift(size).bitwise_xor_(lower).bitwise_and_(low)
        lower ^= exchanged
        upper ^= exchanged.bitwise_left_shift_(size)
    return answer
