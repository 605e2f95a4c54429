"""The CUDA kernel on hardware, by the same rule as the host's. Needs an NVIDIA GPU; every test says so when skipped."""

from __future__ import annotations

import math

import pytest
import torch

from kernels import ops
from kernels.interface import KernelError
from tests.kernels.accuracy import POISON, assert_as_accurate_as_torch, random_inputs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here: CUDA kernels cannot run")

DTYPES = [torch.bfloat16, torch.float16]
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def on_gpu(tensors: Tensors) -> Tensors:
    """The same values on the GPU."""
    q, k, v = (tensor.cuda() for tensor in tensors)
    return q, k, v


def check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> None:
    """Run the kernel over poison and hold it to the rule."""
    o = torch.full_like(q, POISON)
    lse = torch.full(q.shape[:3], POISON, device=q.device)
    scale = q.shape[-1] ** -0.5
    ops.launch_attention_fwd(ops.library_for(q), q, k, v, o, lse, causal=causal, scale=scale)
    torch.cuda.synchronize()
    assert_as_accurate_as_torch(o, lse, q, k, v, causal=causal)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k"),
    [(1, 1), (1, 300), (15, 17), (64, 64), (63, 129), (128, 127), (200, 70), (129, 500), (257, 1), (1000, 1000)],
)
def test_ragged_lengths_are_as_accurate_as_torch(
    dtype: torch.dtype, causal: bool, head_dim: int, seqlen_q: int, seqlen_k: int
) -> None:
    """Lengths that hit tile edges from both sides, grouped heads, rows without a key."""
    check(*on_gpu(random_inputs(dtype, 2, 4, 2, seqlen_q, seqlen_k, head_dim)), causal=causal)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_large_and_small_scores_are_as_accurate_as_torch(dtype: torch.dtype, scale: float) -> None:
    """A softmax that is nearly flat, and one that is nearly one-hot."""
    check(*on_gpu(random_inputs(dtype, 1, 2, 2, 300, 300, 64, scale)), causal=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strided_heads_are_as_accurate_as_torch(dtype: torch.dtype) -> None:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it."""
    q, k, v = (
        t.transpose(1, 2).contiguous().transpose(1, 2) for t in on_gpu(random_inputs(dtype, 2, 4, 2, 90, 90, 64))
    )
    check(q, k, v, causal=True)


def test_more_heads_than_a_grid_dimension_allows() -> None:
    """Batch x heads beyond 65535 must not overflow the grid."""
    check(*on_gpu(random_inputs(torch.bfloat16, 70000, 1, 1, 3, 5, 64)), causal=False)


def test_without_any_key_everything_is_zero() -> None:
    """seqlen_k = 0 is an empty sum, not an error."""
    q, k, v = on_gpu(random_inputs(torch.bfloat16, 1, 2, 2, 5, 0, 64))
    o, lse = ops.attention_fwd(q, k, v, False, 1.0)

    assert (o == 0).all()
    assert (lse == -math.inf).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_repeated_runs_are_equal_to_the_bit(dtype: torch.dtype) -> None:
    """No atomics in the forward, so no run may differ."""
    tensors = on_gpu(random_inputs(dtype, 2, 8, 2, 777, 777, 128))
    first = ops.attention(*tensors, causal=True)

    assert all(torch.equal(first, ops.attention(*tensors, causal=True)) for _ in range(100))


def test_opcheck_is_clean_on_cuda() -> None:
    """The same op definition holds for CUDA tensors."""
    q, k, v = on_gpu(random_inputs(torch.bfloat16, 1, 2, 1, 40, 40, 64))
    torch.library.opcheck(torch.ops.roofgate.attention_fwd.default, (q, k, v, True, 0.2))


def test_misaligned_rows_are_refused() -> None:
    """The kernel copies 16 bytes at a time and says so."""
    q, k, v = on_gpu(random_inputs(torch.bfloat16, 1, 2, 2, 8, 8, 64))
    shifted = torch.empty(q.numel() + 1, dtype=q.dtype, device=q.device)[1:].view(q.shape)
    with pytest.raises(KernelError, match="16 bytes"):
        ops.attention(shifted, k, v)
