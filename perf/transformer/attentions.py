"""The attentions that the model is run with. All are causal and take grouped heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from kernels import ops
from perf.transformer.decoder import Attend
from perf.transformer.results import Implementation


def torch_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Torch's own, with the backend that torch chooses."""
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def torch_math_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Torch's own, spelt out in matrix products and a softmax: the same mathematics, rounded elsewhere."""
    with sdpa_kernel([SDPBackend.MATH]):
        return torch_attention(q, k, v)


def own_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Ours."""
    return ops.attention(q, k, v, causal=True)


ATTENTIONS: Mapping[Implementation, Attend] = {
    Implementation.TORCH: torch_attention,
    Implementation.ROOFGATE: own_attention,
}
