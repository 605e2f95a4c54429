"""Steps of training and prefill, and whole runs whose losses are kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional

from perf.model import DType
from perf.transformer.decoder import Attend, Decoder
from perf.transformer.settings import Setting
from perf.transformer.text import make_text

_LEARNING_RATE = 2e-3
_WARM_UP_STEPS = 20
_WEIGHT_DECAY = 0.1
_BETAS = (0.9, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A model, its optimizer and one batch: what a step works on."""

    model: Decoder
    optimizer: torch.optim.Optimizer
    tokens: torch.Tensor  # int64 [batch, seqlen + 1]
    dtype: DType

    def training_step(self) -> torch.Tensor:
        """Forward, backward, optimizer; returns the loss, which nobody has waited for."""
        return train(self.model, self.optimizer, self.tokens, self.dtype)

    def prefill(self) -> torch.Tensor:
        """Forward over the batch without gradients; the logits of the next token."""
        with torch.no_grad(), precision(self.tokens.device, self.dtype):
            return self.model.prefill(self.tokens[:, :-1])


def rehearse(setting: Setting, attend: Attend, device: torch.device, dtype: DType, seed: int = 0) -> Rehearsal:
    """A fresh model of the setting's size and a batch of text."""
    model = make_model(setting, attend, device, seed)
    tokens = next(batches(setting, device, seed, steps=1))
    return Rehearsal(model=model, optimizer=make_optimizer(model), tokens=tokens, dtype=dtype)


def train_curve(
    setting: Setting,
    attend: Attend,
    device: torch.device,
    dtype: DType,
    *,
    steps: int,
    seed: int = 0,
    order_seed: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[float, ...]:
    """Train a fresh model; the loss of every step in nats per byte.

    Args:
        setting: size of the model and of a batch.
        attend: the attention.
        device: where.
        dtype: of the matrix products and of attention; weights are float32.
        steps: how many.
        seed: of the weights and the text.
        order_seed: permutes the sequences within each batch, which changes nothing but where sums are rounded.
        progress: told the number of steps done.
    """
    model = make_model(setting, attend, device, seed)
    optimizer = make_optimizer(model)
    losses = []
    for step, tokens in enumerate(batches(setting, device, seed, steps=steps, order_seed=order_seed)):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / _WARM_UP_STEPS)
        losses.append(float(train(model, optimizer, tokens, dtype)))
        progress(step + 1)
    return tuple(losses)


def make_model(setting: Setting, attend: Attend, device: torch.device, seed: int) -> Decoder:
    """The same weights for the same size and seed. Drawn on the host, so on every device; torch's seed stays."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Decoder(setting.model, attend).to(device)


def make_optimizer(model: Decoder) -> torch.optim.Optimizer:
    """AdamW, fused: one kernel over all weights, as training that cares for time has it."""
    return torch.optim.AdamW(
        model.parameters(), lr=_LEARNING_RATE, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True
    )


def train(model: Decoder, optimizer: torch.optim.Optimizer, tokens: torch.Tensor, dtype: DType) -> torch.Tensor:
    """One step on ``tokens`` int64 [batch, seqlen + 1]; returns the mean loss before it."""
    with precision(tokens.device, dtype):
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def precision(device: torch.device, dtype: DType) -> AbstractContextManager[object]:
    """Float32 weights with bf16 matrix products and attention, by autocast, as mixed-precision training has them."""
    return torch.autocast(device.type, torch.bfloat16) if dtype is DType.BF16 else nullcontext()


def batches(
    setting: Setting, device: torch.device, seed: int, *, steps: int, order_seed: int | None = None
) -> Iterator[torch.Tensor]:
    """``steps`` batches int64 [batch, seqlen + 1] from one text, no byte of which is a target twice."""
    rows = steps * setting.batch
    text = make_text(seed, rows * setting.seqlen + 1)
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    order = random.Random(order_seed)  # noqa: S311 - an order, not a secret
    for step in range(steps):
        numbers = list(range(step * setting.batch, (step + 1) * setting.batch))
        if order_seed is not None:
            order.shuffle(numbers)
        starts = [number * setting.seqlen for number in numbers]
        yield torch.stack([tokens[start : start + setting.seqlen + 1] for start in starts]).to(device)
