"""Measure one case: our kernel and its peers alternately, after a look at the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from kernels import ops
from kernels.errors import RoofgateError
from kernels.interface import KernelDType
from perf.alternate import LeftOut, measure_alternately
from perf.case_inputs import Inputs, make_inputs
from perf.model import (
    FULL_MASK_IMPLEMENTATION,
    OWN_IMPLEMENTATION,
    Case,
    Device,
    DType,
    Measurement,
    Operation,
    Problem,
)
from perf.paired.model import GpuConditions
from perf.peers import own_contender, peer_contenders
from perf.proportion import full_case, is_held_against_full
from perf.timer import CpuTimer, CudaTimer, Timer
from perf.torch_forms import Tensors

# Far above the rounding of a right answer to unit-variance inputs, far below what a wrong tile or mask gives. The
# tests judge accuracy; this only keeps a broken kernel's time out of the history. A gradient sums over all queries, so
# that of it the tolerance is relative to its largest value where that is above 1.
_TOLERANCE = {DType.BF16: 0.1, DType.FP16: 0.02, DType.FP32: 1e-3}


class WrongAnswerError(RoofgateError):
    """A kernel's output is far from torch's, so its time means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """Measurements of one case by implementation, and the implementations that gave none."""

    measurements: dict[str, Measurement]
    problems: dict[str, Problem]
    spent_s: float  # inside measured calls


def measure_case(case: Case, device: Device, target: str, *, seconds_each: float) -> CaseResult:
    """Measure every implementation of ``case`` on ``device``, alternately.

    Raises :class:`WrongAnswerError` if our output is far from the first peer's, and any :class:`RoofgateError` of a
    library that is not built.
    """
    inputs = make_inputs(case, device)
    own = own_contender(case, inputs)
    peers, refused, expected = peer_contenders(case, device, inputs)
    difference = None
    if expected is not None:
        difference = _checked_difference(case, cast(Tensors, own.call()), expected)
    ours = {OWN_IMPLEMENTATION: own}
    if is_held_against_full(case):
        full = full_case(case)
        ours[FULL_MASK_IMPLEMENTATION] = own_contender(full, make_inputs(full, device))
    timer: Timer = CpuTimer() if device is Device.CPU else CudaTimer()
    sampled = measure_alternately({**ours, **peers}, timer, seconds_each=seconds_each)
    measurements = {}
    problems = {name: _problem(case, name, reason) for name, reason in refused.items()}
    for name, samples in sampled.items():
        if isinstance(samples, LeftOut):
            problems[name] = _problem(case, name, samples.reason)
            continue
        is_own = name in ours
        measurements[name] = Measurement(
            case=case,
            device=device,
            target=target,
            implementation=name,
            samples_s=samples.seconds,
            iterations=samples.iterations,
            library_fingerprint=ops.library_for(inputs.q).fingerprint if is_own else "",
            isa=_isa(case, inputs) if is_own else "",
            max_abs_difference=difference if name == OWN_IMPLEMENTATION else None,
            dropped=samples.dropped,
            setting={**samples.setting, **_conditions_text(samples.conditions)},
        )
    return CaseResult(
        measurements=measurements, problems=problems, spent_s=sum(each.spent_s for each in sampled.values())
    )


def _conditions_text(conditions: GpuConditions | None) -> dict[str, str]:
    """What is known of the GPU around the samples, in SI units."""
    if conditions is None:
        return {}
    figures = {
        "sm_clock_hz": conditions.sm_clock_hz,
        "memory_clock_hz": conditions.memory_clock_hz,
        "power_w": conditions.power_w,
        "temperature_c": conditions.temperature_c,
    }
    known = {name: f"{value:.4g}" for name, value in figures.items() if value is not None}
    reasons = {"throttle_reasons": ", ".join(conditions.throttle_reasons)} if conditions.throttle_reasons else {}
    return known | reasons


def _problem(case: Case, implementation: str, reason: str) -> Problem:
    return Problem(subject=f"{case.name}[{implementation}]", reason=reason)


def _checked_difference(case: Case, answer: Tensors, expected: Tensors) -> float:
    """The largest difference of O, or of the gradients in units of their size."""
    names = ("output",) if case.operation is Operation.ATTENTION_FWD else ("dQ", "dK", "dV")
    largest = 0.0
    for name, ours, theirs in zip(names, answer, expected, strict=True):
        size = 1.0 if name == "output" else max(1.0, float(theirs.abs().max()))
        difference = float((ours.float() - theirs.float()).abs().max()) / size
        if not difference <= _TOLERANCE[case.dtype]:
            raise WrongAnswerError(
                f"{case.name}: {name} differs from torch's by up to {difference:.3g}, expected at most "
                f"{_TOLERANCE[case.dtype]:g}; not timed. Run the correctness tests: nox -s tests -- tests/kernels"
            )
        largest = max(largest, difference)
    return largest


def _isa(case: Case, inputs: Inputs) -> str:
    """The instruction set that AUTO chose for this case; the compute capability on CUDA."""
    if inputs.q.is_cuda:
        major, minor = torch.cuda.get_device_capability(inputs.q.device)
        return f"sm_{major}{minor}"
    best = ops.library_for(inputs.q).best_isa()
    return best.serving(KernelDType[case.dtype.name]).name.lower()
