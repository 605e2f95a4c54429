"""Chart specifications: valid for plotly, honest about thinning, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perf.findings import Assessment
from reports.chart_parts import plotly_text
from reports.charts import (
    MAX_SAMPLES_SHOWN,
    SampleSeries,
    instruction_mix_chart,
    samples_chart,
    shown_samples,
    thin_out,
)
from reports.view import build_pages
from reports.view.page import Figure
from tests.builders import Shape, build_assessment


def figures_of(assessment: Assessment) -> list[Figure]:
    """Every chart of the whole report."""
    return [figure for page in build_pages(assessment) for figure in page.figures]


def test_every_specification_is_one_that_plotly_accepts() -> None:
    """Plotly's own validation knows every key and value; it raises for any other."""
    figures = figures_of(build_assessment(Shape(cases=2, kernels=1)))
    assert len(figures) > 6
    for figure in figures:
        go.Figure(resolve_colours(figure.spec))


def resolve_colours(value: object) -> object:
    """What charts.js does before it hands the specification to plotly.js."""
    if isinstance(value, dict):
        return {key: resolve_colours(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve_colours(item) for item in value]
    return "#000000" if isinstance(value, str) and value.startswith("var(") else value


def test_a_misspelt_key_would_be_noticed() -> None:
    """The check above catches what it is there for."""
    with pytest.raises(ValueError, match="colour"):
        go.Figure({"data": [{"type": "scatter", "marker": {"colour": "#000000"}}]})


def test_implementations_differ_in_marker_shape() -> None:
    """Peers can be told apart in black and white."""
    figure = next(figure for figure in figures_of(build_assessment(Shape(cases=1))) if figure.id == "samples")
    symbols = [trace["marker"]["symbol"] for trace in figure.spec["data"] if trace.get("mode") == "markers"]
    assert len(symbols) == len(set(symbols)) == 3


def test_opcodes_differ_in_pattern() -> None:
    """Neighbours in a bar can be told apart in black and white."""
    figure = next(figure for figure in figures_of(build_assessment(Shape(kernels=1))) if figure.id == "mix")
    neighbours = pairwise(trace["marker"]["pattern"]["shape"] for trace in figure.spec["data"])
    assert all(left != right for left, right in neighbours)


def test_opcodes_beyond_the_named_ones_count_as_other() -> None:
    """Fifteen opcodes, eleven of them named: the rest is one part, and no share is lost."""
    spec = instruction_mix_chart({"sm_80": {f"OP{index:02d}": 100 - index for index in range(15)}, "sm_90a": {}})
    assert [trace["name"] for trace in spec["data"]][-2:] == ["OP10", "other"]
    assert spec["data"][-1]["customdata"] == [sum(100 - index for index in range(11, 15))]
    assert sum(trace["x"][0] for trace in spec["data"]) == pytest.approx(1.0)


def test_the_mix_of_an_architecture_adds_up_to_one() -> None:
    """No share is lost, whatever is named."""
    figure = next(figure for figure in figures_of(build_assessment(Shape(kernels=1))) if figure.id == "mix")
    shares = zip(*(trace["x"] for trace in figure.spec["data"]), strict=True)
    assert [sum(share) for share in shares] == pytest.approx([1.0] * 4)


def test_a_regressed_case_is_marked_by_shape_and_not_only_by_colour() -> None:
    """A regression under the roofline is seen in black and white."""
    assessment = build_assessment(Shape(cases=2))
    figure = next(figure for figure in figures_of(assessment) if figure.id == "roofline-cpu")
    markers = [trace["marker"] for trace in figure.spec["data"] if trace.get("customdata")]
    symbols = {
        symbol
        for marker in markers
        for symbol, colour in zip(marker["symbol"], marker["color"], strict=True)
        if colour == "var(--regressed)"
    }
    assert symbols == {"circle-x-open"}


SAMPLES = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=3 * MAX_SAMPLES_SHOWN)


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_thinning_keeps_the_extremes_the_order_and_the_values(samples: Sequence[float]) -> None:
    """Fewer samples are drawn, but no outlier vanishes and none is invented."""
    rounds, values = thin_out(samples)
    assert len(values) <= MAX_SAMPLES_SHOWN
    assert rounds == sorted(set(rounds)) and rounds[-1] < len(samples)
    assert values == [samples[index] for index in rounds]
    assert min(values) == min(samples) and max(values) == max(samples)


def test_thinning_is_said() -> None:
    """A chart that leaves samples out says so; one that shows all says nothing."""
    assert shown_samples(MAX_SAMPLES_SHOWN) == ""
    assert f"{MAX_SAMPLES_SHOWN} of {MAX_SAMPLES_SHOWN + 1}" in shown_samples(MAX_SAMPLES_SHOWN + 1)


def test_the_distribution_counts_every_sample() -> None:
    """Only the scatter is thinned."""
    samples = tuple(1e-3 + index * 1e-6 for index in range(5 * MAX_SAMPLES_SHOWN))
    spec = samples_chart([SampleSeries(title="ours", samples_s=samples, colour="#000", symbol="circle")])
    bars = next(trace for trace in spec["data"] if trace["type"] == "bar")
    assert sum(bars["x"]) == len(samples)


def test_labels_keep_angle_brackets() -> None:
    """Plotly reads labels as HTML, and kernel names hold template arguments."""
    assert plotly_text("attention_fwd<bf16>") == "attention_fwd&lt;bf16&gt;"
