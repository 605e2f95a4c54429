"""SI values into text for people: the only place that does. Four significant digits, three for ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from perf.model import Interval, Metric

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_TIME_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_BINARY_PREFIXES = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))


def seconds(value: float) -> str:
    """``57.31 ms``."""
    return _scaled(value, _TIME_PREFIXES, "s")


def flop_rate(value: float) -> str:
    """``598.2 GFLOP/s``."""
    return _scaled(value, _PREFIXES, "FLOP/s")


def byte_rate(value: float) -> str:
    """``21.40 GB/s``, decimal as makers of memory count."""
    return _scaled(value, _PREFIXES, "B/s")


def flop_total(value: float) -> str:
    """``34.36 GFLOP``."""
    return _scaled(value, _PREFIXES, "FLOP")


def byte_total(value: float) -> str:
    """``99 KiB``: binary prefixes, and no decimals where the number is whole."""
    scale, prefix = next((pair for pair in _BINARY_PREFIXES if abs(value) >= pair[0]), _BINARY_PREFIXES[-1])
    text = f"{value / scale:.0f}" if value % scale == 0 else _digits(value / scale, 4)
    return f"{text} {prefix}B"


def intensity(value: float) -> str:
    """``512.0 FLOP/B``."""
    return f"{_digits(value, 4)} FLOP/B"


def ratio(value: float) -> str:
    """``4.51x``."""
    return f"{_digits(value, 3)}x"


def percent(value: float) -> str:
    """A fraction without sign: ``81.3 %``."""
    return f"{value * 100:.1f} %" if math.isfinite(value) else _not_finite(value)


def change(value: float) -> str:
    """A relative change with its sign: ``+3.2 %``; ``0.0 %`` for none."""
    if not math.isfinite(value):
        return _not_finite(value)
    text = f"{value * 100:+.1f}"
    return f"{text[1:] if float(text) == 0 else text} %"


def count(value: float) -> str:
    """``12 345``: whole numbers in groups of three, others with four digits."""
    return f"{value:,.0f}".replace(",", " ") if value == int(value) else _digits(value, 4)


def interval(bounds: Interval, text: Callable[[float], str]) -> str:
    """``57.0 ms to 58.1 ms (95 %)``, each bound written by ``text``."""
    return f"{text(bounds.low)} to {text(bounds.high)} ({bounds.confidence * 100:.0f} %)"


def metric_value(metric: Metric, value: float) -> str:
    """A figure with its metric's unit."""
    written = _METRIC_TEXT.get(metric)
    return written(value) if written else f"{count(value)} {metric.unit}"


def _scaled(value: float, prefixes: Sequence[tuple[float, str]], unit: str) -> str:
    if not math.isfinite(value):
        return f"{_not_finite(value)} {unit}"
    if value == 0:
        return f"0 {unit}"
    # Rounded before the prefix is chosen, so that 999.96 ms becomes 1.000 s.
    rounded = abs(float(f"{value:.3e}"))
    scale, prefix = next((pair for pair in prefixes if rounded >= pair[0] * (1 - 1e-9)), prefixes[-1])
    return f"{_digits(value / scale, 4)} {prefix}{unit}"


def _digits(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return _not_finite(value)
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".") if "e" not in f"{value:.{digits}g}" else f"{value:.{digits}g}"


def _not_finite(value: float) -> str:
    return "unknown" if math.isnan(value) else "∞" if value > 0 else "-∞"


_METRIC_TEXT: Mapping[Metric, Callable[[float], str]] = {
    Metric.TIME: seconds,
    Metric.THROUGHPUT: flop_rate,
    Metric.ROOFLINE_FRACTION: percent,
    Metric.PEER_RATIO: ratio,
    Metric.TIME_OVER_SHARE: ratio,
    Metric.OCCUPANCY: percent,
    Metric.HW_DURATION: seconds,
}
