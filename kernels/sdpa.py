"""Our kernels where code calls ``torch.nn.functional.scaled_dot_product_attention``, with torch's meaning throughout.

Either call :func:`scaled_dot_product_attention` in its place, or leave the model's code alone::

    with roofgate_attention():
        loss = model(x)

What no kernel takes is an error that says so, not a silent return to torch's kernels; ``fallback=True`` asks for
torch's and counts how often it was needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from kernels import masks, ops
from kernels.attention_inputs import UnsupportedInputError, has_loadable_strides
from kernels.masks import MaskPlan


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | MaskPlan | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What torch's function of this name computes, by our kernels, with gradients of query, key and value.

    Args:
        query: [..., heads_q, seqlen_q, head_dim] with at most one dimension before the heads; types and head_dim as in
            :func:`kernels.ops.attention`. Tensors that the kernels cannot read as they lie are copied.
        key: [..., heads_kv, seqlen_k, head_dim].
        value: like ``key``.
        attn_mask: bool that broadcasts to [..., heads_q, seqlen_q, seqlen_k], true where a key is seen; or a float mask
            of 0 and -inf alone, as ``nn.MultiheadAttention`` makes of boolean ones; or a :class:`MaskPlan`, which is
            made once for many layers, where tensors are made into one in each call.
        dropout_p: 0, for no kernel drops anything.
        is_causal: aligned to the top left, as torch does it; then no ``attn_mask``.
        scale: of the scores; 1 / sqrt(head_dim) by default.
        enable_gqa: whether there may be fewer heads of key and value.

    Returns:
        [..., heads_q, seqlen_q, head_dim]. Rows without a visible key are zero.

    Raises:
        UnsupportedInputError: no kernel takes this.
    """
    if dropout_p > 0:
        raise UnsupportedInputError(
            f"dropout_p is {dropout_p}; expected 0: the kernels are without dropout by design, so build the model with "
            "dropout 0 in attention, or call eval()"
        )
    if attn_mask is not None and is_causal:
        raise UnsupportedInputError("attn_mask and is_causal exclude each other; put the causal mask into attn_mask")
    q, k, v = (_with_four_dimensions(name, x) for name, x in (("query", query), ("key", key), ("value", value)))
    if not enable_gqa and q.shape[1] != k.shape[1]:
        raise UnsupportedInputError(
            f"query has {q.shape[1]} heads and key {k.shape[1]}; expected equal numbers, or enable_gqa=True"
        )
    window = None
    if is_causal:
        k, v, window = _top_left(q, k, v)
    mask = _plan_of(attn_mask, q, k) if isinstance(attn_mask, torch.Tensor) else attn_mask
    o = ops.attention(q, k, v, window=window, mask=mask, scale=scale)
    return o.view(query.shape)


@dataclass
class AttentionUse:
    """What happened inside of :func:`roofgate_attention`."""

    calls: int = 0  # that our kernels answered
    fallbacks: Counter[str] = field(default_factory=Counter)  # that torch's answered, by the reason


@contextmanager
def roofgate_attention(*, fallback: bool = False) -> Iterator[AttentionUse]:
    """Make ``torch.nn.functional.scaled_dot_product_attention`` ours, for every thread, until the context ends.

    It reaches what looks the function up when it calls it: ``functional.scaled_dot_product_attention(...)``,
    ``nn.MultiheadAttention`` with ``need_weights=False``, ``nn.TransformerEncoderLayer`` and
    ``nn.TransformerDecoderLayer``, whose fused inference kernels are off meanwhile. A name bound by
    ``from torch.nn.functional import scaled_dot_product_attention`` beforehand stays torch's. A compiled model keeps
    what it was compiled with: compile and call it inside.

    Args:
        fallback: let torch's kernels answer what ours do not take.

    Yields:
        The counts of calls, up to date at any time.

    Raises:
        UnsupportedInputError: from within the model, for what no kernel takes, unless ``fallback``.
    """
    use = AttentionUse()
    theirs = functional.scaled_dot_product_attention

    def ours(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - torch's arguments, handed on
        try:
            answer = scaled_dot_product_attention(*args, **kwargs)
        except UnsupportedInputError as error:
            if not fallback:
                raise
            use.fallbacks[str(error)] += 1
            return theirs(*args, **kwargs)
        use.calls += 1
        return answer

    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    functional.scaled_dot_product_attention = ours
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield use
    finally:
        functional.scaled_dot_product_attention = theirs
        torch.backends.mha.set_fastpath_enabled(had_fast_path)


def _with_four_dimensions(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """[batch, heads, seqlen, head_dim], with rows that a kernel can read."""
    if not 2 <= tensor.dim() <= 4:
        raise UnsupportedInputError(
            f"{name} has shape {tuple(tensor.shape)}; expected [batch, heads, seqlen, head_dim], or without the first "
            "one or two"
        )
    four = tensor[(None,) * (4 - tensor.dim())]
    return four if has_loadable_strides(four) else four.contiguous()


def _top_left(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[None, int]]:
    """Keys, values and window of a causal mask that begins at the top left, where ours end at the bottom right."""
    surplus = q.shape[2] - k.shape[2]
    if surplus < 0:  # nobody sees the last keys
        return k[:, :, :surplus], v[:, :, :surplus], (None, 0)
    return k, v, (None, surplus)


def _plan_of(attn_mask: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> MaskPlan:
    if attn_mask.device != q.device:
        raise UnsupportedInputError(f"attn_mask is on {attn_mask.device}; expected {q.device}, like query")
    visible = attn_mask if attn_mask.dtype == torch.bool else _visible_of(attn_mask)
    full = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    extents = (1,) * (4 - visible.dim()) + tuple(visible.shape)
    if len(extents) != 4 or any(extent not in (1, wanted) for extent, wanted in zip(extents, full, strict=True)):
        raise UnsupportedInputError(
            f"attn_mask has shape {tuple(attn_mask.shape)}; expected one that broadcasts to {list(full)}"
        )
    visible = visible.view(extents).expand(*extents[:2], *full[2:])
    for axis in (0, 1):
        if visible.stride(axis) == 0:  # an expanded view: the same for all
            visible = visible.narrow(axis, 0, min(1, visible.shape[axis]))
    return masks.from_tensor(visible)


def _visible_of(attn_mask: torch.Tensor) -> torch.Tensor:
    """What a float mask lets a query see. Looks at its values, and so waits for the GPU."""
    if not attn_mask.is_floating_point() or attn_mask.requires_grad:
        learned = " and requires a gradient" if attn_mask.requires_grad else ""
        raise UnsupportedInputError(
            f"attn_mask is {attn_mask.dtype}{learned}; expected torch.bool, or a constant float mask of 0 and -inf"
        )
    visible = attn_mask == 0
    if not bool((visible | (attn_mask == -torch.inf)).all()):
        raise UnsupportedInputError(
            "attn_mask adds other values than 0 and -inf; expected a mask: of biases, the kernels have ALiBi alone "
            "(kernels.ops.attention)"
        )
    return visible
