"""The inputs of an attention case for the simulator, on the host: made, and made unusual."""

from __future__ import annotations

from collections.abc import Sequence as Lengths
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate

import numpy as np
import torch

from kernels import masks, reference
from kernels.attention_params import AttentionOptions, Sequences
from kernels.errors import RoofgateError
from perf.irregular import dense_mask, sequence_lengths
from perf.model import Case, DType

DTYPES = {DType.BF16: torch.bfloat16, DType.FP16: torch.float16}

# Q is multiplied by 2^7, which bf16 and fp16 keep exactly. Scores then lie hundreds apart: whoever subtracts anything
# but the row's maximum before exponentiating gets infinities.
_LARGER = 2.0**7


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionInputs:
    """What a call reads; nobody writes it. With sequences a tensor is [total, heads, head_dim]."""

    q: torch.Tensor  # [batch, heads_q, seqlen_q, head_dim]
    k: torch.Tensor  # [batch, heads_kv, seqlen_k, head_dim]
    v: torch.Tensor  # like k
    d_o: torch.Tensor  # like q: the gradient of O, of which the forward pass knows nothing
    options: AttentionOptions

    @cached_property
    def answer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """O in the type of Q and LSE in float32: the right ones, rounded. The backward pass starts from them."""
        o, lse = reference.attention(self.q, self.k, self.v, self.options)
        return o.to(self.q.dtype), lse.float()


@lru_cache(maxsize=32)
def make_inputs(case: Case, seed: int = 0) -> AttentionInputs:
    """Normal random tensors of unit variance, equal for equal seeds, and the options of ``case``.

    Kept, with all that follows from them: a case runs on several architectures, and as hundreds of mutants.

    Raises :class:`RoofgateError` for a type that no CUDA kernel takes.
    """
    if case.dtype not in DTYPES:
        raise RoofgateError(f"{case.name}: no CUDA kernel takes {case.dtype.key}; expected bf16 or fp16")
    random = np.random.default_rng(seed)
    lengths_q, lengths_k = zip(*sequence_lengths(case), strict=True)

    def tensor(heads: int, lengths: Lengths[int]) -> torch.Tensor:
        positions = (sum(lengths), heads) if case.varlen else (case.batch, heads, lengths[0])
        values = random.standard_normal((*positions, case.head_dim), dtype=np.float32)
        return torch.from_numpy(values).to(DTYPES[case.dtype])

    return AttentionInputs(
        q=tensor(case.heads_q, lengths_q),
        k=tensor(case.heads_kv, lengths_k),
        v=tensor(case.heads_kv, lengths_k),
        d_o=tensor(case.heads_q, lengths_q),
        options=_options(case, lengths_q, lengths_k),
    )


def _options(case: Case, lengths_q: Lengths[int], lengths_k: Lengths[int]) -> AttentionOptions:
    left, right = case.mask.window
    return AttentionOptions(
        scale=case.head_dim**-0.5,
        window_left=left,
        window_right=right,
        softcap=case.softcap,
        alibi_slopes=_slopes(case.heads_q) if case.alibi else None,
        plan=_plan(case) if case.mask.is_planned else None,
        sequences_q=_sequences(lengths_q) if case.varlen else None,
        sequences_k=_sequences(lengths_k) if case.varlen else None,
    )


def _slopes(heads: int) -> torch.Tensor:
    """Of a geometric series, 2^-8 at its end, float32 [heads] (Press et al., 2022, arXiv 2108.12409)."""
    return torch.exp2(-8.0 * torch.arange(1, heads + 1, dtype=torch.float32) / heads)


def _plan(case: Case) -> masks.MaskPlan:
    entries = [torch.from_numpy(dense_mask(case, entry)) for entry in range(case.batch)]
    return masks.from_tensor(torch.stack(entries)[:, None])


def _sequences(lengths: Lengths[int]) -> Sequences:
    offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return Sequences(offsets=offsets, longest=max(lengths))


def with_heads_inside(inputs: AttentionInputs) -> AttentionInputs:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it. Not for sequences, which are like that."""
    names = ("q", "k", "v", "d_o")
    tensors = {name: getattr(inputs, name).transpose(1, 2).contiguous().transpose(1, 2) for name in names}
    return replace(inputs, **tensors)


def with_large_scores(inputs: AttentionInputs) -> AttentionInputs:
    """Scores that lie hundreds apart."""
    return replace(inputs, q=inputs.q * _LARGER)


def without_queries(inputs: AttentionInputs) -> AttentionInputs:
    """No query at all: the gradients of keys and values are zero. Neither for sequences nor for plans."""
    return replace(inputs, q=inputs.q[:, :, :0], d_o=inputs.d_o[:, :, :0])


def without_keys(inputs: AttentionInputs) -> AttentionInputs:
    """No key at all. Neither for sequences nor for plans."""
    return replace(inputs, k=inputs.k[:, :, :0], v=inputs.v[:, :, :0])
