"""The implementations that a case is measured with: ours, and torch's on the same tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from kernels import ops
from perf.model import CAUSAL, OWN_IMPLEMENTATION, Case, Device, DType
from perf.timer import Contender

TORCH_DTYPES = {DType.BF16: torch.bfloat16, DType.FP16: torch.float16, DType.FP32: torch.float32}

_BACKENDS = {
    Device.CPU: {"torch_flash": SDPBackend.FLASH_ATTENTION, "torch_math": SDPBackend.MATH},
    Device.CUDA: {
        "torch_flash": SDPBackend.FLASH_ATTENTION,
        "torch_cudnn": SDPBackend.CUDNN_ATTENTION,
        "torch_efficient": SDPBackend.EFFICIENT_ATTENTION,
        "torch_math": SDPBackend.MATH,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Random Q, K and V of a case, normal with unit variance."""

    q: torch.Tensor  # [batch, heads_q, seqlen_q, head_dim]
    k: torch.Tensor  # [batch, heads_kv, seqlen_k, head_dim]
    v: torch.Tensor  # [batch, heads_kv, seqlen_k, head_dim]


def make_inputs(case: Case, device: Device, seed: int = 0) -> Inputs:
    """The same tensors for the same case and seed on every run of one torch version."""
    generator = torch.Generator(device.value).manual_seed(seed)
    random = partial(torch.randn, generator=generator, device=device.value, dtype=TORCH_DTYPES[case.dtype])
    key_shape = (case.batch, case.heads_kv, case.seqlen_k, case.head_dim)
    return Inputs(
        q=random(case.batch, case.heads_q, case.seqlen_q, case.head_dim), k=random(*key_shape), v=random(*key_shape)
    )


def implementations(device: Device) -> tuple[str, ...]:
    """Names of all implementations on a device, ours first."""
    return (OWN_IMPLEMENTATION, *_BACKENDS[device])


def own_contender(case: Case, inputs: Inputs) -> Contender:
    """Our kernel with the output allocated in every call, as torch's ops allocate theirs."""
    library = ops.library_for(inputs.q)
    scale = case.head_dim**-0.5
    ops.check_attention_inputs(inputs.q, inputs.k, inputs.v)

    def call() -> torch.Tensor:
        o = torch.empty_like(inputs.q)
        lse = inputs.q.new_empty(inputs.q.shape[:3], dtype=torch.float32)
        ops.launch_attention_fwd(library, inputs.q, inputs.k, inputs.v, o, lse, causal=case.mask == CAUSAL, scale=scale)
        return o

    return Contender(call)


def peer_contenders(
    case: Case, device: Device, inputs: Inputs
) -> tuple[dict[str, Contender], dict[str, str], torch.Tensor | None]:
    """Torch's backends that take this case, the reasons why the others do not, and the first backend's answer."""
    taken: dict[str, Contender] = {}
    refused: dict[str, str] = {}
    answer: torch.Tensor | None = None
    for name, backend in _BACKENDS[device].items():
        contender = Contender(_sdpa(case, device, inputs), partial(_forced, backend))
        try:
            with contender.setting():
                output = cast(torch.Tensor, contender.call())
        except RuntimeError as error:
            refused[name] = str(error).splitlines()[0]
            continue
        taken[name] = contender
        answer = output if answer is None else answer
    return taken, refused, answer


@contextmanager
def _forced(backend: SDPBackend) -> Iterator[None]:
    """Allow one backend alone. torch warns why a backend refuses; the exception that follows says enough."""
    with warnings.catch_warnings(), sdpa_kernel([backend]):
        warnings.simplefilter("ignore", UserWarning)
        yield


def _sdpa(case: Case, device: Device, inputs: Inputs) -> Callable[[], torch.Tensor]:
    mask: torch.Tensor | None = None
    is_causal = case.mask == CAUSAL
    if is_causal and case.seqlen_q != case.seqlen_k:
        # is_causal aligns to the top left; the bottom right needs a mask. On CUDA the bias object reaches the flash
        # kernel without a materialised mask; on the host it does not, so the mask is made beforehand.
        is_causal = False
        if device is Device.CUDA:
            mask = causal_lower_right(case.seqlen_q, case.seqlen_k)
        else:
            visible = torch.ones(case.seqlen_q, case.seqlen_k, dtype=torch.bool)
            mask = visible.tril(case.seqlen_k - case.seqlen_q)
    return partial(
        scaled_dot_product_attention,
        inputs.q,
        inputs.k,
        inputs.v,
        attn_mask=mask,
        is_causal=is_causal,
        enable_gqa=case.heads_q != case.heads_kv,
    )
