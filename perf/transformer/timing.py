"""Time the model with torch's attention and with ours, and both attentions by themselves, all of them alternately."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from kernels.errors import RoofgateError
from perf.alternate import LeftOut, Samples, measure_alternately
from perf.model import Device, DType
from perf.timer import Contender, CpuTimer, CudaTimer, LaunchPolicy, Timer
from perf.transformer.attentions import ATTENTIONS
from perf.transformer.decoder import Attend
from perf.transformer.results import Implementation, Phase, PhaseTimings, Timing
from perf.transformer.settings import Setting
from perf.transformer.spans import CudaClock, HostClock, SpanRecorder
from perf.transformer.training import Rehearsal, precision, rehearse


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCall:
    """What one layer's attention is called with in a training step, strides included."""

    q: torch.Tensor  # [batch, heads_q, seqlen, head_dim]
    k: torch.Tensor  # [batch, heads_kv, seqlen, head_dim]
    v: torch.Tensor  # like k
    d_o: torch.Tensor  # like q: the gradient that comes back


def time_phases(
    setting: Setting,
    device: Device,
    dtype: DType,
    *,
    seconds_each: float,
    attentions: Mapping[Implementation, Attend] = ATTENTIONS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[PhaseTimings, ...]:
    """Time every phase of the setting; ``seconds_each`` is the budget of each of six contenders in each phase."""
    rehearsal = rehearse(setting, attentions[Implementation.TORCH], torch.device(device.value), dtype)
    call = capture_attention_call(rehearsal, attentions[Implementation.TORCH])
    timings = []
    for phase in Phase:
        progress(f"{setting.name}: timing {phase.value}")
        timings.append(_time_phase(phase, rehearsal, call, device, seconds_each, attentions))
    return tuple(timings)


def _time_phase(
    phase: Phase,
    rehearsal: Rehearsal,
    call: AttentionCall,
    device: Device,
    seconds_each: float,
    attentions: Mapping[Implementation, Attend],
) -> PhaseTimings:
    step = rehearsal.training_step if phase is Phase.TRAINING else rehearsal.prefill
    alone = _forward_and_backward if phase is Phase.TRAINING else _forward
    contenders: dict[str, Contender] = {}
    recorders: dict[Implementation, SpanRecorder] = {}
    for implementation, attend in attentions.items():
        recorder = recorders[implementation] = SpanRecorder(HostClock() if device is Device.CPU else CudaClock())
        contenders[f"{implementation.value} step"] = Contender(step, partial(_used, rehearsal, attend))
        contenders[f"{implementation.value} spans"] = Contender(
            partial(recorder.step, step), partial(_used, rehearsal, recorder.around(attend))
        )
        contenders[f"{implementation.value} alone"] = Contender(
            partial(alone, attend, call), partial(precision, rehearsal.tokens.device, rehearsal.dtype)
        )
    timer: Timer = CpuTimer() if device is Device.CPU else CudaTimer(launch=LaunchPolicy.PLAIN)
    sampled = measure_alternately(contenders, timer, seconds_each=seconds_each)
    timed = {each: _timing(each, sampled, recorders[each]) for each in attentions}
    return PhaseTimings(phase=phase, torch=timed[Implementation.TORCH], own=timed[Implementation.ROOFGATE])


def _timing(implementation: Implementation, sampled: Mapping[str, Samples | LeftOut], recorder: SpanRecorder) -> Timing:
    step, spans, alone = (_samples(sampled, f"{implementation.value} {kind}") for kind in ("step", "spans", "alone"))
    return Timing(
        implementation=implementation,
        step_s=step.seconds,
        spans=recorder.spans(last=len(spans.seconds) * spans.iterations),
        alone_s=alone.seconds,
    )


def _samples(sampled: Mapping[str, Samples | LeftOut], name: str) -> Samples:
    found = sampled[name]
    if isinstance(found, LeftOut):
        raise RoofgateError(f"{name}: {found.reason}; give more with --seconds")
    return found


@contextmanager
def _used(rehearsal: Rehearsal, attend: Attend) -> Iterator[None]:
    """Let the model attend by ``attend``."""
    rehearsal.model.use(attend)
    yield


def _forward(attend: Attend, call: AttentionCall) -> torch.Tensor:
    with torch.no_grad():
        return attend(call.q, call.k, call.v)


def _forward_and_backward(attend: Attend, call: AttentionCall) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(attend(call.q, call.k, call.v), (call.q, call.k, call.v), call.d_o)


def capture_attention_call(rehearsal: Rehearsal, attend: Attend) -> AttentionCall:
    """The tensors of the last layer's attention in one training step: views as the model makes them, not copies."""
    taken: dict[str, torch.Tensor] = {}

    def noticing(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        taken.update(q=q, k=k, v=v)
        o = attend(q, k, v)
        o.register_hook(lambda gradient: taken.__setitem__("d_o", gradient))  # type: ignore[no-untyped-call]
        return o

    rehearsal.model.use(noticing)
    rehearsal.training_step()
    leaves = {name: taken[name].detach().requires_grad_() for name in ("q", "k", "v")}
    return AttentionCall(**leaves, d_o=taken["d_o"])
