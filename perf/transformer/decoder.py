"""A decoder as current language models have them, its attention exchangeable.

Pre-normalised residual blocks of grouped-query attention (Ainslie et al., 2023, arXiv 2305.13245) with rotary positions
(Su et al., 2021, arXiv 2104.09864) and SwiGLU feed-forward networks (Shazeer, 2020, arXiv 2002.05202), RMSNorm (Zhang
and Sennrich, 2019, arXiv 1910.07467), and one matrix for embedding and output. No bias, no dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from perf.transformer.settings import VOCABULARY, ModelSize

# Causal attention: q [batch, heads_q, seqlen, head_dim], k and v [batch, heads_kv, seqlen, head_dim] -> like q.
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

_ROTARY_BASE = 10_000.0
_NORM_EPSILON = 1e-6
_INITIAL_STD = 0.02


class RmsNorm(nn.Module):
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last dimension, in float32 whatever comes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [..., width], normalised; float32."""
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, _NORM_EPSILON)


def rotations(seqlen: int, head_dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of position * base ** (-2 i / head_dim), each float32 [seqlen, 1, head_dim / 2]."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    angles = torch.outer(torch.arange(seqlen, dtype=torch.float32, device=device), _ROTARY_BASE**-exponents)
    return angles.cos()[:, None], angles.sin()[:, None]


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn each pair (i, i + head_dim / 2) of ``x`` [batch, seqlen, heads, head_dim] by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


class SelfAttention(nn.Module):
    """Fused projections, rotary positions, the exchangeable ``attend``, and the projection back."""

    def __init__(self, size: ModelSize, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self._size = size
        self._qkv = nn.Linear(size.width, (size.heads_q + 2 * size.heads_kv) * size.head_dim, bias=False)
        self.out = nn.Linear(size.heads_q * size.head_dim, size.width, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """``x`` [batch, seqlen, width] -> the same shape. q, k and v reach ``attend`` as views, never copied."""
        batch, seqlen, _ = x.shape
        heads_q, heads_kv = self._size.heads_q, self._size.heads_kv
        projected = self._qkv(x).view(batch, seqlen, heads_q + 2 * heads_kv, self._size.head_dim)
        turned, values = torch.split(projected, [heads_q + heads_kv, heads_kv], dim=2)
        turned = rotate(turned, cosine.to(turned.dtype), sine.to(turned.dtype))
        queries, keys = torch.split(turned, [heads_q, heads_kv], dim=2)
        attended = self.attend(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2))
        return cast(torch.Tensor, self.out(attended.transpose(1, 2).reshape(batch, seqlen, -1)))


class SwiGlu(nn.Module):
    """``W_down (silu(W_gate x) * W_up x)``."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self._gate_and_up = nn.Linear(size.width, 2 * size.hidden, bias=False)
        self.down = nn.Linear(size.hidden, size.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [batch, seqlen, width] -> the same shape."""
        gate, up = self._gate_and_up(x).chunk(2, dim=-1)
        return cast(torch.Tensor, self.down(functional.silu(gate) * up))


class Block(nn.Module):
    """One layer: attention and feed-forward network, each added to what it normalises first."""

    def __init__(self, size: ModelSize, attend: Attend) -> None:
        super().__init__()
        self.attention, self.feed_forward = SelfAttention(size, attend), SwiGlu(size)
        self._attention_norm, self._feed_forward_norm = RmsNorm(size.width), RmsNorm(size.width)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """``x`` [batch, seqlen, width] -> the same shape."""
        x = x + self.attention(self._attention_norm(x), cosine, sine)
        return cast(torch.Tensor, x + self.feed_forward(self._feed_forward_norm(x)))


class Decoder(nn.Module):
    """The model. Weights are float32 and follow torch's seed; run it under autocast for bf16."""

    def __init__(self, size: ModelSize, attend: Attend) -> None:
        super().__init__()
        self._head_dim = size.head_dim
        self._embedding = nn.Embedding(VOCABULARY, size.width)
        self.blocks = nn.ModuleList(Block(size, attend) for _ in range(size.layers))
        self._norm = RmsNorm(size.width)
        self._initialise(size.layers)

    def _initialise(self, layers: int) -> None:
        """Normal weights; those that add to the residual stream smaller, as in GPT-2, so that its variance stays."""
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=_INITIAL_STD)
        for block in self.layers():
            for last in (block.attention.out, block.feed_forward.down):
                nn.init.normal_(last.weight, std=_INITIAL_STD * (2 * layers) ** -0.5)

    def layers(self) -> list[Block]:
        """The blocks, typed."""
        return [cast(Block, block) for block in self.blocks]

    def use(self, attend: Attend) -> None:
        """Let every layer attend by ``attend`` from now on."""
        for block in self.layers():
            block.attention.attend = attend

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``tokens`` int64 [batch, seqlen] -> logits [batch, seqlen, 256] of the token after each."""
        return functional.linear(self._hidden(tokens), self._embedding.weight)

    def prefill(self, tokens: torch.Tensor) -> torch.Tensor:
        """``tokens`` int64 [batch, seqlen] -> logits [batch, 256] of the token after the last."""
        return functional.linear(self._hidden(tokens)[:, -1], self._embedding.weight)

    def _hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        cosine, sine = rotations(tokens.shape[1], self._head_dim, tokens.device)
        x: torch.Tensor = self._embedding(tokens)
        for block in self.blocks:
            x = block(x, cosine, sine)
        return cast(torch.Tensor, self._norm(x))
