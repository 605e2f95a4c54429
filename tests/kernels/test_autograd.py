"""Gradients through the ops, against float64, and what autograd may ask of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels import masks, ops, reference
from kernels.attention_inputs import sequences_from_lengths
from kernels.attention_params import AttentionOptions
from tests.kernels.accuracy import (
    assert_gradients_as_accurate_as_torch,
    random_gradient,
    random_inputs,
    random_sequences,
)

SLOPES = torch.tensor([0.5, 0.25, 0.1, 0.0])
LENGTHS = [70, 0, 1, 130]
MASK = torch.rand(2, 4, 90, 130, generator=torch.Generator().manual_seed(7)) < 0.3
MASK[:, :, 40:50] = False
PLAN = masks.from_tensor(MASK)

# Arguments of the op, and the fields of the structure that mean the same.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({}, {}),
    "causal": ({"causal": True}, {"window_right": 0}),
    "window": ({"window": (20, 10)}, {"window_left": 20, "window_right": 10}),
    "softcap": ({"softcap": 2.0}, {"softcap": 2.0}),
    "ALiBi": ({"alibi_slopes": SLOPES, "causal": True}, {"alibi_slopes": SLOPES, "window_right": 0}),
}
every_option = pytest.mark.parametrize(("arguments", "fields"), OPTIONS.values(), ids=OPTIONS)


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors, to be differentiated by."""
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


@every_option
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gradients_are_as_accurate_as_torch(
    arguments: dict[str, Any], fields: dict[str, Any], dtype: torch.dtype
) -> None:
    """Grouped heads, different lengths."""
    tensors = leaves(*random_inputs(dtype, 2, 4, 2, 90, 130, 64))
    o = ops.attention(*tensors, **arguments)
    d_o = random_gradient(o)
    gradients = torch.autograd.grad(o, tensors, d_o)

    assert_gradients_as_accurate_as_torch(*gradients, *tensors, d_o, AttentionOptions(scale=0.125, **fields))


@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gradients_through_a_plan_are_as_accurate_as_torch(softcap: float, dtype: torch.dtype) -> None:
    """A mask of its own for each head and batch, with rows that see nothing: those get zeros."""
    tensors = leaves(*random_inputs(dtype, 2, 4, 2, 90, 130, 64))
    o = ops.attention(*tensors, mask=PLAN, softcap=softcap)
    d_o = random_gradient(o)
    dq, dk, dv = torch.autograd.grad(o, tensors, d_o)
    options = AttentionOptions(scale=0.125, plan=PLAN, softcap=softcap)

    assert_gradients_as_accurate_as_torch(dq, dk, dv, *tensors, d_o, options)
    assert (dq[:, :, 40:50] == 0).all()


@every_option
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gradients_of_sequences_are_as_accurate_as_torch(
    arguments: dict[str, Any], fields: dict[str, Any], dtype: torch.dtype
) -> None:
    """Of different lengths, also none."""
    sequences = sequences_from_lengths(LENGTHS)
    tensors = leaves(*random_sequences(dtype, sum(LENGTHS), sum(LENGTHS), 4, 2, 64))
    o = ops.attention_varlen(*tensors, sequences, **arguments)
    d_o = random_gradient(o)
    gradients = torch.autograd.grad(o, tensors, d_o)
    options = AttentionOptions(scale=0.125, sequences_q=sequences, sequences_k=sequences, **fields)

    assert_gradients_as_accurate_as_torch(*gradients, *tensors, d_o, options)


SMALL_MASK = masks.from_tensor(torch.tensor([[True, False, True], [False, False, False], [True, True, False]]))
SMALL_OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: options for name, options in OPTIONS.items() if name != "window"},
    "plan": ({"mask": SMALL_MASK}, {"plan": SMALL_MASK}),
}
every_small_option = pytest.mark.parametrize(("arguments", "fields"), SMALL_OPTIONS.values(), ids=SMALL_OPTIONS)


def small_inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    """Few enough elements to move each by itself."""
    return leaves(*(tensor.to(dtype) for tensor in random_inputs(torch.float32, 1, 4, 2, 3, 3, 16)))


@every_small_option
def test_the_reference_has_the_gradients_of_its_function(arguments: dict[str, Any], fields: dict[str, Any]) -> None:  # noqa: ARG001
    """The judge is judged: differences of its float64 outputs are its gradients."""
    options = AttentionOptions(scale=0.25, **fields)

    assert torch.autograd.gradcheck(lambda *qkv: reference.attention(*qkv, options)[0], small_inputs(torch.float64))


@pytest.mark.filterwarnings("ignore:Input #. requires gradient and is not a double precision:UserWarning")
@every_small_option
def test_the_op_has_the_gradients_of_its_function(arguments: dict[str, Any], fields: dict[str, Any]) -> None:  # noqa: ARG001
    """In fp32, the widest type that the kernels have.

    A step of 2^-6 makes an error of about 2^-12 in a central difference of smooth functions with values about 1, and
    rounding their values 2^-24 / 2^-6 = 2^-18 of one.
    """
    tolerances = {"eps": 2**-6, "atol": 2**-10, "rtol": 2**-10}

    assert torch.autograd.gradcheck(
        lambda *qkv: ops.attention(*qkv, **arguments), small_inputs(torch.float32), **tolerances
    )


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_frozen_tensors_get_no_gradient(wanted: tuple[int, ...]) -> None:
    """And do not keep the others from theirs."""
    tensors = [tensor.requires_grad_(index in wanted) for index, tensor in enumerate(small_inputs(torch.float32))]
    ops.attention(*tensors).sum().backward()

    assert [tensor.grad is not None for tensor in tensors] == [index in wanted for index in range(3)]


def test_without_gradients_nothing_is_kept() -> None:
    """Inference does not pay for training."""
    with torch.no_grad():
        o = ops.attention(*small_inputs(torch.float32))

    assert not o.requires_grad


def test_memory_is_linear_in_the_length() -> None:
    """Q, K, V, O and the LSE are all that waits for the backward pass."""
    tensors = leaves(*random_inputs(torch.bfloat16, 1, 4, 2, 200, 300, 64))
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        o = ops.attention(*tensors)

    assert sum(t.nbytes for t in saved) == sum(t.nbytes for t in (*tensors, o)) + 4 * 200 * 4


def test_any_gradient_of_o_will_do() -> None:
    """Transposed, or one number expanded, which is what a sum hands down."""
    tensors = small_inputs(torch.float32)
    o = ops.attention(*tensors)
    d_o = random_gradient(o)
    expected = torch.autograd.grad(o, tensors, d_o, retain_graph=True)
    strided = d_o.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(torch.autograd.grad(o, tensors, strided, retain_graph=True), expected, rtol=0, atol=0)
    ones = torch.autograd.grad(o, tensors, torch.ones_like(o), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(o.sum(), tensors), ones, rtol=0, atol=0)


@pytest.mark.parametrize("by_argument", [True, False])
@pytest.mark.parametrize("by_torch", [True, False])
def test_determinism_is_asked_for_by_argument_or_of_torch(
    monkeypatch: pytest.MonkeyPatch, by_argument: bool, by_torch: bool
) -> None:
    """Either reaches the kernel."""
    asked: list[bool] = []
    original = ops.backward_params

    def spy(*arguments: Any, deterministic: bool) -> Any:
        asked.append(deterministic)
        return original(*arguments, deterministic=deterministic)

    monkeypatch.setattr(ops, "backward_params", spy)
    o = ops.attention(*small_inputs(torch.float32), deterministic=by_argument)
    torch.use_deterministic_algorithms(by_torch)
    try:
        o.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)

    assert asked == [by_argument or by_torch]


def test_a_model_trains_as_it_does_with_torch() -> None:
    """A few steps of gradient descent through two layers end at the same loss."""

    def losses(attend: Any) -> list[float]:
        torch.manual_seed(8)
        projections = [torch.nn.Linear(64, 192) for _ in range(2)]
        optimiser = torch.optim.SGD([p for layer in projections for p in layer.parameters()], lr=0.05)
        x, target = torch.randn(2, 40, 64), torch.randn(2, 40, 64)
        history = []
        for _ in range(5):
            y = x
            for layer in projections:
                q, k, v = layer(y).view(2, 40, 3, 4, 16).permute(2, 0, 3, 1, 4)
                y = y + attend(q, k, v).transpose(1, 2).reshape(2, 40, 64)
            loss = (y - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history.append(loss.item())
        return history

    ours = losses(lambda q, k, v: ops.attention(q, k, v, causal=True))
    theirs = losses(lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours[-1] < ours[0]
