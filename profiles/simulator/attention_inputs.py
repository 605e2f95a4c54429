"""The inputs of an attention case for the simulator, on the host: made, kept, and made unusual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch

from kernels import reference
from kernels.attention_params import AttentionOptions
from kernels.errors import RoofgateError
from perf import case_inputs
from perf.model import Case, Device, DType

_DTYPES = (DType.BF16, DType.FP16)  # that CUDA kernels take

# Q is multiplied by 2^7, which bf16 and fp16 keep exactly. Scores then lie hundreds apart: whoever subtracts anything
# but the row's maximum before exponentiating gets infinities.
_LARGER = 2.0**7


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionInputs:
    """What a call reads; nobody writes it. With sequences a tensor is [total, heads, head_dim]."""

    q: torch.Tensor  # [batch, heads_q, seqlen_q, head_dim]
    k: torch.Tensor  # [batch, heads_kv, seqlen_k, head_dim]
    v: torch.Tensor  # like k
    d_o: torch.Tensor  # like q: the gradient of O, which the forward pass does not read
    options: AttentionOptions

    @cached_property
    def answer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """O in the type of Q and LSE in float32: the right ones, rounded. The backward pass starts from them."""
        o, lse = reference.attention(self.q, self.k, self.v, self.options)
        return o.to(self.q.dtype), lse.float()


@lru_cache(maxsize=32)
def make_inputs(case: Case, seed: int = 0) -> AttentionInputs:
    """The tensors and options that a benchmark of ``case`` has, too.

    Kept, with all that follows from them: a case runs on several architectures, and as hundreds of mutants.

    Raises :class:`RoofgateError` for a type that no CUDA kernel takes.
    """
    if case.dtype not in _DTYPES:
        raise RoofgateError(f"{case.name}: no CUDA kernel takes {case.dtype.key}; expected bf16 or fp16")
    made = case_inputs.make_inputs(case, Device.CPU, seed)
    d_o = torch.zeros_like(made.q) if made.d_o is None else made.d_o
    return AttentionInputs(q=made.q, k=made.k, v=made.v, d_o=d_o, options=made.options)


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
