"""Torch tensors as the C structures of ``csrc/roofgate_abi.h``, and the launches of one library. Checks nothing.

The structures hold addresses only: keep the tensors alive until the kernel ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from kernels.interface import (
    AttentionBwdParams,
    AttentionFwdParams,
    AttentionProblem,
    InstructionSet,
    KernelDType,
    Library,
    MaskPlanPointers,
)
from kernels.masks import MaskPlan

KERNEL_DTYPES = {
    torch.bfloat16: KernelDType.BF16,
    torch.float16: KernelDType.FP16,
    torch.float32: KernelDType.FP32,
}
_WORKSPACE_ALIGNMENT_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Where the sequences of a batch lie in a tensor [total, heads, head_dim].

    Build it with :mod:`kernels.attention_inputs`, which looks at the offsets once, so that no call has to.
    """

    offsets: torch.Tensor  # int32 [batch + 1], from 0 up to total
    longest: int
    total: int | None = None  # positions of the tensor that the offsets were checked for; None: nobody checked them


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """What decides the scores, beside Q and K; ``struct roofgate_attention_problem`` says what each field means."""

    scale: float
    window_left: int = -1
    window_right: int = -1
    softcap: float = 0.0
    alibi_slopes: torch.Tensor | None = None  # float32 [heads_q] or [batch, heads_q]
    plan: MaskPlan | None = None
    sequences_q: Sequences | None = None  # both or neither
    sequences_k: Sequences | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Tensors of the backward pass; every one but ``lse`` like the tensor that it belongs to."""

    o: torch.Tensor
    d_o: torch.Tensor
    lse: torch.Tensor
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor


def forward_params(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    options: AttentionOptions,
    isa: InstructionSet = InstructionSet.AUTO,
) -> AttentionFwdParams:
    """The C structure of a forward call."""
    params = AttentionFwdParams(problem=_problem(q, k, v, options, isa), o=o.data_ptr(), lse=lse.data_ptr())
    params.o_stride = type(params.o_stride)(*_strides(o))
    return params


def backward_params(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gradients: Gradients,
    options: AttentionOptions,
    *,
    deterministic: bool,
    isa: InstructionSet = InstructionSet.AUTO,
) -> AttentionBwdParams:
    """The C structure of a backward call, without a workspace."""
    params = AttentionBwdParams(
        problem=_problem(q, k, v, options, isa), lse=gradients.lse.data_ptr(), deterministic=deterministic
    )
    for name in ("o", "d_o", "dq", "dk", "dv"):
        tensor: torch.Tensor = getattr(gradients, name)
        setattr(params, name, tensor.data_ptr())
        setattr(params, f"{name}_stride", type(params.o_stride)(*_strides(tensor)))
    return params


def launch_forward(library: Library, params: AttentionFwdParams, device: torch.device) -> None:
    """Run the forward kernel; on CUDA, on the current stream."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            library.attention_fwd(params, torch.cuda.current_stream().cuda_stream)
    else:
        library.attention_fwd(params)


def launch_backward(library: Library, params: AttentionBwdParams, device: torch.device) -> None:
    """Run the backward kernels in a workspace of torch's allocator; on CUDA, on the current stream."""
    library.attention_bwd(params)  # no workspace yet: asks for its size
    size = params.workspace_bytes + _WORKSPACE_ALIGNMENT_BYTES
    workspace = torch.empty(size, dtype=torch.uint8, device=device)
    start = workspace.data_ptr()
    params.workspace = start + -start % _WORKSPACE_ALIGNMENT_BYTES
    if device.type == "cuda":
        with torch.cuda.device(device):
            library.attention_bwd(params, torch.cuda.current_stream().cuda_stream)
    else:
        library.attention_bwd(params)


def _strides(tensor: torch.Tensor) -> tuple[int, int, int]:
    """Batch, head and position; tensors of sequences are [total, heads, head_dim]."""
    strides = tensor.stride()
    if tensor.dim() == 3:
        return 0, strides[1], strides[0]
    return strides[0], strides[1], strides[2]


def _problem(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions, isa: InstructionSet
) -> AttentionProblem:
    slopes = options.alibi_slopes
    problem = AttentionProblem(
        q=q.data_ptr(),
        k=k.data_ptr(),
        v=v.data_ptr(),
        alibi_slopes=None if slopes is None else slopes.data_ptr(),
        alibi_batch_stride=slopes.stride(0) if slopes is not None and slopes.dim() == 2 else 0,
        plan=MaskPlanPointers() if options.plan is None else plan_pointers(options.plan),
        head_dim=q.shape[-1],
        dtype=KERNEL_DTYPES[q.dtype],
        window_left=options.window_left,
        window_right=options.window_right,
        scale=options.scale,
        softcap=options.softcap,
        threads=torch.get_num_threads(),
        isa=isa,
        **_extents(q, k, options),
    )
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        setattr(problem, f"{name}_stride", type(problem.q_stride)(*_strides(tensor)))
    return problem


def _extents(q: torch.Tensor, k: torch.Tensor, options: AttentionOptions) -> dict[str, Any]:
    if options.sequences_q is None or options.sequences_k is None:
        batch, heads_q, seqlen_q, _ = q.shape
        return {
            "batch": batch,
            "heads_q": heads_q,
            "heads_kv": k.shape[1],
            "seqlen_q": seqlen_q,
            "seqlen_k": k.shape[2],
        }
    return {
        "batch": len(options.sequences_q.offsets) - 1,
        "heads_q": q.shape[1],
        "heads_kv": k.shape[1],
        "seqlen_q": options.sequences_q.longest,
        "seqlen_k": options.sequences_k.longest,
        "cu_seqlens_q": options.sequences_q.offsets.data_ptr(),
        "cu_seqlens_k": options.sequences_k.offsets.data_ptr(),
        "total_q": q.shape[0],
    }


def plan_pointers(plan: MaskPlan) -> MaskPlanPointers:
    """The C structure of a plan. A batch or head extent of 1 is shared by all."""
    pointers = MaskPlanPointers(
        tiles=plan.tiles.data_ptr(),
        query_bits=plan.query_bits.data_ptr(),
        key_bits=plan.key_bits.data_ptr(),
        query_order=plan.query_order.data_ptr(),
        key_order=plan.key_order.data_ptr(),
    )
    shared = (0 if plan.tiles.shape[axis] == 1 else plan.tiles.stride(axis) for axis in (0, 1))
    pointers.tiles_stride = type(pointers.tiles_stride)(*shared)
    return pointers
