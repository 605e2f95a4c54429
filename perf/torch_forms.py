"""The ways to spell a case in torch: one call of ``scaled_dot_product_attention``, or the formula in torch's ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from perf.case_inputs import Inputs, torch_mask
from perf.model import CAUSAL, FULL, Case, Device

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to compute a case, in a layout of its own that was made beforehand.

    ``leaves`` are as many tensors of Q as of K and of V, in this order; ``outputs`` and ``d_o`` are like those of Q.
    """

    leaves: Tensors
    d_o: Tensors  # none forward
    outputs: Callable[[Tensors], Tensors]  # of the leaves
    like_q: Callable[[Tensors], torch.Tensor]  # O, or the gradients of the leaves of Q, in the layout of the case
    like_k: Callable[[Tensors], torch.Tensor]


def dense_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """A case without sequences: one call of SDPA, or the formula where SDPA has none."""
    return _form(inputs, eager(case, device, inputs) if case.softcap else _sdpa(case, device, inputs))


def eager_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """The formula spelt out, of a case without sequences."""
    return _form(inputs, eager(case, device, inputs))


def _form(inputs: Inputs, attention: Callable[[Tensors], Tensors]) -> Form:
    return Form(
        leaves=(inputs.q, inputs.k, inputs.v),
        d_o=() if inputs.d_o is None else (inputs.d_o,),
        outputs=attention,
        like_q=_only,
        like_k=_only,
    )


def _only(tensors: Tensors) -> torch.Tensor:
    (tensor,) = tensors
    return tensor


def _sdpa(case: Case, device: Device, inputs: Inputs) -> Callable[[Tensors], Tensors]:
    is_causal = case.mask == CAUSAL and case.seqlen_q == case.seqlen_k and not case.alibi
    mask = None if is_causal else _sdpa_mask(case, device, inputs)

    def call(leaves: Tensors) -> Tensors:
        q, k, v = leaves
        is_grouped = case.heads_q != case.heads_kv
        return (scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=is_grouped),)

    return call


def _sdpa_mask(case: Case, device: Device, inputs: Inputs) -> torch.Tensor | None:
    """Made beforehand, as a model makes it once for all its layers."""
    if case.alibi:
        return _bias(case, device, inputs).to(inputs.q.dtype)
    if case.mask == FULL:
        return None
    if case.mask == CAUSAL and device is Device.CUDA:
        # is_causal aligns to the top left. The bias object reaches the flash kernel without a materialised mask; on
        # the host it does not.
        return causal_lower_right(case.seqlen_q, case.seqlen_k)
    return torch_mask(case, device)


def eager(case: Case, device: Device, inputs: Inputs) -> Callable[[Tensors], Tensors]:
    """The formula in torch's ops: products in the type of the tensors, softmax in float32.

    So models compute it that find no kernel for their softcap.
    """
    bias = None if case.mask == FULL and not case.alibi else _bias(case, device, inputs)
    group = case.heads_q // case.heads_kv

    def call(leaves: Tensors) -> Tensors:
        q, k, v = leaves
        scores = (q @ k.repeat_interleave(group, dim=1).transpose(-1, -2)).float() * inputs.options.scale
        if case.softcap:
            scores = torch.tanh(scores / case.softcap) * case.softcap
        if bias is not None:
            scores = scores + bias
        weights = torch.softmax(scores, dim=-1).to(q.dtype)
        return (weights @ v.repeat_interleave(group, dim=1),)

    return call


def _bias(case: Case, device: Device, inputs: Inputs) -> torch.Tensor:
    """float32, added to the scores, [seqlen_q, seqlen_k] or [batch or 1, heads, seqlen_q, seqlen_k].

    -inf for what is hidden, and ALiBi's slopes.
    """
    visible = torch_mask(case, device)
    bias = torch.zeros(visible.shape, device=device.value).masked_fill_(~visible, -torch.inf)
    slopes = inputs.options.alibi_slopes
    if slopes is None:
        return bias
    keys, queries = (torch.arange(length, device=device.value) for length in (case.seqlen_k, case.seqlen_q))
    distance = (queries[:, None] + case.seqlen_k - case.seqlen_q - keys).abs()
    # Four dimensions, for with three torch has no fast kernel.
    return (bias if bias.dim() == 4 else bias[None, None]) - slopes[:, None, None] * distance
