"""Launches of one captured kernel together: each with its figures, and how far every counter spreads over them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment
from profiles.ncu.comparison import Comparison
from profiles.ncu.explain import explain
from profiles.ncu.explain_text import change_sentence
from profiles.ncu.spread import Spread, spreads
from profiles.ncu.stored_report import StoredReport
from profiles.source_counters import SourceCounters
from reports.view.capture_figures import (
    ACHIEVED_OCCUPANCY,
    COMPUTE,
    MEMORY,
    TIME,
    CapturedKernel,
    counter_cell,
    devices_text,
    launch_count,
    value_text,
)
from reports.view.frame import build_frame
from reports.view.page import Page
from reports.view.tables import Cell, Column, Table, rows_of

_FIGURES = (("time", TIME), ("compute", COMPUTE), ("memory", MEMORY), ("achieved occupancy", ACHIEVED_OCCUPANCY))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadRow:
    """One counter over the launches, as finished text: there is a row for every counter, so rows are kept light."""

    name: str
    unit: str
    exactness: str
    median: str
    lowest: str
    highest: str
    spread: str
    sort: float | str  # of the spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPart:
    """What changed since the baseline, or why nothing can be said of it."""

    baseline: str
    headline: str
    causes: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()
    little: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureKernelPage:
    """The content of the page of a captured kernel."""

    name: str
    whole_name: str  # with template arguments; empty if that is all there is
    summary: str
    source: str
    compared: ComparedPart | None
    launches: Table
    spreads: tuple[SpreadRow, ...]


def build_capture_kernel_page(
    assessment: Assessment, stored: StoredReport, kernel: CapturedKernel, sources: SourceCounters | None = None
) -> Page:
    """The page of all launches of ``kernel``, compared with the baseline of the report if it has one.

    ``sources`` names the line of a cause where the kernel is one of ours.
    """
    launches = kernel.group.launches
    found = spreads(launches)
    content = CaptureKernelPage(
        name=kernel.name,
        whole_name=kernel.whole_name,
        summary=f"{launch_count(len(launches))}, {kernel.group.shape}, on {devices_text(launches)}.",
        source=stored.report.path,
        compared=_compared(stored, kernel, sources),
        launches=_launch_table(kernel),
        spreads=tuple(_spread_row(found[name]) for name in sorted(found) if found[name].launches > 1),
    )
    frame = build_frame(assessment, kernel.path, f"launches of {kernel.name}")
    return Page(template="capture_kernel.html", frame=frame, content=content)


def _compared(stored: StoredReport, kernel: CapturedKernel, sources: SourceCounters | None) -> ComparedPart | None:
    if stored.baseline is None:
        return None
    (explanation,) = explain(kernel.group.launches, lines=sources, baseline=stored.baseline.launches)
    if explanation.comparison is None:
        return ComparedPart(baseline=stored.baseline.path, headline=f"No comparison: {explanation.baseline}.")
    return _compared_part(stored.baseline.path, explanation.comparison)


def _compared_part(baseline: str, comparison: Comparison) -> ComparedPart:
    return ComparedPart(
        baseline=baseline,
        headline=comparison.headline,
        causes=tuple(cause.sentence for cause in comparison.causes),
        symptoms=comparison.symptoms,
        little=tuple(cause.sentence for cause in comparison.little),
        changes=tuple(change_sentence(change) for change in comparison.changes),
        notes=comparison.notes,
    )


def _launch_table(kernel: CapturedKernel) -> Table:
    rows = (
        (
            Cell(f"launch {launch.number}", sort=launch.number, href=kernel.launch_path(launch)),
            Cell(" / ".join(launch.ranges)),
            *(counter_cell(launch, name) for _, name in _FIGURES),
        )
        for launch in kernel.group.launches
    )
    return Table(
        caption="Every launch (hardware layer). Compute and memory are percent of the peak, as Nsight Compute gives "
        "them.",
        columns=(Column("launch"), Column("NVTX ranges"), *(Column(title, numeric=True) for title, _ in _FIGURES)),
        rows=rows_of(rows),
    )


def _spread_row(spread: Spread) -> SpreadRow:
    relative = spread.relative
    return SpreadRow(
        name=spread.name,
        unit=spread.unit,
        exactness=spread.exactness.value,
        median=value_text(spread.median),
        lowest=value_text(spread.low),
        highest=value_text(spread.high),
        spread="around zero" if math.isinf(relative) else units.percent(relative) if relative else "none",
        sort=relative if math.isfinite(relative) else "",
    )
