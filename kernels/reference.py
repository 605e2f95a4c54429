"""Attention in float64: the one judge of correctness. Slow, plain, and not to be optimised."""

from __future__ import annotations

import torch


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False, scale: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention in float64.

    Args:
        q: [batch, heads_q, seqlen_q, head_dim].
        k: [batch, heads_kv, seqlen_k, head_dim]; heads_q is a multiple of heads_kv.
        v: like ``k``.
        causal: key j is visible to query i when j <= i + seqlen_k - seqlen_q (bottom-right aligned).
        scale: of the scores; 1 / sqrt(head_dim) by default.

    Returns:
        O [batch, heads_q, seqlen_q, head_dim] and the natural log-sum-exp of the scaled scores
        [batch, heads_q, seqlen_q], both float64. A row without a visible key has O = 0 and LSE = -inf.
    """
    group = q.shape[1] // k.shape[1]
    keys = k.double().repeat_interleave(group, dim=1)
    values = v.double().repeat_interleave(group, dim=1)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = scale * q.double() @ keys.transpose(-1, -2)
    seqlen_q, seqlen_k = scores.shape[-2:]
    if causal:
        hidden = torch.ones(seqlen_q, seqlen_k, dtype=torch.bool, device=q.device).triu(seqlen_k - seqlen_q + 1)
        scores = scores.masked_fill(hidden, -torch.inf)
    lse = torch.logsumexp(scores, dim=-1)
    visible = torch.isfinite(lse) | lse.isnan()
    weights = torch.where(visible[..., None], torch.exp(scores - lse[..., None]), 0.0)
    return weights @ values, lse
