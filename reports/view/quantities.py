"""Compound figures as text: what :mod:`perf.units` writes, put together for tables and sentences."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from perf import units
from perf.model import Interval, Metric


def span(bounds: Interval, text: Callable[[float], str]) -> str:
    """``57.01 to 58.10 ms``: the unit stands once where both bounds share it."""
    low, high = text(bounds.low), text(bounds.high)
    number, _, unit = low.rpartition(" ")
    return f"{number if number and high.endswith(' ' + unit) else low} to {high}"


def confidence(bounds: Interval) -> str:
    """``95 %``."""
    return f"{bounds.confidence * 100:.0f} %"


def elapsed(seconds: float) -> str:
    """Wall time for people: ``3 min 12 s``, below a minute as :func:`perf.units.seconds`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return units.seconds(seconds)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def exponential_rate(value: float) -> str:
    """``4.180 Texp/s``: exponentials per second."""
    return units.flop_rate(value).removesuffix("FLOP/s") + "exp/s"


def moment(iso: str) -> str:
    """``2026-01-05 10:15 UTC`` for an ISO 8601 time; other text, from a foreign file, stays as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return iso


def plural(count: int, noun: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{units.count(count)} {noun}" + ("" if count == 1 else "s")


# Where a table's row or column names what is counted, its unit would only repeat it.
_COUNTED = frozenset(
    {
        "registers/thread",
        "barriers",
        "warnings",
        "instructions",
        "findings",
        "warp-instructions",
        "warp-barriers",
        "wavefronts/request",
        "sectors/request",
        "sectors",
        "wavefronts",
    }
)


def bare_value(metric: Metric, value: float) -> str:
    """A figure next to its metric's title: with its unit, but plain counts as a number alone."""
    if metric is Metric.SHARED_MEMORY_BYTES:
        return units.byte_total(value)
    return units.count(value) if metric.unit in _COUNTED else units.metric_value(metric, value)
