"""What is trained on, that runs repeat, and that the clocks in a step see the attention and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from perf.model import Device, DType
from perf.transformer.attentions import torch_attention
from perf.transformer.results import Implementation, Phase
from perf.transformer.settings import CURVE_SETTING, QUICK_SETTING
from perf.transformer.spans import HostClock, SpanRecorder
from perf.transformer.timing import capture_attention_call, time_phases
from perf.transformer.training import batches, rehearse, train_curve

HOST = torch.device("cpu")
SMALL = replace(CURVE_SETTING, batch=3, seqlen=32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are tiny, and the machine may be busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_batches_cover_the_text_once() -> None:
    """The next token of each sequence's last one begins the next sequence."""
    taken = list(batches(SMALL, HOST, 0, steps=4))
    rows = torch.cat(taken)

    assert rows.shape == (12, 33)
    assert torch.equal(rows[:-1, -1], rows[1:, 0])


def test_another_order_permutes_within_batches() -> None:
    """The same sequences in every step."""
    plain, permuted = (list(batches(SMALL, HOST, 0, steps=4, order_seed=seed)) for seed in (None, 1))

    assert any(not torch.equal(one, other) for one, other in zip(plain, permuted, strict=True))
    for one, other in zip(plain, permuted, strict=True):
        assert sorted(one.tolist()) == sorted(other.tolist())


@pytest.mark.parametrize("dtype", [DType.BF16, DType.FP32])
def test_a_run_repeats_bit_by_bit(dtype: DType) -> None:
    """Else curves could not be compared; torch's own seed neither matters nor changes."""
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train_curve(SMALL, torch_attention, HOST, dtype, steps=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)

    assert train_curve(SMALL, torch_attention, HOST, dtype, steps=5) == first
    assert train_curve(SMALL, torch_attention, HOST, dtype, steps=5, seed=1) != first


class _Slow(torch.autograd.Function):
    """Takes 30 ms forward and 50 ms backward."""

    @staticmethod
    def forward(ctx: object, q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        time.sleep(0.03)
        return q.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004
        time.sleep(0.05)
        return gradient, None


def test_spans_are_the_attention_and_nothing_else() -> None:
    """Of two layers, forward and backward."""
    setting = replace(SMALL, model=replace(SMALL.model, layers=2))
    recorder = SpanRecorder(HostClock())
    rehearsal = rehearse(setting, recorder.around(lambda q, _, v: _Slow.apply(q, v)), HOST, DType.FP32)
    for _ in range(3):
        recorder.step(rehearsal.training_step)
    spans = recorder.spans(last=2)

    assert len(spans.step_s) == 2
    # A busy machine makes the sleeps longer, but no time of anything else may be added: hence the least of two.
    assert min(spans.forward_s) == pytest.approx(0.06, rel=0.2)
    assert min(spans.backward_s) == pytest.approx(0.10, rel=0.2)
    assert all(
        step > forward + backward
        for step, forward, backward in zip(spans.step_s, spans.forward_s, spans.backward_s, strict=True)
    )


def test_spans_change_no_gradient() -> None:
    """The functions around the attention hand everything through."""
    plain, clocked = (rehearse(SMALL, torch_attention, HOST, DType.FP32) for _ in range(2))
    recorder = SpanRecorder(HostClock())
    clocked.model.use(recorder.around(torch_attention))
    plain.training_step()
    recorder.step(clocked.training_step)

    for one, other in zip(plain.model.parameters(), clocked.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_prefill_has_no_backward() -> None:
    """Its spans are zero."""
    recorder = SpanRecorder(HostClock())
    rehearsal = rehearse(SMALL, recorder.around(torch_attention), HOST, DType.BF16)
    recorder.step(rehearsal.prefill)

    assert recorder.spans(last=1).backward_s == (0.0,)
    assert recorder.spans(last=1).forward_s > (0.0,)


def test_attention_alone_has_the_layout_that_it_has_in_the_model() -> None:
    """Shapes, strides and type of one layer's call, and of the gradient that comes back."""
    call = capture_attention_call(rehearse(SMALL, torch_attention, HOST, DType.BF16), torch_attention)
    batch, seqlen, size = SMALL.batch, SMALL.seqlen, SMALL.model

    assert call.q.shape == call.d_o.shape == (batch, size.heads_q, seqlen, size.head_dim)
    assert call.k.shape == call.v.shape == (batch, size.heads_kv, seqlen, size.head_dim)
    assert call.q.stride()[1] == call.v.stride()[1] == call.d_o.stride()[1] == size.head_dim
    assert call.v.stride()[2] == (size.heads_q + 2 * size.heads_kv) * size.head_dim
    assert {tensor.dtype for tensor in (call.q, call.k, call.v, call.d_o)} == {torch.bfloat16}


def test_both_implementations_are_timed_in_the_same_rounds() -> None:
    """Every phase has as many samples of one as of the other."""
    both = dict.fromkeys(Implementation, torch_attention)
    phases = time_phases(QUICK_SETTING, Device.CPU, DType.BF16, seconds_each=0.4, attentions=both)

    assert [phase.phase for phase in phases] == [*Phase]
    for phase in phases:
        assert len(phase.torch.step_s) == len(phase.own.step_s) == len(phase.torch.alone_s) == len(phase.own.alone_s)
        assert all(
            0 < forward < step for forward, step in zip(phase.own.spans.forward_s, phase.own.spans.step_s, strict=True)
        )
