"""FlexAttention, torch's compiler of attention with any mask and any change of the scores, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from perf.case_inputs import Inputs
from perf.irregular import BLOCK, document_ids, kept_blocks, sequence_lengths
from perf.model import FULL, Case, Device, MaskKind
from perf.torch_forms import Form, Tensors

# (batch, head, query, key) -> whether the query sees the key; scalars that torch traces.
Mod = Callable[[Any, Any, Any, Any], Any]


def flex_form(case: Case, device: Device, inputs: Inputs) -> Form:
    """The case with its mask as a block mask made beforehand, and compiled for its shapes alone.

    Sequences lie end to end in one batch entry, of which each query sees its own alone, as its authors advise.
    """
    torch.compiler.reset()  # after eight shapes the compiler would give up and run uncompiled
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    mask, change = _block_mask(case, device, inputs), _score_mod(case, inputs)

    def attention(leaves: Tensors) -> Tensors:
        q, k, v = map(_as_batch, leaves) if case.varlen else leaves
        is_grouped = case.heads_q != case.heads_kv
        o: Any = compiled(q, k, v, score_mod=change, block_mask=mask, enable_gqa=is_grouped)
        return (o[0].transpose(0, 1) if case.varlen else o,)

    return Form(
        leaves=(inputs.q, inputs.k, inputs.v),
        d_o=() if inputs.d_o is None else (inputs.d_o,),
        outputs=attention,
        like_q=lambda tensors: tensors[0],
        like_k=lambda tensors: tensors[0],
    )


def _as_batch(tensor: torch.Tensor) -> torch.Tensor:
    """[total, heads, head_dim] as [1, heads, total, head_dim]."""
    return tensor.transpose(0, 1)[None]


def _block_mask(case: Case, device: Device, inputs: Inputs) -> BlockMask | None:
    if case.mask == FULL and not case.varlen:
        return None
    batch = case.batch if case.mask.kind is MaskKind.DOCUMENT else None
    lengths = (inputs.q.shape[0], inputs.k.shape[0]) if case.varlen else (case.seqlen_q, case.seqlen_k)
    visible = _within_sequences(case, device) if case.varlen else _visible(case, device)
    return create_block_mask(visible, batch, None, *lengths, device=device.value)


def _visible(case: Case, device: Device) -> Mod:
    """The formulas of :class:`perf.model.MaskKind`."""
    offset, size = case.seqlen_k - case.seqlen_q, case.mask.size
    if case.mask.kind is MaskKind.WINDOW:
        return lambda _b, _h, i, j: (j <= i + offset) & (j >= i + offset - size)
    if case.mask.kind is MaskKind.PREFIX:
        return lambda _b, _h, i, j: (j <= i + offset) | (j < size)
    if case.mask.kind is MaskKind.DOCUMENT:
        ids = torch.from_numpy(document_ids(case)).to(device.value)
        # A query before the first key belongs to no document; the causal mask hides all from it.
        return lambda b, _h, i, j: (j <= i + offset) & (ids[b, (i + offset).clamp(min=0)] == ids[b, j])
    if case.mask.kind is MaskKind.BLOCKS:
        kept = torch.from_numpy(kept_blocks(case)).to(device.value)
        return lambda _b, _h, i, j: kept[i // BLOCK, j // BLOCK]
    return lambda _b, _h, i, j: j <= i + offset


def _within_sequences(case: Case, device: Device) -> Mod:
    """The same with each position's own sequence, and its query counted from the end of that."""
    of_q, of_k = zip(*sequence_lengths(case), strict=True)
    sequence_q, sequence_k = (_on(device, np.repeat(np.arange(case.batch), lengths)) for lengths in (of_q, of_k))
    begins_q, begins_k = ([0, *accumulate(lengths)][:-1] for lengths in (of_q, of_k))
    # Of query i of the packed tensor, the packed key that it stands at.
    shift = _on(device, np.array(begins_k) + np.array(of_k) - np.array(begins_q) - np.array(of_q))
    left, right = case.mask.window

    def visible(_b: Any, _h: Any, i: Any, j: Any) -> Any:  # noqa: ANN401 - scalars that torch traces
        seen = sequence_q[i] == sequence_k[j]
        distance = j - i - shift[sequence_q[i]]
        seen = seen & (distance >= -left) if left >= 0 else seen
        return seen & (distance <= right) if right >= 0 else seen

    return visible


def _on(device: Device, values: np.ndarray[Any, np.dtype[Any]]) -> torch.Tensor:
    return torch.from_numpy(values).to(device.value)


def _score_mod(case: Case, inputs: Inputs) -> Callable[[Any, Any, Any, Any, Any], Any] | None:
    """Softcap, then ALiBi, of sequences that all have as many queries as keys."""
    slopes, softcap, offset = inputs.options.alibi_slopes, case.softcap, case.seqlen_k - case.seqlen_q
    if slopes is None and not softcap:
        return None

    def change(score: Any, _b: Any, h: Any, i: Any, j: Any) -> Any:  # noqa: ANN401 - scalars that torch traces
        if softcap:
            score = softcap * torch.tanh(score / softcap)
        return score if slopes is None else score - slopes[h] * (i + offset - j).abs()

    return change
