"""One side of a comparison: the launches of one kernel before or after a change, analysed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiles.ncu.busy_time import TimeFloor, time_floor
from profiles.ncu.instructions import InstructionMix, instruction_mix
from profiles.ncu.launch_facts import DURATION, SCHEDULERS, clock_hz, duration_s, multiprocessors
from profiles.ncu.launch_occupancy import LaunchOccupancy, launch_occupancy
from profiles.ncu.memory_flow import Flow, memory_flow
from profiles.ncu.model import Launch
from profiles.ncu.roofline import Roofline, roofline
from profiles.ncu.spread import Spread, completed, spreads, typical_launch
from profiles.ncu.stalls import Stalls, stall_breakdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What all analyses say of the launch whose time is the median, with counters that only others hold."""

    launches: tuple[Launch, ...]
    launch: Launch
    spreads: Mapping[str, Spread]
    seconds: float | None
    roofline: Roofline
    floor: TimeFloor | None
    occupancy: LaunchOccupancy
    stalls: Stalls
    memory: tuple[Flow, ...]
    instructions: InstructionMix

    def busy_s(self, resource: str) -> float | None:
        """Seconds that ``resource`` was busy; None if it was not captured."""
        found = (busy.seconds for busy in self.floor.busy if busy.resource == resource) if self.floor else ()
        return next(iter(found), None)

    def source_of(self, resource: str) -> str:
        """The counter that :meth:`busy_s` rests on."""
        found = (busy.source for busy in self.floor.busy if busy.resource == resource) if self.floor else ()
        return next(iter(found), "")

    def waiting_s(self, reasons: Sequence[str]) -> float | None:
        """Of the time of the launch, what a warp spent in the states ``reasons``; None if none was captured."""
        if self.seconds is None or not self.stalls.states:
            return None
        return self.seconds * sum(state.share for reason in reasons if (state := self.stalls.of(reason)) is not None)

    @property
    def idle_s(self) -> float | None:
        """Time above the floor, in which even the busiest resource waits."""
        return max(self.seconds - self.floor.floor.seconds, 0.0) if self.seconds and self.floor else None

    def cycles_s(self, per_cycle_of_each: float, amount: float) -> float | None:
        """Seconds that all multiprocessors together need for ``amount`` at ``per_cycle_of_each``."""
        clock, count = clock_hz(self.launch), multiprocessors(self.launch)
        return amount / (per_cycle_of_each * count * clock) if clock and count else None

    def issue_s(self, instructions: float) -> float | None:
        """Seconds that issuing ``instructions`` of warps takes at full rate."""
        return self.cycles_s(SCHEDULERS, instructions)


def analyse(launches: Sequence[Launch]) -> Side:
    """All analyses of the typical one of ``launches``, which are of one kernel.

    Raises :class:`kernels.errors.RoofgateError` for no launches.
    """
    launch = completed(typical_launch(launches, DURATION), launches)
    roof = roofline(launch)
    return Side(
        launches=tuple(launches),
        launch=launch,
        spreads=spreads(launches),
        seconds=duration_s(launch),
        roofline=roof,
        floor=time_floor(launch, roof),
        occupancy=launch_occupancy(launch),
        stalls=stall_breakdown(launch),
        memory=memory_flow(launch),
        instructions=instruction_mix(launch),
    )
