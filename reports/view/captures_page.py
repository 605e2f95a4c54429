"""All captures of Nsight Compute at a glance: one table per report, one row per kernel and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perf.findings import Assessment
from profiles.ncu.launch_occupancy import launch_occupancy
from profiles.ncu.model import Launch
from profiles.ncu.spread import spreads
from profiles.ncu.stored_report import StoredReport
from reports.view.capture_figures import (
    ACHIEVED_OCCUPANCY,
    CAPTURES_PATH,
    COMPUTE,
    MEMORY,
    THEORETICAL_OCCUPANCY,
    TIME,
    CapturedKernel,
    captured_kernels,
    devices_text,
    launch_count,
    spread_cell,
)
from reports.view.frame import build_frame
from reports.view.page import Page
from reports.view.quantities import plural
from reports.view.tables import Cell, Column, Table, missing, rows_of

_FIGURES = (
    ("time", TIME),
    ("compute", COMPUTE),
    ("memory", MEMORY),
    ("achieved occupancy", ACHIEVED_OCCUPANCY),
    ("theoretical", THEORETICAL_OCCUPANCY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedReport:
    """One file on the overview of captures."""

    title: str
    summary: str
    notes: tuple[str, ...]
    kernels: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturesPage:
    """The content of captures.html."""

    summary: str
    reports: tuple[CapturedReport, ...]


def build_captures_page(assessment: Assessment, reports: Sequence[StoredReport]) -> Page:
    """The page of all ``reports``."""
    launches = sum(len(stored.report.launches) for stored in reports)
    content = CapturesPage(
        summary=f"{launch_count(launches)} in {plural(len(reports), 'report')}.",
        reports=tuple(_captured_report(number, stored) for number, stored in enumerate(reports)),
    )
    frame = build_frame(assessment, CAPTURES_PATH, "captures of Nsight Compute")
    return Page(template="captures.html", frame=frame, content=content)


def _captured_report(number: int, stored: StoredReport) -> CapturedReport:
    report, baseline = stored.report, stored.baseline
    compared = f" Compared with {baseline.path}; see its launches." if baseline else ""
    return CapturedReport(
        title=report.path,
        summary=f"{launch_count(len(report.launches))} on {devices_text(report.launches)}; read by {report.reader}."
        + compared,
        notes=report.notes,
        kernels=_kernel_table(captured_kernels(number, report)),
    )


def _kernel_table(kernels: Sequence[CapturedKernel]) -> Table:
    return Table(
        caption="Kernels (hardware layer): medians over the launches, and from where to where they go. "
        "Compute and memory are percent of the peak, as Nsight Compute gives them.",
        columns=(
            Column("kernel"),
            Column("shape"),
            Column("launches", numeric=True),
            *(Column(title, hint=name, numeric=True) for title, name in _FIGURES),
            Column("occupancy limited by"),
        ),
        rows=rows_of(_kernel_row(kernel) for kernel in kernels),
    )


def _kernel_row(kernel: CapturedKernel) -> tuple[Cell, ...]:
    group = kernel.group
    first, count, found = group.launches[0], len(group.launches), spreads(group.launches)
    return (
        Cell(kernel.name, sort=group.kernel, href=kernel.launch_path(first), hint=group.kernel, code=True),
        Cell(group.shape),
        Cell(launch_count(count), sort=count, href=kernel.path),
        *(spread_cell(found, name) for _, name in _FIGURES),
        _limiter_cell(first),
    )


def _limiter_cell(launch: Launch) -> Cell:
    limiter = launch_occupancy(launch).limiter
    return Cell(limiter) if limiter else missing("the report does not say what limits the occupancy")
