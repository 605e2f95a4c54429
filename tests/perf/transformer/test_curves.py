"""Equal curves pass, and wrong attentions are caught, in real training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from perf.model import Device, DType
from perf.transformer.curves import FACTOR, agreement, judge, judge_controls
from perf.transformer.decoder import Attend
from perf.transformer.results import Curve, CurveSet
from perf.transformer.session import curve_set
from perf.transformer.settings import CURVE_SETTING
from perf.transformer.training import train_curve
from tests.perf.transformer.invented_runs import invented_curves

SMALL = replace(CURVE_SETTING, batch=2)
STEPS = 40


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the command trains for curves: fast on a busy machine, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def repeated_heads(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Right, by another path: every head of q has keys of its own."""
    group = q.shape[1] // k.shape[1]
    keys, values = (tensor.repeat_interleave(group, dim=1).contiguous() for tensor in (k, v))
    return scaled_dot_product_attention(q.contiguous(), keys, values, is_causal=True)


def without_mask(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Wrong: sees the tokens that it is to predict."""
    return scaled_dot_product_attention(q, k, v, enable_gqa=True)


def wrong_scale(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Wrong: scores ten percent too large."""
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=1.1 * q.shape[-1] ** -0.5)


def without_gradient_of_keys(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Wrong in the backward pass alone."""
    return scaled_dot_product_attention(q, k.detach(), v, is_causal=True, enable_gqa=True)


@cache
def trained(dtype: DType) -> CurveSet:
    """A right attention beside torch's and its controls."""
    return curve_set(SMALL, repeated_heads, Device.CPU, dtype, steps=STEPS)


def with_attention(attend: Attend, dtype: DType) -> CurveSet:
    """The same torch, beside ``attend``."""
    losses = train_curve(SMALL, attend, torch.device("cpu"), dtype, steps=STEPS)
    return replace(trained(dtype), own=Curve(title="planted", losses=losses))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
def test_a_right_attention_has_an_equal_curve(dtype: DType) -> None:
    """Rounded elsewhere; and the model does learn."""
    curves = trained(dtype)

    assert judge(curves).is_equal
    assert curves.own.losses[-1] < 0.7 * curves.own.losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "dtype", "least_ratio"),
    [
        # In these few steps of bf16, scores hardly matter yet.
        (without_mask, DType.BF16, 10),
        (without_mask, DType.FP32, 100),
        (wrong_scale, DType.FP32, 100),
        (without_gradient_of_keys, DType.FP32, 100),
    ],
)
def test_a_wrong_attention_is_caught(wrong: Attend, dtype: DType, least_ratio: float) -> None:
    """In a fifth of the steps that the command takes, by more than any choice of the factor could hide."""
    found = judge(with_attention(wrong, dtype))

    assert not found.is_equal
    assert found.worst_ratio > least_ratio


def test_the_rule_by_hand() -> None:
    """Distances are root mean squares by window; controls of earlier windows count, later ones do not."""
    reference = [1.0] * 4
    controls = [[1.1, 1.2, 1.0, 1.0], [0.9, 1.1, 1.0, 1.4]]

    found = agreement([1.4, 1.0, 1.3, 1.0], reference, controls)

    assert found.distances == pytest.approx((0.4, 0.0, 0.3, 0.0))
    assert found.allowed == pytest.approx(tuple(FACTOR * most for most in (0.1, 0.2, 0.2, 0.4)))
    assert found.is_equal
    assert found.worst_ratio == pytest.approx(1.0)


def test_a_loss_that_is_no_number_is_not_equal() -> None:
    """NaN compares as neither larger nor smaller."""
    found = agreement([1.0, math.nan], [1.0, 1.0], [[1.1, 1.1]])

    assert not found.is_equal
    assert found.worst_ratio == math.inf


def test_controls_pass_their_own_rule() -> None:
    """The rule raises no alarm where there is nothing to find."""
    assert all(control.is_equal for control in judge_controls(invented_curves()))
