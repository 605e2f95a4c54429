"""Occupancy of a launch: what its resources allow, what ncu says they allow, and what was reached."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.errors import RoofgateError
from perf import units
from profiles.ncu.launch_facts import architecture, first_number
from profiles.ncu.model import Launch
from profiles.occupancy import Block, Occupancy, theoretical_occupancy

_LIMITS = {
    "registers": "registers",
    "shared_mem": "shared memory",
    "warps": "warps",
    "blocks": "blocks",
    "barriers": "barriers",
}
_STATED = ("sm__maximum_warps_per_active_cycle_pct",)
_ACHIEVED = "sm__warps_active.avg.pct_of_peak_sustained_active"
_ROUNDING = 0.5e-4  # of ncu's percentages in text, which have two decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOccupancy:
    """Fractions of the warps that a multiprocessor holds."""

    computed: Occupancy | None  # by :func:`profiles.occupancy.theoretical_occupancy`
    stated: float | None  # theoretical, by ncu
    stated_limiter: str
    achieved: float | None
    waves: float | None  # of blocks over the whole GPU
    reason: str = ""  # why none was computed

    @property
    def agrees(self) -> bool | None:
        """Whether ncu's theoretical occupancy is the computed one; None if one of them is missing."""
        if self.computed is None or self.stated is None:
            return None
        return abs(self.computed.fraction - self.stated) <= _ROUNDING + 1e-9

    @property
    def theoretical(self) -> float | None:
        """The computed fraction, or else the stated one."""
        return self.computed.fraction if self.computed is not None else self.stated

    @property
    def limiter(self) -> str:
        """What allows no more blocks."""
        return self.computed.limiter if self.computed is not None else self.stated_limiter

    @property
    def sentence(self) -> str:
        """For people; empty if nothing is known."""
        parts = []
        if self.theoretical is not None:
            limiter = f", limited by {self.limiter}" if self.limiter else ""
            parts.append(f"{units.percent(self.theoretical)} possible{limiter}")
        if self.achieved is not None:
            parts.append(f"{units.percent(self.achieved)} reached")
        if self.waves is not None:
            parts.append(f"{self.waves:.2f} waves of blocks")
        if self.agrees is False and self.stated is not None:
            parts.append(f"ncu states {units.percent(self.stated)} as possible")
        return "occupancy: " + "; ".join(parts) if parts else ""


def launch_occupancy(launch: Launch) -> LaunchOccupancy:
    """Occupancy of ``launch``, of which any part may be missing."""
    computed, reason = _computed(launch)
    stated, achieved = first_number(launch, _STATED), launch.number_of(_ACHIEVED)
    return LaunchOccupancy(
        computed=computed,
        stated=None if stated is None else stated / 100,
        stated_limiter=_stated_limiter(launch),
        achieved=None if achieved is None else achieved / 100,
        waves=launch.number_of("launch__waves_per_multiprocessor"),
        reason=reason,
    )


def launch_block(launch: Launch) -> Block | None:
    """What one block of ``launch`` needs; None if its size or registers were not captured."""
    threads = launch.number_of("launch__block_size")
    if threads is None and launch.block is not None:
        threads = launch.block[0] * launch.block[1] * launch.block[2]
    registers = launch.number_of("launch__registers_per_thread")
    if threads is None or threads < 1 or registers is None:
        return None
    return Block(
        threads=round(threads),
        registers=round(registers),
        shared_bytes=round(shared_bytes(launch) or 0),
        barriers=round(launch.number_of("launch__barrier_count") or 0),
    )


def shared_bytes(launch: Launch) -> float | None:
    """Static and dynamic shared memory of a block, without what the driver reserves."""
    parts = [launch.number_of(f"launch__shared_mem_per_block_{kind}") for kind in ("static", "dynamic")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _computed(launch: Launch) -> tuple[Occupancy | None, str]:
    block = launch_block(launch)
    if block is None:
        return None, "the capture holds no block size or no registers"
    if not architecture(launch):
        return None, "the capture does not say the compute capability"
    try:
        return theoretical_occupancy(block, architecture(launch)), ""
    except RoofgateError as unknown:
        return None, str(unknown)


def _stated_limiter(launch: Launch) -> str:
    limits = {name: launch.number_of(f"launch__occupancy_limit_{key}") for key, name in _LIMITS.items()}
    known = {name: value for name, value in limits.items() if value is not None}
    return ", ".join(name for name, value in known.items() if value == min(known.values()))
