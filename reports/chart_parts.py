"""What all chart specifications share: labels, axes and the layout around them."""

from __future__ import annotations

from typing import Any

from markupsafe import escape

Spec = dict[str, Any]

FONT = "system-ui, sans-serif"


def plotly_text(text: str) -> str:
    """``text`` for a plotly label, which reads a subset of HTML: kernel names hold angle brackets."""
    return str(escape(text))


def value_axis(title: str) -> Spec:
    """A linear axis."""
    return {
        "title": {"text": plotly_text(title), "standoff": 8},
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "automargin": True,
    }


def time_axis(title: str) -> Spec:
    """A linear axis of seconds, written with SI prefixes."""
    return value_axis(title) | {"tickformat": ".3~s", "ticksuffix": "s", "nticks": 5}


def log_axis(title: str, number_format: str) -> Spec:
    """A logarithmic axis; ``number_format`` is d3's."""
    # Without a format plotly.js writes 1e15 with a raised exponent, whose inline style the policy forbids.
    return value_axis(title) | {"type": "log", "tickformat": number_format, "dtick": "D2"}


def chart_layout(**parts: Any) -> Spec:  # noqa: ANN401 - plotly's own vocabulary
    """The layout of every chart, with ``parts`` added or in place of its own."""
    return {
        "autosize": True,
        "height": 440,
        "margin": {"l": 12, "r": 16, "t": 34, "b": 12},  # the buttons stand above the chart
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--soft)", "activecolor": "var(--ink)"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--soft)", "size": 12, "family": FONT},
        "hoverlabel": {
            "bgcolor": "var(--panel)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)", "family": FONT},
            "align": "left",
        },
        **parts,
    }
