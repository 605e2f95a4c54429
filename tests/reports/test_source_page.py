"""Source pages: a lost swizzle is a red line in words, and every figure stands at its line."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.workspace import Workspace
from perf.findings import Assessment
from perf.model import Layer, Metric
from profiles.source_counters import CountedKernel, lines_path, write_source_counters
from reports.__main__ import with_sources
from reports.render import render_site
from reports.view import build_pages
from reports.view.frame import kernel_path, source_path
from reports.view.kernel_page import KernelPage, build_kernel_page
from reports.view.source_page import HEAT_LEVELS, SourcePage, build_source_page, heat_level, short_count
from tests.builders import Shape, build_assessment
from tests.source_builders import (
    KERNEL,
    MEMORY,
    TEXTS,
    build_counted_kernel,
    build_simulated_capture,
    build_source_counters,
    with_simulated,
)

ASSESSMENT = build_assessment(Shape(cases=1, kernels=2))
NAME = ASSESSMENT.kernels[0].kernel


def content_of(wavefronts: int = 1) -> SourcePage:
    """The source page of the invented kernel."""
    counted = build_counted_kernel(NAME, "sm_80", wavefronts)
    content = build_source_page(ASSESSMENT, counted, TEXTS, [counted]).content
    assert isinstance(content, SourcePage)
    return content


def cells(content: SourcePage, file: str, number: int) -> dict[str, str]:
    """Figures of one line by column."""
    (found,) = [one for one in content.files if one.name == file]
    (line,) = [line for stretch in found.stretches for line in stretch.lines if line.number == number]
    return {column.title: cell.text for column, cell in zip(content.columns, line.cells, strict=True) if cell.text}


def test_a_lost_swizzle_is_said_at_its_line_and_where_it_is_called() -> None:
    """In words, with the ratio, and linked from the top of the page; but not where the caller is called."""
    content = content_of(wavefronts=8)
    marked = {
        (file.name, line.number): line.conflict
        for file in content.files
        for stretch in file.stretches
        for line in stretch.lines
        if line.conflict
    }

    assert marked == dict.fromkeys([(KERNEL, 40), (MEMORY, 20)], "bank conflict: 8.0 wavefronts per request")
    assert {link.href.partition("#")[2] for link in content.conflicts} == {
        "invented-kernel-cuh-40",
        "invented-memory-cuh-20",
    }


def test_without_a_conflict_no_line_is_marked() -> None:
    """And the page says how many requests that rests on."""
    content = content_of(wavefronts=1)

    assert content.conflicts == ()
    assert content.conflicts_note == "No bank conflict: each of 1 000 requests to shared memory takes one wavefront."
    assert not any(line.conflict for file in content.files for stretch in file.stretches for line in stretch.lines)


def test_a_line_has_its_own_figures_and_those_of_what_it_calls() -> None:
    """Counters that the kernel does not have take no column."""
    content = content_of()

    assert cells(content, KERNEL, 40) == {
        "executed": "1 020",
        "own": "16",
        "tensor": "16",
        "convert": "4",
        "memory": "1 000",
        "wave/req": "1.0",
    }
    assert cells(content, MEMORY, 20)["executed"] == "1 000"
    assert "copied" not in [column.title for column in content.columns]
    assert content.elsewhere.startswith("4 warp-instructions (0.4 %)")


def test_lines_that_execute_nothing_are_left_out_but_for_their_neighbours() -> None:
    """Three lines of context, and how many are missing between."""
    (memory,) = [file for file in content_of().files if file.name == MEMORY]
    (stretch,) = memory.stretches

    assert [line.number for line in stretch.lines] == list(range(17, 24))
    assert (stretch.left_out, memory.rest) == ("lines 1 to 16 execute nothing", "lines 24 to 60 execute nothing")


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_heat_grows_with_the_share_and_ends_at_the_largest(value: int, largest: int) -> None:
    """A cell without a value has none, any other at least the lightest."""
    level = heat_level(min(value, largest), largest)

    assert 0 <= level <= HEAT_LEVELS
    assert (level == 0) == (value == 0)
    assert heat_level(largest, largest) == HEAT_LEVELS


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9999, "9 999"), (12345, "12.3k"), (123456, "123k"), (4560000, "4.56M"), (7.2e10, "72.0G")],
)
def test_counts_are_short_enough_for_a_column(value: float, text: str) -> None:
    """Three significant digits; the exact count is the cell's hint."""
    assert short_count(value) == text


class _Page(HTMLParser):
    """Rows of a page by id, and all links."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, str] = {}
        self.links: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "tr" and found.get("id"):
            self.rows[str(found["id"])] = found.get("class") or ""
        if tag == "a":
            self.links.append(found.get("href") or "")
        self.scripts += tag == "script" and "src" not in found


def parse(path: Path) -> _Page:
    """What a page of the site holds."""
    page = _Page()
    page.feed(path.read_text())
    return page


def render(site: Path, *kernels: CountedKernel) -> Assessment:
    """A site with source pages."""
    assessment = with_simulated(ASSESSMENT)
    render_site(build_pages(assessment, build_source_counters(assessment.commit.tree, *kernels)), site)
    return assessment


def test_the_pages_are_linked_both_ways_and_escape_the_source(tmp_path: Path) -> None:
    """From the kernel's page to each architecture and back; source text is text."""
    render(tmp_path, build_counted_kernel(NAME, "sm_80", 8), build_counted_kernel(NAME, "sm_86"))
    source, kernel = parse(tmp_path / source_path(NAME, "sm_80")), parse(tmp_path / kernel_path(NAME))

    assert source.rows["invented-kernel-cuh-40"] == "conflict"
    assert source.rows["invented-kernel-cuh-39"] == ""
    assert source.scripts == 0
    assert f"../{kernel_path(NAME)}" in source.links
    assert f"../{source_path(NAME, 'sm_86')}" in source.links
    assert f"../{source_path(NAME, 'sm_80')}" in kernel.links


def kernel_page(assessment: Assessment, *counted: CountedKernel) -> KernelPage:
    """The page of the first kernel."""
    content = build_kernel_page(assessment, assessment.kernels[0], counted).content
    assert isinstance(content, KernelPage)
    return content


def test_simulated_figures_stand_beside_static_ones_and_are_not_time() -> None:
    """Two tables with one column per architecture each, each with its layer."""
    content = kernel_page(with_simulated(ASSESSMENT))
    static, simulated = content.counters, content.simulated.counters

    assert static is not None
    assert simulated is not None
    assert len(static.columns) == len(simulated.columns) == 2 + 4
    assert {row.cells[1].text for row in static.rows} == {Layer.STATIC.value}
    assert {row.cells[1].text for row in simulated.rows} == {Layer.SIMULATED.value}
    assert "nor time" in simulated.caption


def test_findings_stand_on_the_kernels_page() -> None:
    """In the simulator's words, apart from the compiler's warnings."""
    counters = {**build_simulated_capture(NAME, "sm_80").counters, Metric.SIMULATED_FINDINGS: 1.0}
    content = kernel_page(with_simulated(ASSESSMENT, warnings=("shared-race: invented",), counters=counters))

    assert [finding.text for finding in content.simulated.findings] == ["shared-race: invented"] * 4
    assert content.warnings == ()
    assert content.simulated.note == ""


def test_a_kernel_that_was_not_simulated_says_why() -> None:
    """With the layer's own reason."""
    content = kernel_page(ASSESSMENT)

    assert content.simulated.counters is None
    assert "not run: no simulator yet" in content.simulated.note


def test_lines_of_other_sources_are_not_shown(tmp_path: Path) -> None:
    """A damaged file is a problem of the report; lines of another tree are left out, as their captures are."""
    workspace, path = Workspace(tmp_path), lines_path(Workspace(tmp_path).captures)
    counted = build_counted_kernel(NAME, "sm_80")
    write_source_counters(path, build_source_counters("another", counted))
    assert with_sources(ASSESSMENT, workspace) == (ASSESSMENT, None)

    write_source_counters(path, build_source_counters(ASSESSMENT.commit.tree, counted))
    _, sources = with_sources(ASSESSMENT, workspace)
    assert sources is not None

    path.write_text("{")
    assessment, sources = with_sources(ASSESSMENT, workspace)
    assert sources is None
    assert replace(assessment, problems=()) == replace(ASSESSMENT, problems=())
    assert assessment.problems[-1].subject == "counters per source line"
