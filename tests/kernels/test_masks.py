"""Mask plans stand for the masks that they were made from, whatever the builder, down to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import masks
from kernels.masks import MaskError, MaskPlan

BITS = torch.arange(64)
LENGTHS = st.one_of(st.integers(0, 5), st.integers(60, 70), st.integers(120, 330))


def equal(first: MaskPlan, second: MaskPlan) -> bool:
    """Whether two plans are the same, tensor by tensor."""
    names = ("tiles", "query_bits", "key_bits", "query_order", "key_order")
    return (first.seqlen_q, first.seqlen_k) == (second.seqlen_q, second.seqlen_k) and all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in names
    )


def assert_is_plan_of(plan: MaskPlan, mask: torch.Tensor) -> None:
    """The plan says what the mask says, in both orientations, and wastes no tile."""
    assert torch.equal(plan.dense(), mask if mask.dim() == 4 else mask[None, None])
    by_query = plan.query_bits[..., None] >> BITS & 1
    by_key = plan.key_bits[..., None] >> BITS & 1
    assert torch.equal(by_query, by_key.transpose(1, 2))
    assert (by_query.sum((1, 2)) > 0).all()

    numbers = plan.tiles[plan.tiles >= masks.PARTIAL] - masks.PARTIAL
    assert torch.equal(numbers.sort().values, torch.arange(len(plan.query_bits), dtype=torch.int32))

    seen = (plan.tiles != masks.EMPTY).sum((0, 1))
    for order, work in ((plan.query_order, seen.sum(1)), (plan.key_order, seen.sum(0))):
        pairs = torch.nn.functional.pad(work, (0, len(work) % 2)).view(-1, 2).sum(1)
        assert torch.equal(order.sort().values, torch.arange(len(pairs), dtype=torch.int32))
        assert torch.equal(pairs[order.long()], pairs.sort(descending=True).values)

    for name in ("tiles", "query_bits", "key_bits", "query_order", "key_order"):
        assert getattr(plan, name).is_contiguous()


def some_mask(data: st.DataObject, shape: tuple[int, ...]) -> torch.Tensor:
    """Random pairs, with whole areas seen and hidden, so that every kind of tile occurs."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    mask = torch.rand(shape, generator=generator) < data.draw(st.sampled_from([0.0, 0.001, 0.5, 0.999, 1.0]))
    seqlen_q, seqlen_k = shape[-2:]
    for value in (True, False):
        top, left = data.draw(st.integers(0, seqlen_q)), data.draw(st.integers(0, seqlen_k))
        mask[..., top : top + 150, left : left + 150] = value
    return mask


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seqlen_q=LENGTHS, seqlen_k=LENGTHS, batch=st.integers(1, 2), heads=st.integers(1, 3))
def test_a_plan_of_a_tensor_is_the_tensor(
    data: st.DataObject, seqlen_q: int, seqlen_k: int, batch: int, heads: int
) -> None:
    """There and back, for any mask, any strides, any lengths, any chunks."""
    mask = some_mask(data, (batch, heads, seqlen_q, seqlen_k))
    if data.draw(st.booleans()):
        mask = mask.transpose(2, 3).contiguous().transpose(2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "_BYTES_AT_ONCE", data.draw(st.sampled_from([1, 20_000, 1 << 24])))
        plan = masks.from_tensor(mask)

    assert_is_plan_of(plan, mask)
    assert_is_plan_of(masks.from_tensor(mask[0, 0]), mask[0, 0])


def test_an_extent_of_one_is_shared() -> None:
    """A mask for all batches or heads stays small, also where it is an expanded view."""
    mask = torch.rand(2, 1, 100, 90) < 0.5

    assert masks.from_tensor(mask).tiles.shape == (2, 1, 2, 2)
    assert_is_plan_of(masks.from_tensor(mask.expand(2, 3, 100, 90)), mask.expand(2, 3, 100, 90))


@settings(max_examples=30, deadline=None)
@given(seqlen_q=LENGTHS, seqlen_k=LENGTHS, chunk=st.sampled_from([1, 20_000, 1 << 24]))
def test_a_function_is_the_tensor_of_its_values(seqlen_q: int, seqlen_k: int, chunk: int) -> None:
    """Of batch, head, query and key."""

    def visible(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (query * 7 + key * 3 + head) % 5 < 2 + batch

    grid = torch.meshgrid(*(torch.arange(extent) for extent in (2, 3, seqlen_q, seqlen_k)), indexing="ij")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "_BYTES_AT_ONCE", chunk)
        plan = masks.from_function(visible, seqlen_q, seqlen_k, batch=2, heads=3)

    assert equal(plan, masks.from_tensor(visible(*grid)))


def test_a_function_of_fewer_positions_is_expanded() -> None:
    """A mask of keys alone, as padding is, broadcasts."""
    plan = masks.from_function(lambda batch, head, query, key: key < 70, 100, 90)  # noqa: ARG005

    assert_is_plan_of(plan, (torch.arange(90) < 70).expand(100, 90))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seqlen_q=LENGTHS, seqlen_k=LENGTHS)
def test_intervals_are_the_tensor_of_their_pairs(data: st.DataObject, seqlen_q: int, seqlen_k: int) -> None:
    """Any intervals, also empty, reversed or beyond the keys."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    begin = torch.randint(-20, seqlen_k + 20, (2, 1, seqlen_q), generator=generator)
    end = begin + torch.randint(-10, 200, begin.shape, generator=generator)
    if data.draw(st.booleans()):  # as patterns have them, so that some tiles are full
        begin, end = begin.sort().values, end.sort().values
    key = torch.arange(seqlen_k)
    mask = (key >= begin[..., None]) & (key < end[..., None])

    assert equal(masks.from_intervals(begin, end, seqlen_k), masks.from_tensor(mask))
    assert equal(masks.from_intervals(begin[0, 0], end[0, 0], seqlen_k), masks.from_tensor(mask[0, 0]))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), max_size=6), causal=st.booleans())
def test_documents_are_the_function_of_their_ids(lengths: list[int], causal: bool) -> None:
    """FlexAttention's way of saying the same."""
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64))

    def visible(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        same = ids[query] == ids[key]
        return same & (key <= query) if causal else same

    plan = masks.documents(ids, causal=causal)
    assert equal(plan, masks.from_function(visible, len(ids), len(ids)))
    assert equal(plan, masks.documents(ids.expand(1, -1).int(), causal=causal))


def test_each_row_of_a_batch_has_documents_of_its_own() -> None:
    """And a document whose number comes back is another document."""
    ids = torch.tensor([[0, 0, 1, 1], [5, 6, 6, 5]])
    same = (ids[:, :, None] == ids[:, None, :])[:, None]
    same[1, :, 0, 3] = same[1, :, 3, 0] = False

    assert_is_plan_of(masks.documents(ids, causal=False), same)


@settings(max_examples=40, deadline=None)
@given(seqlen_q=LENGTHS, seqlen_k=LENGTHS, prefix=st.lists(st.integers(0, 200), min_size=1, max_size=3))
def test_a_prefix_is_the_function_of_its_length(seqlen_q: int, seqlen_k: int, prefix: list[int]) -> None:
    """Causal behind it, aligned to the bottom right."""
    lengths = torch.tensor(prefix)

    def visible(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return (key < lengths[batch]) | (key <= query + seqlen_k - seqlen_q)

    expected = masks.from_function(visible, seqlen_q, seqlen_k, batch=len(prefix))
    assert equal(masks.prefix_lm(lengths, seqlen_q, seqlen_k), expected)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seqlen_q=LENGTHS, seqlen_k=LENGTHS, block=st.sampled_from([64, 128]))
def test_blocks_are_the_tensor_of_their_pairs(data: st.DataObject, seqlen_q: int, seqlen_k: int, block: int) -> None:
    """Whole blocks, and those that the lengths cut."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    visible = torch.rand(2, 1, -(-seqlen_q // block), -(-seqlen_k // block), generator=generator) < 0.4
    mask = visible.repeat_interleave(block, 2).repeat_interleave(block, 3)[..., :seqlen_q, :seqlen_k]

    assert equal(masks.from_blocks(visible, block, seqlen_q, seqlen_k), masks.from_tensor(mask))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seqlen_q=LENGTHS, seqlen_k=LENGTHS)
def test_two_plans_intersect_as_their_masks_do(data: st.DataObject, seqlen_q: int, seqlen_k: int) -> None:
    """Tile by tile, also where one is shared by the heads of the other."""
    first = some_mask(data, (1, 3, seqlen_q, seqlen_k))
    second = some_mask(data, (2, 1, seqlen_q, seqlen_k))

    assert equal(masks.from_tensor(first) & masks.from_tensor(second), masks.from_tensor(first & second))


def test_the_share_of_tiles_counts_what_is_not_empty() -> None:
    """A causal mask of n tiles on a side leaves (n + 1) / 2n of them."""
    causal = masks.prefix_lm(torch.tensor(0), 512)

    assert causal.share_of_tiles() == 36 / 64
    assert masks.from_tensor(torch.zeros(0, 5, dtype=torch.bool)).share_of_tiles() == 0


def test_the_heaviest_pairs_of_tiles_come_first() -> None:
    """In a causal mask the last queries see most, and the first keys are seen most."""
    causal = masks.prefix_lm(torch.tensor(0), 512)

    assert causal.query_order.tolist() == [3, 2, 1, 0]
    assert causal.key_order.tolist() == [0, 1, 2, 3]


IDS = torch.zeros(8, dtype=torch.int64)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: masks.from_tensor(torch.ones(4, 4)), r"mask is torch.float32 \(4, 4\); expected torch.bool"),
        (lambda: masks.from_tensor(torch.ones(2, 4, 4, dtype=torch.bool)), r"mask is torch.bool \(2, 4, 4\)"),
        (lambda: masks.from_function(lambda b, h, q, k: q * k, 4, 4), "the mask function gave torch.int64"),  # noqa: ARG005
        (lambda: masks.from_intervals(IDS, IDS[:3], 8), r"end is torch.int64 \(3,\); expected integers, \[seqlen_q\]"),
        (lambda: masks.from_intervals(IDS.float(), IDS, 8), "begin is torch.float32"),
        (lambda: masks.documents(IDS.view(2, 2, 2)), r"ids are torch.int64 \(2, 2, 2\); expected integers, \[seqlen\]"),
        (lambda: masks.prefix_lm(torch.tensor(1.5), 8), "prefix is torch.float32"),
        (lambda: masks.from_blocks(torch.ones(1, 1, dtype=torch.bool), 100, 80, 80), "block is 100; expected a multi"),
        (lambda: masks.from_blocks(torch.ones(1, 1, dtype=torch.bool), 64, 80, 60), r"expected torch.bool, \[2, 1\]"),
        (lambda: masks.documents(IDS) & masks.documents(IDS[:4]), r"masks of \(8, 8\) on cpu and of \(4, 4\) on cpu"),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused_by_name(build, message: str) -> None:  # noqa: ANN001
    """The error says what it was and what is taken."""
    with pytest.raises(MaskError, match=message):
        build()
