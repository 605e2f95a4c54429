"""An assessment as pages of finished text and sort keys, for templates that only loop and place."""

from __future__ import annotations

from collections.abc import Sequence

from perf.findings import Assessment
from profiles.ncu.stored_report import StoredReport
from profiles.source_counters import SourceCounters
from reports.view.capture_pages import build_capture_pages, with_captures_link
from reports.view.case_page import build_case_page
from reports.view.compared import was_timed
from reports.view.comparison_case_page import build_comparison_case_page
from reports.view.comparison_page import build_comparison_page
from reports.view.kernel_page import build_kernel_page
from reports.view.overview import build_overview
from reports.view.page import Page
from reports.view.roofline_pages import build_roofline_pages
from reports.view.source_page import build_source_page


def build_pages(
    assessment: Assessment, sources: SourceCounters | None = None, reports: Sequence[StoredReport] = ()
) -> tuple[Page, ...]:
    """Every page of the report, the overview first.

    Args:
        assessment: all that was judged.
        sources: what the simulated layer counted per source line; without it there are no source pages.
        reports: captures of Nsight Compute, made here or imported; without any there are no pages of them.
    """
    counted = sources.kernels if sources else ()
    pages = (
        build_overview(assessment),
        *_comparison_pages(assessment),
        *build_roofline_pages(assessment),
        *(build_case_page(assessment, case) for case in assessment.cases),
        *(build_kernel_page(assessment, kernel, counted) for kernel in assessment.kernels),
        *_source_pages(assessment, sources),
        *build_capture_pages(assessment, reports, sources),
    )
    return with_captures_link(pages) if reports else pages


def _source_pages(assessment: Assessment, sources: SourceCounters | None) -> tuple[Page, ...]:
    if sources is None:
        return ()
    return tuple(
        build_source_page(
            assessment, one, sources.texts, [other for other in sources.kernels if other.kernel == one.kernel]
        )
        for one in sources.kernels
    )


def _comparison_pages(assessment: Assessment) -> tuple[Page, ...]:
    paired = assessment.paired
    if paired is None:
        return ()
    timed = (case for case in paired.cases if was_timed(case))
    return (
        build_comparison_page(assessment, paired),
        *(build_comparison_case_page(assessment, paired, case) for case in timed),
    )
