"""Attention and its gradients in float64: the one judge of correctness. Slow, plain, and not to be optimised."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

from kernels.attention_params import AttentionOptions, Sequences


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention in float64, differentiable.

    Args:
        q: [batch, heads_q, seqlen_q, head_dim], or [total_q, heads_q, head_dim] if ``options`` has sequences.
        k: [batch, heads_kv, seqlen_k, head_dim] or [total_k, heads_kv, head_dim]; heads_q is a multiple of heads_kv.
        v: like ``k``.
        options: as ``struct roofgate_attention_problem`` defines them.

    Returns:
        O, like Q, and the natural log-sum-exp of the scores [batch, heads_q, seqlen_q] or [heads_q, total_q], both
        float64. A row without a visible key has O = 0 and LSE = -inf.
    """
    answers = [attend(item) for item in items(q.double(), k.double(), v.double(), options)]
    if not answers:  # then Q has no elements either
        return q.double(), q.new_zeros(q.shape[:3] if q.dim() == 4 else (q.shape[1], 0), dtype=torch.float64)
    outputs, sums = [answer[0] for answer in answers], [answer[1] for answer in answers]
    if options.sequences_q is None:
        return torch.stack(outputs), torch.stack(sums)
    return torch.cat(outputs, dim=1).transpose(0, 1), torch.cat(sums, dim=1)


def gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_o: torch.Tensor, options: AttentionOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dQ, dK and dV in float64 for the gradient ``d_o`` of O, by torch's autograd. Shapes are those of Q, K and V."""
    leaves = [tensor.detach().double().requires_grad_() for tensor in (q, k, v)]
    with torch.enable_grad():
        o, _ = attention(leaves[0], leaves[1], leaves[2], options)
    dq, dk, dv = torch.autograd.grad(o, leaves, d_o.double(), allow_unused=True, materialize_grads=True)
    return dq, dk, dv


def visible(options: AttentionOptions, batch: int, heads_q: int, seqlen_q: int, seqlen_k: int) -> torch.Tensor:
    """Which keys each query sees: bool [batch, heads_q, seqlen_q, seqlen_k], on the device of the plan or the CPU.

    Sequences do not count here: of a batch of sequences, ask for one with its own lengths.
    """
    if options.plan is not None:
        return options.plan.dense().expand(batch, heads_q, seqlen_q, seqlen_k)
    offset = distances(seqlen_q, seqlen_k)
    seen = torch.ones(seqlen_q, seqlen_k, dtype=torch.bool)
    if options.window_left >= 0:
        seen &= offset >= -options.window_left
    if options.window_right >= 0:
        seen &= offset <= options.window_right
    return seen.expand(batch, heads_q, seqlen_q, seqlen_k)


def distances(seqlen_q: int, seqlen_k: int) -> torch.Tensor:
    """Of key j from query i, aligned to the bottom right: j - (i + seqlen_k - seqlen_q), int64 [seqlen_q, seqlen_k]."""
    return torch.arange(seqlen_k) - torch.arange(seqlen_q)[:, None] - (seqlen_k - seqlen_q)


class Item(NamedTuple):
    """One entry of a batch, or one sequence."""

    q: torch.Tensor  # [heads_q, seqlen_q, head_dim]
    k: torch.Tensor  # [heads_kv, seqlen_k, head_dim]
    v: torch.Tensor
    visible: torch.Tensor  # bool [heads_q, seqlen_q, seqlen_k]
    slopes: torch.Tensor | None  # [heads_q]
    options: AttentionOptions


def items(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions) -> list[Item]:
    """The entries of a batch, each a problem of its own."""
    queries = _entries(q, options.sequences_q)
    keys, values = (_entries(tensor, options.sequences_k) for tensor in (k, v))
    slopes = options.alibi_slopes
    answer = []
    for index, (one_q, one_k, one_v) in enumerate(zip(queries, keys, values, strict=True)):
        one_slopes = slopes if slopes is None or slopes.dim() == 1 else slopes[index]
        seen = visible(options, len(queries), one_q.shape[0], one_q.shape[1], one_k.shape[1])[index].to(q.device)
        answer.append(Item(one_q, one_k, one_v, seen, one_slopes, options))
    return answer


def _entries(tensor: torch.Tensor, sequences: Sequences | None) -> list[torch.Tensor]:
    """Each [heads, positions, head_dim]."""
    if sequences is None:
        return list(tensor)
    ends = sequences.offsets.tolist()
    return [tensor[begin:end].transpose(0, 1) for begin, end in pairwise(ends)]


def attend(item: Item) -> tuple[torch.Tensor, torch.Tensor]:
    """O [heads_q, seqlen_q, head_dim] and LSE [heads_q, seqlen_q], in the dtype of the item's tensors."""
    o = weights(item) @ item.v.repeat_interleave(item.q.shape[0] // item.v.shape[0], dim=0)
    return o, torch.logsumexp(_scores(item).detach(), dim=-1)


def weights(item: Item) -> torch.Tensor:
    """The softmax of the masked scores [heads_q, seqlen_q, seqlen_k]; zeros in a row that sees no key."""
    sees_a_key = item.visible.any(-1, keepdim=True)
    # A row of -inf alone has no softmax and no derivative: it is computed without its mask and thrown away.
    return torch.where(sees_a_key, torch.softmax(torch.where(sees_a_key, _scores(item), 0.0), dim=-1), 0.0)


def _scores(item: Item) -> torch.Tensor:
    """After softcap, ALiBi and mask."""
    q, k, _, visible, slopes, options = item
    scores = options.scale * (q @ k.repeat_interleave(q.shape[0] // k.shape[0], dim=0).transpose(-1, -2))
    if options.softcap > 0:
        scores = options.softcap * torch.tanh(scores / options.softcap)
    if slopes is not None:
        distance = distances(*scores.shape[-2:]).abs().to(scores)
        scores = scores - slopes[:, None, None].to(scores) * distance
    return scores.masked_fill(~visible, -torch.inf)
