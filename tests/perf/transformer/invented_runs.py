"""Runs of the transformer with invented samples and curves."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from perf.model import Device, DType
from perf.transformer.results import (
    Curve,
    CurveSet,
    Implementation,
    Phase,
    PhaseTimings,
    Spans,
    Timing,
    TransformerRun,
)
from perf.transformer.settings import CURVE_SETTING, DEFAULT_SETTING, find_setting
from tests.builders import build_commit
from tests.perf.simulated_runs import simulated_machine

ROUNDS = 24
OTHER_S = 0.04  # of a step, outside attention


def invented_timing(
    implementation: Implementation, attention_s: float, other_s: float, layers: int, noise: float
) -> Timing:
    """A step of ``layers`` attentions and something else, with multiplicative noise from a fixed seed."""
    generator = random.Random(implementation.value)  # noqa: S311

    def samples(seconds: float) -> tuple[float, ...]:
        return tuple(seconds * math.exp(generator.gauss(0.0, noise)) for _ in range(ROUNDS))

    step_s = samples(layers * attention_s + other_s)
    share = layers * attention_s / (layers * attention_s + other_s)
    return Timing(
        implementation=implementation,
        step_s=samples(layers * attention_s + other_s),
        spans=Spans(
            forward_s=tuple(0.3 * share * step for step in step_s),
            backward_s=tuple(0.7 * share * step for step in step_s),
            step_s=step_s,
        ),
        alone_s=samples(attention_s),
    )


def invented_curve(title: str, drift: float, seed: int, steps: int = 200) -> Curve:
    """A falling loss, off by noise that grows to ``drift``."""
    generator = random.Random(seed)  # noqa: S311
    losses = (
        2.0 + 3.0 * math.exp(-step / 40) + drift * (step + 1) / steps * generator.gauss(0.0, 1.0)
        for step in range(steps)
    )
    return Curve(title=title, losses=tuple(losses))


def invented_curves(own_drift: float = 1e-3) -> CurveSet:
    """Controls that drift by a thousandth of a nat, and ours by ``own_drift``."""
    return CurveSet(
        dtype=DType.BF16,
        reference=invented_curve("torch", 0.0, 0),
        own=invented_curve("roofgate", own_drift, 1),
        controls=tuple(invented_curve(f"torch, batch order {seed}", 1e-3, seed) for seed in (2, 3, 4, 5)),
    )


def invented_run(
    kernel_speedup: float = 3.0, extra_s: float = 0.0, noise: float = 0.005, curves: tuple[CurveSet, ...] | None = None
) -> TransformerRun:
    """A run in which our attention is ``kernel_speedup`` times as fast and the rest of our step ``extra_s`` slower."""
    setting = find_setting(Device.CPU, DEFAULT_SETTING)
    layers = setting.model.layers
    torch = invented_timing(Implementation.TORCH, 0.04, OTHER_S, layers, noise)
    own = invented_timing(Implementation.ROOFGATE, 0.04 / kernel_speedup, OTHER_S + extra_s, layers, noise)
    training = PhaseTimings(phase=Phase.TRAINING, torch=torch, own=own)
    return TransformerRun(
        started="2026-01-05T12:00:00+00:00",
        commit=build_commit(),
        machine=simulated_machine(),
        device=Device.CPU,
        dtype=DType.BF16,
        setting=setting,
        curve_setting=CURVE_SETTING,
        phases=(training, replace(training, phase=Phase.PREFILL)),
        curves=(invented_curves(),) if curves is None else curves,
    )
