"""The pages as files: offline, safe with untrusted text, complete whatever is missing, small and fast."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from perf.findings import Assessment, KernelAssessment
from perf.model import Gpu
from reports.render import MANIFEST, SECURITY_POLICY, render_site
from reports.view import build_pages
from tests.builders import (
    COMPILER_ERROR,
    Shape,
    build_assessment,
    build_capture,
    build_commit,
    build_empty_assessment,
    build_failed_build_assessment,
    build_machine,
)
from tests.reports.conftest import Site, Tags

HOSTILE = "</script></title><img src=x onerror=alert(1)>'\"&{{ 7*7 }}"


def pages_of(root: Path) -> list[Path]:
    """Every HTML page below ``root``."""
    return sorted(root.rglob("*.html"))


@cache
def parse(page: Path) -> Tags:
    """The tags of a page."""
    return Tags(page.read_text())


def test_every_page_is_well_formed(site: Site) -> None:
    """Every tag that is opened is closed, in order."""
    for page in pages_of(site.root):
        assert parse(page).unbalanced == [], page


def test_every_case_kernel_and_declared_gpu_has_a_page(site: Site) -> None:
    """Nothing measured or declared lacks its page."""
    names = [page.relative_to(site.root).as_posix() for page in pages_of(site.root)]
    assert sum(name.startswith("cases/") for name in names) == len(site.assessment.cases)
    assert sum(name.startswith("kernels/") for name in names) == len(site.assessment.kernels)
    assert sum(name.startswith("targets/") for name in names) == 3
    assert {"index.html", "rooflines.html"} <= set(names)


def test_links_are_relative_and_lead_to_files_that_exist(site: Site) -> None:
    """The report opens from disk, wherever it is copied to."""
    for page in pages_of(site.root):
        for tag, attributes in parse(page).tags:
            link = attributes.get("href") if tag in ("a", "link") else attributes.get("src")
            if link in (None, "data:,") or str(link).startswith("#"):
                continue
            assert "://" not in str(link) and not str(link).startswith("/"), (page, link)
            path, _, anchor = str(link).partition("#")
            target = (page.parent / path).resolve()
            assert target.is_file(), (page, link)
            if anchor:
                assert any(attributes.get("id") == anchor for _, attributes in parse(target).tags), (page, link)


def test_links_of_chart_markers_lead_to_pages(site: Site) -> None:
    """A click on a marker opens a page that exists."""
    for name in ("index.html", "targets/gpu_small.html"):
        page = site.root / name
        for spec in chart_specs(page):
            links = [link for trace in spec["data"] for link in trace.get("customdata", ()) if isinstance(link, str)]
            assert links
            assert all((site.root / link).is_file() for link in links)


def chart_specs(page: Path) -> list[dict[str, list[dict[str, list[object]]]]]:
    """The chart specifications of a page."""
    texts = page.read_text().split('<script type="application/json"')[1:]
    return [json.loads(text.split(">", 1)[1].split("</script>", 1)[0]) for text in texts]


def test_nothing_inline_is_executed_or_styled(site: Site) -> None:
    """No inline script, style element, style attribute or event handler: the policy forbids them all."""
    for page in pages_of(site.root):
        tags = parse(page)
        assert tags.named("style") == []
        for tag, attributes in tags.tags:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            if tag == "script":
                assert attributes.get("src") or attributes.get("type") == "application/json"


def test_every_page_carries_a_policy_that_allows_only_its_own_files(site: Site) -> None:
    """No page is left out, and no source beyond the report is allowed."""
    assert "default-src 'none'" in SECURITY_POLICY
    assert "unsafe" not in SECURITY_POLICY and "http" not in SECURITY_POLICY
    for page in pages_of(site.root):
        policies = [one for one in parse(page).named("meta") if one.get("http-equiv") == "Content-Security-Policy"]
        assert [one["content"] for one in policies] == [SECURITY_POLICY]


def test_the_chart_library_is_loaded_only_where_there_are_charts(site: Site, tmp_path: Path) -> None:
    """A page without charts stays light."""

    def libraries(page: Path) -> int:
        return sum("plotly" in str(one.get("src")) for one in parse(page).named("script"))

    render_site(build_pages(build_empty_assessment()), tmp_path)
    assert libraries(site.root / "index.html") == 1
    assert libraries(tmp_path / "index.html") == 0


def test_every_chart_has_a_table_that_says_the_same(site: Site) -> None:
    """Charts need scripts, sight and a pointer; tables do not."""
    for page in pages_of(site.root):
        for chart in page.read_text().split('<figure class="chart">')[1:]:
            assert "<table" in chart.split("</figure>")[0], page


def test_every_table_has_a_caption_and_headings(site: Site) -> None:
    """A screen reader can say what each figure is."""
    for page in pages_of(site.root):
        for table in page.read_text().split("<table")[1:]:
            text = table.split("</table>")[0]
            assert "<caption>" in text and 'scope="col"' in text and 'scope="row"' in text, page


def hostile_assessment() -> Assessment:
    """Untrusted text in every place that takes text from outside."""
    assessment = build_assessment(Shape(cases=3, history=2))
    captures = tuple(
        replace(build_capture(HOSTILE, name), warnings=(HOSTILE,), launch=HOSTILE, opcodes={HOSTILE: 3})
        for name in ("sm_80", "sm_90a")
    )
    case = replace(
        assessment.cases[0], history=tuple(replace(one, commit=HOSTILE) for one in assessment.cases[0].history)
    )
    return replace(
        assessment,
        commit=build_commit(HOSTILE, branch=HOSTILE),
        cases=(case, *assessment.cases[1:]),
        kernels=(KernelAssessment(kernel=HOSTILE, captures=captures, comparisons=()),),
        gate=replace(assessment.gate, reason=HOSTILE),
    )


def test_untrusted_text_stays_text(tmp_path: Path) -> None:
    """A commit subject or kernel name that holds markup adds no element and no attribute to any page."""
    render_site(build_pages(hostile_assessment()), tmp_path)
    assert any("onerror" in page.read_text() for page in pages_of(tmp_path))
    for page in pages_of(tmp_path):
        tags = parse(page)
        assert tags.named("img") == [] and tags.unbalanced == [], page
        assert ">49<" not in page.read_text() and "&amp;49" not in page.read_text()
        assert not [name for _, attributes in tags.tags for name in attributes if name == "onerror"]


def without_baseline() -> Assessment:
    """A first run."""
    return build_assessment(baseline=None)


def without_captures() -> Assessment:
    """A machine without the CUDA compiler."""
    return build_assessment(Shape(kernels=0))


def without_ceilings() -> Assessment:
    """A run whose ceilings failed."""
    assessment = build_assessment()
    assert assessment.run is not None
    cases = tuple(replace(case, roofline=None) for case in assessment.cases)
    return replace(assessment, run=replace(assessment.run, ceilings=()), cases=cases)


def without_peers_and_history() -> Assessment:
    """A first run in which no peer worked."""
    assessment = build_assessment()
    return replace(assessment, cases=tuple(replace(case, peers=(), ratios=(), history=()) for case in assessment.cases))


def with_unknown_gpu() -> Assessment:
    """A GPU that no declared target names."""
    gpu = Gpu(name="NVIDIA Unheard Of", architecture="sm_199", multiprocessors=1, memory_bytes=1, driver="1")
    return build_assessment(machine=replace(build_machine(), gpus=(gpu,)), targets=())


def with_one_sample() -> Assessment:
    """A run that was cut short."""
    return build_assessment(Shape(cases=2, samples=1, history=1))


def without_declared_peaks() -> Assessment:
    """Targets whose exponential rate nobody declared."""
    assessment = build_assessment()
    return replace(assessment, targets=tuple(replace(target, exp_per_s=None) for target in assessment.targets))


@pytest.mark.parametrize(
    "build",
    [
        build_empty_assessment,
        build_failed_build_assessment,
        without_baseline,
        without_captures,
        without_ceilings,
        without_peers_and_history,
        with_unknown_gpu,
        with_one_sample,
        without_declared_peaks,
    ],
)
def test_the_report_renders_whatever_is_missing(build: Callable[[], Assessment], tmp_path: Path) -> None:
    """What is missing is said in words, never as None or nan."""
    index = render_site(build_pages(build()), tmp_path)
    assert index == tmp_path / "index.html"
    for page in pages_of(tmp_path):
        assert parse(page).unbalanced == []
        assert ">None<" not in page.read_text() and ">nan" not in page.read_text()


def test_a_failed_build_shows_the_compilers_own_words_in_full(tmp_path: Path) -> None:
    """Every line of the message stands on the first page, escaped."""
    index = render_site(build_pages(build_failed_build_assessment()), tmp_path)
    text = index.read_text()
    for line in COMPILER_ERROR.splitlines():
        assert line.replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;") in text
    assert "Error: build failed" in text


def test_rendering_again_removes_pages_that_are_gone_and_nothing_else(tmp_path: Path) -> None:
    """A case that left the suite leaves no stale page, and foreign files stay."""
    render_site(build_pages(build_assessment(Shape(cases=4))), tmp_path)
    mine = tmp_path / "cases" / "notes.txt"
    mine.write_text("kept")
    render_site(build_pages(build_assessment(Shape(cases=2))), tmp_path)
    assert len(list((tmp_path / "cases").glob("*.html"))) == 2
    assert mine.read_text() == "kept"


def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a folder that is not a report."""
    (tmp_path / "thesis.html").write_text("years of work")
    with pytest.raises(RoofgateError, match="holds files but no report"):
        render_site(build_pages(build_empty_assessment()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.html"]


def test_a_list_of_files_that_leads_outside_removes_nothing_there(tmp_path: Path) -> None:
    """Only files below the site are ever removed."""
    outside, site = tmp_path / "precious.txt", tmp_path / "site"
    outside.write_text("kept")
    site.mkdir()
    (site / MANIFEST).write_text(json.dumps({"files": ["../precious.txt", str(outside)]}))
    render_site(build_pages(build_empty_assessment()), site)
    assert outside.read_text() == "kept"


def test_a_broken_list_of_files_is_named(tmp_path: Path) -> None:
    """The message names the file and the way out."""
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(RoofgateError, match="not a report's list of files"):
        render_site(build_pages(build_empty_assessment()), tmp_path)


def test_two_hundred_cases_and_fifty_commits_stay_small_and_fast(tmp_path: Path) -> None:
    """Under 5 s, and no page above 2 MB apart from the shared chart library."""
    assessment = build_assessment(Shape(cases=200, history=50, samples=300, kernels=12))
    started = time.process_time()
    render_site(build_pages(assessment), tmp_path)
    assert time.process_time() - started < 5
    sizes = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert len(sizes) > 200
    assert max(size for name, size in sizes.items() if name != "plotly.min.js") < 2e6
