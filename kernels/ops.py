"""The kernels as torch ops, for host and CUDA tensors, with the layout of ``scaled_dot_product_attention``."""

from __future__ import annotations

import math

import torch

from kernels.errors import RoofgateError
from kernels.interface import AttentionFwdParams, InstructionSet, KernelDType, Library
from kernels.library import cuda_library, host_library

_DTYPES = {
    torch.bfloat16: KernelDType.BF16,
    torch.float16: KernelDType.FP16,
    torch.float32: KernelDType.FP32,
}
_DEVICE_DTYPES = {"cpu": (torch.bfloat16, torch.float32), "cuda": (torch.bfloat16, torch.float16)}
_CUDA_HEAD_DIMS = (64, 128)
_CUDA_ROW_ALIGNMENT_BYTES = 16


class UnsupportedInputError(RoofgateError, ValueError):
    """No kernel takes these tensors: the message says which property, and what would be taken."""


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False, scale: float | None = None
) -> torch.Tensor:
    """Softmax attention: ``softmax(scale * Q K^T + mask) V``.

    Like ``torch.nn.functional.scaled_dot_product_attention``, with two differences: a causal mask is aligned to the
    bottom right when the lengths differ (the last query sees every key, as decoding needs), and grouped heads need no
    flag.

    Args:
        q: [batch, heads_q, seqlen_q, head_dim], any strides as long as head_dim is contiguous. bf16 or fp32 with
            head_dim a multiple of 16 up to 256 on the host; bf16 or fp16 with head_dim 64 or 128 on CUDA.
        k: [batch, heads_kv, seqlen_k, head_dim]; heads_q is a multiple of heads_kv.
        v: like ``k``.
        causal: hide keys behind the diagonal.
        scale: of the scores; 1 / sqrt(head_dim) by default.

    Returns:
        O [batch, heads_q, seqlen_q, head_dim]. Rows without a visible key are zero.

    Raises:
        UnsupportedInputError: no kernel takes this dtype, shape, device or stride.
    """
    o: torch.Tensor = attention_fwd(q, k, v, causal, _scale(q, scale))[0]
    return o


@torch.library.custom_op("roofgate::attention_fwd", mutates_args=())
def attention_fwd(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """O and the float32 log-sum-exp [batch, heads_q, seqlen_q]; see :func:`attention`."""
    check_attention_inputs(q, k, v)
    _check_scale(scale)
    o, lse = _outputs(q)
    launch_attention_fwd(library_for(q), q, k, v, o, lse, causal=causal, scale=scale)
    return o, lse


@attention_fwd.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool,  # noqa: ARG001 - the fake kernel has the op's signature
    scale: float,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    check_attention_inputs(q, k, v)
    return _outputs(q)


def _no_backward(ctx: object, *gradients: torch.Tensor) -> None:
    raise NotImplementedError(
        "roofgate::attention_fwd has no backward yet; call it under torch.no_grad(), or train with "
        "torch.nn.functional.scaled_dot_product_attention"
    )


attention_fwd.register_autograd(_no_backward)


def library_for(q: torch.Tensor) -> Library:
    """The present build's library for the device of ``q``."""
    if q.device.type == "cuda":
        return cuda_library(*torch.cuda.get_device_capability(q.device))
    return host_library()


def launch_attention_fwd(
    library: Library,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    *,
    causal: bool,
    scale: float,
    isa: InstructionSet = InstructionSet.AUTO,
) -> None:
    """Run one library's kernel on checked tensors, writing ``o`` and ``lse``. On CUDA, on the current stream."""
    params = attention_fwd_params(q, k, v, o, lse, causal=causal, scale=scale, isa=isa)
    if q.device.type == "cuda":
        with torch.cuda.device(q.device):
            library.attention_fwd(params, torch.cuda.current_stream().cuda_stream)
    else:
        library.attention_fwd(params)


def attention_fwd_params(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    *,
    causal: bool,
    scale: float,
    isa: InstructionSet = InstructionSet.AUTO,
) -> AttentionFwdParams:
    """The C structure for these tensors. It holds addresses only: keep the tensors alive until the kernel ends."""
    batch, heads_q, seqlen_q, head_dim = q.shape
    params = AttentionFwdParams(
        q=q.data_ptr(),
        k=k.data_ptr(),
        v=v.data_ptr(),
        o=o.data_ptr(),
        lse=lse.data_ptr(),
        batch=batch,
        heads_q=heads_q,
        heads_kv=k.shape[1],
        seqlen_q=seqlen_q,
        seqlen_k=k.shape[2],
        head_dim=head_dim,
        dtype=_DTYPES[q.dtype],
        causal=causal,
        scale=scale,
        threads=torch.get_num_threads(),
        isa=isa,
    )
    for name, tensor in (("q", q), ("k", k), ("v", v), ("o", o)):
        setattr(params, f"{name}_stride", type(params.q_stride)(*tensor.stride()[:3]))
    return params


def check_attention_inputs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    """Raise :class:`UnsupportedInputError` unless a kernel takes these tensors."""
    _check_shapes(q, k, v)
    _check_types(q, k, v)
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        _check_strides(name, tensor)


def _check_shapes(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dim() != 4:
            raise UnsupportedInputError(
                f"{name} has shape {tuple(tensor.shape)}; expected [batch, heads, seqlen, head_dim]"
            )
    batch, heads_q, _, head_dim = q.shape
    if k.shape != v.shape or k.shape[0] != batch or k.shape[3] != head_dim:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in (("q", q), ("k", k), ("v", v)))
        raise UnsupportedInputError(
            f"shapes do not fit together: {shapes}; k and v must agree with q in batch and head_dim"
        )
    if k.shape[1] == 0 or heads_q % k.shape[1]:
        raise UnsupportedInputError(f"q has {heads_q} heads, which is no multiple of the {k.shape[1]} heads of k and v")


def _check_types(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    if not (q.dtype == k.dtype == v.dtype and q.device == k.device == v.device):
        kinds = ", ".join(f"{name} {t.dtype} on {t.device}" for name, t in (("q", q), ("k", k), ("v", v)))
        raise UnsupportedInputError(f"q, k and v must share one dtype and one device: {kinds}")
    device, head_dim = q.device.type, q.shape[3]
    if device not in _DEVICE_DTYPES:
        raise UnsupportedInputError(f"device {device!r} has no kernel; expected cpu or cuda")
    if q.dtype not in _DEVICE_DTYPES[device]:
        expected = " or ".join(str(dtype) for dtype in _DEVICE_DTYPES[device])
        raise UnsupportedInputError(f"{q.dtype} has no kernel on {device}; expected {expected}")
    if device == "cuda" and head_dim not in _CUDA_HEAD_DIMS:
        raise UnsupportedInputError(f"head_dim {head_dim} has no CUDA kernel; expected 64 or 128")
    if device == "cpu" and not (0 < head_dim <= 256 and head_dim % 16 == 0):
        raise UnsupportedInputError(f"head_dim {head_dim} has no host kernel; expected a multiple of 16 up to 256")


def _check_strides(name: str, tensor: torch.Tensor) -> None:
    if tensor.stride(3) != 1:
        raise UnsupportedInputError(
            f"{name} has strides {tensor.stride()}; head_dim must be contiguous: call {name}.contiguous()"
        )
    if tensor.device.type != "cuda":
        return
    strides = zip(tensor.stride()[:3], tensor.shape[:3], strict=True)
    row_bytes = [stride * tensor.element_size() for stride, size in strides if size > 1]
    if any(stride % _CUDA_ROW_ALIGNMENT_BYTES for stride in row_bytes):
        raise UnsupportedInputError(
            f"{name} has strides {tensor.stride()}; every row must start at a multiple of 16 bytes: "
            f"call {name}.contiguous()"
        )


def _check_scale(scale: float) -> None:
    # The kernels take the maximum of the unscaled scores, which a negative scale would turn into a minimum.
    if not 0 <= scale < math.inf:
        raise UnsupportedInputError(f"scale is {scale}; expected a finite number that is not negative")


def _scale(q: torch.Tensor, scale: float | None) -> float:
    return float(q.shape[-1]) ** -0.5 if scale is None else scale


def _outputs(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
