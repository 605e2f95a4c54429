"""The paired comparison in the report: complete, linked, safe, readable without colour, and small."""

from __future__ import annotations

import math
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

from perf.findings import Assessment
from perf.model import Problem, Verdict
from perf.paired.model import Conditions, GpuConditions, PairedComparison, Restart, Stage
from perf.paired.statistics import block_log_ratio, restart_mean
from reports.comparison_charts import Distribution, difference_chart, distribution_chart
from reports.junit import junit_xml
from reports.render import render_site
from reports.summary import summarise
from reports.view import build_pages
from reports.view.comparison_case_page import ComparisonCasePage
from reports.view.comparison_page import ComparisonPage
from reports.view.overview import Overview
from reports.view.page import Figure, Page
from tests.builders import Shape, build_assessment, build_empty_assessment
from tests.comparison_builders import DISTURBED, TIMED, Extent, build_paired, build_revision, with_paired
from tests.reports.conftest import Tags
from tests.reports.test_browser import CHROMIUM, frame_pages, open_in_browser
from tests.reports.test_charts import resolve_colours
from tests.reports.test_render import HOSTILE, pages_of

PAIRED = build_paired()
BOTH = with_paired(build_assessment(Shape(cases=12)), PAIRED)
ONLY_COMPARED = with_paired(build_empty_assessment(), PAIRED)


def page_at(assessment: Assessment, path: str) -> Page:
    """The page of the report at ``path``."""
    return next(page for page in build_pages(assessment) if page.frame.path == path)


def comparison_page(assessment: Assessment) -> ComparisonPage:
    """The content of comparison.html."""
    content = page_at(assessment, "comparison.html").content
    assert isinstance(content, ComparisonPage)
    return content


def case_pages(assessment: Assessment) -> list[Page]:
    """The pages of the compared cases, in the order of the suite."""
    return [page for page in build_pages(assessment) if page.frame.path.startswith("comparisons/")]


def figures(assessment: Assessment, figure_id: str) -> Figure:
    """One chart of the first compared case."""
    return next(figure for figure in case_pages(assessment)[0].figures if figure.id == figure_id)


def test_every_timed_case_has_a_page_and_every_other_is_listed() -> None:
    """Timed, identical and refused: none is left out."""
    content = comparison_page(BOTH)
    assert content.cases is not None and content.same is not None
    listed = [row.cells[0].text for row in (*content.cases.rows, *content.same.rows)]

    assert len(case_pages(BOTH)) == len(TIMED)
    assert sorted(listed) == sorted(case.case.name for case in PAIRED.cases)
    linked = [row.cells[0].href for row in content.cases.rows if row.cells[0].href]
    assert sorted(linked) == sorted(page.frame.path for page in case_pages(BOTH))


def test_cases_stand_worst_first() -> None:
    """Regressed, inconclusive, improved, unchanged, a control, and what was refused."""
    content = comparison_page(BOTH)
    assert content.cases is not None
    words = [row.cells[1].text for row in content.cases.rows]

    assert words == ["regressed", "inconclusive", "improved", "unchanged", "identical", "not compared"]
    assert content.counts.startswith("1 regressed, 1 inconclusive, 1 improved")
    assert content.mark.word == "regressed"


def test_a_change_stands_with_its_interval_its_confirmation_and_what_would_have_been_seen() -> None:
    """No figure without how sure it is."""
    content = comparison_page(BOTH)
    assert content.cases is not None
    _, _, change, strip, effect, confirmed, restarts, why = content.cases.rows[0].cells

    assert re.fullmatch(r"\+\d\.\d %", change.text) and re.fullmatch(r"\+\d\.\d to \+\d\.\d %", change.detail)
    assert strip.strip is not None and strip.strip.label.startswith("regressed: +")
    assert (effect.text, confirmed.text, confirmed.detail, restarts.text) == ("1.4 %", "yes", "p = 0.0004", "14")
    assert why.text == PAIRED.cases[0].finding.reason


def test_moved_controls_are_said_wherever_a_verdict_stands() -> None:
    """On the page, on the first screen, in the summary; and no timed verdict but inconclusive is left."""
    assessment = with_paired(build_assessment(Shape(cases=12)), replace(PAIRED, controls=DISTURBED))
    content = comparison_page(assessment)
    overview = page_at(assessment, "index.html").content
    assert isinstance(overview, Overview) and content.cases is not None

    assert DISTURBED.reason in content.warning
    assert "controls moved" in overview.identity.compared_text
    assert "controls moved" in summarise(assessment)
    timed = {row.cells[1].text for row in content.cases.rows if row.cells[0].href}
    assert timed == {"inconclusive", "identical"}
    first = case_pages(assessment)[0].content
    assert isinstance(first, ComparisonCasePage) and first.mark.word == "inconclusive"


def test_the_first_screen_and_the_navigation_lead_to_the_comparison() -> None:
    """One line says what it found."""
    overview = page_at(BOTH, "index.html")
    assert isinstance(overview.content, Overview)
    link = overview.content.identity.compared

    assert link is not None and (link.text, link.href) == ("with main", "comparison.html")
    assert overview.content.identity.compared_text.startswith("1 regressed")
    assert ("Comparison", "comparison.html") in [(one.text, one.href) for one in overview.frame.navigation]
    assert "Measured in pairs" in overview.content.how_sure


def test_the_first_screen_says_what_the_cases_are_held_against() -> None:
    """The base of the comparison if it has them all; else the baseline run, and for how many."""
    fewer = with_paired(build_assessment(Shape(cases=12)), replace(PAIRED, cases=PAIRED.cases[:2]))
    subjects = []
    for assessment in (ONLY_COMPARED, fewer):
        content = page_at(assessment, "index.html").content
        assert isinstance(content, Overview)
        subjects.append(content.identity.baseline_subject)

    assert subjects[0] == PAIRED.base.subject
    assert subjects[1].endswith("; between two runs, for 10 cases not compared in pairs")


def test_without_a_comparison_nothing_speaks_of_one() -> None:
    """No dead link, no empty page."""
    pages = build_pages(build_assessment(Shape(cases=2)))

    assert not [page for page in pages if page.frame.path.startswith("comparison")]
    assert not [link for page in pages for link in page.frame.navigation if link.text == "Comparison"]
    assert "Compared with" not in summarise(build_assessment(Shape(cases=2)))


def test_the_report_of_a_comparison_without_a_run_says_what_changed() -> None:
    """The headline and the table come from the comparison alone."""
    overview = page_at(ONLY_COMPARED, "index.html").content
    assert isinstance(overview, Overview) and overview.changes.timed is not None

    assert overview.headline == "1 of 12 cases is slower, 1 faster"
    first = overview.changes.timed.rows[0].cells[0]
    assert (first.text, first.href) == (PAIRED.cases[0].case.name, case_pages(ONLY_COMPARED)[0].frame.path)


def test_the_page_of_a_case_and_its_page_of_the_comparison_lead_to_each_other(tmp_path: Path) -> None:
    """And the comparison between two runs stays visible, as what was not used."""
    render_site(build_pages(BOTH), tmp_path)
    name = PAIRED.cases[0].case.name
    measured = (tmp_path / "cases" / f"{name}-cpu.html").read_text()
    compared = (tmp_path / "comparisons" / f"{name}-cpu.html").read_text()

    assert f'href="../comparisons/{name}-cpu.html"' in measured
    assert "not used for the verdict" in measured and "change from main" in measured
    assert f'href="../cases/{name}-cpu.html"' in compared


def test_what_is_only_compared_links_to_no_page_of_a_run(tmp_path: Path) -> None:
    """Every link of the report leads to a file."""
    render_site(build_pages(ONLY_COMPARED), tmp_path)
    for page in pages_of(tmp_path):
        for attributes in Tags(page.read_text()).named("a"):
            path = str(attributes["href"]).partition("#")[0]
            assert not path or (page.parent / path).resolve().is_file(), (page, path)


def test_pages_are_well_formed_and_every_chart_has_its_table(tmp_path: Path) -> None:
    """Charts need scripts, sight and a pointer; tables do not."""
    render_site(build_pages(BOTH), tmp_path)
    pages = [tmp_path / "comparison.html", *(tmp_path / "comparisons").iterdir()]
    for page in pages:
        text = page.read_text()
        assert Tags(text).unbalanced == [], page
        assert ">None<" not in text and ">nan" not in text
        for chart in text.split('<figure class="chart">')[1:]:
            assert "<table" in chart.split("</figure>")[0], page
        for table in text.split("<table")[1:]:
            assert "<caption>" in table and 'scope="row"' in table.split("</table>")[0], page


def hostile_comparison() -> PairedComparison:
    """Untrusted text in every place that takes text from outside."""
    setting = {HOSTILE: HOSTILE}
    conditions = Conditions(gpu=GpuConditions(sm_clock_hz=1e9, throttle_reasons=(HOSTILE,)))
    first = PAIRED.cases[0]
    restarts = tuple(
        replace(
            restart, setting=setting, blocks=tuple(replace(block, conditions=conditions) for block in restart.blocks)
        )
        for restart in first.restarts
    )
    finding = replace(first.finding, reason=HOSTILE)
    return replace(
        PAIRED,
        suite=HOSTILE,
        base=build_revision(HOSTILE, HOSTILE),
        candidate=build_revision(HOSTILE, HOSTILE),
        cases=(replace(first, restarts=restarts, finding=finding, isa=HOSTILE), *PAIRED.cases[1:]),
        static=tuple(replace(one, subject=HOSTILE) for one in PAIRED.static),
        controls=replace(PAIRED.controls, reason=HOSTILE),
        problems=(Problem(subject=HOSTILE, reason=HOSTILE),),
    )


def test_untrusted_text_stays_text(tmp_path: Path) -> None:
    """Names of revisions, subjects, reasons and settings add no element to any page."""
    assessment = with_paired(build_assessment(Shape(cases=3, history=1)), hostile_comparison())
    render_site(build_pages(assessment), tmp_path)
    assert "onerror" in (tmp_path / "comparison.html").read_text()
    for page in pages_of(tmp_path):
        tags = Tags(page.read_text())
        assert tags.named("img") == [] and tags.unbalanced == [], page
        assert not [name for _, attributes in tags.tags for name in attributes if name == "onerror"]
    assert "<img" not in summarise(assessment).replace(r"\<img", "")


def gpu_comparison() -> PairedComparison:
    """Blocks whose conditions come from a GPU, and one restart of which every block was dropped."""
    first = PAIRED.cases[0]
    gpu = GpuConditions(sm_clock_hz=1.98e9, memory_clock_hz=2.6e9, power_w=512.0, temperature_c=61.0)
    blocks = tuple(replace(block, conditions=Conditions(gpu=gpu)) for block in first.restarts[0].blocks)
    dropped = replace(first.restarts[0], blocks=(), dropped=5)
    restarts = (replace(first.restarts[0], blocks=blocks), dropped)
    return replace(PAIRED, cases=(replace(first, restarts=restarts), *PAIRED.cases[1:]))


@pytest.mark.parametrize("paired", [PAIRED, gpu_comparison()], ids=["cpu", "gpu"])
def test_every_specification_is_one_that_plotly_accepts(paired: PairedComparison) -> None:
    """Plotly's own validation raises for any unknown key or value."""
    found = [figure for page in case_pages(with_paired(build_empty_assessment(), paired)) for figure in page.figures]
    assert len(found) == 3 * len(TIMED)
    for figure in found:
        go.Figure(resolve_colours(figure.spec))


def test_conditions_that_the_system_does_not_tell_take_no_room() -> None:
    """Three rows for a host that tells load, steal and clock; three others for a GPU; and none for neither."""
    silent = replace(PAIRED.cases[0], restarts=tuple(without_conditions(one) for one in PAIRED.cases[0].restarts))
    rows = {}
    for name, paired in {"cpu": PAIRED, "gpu": gpu_comparison(), "none": replace(PAIRED, cases=(silent,))}.items():
        spec = figures(with_paired(build_empty_assessment(), paired), "timeline").spec
        rows[name] = [spec["layout"][key]["title"]["text"] for key in spec["layout"] if re.fullmatch(r"yaxis\d", key)]

    assert rows == {"cpu": ["load average", "steal", "clock"], "gpu": ["SM clock", "power", "GPU"], "none": []}


def without_conditions(restart: Restart) -> Restart:
    """``restart`` on a system that tells nothing."""
    return replace(restart, blocks=tuple(replace(block, conditions=Conditions()) for block in restart.blocks))


def test_a_restart_without_blocks_is_left_out_of_the_charts_and_counted(tmp_path: Path) -> None:
    """A throttled GPU may leave nothing of it."""
    assessment = with_paired(build_empty_assessment(), gpu_comparison())
    render_site(build_pages(assessment), tmp_path)

    assert len(figures(assessment, "differences").table.rows) == 1
    assert "5 throttled blocks dropped" in case_text(assessment)


def case_text(assessment: Assessment) -> str:
    """The tiles of the first compared case."""
    content = case_pages(assessment)[0].content
    assert isinstance(content, ComparisonCasePage)
    return " ".join(f"{fact.value} {fact.detail}" for fact in content.facts)


def test_the_differences_are_those_that_the_verdict_rests_on() -> None:
    """Every block and every restart, as perf.paired.statistics has them."""
    restarts = PAIRED.cases[0].restarts
    traces = {trace["name"]: trace for trace in figures(BOTH, "differences").spec["data"]}
    blocks = [*traces["blocks, screening"]["y"], *traces["blocks, confirmation"]["y"]]
    means = [*traces["restart, screening"]["y"], *traces["restart, confirmation"]["y"]]
    expected = [math.expm1(block_log_ratio(block)) for restart in restarts for block in restart.blocks]

    assert blocks == pytest.approx(expected, rel=1e-5)
    assert means == pytest.approx([math.expm1(restart_mean(restart)) for restart in restarts])
    assert sum(restart.stage is Stage.CONFIRMATION for restart in restarts) == len(traces["restart, confirmation"]["y"])


def test_sides_and_stages_differ_without_colour() -> None:
    """By marker, and by dash."""
    symbols = [trace["marker"]["symbol"] for trace in figures(BOTH, "differences").spec["data"]]
    sides = [trace["marker"]["symbol"] for trace in figures(BOTH, "timeline").spec["data"][:2]]
    dashes = [trace["line"]["dash"] for trace in figures(BOTH, "distributions").spec["data"]]

    assert all(len(set(marks)) == len(marks) for marks in (symbols, sides, dashes))


def test_one_disturbed_block_does_not_flatten_the_chart_and_is_said() -> None:
    """Among 70 blocks, one of +900 %."""
    first = PAIRED.cases[0]
    block = first.restarts[0].blocks[0]
    disturbed = replace(block, candidate_s=tuple(10 * sample for sample in block.candidate_s))
    restart = replace(first.restarts[0], blocks=(disturbed, *first.restarts[0].blocks[1:]))
    paired = replace(PAIRED, cases=(replace(first, restarts=(restart, *first.restarts[1:])),))
    figure = figures(with_paired(build_empty_assessment(), paired), "differences")

    assert figure.spec["layout"]["yaxis"]["range"][1] < 1
    assert figure.note.startswith("1 block beyond the edges")
    assert max(max(trace["y"]) for trace in figure.spec["data"]) > 5


def test_a_distribution_reaches_from_the_fastest_to_the_slowest_sample() -> None:
    """Drawn to 95 %, but no tail is cut off."""
    samples = tuple(1e-3 + index * 1e-6 for index in range(1000))
    spec = distribution_chart([Distribution(title="base", samples_s=samples, colour="#000", dash="dash")])
    (trace,) = spec["data"]

    assert (trace["x"][0], trace["x"][-1]) == pytest.approx((samples[0], samples[-1]))
    assert (trace["y"][0], trace["y"][-1]) == (0.0, 1.0)
    assert spec["layout"]["xaxis"]["range"][1] < samples[-1]


def test_a_case_without_an_interval_is_drawn_without_a_band() -> None:
    """Too few restarts for one."""
    first = PAIRED.cases[0]
    case = replace(first, restarts=first.restarts[:1], finding=replace(first.finding, interval=None, change=None))
    figure = figures(with_paired(build_empty_assessment(), replace(PAIRED, cases=(case,))), "differences")

    assert not [shape for shape in figure.spec["layout"]["shapes"] if shape["type"] == "rect"]
    with pytest.raises(IndexError):
        difference_chart([], None, 0.01)


def test_the_summary_lists_what_the_comparison_found_once() -> None:
    """Cases compared in pairs do not appear again among those between two runs."""
    text = summarise(BOTH)
    section = text.split("### Compared with main")[1].split("###")[0]

    assert len(re.findall(r"^\| attention", section, re.M)) == 3
    assert "1 regressed" in section and "14 |" in section
    assert "### Cases that changed" not in text
    fewer = summarise(with_paired(build_assessment(Shape(cases=12)), replace(PAIRED, cases=PAIRED.cases[1:])))
    left = fewer.split("### Cases that changed")[1].split("###")[0]
    assert len(re.findall(r"^\| attention", left, re.M)) == 1


def test_the_junit_file_is_as_it_was() -> None:
    """It lists checks, whatever they rest on."""
    assert junit_xml(BOTH) == junit_xml(replace(BOTH, paired=None, paired_changes=()))


def test_forty_restarts_of_twenty_blocks_stay_small_and_fast(tmp_path: Path) -> None:
    """Under 2 MB a page, and a second of processor time for two of them."""
    extent = Extent(cases=2, restarts=40, blocks=20, samples=20)
    pages = with_paired(build_empty_assessment(), build_paired(extent))
    started = time.process_time()
    render_site(build_pages(pages), tmp_path)

    assert time.process_time() - started < 3  # measured 0.5 s
    assert max(page.stat().st_size for page in pages_of(tmp_path)) < 2e6


@pytest.mark.skipif(CHROMIUM is None or shutil.which(str(CHROMIUM)) is None, reason="no Chromium on PATH")
def test_the_charts_are_drawn_in_a_browser_without_a_word_on_the_console(tmp_path: Path) -> None:
    """Under the content security policy, with hostile text on the pages."""
    site = tmp_path / "site"
    render_site(build_pages(with_paired(build_empty_assessment(), hostile_comparison())), site)
    pages = [site / "comparison.html", *sorted((site / "comparisons").glob("*.html"))[:2]]
    _, console = open_in_browser(frame_pages(pages, tmp_path / "all.html"), tmp_path / "profile")
    elements, _ = open_in_browser(pages[1], tmp_path / "profile2")

    assert console == []
    assert elements.count("main-svg") >= 3


def test_verdicts_of_the_synthetic_comparison_cover_all_kinds() -> None:
    """What the tests above look at is there."""
    assert {case.finding.verdict for case in PAIRED.cases} == set(Verdict)
