"""The hierarchical roofline of one captured launch: its work over the bytes of each level of memory."""

from __future__ import annotations

from collections.abc import Iterable

from perf import units
from profiles.ncu.roofline import Point, Roofline
from reports.chart_parts import plotly_text
from reports.charts import Dot, DotGroup, Roof, roofline_chart
from reports.view.page import Figure
from reports.view.tables import Cell, Column, Table, rows_of

_DASHES = ("solid", "dash", "dot")  # from the memory to the core
_SYMBOLS = ("circle", "diamond", "square")
_KINDS_SHOWN = 3


def capture_roofline_figure(roof: Roofline, href: str) -> Figure | None:
    """The chart of ``roof``, whose markers lead to ``href``; None if the launch lacks work or traffic."""
    if not roof.points:
        return None
    return Figure(
        id="launch-roofline",
        title="Roofline of this launch",
        description="Rate of each kind of work over its operations per byte, one marker for each level of memory, "
        "below the peaks at the clocks of this launch.",
        spec=roofline_chart(_roofs(roof), _groups(roof, href)),
        table=_point_table(roof.points),
        note=" ".join(f"{work.kind}: {work.note}." for work in roof.work if work.note),
    )


def _roofs(roof: Roofline) -> list[Roof]:
    """One for each level of memory under the peak of the kind of work that is nearest to its own."""
    first = roof.work[0]
    return [
        Roof(
            title=f"{first.kind} {units.flop_rate(first.peak)}" if index == 0 else "",
            peak_flop_per_s=first.peak,
            bytes_per_s=level.peak,
            slope_title=f"{level.level} {units.byte_rate(level.peak)}",
            dash=_DASHES[index],
        )
        for index, level in enumerate(roof.traffic)
    ]


def _groups(roof: Roofline, href: str) -> list[DotGroup]:
    shown = {work.kind for work in roof.work[:_KINDS_SHOWN]}
    return [
        DotGroup(title=level.level, symbol=_SYMBOLS[index], dots=dots)
        for index, level in enumerate(roof.traffic)
        if (
            dots := tuple(
                _dot(point, _SYMBOLS[index], href)
                for point in roof.points
                if point.traffic == level and point.work.kind in shown
            )
        )
    ]


def _dot(point: Point, symbol: str, href: str) -> Dot:
    return Dot(
        intensity=point.intensity,
        flop_per_s=point.work.achieved,
        text=plotly_text(point.sentence),
        href=href,
        symbol=symbol,
    )


def _point_table(points: Iterable[Point]) -> Table:
    return Table(
        caption="Positions under the roofs (hardware layer)",
        columns=(
            Column("work"),
            Column("memory"),
            Column("intensity", hint="operations per byte", numeric=True),
            Column("rate", numeric=True),
            Column("of its peak", numeric=True),
            Column("traffic", numeric=True),
            Column("of its peak", numeric=True),
            Column("of the roof", numeric=True),
            Column("the roof is"),
        ),
        rows=rows_of(_point_row(point) for point in points),
    )


def _point_row(point: Point) -> tuple[Cell, ...]:
    work, traffic = point.work, point.traffic
    return (
        Cell(work.kind),
        Cell(traffic.level),
        Cell(units.intensity(point.intensity), sort=point.intensity),
        Cell(units.flop_rate(work.achieved), sort=work.achieved),
        Cell(units.percent(work.fraction), sort=work.fraction),
        Cell(units.byte_rate(traffic.achieved), sort=traffic.achieved),
        Cell(units.percent(traffic.fraction), sort=traffic.fraction),
        Cell(units.percent(point.fraction), sort=point.fraction),
        Cell(point.bound),
    )
