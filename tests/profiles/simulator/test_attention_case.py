"""Whether an attention answer on the simulated device is right: what rounding explains passes, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from kernels import reference
from kernels.errors import RoofgateError
from perf.model import Case, Operation
from profiles.simulator.attention_case import EXAMPLE_CASE, PlacedAttention, parse_case, place_attention, wrong_answer
from profiles.simulator.attention_inputs import make_inputs, with_heads_inside, with_large_scores, without_keys
from profiles.simulator.device_memory import DeviceMemory

SHAPE = "2x4kv2x70k90x64"
SCORES = [
    "full",
    "causal",
    "window20",
    "prefix30",
    "document25",
    "sparse50",
    "causal-varlen",
    "full-softcap5",
    "window20-varlen-alibi",
    "prefix30-softcap5-alibi",
]
DTYPES = pytest.mark.parametrize("dtype", ["bf16", "fp16"])


def forward(scores: str, dtype: str = "bf16") -> Case:
    """A small forward case."""
    return parse_case(f"attention_fwd-{dtype}-{SHAPE}-{scores}")


def backward(scores: str, dtype: str = "bf16") -> Case:
    """A small backward case."""
    return parse_case(f"attention_bwd-{dtype}-{SHAPE}-{scores}")


def answered(case: Case) -> PlacedAttention:
    """The case with the right answer in the place of the kernel's, rounded to its type."""
    inputs = make_inputs(case)
    with DeviceMemory() as memory:
        placed = place_attention(case.operation, inputs, memory)
    tensors = (inputs.q, inputs.k, inputs.v)
    if placed.gradients is None:
        o, lse = reference.attention(*tensors, inputs.options)
        placed.o.copy_(o)
        placed.lse.copy_(lse)
    else:
        outputs = (placed.gradients.dq, placed.gradients.dk, placed.gradients.dv)
        for output, right in zip(outputs, reference.gradients(*tensors, inputs.d_o, inputs.options), strict=True):
            output.copy_(right)
    return placed


@DTYPES
@pytest.mark.parametrize("scores", SCORES)
def test_the_right_answer_is_right(scores: str, dtype: str) -> None:
    """Rounded to the type of the case, under every mask."""
    assert wrong_answer(answered(forward(scores, dtype))) == ""
    assert wrong_answer(answered(backward(scores, dtype))) == ""


@pytest.mark.parametrize("scores", SCORES)
def test_an_output_that_nobody_wrote_is_wrong(scores: str) -> None:
    """Outputs begin as NaN, and every one of them is named."""
    for case, names in ((forward(scores), ("O", "LSE")), (backward(scores), ("dQ", "dK", "dV"))):
        with DeviceMemory() as memory:
            wrong = wrong_answer(place_attention(case.operation, make_inputs(case), memory))
        assert wrong == ", ".join(f"{name} is off by up to nan from float64" for name in names)


@pytest.mark.parametrize("scores", SCORES)
def test_one_percent_too_much_is_wrong(scores: str) -> None:
    """In every output: less than the rounding of bf16 to some, yet more than is allowed to most."""
    placed = answered(backward(scores))
    assert placed.gradients is not None
    for name in ("dq", "dk", "dv"):
        tensor: torch.Tensor = getattr(placed.gradients, name)
        kept = tensor.clone()
        tensor.mul_(1.03)
        assert wrong_answer(placed).startswith(f"d{name[1].upper()} is off")
        tensor.copy_(kept)


@DTYPES
@pytest.mark.parametrize("change", [with_large_scores, with_heads_inside])
def test_rounding_where_kernels_round_is_right(dtype: str, change: Callable[..., object]) -> None:
    """Weights and the gradients of scores in the type of the case, delta from the rounded O: as the kernels do."""
    case = parse_case(f"attention_bwd-{dtype}-2x4kv2x70k90x64-full")
    inputs = change(make_inputs(case))
    with DeviceMemory() as memory:
        placed = place_attention(Operation.ATTENTION_BWD, inputs, memory)
    found = placed.gradients
    assert found is not None
    q, d_o, o = placed.q.float(), found.d_o.float(), found.o.float()
    k, v = (tensor.float().repeat_interleave(2, dim=1) for tensor in (placed.k, placed.v))
    weights = torch.exp(placed.options.scale * q @ k.mT - found.lse[..., None])
    delta = (d_o * o).sum(-1, keepdim=True)
    d_scores = (weights * (d_o @ v.mT - delta)).to(placed.q.dtype).float()
    found.dq.copy_(placed.options.scale * d_scores @ k)
    found.dk.copy_(placed.options.scale * (d_scores.mT @ q).unflatten(1, (2, 2)).sum(2))
    found.dv.copy_((weights.to(placed.q.dtype).float().mT @ d_o).unflatten(1, (2, 2)).sum(2))

    assert wrong_answer(placed) == ""


def test_without_keys_rows_are_zero() -> None:
    """No sum is a sum of nothing: O = 0 and LSE = -inf are right, anything else is not."""
    inputs = without_keys(make_inputs(forward("full")))
    with DeviceMemory() as memory:
        placed = place_attention(Operation.ATTENTION_FWD, inputs, memory)
    placed.o.zero_()
    placed.lse.fill_(-math.inf)
    assert wrong_answer(placed) == ""

    placed.lse[0, 0, 0] = 0.0
    assert wrong_answer(placed) == "LSE is off by up to inf from float64"


def test_inputs_follow_from_the_seed() -> None:
    """Equal for equal seeds, and other for others."""
    first, second, other = (make_inputs(forward("full"), seed) for seed in (3, 3, 4))
    assert torch.equal(first.q, second.q)
    assert not torch.equal(first.q, other.q)


def test_the_example_is_a_case_and_other_names_are_an_error() -> None:
    """The error says what would be taken."""
    assert parse_case(EXAMPLE_CASE).name == EXAMPLE_CASE
    with pytest.raises(RoofgateError, match="is no case; expected OPERATION-DTYPE"):
        parse_case("attention-64")


def test_a_type_without_cuda_kernel_is_refused() -> None:
    """With the types that there are."""
    with pytest.raises(RoofgateError, match="no CUDA kernel takes fp32; expected bf16 or fp16"):
        make_inputs(parse_case("attention_fwd-fp32-1x1x8x64-full"))
