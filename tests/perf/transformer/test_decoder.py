"""The model is what its papers say, whichever attention it has."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from perf.transformer.attentions import own_attention, torch_attention, torch_math_attention
from perf.transformer.decoder import Decoder, RmsNorm, rotate, rotations
from perf.transformer.settings import VOCABULARY, ModelSize

SIZE = ModelSize(layers=2, width=48, heads_q=4, heads_kv=2, head_dim=16, hidden=32)


def decoder() -> Decoder:
    """A small model with fixed weights."""
    torch.manual_seed(3)
    return Decoder(SIZE, torch_attention)


def some_tokens(batch: int = 2, seqlen: int = 19) -> torch.Tensor:
    """Random bytes."""
    return torch.randint(VOCABULARY, (batch, seqlen), generator=torch.Generator().manual_seed(4))


def test_rms_norm_is_its_formula() -> None:
    """Zhang and Sennrich (2019), equation 4, spelt out in float64."""
    x = torch.randn(3, 5, 8, dtype=torch.bfloat16)
    norm = RmsNorm(8)
    torch.nn.init.normal_(norm.weight)

    expected = x.double() / (x.double().pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()

    assert torch.allclose(norm(x).double(), expected, rtol=1e-6, atol=1e-6)
    assert norm(x).dtype is torch.float32


def test_rotary_positions_are_multiplications_by_complex_numbers() -> None:
    """Su et al. (2021), equation 34: pair i at position t is turned by t * 10000 ** (-2 i / head_dim)."""
    x = torch.randn(1, 7, 2, 8)
    turned = rotate(x, *rotations(7, 8, x.device))

    for position in range(7):
        for pair in range(4):
            factor = complex(math.cos(angle := position * 10_000 ** (-2 * pair / 8)), math.sin(angle))
            before = complex(x[0, position, 1, pair], x[0, position, 1, pair + 4])
            after = complex(turned[0, position, 1, pair], turned[0, position, 1, pair + 4])
            assert abs(after - before * factor) < 1e-5


def test_rotated_products_depend_on_distance_alone() -> None:
    """What rotary positions are for."""
    q, k = torch.randn(2, 1, 1, 1, 16).expand(2, 1, 12, 1, 16)
    cosine, sine = rotations(12, 16, q.device)
    products = rotate(q, cosine, sine)[0, :, 0] @ rotate(k, cosine, sine)[0, :, 0].T

    for distance in range(-5, 6):
        assert products.diagonal(distance).std() < 1e-4


def test_no_token_sees_a_later_one() -> None:
    """Logits up to a position do not change with what follows; those from it on do."""
    model, tokens = decoder(), some_tokens()
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % VOCABULARY

    before, after = model(tokens), model(changed)

    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.allclose(before[:, 11:], after[:, 11:])


def test_prefill_gives_the_last_logits() -> None:
    """The same numbers as the whole forward pass."""
    model, tokens = decoder(), some_tokens()

    assert torch.allclose(model.prefill(tokens), model(tokens)[:, -1], atol=1e-6)


def test_every_weight_gets_a_gradient_and_embedding_and_output_share_one() -> None:
    """One matrix of VOCABULARY rows, and no part that the loss does not reach."""
    model, tokens = decoder(), some_tokens()
    torch.autograd.backward(functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()))

    gradients = {name: weight.grad for name, weight in model.named_parameters()}

    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())
    assert [name for name, gradient in gradients.items() if gradient is not None and VOCABULARY in gradient.shape] == [
        "_embedding.weight"
    ]


@pytest.mark.parametrize("attend", [torch_math_attention, own_attention])
def test_attentions_are_exchangeable(attend: object) -> None:
    """The same logits up to rounding, from views of the fused projection and with grouped heads."""
    model, tokens = decoder(), some_tokens()
    with torch.no_grad():
        expected = model(tokens)
        model.use(attend)  # type: ignore[arg-type]

        assert torch.allclose(model(tokens), expected, atol=1e-5)


def test_attention_gets_views_and_no_copies() -> None:
    """Heads of one token lie side by side, as the projection wrote them."""
    seen = []

    def noting(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen.extend((q, k, v))
        return torch_attention(q, k, v)

    model = decoder()
    model.use(noting)
    model(some_tokens())

    assert [tensor.stride()[1] for tensor in seen[:3]] == [16, 16, 16]
    assert seen[2].stride()[2] == (4 + 2 + 2) * 16  # v is part of the fused projection
