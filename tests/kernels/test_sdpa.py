"""The drop-in for torch's attention: the same answers and gradients, in modules that know nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from kernels import masks
from kernels.attention_inputs import UnsupportedInputError
from kernels.sdpa import roofgate_attention, scaled_dot_product_attention

THEIRS = functional.scaled_dot_product_attention


def inputs(
    q_shape: tuple[int, ...] = (2, 4, 20, 32), k_shape: tuple[int, ...] = (2, 4, 20, 32)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Leaves that gradients can be asked of."""
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for shape in (q_shape, k_shape, k_shape))
    return q, k, v


def assert_same_as_torch(tensors: tuple[torch.Tensor, ...], **arguments: Any) -> None:
    """O and all gradients."""
    answers = []
    for function in (scaled_dot_product_attention, THEIRS):
        o = function(*tensors, **arguments)
        answers.append((o, *torch.autograd.grad((o * torch.arange(o.shape[-1])).sum(), tensors)))
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(20, 20), (9, 20), (20, 9), (1, 20), (20, 1)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_causal_mask_is_aligned_as_torch_aligns_it(seqlen_q: int, seqlen_k: int, is_causal: bool) -> None:
    """To the top left, also where the lengths differ."""
    assert_same_as_torch(inputs((2, 4, seqlen_q, 32), (2, 4, seqlen_k, 32)), is_causal=is_causal)


@pytest.mark.parametrize(
    "shape", [(20, 30), (1, 30), (20, 1), (4, 20, 30), (2, 1, 20, 30), (2, 1, 1, 30), (2, 4, 20, 30)]
)
@pytest.mark.parametrize("as_float", [False, True])
def test_masks_broadcast_as_torch_broadcasts_them(shape: tuple[int, ...], as_float: bool) -> None:
    """Per query, per key, per head, per batch; boolean, or of 0 and -inf."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(4)) < 0.7
    mask[..., 0] = True  # torch differs between versions on rows that see nothing
    given = torch.where(mask, 0.0, -torch.inf) if as_float else mask

    assert_same_as_torch(inputs((2, 4, 20, 32), (2, 4, 30, 32)), attn_mask=given)


def test_a_row_that_sees_nothing_is_zero() -> None:
    """And takes no part in any gradient."""
    q, k, v = inputs()
    mask = torch.ones(20, 20, dtype=torch.bool)
    mask[5] = False
    o = scaled_dot_product_attention(q, k, v, mask)
    o.sum().backward()

    assert (o[:, :, 5] == 0).all()
    assert q.grad is not None
    assert (q.grad[:, :, 5] == 0).all()
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize(
    ("q_shape", "k_shape", "arguments"),
    [
        ((20, 32), (20, 32), {}),
        ((4, 20, 32), (4, 20, 32), {"is_causal": True}),
        ((2, 4, 20, 32), (2, 2, 20, 32), {"enable_gqa": True}),
        ((2, 4, 20, 32), (2, 4, 20, 32), {"scale": 0.05}),
    ],
)
def test_shapes_and_arguments_mean_what_they_mean_to_torch(
    q_shape: tuple[int, ...], k_shape: tuple[int, ...], arguments: dict[str, Any]
) -> None:
    """Fewer dimensions, grouped heads, another scale."""
    assert_same_as_torch(inputs(q_shape, k_shape), **arguments)


def test_tensors_that_no_kernel_can_read_are_copied() -> None:
    """Torch takes any strides, and so does its drop-in."""
    q, k, v = (tensor.detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_() for tensor in inputs())
    assert_same_as_torch((q, k, v))


def test_a_plan_serves_as_a_mask() -> None:
    """Made once for many layers."""
    q, k, v = inputs()
    mask = torch.rand(20, 20) < 0.5
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v, masks.from_tensor(mask)), scaled_dot_product_attention(q, k, v, mask)
    )


@pytest.mark.parametrize(
    ("shapes", "arguments", "message"),
    [
        ((), {"dropout_p": 0.1}, r"dropout_p is 0\.1; expected 0: the kernels are without dropout by design"),
        ((), {"attn_mask": torch.zeros(20, 20), "is_causal": True}, "attn_mask and is_causal exclude each other"),
        ((), {"attn_mask": torch.full((20, 20), 0.5)}, "attn_mask adds other values than 0 and -inf"),
        ((), {"attn_mask": torch.zeros(20, 20, requires_grad=True)}, "torch.float32 and requires a gradient; expected"),
        ((), {"attn_mask": torch.zeros(20, 20, dtype=torch.int32)}, "attn_mask is torch.int32; expected torch.bool"),
        ((), {"attn_mask": torch.ones(3, 20, dtype=torch.bool)}, r"\(3, 20\); expected one that broadcasts to \[2, 4"),
        ((), {"attn_mask": torch.ones(20, 20, dtype=torch.bool, device="meta")}, "attn_mask is on meta; expected cpu"),
        (((2, 4, 20, 32), (2, 2, 20, 32)), {}, "query has 4 heads and key 2; expected equal numbers, or enable_gqa"),
        (((1, 2, 4, 20, 32), (1, 2, 4, 20, 32)), {}, r"query has shape \(1, 2, 4, 20, 32\); expected \[batch, heads"),
        (((2, 4, 20, 24), (2, 4, 20, 24)), {}, "head_dim 24 has no host kernel"),
    ],
)
def test_what_no_kernel_takes_is_refused_by_name(
    shapes: tuple[tuple[int, ...], ...], arguments: dict[str, Any], message: str
) -> None:
    """Directly and inside of a model, never by a silent return to torch's kernels."""
    tensors = inputs(*shapes)
    with pytest.raises(UnsupportedInputError, match=message):
        scaled_dot_product_attention(*tensors, **arguments)
    with roofgate_attention() as use, pytest.raises(UnsupportedInputError, match=message):
        functional.scaled_dot_product_attention(*tensors, **arguments)
    assert use.calls == 0


def test_fallback_is_asked_for_and_counted() -> None:
    """By reason; what the kernels take, they still answer."""
    q, k, v = inputs()
    with roofgate_attention(fallback=True) as use:
        functional.scaled_dot_product_attention(q, k, v)
        biased = functional.scaled_dot_product_attention(q, k, v, torch.full((20, 20), 0.5))

    torch.testing.assert_close(biased, THEIRS(q, k, v, torch.full((20, 20), 0.5)))
    assert use.calls == 1
    assert sum(use.fallbacks.values()) == 1
    assert next(iter(use.fallbacks)).startswith("attn_mask adds other values")


def test_torch_is_as_it_was_afterwards() -> None:
    """Also after an error, and after contexts in contexts."""
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError, match="planted"), roofgate_attention():
        with roofgate_attention(fallback=True):
            assert functional.scaled_dot_product_attention is not THEIRS
        raise RuntimeError("planted")

    assert functional.scaled_dot_product_attention is THEIRS
    assert torch.backends.mha.get_fastpath_enabled() == had_fast_path


def layer() -> nn.Module:
    """A layer of torch's own, without dropout."""
    torch.manual_seed(5)
    return nn.TransformerEncoderLayer(64, 4, dim_feedforward=64, dropout=0.0, batch_first=True)


CAUSAL = nn.Transformer.generate_square_subsequent_mask(30)
PADDING = torch.arange(30)[None, :] >= torch.tensor([30, 17])[:, None]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"src_mask": CAUSAL, "is_causal": True}, {"src_mask": CAUSAL}, {"src_key_padding_mask": PADDING}],
    ids=["full", "causal", "mask", "padding"],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_torch_modules_compute_the_same(arguments: dict[str, torch.Tensor], is_training: bool) -> None:
    """Without a change to their code: outputs, and gradients of all parameters."""
    module = layer().train(is_training)
    x = torch.randn(2, 30, 64, generator=torch.Generator().manual_seed(6))
    results = []
    for context in (roofgate_attention(), None):
        module.zero_grad()
        if context is None:
            y = module(x, **arguments)
        else:
            with context as use:
                y = module(x, **arguments)
            assert use.calls == 1
        y.square().sum().backward()
        results.append((y.detach(), *(parameter.grad.clone() for parameter in module.parameters())))

    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_fused_inference_does_not_bypass_it() -> None:
    """Under no_grad, torch's layers would take a kernel that never calls the function."""
    with torch.no_grad(), roofgate_attention() as use:
        layer().eval()(torch.randn(2, 30, 64))

    assert use.calls == 1


def test_dropout_in_a_model_is_refused_while_it_trains() -> None:
    """And is no obstacle once it does not."""
    module = nn.MultiheadAttention(64, 4, dropout=0.1, batch_first=True)
    x = torch.randn(2, 30, 64)
    with roofgate_attention() as use:
        with pytest.raises(UnsupportedInputError, match=r"dropout_p is 0\.1"):
            module(x, x, x, need_weights=False)
        module.eval()(x, x, x, need_weights=False)

    assert use.calls == 1


def test_a_module_compiles_inside() -> None:
    """In one graph, forward and backward."""
    q, k, v = inputs()
    with roofgate_attention():
        compiled = torch.compile(
            lambda *qkv: functional.scaled_dot_product_attention(*qkv, is_causal=True),
            backend="aot_eager",
            fullgraph=True,
        )
        answer = compiled(q, k, v)

    torch.testing.assert_close(answer, scaled_dot_product_attention(q, k, v, is_causal=True), rtol=0, atol=0)
    answer.sum().backward()
