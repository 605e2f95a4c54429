"""The CUDA forward on hardware, by the same rule as the host's. Needs an NVIDIA GPU; skipped tests say so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from kernels import ops
from kernels.attention_params import AttentionOptions, Sequences, forward_params, launch_forward
from kernels.interface import KernelError
from kernels.masks import MaskPlan
from tests.kernels.accuracy import POISON, assert_forward_as_accurate_as_torch, random_inputs
from tests.kernels.attention_cells import BF16, FP16, HEADS, LENGTHS, MASKS, Cell, Tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here: CUDA kernels cannot run")

FULL, CAUSAL = AttentionOptions(scale=0.125), AttentionOptions(scale=0.125, window_right=0)
DTYPES = pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
HEAD_DIMS = pytest.mark.parametrize("head_dim", [64, 128, 256])


def on_gpu(tensors: Tensors) -> Tensors:
    """The same values on the GPU."""
    q, k, v = (tensor.cuda() for tensor in tensors)
    return q, k, v


def options_on_gpu(options: AttentionOptions) -> AttentionOptions:
    """The same options with their tensors on the GPU."""

    def sequences(here: Sequences | None) -> Sequences | None:
        return here and replace(here, offsets=here.offsets.cuda())

    slopes, plan = options.alibi_slopes, options.plan
    return replace(
        options,
        alibi_slopes=slopes if slopes is None else slopes.cuda(),
        plan=plan and plan_on_gpu(plan),
        sequences_q=sequences(options.sequences_q),
        sequences_k=sequences(options.sequences_k),
    )


def plan_on_gpu(plan: MaskPlan) -> MaskPlan:
    """The same plan on the GPU."""
    names = ("tiles", "query_bits", "key_bits", "query_order", "key_order")
    return replace(plan, **{name: getattr(plan, name).cuda() for name in names})


def run(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """O and LSE, written over poison."""
    o = torch.full_like(q, POISON)
    lse_shape = q.shape[:3] if q.dim() == 4 else (q.shape[1], q.shape[0])
    lse = torch.full(lse_shape, POISON, device=q.device)
    launch_forward(ops.library_for(q), forward_params(q, k, v, o, lse, options), q.device)
    torch.cuda.synchronize()
    return o, lse


def check(tensors: Tensors, options: AttentionOptions) -> None:
    """Run the kernel over poison and hold it to the rule."""
    q, k, v = on_gpu(tensors)
    here = options_on_gpu(options)
    assert_forward_as_accurate_as_torch(*run(q, k, v, here), q, k, v, here)


@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_every_cell_is_as_accurate_as_torch(
    dtype: torch.dtype, head_dim: int, mask: str, heads: str, lengths: str
) -> None:
    """The whole feature matrix."""
    cell = Cell(dtype, head_dim, mask, heads, lengths)
    check(cell.inputs(), cell.options())


@DTYPES
@pytest.mark.parametrize("options", [FULL, CAUSAL], ids=["full", "causal"])
@HEAD_DIMS
@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k"),
    [(1, 1), (1, 300), (15, 17), (64, 64), (63, 129), (128, 127), (200, 70), (129, 500), (257, 1), (1000, 1000)],
)
def test_ragged_lengths_are_as_accurate_as_torch(
    dtype: torch.dtype, options: AttentionOptions, head_dim: int, seqlen_q: int, seqlen_k: int
) -> None:
    """Lengths that hit tile edges from both sides, grouped heads, rows without a key."""
    check(random_inputs(dtype, 2, 4, 2, seqlen_q, seqlen_k, head_dim), options)


@DTYPES
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_large_and_small_scores_are_as_accurate_as_torch(dtype: torch.dtype, scale: float) -> None:
    """A softmax that is nearly flat, and one that is nearly one-hot."""
    check(random_inputs(dtype, 1, 2, 2, 300, 300, 64, scale), CAUSAL)


@DTYPES
def test_strided_heads_are_as_accurate_as_torch(dtype: torch.dtype) -> None:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it."""
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in random_inputs(dtype, 2, 4, 2, 90, 90, 64))
    check((q, k, v), CAUSAL)


def test_more_heads_than_a_grid_dimension_allows() -> None:
    """Batch x heads beyond 65535 must not overflow the grid."""
    check(random_inputs(BF16, 70000, 1, 1, 3, 5, 64), FULL)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["batch", "head", "position"])
def test_strides_beyond_32_bits_are_as_accurate_as_torch(axis: int) -> None:
    """Tensors whose last element lies more than 2^31 elements behind their first, by each stride."""
    shape = [1, 1, 1, 64]
    shape[axis] = 3
    strides = [64, 64, 64, 1]
    strides[axis] = 2**30 + 512
    storage = torch.empty(2 * strides[axis] + 256, dtype=BF16, device="cuda")
    q, k, v, o = (storage.as_strided(shape, strides, 64 * i) for i in range(4))
    for tensor in (q, k, v):
        tensor.normal_()
    lse = torch.full(shape[:3], POISON, device="cuda")
    launch_forward(ops.library_for(q), forward_params(q, k, v, o.fill_(POISON), lse, FULL), q.device)
    torch.cuda.synchronize()
    assert_forward_as_accurate_as_torch(*(tensor.contiguous() for tensor in (o, lse, q, k, v)), FULL)


def test_without_any_key_everything_is_zero() -> None:
    """seqlen_k = 0 is an empty sum, not an error."""
    o, lse = run(*on_gpu(random_inputs(BF16, 1, 2, 2, 5, 0, 64)), FULL)

    assert (o == 0).all()
    assert (lse == -math.inf).all()


@DTYPES
@pytest.mark.parametrize("mask", ["full", "causal", "plan", "softcap, ALiBi, causal", "causal of sequences"])
def test_repeated_runs_are_equal_to_the_bit(dtype: torch.dtype, mask: str) -> None:
    """No atomics in the forward, so no run may differ."""
    cell = Cell(dtype, 128, mask)
    tensors, options = on_gpu(cell.inputs()), options_on_gpu(cell.options())
    first = run(*tensors, options)
    again = [run(*tensors, options) for _ in range(100)]

    assert all(torch.equal(first[0], o) and torch.equal(first[1], lse) for o, lse in again)


def test_misaligned_rows_are_refused() -> None:
    """The kernel copies 16 bytes at a time and says so."""
    q, k, v = on_gpu(random_inputs(BF16, 1, 2, 2, 8, 8, 64))
    shifted = torch.empty(q.numel() + 1, dtype=q.dtype, device=q.device)[1:].view(q.shape)
    with pytest.raises(KernelError, match="16 bytes"):
        run(shifted, k, v, FULL)
