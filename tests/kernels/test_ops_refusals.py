"""What the ops refuse: every message says which argument, what it was, and what would be taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from kernels import masks, ops
from kernels.attention_inputs import (
    UnsupportedInputError,
    check_attention_inputs,
    check_gradients,
    sequences_from_lengths,
    sequences_from_offsets,
)
from kernels.attention_params import AttentionOptions, Sequences

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
PLAN = masks.from_tensor(torch.ones(24, 24, dtype=torch.bool))
SEQUENCES = sequences_from_lengths([10, 14])
PLAIN = AttentionOptions(scale=1.0)


def inputs() -> Inputs:
    """Q with 4 heads and 24 positions, K and V with 2 heads."""
    return torch.zeros(2, 4, 24, 32), torch.zeros(2, 2, 24, 32), torch.zeros(2, 2, 24, 32)


def flat() -> Inputs:
    """Of 24 positions of sequences."""
    return torch.zeros(24, 4, 32), torch.zeros(24, 2, 32), torch.zeros(24, 2, 32)


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values with head_dim not contiguous."""
    return tensor.transpose(2, 3).contiguous().transpose(2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), r"q has shape \(4, 24, 32\); expected \[batch, heads, seqlen, head_dim\]"),
        (lambda q, k, v: (q, k[0, 0, 0], v), r"k has shape \(32,\); expected \[batch, heads, seqlen, head_dim\]"),
        (lambda q, k, v: (q.sum(), k, v), r"q has shape \(\); expected"),
        (lambda q, k, v: (q, k[..., :16], v), "shapes do not fit together"),
        (lambda q, k, v: (q, k[:1], v[:1]), "k and v must agree with q in batch and head_dim"),
        (lambda q, k, v: (q[:, :3], k, v), "q has 3 heads, which is no multiple of the 2 heads"),
        (lambda q, k, v: (q, k[:, :0], v[:, :0]), "no multiple of the 0 heads"),
        (lambda q, k, v: (q.half(), k.half(), v.half()), "torch.float16 has no kernel on cpu; expected torch.bfloat16"),
        (lambda q, k, v: (q, k.bfloat16(), v), "must share one dtype and one device"),
        (
            lambda q, k, v: (q[..., :24], k[..., :24], v[..., :24]),
            "head_dim 24 has no host kernel; expected a multiple",
        ),
        (lambda q, k, v: (q[..., :0], k[..., :0], v[..., :0]), "head_dim 0 has no host kernel"),
        (lambda q, k, v: (strided(q), k, v), r"head_dim must be contiguous: call q.contiguous\(\)"),
        (lambda q, k, v: (q.to("meta"), k.to("meta"), v.to("meta")), "device 'meta' has no kernel; expected cpu or"),
    ],
)
def test_tensors_that_no_kernel_takes(change: Callable[..., Inputs], message: str) -> None:
    """The public function and the check refuse alike."""
    with pytest.raises(UnsupportedInputError, match=message):
        check_attention_inputs(*change(*inputs()), PLAIN)
    with pytest.raises(UnsupportedInputError, match=message):
        ops.attention(*change(*inputs()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": -1.0}, r"scale is -1\.0; expected a finite number that is not negative"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"softcap": -2.0}, r"softcap is -2\.0"),
        ({"softcap": float("inf")}, "softcap is inf"),
        ({"window": (-1, 3)}, "window has -1 to the left; expected at least 0, or None for no bound"),
        ({"window": (3, -5)}, "window has -5 to the right"),
        ({"alibi_slopes": torch.zeros(3)}, r"alibi_slopes is torch.float32 \(3,\) on cpu; .*\[4\] or \[2, 4\] on cpu"),
        ({"alibi_slopes": torch.zeros(4, dtype=torch.float64)}, "alibi_slopes is torch.float64"),
        ({"alibi_slopes": torch.zeros(8)[::2]}, "expected contiguous torch.float32"),
        ({"alibi_slopes": torch.zeros(4, requires_grad=True)}, "alibi_slopes requires a gradient"),
        ({"mask": PLAN, "causal": True}, "mask excludes causal and window; put them into the mask"),
        ({"mask": PLAN, "window": (1, 1)}, "mask excludes causal and window"),
        (
            {"mask": masks.from_tensor(torch.ones(24, 25, dtype=torch.bool))},
            "mask is for 24 queries and 25 keys; q has 24",
        ),
        (
            {"mask": masks.from_tensor(torch.ones(3, 1, 24, 24, dtype=torch.bool))},
            r"mask is for \[3, 1, 24, 24\]; expected .* = \[2, 4, 24, 24\], or 1 for batch or heads_q",
        ),
        ({"mask": replace(PLAN, tiles=PLAN.tiles.long())}, "mask.tiles is torch.int64"),
        ({"mask": replace(PLAN, key_bits=PLAN.key_bits[:, :5])}, r"mask.key_bits is torch.int64 \(1, 5\); expected"),
        ({"mask": replace(PLAN, tiles=PLAN.tiles.to("meta"))}, "mask is on meta"),
    ],
)
def test_options_that_no_kernel_takes(arguments: dict[str, Any], message: str) -> None:
    """Each is named with its value."""
    with pytest.raises(UnsupportedInputError, match=message):
        ops.attention(*inputs(), **arguments)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 9, 5, 24], "offsets decrease from 9 to 5 at index 2"),
        ([3, 9, 24], "offsets begin at 3; expected 0"),
        ([0, 9, 25], "offsets end at 25; expected the 24 positions"),
        ([0, 9, 20], "offsets end at 20; expected the 24 positions"),
        ([], r"offsets are torch.int32 \(0,\)"),
    ],
)
def test_offsets_that_fit_no_tensor(offsets: list[int], message: str) -> None:
    """They are looked at once, when the sequences are made."""
    with pytest.raises(UnsupportedInputError, match=message):
        sequences_from_offsets(torch.tensor(offsets, dtype=torch.int32), 24)


def test_offsets_of_another_type() -> None:
    """The kernels read 32 bits."""
    with pytest.raises(
        UnsupportedInputError, match=r"offsets are torch.int64 \(2,\); expected torch.int32 \[batch \+ 1\]"
    ):
        sequences_from_offsets(torch.tensor([0, 24]), 24)


def test_lengths_below_zero() -> None:
    """A length is named by its index."""
    with pytest.raises(UnsupportedInputError, match="length 1 of 3 is -4; expected at least 0"):
        sequences_from_lengths([2, -4, 2])


def test_lengths_beyond_32_bits() -> None:
    """Offsets are 32 bits wide."""
    with pytest.raises(UnsupportedInputError, match="the sequences have 2147483648 positions; expected at most"):
        sequences_from_lengths([2**30, 2**30])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*flat(), sequences_from_lengths([10, 15])), "q has 24 positions, but its sequences were checked for 25"),
        ((*flat(), Sequences(offsets=SEQUENCES.offsets, longest=14)), "were checked for None; make them with"),
        ((*flat(), SEQUENCES, sequences_from_lengths([24])), "q has 2 sequences and k has 1; expected equal numbers"),
        (
            (*inputs(), sequences_from_lengths([2])),
            r"q has shape \(2, 4, 24, 32\); expected \[total, heads, head_dim\]",
        ),
        ((*flat(), sequences_from_lengths([24], "meta")), "offsets of q are on meta; expected cpu, like q"),
    ],
)
def test_sequences_that_belong_to_other_tensors(arguments: tuple[Any, ...], message: str) -> None:
    """A length that is not theirs would make a kernel read beyond the tensors."""
    with pytest.raises(UnsupportedInputError, match=message):
        ops.attention_varlen(*arguments)


def test_sequences_exclude_a_mask() -> None:
    """The one combination that the C interface has no words for."""
    options = replace(PLAIN, plan=PLAN, sequences_q=SEQUENCES, sequences_k=SEQUENCES)
    with pytest.raises(UnsupportedInputError, match="mask and sequences exclude each other"):
        check_attention_inputs(*flat(), options)
    with pytest.raises(UnsupportedInputError, match="only one of q and k has sequences"):
        check_attention_inputs(*flat(), replace(PLAIN, sequences_q=SEQUENCES))


def on_cuda(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """A tensor that says it is on CUDA and holds no memory."""
    with torch._subclasses.FakeTensorMode():
        return torch.empty_strided(shape, strides, dtype=dtype, device="cuda")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (on_cuda((1, 1, 8, 96), (768, 768, 96, 1)), "head_dim 96 has no CUDA kernel; expected 64, 128 or 256"),
        (
            on_cuda((1, 1, 8, 64), (600, 600, 68, 1)),
            r"every row must start at a multiple of 16 bytes: call q.contiguous",
        ),
        (on_cuda((1, 1, 8, 64), (512, 512, 64, 1), torch.float32), "torch.float32 has no kernel on cuda"),
    ],
)
def test_what_no_cuda_kernel_takes(tensor: torch.Tensor, message: str) -> None:
    """Held without a GPU, on tensors without memory."""
    with pytest.raises(UnsupportedInputError, match=message):
        check_attention_inputs(tensor, tensor, tensor, PLAIN)


def test_gradients_of_a_head_dim_that_only_the_forward_kernel_has() -> None:
    """256 is for inference on CUDA."""
    tensor = on_cuda((1, 1, 8, 256), (2048, 2048, 256, 1))
    check_attention_inputs(tensor, tensor, tensor, PLAIN)
    with pytest.raises(
        UnsupportedInputError, match="head_dim 256 has no CUDA kernel for gradients; expected 64 or 128"
    ):
        check_gradients(tensor)


def test_second_derivatives_are_refused_clearly() -> None:
    """The error says what to use."""
    q, k, v = (torch.randn(1, 1, 8, 16, requires_grad=True) for _ in range(3))
    (first,) = torch.autograd.grad(ops.attention(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives need"):
        torch.autograd.grad(first.sum(), q)


def test_more_than_32_bits_of_elements_pass_the_check() -> None:
    """Strides are 64 bits wide; only extents have a limit."""
    tensor = torch.empty(1, 1, 1, 16).expand(3, 2**15, 2**16, 16)
    check_attention_inputs(tensor, tensor, tensor, PLAIN)
    longer = torch.empty(1, 1, 1, 16).expand(1, 1, 2**31, 16)
    with pytest.raises(UnsupportedInputError, match="seqlen_q is 2147483648; expected at most 2147483647"):
        check_attention_inputs(longer, longer, longer, PLAIN)
