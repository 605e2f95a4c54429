"""The hierarchical roofline of one launch: work against the bytes that each level of memory moved for it.

Formulas are those of the roofline sections of Nsight Compute 2025.3: peaks are the sustained rate per cycle times the
frequency during the launch, so a locked clock lowers them too. The roofline is that of Williams, Waterman and Patterson
(2009). A tensor core has one peak per kind of instruction: on Hopper HMMA (mma.sync) reaches two thirds of HGMMA
(wgmma), and the counters that do not name the instruction state the rate of sparse operands, twice the dense one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from perf import units
from profiles.ncu.launch_facts import clock_hz, compute_capability, duration_s, first_number, sum_of
from profiles.ncu.model import Launch

LTS_CROSSBAR_BYTES = 32  # per active cycle of a slice's port to the crossbar
L1_WRITEBACK_BYTES = 128  # per cycle in which the L1 cache writes back to registers
OLD_TENSOR_OPERATIONS = 512  # per instruction of the tensor pipe, as ncu counted before 2025
_HOPPER = (9, 0)
_TENSOR = re.compile(r"(sm__ops_path_tensor_\w+)\.sum\.peak_sustained$")
_SPARSITY = re.compile(r"_sparsity_(?:on|off)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes that one level of memory moved."""

    level: str  # "DRAM", "L2", "L1"
    achieved: float  # B/s
    peak: float  # B/s
    printed: float | None = None  # the fraction that ncu states itself
    implied: bool = False  # the peak follows from that fraction, for it was not captured

    @property
    def fraction(self) -> float:
        """Of the peak."""
        return self.achieved / self.peak

    @property
    def sentence(self) -> str:
        """For people."""
        rates = f"{units.byte_rate(self.achieved)} of {units.byte_rate(self.peak)}"
        return f"{self.level} moved {rates}, {units.percent(self.fraction)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Operations of one kind."""

    kind: str  # "HGMMA bf16 to fp32", "FP32"
    achieved: float  # FLOP/s; integer operations count likewise
    peak: float  # FLOP/s, dense unless ``kind`` says sparse
    note: str = ""

    @property
    def fraction(self) -> float:
        """Of the peak."""
        return self.achieved / self.peak

    @property
    def sentence(self) -> str:
        """For people."""
        rates = f"{units.flop_rate(self.achieved)} of {units.flop_rate(self.peak)}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.kind} did {rates}, {units.percent(self.fraction)}{note}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One kind of work over one level of memory."""

    work: Work
    traffic: Traffic

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return self.work.achieved / self.traffic.achieved

    @property
    def attainable(self) -> float:
        """FLOP/s under the roof: the lower of peak and intensity times bandwidth."""
        return min(self.work.peak, self.intensity * self.traffic.peak)

    @property
    def fraction(self) -> float:
        """Of what is attainable."""
        return self.work.achieved / self.attainable

    @property
    def bound(self) -> str:
        """What the roof above the point is made of: the level's bandwidth, or the work's peak."""
        return self.traffic.level if self.intensity * self.traffic.peak < self.work.peak else self.work.kind

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.work.kind} over {self.traffic.level}: {units.intensity(self.intensity)}, "
            f"{units.percent(self.fraction)} of the roof, which is {self.bound}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """All levels of memory and kinds of work that the launch holds counters of."""

    traffic: tuple[Traffic, ...]  # from the memory to the core
    work: tuple[Work, ...]  # only kinds that the kernel did, the fullest first
    points: tuple[Point, ...]


def roofline(launch: Launch) -> Roofline:
    """The roofline of ``launch``; empty where its counters were not captured, and never guessed."""
    levels = (_dram(launch), _l2(launch), _l1(launch))
    traffic = tuple(level for level in levels if level is not None)
    done = [work for work in (*_tensor_work(launch), *_scalar_work(launch)) if work.achieved > 0]
    work = tuple(sorted(done, key=lambda one: one.fraction, reverse=True))
    points = tuple(Point(work=one, traffic=level) for one in work for level in traffic if level.achieved > 0)
    return Roofline(traffic=traffic, work=work, points=points)


def _dram(launch: Launch) -> Traffic | None:
    achieved = launch.number_of("dram__bytes.sum.per_second")
    if achieved is None:
        achieved = sum_of(launch, ("dram__bytes_read.sum.per_second", "dram__bytes_write.sum.per_second"))
    seconds = duration_s(launch)
    moved = sum_of(launch, ("dram__bytes_read.sum", "dram__bytes_write.sum"))
    if achieved is None and seconds and moved is not None:
        achieved = moved / seconds
    peak = _product(launch, "dram__bytes.sum.peak_sustained", "dram__cycles_elapsed.avg.per_second")
    stated = (
        "dram__cycles_active.avg.pct_of_peak_sustained_elapsed",
        "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
        "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    )
    return _traffic("DRAM", achieved, peak, _fraction(launch, *stated))


def _l2(launch: Launch) -> Traffic | None:
    counter = "lts__lts2xbar_cycles_active"
    achieved = _per_second(launch, counter)
    peak = _product(launch, f"{counter}.sum.peak_sustained", "lts__cycles_elapsed.avg.per_second")
    stated = _fraction(launch, f"{counter}.avg.pct_of_peak_sustained_elapsed")
    return _traffic("L2", _times(achieved, LTS_CROSSBAR_BYTES), _times(peak, LTS_CROSSBAR_BYTES), stated)


def _l1(launch: Launch) -> Traffic | None:
    """Write-back of loads to registers only: what TMA brings and wgmma reads in shared memory does not pass here."""
    hopper = (compute_capability(launch) or (0, 0)) >= _HOPPER
    counter = "l1tex__lsu_writeback_active_mem_lgds" if hopper else "l1tex__lsu_writeback_active_mem_lg"
    achieved = _per_second(launch, counter)
    peak = _product(launch, f"{counter}.sum.peak_sustained", "l1tex__cycles_elapsed.avg.per_second")
    stated = _fraction(launch, f"{counter}.avg.pct_of_peak_sustained_elapsed")
    return _traffic("L1", _times(achieved, L1_WRITEBACK_BYTES), _times(peak, L1_WRITEBACK_BYTES), stated)


def _traffic(level: str, achieved: float | None, peak: float | None, printed: float | None) -> Traffic | None:
    """None without both rates; a peak that was not captured is what ncu's own percentage implies."""
    if achieved is None:
        return None
    implied = not peak and bool(achieved and printed)
    if implied and printed:
        peak = achieved / printed
    return Traffic(level=level, achieved=achieved, peak=peak, printed=printed, implied=implied) if peak else None


def _tensor_work(launch: Launch) -> list[Work]:
    counters = [match[1] for name in launch.counters if (match := _TENSOR.match(name))]
    if not counters:
        return _old_tensor_work(launch)
    named = {_SPARSITY.sub("", counter) for counter in counters if _SPARSITY.search(counter)}
    by_instruction = {_source_type(counter) for counter in counters if "_op_" in counter}
    found = []
    for counter in counters:
        # The sum of dense and sparse, or of all instructions, is left out where its parts are here.
        if counter in named or ("_op_" not in counter and _source_type(counter) in by_instruction):
            continue
        work = _tensor_kind(launch, counter)
        if work is not None:
            found.append(work)
    return found


def _source_type(counter: str) -> str:
    return counter.partition("_src_")[2].partition("_")[0]


def _tensor_kind(launch: Launch, counter: str) -> Work | None:
    clock = clock_hz(launch)
    peak = launch.number_of(f"{counter}.sum.peak_sustained")
    achieved = _per_cycle(launch, counter)
    if not clock or not peak or achieved is None:
        return None
    note = ""
    if compute_capability(launch) == _HOPPER and "_op_" not in counter and not _SPARSITY.search(counter):
        peak /= 2
        note = "of the dense rate of HGMMA; the counter does not tell the instruction"
    return Work(kind=_tensor_name(counter), achieved=achieved * clock, peak=peak * clock, note=note)


def _tensor_name(counter: str) -> str:
    """``HGMMA bf16 to fp32`` out of ``sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off``."""
    text = counter.removeprefix("sm__ops_path_tensor_")
    sparse = ", sparse" if text.endswith("_sparsity_on") else ""
    operation, _, types = _SPARSITY.sub("", text).rpartition("src_")
    name = operation.removeprefix("op_").rstrip("_").upper() or "tensor"
    return f"{name} {types.replace('_dst_', ' to ')}{sparse}"


def _old_tensor_work(launch: Launch) -> list[Work]:
    counter, clock = "sm__inst_executed_pipe_tensor", clock_hz(launch)
    peak, achieved = launch.number_of(f"{counter}.sum.peak_sustained"), _per_cycle(launch, counter)
    if not clock or not peak or achieved is None:
        return []
    scale = OLD_TENSOR_OPERATIONS * clock
    note = "512 operations for each tensor instruction, as older versions of ncu count"
    return [Work(kind="tensor", achieved=achieved * scale, peak=peak * scale, note=note)]


def _scalar_work(launch: Launch) -> list[Work]:
    clock, found = clock_hz(launch), []
    for kind, letter in (("FP32", "f"), ("FP64", "d")):
        peak = launch.number_of(f"sm__sass_thread_inst_executed_op_{letter}fma_pred_on.sum.peak_sustained")
        rates = {
            operation: _per_cycle(launch, f"smsp__sass_thread_inst_executed_op_{letter}{operation}_pred_on")
            for operation in ("add", "mul", "fma")
        }
        done = _flop_per_cycle(rates)
        if clock and peak and done is not None:
            found.append(Work(kind=kind, achieved=done * clock, peak=2 * peak * clock))
    return found


def _flop_per_cycle(rates: Mapping[str, float | None]) -> float | None:
    add, mul, fma = rates["add"], rates["mul"], rates["fma"]
    return add + mul + 2 * fma if add is not None and mul is not None and fma is not None else None


def _per_cycle(launch: Launch, counter: str) -> float | None:
    """Per elapsed cycle; from the sum and the time if it was not captured."""
    rate = launch.number_of(f"{counter}.sum.per_cycle_elapsed")
    if rate is not None:
        return rate
    total, seconds, clock = launch.number_of(f"{counter}.sum"), duration_s(launch), clock_hz(launch)
    return total / (seconds * clock) if total is not None and seconds and clock else None


def _per_second(launch: Launch, counter: str) -> float | None:
    rate = launch.number_of(f"{counter}.sum.per_second")
    total, seconds = launch.number_of(f"{counter}.sum"), duration_s(launch)
    return rate if rate is not None or total is None or not seconds else total / seconds


def _product(launch: Launch, *names: str) -> float | None:
    product = 1.0
    for name in names:
        value = launch.number_of(name)
        if not value:
            return None
        product *= value
    return product


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _fraction(launch: Launch, *percentages: str) -> float | None:
    return _times(first_number(launch, percentages), 0.01)
