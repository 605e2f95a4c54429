"""What a paired comparison measured, and what it concluded. Standard library only.

Measured, from the inside out: a sample is seconds per call; a block is a run of ABBA quadruples (base, candidate,
candidate, base, or the other way round); a restart is one process, with its own address-space layout, that measured
some blocks; a :class:`PairedCase` has several restarts, in two stages. Concluded: a :class:`Finding` per case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from perf.findings import Comparison
from perf.model import Case, Device, Interval, Machine, Problem, Verdict


class Side(Enum):
    """Which of the two revisions."""

    BASE = "base"
    CANDIDATE = "candidate"


class Mode(Enum):
    """How the two revisions meet."""

    LIBRARIES = "libraries"  # both kernel libraries open in one process
    PROCESSES = "processes"  # one process for each, sampled in turn: for what lies outside the libraries


class Stage(Enum):
    """Why a restart was measured."""

    SCREENING = "screening"  # is anything to be seen?
    CONFIRMATION = "confirmation"  # an independent second measurement of what screening saw


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuConditions:
    """The GPU around one block, as NVML tells it; None where it does not."""

    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()  # only those that slow a kernel down


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The machine around one block; None where the system does not tell."""

    load_average: float | None = None  # of the last minute
    steal_fraction: float | None = None  # of processor time, taken by the hypervisor during the block
    frequency_hz: float | None = None  # mean over the processors
    gpu: GpuConditions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive ABBA quadruples: equally many samples of both sides, in seconds per call, in the order taken."""

    base_s: tuple[float, ...]
    candidate_s: tuple[float, ...]
    started_s: float  # since the comparison began
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """One process that measured both sides."""

    stage: Stage
    seed: int  # of the order of sides, the environment and the allocations
    iterations: int  # calls behind each sample
    blocks: tuple[Block, ...]
    dropped: int  # blocks left out because the GPU was throttled
    measured_s: float  # inside timed calls
    wall_s: float  # the start of the process included
    setting: Mapping[str, str] = field(default_factory=dict)  # how it was timed: "cache": "warm", "threads": "2 pinned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rules of a comparison, fixed before anything is measured. Fractions, seconds."""

    margin: float = 0.01  # changes within this are none worth attention
    confidence: float = 0.95  # of the intervals shown
    false_alarm_rate: float = 0.01  # of confirmed changes that are none, over all cases of the comparison
    screening_error: float = 0.05  # of a look at screening: of suspecting, and of finding unchanged, wrongly
    looks: tuple[int, ...] = (6, 9, 14, 24)  # after so many restarts screening looks at what it has
    min_confirmation_restarts: int = 6
    seconds_per_case: float = 10.0  # wall time for all restarts of one case
    restart_s: float = 0.2  # spent on blocks in each restart
    sample_s: float = 1e-3  # least length of a sample
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was concluded of one case. ``change`` is candidate / base - 1 in time."""

    verdict: Verdict
    reason: str
    change: float | None = None
    interval: Interval | None = None  # of the change, over all restarts
    mde: float | None = None  # least true change that would be found with 80 % probability at this budget
    confirmed: bool = False
    p_value: float | None = None  # of the confirmation


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCase:
    """One case on one device: what was measured of it, and the finding."""

    case: Case
    device: Device
    target: str  # a declared target's name, or the observed device's own name
    isa: str
    finding: Finding
    restarts: tuple[Restart, ...] = ()
    is_control: bool = False  # equal machine code, measured all the same to see what noise looks like


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFinding:
    """What the A/A controls of this very comparison say of its noise."""

    controls: int
    moved: tuple[str, ...]  # names of the controls that seemed to change
    noise: float | None  # greatest |change| bound of a control, as a fraction; None without controls
    reason: str

    @property
    def is_disturbed(self) -> bool:
        """Whether identical code seemed to change, so that no verdict of this comparison can be relied on."""
        return bool(self.moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionInfo:
    """One of the two revisions. ``name`` is what the user asked for; the subject is untrusted text."""

    name: str
    commit_id: str
    subject: str
    tree: str  # digest of its kernels and perf sources, edits included
    dirty: bool  # the working tree with edits

    @property
    def short(self) -> str:
        """First ten digits of the commit, with a plus sign for uncommitted edits."""
        return self.commit_id[:10] + ("+" if self.dirty else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """One stored comparison: an immutable file under ``out/comparisons``."""

    id: str
    started: str  # ISO 8601, UTC
    mode: Mode
    base: RevisionInfo
    candidate: RevisionInfo
    machine: Machine
    plan: Plan
    suite: str
    cases: tuple[PairedCase, ...]  # timed, identical or not run, in the order of the suite
    static: tuple[Comparison, ...]  # of CUDA kernels, per architecture and metric
    controls: ControlFinding
    self_controls: tuple[PairedCase, ...] = ()  # the base against itself, where no case has equal code on both sides
    cache: str = "warm"  # what CUDA calls found in L2: a perf.calibration.CacheState by value
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    wall_s: float = 0.0
    measured_s: float = 0.0
    path: str = ""
