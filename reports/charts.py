"""Interactive charts as plotly figure specifications: pure functions from figures to JSON-able dictionaries.

The dictionaries go to plotly.js as they are. They are not built with ``plotly.graph_objects``, whose validation costs
more than the rest of a large report together; the tests validate them with it instead. Colours are names of CSS custom
properties (``var(--ink)``), which ``charts.js`` resolves for the light or the dark theme. Series differ in marker shape
and dash as well as in colour, so that the charts read in black and white.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perf.model import CAUSAL, FULL, Case, DType, Operation, Verdict
from reports.chart_parts import Spec, chart_layout, log_axis, plotly_text, time_axis, value_axis

MAX_SAMPLES_SHOWN = 600
MAX_HISTORY_LABELS = 8
HISTOGRAM_BINS = 24
MAX_OPCODES_SHOWN = 11
OTHER_OPCODES = "other"
PATTERNS = ("", "/", "x", "-", "|", "+", ".", "\\")
SYMBOLS = {
    Operation.ATTENTION_FWD: {DType.BF16: "circle", DType.FP16: "diamond", DType.FP32: "square"},
    Operation.ATTENTION_BWD: {DType.BF16: "triangle-up", DType.FP16: "triangle-down", DType.FP32: "pentagon"},
}
MARKER_MEANING = (
    "Circle: bf16, diamond: fp16, square: fp32; of a backward pass, triangle: bf16, inverted triangle: fp16, "
    "pentagon: fp32. Open is the full mask, filled is causal, open with a dot is any other mask."
)
TONES = {
    Verdict.REGRESSED: "var(--regressed)",
    Verdict.IMPROVED: "var(--improved)",
    Verdict.INCONCLUSIVE: "var(--inconclusive)",
}


def marker(case: Case, *, has_regressed: bool = False) -> str:
    """The symbol of a case: its shape tells operation and type, its filling the mask; a cross tells a regression."""
    shape = SYMBOLS[case.operation][case.dtype]
    if has_regressed:
        # Of these shapes, plotly crosses those of the forward pass alone.
        return f"{shape}-x-open" if case.operation is Operation.ATTENTION_FWD else "x-open"
    if case.mask == CAUSAL:
        return shape
    return f"{shape}-open" if case.mask == FULL else f"{shape}-open-dot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """One roof: min(peak, intensity * bandwidth), in FLOP/s and B/s."""

    title: str
    peak_flop_per_s: float
    bytes_per_s: float
    slope_title: str = ""  # at the slope, which several roofs share
    dash: str = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One case under the roof; ``href`` is where a click leads."""

    intensity: float
    flop_per_s: float
    text: str
    href: str
    symbol: str
    colour: str = "var(--own)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DotGroup:
    """Dots that share a legend entry."""

    title: str
    dots: tuple[Dot, ...]
    symbol: str  # of the legend
    colour: str = "var(--own)"
    size: int = 10


def roofline_chart(roofs: Sequence[Roof], groups: Sequence[DotGroup]) -> Spec:
    """Attained FLOP/s over arithmetic intensity, both logarithmic, below the roofs."""
    intensities = [dot.intensity for group in groups for dot in group.dots]
    ridges = [roof.peak_flop_per_s / roof.bytes_per_s for roof in roofs]
    low, high = min([*intensities, *ridges]) / 4, max([*intensities, *ridges]) * 6
    layout = chart_layout(
        xaxis=log_axis("arithmetic intensity, FLOP per byte", ",~r") | {"range": np.log10([low, high]).tolist()},
        yaxis=log_axis("FLOP/s", "~s"),
        legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
        hovermode="closest",
    )
    traces = [trace for group in groups for trace in (_dot_trace(group), _legend_trace(group))]
    return {"data": [*(_roof_trace(roof, low, high) for roof in roofs), *traces], "layout": layout}


def _roof_trace(roof: Roof, low: float, high: float) -> Spec:
    ridge = roof.peak_flop_per_s / roof.bytes_per_s
    x = [low, 1.5 * low, ridge, high]
    return {
        "type": "scatter",
        "mode": "lines+markers+text",
        "marker": {"size": 9, "opacity": 0},  # holds the label off the line
        "x": x,
        "y": [min(roof.peak_flop_per_s, value * roof.bytes_per_s) for value in x],
        "text": ["", plotly_text(roof.slope_title), "", plotly_text(roof.title)],
        "textposition": [*("bottom right",) * 3, "top left" if roof.dash == "solid" else "bottom left"],
        "cliponaxis": False,
        "line": {"dash": roof.dash, "width": 2, "color": "var(--ink)" if roof.dash == "solid" else "var(--soft)"},
        "hoverinfo": "text",
        "hovertext": plotly_text(roof.title),
        "showlegend": False,
    }


def _dot_trace(group: DotGroup) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "legendgroup": plotly_text(group.title),
        "showlegend": False,
        "x": [dot.intensity for dot in group.dots],
        "y": [dot.flop_per_s for dot in group.dots],
        "customdata": [dot.href for dot in group.dots],
        "hovertext": [dot.text for dot in group.dots],
        "hoverinfo": "text",
        "marker": {
            "symbol": [dot.symbol for dot in group.dots],
            "color": [dot.colour for dot in group.dots],
            "size": group.size,
            "line": {"width": 1.5, "color": [dot.colour for dot in group.dots]},
        },
    }


def _legend_trace(group: DotGroup) -> Spec:
    """An entry for the whole group: plotly would show the marker of its first dot."""
    line = {"width": 1.5, "color": group.colour}
    title = plotly_text(group.title)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "legendgroup": title,
        "x": [None],
        "y": [None],
        "marker": {"symbol": group.symbol, "color": group.colour, "size": group.size, "line": line},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSeries:
    """The samples of one implementation, seconds per call in the order taken."""

    title: str
    samples_s: tuple[float, ...]
    colour: str
    symbol: str


def samples_chart(series: Sequence[SampleSeries]) -> Spec:
    """One row per implementation: samples in the order taken, and beside them their distribution over the same axis."""
    rows = len(series)
    gap = 0.06 if rows > 1 else 0.0
    height = (1.0 - gap * (rows - 1)) / rows
    layout = chart_layout(
        xaxis=value_axis("round") | {"domain": [0.0, 0.74], "anchor": f"y{rows if rows > 1 else ''}"},
        xaxis2=value_axis("samples") | {"domain": [0.77, 1.0], "anchor": f"y{rows if rows > 1 else ''}"},
        height=90 + 150 * rows,
        showlegend=False,
        bargap=0.05,
    )
    data = []
    for index, one in enumerate(series):
        suffix = str(index + 1) if index else ""
        top = 1.0 - index * (height + gap)
        layout[f"yaxis{suffix}"] = time_axis(one.title) | {"domain": [max(top - height, 0.0), top]}
        data += [_sample_trace(one, suffix), _median_trace(one, suffix), _distribution_trace(one, suffix)]
    return {"data": data, "layout": layout}


def shown_samples(count: int) -> str:
    """Says which samples the chart shows."""
    if count <= MAX_SAMPLES_SHOWN:
        return ""
    return (
        f"To keep the page small, at most {MAX_SAMPLES_SHOWN} of {count} samples are drawn in the order taken: the "
        "lowest and the highest of each stretch. The distribution and all figures use every sample."
    )


def thin_out(samples: Sequence[float]) -> tuple[list[int], list[float]]:
    """Rounds and values of at most ``MAX_SAMPLES_SHOWN`` samples.

    Of each stretch the lowest and the highest are kept, so that no outlier vanishes.
    """
    values = np.asarray(samples, dtype=float)
    if len(values) <= MAX_SAMPLES_SHOWN:
        return list(range(len(values))), values.tolist()
    width = -(-len(values) // (MAX_SAMPLES_SHOWN // 2))
    stretches = np.pad(values, (0, -len(values) % width), mode="edge").reshape(-1, width)
    starts = np.arange(len(stretches)) * width
    kept = np.unique([starts + stretches.argmin(axis=1), starts + stretches.argmax(axis=1)]).tolist()
    return kept, values[kept].tolist()


def _sample_trace(series: SampleSeries, suffix: str) -> Spec:
    rounds, values = thin_out(series.samples_s)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plotly_text(series.title),
        "x": rounds,
        "y": values,
        "yaxis": f"y{suffix}",
        "marker": {"color": series.colour, "symbol": series.symbol, "size": 5, "opacity": 0.75},
        "hovertemplate": "round %{x}: %{y:.4s}s<extra></extra>",
    }


def _median_trace(series: SampleSeries, suffix: str) -> Spec:
    middle = float(np.median(series.samples_s))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0, max(len(series.samples_s) - 1, 1)],
        "y": [middle, middle],
        "yaxis": f"y{suffix}",
        "line": {"dash": "dash", "width": 1.5, "color": "var(--ink)"},
        "hovertemplate": "median %{y:.4s}s<extra></extra>",
    }


def _distribution_trace(series: SampleSeries, suffix: str) -> Spec:
    counts, edges = np.histogram(series.samples_s, bins=HISTOGRAM_BINS)
    return {
        "type": "bar",
        "orientation": "h",
        "x": counts.tolist(),
        "y": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "width": float(edges[1] - edges[0]),
        "xaxis": "x2",
        "yaxis": f"y{suffix}",
        "marker": {"color": series.colour},
        "hovertemplate": "%{x} samples near %{y:.4s}s<extra></extra>",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryDot:
    """One result of a case; ``text`` is what hovering shows."""

    commit: str
    median_s: float
    text: str


def history_chart(dots: Sequence[HistoryDot]) -> Spec:
    """Median time per run, oldest first; the last one is the present run."""
    last = len(dots) - 1
    step = max(1, -(-len(dots) // MAX_HISTORY_LABELS))
    labelled = [index for index in range(len(dots)) if (last - index) % step == 0]
    axis = value_axis("commit") | {
        "tickvals": labelled,
        "ticktext": [plotly_text(dots[i].commit[:7]) for i in labelled],
    }
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(range(len(dots))),
        "y": [dot.median_s for dot in dots],
        "hovertext": [dot.text for dot in dots],
        "hoverinfo": "text",
        "line": {"color": "var(--own)", "width": 2},
        "marker": {
            "color": "var(--own)",
            "size": [11 if index == last else 6 for index in range(len(dots))],
            "symbol": ["star" if index == last else "circle" for index in range(len(dots))],
        },
    }
    layout = chart_layout(
        xaxis=axis, yaxis=time_axis("median time") | {"range": _calm_range([dot.median_s for dot in dots])}, height=300
    )
    return {"data": [trace], "layout": layout}


def _calm_range(values: Sequence[float]) -> list[float]:
    """A range around ``values`` of at least a fifth of their middle, so that noise is not blown up to full height."""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    half = max(0.6 * (high - low), 0.1 * middle)
    return [middle - half, middle + half]


def instruction_mix_chart(mixes: Mapping[str, Mapping[str, int]]) -> Spec:
    """Share of the most frequent opcodes in the machine code, one bar per architecture."""
    mixes = {architecture: opcodes for architecture, opcodes in mixes.items() if opcodes}
    layout = chart_layout(
        barmode="stack",
        xaxis=value_axis("share of the instructions in the machine code") | {"tickformat": ".0%"},
        yaxis={"autorange": "reversed", "automargin": True, "fixedrange": True},
        legend={"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0, "traceorder": "normal"},
        height=190 + 42 * len(mixes),
    )
    data = [_opcode_trace(index, opcode, mixes) for index, opcode in enumerate(_shown_opcodes(mixes))]
    return {"data": data, "layout": layout}


def _shown_opcodes(mixes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The most frequent opcodes over all architectures, and ``OTHER_OPCODES`` where that leaves some out."""
    total = sum((Counter(opcodes) for opcodes in mixes.values()), Counter[str]())
    ranked = sorted(total, key=lambda opcode: (-total[opcode], opcode))
    hidden = [OTHER_OPCODES] if len(ranked) > MAX_OPCODES_SHOWN else []
    return ranked[:MAX_OPCODES_SHOWN] + hidden


def _opcode_trace(index: int, opcode: str, mixes: Mapping[str, Mapping[str, int]]) -> Spec:
    named = set(_shown_opcodes(mixes))
    counts = [
        sum(
            count
            for name, count in opcodes.items()
            if name == opcode or (opcode == OTHER_OPCODES and name not in named)
        )
        for opcodes in mixes.values()
    ]
    sums = [sum(opcodes.values()) for opcodes in mixes.values()]
    return {
        "type": "bar",
        "orientation": "h",
        "name": plotly_text(opcode),
        "y": [plotly_text(architecture) for architecture in mixes],
        "x": [count / whole for count, whole in zip(counts, sums, strict=True)],
        "customdata": counts,
        "hovertemplate": plotly_text(opcode) + ": %{customdata} (%{x:.1%})<extra></extra>",
        "marker": {
            "color": f"var(--series-{index % 8})",
            "line": {"color": "var(--page)", "width": 1},
            "pattern": {
                "shape": PATTERNS[(index + index // 8) % 8],  # the second round of colours differs in pattern
                "fillmode": "overlay",
                "fgcolor": "var(--page)",
                "size": 7,
                "solidity": 0.25,
            },
        },
    }
