"""Attention for models: the kernels as torch ops with autograd, for host and CUDA tensors.

``roofgate::attention_fwd`` and ``roofgate::attention_bwd`` take every option as a plain argument, so that tracing sees
through to the tensors. Dropout is not among them, by design: no kernel has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from kernels.attention_inputs import (
    UnsupportedInputError,
    check_attention_inputs,
    check_gradient_of_o,
    check_gradients,
    has_loadable_strides,
)
from kernels.attention_params import (
    AttentionOptions,
    Gradients,
    Sequences,
    backward_params,
    forward_params,
    launch_backward,
    launch_forward,
)
from kernels.interface import Library
from kernels.library import cuda_library, host_library
from kernels.masks import MaskPlan

Window = tuple[int | None, int | None]


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = False,
    window: Window | None = None,
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    mask: MaskPlan | None = None,
    scale: float | None = None,
    deterministic: bool = False,
) -> torch.Tensor:
    """Softmax attention: ``softmax(modified(scale * Q K^T) + mask) V``, with gradients of Q, K and V.

    Like ``torch.nn.functional.scaled_dot_product_attention``, with two differences: a causal mask is aligned to the
    bottom right when the lengths differ (the last query sees every key, as decoding needs), and grouped heads need no
    flag. :func:`kernels.sdpa.scaled_dot_product_attention` has torch's meaning throughout. Under autocast, Q, K and V
    become the autocast dtype, as for torch's.

    Args:
        q: [batch, heads_q, seqlen_q, head_dim], any strides as long as head_dim is contiguous. bf16 or fp32 with
            head_dim a multiple of 16 up to 256 on the host; bf16 or fp16 with head_dim 64, 128, or without gradients
            256, on CUDA.
        k: [batch, heads_kv, seqlen_k, head_dim]; heads_q is a multiple of heads_kv.
        v: like ``k``.
        causal: hide keys behind the diagonal.
        window: (left, right): hide keys more than so many positions before or behind the query's own, which is aligned
            to the bottom right; None is no bound.
        softcap: above 0, scores become ``softcap * tanh(score / softcap)``, before ALiBi and mask.
        alibi_slopes: float32 [heads_q] or [batch, heads_q]; adds -slope * distance to the scores.
        mask: any other mask, from :mod:`kernels.masks`; then neither ``causal`` nor ``window``.
        scale: of the scores; 1 / sqrt(head_dim) by default.
        deterministic: equal calls give equal gradients, to the bit, on CUDA too; so do they all under
            ``torch.use_deterministic_algorithms``.

    Returns:
        O, like Q. Rows without a visible key are zero, and so are their gradients.

    Raises:
        UnsupportedInputError: no kernel takes this dtype, shape, device, stride or combination.
    """
    q, k, v = _cast_for_autocast(q, k, v)
    _check_autograd(q, k, v, alibi_slopes)
    if mask is not None and q.dim() == 4 and (mask.seqlen_q, mask.seqlen_k) != (q.shape[2], k.shape[2]):
        raise UnsupportedInputError(
            f"mask is for {mask.seqlen_q} queries and {mask.seqlen_k} keys; q has {q.shape[2]} and k {k.shape[2]}"
        )
    left, right = _bounds(causal, window, _length(q), _length(k))
    if mask is not None and (causal or window is not None):
        raise UnsupportedInputError("mask excludes causal and window; put them into the mask")
    o: torch.Tensor = attention_fwd(
        q, k, v, _scale(q, scale), left, right, softcap, alibi_slopes, _plan_tensors(mask), (), 0, 0, deterministic
    )[0]
    return o


def attention_varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences_q: Sequences,
    sequences_k: Sequences | None = None,
    *,
    causal: bool = False,
    window: Window | None = None,
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    scale: float | None = None,
    deterministic: bool = False,
) -> torch.Tensor:
    """:func:`attention` of a batch of sequences of different lengths that lie end to end, without padding.

    Args:
        q: [total_q, heads_q, head_dim].
        k: [total_k, heads_kv, head_dim].
        v: like ``k``.
        sequences_q: where each sequence lies, from :func:`kernels.attention_inputs.sequences_from_lengths` or
            ``sequences_from_offsets``.
        sequences_k: of the keys, if they differ.
        causal: as in :func:`attention`, within each sequence, like the other options.
        window: likewise.
        softcap: likewise.
        alibi_slopes: float32 [heads_q] or [sequences, heads_q].
        scale: as in :func:`attention`.
        deterministic: likewise.

    Returns:
        O, like Q.

    Raises:
        UnsupportedInputError: no kernel takes these inputs, or the sequences do not belong to them.
    """
    q, k, v = _cast_for_autocast(q, k, v)
    _check_autograd(q, k, v, alibi_slopes)
    sequences_k = sequences_q if sequences_k is None else sequences_k
    for name, tensor, sequences in (("q", q, sequences_q), ("k", k, sequences_k)):
        if sequences.total != tensor.shape[0]:
            raise UnsupportedInputError(
                f"{name} has {tensor.shape[0]} positions, but its sequences were checked for {sequences.total}; make "
                "them with kernels.attention_inputs for this tensor"
            )
    left, right = _bounds(causal, window, sequences_q.longest, sequences_k.longest)
    offsets = (sequences_q.offsets, sequences_k.offsets)
    longest = (sequences_q.longest, sequences_k.longest)
    o: torch.Tensor = attention_fwd(
        q, k, v, _scale(q, scale), left, right, softcap, alibi_slopes, (), offsets, *longest, deterministic
    )[0]
    return o


@torch.library.custom_op("roofgate::attention_fwd", mutates_args=())
def attention_fwd(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    window_left: int,
    window_right: int,
    softcap: float,
    alibi_slopes: torch.Tensor | None,
    plan: Sequence[torch.Tensor],
    offsets: Sequence[torch.Tensor],
    longest_q: int,
    longest_k: int,
    deterministic: bool,  # noqa: ARG001 - for the backward pass
) -> tuple[torch.Tensor, torch.Tensor]:
    """O and the float32 log-sum-exp [batch, heads_q, seqlen_q], or [heads_q, total_q] with sequences.

    Args:
        q: as in :func:`attention` or :func:`attention_varlen`.
        k: likewise.
        v: likewise.
        scale: as in ``struct roofgate_attention_problem``.
        window_left: likewise.
        window_right: likewise.
        softcap: likewise.
        alibi_slopes: likewise.
        plan: the tensors of a :class:`MaskPlan` in their order, or none.
        offsets: of the sequences of Q and of K, or none. Nobody looks at their values here.
        longest_q: the greatest length of a sequence of Q.
        longest_k: likewise of K.
        deterministic: of the backward pass.
    """
    options = _options(
        q, k, scale, window_left, window_right, softcap, alibi_slopes, plan, offsets, longest_q, longest_k
    )
    check_attention_inputs(q, k, v, options)
    o, lse = _outputs(q)
    launch_forward(library_for(q), forward_params(q, k, v, o, lse, options), q.device)
    return o, lse


@attention_fwd.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *options: Any,  # noqa: ANN401 - the op's other arguments
) -> tuple[torch.Tensor, torch.Tensor]:
    check_attention_inputs(q, k, v, _options(q, k, *options[:-1]))
    return _outputs(q)


@torch.library.custom_op("roofgate::attention_bwd", mutates_args=())
def attention_bwd(
    d_o: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    scale: float,
    window_left: int,
    window_right: int,
    softcap: float,
    alibi_slopes: torch.Tensor | None,
    plan: Sequence[torch.Tensor],
    offsets: Sequence[torch.Tensor],
    longest_q: int,
    longest_k: int,
    deterministic: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """DQ, dK and dV for the gradient ``d_o`` of O, like Q, K and V; see :func:`attention_fwd` for the arguments."""
    options = _options(
        q, k, scale, window_left, window_right, softcap, alibi_slopes, plan, offsets, longest_q, longest_k
    )
    check_attention_inputs(q, k, v, options)
    check_gradient_of_o(d_o, o)
    check_gradients(q)
    d_o = d_o if has_loadable_strides(d_o) else d_o.contiguous()  # that of a sum is one number, expanded
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    tensors = Gradients(o=o, d_o=d_o, lse=lse, dq=dq, dk=dk, dv=dv)
    params = backward_params(q, k, v, tensors, options, deterministic=deterministic)
    launch_backward(library_for(q), params, q.device)
    return dq, dk, dv


@attention_bwd.register_fake
def _(
    d_o: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,  # noqa: ARG001 - the fake kernel has the op's signature
    *options: Any,  # noqa: ANN401 - the op's other arguments
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    check_attention_inputs(q, k, v, _options(q, k, *options[:-1]))
    check_gradient_of_o(d_o, o)
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _save_for_backward(
    ctx: Any,  # noqa: ANN401 - torch's, which takes any attribute
    inputs: tuple[Any, ...],
    output: tuple[torch.Tensor, torch.Tensor],
) -> None:
    q, k, v, *numbers, alibi_slopes, plan, offsets, longest_q, longest_k, deterministic = inputs
    o, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, k, v, o, lse, alibi_slopes, *plan, *offsets)
    ctx.numbers = numbers
    ctx.plan_tensors = len(plan)
    ctx.longest = longest_q, longest_k
    ctx.deterministic = deterministic


def _backward(
    ctx: Any,  # noqa: ANN401 - torch's
    d_o: torch.Tensor,
    _: torch.Tensor | None,
) -> tuple[Any, ...]:
    q, k, v, o, lse, alibi_slopes, *rest = ctx.saved_tensors
    plan, offsets = rest[: ctx.plan_tensors], rest[ctx.plan_tensors :]
    deterministic = ctx.deterministic or torch.are_deterministic_algorithms_enabled()
    gradients = attention_bwd(
        d_o, q, k, v, o, lse, *ctx.numbers, alibi_slopes, plan, offsets, *ctx.longest, deterministic
    )
    return *gradients, None, None, None, None, None, [None] * len(plan), [None] * len(offsets), None, None, None


def _no_second_derivative(ctx: object, *gradients: torch.Tensor) -> None:
    raise NotImplementedError(
        "roofgate::attention_bwd has no derivative of its own: second derivatives need "
        "torch.nn.functional.scaled_dot_product_attention with the math backend"
    )


attention_fwd.register_autograd(_backward, setup_context=_save_for_backward)
attention_bwd.register_autograd(_no_second_derivative)


def library_for(q: torch.Tensor) -> Library:
    """The present build's library for the device of ``q``."""
    if q.device.type == "cuda":
        return cuda_library(*torch.cuda.get_device_capability(q.device))
    return host_library()


def _cast_for_autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What torch's own attention does under autocast; a rule of the op would cast the slopes and the LSE too."""
    device = tensors[0].device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
        for tensor in tensors
    )


def _check_autograd(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alibi_slopes: torch.Tensor | None) -> None:
    tensors = (q, k, v) if alibi_slopes is None else (q, k, v, alibi_slopes)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        check_gradients(q, alibi_slopes)


def _bounds(causal: bool, window: Window | None, seqlen_q: int, seqlen_k: int) -> tuple[int, int]:
    """The window as the kernels take it: -1 where a bound hides nothing at these lengths."""
    left, right = (None, None) if window is None else window
    for name, bound in (("left", left), ("right", right)):
        if bound is not None and bound < 0:
            raise UnsupportedInputError(f"window has {bound} to the {name}; expected at least 0, or None for no bound")
    if causal:
        right = 0
    return (
        -1 if left is None or left >= seqlen_k - 1 else left,
        -1 if right is None or right >= seqlen_q - 1 else right,
    )


def _length(tensor: torch.Tensor) -> int:
    """Positions; another number of dimensions is for the checks to refuse."""
    return tensor.shape[2] if tensor.dim() == 4 else 1


def _scale(q: torch.Tensor, scale: float | None) -> float:
    if scale is not None:
        return scale
    head_dim = q.shape[-1] if q.dim() > 0 else 0
    return 1 / math.sqrt(max(head_dim, 1))  # 0 is for the checks to refuse, like other shapes


def _plan_tensors(plan: MaskPlan | None) -> tuple[torch.Tensor, ...]:
    if plan is None:
        return ()
    return plan.tiles, plan.query_bits, plan.key_bits, plan.query_order, plan.key_order


def _options(
    q: torch.Tensor,
    k: torch.Tensor,
    scale: float,
    window_left: int,
    window_right: int,
    softcap: float,
    alibi_slopes: torch.Tensor | None,
    plan: Sequence[torch.Tensor],
    offsets: Sequence[torch.Tensor],
    longest_q: int,
    longest_k: int,
) -> AttentionOptions:
    """The arguments of the ops as one structure."""
    names = ("tiles", "query_bits", "key_bits", "query_order", "key_order")
    sequences = [
        Sequences(offsets=tensor, longest=longest)
        for tensor, longest in zip(offsets, (longest_q, longest_k), strict=False)
    ]
    return AttentionOptions(
        scale=scale,
        window_left=window_left,
        window_right=window_right,
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        plan=MaskPlan(**dict(zip(names, plan, strict=True)), seqlen_q=q.shape[2], seqlen_k=k.shape[2])
        if plan
        else None,
        sequences_q=sequences[0] if sequences else None,
        sequences_k=sequences[1] if sequences else None,
    )


def _outputs(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """O like Q; a tensor of sequences has its LSE [heads_q, total_q]."""
    shape = q.shape[:3] if q.dim() == 4 else (q.shape[1], q.shape[0])
    return torch.empty_like(q), q.new_empty(shape, dtype=torch.float32)
