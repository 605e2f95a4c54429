"""The feature matrix of the CUDA forward: type, head_dim, mask, heads and lengths; each cell is a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from kernels.attention_params import AttentionOptions, Sequences
from kernels.masks import MaskPlan, from_tensor
from tests.kernels.accuracy import random_inputs, random_sequences

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

BF16, FP16 = torch.bfloat16, torch.float16
BATCH = 2
LENGTHS = {"whole tiles": (128, 256), "ragged": (149, 210), "more queries than keys": (210, 70)}
HEADS = {"one head each": (2, 2), "grouped": (4, 2), "one KV head": (3, 1)}


@dataclass(frozen=True)
class Cell:
    """One problem: inputs, and options without their scale until :meth:`options` gives it."""

    dtype: torch.dtype
    head_dim: int
    mask: str
    heads: str = "grouped"
    lengths: str = "ragged"

    def __str__(self) -> str:
        words = (str(self.dtype).removeprefix("torch."), str(self.head_dim), self.mask, self.heads, self.lengths)
        return "-".join(word.replace(" ", "_") for word in words)

    def inputs(self) -> Tensors:
        """Q, K and V; of sequences, as long in total as a batch of ``lengths`` at most."""
        heads_q, heads_kv = HEADS[self.heads]
        seqlen_q, seqlen_k = LENGTHS[self.lengths]
        if not self.has_sequences:
            return random_inputs(self.dtype, BATCH, heads_q, heads_kv, seqlen_q, seqlen_k, self.head_dim)
        totals = (int(self._sequences(length).offsets[-1]) for length in (seqlen_q, seqlen_k))
        return random_sequences(self.dtype, *totals, heads_q, heads_kv, self.head_dim)

    def options(self) -> AttentionOptions:
        """What the mask's name stands for at these lengths."""
        seqlen_q, seqlen_k = LENGTHS[self.lengths]
        options = _MASKS[self.mask.removesuffix(_OF_SEQUENCES)](HEADS[self.heads][0], seqlen_q, seqlen_k)
        if not self.has_sequences:
            return replace(options, scale=self.head_dim**-0.5)
        sequences_q, sequences_k = self._sequences(seqlen_q), self._sequences(seqlen_k)
        return replace(options, scale=self.head_dim**-0.5, sequences_q=sequences_q, sequences_k=sequences_k)

    @property
    def has_sequences(self) -> bool:
        """Whether the batch is of sequences of different lengths, end to end."""
        return self.mask.endswith(_OF_SEQUENCES)

    @staticmethod
    def _sequences(longest: int) -> Sequences:
        lengths = [1, longest, 0, longest // 3]
        offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return Sequences(offsets=offsets, longest=longest)


_OF_SEQUENCES = " of sequences"
_SLOPES = torch.tensor([0.5, 0.25, 0.03, 1.0])


def _plan(batch: int, heads: int, seqlen_q: int, seqlen_k: int) -> MaskPlan:
    """Full, empty and partial tiles of random pairs, rows without a key, and a different mask in each head."""
    generator = torch.Generator().manual_seed(seqlen_q)
    shape = (batch, heads, seqlen_q, seqlen_k)
    visible = torch.rand(shape, generator=generator) < 0.3
    visible[..., 64:128] |= torch.rand(batch, heads, 1, 1, generator=generator) < 0.5
    visible[:, :, :64, :64] = False
    visible[:, :, 70:80] = False
    visible[:, -1, :, 128:192] = False
    return from_tensor(visible)


def _options(**values: Any) -> AttentionOptions:
    return AttentionOptions(scale=1.0, **values)


_MASKS: dict[str, Callable[[int, int, int], AttentionOptions]] = {
    "full": lambda *_: _options(),
    "causal": lambda *_: _options(window_right=0),
    "window": lambda *_: _options(window_left=40, window_right=25),
    "left window": lambda *_: _options(window_left=90),
    "causal window": lambda *_: _options(window_left=17, window_right=0),
    "plan": lambda heads, *lengths: _options(plan=_plan(BATCH, heads, *lengths)),
    "shared plan": lambda _, *lengths: _options(plan=_plan(1, 1, *lengths)),
    "softcap": lambda *_: _options(softcap=2.0),
    "ALiBi": lambda heads, *_: _options(alibi_slopes=_SLOPES[:heads]),
    "softcap, ALiBi, causal": lambda heads, *_: _options(
        softcap=20.0, alibi_slopes=torch.stack([_SLOPES[:heads], _SLOPES[:heads] / 3]), window_right=0
    ),
    "softcap, plan": lambda heads, *lengths: _options(softcap=5.0, plan=_plan(BATCH, heads, *lengths)),
    "ALiBi, window": lambda heads, *_: _options(alibi_slopes=_SLOPES[:heads], window_left=40, window_right=25),
}
# Of sequences there are four, and so no slopes of each of two batches.
MASKS = [
    *_MASKS,
    *(f"{mask}{_OF_SEQUENCES}" for mask in ("full", "causal", "window", "ALiBi, window", "softcap")),
]
