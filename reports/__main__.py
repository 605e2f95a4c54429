"""``python -m reports render``: the report, the Markdown summary and the JUnit file from stored results."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.errors import EXIT_PASS, RoofgateError, run_command
from kernels.workspace import Workspace
from perf.assess import load_assessment
from perf.evidence import hardware_baseline_folder
from perf.findings import Assessment
from perf.model import Problem
from perf.transformer.record import read_runs
from perf.transformer.results import TransformerRun
from profiles.ncu.stored_report import (
    StoredReport,
    hardware_folder,
    imports_folder,
    read_stored_reports,
    with_baselines,
)
from profiles.source_counters import SourceCounters, lines_path, read_source_counters
from reports.junit import junit_xml
from reports.render import render_site
from reports.summary import summarise
from reports.view import build_pages
from reports.view.transformer_page import with_transformer_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, which does not depend on the gate's verdict."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="render the report of the present commit from stored results")
    render.add_argument("--out", type=Path, help="folder of the pages (default: out/site)")
    options = parser.parse_args(arguments)
    workspace = Workspace()

    def render_stored() -> int:
        started = time.monotonic()
        with workspace.writing("roofgate report"):
            assessment, sources = with_sources(load_assessment(workspace), workspace)
            assessment, reports = with_reports(assessment, workspace)
            assessment, trained = with_transformer_runs(assessment, workspace)
            index = render_all(assessment, workspace, options.out or workspace.site, sources, reports, trained)
        print(f"{index} ({time.monotonic() - started:.1f} s)")
        return EXIT_PASS

    return run_command(render_stored)


def with_sources(assessment: Assessment, workspace: Workspace) -> tuple[Assessment, SourceCounters | None]:
    """What was counted per source line of the present sources; a file that cannot be read becomes a problem."""
    try:
        found = read_source_counters(lines_path(workspace.captures))
    except RoofgateError as error:
        problem = Problem(subject="counters per source line", reason=f"skipped: {error}")
        return replace(assessment, problems=(*assessment.problems, problem)), None
    return assessment, found if found and found.tree == assessment.commit.tree else None


def with_reports(assessment: Assessment, workspace: Workspace) -> tuple[Assessment, tuple[StoredReport, ...]]:
    """Captures of the hardware layer and imported ones; a file that cannot be read becomes a problem."""
    captured, unread = read_stored_reports(hardware_folder(workspace.captures))
    imported, damaged = read_stored_reports(imports_folder(workspace.captures))
    problems = (*assessment.problems, *unread, *damaged)
    if assessment.run:
        folder = hardware_baseline_folder(workspace, assessment.run.machine.fingerprint)
        older, lost = read_stored_reports(hardware_folder(folder))
        captured, problems = with_baselines(captured, older), (*problems, *lost)
    return replace(assessment, problems=problems), (*captured, *imported)


def with_transformer_runs(
    assessment: Assessment, workspace: Workspace
) -> tuple[Assessment, tuple[TransformerRun, ...]]:
    """The stored runs of whole transformers; a file that cannot be read becomes a problem."""
    runs, unread = read_runs(workspace)
    return replace(assessment, problems=(*assessment.problems, *unread)), runs


def render_all(
    assessment: Assessment,
    workspace: Workspace,
    site: Path,
    sources: SourceCounters | None = None,
    reports: Sequence[StoredReport] = (),
    trained: Sequence[TransformerRun] = (),
) -> Path:
    """Write the pages below ``site``, and the summary and the JUnit file beside the other results."""
    pages = with_transformer_page(assessment, build_pages(assessment, sources, reports), trained)
    index = render_site(pages, site)
    write_atomically(workspace.root / "summary.md", summarise(assessment))
    write_atomically(workspace.root / "junit.xml", junit_xml(assessment))
    return index


if __name__ == "__main__":
    sys.exit(main())
