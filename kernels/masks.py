"""Mask plans: any attention mask at all, cut into tiles that are empty, full, or partial with a bit for each pair.

A plan is made of torch tensors by torch operations, on the host or on the GPU, and so costs no rebuild: a new mask
may come with each call. No builder holds more than a few rows of tiles as single booleans, except for the tensor that
:func:`from_tensor` is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
        words = torch.zeros(*self.tiles.shape, TILE, dtype=torch.int64, device=self.device)
        words[self.tiles == FULL] = _ALL
        is_partial = self.tiles >= PARTIAL
        words[is_partial] = self.query_bits[self.tiles[is_partial].long() - PARTIAL]
        bits = words[..., None] >> torch.arange(TILE, device=self.device) & 1
        # [batch, heads, tiles_q, tiles_k, query, key], a tile beside the other.
        pairs = bits.bool().transpose(3, 4).reshape(batch, heads, tiles_q * TILE, tiles_k * TILE)
        return pairs[:, :, : self.seqlen_q, : self.seqlen_k]


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
    batch, heads, seqlen_q, seqlen_k = mask.shape
    planner = Planner(batch, heads, seqlen_q, seqlen_k, mask.device)
    for one in range(batch):
        for head in range(heads):
            for rows in planner.chunks():
                planner.add(one, head, rows, mask[one, head, rows])
    return planner.plan()


class Planner:
    """Takes a mask by chunks of whole rows of tiles and makes the plan of it.

    Args:
        batch: extent of the mask, 1 if all share it.
        heads: likewise.
        seqlen_q: queries.
        seqlen_k: keys.
        device: of the mask and of the plan.
    """

    def __init__(self, batch: int, heads: int, seqlen_q: int, seqlen_k: int, device: torch.device) -> None:
        self.seqlen_q, self.seqlen_k = seqlen_q, seqlen_k
        shape = (batch, heads, -(-seqlen_q // TILE), -(-seqlen_k // TILE))
        self.tiles = torch.zeros(shape, dtype=torch.int32, device=device)
        self._bits: list[torch.Tensor] = []
        self._partial_tiles = 0

    def chunks(self) -> list[slice]:
        """Queries to give to :meth:`add` at a time: whole tiles, as many as keep the chunk small."""
        rows = max(1, _BYTES_AT_ONCE // max(1, self.seqlen_k * TILE)) * TILE
        return [slice(start, min(start + rows, self.seqlen_q)) for start in range(0, self.seqlen_q, rows)]

    def add(self, batch: int, head: int, rows: slice, visible: torch.Tensor) -> None:
        """Queries ``rows``, which begin with a tile, of one head: bool [rows, seqlen_k]."""
        words = pack(visible)  # [tiles_q, tiles_k, 64]
        missing = -visible.shape[0] % TILE  # queries that the last tile has too many
        if missing:
            words[-1, :, TILE - missing :] = _ALL
        is_full = (words == _ALL).all(-1)
        if missing:
            words[-1, :, TILE - missing :] = 0
        is_partial = (words != 0).any(-1) & ~is_full
        bits = words[is_partial]
        first = rows.start // TILE
        tiles = self.tiles[batch, head, first : first + words.shape[0]]
        tiles[is_full] = FULL
        numbers = torch.arange(len(bits), dtype=torch.int32, device=bits.device)
        tiles[is_partial] = numbers + (PARTIAL + self._partial_tiles)
        self._partial_tiles += len(bits)
        self._bits.append(bits)

    def plan(self) -> MaskPlan:
        """The plan of all that was added."""
        bits = torch.cat(self._bits) if self._bits else self.tiles.new_zeros(0, TILE, dtype=torch.int64)
        return make_plan(self.tiles, bits, self.seqlen_q, self.seqlen_k)


def make_plan(tiles: torch.Tensor, query_bits: torch.Tensor, seqlen_q: int, seqlen_k: int) -> MaskPlan:
    """A plan from its tiles and the bits of the partial ones: key bits and orders follow from them."""
    work = (tiles != EMPTY).sum(dim=(0, 1))
    return MaskPlan(
        tiles=tiles,
        query_bits=query_bits,
        key_bits=transpose_bits(query_bits),
        query_order=_heaviest_pairs_first(work.sum(1)),
        key_order=_heaviest_pairs_first(work.sum(0)),
        seqlen_q=seqlen_q,
        seqlen_k=seqlen_k,
    )


def _heaviest_pairs_first(work: torch.Tensor) -> torch.Tensor:
    """The order of pairs of tiles, from the work of each tile."""
    padded = torch.nn.functional.pad(work, (0, len(work) % 2))
    return torch.argsort(padded.view(-1, 2).sum(1), descending=True, stable=True).int()


def pack(visible: torch.Tensor) -> torch.Tensor:
    """Bool [rows, keys] as int64 [tiles of rows, tiles of keys, 64]: bit k of word q; past the edges all is hidden."""
    rows, keys = visible.shape
    tiles_q, tiles_k = -(-rows // TILE), -(-keys // TILE)
    if keys == 0:
        return torch.zeros(tiles_q, 0, TILE, dtype=torch.int64, device=visible.device)
    if visible.is_contiguous() and rows % TILE == keys % TILE == 0:
        padded = visible.view(torch.uint8)
    else:
        padded = torch.zeros(tiles_q * TILE, tiles_k * TILE, dtype=torch.uint8, device=visible.device)
        padded[:rows, :keys] = visible
    # Eight booleans at a time: byte i of the word, 0 or 1, comes to bit 56 + i of the product. No two of the 64
    # partial products meet at one bit, so nothing carries.
    eights = padded.view(torch.int64).mul(0x0102040810204080).bitwise_right_shift_(56)
    words = eights.to(torch.uint8).view(torch.int64)
    return words.view(tiles_q, TILE, tiles_k).transpose(1, 2).contiguous()


def transpose_bits(words: torch.Tensor) -> torch.Tensor:
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
