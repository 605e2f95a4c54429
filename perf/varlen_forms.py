"""Ways to spell sequences of different lengths in torch, which has no single fast one for all of them.

On the host two are honest: the batch padded to its longest sequence, which computes on padding but is one call, and one
call for each sequence, which computes on nothing that is not there. On a GPU also nested tensors, whose attention is
the flash kernel for sequences of different lengths; they take no mask but the causal one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from perf.case_inputs import Inputs, torch_mask
from perf.irregular import sequence_lengths
from perf.model import CAUSAL, Case, Device
from perf.torch_forms import Form, Tensors, dense_form


def padded_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """All sequences in one call, each padded at its end to the longest one that there may be.

    A causal mask hides what lies past the end of a sequence from all that lie in it; any other needs a mask for that.
    """
    lengths_q, lengths_k = _lengths(case)
    is_causal = case.mask == CAUSAL and lengths_q == lengths_k
    mask = None if is_causal else _without_empty_rows(torch_mask(case, device))

    def attention(leaves: Tensors) -> Tensors:
        q, k, v = leaves
        is_grouped = case.heads_q != case.heads_kv
        return (scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=is_grouped),)

    return Form(
        leaves=(
            _padded(inputs.q, lengths_q, case.seqlen_q),
            _padded(inputs.k, lengths_k, case.seqlen_k),
            _padded(inputs.v, lengths_k, case.seqlen_k),
        ),
        d_o=() if inputs.d_o is None else (_padded(inputs.d_o, lengths_q, case.seqlen_q),),
        outputs=attention,
        like_q=lambda tensors: _packed(tensors[0], lengths_q),
        like_k=lambda tensors: _packed(tensors[0], lengths_k),
    )


def loop_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """One call for each sequence, on the tensors as they lie."""
    lengths_q, lengths_k = _lengths(case)
    slices = [_slices(tensor, lengths) for tensor, lengths in ((inputs.q, lengths_q), (inputs.k, lengths_k))]
    slices.append(_slices(inputs.v, lengths_k))
    d_o = () if inputs.d_o is None else _slices(inputs.d_o, lengths_q)
    calls = [
        _sequence(case, device, inputs, tensors, lengths)
        for *tensors, lengths in zip(*slices, zip(lengths_q, lengths_k, strict=True), strict=True)
    ]
    count = len(calls)

    def attention(leaves: Tensors) -> Tensors:
        parts = zip(leaves[:count], leaves[count : 2 * count], leaves[2 * count :], strict=True)
        return tuple(call(part)[0] for call, part in zip(calls, parts, strict=True))

    return Form(
        leaves=tuple(tensor for group in slices for tensor in group),
        d_o=d_o,
        outputs=attention,
        like_q=_joined,
        like_k=_joined,
    )


def _sequence(
    case: Case, device: Device, inputs: Inputs, tensors: Sequence[torch.Tensor], lengths: tuple[int, int]
) -> Callable[[Tensors], Tensors]:
    alone = replace(case, batch=1, varlen=False, seqlen_q=lengths[0], seqlen_k=lengths[1])
    q, k, v = tensors
    options = replace(inputs.options, sequences_q=None, sequences_k=None)
    return dense_form(alone, device, Inputs(q=q, k=k, v=v, d_o=None, options=options)).outputs


def nested_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """Nested tensors of the jagged layout; full and causal masks alone, with as many queries as keys."""
    del device
    lengths_q, _ = _lengths(case)
    offsets = torch.tensor([0, *accumulate(lengths_q)], device=inputs.q.device)
    shortest, longest = min(lengths_q), max(lengths_q)

    def nested(values: torch.Tensor) -> torch.Tensor:
        jagged = torch.nested.nested_tensor_from_jagged(values, offsets, min_seqlen=shortest, max_seqlen=longest)
        return jagged.transpose(1, 2)

    def attention(leaves: Tensors) -> Tensors:
        q, k, v = map(nested, leaves)
        is_grouped = case.heads_q != case.heads_kv
        o = scaled_dot_product_attention(q, k, v, is_causal=case.mask == CAUSAL, enable_gqa=is_grouped)
        return (o.transpose(1, 2).values(),)

    return Form(
        leaves=(inputs.q, inputs.k, inputs.v),
        d_o=() if inputs.d_o is None else (inputs.d_o,),
        outputs=attention,
        like_q=lambda tensors: tensors[0],
        like_k=lambda tensors: tensors[0],
    )


def _lengths(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    of_q, of_k = zip(*sequence_lengths(case), strict=True)
    return of_q, of_k


def _padded(tensor: torch.Tensor, lengths: Sequence[int], longest: int) -> torch.Tensor:
    """[total, heads, head_dim] as contiguous [batch, heads, longest, head_dim], zero past the ends."""
    padded = tensor.new_zeros(len(lengths), tensor.shape[1], longest, tensor.shape[2])
    for entry, part in enumerate(torch.split(tensor, list(lengths))):
        padded[entry, :, : len(part)] = part.transpose(0, 1)
    return padded


def _packed(tensor: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    return torch.cat([tensor[entry, :, :length].transpose(0, 1) for entry, length in enumerate(lengths)])


def _slices(tensor: torch.Tensor, lengths: Sequence[int]) -> Tensors:
    """Each sequence as [1, heads, length, head_dim], a view."""
    bounds = pairwise([0, *accumulate(lengths)])
    return tuple(tensor[begin:end].transpose(0, 1)[None] for begin, end in bounds)


def _joined(tensors: Tensors) -> torch.Tensor:
    return torch.cat([tensor[0].transpose(0, 1) for tensor in tensors])


def _without_empty_rows(mask: torch.Tensor) -> torch.Tensor:
    """Rows of padding see the first key, so that no softmax is of nothing: their output is not looked at."""
    mask[..., 0] |= ~mask.any(dim=-1)
    return mask
