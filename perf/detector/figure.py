"""The curves of detection over slowdown, as SVG that is the same for the same results."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernels.errors import RoofgateError
from perf.detector.regimes import Regime
from perf.detector.scores import MDE_DETECTION, Rate, rules, score, select
from perf.detector.trials import SLOWDOWNS, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES: Mapping[Regime, str] = {
    Regime.QUIET: "quiet",
    Regime.LOADED: "one core loaded",
    Regime.BURSTS: "bursts of load",
}
# Told apart without colour: by marker and dashes. Ours comes first and is heavier.
_STYLES: Sequence[Mapping[str, Any]] = (
    {"color": "#000000", "marker": "o", "linestyle": "-", "linewidth": 2.2, "markersize": 7},
    {"color": "#b2451b", "marker": "v", "linestyle": (0, (5, 2)), "linewidth": 1.2, "markersize": 6.5},
    {"color": "#c98a0b", "marker": "s", "linestyle": (0, (3, 1, 1, 1)), "linewidth": 1.2, "markersize": 5.5},
    {"color": "#3b7d4f", "marker": "^", "linestyle": (0, (1, 1)), "linewidth": 1.4, "markersize": 6.5},
    {"color": "#2a62a8", "marker": "D", "linestyle": (0, (7, 2, 1, 2)), "linewidth": 1.2, "markersize": 5.5},
)
# Neighbouring rules stand beside each other, so that their intervals do not hide one another. Percent of slowdown.
_SIDESTEP = 0.12
_SETTINGS: Any = {  # matplotlib types the keys as literals, which no name for a plain mapping matches
    "svg.hashsalt": "roofgate",  # otherwise identifiers are random
    "svg.fonttype": "none",  # text stays text
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_curves(results: Sequence[Result]) -> str:
    """One panel per regime, one line per rule, with the 95 % Wilson interval of each point.

    Raises :class:`RoofgateError` if matplotlib is not installed.
    """
    # Imported here: scores and text need no drawing.
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RoofgateError("drawing the curves needs matplotlib; run: pip install --group detector") from error
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(11, 4.7), layout="constrained")
        panels = figure.subplots(1, len(Regime), sharey=True)
        lines: dict[str, Any] = {}
        for regime, panel in zip(Regime, panels, strict=True):
            lines |= _draw_panel(panel, select(results, regime=regime), regime)
        panels[0].set_ylabel("alarms, % of decisions")
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=3, frameon=False, handlelength=4.5)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Title": "Alarms over planted slowdown"})
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"


def _draw_panel(panel: Axes, results: Sequence[Result], regime: Regime) -> dict[str, Any]:
    """Draw one regime; returns the line of each rule, for the legend."""
    _set_up(panel, regime)
    known, lines = rules(results), {}
    for index, rule in enumerate(known):
        scored = score(results, rule)
        curve = {0.0: scored.false_alarms, **scored.detections}
        shift = _SIDESTEP * (index - (len(known) - 1) / 2)
        lines[rule.name] = _draw_curve(panel, curve, shift, _STYLES[index % len(_STYLES)])
    if not known:
        panel.text(0.5, 0.5, "no trials yet", transform=panel.transAxes, ha="center", color="#555555")
    return lines


def _set_up(panel: Axes, regime: Regime) -> None:
    percents = [100 * slowdown for slowdown in (0.0, *SLOWDOWNS)]
    panel.set_title(_TITLES[regime], fontsize=11)
    panel.set_xlabel("planted slowdown, %")
    panel.set_xticks(percents, [f"{percent:g}" for percent in percents])
    panel.set_xlim(-0.5, percents[-1] + 0.5)
    panel.set_ylim(-3, 103)
    panel.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.axhline(100 * MDE_DETECTION, color="#888888", linewidth=0.9, linestyle=(0, (2, 3)), zorder=0)


def _draw_curve(panel: Axes, curve: Mapping[float, Rate], shift: float, style: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Draw one rule's rates and intervals, ``shift`` percent beside their slowdowns; returns the line."""
    points = [(slowdown, rate) for slowdown, rate in sorted(curve.items()) if rate.total]
    heights = [100 * rate.value for _, rate in points]
    below = [height - 100 * rate.interval.low for height, (_, rate) in zip(heights, points, strict=True)]
    above = [100 * rate.interval.high - height for height, (_, rate) in zip(heights, points, strict=True)]
    places = [100 * slowdown + shift for slowdown, _ in points]
    # Rounding can leave a bound a hair on the wrong side of the rate.
    lengths = [[max(0.0, length) for length in side] for side in (below, above)]
    panel.errorbar(
        places, heights, yerr=lengths, fmt="none", ecolor=style["color"], elinewidth=0.8, capsize=1.5, alpha=0.55
    )
    (line,) = panel.plot(places, heights, markeredgecolor="white", markeredgewidth=0.6, **style)
    return line
