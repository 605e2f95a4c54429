"""The chart of the transformer's loss curves (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.chart_parts import Spec, chart_layout, log_axis, plotly_text, value_axis


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLine:
    """One run: its losses in nats per byte, one a step. Runs differ in dash and width as well as in colour."""

    title: str
    losses: tuple[float, ...]
    colour: str
    dash: str
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceLine:
    """The distance from the reference in each window of steps, in nats per byte."""

    title: str
    distances: tuple[float, ...]
    colour: str
    dash: str
    symbol: str


def loss_chart(lines: Sequence[LossLine], distances: Sequence[DistanceLine], windows: Sequence[float]) -> Spec:
    """Losses over steps and, below on the same axis, how far each run is from the reference.

    Args:
        lines: the runs.
        distances: of the runs that are judged, and what is allowed.
        windows: the middle step of each window.
    """
    layout = chart_layout(
        xaxis=value_axis("training step") | {"anchor": "y2"},
        yaxis=value_axis("loss, nats per byte") | {"domain": [0.46, 1.0]},
        # A decade a tick: distances grow over many of them.
        yaxis2=log_axis("distance, nats per byte", "~e") | {"domain": [0.0, 0.36], "dtick": 1},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        height=600,
        hovermode="closest",
    )
    return {
        "data": [*(_loss_trace(line) for line in lines), *(_distance_trace(line, windows) for line in distances)],
        "layout": layout,
    }


def _loss_trace(line: LossLine) -> Spec:
    title = plotly_text(line.title)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": title,
        "x": list(range(1, len(line.losses) + 1)),
        "y": [round(loss, 5) for loss in line.losses],
        "line": {"width": line.width, "dash": line.dash, "color": line.colour},
        "hovertemplate": title + ", step %{x}: %{y:.4f}<extra></extra>",
    }


def _distance_trace(line: DistanceLine, windows: Sequence[float]) -> Spec:
    title = plotly_text(line.title)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": title,
        "x": list(windows),
        # A logarithmic axis has no place for zero.
        "y": [float(f"{distance:.4g}") if distance > 0 else None for distance in line.distances],
        "yaxis": "y2",
        "line": {"width": 1.5, "dash": line.dash, "color": line.colour},
        "marker": {"symbol": line.symbol, "size": 7, "color": line.colour},
        "hovertemplate": title + ": %{y:.2e}<extra></extra>",
    }
