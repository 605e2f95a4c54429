"""How long each resource of the GPU was busy during a launch: the floors under its time.

A resource that is busy for b seconds at its sustained peak needs at least b seconds, however well everything overlaps:
the greatest b is the floor, and what lies above it is waiting. Busy time is the share of elapsed cycles that ncu states
times the duration, or else an amount over its documented rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perf import units
from profiles.ncu.launch_facts import (
    SCHEDULERS,
    active_fraction,
    clock_hz,
    duration_s,
    first_number,
    multiprocessors,
)
from profiles.ncu.model import Launch
from profiles.ncu.roofline import Roofline

DRAM = "DRAM"
L2 = "L2"
L1_DATA = "L1 and shared memory"
ISSUE = "instruction issue"
TENSOR = "tensor pipe"
TCGEN05 = "tensor pipe of tcgen05"  # Blackwell has both


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """One resource."""

    resource: str
    seconds: float  # at its sustained peak
    fraction: float  # of the launch's time
    source: str  # the counter that says so

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.resource} busy {units.seconds(self.seconds)}, {units.percent(self.fraction)} of the time"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFloor:
    """The time of a launch against what its busiest resource needs."""

    seconds: float  # the launch
    busy: tuple[Busy, ...]  # the busiest first; not empty

    @property
    def floor(self) -> Busy:
        """The busiest resource."""
        return self.busy[0]

    @property
    def sentence(self) -> str:
        """For people."""
        rest = units.percent(1 - min(self.floor.fraction, 1.0))
        return (
            f"{units.seconds(self.seconds)}, of which {self.floor.resource} needs {units.seconds(self.floor.seconds)} "
            f"({units.percent(self.floor.fraction)}); the other {rest} is waiting"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    percentages: tuple[str, ...]  # counters; ".avg.pct_of_peak_sustained_elapsed" is appended
    amounts: tuple[str, ...] = ()  # counters of things done by all multiprocessors
    per_cycle: float = field(default=1.0)  # things that one multiprocessor does a cycle


_RESOURCES: Mapping[str, _Resource] = {
    DRAM: _Resource(percentages=("dram__cycles_active", "gpu__dram_throughput", "dram__throughput")),
    L2: _Resource(percentages=("lts__t_sectors", "lts__throughput", "lts__lts2xbar_cycles_active")),
    L1_DATA: _Resource(
        percentages=("l1tex__data_pipe_lsu_wavefronts",),
        amounts=(
            "l1tex__data_pipe_lsu_wavefronts.sum",
            "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
            "memory_l1_wavefronts_shared",
        ),
    ),
    ISSUE: _Resource(
        percentages=("sm__issue_active", "smsp__issue_active", "sm__inst_issued", "sm__inst_executed"),
        amounts=("smsp__inst_issued.sum", "sm__inst_executed.sum", "smsp__inst_executed.sum", "inst_executed"),
        per_cycle=SCHEDULERS,
    ),
    TENSOR: _Resource(
        percentages=(
            "sm__pipe_tensor_cycles_active",
            "sm__pipe_tensor_cycles_active_v2",
            "sm__pipe_tensor_op_hmma_cycles_active",
            "sm__inst_executed_pipe_tensor",
        )
    ),
    TCGEN05: _Resource(percentages=("sm__pipe_tc_cycles_active", "sm__inst_executed_pipe_tc")),
    "FMA pipe": _Resource(percentages=("sm__pipe_fma_cycles_active", "sm__inst_executed_pipe_fma")),
    "ALU pipe": _Resource(percentages=("sm__pipe_alu_cycles_active", "sm__inst_executed_pipe_alu")),
    "FP64 pipe": _Resource(percentages=("sm__pipe_fp64_cycles_active", "sm__inst_executed_pipe_fp64")),
    "FP16 pipe": _Resource(percentages=("sm__pipe_fp16_cycles_active", "sm__inst_executed_pipe_fp16")),
    "special functions": _Resource(
        percentages=("sm__pipe_xu_cycles_active", "sm__inst_executed_pipe_xu"),
        amounts=("sm__inst_executed_pipe_xu.sum",),
        per_cycle=0.5,
    ),
    "load and store instructions": _Resource(percentages=("sm__inst_executed_pipe_lsu",)),
    "memory input and output queue": _Resource(percentages=("sm__mio_inst_issued",)),
    "TMA unit": _Resource(percentages=("sm__pipe_tma_cycles_active", "sm__inst_executed_pipe_tma")),
}


def time_floor(launch: Launch, roof: Roofline) -> TimeFloor | None:
    """The floor of ``launch``; None if its time, or the use of every resource, was not captured."""
    seconds = duration_s(launch)
    if seconds is None:
        return None
    found = [busy for name in _RESOURCES if (busy := _busy(launch, name, seconds, roof)) is not None]
    found.sort(key=lambda busy: busy.seconds, reverse=True)
    return TimeFloor(seconds=seconds, busy=tuple(found)) if found else None


def _busy(launch: Launch, name: str, seconds: float, roof: Roofline) -> Busy | None:
    resource = _RESOURCES[name]
    for level in roof.traffic:
        if name == DRAM and level.level == DRAM:
            return _fraction_busy(name, level.fraction, seconds, "dram__bytes")
    for counter in resource.percentages:
        metric = f"{counter}.avg.pct_of_peak_sustained_elapsed"
        percentage = launch.number_of(metric)
        if percentage is not None:
            return _fraction_busy(name, percentage / 100, seconds, metric)
    return _by_amount(launch, name, seconds) or _by_active_cycles(launch, name, seconds)


def _by_amount(launch: Launch, name: str, seconds: float) -> Busy | None:
    resource = _RESOURCES[name]
    counter = next((one for one in resource.amounts if launch.number_of(one) is not None), None)
    amount = first_number(launch, resource.amounts)
    clock, count = clock_hz(launch), multiprocessors(launch)
    if counter is None or amount is None or not clock or not count:
        return None
    return _fraction_busy(name, amount / (count * resource.per_cycle * clock * seconds), seconds, counter)


def _by_active_cycles(launch: Launch, name: str, seconds: float) -> Busy | None:
    active = active_fraction(launch)
    for counter in _RESOURCES[name].percentages:
        metric = f"{counter}.avg.pct_of_peak_sustained_active"
        percentage = launch.number_of(metric)
        if percentage is not None and active is not None:
            return _fraction_busy(name, percentage / 100 * active, seconds, metric)
    return None


def _fraction_busy(name: str, fraction: float, seconds: float, source: str) -> Busy:
    return Busy(resource=name, seconds=fraction * seconds, fraction=fraction, source=source)
