"""An assessment as pages of finished text and sort keys, for templates that only loop and place."""

from __future__ import annotations

from perf.findings import Assessment
from reports.view.case_page import build_case_page
from reports.view.compared import was_timed
from reports.view.comparison_case_page import build_comparison_case_page
from reports.view.comparison_page import build_comparison_page
from reports.view.kernel_page import build_kernel_page
from reports.view.overview import build_overview
from reports.view.page import Page
from reports.view.roofline_pages import build_roofline_pages


def build_pages(assessment: Assessment) -> tuple[Page, ...]:
    """Every page of the report, the overview first."""
    return (
        build_overview(assessment),
        *_comparison_pages(assessment),
        *build_roofline_pages(assessment),
        *(build_case_page(assessment, case) for case in assessment.cases),
        *(build_kernel_page(assessment, kernel) for kernel in assessment.kernels),
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
