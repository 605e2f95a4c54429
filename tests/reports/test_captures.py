"""Pages of captured launches: every figure is there, spreads are those of the launches, and text stays text."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.workspace import Workspace
from profiles.ncu.model import Launch, Report, Rule
from profiles.ncu.stored_report import (
    StoredReport,
    hardware_folder,
    imports_folder,
    read_stored_report,
    write_report,
)
from reports.__main__ import with_reports
from reports.render import render_site
from reports.view import build_pages
from reports.view.capture_figures import CAPTURES_PATH, captured_kernels
from reports.view.capture_kernel_page import CaptureKernelPage
from reports.view.capture_launch_page import CaptureLaunchPage
from reports.view.capture_pages import build_capture_pages
from reports.view.captures_page import CapturesPage
from reports.view.page import Page
from tests.builders import Shape, build_assessment
from tests.captured_launches import build_launch, build_report
from tests.reports.conftest import Tags
from tests.reports.test_browser import CHROMIUM, frame_pages, open_in_browser

ASSESSMENT = build_assessment(Shape(cases=1, kernels=1))
HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def pages_of(*reports: Report) -> dict[str, Page]:
    """The capture pages by path."""
    return {page.frame.path: page for page in build_capture_pages(ASSESSMENT, stored(*reports))}


def stored(*reports: Report) -> list[StoredReport]:
    """As they are kept, compared with nothing."""
    return [StoredReport(name=f"{number}.json", report=report) for number, report in enumerate(reports)]


def launch_page(launch: Launch) -> CaptureLaunchPage:
    """The content of the page of a single launch."""
    (content,) = [
        page.content for page in pages_of(build_report(launch)).values() if isinstance(page.content, CaptureLaunchPage)
    ]
    return content


def test_the_overview_has_a_row_for_each_kernel_with_its_figures() -> None:
    """Medians with their range, percents of peak, occupancy and what limits it."""
    launches = [
        build_launch(number, gpu__time_duration_sum=seconds) for number, seconds in enumerate((1e-5, 3e-5, 2e-5))
    ]
    overview = pages_of(build_report(*launches, build_launch(3, "void other()")))[CAPTURES_PATH].content
    assert isinstance(overview, CapturesPage)
    (report,) = overview.reports
    rows = [[cell.text for cell in row.cells] for row in report.kernels.rows]

    assert overview.summary == "4 launches in 1 report."
    assert report.notes == ("values are rounded",)
    assert rows[0][:2] == ["copy", "grid 128x2x1, block 256x1x1"]
    assert rows[0][2:] == ["3 launches", "20.00 µs", "30.0 %", "80.0 %", "45.0 %", "50.0 %", "registers"]
    assert report.kernels.rows[0].cells[3].detail == "10.00 µs to 30.00 µs"
    assert rows[1][0] == "other"
    assert rows[1][2] == "1 launch"


def test_a_counter_that_was_not_captured_is_a_dash_and_not_zero() -> None:
    """With the name of what is missing."""
    overview = pages_of(build_report(build_launch(gpu__time_duration_sum=None)))[CAPTURES_PATH].content
    assert isinstance(overview, CapturesPage)
    cell = overview.reports[0].kernels.rows[0].cells[3]

    assert cell.text == "\N{EN DASH}"
    assert cell.hint == "the report has no gpu__time_duration.sum"


def test_a_launch_page_says_where_the_time_goes() -> None:
    """Facts, the roofline under the peaks, stalls in order, memory flow, mix and the rules of Nsight Compute."""
    page = launch_page(build_launch())

    assert [(fact.name, fact.value) for fact in page.facts][:2] == [("time", "20.00 µs"), ("busiest", "DRAM")]
    assert page.facts[-1].detail == "45.0 % reached, limited by registers"
    assert page.findings[0].startswith("20.00 µs, of which DRAM needs 16.00 µs (80.0 %)")
    assert page.roofline is not None
    row = [cell.text for cell in page.roofline.table.rows[0].cells]
    # 50,000 operations a cycle at 1.5 GHz over 1.6 TB/s; the roof there is 2 TB/s.
    assert row[:4] == ["tensor bf16 to fp32", "DRAM", "46.88 FLOP/B", "75.00 TFLOP/s"]
    assert row[4:] == ["25.0 %", "1.600 TB/s", "80.0 %", "80.0 %", "DRAM"]
    assert page.stalls is not None
    assert [(bar.name.rpartition(" ")[2], bar.share) for bar in page.stalls.bars] == [
        ("(long_scoreboard)", "60.0 %"),
        ("(barrier)", "30.0 %"),
        ("(selected)", "10.0 %"),
    ]
    assert page.memory is not None
    loads = [cell.text for cell in page.memory.rows[0].cells]
    assert loads[:5] == ["L1", "global loads", "10", "160", "16.00"]
    assert page.mix is not None
    assert [bar.name for bar in page.mix.bars] == ["FFMA", "LDG", "HMMA"]
    assert page.rules is not None
    assert [cell.text for cell in page.rules.rows[0].cells][3] == "Bound by memory."


def test_every_counter_stands_on_the_page_to_the_last_digit() -> None:
    """With unit, layer and exactness; what has no value is listed with what the report holds instead."""
    launch = build_launch(dram__bytes_read_sum=24000000.125)
    page = launch_page(launch)
    rows = {row.name: row for row in page.counters}

    assert set(rows) == set(launch.counters)
    assert rows["dram__bytes_read.sum"].value == "24000000.125"
    assert rows["smsp__inst_executed.sum"].value == "1000"
    assert {row.layer for row in page.counters} == {"hardware"}
    assert rows["smsp__inst_executed.sum"].exactness == "exact"
    assert rows["gpu__time_duration.sum"].exactness == "statistical"
    assert [(row.name, row.reason) for row in page.missing] == [("dram__sectors_read.sum", "n/a")]


def test_a_launch_without_any_counter_has_a_page_that_says_so() -> None:
    """Nothing is invented and nothing fails."""
    page = launch_page(replace(build_launch(), counters={}, missing={}, rules=(), grid=None, block=None))

    assert (page.roofline, page.stalls, page.memory, page.mix, page.rules) == (None, None, None, None, None)
    assert page.facts == page.findings == page.counters == ()


def test_the_spread_is_that_of_the_launches() -> None:
    """Highest less lowest over the median; equal values have none."""
    launches = [build_launch(number, dram__bytes_read_sum=value) for number, value in enumerate((100.0, 104.0, 102.0))]
    report = build_report(*launches)
    (kernel,) = captured_kernels(0, report)
    content = pages_of(report)[kernel.path].content
    assert isinstance(content, CaptureKernelPage)
    rows = {row.name: row for row in content.spreads}
    read = rows["dram__bytes_read.sum"]

    assert (read.median, read.lowest, read.highest, read.spread) == ("102", "100", "104", "3.9 %")
    assert rows["smsp__inst_executed.sum"].spread == "none"
    assert [row.cells[0].text for row in content.launches.rows] == ["launch 0", "launch 1", "launch 2"]


def test_a_kernel_is_compared_with_the_baseline_of_its_report() -> None:
    """In the words of the explanation: the change of time, what explains it, and every counter that moved."""
    slower = build_launch(gpu__time_duration_sum=4e-5, dram__bytes_read_sum=48e6, dram__bytes_write_sum=16e6)
    new = StoredReport(name="new.json", report=build_report(slower), baseline=build_report(path="old.ncu-rep"))
    (content,) = [
        page.content for page in build_capture_pages(ASSESSMENT, [new]) if isinstance(page.content, CaptureKernelPage)
    ]
    assert content.compared is not None

    assert content.compared.baseline == "old.ncu-rep"
    assert "+100.0 %" in content.compared.headline
    assert "DRAM" in content.compared.causes[0]
    assert any(change.startswith("dram__bytes_read.sum") for change in content.compared.changes)


def test_a_kernel_that_the_baseline_lacks_is_not_compared() -> None:
    """With the reason."""
    other = build_report(build_launch(kernel="void other()"))
    new = StoredReport(name="new.json", report=build_report(), baseline=other)
    (content,) = [
        page.content for page in build_capture_pages(ASSESSMENT, [new]) if isinstance(page.content, CaptureKernelPage)
    ]
    assert content.compared is not None

    assert content.compared.headline.startswith("No comparison: the baseline holds no launch of copy")
    assert content.compared.changes == ()


def test_pages_have_distinct_paths_and_their_links_lead_to_pages() -> None:
    """Two reports of the same kernel, several launches each."""
    reports = [build_report(build_launch(0), build_launch(1), path=name) for name in ("a.ncu-rep", "b.ncu-rep")]
    pages = build_pages(ASSESSMENT, None, stored(*reports))
    paths = [page.frame.path for page in pages]
    overview = next(page for page in pages if page.frame.path == CAPTURES_PATH).content
    assert isinstance(overview, CapturesPage)
    linked = {cell.href for one in overview.reports for row in one.kernels.rows for cell in row.cells if cell.href}

    assert len(paths) == len(set(paths))
    assert linked < set(paths)
    assert all(CAPTURES_PATH in [link.href for link in page.frame.navigation] for page in pages)


def test_without_reports_nothing_speaks_of_captures() -> None:
    """No page and no link."""
    pages = build_pages(ASSESSMENT)

    assert CAPTURES_PATH not in {page.frame.path for page in pages}
    assert all("Captures" not in [link.text for link in page.frame.navigation] for page in pages)


def hostile_report() -> Report:
    """Markup wherever a file can hold text."""
    launch = replace(
        build_launch(kernel=f"void {HOSTILE}()"),
        function=HOSTILE,
        device=HOSTILE,
        ranges=(HOSTILE,),
        missing={HOSTILE: HOSTILE},
        rules=(Rule(section=HOSTILE, rule=HOSTILE, kind=HOSTILE, message=HOSTILE),),
    )
    strange = replace(launch.counters["smsp__inst_executed.sum"], name=HOSTILE, value=HOSTILE, unit=HOSTILE)
    opcodes = replace(launch.counters["sass__inst_executed_per_opcode"], instances={HOSTILE: 3.0})
    counters = {**launch.counters, HOSTILE: strange, opcodes.name: opcodes}
    first = replace(launch, counters=counters)
    return Report(path=HOSTILE, reader=HOSTILE, launches=(first, replace(first, number=1)), notes=(HOSTILE,))


def test_text_of_a_report_is_text_on_the_page(tmp_path: Path) -> None:
    """Names, units, notes and rules come from files of strangers; the pages are well formed all the same."""
    render_site(build_capture_pages(ASSESSMENT, stored(hostile_report())), tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.html"))

    assert len(pages) == 4
    for page in pages:
        html = page.read_text()
        tags = Tags(html)
        assert tags.named("img") == []
        assert tags.unbalanced == []
        assert "onerror" in html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: the pages are not looked at in a browser")
def test_the_pages_keep_the_policy_in_a_browser(tmp_path: Path) -> None:
    """No inline style, no error in a script, and the roofline is drawn."""
    report = build_report(build_launch(0), build_launch(1))
    render_site(build_capture_pages(ASSESSMENT, stored(report, hostile_report())), tmp_path / "site")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    _, console = open_in_browser(frame_pages(pages, tmp_path / "all.html"), tmp_path / "profile")
    (kernel,) = captured_kernels(0, report)
    launch = tmp_path / "site" / kernel.launch_path(report.launches[0])
    elements, _ = open_in_browser(launch, tmp_path / "profile")

    assert console == []
    assert "main-svg" in elements


def test_stored_reports_are_found_and_a_damaged_one_is_a_problem(tmp_path: Path) -> None:
    """Captures made here come first; the rest of the site does not suffer."""
    workspace = Workspace(tmp_path)
    write_report(imports_folder(workspace.captures) / "a.json", build_report(path="imported"))
    write_report(hardware_folder(workspace.captures) / "b.json", build_report(path="captured here"))
    (imports_folder(workspace.captures) / "broken.json").write_text("{")
    assessment, reports = with_reports(ASSESSMENT, workspace)

    assert [one.report.path for one in reports] == ["captured here", "imported"]
    assert "broken.json" in assessment.problems[-1].reason


def test_reading_and_rendering_105_launches_takes_3_seconds(tmp_path: Path) -> None:
    """A basic set has 285 counters a launch."""
    first = build_launch()
    counter = first.counters["dram__bytes_read.sum"]
    more = {f"invented__{index}.sum": replace(counter, name=f"invented__{index}.sum") for index in range(260)}
    launches = [replace(first, number=number, counters={**first.counters, **more}) for number in range(105)]
    write_report(tmp_path / "report.json", build_report(*launches))
    started = time.process_time()
    report = read_stored_report(tmp_path / "report.json")
    render_site(build_capture_pages(ASSESSMENT, stored(report)), tmp_path / "site")

    assert time.process_time() - started < 3
    assert len(list((tmp_path / "site" / "captures").glob("*-launch-*.html"))) == 105
