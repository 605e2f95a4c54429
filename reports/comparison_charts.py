"""The charts of a paired comparison: differences, their course, and both distributions (pure).

Base and candidate differ in marker and dash as well as in colour, screening and confirmation in marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.chart_parts import Spec, chart_layout, plotly_text, time_axis, value_axis

DISTRIBUTION_POINTS = 201
BASE_COLOUR, CANDIDATE_COLOUR = "var(--series-1)", "var(--own)"
# Of the blocks, so many at either end may lie outside of the chart, lest one disturbed block flattens all others.
_OUTSIDE = 0.02
# Of the samples; the slowest few would leave the rest a narrow column.
_SHOWN_SAMPLES = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartDots:
    """The changes of one process: of each block, and the one value that counts. ``texts`` are shown by hovering."""

    number: int  # from 1, in the order measured
    is_confirmation: bool
    changes: tuple[float, ...]
    texts: tuple[str, ...]
    mean: float
    mean_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The change over all restarts with its interval."""

    change: float
    low: float
    high: float


def difference_chart(restarts: Sequence[RestartDots], band: Band | None, margin: float) -> Spec:
    """The change of every block by restart, the value of each restart, the interval of their mean, and the margin."""
    groups = (("screening", "circle", False), ("confirmation", "diamond", True))
    data = []
    for title, symbol, is_confirmation in groups:
        found = [restart for restart in restarts if restart.is_confirmation is is_confirmation]
        if found:
            data += [_block_trace(found, f"blocks, {title}", symbol), _mean_trace(found, f"restart, {title}", symbol)]
    layout = chart_layout(
        xaxis=value_axis("restart") | {"dtick": max(1, -(-len(restarts) // 12)), "range": [0.4, len(restarts) + 0.6]},
        yaxis=value_axis("change of time") | {"tickformat": "+.1%", "range": shown_range(restarts, band, margin)},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        shapes=[*(_interval(band) if band else ()), _level(0.0, "", "solid"), *_margins(margin)],
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def shown_range(restarts: Sequence[RestartDots], band: Band | None, margin: float) -> list[float]:
    """The changes between which the chart is drawn: all that counts, and almost all blocks."""
    blocks = [change for restart in restarts for change in restart.changes]
    low, high = np.quantile(blocks, (_OUTSIDE, 1 - _OUTSIDE)).tolist()
    counting = [*(restart.mean for restart in restarts), -1.5 * margin, 1.5 * margin]
    counting += [band.low, band.high] if band else []
    low, high = min(low, *counting), max(high, *counting)
    return [low - 0.06 * (high - low), high + 0.06 * (high - low)]


def _block_trace(restarts: Sequence[RestartDots], title: str, symbol: str) -> Spec:
    places = [
        restart.number + 0.6 * ((index + 0.5) / len(restart.changes) - 0.5)
        for restart in restarts
        for index in range(len(restart.changes))
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plotly_text(title),
        "x": [round(place, 3) for place in places],
        "y": [change for restart in restarts for change in restart.changes],
        "hovertext": [text for restart in restarts for text in restart.texts],
        "hoverinfo": "text",
        "marker": {"symbol": f"{symbol}-open", "size": 6, "color": "var(--soft)", "opacity": 0.75},
    }


def _mean_trace(restarts: Sequence[RestartDots], title: str, symbol: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plotly_text(title),
        "x": [restart.number for restart in restarts],
        "y": [restart.mean for restart in restarts],
        "hovertext": [restart.mean_text for restart in restarts],
        "hoverinfo": "text",
        "marker": {
            "symbol": symbol,
            "size": 11,
            "color": CANDIDATE_COLOUR,
            "line": {"width": 1, "color": "var(--page)"},
        },
    }


def _level(value: float, label: str, dash: str) -> Spec:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "layer": "below",
        "line": {"width": 1, "dash": dash, "color": "var(--soft)"},
        "label": {"text": plotly_text(label), "textposition": "start", "font": {"size": 11, "color": "var(--soft)"}},
    }


def _margins(margin: float) -> list[Spec]:
    return [_level(margin, "margin", "dot"), _level(-margin, "", "dot")]


def _interval(band: Band) -> list[Spec]:
    area = {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": band.low,
        "y1": band.high,
        "layer": "below",
        "fillcolor": CANDIDATE_COLOUR,
        "opacity": 0.16,
        "line": {"width": 0},
    }
    middle = _level(band.change, "", "dash")
    middle["line"] |= {"width": 1.5, "color": CANDIDATE_COLOUR}
    return [area, middle]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBlock:
    """Seconds per call of both sides of a block (lower quartiles), and when it began."""

    started_s: float
    base_s: float
    candidate_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One condition of the machine, block by block; None where the system did not tell."""

    title: str
    values: tuple[float | None, ...]
    tick_format: str
    suffix: str = ""


def timeline_chart(blocks: Sequence[TimedBlock], courses: Sequence[Course]) -> Spec:
    """Both sides over the time since the comparison began, and below them what the machine did meanwhile."""
    courses = [course for course in courses if any(value is not None for value in course.values)]
    heights = [1.0, *([0.32] * len(courses))]
    gap = 0.12
    total = sum(heights) + gap * len(courses)
    layout = chart_layout(
        xaxis=value_axis("seconds since the comparison began") | {"anchor": f"y{len(courses) + 1 if courses else ''}"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        height=360 + 110 * len(courses),
        hovermode="closest",
    )
    top = 1.0
    for index, height in enumerate(heights):
        axis = time_axis("time per call") if not index else _course_axis(courses[index - 1])
        bottom = max(top - height / total, 0.0)
        layout[f"yaxis{index + 1 if index else ''}"] = axis | {"domain": [bottom, top]}
        top = bottom - gap / total
    sides = [
        _side_trace(blocks, "base", "circle-open", BASE_COLOUR, [block.base_s for block in blocks]),
        _side_trace(blocks, "candidate", "square", CANDIDATE_COLOUR, [block.candidate_s for block in blocks]),
    ]
    return {
        "data": [*sides, *(_course_trace(blocks, course, index) for index, course in enumerate(courses))],
        "layout": layout,
    }


def _side_trace(blocks: Sequence[TimedBlock], title: str, symbol: str, colour: str, values: list[float]) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "x": [block.started_s for block in blocks],
        "y": values,
        "hovertext": [block.text for block in blocks],
        "hoverinfo": "text",
        "marker": {"symbol": symbol, "size": 6, "color": colour, "opacity": 0.85},
    }


def _course_axis(course: Course) -> Spec:
    return value_axis(course.title) | {"tickformat": course.tick_format, "ticksuffix": course.suffix, "nticks": 3}


def _course_trace(blocks: Sequence[TimedBlock], course: Course, index: int) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "x": [block.started_s for block in blocks],
        "y": list(course.values),
        "yaxis": f"y{index + 2}",
        "hovertemplate": f"{plotly_text(course.title)} %{{y:{course.tick_format}}}{course.suffix}<extra></extra>",
        "marker": {"symbol": "circle", "size": 4, "color": "var(--soft)"},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """All samples of one side, seconds per call."""

    title: str
    samples_s: tuple[float, ...]
    colour: str
    dash: str


def distribution_chart(distributions: Sequence[Distribution]) -> Spec:
    """Which share of the samples does not exceed a time, of both sides over one axis."""
    reach = [np.quantile(one.samples_s, (0.0, _SHOWN_SAMPLES)).tolist() for one in distributions]
    low, high = min(pair[0] for pair in reach), max(pair[1] for pair in reach)
    room = 0.03 * (high - low)
    layout = chart_layout(
        xaxis=time_axis("time per call") | {"range": [low - room, high + room]},
        yaxis=value_axis("share of the samples") | {"tickformat": ".0%", "range": [-0.02, 1.02]},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        height=360,
        hovermode="closest",
    )
    return {"data": [_distribution_trace(one) for one in distributions], "layout": layout}


def _distribution_trace(one: Distribution) -> Spec:
    shares = np.linspace(0.0, 1.0, DISTRIBUTION_POINTS)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plotly_text(one.title),
        "x": [float(f"{value:.6g}") for value in np.quantile(one.samples_s, shares)],
        "y": [round(float(share), 4) for share in shares],
        "line": {"width": 2, "dash": one.dash, "color": one.colour},
        "hovertemplate": plotly_text(one.title) + ": %{y:.1%} within %{x:.4s}s<extra></extra>",
    }
