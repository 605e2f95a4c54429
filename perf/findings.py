"""What was concluded: the words of the judging modules, the gate and the reports. Standard library only.

:mod:`perf.model` says what was measured; everything here is derived from it by pure functions and can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from perf.model import (
    Capture,
    Case,
    Commit,
    Device,
    Interval,
    Layer,
    Machine,
    Measurement,
    Metric,
    Problem,
    Run,
    StepStatus,
    Target,
    Verdict,
)

if TYPE_CHECKING:
    # It is made of comparisons, so at run time it imports this module.
    from perf.paired.model import PairedComparison


class GateVerdict(Enum):
    """What the gate concluded, with the process exit code that says it."""

    PASS = ("pass", 0)
    REGRESSION = ("regression", 1)
    ERROR = ("error", 2)
    NO_VERDICT = ("no_verdict", 3)

    def __init__(self, key: str, exit_code: int) -> None:
        self.key = key
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The time that no version of a case can beat on a target, and what sets it."""

    target: str
    seconds: float
    bound: str  # "bytes", "tensor" or "exp"
    bytes_s: float
    tensor_s: float
    exp_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint:
    """Where a measurement lies under the ceilings measured in the same run.

    ``fraction`` is attained / attainable, with attainable = min(peak, intensity * bandwidth) (Williams et al. 2009).
    """

    intensity_flop_per_byte: float
    attained_flop_per_s: float
    attainable_flop_per_s: float
    fraction: float
    gemm_fraction: float | None
    bound: str  # "bytes" or "tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate figure against its baseline. ``change`` is candidate / baseline - 1."""

    subject: str  # case name or kernel name
    target: str  # declared target or architecture
    metric: Metric
    baseline: float | None
    candidate: float | None
    change: float | None
    interval: Interval | None  # of the change; None where the metric is exact
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRatio:
    """How many times faster we are than a peer, from the paired samples of one run."""

    peer: str
    ratio: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """Time against the share of tiles that a mask leaves, both relative to the full mask on the same shapes.

    ``time_over_share`` is 1 where time is proportional to the tiles with a visible pair, and more where masks cost
    something of their own.
    """

    share: float
    time: float  # of the full mask's, in the same run
    time_over_share: float
    interval: Interval  # of that


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One earlier result of a case on this machine."""

    run_id: str
    commit: str
    started: str
    median_s: float
    peer_ratio: float | None  # to the fastest peer of that run


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAssessment:
    """All that is known of one case in the present run."""

    case: Case
    device: Device
    target: str
    own: Measurement
    interval_s: Interval
    throughput_flop_per_s: float
    peers: tuple[Measurement, ...]
    ratios: tuple[PeerRatio, ...]
    roofline: RooflinePoint | None
    comparison: Comparison  # paired where there is one, else with the baseline run
    floors: tuple[Floor, ...]
    history: tuple[HistoryPoint, ...]
    proportion: Proportion | None = None  # of a mask, where the full one was measured beside it
    between_runs: Comparison | None = None  # with the baseline run, where a paired comparison took its place


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAssessment:
    """All that is known of one CUDA kernel without running it, per architecture."""

    kernel: str
    captures: tuple[Capture, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStatus:
    """Whether a layer of evidence exists for this commit: a sentence for people either way."""

    layer: Layer
    ran: bool
    text: str  # "12 kernels x 4 architectures", or "not run: no NVIDIA GPU here"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one threshold rule said of one subject."""

    rule: str
    subject: str
    target: str
    metric: Metric
    layer: Layer
    value: float | None
    limit: float
    verdict: Verdict  # UNCHANGED means within the limit, REGRESSED a breach
    reason: str
    relative: bool = False  # value and limit are worsenings against the baseline, as fractions of it


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The gate's conclusion over all rules."""

    verdict: GateVerdict
    results: tuple[RuleResult, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """How far identical code moved between two runs: the peers are the A/A controls."""

    value: float | None  # a change below this cannot be told from noise; None without controls
    controls: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that the report and the gate need, joined and judged."""

    commit: Commit
    machine: Machine | None
    run: Run | None
    baseline: Run | None
    noise: NoiseFloor
    layers: tuple[LayerStatus, ...]
    cases: tuple[CaseAssessment, ...]
    kernels: tuple[KernelAssessment, ...]
    targets: tuple[Target, ...]
    gate: GateResult
    steps: tuple[StepStatus, ...]
    problems: tuple[Problem, ...]
    paired: PairedComparison | None = None  # of the present sources with a base
    paired_changes: tuple[Comparison, ...] = ()  # what ``paired`` says of time, one for each of its cases
