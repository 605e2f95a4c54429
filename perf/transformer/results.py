"""What a run of the transformer found, as it is stored: samples and curves, no conclusion. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from perf.model import OWN_IMPLEMENTATION, Commit, Device, DType, Machine
from perf.transformer.settings import Setting


class Implementation(Enum):
    """Whose attention the model has."""

    TORCH = "torch"
    ROOFGATE = OWN_IMPLEMENTATION


class Phase(Enum):
    """What the model does."""

    TRAINING = "training step"  # forward, backward, optimizer
    PREFILL = "prefill"  # forward alone, without gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Seconds inside attention, all layers together, and of the whole step around it; one entry a step."""

    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]  # zeros in prefill
    step_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One implementation in one phase. Samples of the same index come from the same round in both implementations."""

    implementation: Implementation
    step_s: tuple[float, ...]  # of steps without clocks inside
    spans: Spans  # of other steps, with clocks around the attention
    alone_s: tuple[float, ...]  # one layer's attention by itself, on that layer's tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimings:
    """Both implementations in one phase."""

    phase: Phase
    torch: Timing
    own: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The loss of every training step, in nats per byte, of one run."""

    title: str
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSet:
    """Runs in one dtype from the same weights over the same text.

    ``controls`` are torch's too and differ from ``reference`` by what may not matter: where sums are rounded.
    """

    dtype: DType
    reference: Curve
    own: Curve
    controls: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerRun:
    """Everything that one run of the command found for one setting."""

    started: str  # ISO 8601, UTC
    commit: Commit
    machine: Machine
    device: Device
    dtype: DType  # of the timed steps
    setting: Setting
    curve_setting: Setting
    phases: tuple[PhaseTimings, ...]
    curves: tuple[CurveSet, ...]
    quick: bool = False
    path: str = ""  # where it was read from; not stored
