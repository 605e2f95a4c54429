"""How right an attention kernel has to be: the rule that all kernel tests share."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from kernels import reference

HALF_UNIT_IN_LAST_PLACE = {torch.bfloat16: 2**-9, torch.float16: 2**-12, torch.float32: 2**-24}
POISON = 3e4  # finite in every dtype


def assert_as_accurate_as_torch(
    o: torch.Tensor, lse: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool
) -> None:
    """The largest error of O against float64 is at most twice torch's, and the LSE is right to fp32."""
    expected, expected_lse = reference.attention(q, k, v, causal=causal)
    error = float((o.double() - expected).abs().max())
    torch_error = float((torch_answer(q, k, v, causal=causal).double() - expected).abs().max())
    allowed = max(2 * torch_error, smallest_error(q, k, v, expected))

    assert error <= allowed, f"error {error:.3g}, allowed {allowed:.3g}, torch's {torch_error:.3g}"
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-5, atol=1e-5 + 2**-23 * largest_score(q, k))


def torch_answer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Torch's own answer in the inputs' dtype, with the mask aligned to the bottom right and hidden rows zero."""
    seqlen_q, seqlen_k = q.shape[2], k.shape[2]
    visible = torch.ones(seqlen_q, seqlen_k, dtype=torch.bool, device=q.device)
    if causal:
        visible = visible.tril(seqlen_k - seqlen_q)
    answer = scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)
    return torch.where(visible.any(-1)[:, None], answer, 0.0)


def smallest_error(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, expected: torch.Tensor) -> float:
    """What rounding alone may cost, for cases so small that torch's error is zero by luck.

    Half a unit in the last place of O, plus the weight's share: rounding one fp32 score S moves exp(S) by |S| * 2^-24.
    """
    weight_error = 2**-24 * largest_score(q, k) * float(v.double().abs().max())
    return HALF_UNIT_IN_LAST_PLACE[q.dtype] * float(expected.abs().max()) + weight_error


def largest_score(q: torch.Tensor, k: torch.Tensor) -> float:
    """Cauchy's bound on a scaled score, and so on the terms that are summed for it."""
    return float(q.double().norm(dim=-1).max() * k.double().norm(dim=-1).max()) * q.shape[-1] ** -0.5


def random_inputs(
    dtype: torch.dtype,
    batch: int,
    heads_q: int,
    heads_kv: int,
    seqlen_q: int,
    seqlen_k: int,
    head_dim: int,
    scale: float = 1,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normal inputs, equal for equal shapes."""
    generator = torch.Generator().manual_seed(seqlen_q * 1000 + seqlen_k)
    shapes = [(batch, heads_q, seqlen_q, head_dim), *[(batch, heads_kv, seqlen_k, head_dim)] * 2]
    q, k, v = ((scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes)
    return q, k, v
