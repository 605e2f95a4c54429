"""The domain model: what is measured, on what, and what was concluded. Standard library only.

Every value is in SI base units (s, B, FLOP, Hz) and every object is immutable. Files know nothing of each other:
:mod:`perf.store` reads and writes these objects, :mod:`perf.assess` joins them, and :mod:`reports` shows them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from perf.case import CAUSAL as CAUSAL  # cases have a file of their own and are taken from here
from perf.case import FULL as FULL
from perf.case import Case as Case
from perf.case import DType as DType
from perf.case import Mask as Mask
from perf.case import MaskKind as MaskKind
from perf.case import Operation as Operation


class Layer(Enum):
    """Where a figure comes from. Figures of different layers are never mixed in one number."""

    STATIC = "static"
    SIMULATED = "simulated"
    TIMED = "timed"
    HARDWARE = "hardware"


class Direction(Enum):
    """Which way a metric improves."""

    LOWER_IS_BETTER = "lower"
    HIGHER_IS_BETTER = "higher"
    NEITHER = "neither"


class Metric(Enum):
    """What a figure measures: key in files, unit, direction and layer travel together."""

    TIME = ("time", "s", Direction.LOWER_IS_BETTER, Layer.TIMED)
    THROUGHPUT = ("throughput", "FLOP/s", Direction.HIGHER_IS_BETTER, Layer.TIMED)
    ROOFLINE_FRACTION = ("roofline_fraction", "", Direction.HIGHER_IS_BETTER, Layer.TIMED)
    PEER_RATIO = ("peer_ratio", "", Direction.HIGHER_IS_BETTER, Layer.TIMED)
    TIME_OVER_SHARE = ("time_over_share", "", Direction.LOWER_IS_BETTER, Layer.TIMED)
    REGISTERS = ("registers", "registers/thread", Direction.LOWER_IS_BETTER, Layer.STATIC)
    SPILL_BYTES = ("spill_bytes", "B", Direction.LOWER_IS_BETTER, Layer.STATIC)
    STACK_BYTES = ("stack_bytes", "B", Direction.LOWER_IS_BETTER, Layer.STATIC)
    SHARED_MEMORY_BYTES = ("shared_memory_bytes", "B/block", Direction.LOWER_IS_BETTER, Layer.STATIC)
    BARRIERS = ("barriers", "barriers", Direction.NEITHER, Layer.STATIC)
    OCCUPANCY = ("occupancy", "", Direction.HIGHER_IS_BETTER, Layer.STATIC)
    COMPILER_WARNINGS = ("compiler_warnings", "warnings", Direction.LOWER_IS_BETTER, Layer.STATIC)
    SASS_INSTRUCTIONS = ("sass_instructions", "instructions", Direction.LOWER_IS_BETTER, Layer.STATIC)
    SASS_TENSOR = ("sass_tensor", "instructions", Direction.NEITHER, Layer.STATIC)
    SASS_SHARED_MATRIX_LOADS = ("sass_shared_matrix_loads", "instructions", Direction.NEITHER, Layer.STATIC)
    SASS_ASYNC_COPIES = ("sass_async_copies", "instructions", Direction.NEITHER, Layer.STATIC)
    SASS_SPECIAL_FUNCTION = ("sass_special_function", "instructions", Direction.NEITHER, Layer.STATIC)
    SASS_LOCAL_MEMORY = ("sass_local_memory", "instructions", Direction.LOWER_IS_BETTER, Layer.STATIC)
    # Of one fixed launch, counted by warps in PTX: neither SASS nor time. The classes of instructions sum to all of
    # them, and a shift between classes is by itself neither better nor worse.
    SIMULATED_FINDINGS = ("simulated_findings", "findings", Direction.LOWER_IS_BETTER, Layer.SIMULATED)
    SIMULATED_INSTRUCTIONS = (
        "simulated_warp_instructions",
        "warp-instructions",
        Direction.LOWER_IS_BETTER,
        Layer.SIMULATED,
    )
    SIMULATED_TENSOR = ("simulated_tensor", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_FLOAT = ("simulated_float", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_SPECIAL = ("simulated_special_function", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_INTEGER = ("simulated_integer", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_CONVERT = ("simulated_convert", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_MOVE = ("simulated_move", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_LANES = ("simulated_lane_exchange", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_LOAD_STORE = ("simulated_load_store", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_CONTROL = ("simulated_control", "warp-instructions", Direction.NEITHER, Layer.SIMULATED)
    SIMULATED_DIVERGENT = (
        "simulated_divergent_executions",
        "warp-instructions",
        Direction.LOWER_IS_BETTER,
        Layer.SIMULATED,
    )
    SIMULATED_BARRIERS = ("simulated_barriers", "warp-barriers", Direction.LOWER_IS_BETTER, Layer.SIMULATED)
    SIMULATED_WAVEFRONTS = (
        "simulated_shared_wavefronts_per_request",
        "wavefronts/request",
        Direction.LOWER_IS_BETTER,
        Layer.SIMULATED,
    )
    SIMULATED_SECTORS = (
        "simulated_global_sectors_per_request",
        "sectors/request",
        Direction.LOWER_IS_BETTER,
        Layer.SIMULATED,
    )
    SIMULATED_GLOBAL_SECTORS = ("simulated_global_sectors", "sectors", Direction.LOWER_IS_BETTER, Layer.SIMULATED)
    SIMULATED_COPY_BYTES = ("simulated_copy_bytes", "B", Direction.NEITHER, Layer.SIMULATED)
    # Of one launch of a case on a GPU, counted by its hardware: medians over launches.
    HW_DURATION = ("hw_duration", "s", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_INSTRUCTIONS = ("hw_instructions", "warp-instructions", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_TENSOR = ("hw_tensor_instructions", "warp-instructions", Direction.NEITHER, Layer.HARDWARE)
    HW_SHARED_WAVEFRONTS = ("hw_shared_wavefronts", "wavefronts", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_GLOBAL_SECTORS = ("hw_global_sectors", "sectors", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_LOCAL_INSTRUCTIONS = ("hw_local_instructions", "warp-instructions", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_L2_SECTORS = ("hw_l2_sectors", "sectors", Direction.LOWER_IS_BETTER, Layer.HARDWARE)
    HW_DRAM_BYTES = ("hw_dram_bytes", "B", Direction.LOWER_IS_BETTER, Layer.HARDWARE)

    def __init__(self, key: str, unit: str, direction: Direction, layer: Layer) -> None:
        self.key = key
        self.unit = unit
        self.direction = direction
        self.layer = layer

    @classmethod
    def from_key(cls, key: str) -> Metric:
        """The metric with this key; raises KeyError for a key that no metric has."""
        return _METRIC_BY_KEY[key]


_METRIC_BY_KEY: Mapping[str, Metric] = {metric.key: metric for metric in Metric}


class Verdict(Enum):
    """What a comparison or a rule concluded."""

    IDENTICAL = "identical"
    UNCHANGED = "unchanged"
    IMPROVED = "improved"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not_run"


class Device(Enum):
    """The kind of processor that a case runs on."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A declared processor: what its maker promises. ``source`` says where each figure was read."""

    name: str
    title: str
    device: Device
    architecture: str  # "sm_80"; "cpu" for the host
    device_names: tuple[str, ...] = ()  # as the CUDA driver spells them
    flop_per_s: Mapping[DType, float] = field(default_factory=dict)  # dense, fp32 accumulation
    exp_per_s: float | None = None
    dram_bytes_per_s: float | None = None
    dram_bytes: float | None = None
    multiprocessors: int | None = None
    shared_memory_per_block_bytes: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One observed GPU."""

    name: str
    architecture: str
    multiprocessors: int
    memory_bytes: int
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The observed machine. ``fingerprint`` names everything that makes timings comparable."""

    cpu_model: str
    cpu_count: int
    instruction_sets: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    torch: str
    threads: int
    compiler: str
    gpus: tuple[Gpu, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits. Timings of two machines are compared only when these are equal."""
        parts = [
            self.cpu_model,
            self.cpu_count,
            sorted(self.instruction_sets),
            self.threads,
            [[gpu.name, gpu.driver] for gpu in self.gpus],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """For people: processor, cores and GPUs."""
        gpus = ", ".join(gpu.name for gpu in self.gpus)
        return f"{self.cpu_model}, {self.cpu_count} cores" + (f", {gpus}" if gpus else ", no NVIDIA GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The state of the repository that a result belongs to.

    ``tree`` identifies the content of everything that is built or measured, uncommitted edits included: two results
    with equal trees come from equal sources.
    """

    id: str
    tree: str
    subject: str
    branch: str
    dirty: bool
    time: str  # ISO 8601, of the commit

    @property
    def short(self) -> str:
        """First ten digits, with a plus sign for uncommitted edits."""
        return self.id[:10] + ("+" if self.dirty else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Samples of one implementation on one case.

    A sample is the mean seconds per call over ``iterations`` consecutive calls. Samples stand in the order taken, and
    sample i of every implementation of a case comes from the same round, so they pair up.
    """

    case: Case
    device: Device
    target: str  # a declared target's name, or the observed device's own name
    implementation: str  # "roofgate", or a peer such as "torch_flash"
    samples_s: tuple[float, ...]
    iterations: int
    library_fingerprint: str = ""  # of the machine code that ran; empty for peers
    isa: str = ""
    max_abs_difference: float | None = None  # of the output against the first peer's
    dropped: int = 0  # rounds left out because the GPU was throttled, the same for all implementations of a case
    # How it was timed: "cache": "warm", "sm_clock_hz": "1.98e+09". Not hashed, for a mapping cannot be.
    setting: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def median_s(self) -> float:
        """Median seconds per call."""
        return median(self.samples_s)


OWN_IMPLEMENTATION = "roofgate"
# Ours with the full mask on the shapes of a masked case: what its time is held against, no peer.
FULL_MASK_IMPLEMENTATION = "roofgate_full"


class CeilingKind(Enum):
    """What a measured ceiling bounds."""

    COPY = "copy"  # B/s, read plus write, by our copy kernel
    INSTRUCTION_PEAK = "instruction_peak"  # FLOP/s, by our register-only kernel
    GEMM = "gemm"  # FLOP/s, by torch.matmul: what a tuned library reaches in practice


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """One measured upper bound. ``value`` is FLOP/s or B/s: the best sample, for a ceiling bounds from above."""

    kind: CeilingKind
    device: Device
    dtype: DType | None
    value: float
    samples: tuple[float, ...]
    detail: str  # what ran: "triad over 512 MiB, 2 threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that did not run, and why. Nothing is left out silently."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One stored benchmark run: an immutable file of :mod:`perf.store`."""

    id: str
    started: str  # ISO 8601, UTC
    suite: str
    commit: Commit
    machine: Machine
    ceilings: tuple[Ceiling, ...]
    measurements: tuple[Measurement, ...]
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    selection: str = ""  # the expression that chose some cases of the suite; empty if all were measured
    wall_s: float = 0.0
    measured_s: float = 0.0  # time inside measured kernels, warm-up included
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Counters of one kernel on one architecture, from one layer."""

    kernel: str  # "attention_fwd<bf16, 64, window>"
    architecture: str
    layer: Layer
    counters: Mapping[Metric, float]
    fingerprint: str = ""  # of the machine code
    opcodes: Mapping[str, int] = field(default_factory=dict)
    occupancy_limiter: str = ""  # "registers", "shared memory", "warps", "blocks"
    launch: str = ""  # "128 threads, 81920 B dynamic shared memory"
    source: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSet:
    """All captures of one layer for one source tree."""

    layer: Layer
    tree: str
    captures: tuple[Capture, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """How one command of the pipeline ended for this source tree."""

    step: str  # "build", "bench", "profile"
    tree: str
    started: str
    wall_s: float
    exit_code: int
    error: str = ""
