"""All that torch is asked computes what the case says: the answers of every peer are those of the float64 reference."""

from __future__ import annotations

import pytest
import torch

from kernels import reference
from perf.case import parse_case
from perf.case_inputs import Inputs, make_inputs
from perf.model import FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, Case, Device, Operation
from perf.peers import _in_our_layout, _peers, implementations, own_contender, peer_contenders
from perf.torch_forms import Tensors

CASES = (
    "1x4x130x32-full",
    "2x4kv2x130x32-causal",
    "1x4x70k130x32-causal",
    "1x4x130x32-window40",
    "2x4x130x32-prefix50",
    "2x4kv1x300x32-document60",
    "1x4x300x32-sparse50",
    "3x4x130x32-causal-varlen",
    "3x4kv2x130x32-full-varlen",
    "3x4x70k130x32-full-varlen",
    "3x4x130x32-window20-varlen",
    "1x4kv2x130x32-causal-softcap3",
    "1x4x130x32-full-softcap0.5",
    "1x4kv2x130x32-causal-alibi",
    "1x4x70k130x32-full-alibi",
    "2x4x130x32-document60-alibi",
    "2x4x130x32-prefix50-softcap3-alibi",
    "3x4x130x32-causal-varlen-softcap3-alibi",
)
OURS = (OWN_IMPLEMENTATION, FULL_MASK_IMPLEMENTATION)
OPERATIONS = pytest.mark.parametrize("operation", list(Operation), ids=[operation.value for operation in Operation])


def expected_answer(case: Case, inputs: Inputs) -> Tensors:
    """O, or the gradients, in float64."""
    if case.operation is Operation.ATTENTION_FWD:
        return reference.attention(inputs.q, inputs.k, inputs.v, inputs.options)[:1]
    assert inputs.d_o is not None
    return reference.gradients(inputs.q, inputs.k, inputs.v, inputs.d_o, inputs.options)


def assert_close(answer: Tensors, expected: Tensors) -> None:
    """To the rounding of float32."""
    for found, right in zip(answer, expected, strict=True):
        assert found.shape == right.shape
        torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-4)


@OPERATIONS
@pytest.mark.parametrize("shape", CASES)
def test_every_peer_answers_the_question_of_the_case(operation: Operation, shape: str) -> None:
    """Masks, sequences, softcap and ALiBi as the float64 reference has them; none is refused on the host."""
    case = parse_case(f"{operation.value}-fp32-{shape}")
    inputs = make_inputs(case, Device.CPU)
    expected = expected_answer(case, inputs)
    contenders, refused, answer = peer_contenders(case, Device.CPU, inputs)

    assert refused == {}
    assert [*contenders] == [name for name in implementations(case, Device.CPU) if name not in OURS]
    assert answer is not None
    assert_close(answer, expected)
    for name, peer in _peers(case, Device.CPU).items():
        form = peer.make_form(case, Device.CPU, inputs)
        with contenders[name].setting():
            outputs = contenders[name].call()
        assert isinstance(outputs, tuple)
        assert_close(_in_our_layout(form, outputs, operation), expected)


@OPERATIONS
@pytest.mark.parametrize("shape", CASES)
def test_our_kernel_is_given_the_same_question(operation: Operation, shape: str) -> None:
    """Its mask plan, sequences and slopes are those of the case; calls can be repeated."""
    case = parse_case(f"{operation.value}-fp32-{shape}")
    inputs = make_inputs(case, Device.CPU)
    contender = own_contender(case, inputs)
    contender.call()
    answer = contender.call()

    assert isinstance(answer, tuple)
    assert_close(answer, expected_answer(case, inputs))


def test_inputs_are_the_same_on_every_run() -> None:
    """Of one seed; the backward case of a shape has the forward case's Q, K and V."""
    forward, backward = (parse_case(f"attention_{name}-bf16-2x4x130x32-causal") for name in ("fwd", "bwd"))
    one, other = make_inputs(forward, Device.CPU), make_inputs(backward, Device.CPU)

    assert torch.equal(one.q, other.q)
    assert torch.equal(one.v, other.v)
    assert one.d_o is None
    assert other.d_o is not None


def test_a_gpu_has_the_peers_that_a_host_lacks() -> None:
    """FlexAttention for everything; nested tensors where the flash kernel behind them takes the mask."""

    def peers(shape: str) -> tuple[str, ...]:
        names = implementations(parse_case(f"attention_fwd-bf16-{shape}"), Device.CUDA)
        return tuple(name for name in names if name not in OURS)

    assert peers("1x4x130x64-causal") == ("torch_flash", "torch_cudnn", "torch_efficient", "torch_math", "torch_flex")
    assert peers("1x4x130x64-full-softcap30") == ("torch_eager", "torch_flex")
    assert peers("2x4x130x64-causal-varlen") == ("torch_padded", "torch_loop", "torch_nested", "torch_flex")
    assert peers("2x4x130x64-window8-varlen") == ("torch_padded", "torch_loop", "torch_flex")
    assert peers("2x4x130x64-causal-varlen-alibi") == ("torch_loop", "torch_flex")
