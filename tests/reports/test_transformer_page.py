"""The transformer's page: every figure is there, and a run of other sources is called one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

from perf.model import Verdict
from perf.transformer.results import TransformerRun
from reports.render import render_site
from reports.view import build_pages
from reports.view.page import Page
from reports.view.transformer_page import (
    TRANSFORMER_PATH,
    TransformerPage,
    build_transformer_page,
    with_transformer_page,
)
from tests.builders import Shape, build_assessment
from tests.perf.transformer.invented_runs import invented_curves, invented_run
from tests.reports.conftest import Tags
from tests.reports.test_charts import resolve_colours

ASSESSMENT = build_assessment(Shape(cases=1, kernels=1))


def content_of(run: TransformerRun) -> TransformerPage:
    """The content of the page of a single run."""
    content = build_transformer_page(ASSESSMENT, [run]).content
    assert isinstance(content, TransformerPage)
    return content


def test_the_table_has_shares_prediction_and_measurement() -> None:
    """Of a kernel three times as fast in two thirds of the step: 1.8 times as fast altogether."""
    (section,) = content_of(invented_run(kernel_speedup=3.0, noise=0.0)).sections
    texts = [cell.text for cell in section.phases.rows[0].cells]

    assert texts[:2] == ["training step", "as predicted"]
    assert texts[4:] == ["66.7 %", "66.7 %", "3.00x", "3.00x", "1.80x", "1.80x", "0.0 %"]


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (invented_run(extra_s=0.02), "not as predicted"),
        (invented_run(noise=0.3), "too noisy to say"),
    ],
)
def test_a_prediction_that_fails_is_called_so(run: TransformerRun, word: str) -> None:
    """In words, not by colour alone."""
    (section,) = content_of(run).sections

    assert section.phases.rows[0].cells[1].text == word


@pytest.mark.parametrize(("own_drift", "word"), [(1e-3, "equal"), (0.1, "different"), (0.0, "equal")])
def test_the_chart_says_whether_curves_are_equal(own_drift: float, word: str) -> None:
    """It is one that plotly accepts, with torch, ours and every control; equal bits leave no dot on a logarithm."""
    curves = invented_curves(own_drift)
    (figure,) = content_of(invented_run(curves=(curves,))).sections[0].curves

    assert figure.title == f"Loss curves, bf16: {word}"
    go.Figure(resolve_colours(figure.spec))
    names = [trace["name"] for trace in figure.spec["data"]]
    assert names == [
        *(control.title for control in curves.controls),
        "torch",
        "roofgate",
        "roofgate from torch",
        "allowed",
    ]
    assert len(figure.table.rows) == 10


def test_a_run_of_other_sources_is_called_one() -> None:
    """Nothing is hidden, and nothing passes for current."""
    current = replace(invented_run(), commit=ASSESSMENT.commit)
    other = replace(current, commit=replace(ASSESSMENT.commit, tree="0123456789abcdef"))

    assert content_of(current).sections[0].stale == ""
    assert "0123456789abcdef" in content_of(other).sections[0].stale


def test_the_page_joins_the_site(tmp_path: Path) -> None:
    """Linked from every page, well formed, with a chart for each dtype; nothing changes without runs."""
    pages = build_pages(ASSESSMENT)
    joined = with_transformer_page(ASSESSMENT, pages, [invented_run()])
    render_site(joined, tmp_path)

    assert with_transformer_page(ASSESSMENT, pages, []) == pages
    assert all(any(link.href == TRANSFORMER_PATH for link in page.frame.navigation) for page in joined)
    tags = Tags((tmp_path / TRANSFORMER_PATH).read_text())
    assert tags.unbalanced == []
    assert sum("data-plot" in attributes for _, attributes in tags.tags) == 1


def test_verdicts_of_a_prediction_are_all_worded() -> None:
    """Every verdict that a phase can have has a mark."""
    from reports.view.transformer_page import _MARKS

    assert set(_MARKS) == {Verdict.UNCHANGED, Verdict.REGRESSED, Verdict.INCONCLUSIVE}
    assert isinstance(build_transformer_page(ASSESSMENT, [invented_run()]), Page)
