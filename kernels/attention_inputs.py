"""What the attention kernels take: every check of their inputs, none of which waits for the GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from kernels.attention_params import AttentionOptions, Sequences
from kernels.errors import RoofgateError
from kernels.masks import TILE, MaskPlan

_DEVICE_DTYPES = {"cpu": (torch.bfloat16, torch.float32), "cuda": (torch.bfloat16, torch.float16)}
_CUDA_HEAD_DIMS = (64, 128, 256)
_CUDA_GRADIENT_HEAD_DIMS = (64, 128)
_CUDA_ROW_ALIGNMENT_BYTES = 16
_INT32_MAX = 2**31 - 1

Tensors = dict[str, torch.Tensor]


class UnsupportedInputError(RoofgateError, ValueError):
    """No kernel takes these inputs: the message says which, what it was, and what would be taken."""


def check_attention_inputs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions) -> None:
    """Raise :class:`UnsupportedInputError` unless a kernel takes these tensors with these options."""
    tensors = {"q": q, "k": k, "v": v}
    if options.sequences_q is None and options.sequences_k is None:
        _check_dense_shapes(tensors)
        batch, seqlen_q, seqlen_k = q.shape[0], q.shape[2], k.shape[2]
    else:
        batch, seqlen_q, seqlen_k = _check_sequences(tensors, options.sequences_q, options.sequences_k)
    _check_heads(q.shape[1], k.shape[1])
    _check_types(tensors)
    for name, tensor in tensors.items():
        _check_strides(name, tensor)
    _check_numbers(options)
    extents = {"batch": batch, "heads_q": q.shape[1], "seqlen_q": seqlen_q, "seqlen_k": seqlen_k}
    for name, extent in extents.items():
        if extent > _INT32_MAX:
            raise UnsupportedInputError(f"{name} is {extent}; expected at most {_INT32_MAX}")
    if options.alibi_slopes is not None:
        _check_slopes(options.alibi_slopes, q, batch)
    if options.plan is not None:
        _check_plan(options.plan, q, k, options)


def check_gradients(q: torch.Tensor, alibi_slopes: torch.Tensor | None = None) -> None:
    """Raise :class:`UnsupportedInputError` unless there is a backward kernel for inputs like ``q``."""
    head_dim = q.shape[-1]
    if q.device.type == "cuda" and head_dim not in _CUDA_GRADIENT_HEAD_DIMS:
        raise UnsupportedInputError(
            f"head_dim {head_dim} has no CUDA kernel for gradients; expected 64 or 128, or a call under torch.no_grad()"
        )
    if alibi_slopes is not None and alibi_slopes.requires_grad:
        raise UnsupportedInputError("alibi_slopes requires a gradient, which no kernel computes; detach it")


def check_gradient_of_o(d_o: torch.Tensor, o: torch.Tensor) -> None:
    """Raise :class:`UnsupportedInputError` unless ``d_o`` has the shape, dtype and device of ``o``."""
    if d_o.shape != o.shape or d_o.dtype != o.dtype or d_o.device != o.device:
        raise UnsupportedInputError(
            f"the gradient of o is {tuple(d_o.shape)} {d_o.dtype} on {d_o.device}; "
            f"expected {tuple(o.shape)} {o.dtype} on {o.device}"
        )


def has_loadable_strides(tensor: torch.Tensor) -> bool:
    """Whether the kernels of its device read and write it as it lies: head_dim contiguous, rows aligned on CUDA."""
    return tensor.stride(-1) == 1 and (tensor.device.type != "cuda" or _has_aligned_rows(tensor))


def sequences_from_lengths(lengths: Sequence[int], device: torch.device | str = "cpu") -> Sequences:
    """Sequences end to end, from the length of each.

    Raises:
        UnsupportedInputError: a length is negative, or they do not fit into 32 bits together.
    """
    offsets = [0]
    for index, length in enumerate(lengths):
        if length < 0:
            raise UnsupportedInputError(f"length {index} of {len(lengths)} is {length}; expected at least 0")
        offsets.append(offsets[-1] + length)
    if offsets[-1] > _INT32_MAX:
        raise UnsupportedInputError(f"the sequences have {offsets[-1]} positions; expected at most {_INT32_MAX}")
    tensor = torch.tensor(offsets, dtype=torch.int32, device=device)
    return Sequences(offsets=tensor, longest=max(lengths, default=0), total=offsets[-1])


def sequences_from_offsets(offsets: torch.Tensor, total: int) -> Sequences:
    """Sequences end to end, from the positions where each begins and the last one ends, as ``cu_seqlens`` are given.

    The one place that reads the offsets, and so waits for the GPU: call it once per batch, not per layer.

    Args:
        offsets: int32 [batch + 1], from 0 up to ``total``.
        total: positions of the tensors that they belong to.

    Raises:
        UnsupportedInputError: another shape or dtype; they decrease, do not begin at 0, or do not end at ``total``.
    """
    if offsets.dtype != torch.int32 or offsets.dim() != 1 or len(offsets) == 0:
        raise UnsupportedInputError(
            f"offsets are {offsets.dtype} {tuple(offsets.shape)}; expected torch.int32 [batch + 1]"
        )
    values = offsets.tolist()
    if values[0] != 0:
        raise UnsupportedInputError(f"offsets begin at {values[0]}; expected 0")
    lengths = [end - begin for begin, end in pairwise(values)]
    for index, length in enumerate(lengths):
        if length < 0:
            raise UnsupportedInputError(
                f"offsets decrease from {values[index]} to {values[index + 1]} at index {index + 1}"
            )
    if values[-1] != total:
        raise UnsupportedInputError(f"offsets end at {values[-1]}; expected the {total} positions of the tensor")
    return Sequences(offsets=offsets.contiguous(), longest=max(lengths, default=0), total=total)


def _shapes(tensors: Tensors) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())


def _check_dense_shapes(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if tensor.dim() != 4:
            raise UnsupportedInputError(
                f"{name} has shape {tuple(tensor.shape)}; expected [batch, heads, seqlen, head_dim]"
            )
    q, k, v = tensors["q"], tensors["k"], tensors["v"]
    if k.shape != v.shape or k.shape[0] != q.shape[0] or k.shape[3] != q.shape[3]:
        raise UnsupportedInputError(
            f"shapes do not fit together: {_shapes(tensors)}; k and v must agree with q in batch and head_dim"
        )


def _check_sequences(
    tensors: Tensors, sequences_q: Sequences | None, sequences_k: Sequences | None
) -> tuple[int, int, int]:
    """Batch and the greatest lengths of queries and keys."""
    if sequences_q is None or sequences_k is None:
        raise UnsupportedInputError("only one of q and k has sequences; expected both or neither")
    q, k, v = tensors["q"], tensors["k"], tensors["v"]
    for name, tensor in tensors.items():
        if tensor.dim() != 3:
            raise UnsupportedInputError(f"{name} has shape {tuple(tensor.shape)}; expected [total, heads, head_dim]")
    if k.shape != v.shape or k.shape[2] != q.shape[2]:
        raise UnsupportedInputError(
            f"shapes do not fit together: {_shapes(tensors)}; k and v must agree, and with q in head_dim"
        )
    for name, tensor, sequences in (("q", q, sequences_q), ("k", k, sequences_k)):
        _check_offsets(name, tensor, sequences)
    batches = [len(sequences.offsets) - 1 for sequences in (sequences_q, sequences_k)]
    if batches[0] != batches[1]:
        raise UnsupportedInputError(f"q has {batches[0]} sequences and k has {batches[1]}; expected equal numbers")
    return batches[0], sequences_q.longest, sequences_k.longest


def _check_offsets(name: str, tensor: torch.Tensor, sequences: Sequences) -> None:
    offsets = sequences.offsets
    if offsets.dtype != torch.int32 or offsets.dim() != 1 or len(offsets) == 0 or not offsets.is_contiguous():
        raise UnsupportedInputError(
            f"offsets of {name} are {offsets.dtype} {tuple(offsets.shape)}; expected contiguous torch.int32 [batch + 1]"
        )
    if offsets.device != tensor.device:
        raise UnsupportedInputError(f"offsets of {name} are on {offsets.device}; expected {tensor.device}, like {name}")
    if sequences.total is not None and sequences.total != tensor.shape[0]:
        raise UnsupportedInputError(
            f"{name} has {tensor.shape[0]} positions, but its sequences end at {sequences.total}"
        )


def _check_heads(heads_q: int, heads_kv: int) -> None:
    if heads_kv == 0 or heads_q % heads_kv:
        raise UnsupportedInputError(f"q has {heads_q} heads, which is no multiple of the {heads_kv} heads of k and v")


def _check_types(tensors: Tensors) -> None:
    q, k, v = tensors["q"], tensors["k"], tensors["v"]
    if not (q.dtype == k.dtype == v.dtype and q.device == k.device == v.device):
        kinds = ", ".join(f"{name} {tensor.dtype} on {tensor.device}" for name, tensor in tensors.items())
        raise UnsupportedInputError(f"q, k and v must share one dtype and one device: {kinds}")
    device, head_dim = q.device.type, q.shape[-1]
    if device not in _DEVICE_DTYPES:
        raise UnsupportedInputError(f"device {device!r} has no kernel; expected cpu or cuda")
    if q.dtype not in _DEVICE_DTYPES[device]:
        expected = " or ".join(str(dtype) for dtype in _DEVICE_DTYPES[device])
        raise UnsupportedInputError(f"{q.dtype} has no kernel on {device}; expected {expected}")
    if device == "cuda" and head_dim not in _CUDA_HEAD_DIMS:
        raise UnsupportedInputError(f"head_dim {head_dim} has no CUDA kernel; expected 64, 128 or 256")
    if device == "cpu" and not (0 < head_dim <= 256 and head_dim % 16 == 0):
        raise UnsupportedInputError(f"head_dim {head_dim} has no host kernel; expected a multiple of 16 up to 256")


def _check_strides(name: str, tensor: torch.Tensor) -> None:
    if tensor.stride(-1) != 1:
        raise UnsupportedInputError(
            f"{name} has strides {tensor.stride()}; head_dim must be contiguous: call {name}.contiguous()"
        )
    if tensor.device.type == "cuda" and not _has_aligned_rows(tensor):
        raise UnsupportedInputError(
            f"{name} has strides {tensor.stride()} and begins at element {tensor.storage_offset()}; every row must "
            f"start at a multiple of 16 bytes: call {name}.contiguous()"
        )


def _has_aligned_rows(tensor: torch.Tensor) -> bool:
    strides = zip(tensor.stride()[:-1], tensor.shape[:-1], strict=True)
    starts = [tensor.storage_offset(), *(stride for stride, size in strides if size > 1)]
    return all(start * tensor.element_size() % _CUDA_ROW_ALIGNMENT_BYTES == 0 for start in starts)


def _check_numbers(options: AttentionOptions) -> None:
    # The kernels take the maximum of the unscaled scores, which a negative scale would turn into a minimum.
    for name, value in (("scale", options.scale), ("softcap", options.softcap)):
        if not 0 <= value < math.inf:
            raise UnsupportedInputError(f"{name} is {value}; expected a finite number that is not negative")
    for name, value in (("window_left", options.window_left), ("window_right", options.window_right)):
        if not -1 <= value <= _INT32_MAX:
            raise UnsupportedInputError(f"{name} is {value}; expected from 0 to {_INT32_MAX}, or -1 for no bound")


def _check_slopes(slopes: torch.Tensor, q: torch.Tensor, batch: int) -> None:
    heads = q.shape[1]
    fits = tuple(slopes.shape) in [(heads,), (batch, heads)] and slopes.is_contiguous()
    if slopes.dtype != torch.float32 or slopes.device != q.device or not fits:
        raise UnsupportedInputError(
            f"alibi_slopes is {slopes.dtype} {tuple(slopes.shape)} on {slopes.device}; "
            f"expected contiguous torch.float32 [{heads}] or [{batch}, {heads}] on {q.device}"
        )


def _check_plan(plan: MaskPlan, q: torch.Tensor, k: torch.Tensor, options: AttentionOptions) -> None:
    if options.sequences_q is not None:
        raise UnsupportedInputError("mask and sequences exclude each other; put the sequences into the mask")
    if options.window_left >= 0 or options.window_right >= 0:
        raise UnsupportedInputError("mask excludes causal and window; put them into the mask")
    batch, heads, seqlen_q, _ = q.shape
    if plan.device != q.device:
        raise UnsupportedInputError(f"mask is on {plan.device}; expected {q.device}, like q")
    expected = (batch, heads, seqlen_q, k.shape[2])
    given = (plan.tiles.shape[0], plan.tiles.shape[1], plan.seqlen_q, plan.seqlen_k)
    fits = given[0] in (1, batch) and given[1] in (1, heads) and given[2:] == expected[2:]
    if not fits:
        raise UnsupportedInputError(
            f"mask is for {list(given)}; expected [batch, heads_q, seqlen_q, seqlen_k] = {list(expected)}, or 1 for "
            "batch or heads_q"
        )
    _check_plan_tensors(plan)


def _check_plan_tensors(plan: MaskPlan) -> None:
    """That the tensors belong together, for a plan can be made by hand."""
    tiles_q, tiles_k = -(-plan.seqlen_q // TILE), -(-plan.seqlen_k // TILE)
    partial_tiles = plan.query_bits.shape[0]
    expected = {
        "tiles": (torch.int32, (*plan.tiles.shape[:2], tiles_q, tiles_k)),
        "query_bits": (torch.int64, (partial_tiles, TILE)),
        "key_bits": (torch.int64, (partial_tiles, TILE)),
        "query_order": (torch.int32, (-(-tiles_q // 2),)),
        "key_order": (torch.int32, (-(-tiles_k // 2),)),
    }
    for name, (dtype, shape) in expected.items():
        tensor: torch.Tensor = getattr(plan, name)
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or not tensor.is_contiguous():
            raise UnsupportedInputError(
                f"mask.{name} is {tensor.dtype} {tuple(tensor.shape)}; expected contiguous {dtype} {shape}"
            )
