"""Backward passes that the tests of the CUDA kernels share, in the simulator and on hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from kernels import masks
from kernels.attention_params import AttentionOptions, Sequences
from kernels.masks import MaskPlan
from tests.kernels.accuracy import random_gradient, random_inputs, random_sequences

BF16, FP16 = torch.bfloat16, torch.float16
DTYPES = pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
HEAD_DIMS = pytest.mark.parametrize("head_dim", [64, 128])


@dataclass(frozen=True)
class Problem:
    """The inputs of one backward pass."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    d_o: torch.Tensor
    options: AttentionOptions


def scaled(head_dim: int, **options: object) -> AttentionOptions:
    """Options with the usual scale."""
    return AttentionOptions(scale=head_dim**-0.5, **options)  # type: ignore[arg-type]


def dense(
    dtype: torch.dtype,
    shape: tuple[int, int, int, int, int, int],
    options: AttentionOptions | None = None,
    scale: float = 1,
) -> Problem:
    """A problem of shape (batch, heads_q, heads_kv, seqlen_q, seqlen_k, head_dim)."""
    q, k, v = random_inputs(dtype, *shape, scale)
    return Problem(q, k, v, random_gradient(q), options or scaled(shape[-1]))


def of_sequences(
    dtype: torch.dtype, lengths_q: list[int], lengths_k: list[int], heads: tuple[int, int], options: AttentionOptions
) -> Problem:
    """Sequences of the given lengths, end to end."""
    head_dim = round(options.scale**-2)
    q, k, v = random_sequences(dtype, sum(lengths_q), sum(lengths_k), *heads, head_dim)
    options = replace(options, sequences_q=sequences(lengths_q), sequences_k=sequences(lengths_k))
    return Problem(q, k, v, random_gradient(q), options)


def sequences(lengths: list[int]) -> Sequences:
    """Where sequences of these lengths begin."""
    offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return Sequences(offsets=offsets, longest=max(lengths))


def some_plan(batch: int, heads: int, seqlen_q: int, seqlen_k: int) -> MaskPlan:
    """Empty, full and partial tiles, rows that see nothing and keys that nobody sees; another for each head."""
    generator = torch.Generator().manual_seed(7)
    tiles_q, tiles_k = -(-seqlen_q // 64), -(-seqlen_k // 64)
    kinds = torch.randint(3, (batch, heads, tiles_q, tiles_k), generator=generator)
    kinds = kinds.repeat_interleave(64, 2).repeat_interleave(64, 3)[..., :seqlen_q, :seqlen_k]
    visible = (kinds == 1) | (kinds == 2) & (torch.rand(kinds.shape, generator=generator) < 0.5)
    visible[..., min(3, seqlen_q - 1), :] = False
    visible[..., :, seqlen_k // 2] = False
    return masks.from_tensor(visible)


def slopes(heads: int) -> torch.Tensor:
    """ALiBi's own for a number of heads that is a power of two."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)


# What a mask is for (head_dim, batch, heads_q, seqlen_q, seqlen_k), by name.
MASKS: dict[str, Callable[..., AttentionOptions]] = {
    "full": lambda d, *_: scaled(d),
    "causal": lambda d, *_: scaled(d, window_right=0),
    "window": lambda d, *_: scaled(d, window_left=70, window_right=9),
    "right": lambda d, *_: scaled(d, window_left=0),
    "plan": lambda d, *extents: scaled(d, plan=some_plan(*extents)),
    "softcap": lambda d, *_: scaled(d, softcap=2.0, window_right=0),
    "alibi": lambda d, _batch, heads, *_: scaled(d, alibi_slopes=slopes(heads), window_left=90),
    "any-plan": lambda d, *extents: scaled(
        d, softcap=1.5, alibi_slopes=slopes(extents[1]).repeat(extents[0], 1), plan=some_plan(*extents)
    ),
}
MASK_NAMES = pytest.mark.parametrize("mask", list(MASKS))


def masked(dtype: torch.dtype, shape: tuple[int, int, int, int, int, int], mask: str) -> Problem:
    """A dense problem under one of :data:`MASKS`."""
    batch, heads_q, _, seqlen_q, seqlen_k, head_dim = shape
    return dense(dtype, shape, MASKS[mask](head_dim, batch, heads_q, seqlen_q, seqlen_k))
