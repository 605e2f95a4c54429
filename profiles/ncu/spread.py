"""Several launches of one kernel: the spread of each counter, and which counters of two such groups really differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from kernels.errors import RoofgateError
from profiles.ncu.model import Exactness, Launch

# The least relative change that is taken for one, by class: what identical launches on real GPUs differed by, rounded
# up. A single launch of each side shows no spread of its own, so these carry the whole judgement there.
LEAST_CHANGE: Mapping[Exactness, float] = {
    Exactness.EXACT: 1e-9,  # counts are whole, and doubles hold them exactly
    Exactness.TOLERANCE: 0.02,
    Exactness.STATISTICAL: 0.05,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One counter over the launches that hold it."""

    name: str
    unit: str
    exactness: Exactness
    launches: int
    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """(high - low) / median; 0 if all are equal, infinite if they differ around 0."""
        if self.high == self.low:
            return 0.0
        return (self.high - self.low) / abs(self.median) if self.median else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchGroup:
    """Launches of one kernel in one shape, in the order in which they ran."""

    kernel: str
    function: str
    shape: str  # "grid 132x1x1, block 384x1x1"
    launches: tuple[Launch, ...]  # at least one


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterChange:
    """A counter that differs between two groups by more than its own noise."""

    name: str
    unit: str
    exactness: Exactness
    before: float
    after: float

    @property
    def relative(self) -> float:
        """(after - before) / before; infinite if it was 0."""
        return (self.after - self.before) / abs(self.before) if self.before else float("inf")


def group_launches(launches: Sequence[Launch]) -> tuple[LaunchGroup, ...]:
    """Launches of equal kernel and shape together, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Launch]] = {}
    for launch in launches:
        groups.setdefault((launch.kernel, _shape(launch)), []).append(launch)
    return tuple(
        LaunchGroup(kernel=kernel, function=found[0].function, shape=shape, launches=tuple(found))
        for (kernel, shape), found in groups.items()
    )


def spreads(launches: Sequence[Launch]) -> Mapping[str, Spread]:
    """The spread of every numeric counter that any of ``launches`` holds, by name."""
    values: dict[str, list[float]] = {}
    for launch in launches:
        for name in launch.counters:
            if (value := launch.number_of(name)) is not None:
                values.setdefault(name, []).append(value)
    return {name: _spread(launches, name, found) for name, found in values.items()}


def typical_launch(launches: Sequence[Launch], counter: str) -> Launch:
    """The launch whose ``counter`` is the (lower) median; the first one if none holds it.

    Raises :class:`RoofgateError` for no launches.
    """
    if not launches:
        raise RoofgateError("no launch to explain; capture one, or check the kernel's name")
    known = sorted(
        (value, index) for index, one in enumerate(launches) if (value := one.number_of(counter)) is not None
    )
    return launches[known[(len(known) - 1) // 2][1]] if known else launches[0]


def completed(launch: Launch, launches: Sequence[Launch]) -> Launch:
    """``launch`` with the counters that it lacks and others of ``launches`` hold.

    Counters of hardware and of patched instructions are captured in separate runs of one kernel, so no single launch
    holds all.
    """
    others = {name: counter for other in launches for name, counter in other.counters.items()}
    return replace(launch, counters={**others, **launch.counters})


def changed(before: Spread, after: Spread) -> bool:
    """Whether the two differ by more than noise.

    The medians differ by more than the class of the counter allows, and the ranges do not overlap: of an exact counter
    that varies all the same (a kernel that polls), the ranges speak.
    """
    difference = abs(after.median - before.median)
    if difference <= LEAST_CHANGE[before.exactness] * max(abs(before.median), abs(after.median)):
        return False
    return after.low > before.high or after.high < before.low


def counter_changes(before: Sequence[Launch], after: Sequence[Launch]) -> tuple[CounterChange, ...]:
    """Counters of both sides that changed, the most exact first and then by relative change."""
    old, new = spreads(before), spreads(after)
    found = [
        CounterChange(
            name=name,
            unit=new[name].unit,
            exactness=new[name].exactness,
            before=old[name].median,
            after=new[name].median,
        )
        for name in old
        if name in new and changed(old[name], new[name])
    ]
    order = list(Exactness)
    return tuple(sorted(found, key=lambda change: (order.index(change.exactness), -abs(change.relative), change.name)))


def _spread(launches: Sequence[Launch], name: str, values: list[float]) -> Spread:
    counter = next(launch.counters[name] for launch in launches if launch.number_of(name) is not None)
    return Spread(
        name=name,
        unit=counter.unit,
        exactness=counter.exactness,
        launches=len(values),
        median=median(values),
        low=min(values),
        high=max(values),
    )


def _shape(launch: Launch) -> str:
    parts = [
        f"{name} {'x'.join(str(size) for size in extent)}"
        for name, extent in (("grid", launch.grid), ("block", launch.block))
        if extent is not None
    ]
    return ", ".join(parts)
