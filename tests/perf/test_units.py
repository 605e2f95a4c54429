"""Values become text with unit and sensible digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf import units
from perf.model import Interval, Metric

SCALES = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.seconds(0.05731), "57.31 ms"),
        (units.seconds(0.99996), "1.000 s"),
        (units.seconds(0.0), "0 s"),
        (units.seconds(float("nan")), "unknown s"),
        (units.flop_rate(598.24e9), "598.2 GFLOP/s"),
        (units.byte_rate(21.4e9), "21.40 GB/s"),
        (units.byte_total(101376), "99 KiB"),
        (units.byte_total(1500), "1.465 KiB"),
        (units.change(0.0321), "+3.2 %"),
        (units.change(-0.0321), "-3.2 %"),
        (units.change(-0.0001), "0.0 %"),
        (units.change(float("inf")), "∞"),
        (units.percent(0.813), "81.3 %"),
        (units.ratio(4.512), "4.51x"),
        (units.ratio(145.3), "145x"),
        (units.count(12345.0), "12 345"),
        (units.metric_value(Metric.REGISTERS, 168.0), "168 registers/thread"),
        (units.metric_value(Metric.OCCUPANCY, 0.25), "25.0 %"),
    ],
)
def test_known_texts(text: str, expected: str) -> None:
    """Figures that a reader would write the same way."""
    assert text == expected


@given(st.floats(1e-9, 1e3))
def test_seconds_keep_four_digits(value: float) -> None:
    """Reading the text back gives the value within half of its fourth digit."""
    number, unit = units.seconds(value).split(" ")

    assert float(number) * SCALES[unit.removesuffix("s")] == pytest.approx(value, rel=6e-4)
    assert len(number.replace(".", "")) == 4


def test_an_interval_says_its_confidence() -> None:
    """Bounds are written by the formatter of the figure itself."""
    assert units.interval(Interval(low=0.01, high=0.02), units.change) == "+1.0 % to +2.0 % (95 %)"
