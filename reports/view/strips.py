"""The two pictures small enough to stand in a table cell: a sparkline, and an interval on a shared axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perf.model import Interval

SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 104.0, 24.0, 3.0
STRIP_WIDTH = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """A polyline in a box of ``SPARK_WIDTH`` by ``SPARK_HEIGHT``; ``label`` says in words what it shows."""

    points: str
    last_x: float
    last_y: float
    label: str


def sparkline(values: Sequence[float], label: str) -> Sparkline | None:
    """``values`` in order, lower values lower; None for fewer than two values, which show no course."""
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    # A series that moves by less than 4 % is drawn as nearly flat instead of blowing its noise up to full height.
    span = max(high - low, 0.04 * high)
    middle = (low + high) / 2
    step = (SPARK_WIDTH - 2 * SPARK_MARGIN) / (len(values) - 1)
    height = SPARK_HEIGHT - 2 * SPARK_MARGIN
    points = [
        (SPARK_MARGIN + step * index, SPARK_HEIGHT / 2 - height * (value - middle) / span)
        for index, value in enumerate(values)
    ]
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Sparkline(points=text, last_x=round(points[-1][0], 1), last_y=round(points[-1][1], 1), label=label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A labelled place on the axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalStrip:
    """An interval on an axis that is ``STRIP_WIDTH`` wide. Without an interval it is the axis itself."""

    zero_x: float
    noise_low_x: float
    noise_width: float
    low_x: float = 0.0
    high_x: float = 0.0
    value_x: float = 0.0
    tone: str = ""
    label: str = ""
    ticks: tuple[Tick, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAxis:
    """A shared axis of relative changes from ``-limit`` to ``+limit``."""

    limit: float
    noise: float

    def place(self, change: float) -> float:
        """The x coordinate of ``change``; values beyond the axis stand at its end."""
        inside = max(-self.limit, min(self.limit, change))
        return round(STRIP_WIDTH * (0.5 + 0.42 * inside / self.limit), 1)

    def header(self, ticks: Sequence[tuple[float, str]]) -> IntervalStrip:
        """The axis with its tick labels."""
        return IntervalStrip(
            zero_x=self.place(0.0),
            noise_low_x=self.place(-self.noise),
            noise_width=self._noise_width,
            ticks=tuple(Tick(x=self.place(value), text=text) for value, text in ticks),
        )

    def strip(self, change: float, interval: Interval, *, tone: str, label: str) -> IntervalStrip:
        """One change with its interval."""
        return IntervalStrip(
            zero_x=self.place(0.0),
            noise_low_x=self.place(-self.noise),
            noise_width=self._noise_width,
            low_x=self.place(interval.low),
            high_x=self.place(interval.high),
            value_x=self.place(change),
            tone=tone,
            label=label,
        )

    @property
    def _noise_width(self) -> float:
        return round(self.place(self.noise) - self.place(-self.noise), 1)


AXIS_LIMITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def change_axis(intervals: Sequence[Interval], noise: float) -> ChangeAxis:
    """The smallest round axis on which every interval fits, or the largest one."""
    reach = max([noise, *(abs(end) for interval in intervals for end in (interval.low, interval.high))])
    limit = next((limit for limit in AXIS_LIMITS if limit >= reach), AXIS_LIMITS[-1])
    return ChangeAxis(limit=limit, noise=noise)
