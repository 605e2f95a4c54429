"""Every page of captured and imported reports, and the way to them from the other pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from perf.findings import Assessment
from profiles.ncu.stored_report import StoredReport
from profiles.source_counters import SourceCounters
from reports.view.capture_figures import CAPTURES_PATH, captured_kernels
from reports.view.capture_kernel_page import build_capture_kernel_page
from reports.view.capture_launch_page import build_capture_launch_page
from reports.view.captures_page import build_captures_page
from reports.view.frame import Link
from reports.view.page import Page


def build_capture_pages(
    assessment: Assessment, reports: Sequence[StoredReport], sources: SourceCounters | None = None
) -> tuple[Page, ...]:
    """The overview of ``reports``, and the pages of each kernel and of each launch; none without reports.

    Args:
        assessment: all that was judged.
        reports: captured here or imported.
        sources: what the simulated layer counted per source line, to name the line of a cause in a kernel of ours.
    """
    return tuple(_pages(assessment, reports, sources)) if reports else ()


def _pages(assessment: Assessment, reports: Sequence[StoredReport], sources: SourceCounters | None) -> Iterator[Page]:
    yield build_captures_page(assessment, reports)
    for number, stored in enumerate(reports):
        for kernel in captured_kernels(number, stored.report):
            yield build_capture_kernel_page(assessment, stored, kernel, sources)
            for launch in kernel.group.launches:
                yield build_capture_launch_page(assessment, stored.report, kernel, launch)


def with_captures_link(pages: Iterable[Page]) -> tuple[Page, ...]:
    """``pages`` with a link to the captures in the navigation of each."""
    return tuple(
        replace(
            page,
            frame=replace(
                page.frame,
                navigation=(
                    *page.frame.navigation,
                    Link(text="Captures", href=CAPTURES_PATH, current=page.frame.path == CAPTURES_PATH),
                ),
            ),
        )
        for page in pages
    )
