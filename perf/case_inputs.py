"""Random tensors of a case, and its masks as the kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from kernels.attention_inputs import sequences_from_lengths
from kernels.attention_params import AttentionOptions
from kernels.masks import from_tensor
from perf.irregular import dense_mask, sequence_lengths
from perf.model import Case, Device, DType, MaskKind, Operation

TORCH_DTYPES = {DType.BF16: torch.bfloat16, DType.FP16: torch.float16, DType.FP32: torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Random tensors of a case, normal with unit variance, and what else decides the scores.

    With ``varlen`` the sequences lie end to end, [total, heads, head_dim] in place of the shapes below.
    """

    q: torch.Tensor  # [batch, heads_q, seqlen_q, head_dim]
    k: torch.Tensor  # [batch, heads_kv, seqlen_k, head_dim]
    v: torch.Tensor  # like k
    d_o: torch.Tensor | None  # like q; None forward
    options: AttentionOptions


def make_inputs(case: Case, device: Device, seed: int = 0) -> Inputs:
    """The same tensors for the same case and seed on every run of one torch version."""
    generator = torch.Generator(device.value).manual_seed(seed)
    random = partial(torch.randn, generator=generator, device=device.value, dtype=TORCH_DTYPES[case.dtype])
    q_shape: tuple[int, ...] = (case.batch, case.heads_q, case.seqlen_q, case.head_dim)
    k_shape: tuple[int, ...] = (case.batch, case.heads_kv, case.seqlen_k, case.head_dim)
    if case.varlen:
        total_q, total_k = (sum(lengths) for lengths in zip(*sequence_lengths(case), strict=True))
        q_shape, k_shape = (total_q, case.heads_q, case.head_dim), (total_k, case.heads_kv, case.head_dim)
    q, k, v = random(*q_shape), random(*k_shape), random(*k_shape)
    d_o = random(*q_shape) if case.operation is Operation.ATTENTION_BWD else None
    return Inputs(q=q, k=k, v=v, d_o=d_o, options=_options(case, device))


def _options(case: Case, device: Device) -> AttentionOptions:
    left, right = case.mask.window
    lengths = list(zip(*sequence_lengths(case), strict=True)) if case.varlen else None
    return AttentionOptions(
        scale=case.head_dim**-0.5,
        window_left=left,
        window_right=right,
        softcap=case.softcap,
        alibi_slopes=alibi_slopes(case.heads_q, device) if case.alibi else None,
        plan=from_tensor(torch_mask(case, device)) if case.mask.is_planned else None,
        sequences_q=sequences_from_lengths(lengths[0], device.value) if lengths else None,
        sequences_k=sequences_from_lengths(lengths[1], device.value) if lengths else None,
    )


def alibi_slopes(heads: int, device: Device) -> torch.Tensor:
    """float32 [heads]: 2^(-8 (h + 1) / heads), as Press, Smith and Lewis (2022), "Train short, test long", choose."""
    return torch.tensor([2 ** (-8 * (head + 1) / heads) for head in range(heads)], device=device.value)


def torch_mask(case: Case, device: Device) -> torch.Tensor:
    """Bool [seqlen_q, seqlen_k], true where a query sees a key, or [batch, 1, ...] where each entry has its own.

    Of sequences of different lengths it hides what lies past the end of a sequence too.
    """
    if not case.varlen and case.mask.kind is not MaskKind.DOCUMENT:
        return torch.from_numpy(np.ascontiguousarray(dense_mask(case, 0))).to(device.value)
    masks = np.zeros((case.batch, 1, case.seqlen_q, case.seqlen_k), dtype=np.bool_)
    for entry, (length_q, length_k) in enumerate(sequence_lengths(case)):
        masks[entry, 0, :length_q, :length_k] = dense_mask(case, entry)
    return torch.from_numpy(masks).to(device.value)
