"""Counters of Nsight Compute as text, and where the pages of captured kernels and launches lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from perf import units
from profiles.ncu.model import Launch, Report
from profiles.ncu.spread import LaunchGroup, Spread, group_launches
from reports.view.frame import slug
from reports.view.tables import Cell, missing

TIME = "gpu__time_duration.sum"
COMPUTE = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
MEMORY = "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed"
ACHIEVED_OCCUPANCY = "sm__warps_active.avg.pct_of_peak_sustained_active"
THEORETICAL_OCCUPANCY = "sm__maximum_warps_per_active_cycle_pct"

CAPTURES_PATH = "captures.html"

_UNIT_TEXT: Mapping[str, Callable[[float], str]] = {
    "": units.count,
    "s": units.seconds,
    "B": units.byte_total,
    "B/s": units.byte_rate,
    "%": lambda value: units.percent(value / 100),
    "Hz": lambda value: units.flop_rate(value).removesuffix("FLOP/s") + "Hz",
}
_WHOLE = 1e15  # up to here every whole number is written out


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedKernel:
    """Launches of one kernel in one shape, and where their pages lie."""

    report: int  # its number among the reports of the site
    number: int  # of the kernel in the report
    group: LaunchGroup

    @property
    def name(self) -> str:
        """The bare name, or the whole one where there is none."""
        return self.group.function or self.group.kernel

    @property
    def whole_name(self) -> str:
        """With template arguments and parameters, which can fill a page; empty if it says no more than the name."""
        return self.group.kernel if self.group.kernel != self.name else ""

    @property
    def path(self) -> str:
        """The page of the launches together."""
        return f"captures/{slug(f'{self.report}-kernel-{self.number}-{self.name}')}.html"

    def launch_path(self, launch: Launch) -> str:
        """The page of one launch."""
        return f"captures/{slug(f'{self.report}-launch-{launch.number}-{self.name}')}.html"


def captured_kernels(number: int, report: Report) -> tuple[CapturedKernel, ...]:
    """The kernels of ``report``, which is the ``number``-th of the site, in the order of first appearance."""
    return tuple(
        CapturedKernel(report=number, number=index, group=group)
        for index, group in enumerate(group_launches(report.launches))
    )


def quantity(value: float, unit: str) -> str:
    """A rounded figure for people: ``17.06 µs``, ``81.3 %``, ``1 345 664 cycle``."""
    written = _UNIT_TEXT.get(unit)
    return written(value) if written else f"{units.count(value)} {unit}"


def value_text(value: float | str) -> str:
    """``value`` to its last digit; whole numbers without a fraction."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE else repr(value)


def launch_count(count: int) -> str:
    """``1 launch``, ``105 launches``."""
    return f"{units.count(count)} launch" + ("" if count == 1 else "es")


def spread_cell(found: Mapping[str, Spread], name: str) -> Cell:
    """The median of a counter over launches, and from where to where it goes; or that the report lacks it."""
    spread = found.get(name)
    if spread is None:
        return missing(f"the report has no {name}")
    low, high = quantity(spread.low, spread.unit), quantity(spread.high, spread.unit)
    detail = "" if spread.low == spread.high else f"{low} to {high}"
    return Cell(quantity(spread.median, spread.unit), sort=spread.median, detail=detail)


def counter_cell(launch: Launch, name: str) -> Cell:
    """A counter of one launch, rounded; or that the launch lacks it."""
    value = launch.number_of(name)
    if value is None:
        return missing(f"this launch has no {name}")
    return Cell(quantity(value, launch.counters[name].unit), sort=value)


def devices_text(launches: Iterable[Launch]) -> str:
    """The GPUs that launches ran on."""
    names = dict.fromkeys(launch.device for launch in launches if launch.device)
    return ", ".join(names) or "a device that the file does not name"
