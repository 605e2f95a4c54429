"""``python -m profiles explain``: why a captured kernel takes its time, and what changed since another capture."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from kernels.errors import EXIT_PASS, RoofgateError
from perf.model import Capture
from perf.store import read_captures
from profiles.ncu.explain import explain_report
from profiles.ncu.explain_text import explanation_text
from profiles.ncu.import_command import open_capture
from profiles.ncu.model import Report
from profiles.source_counters import SourceCounters, lines_path, read_source_counters

EXAMPLES = """\
examples:
  python -m profiles explain report.ncu-rep
  python -m profiles explain new.ncu-rep --against old.ncu-rep
  python -m profiles explain details.csv --kernel 'attention*'
  python -m profiles explain attention_fwd-bf16-8x16x2048x128-causal     a case captured here

CAPTURE and BASELINE are report files (.ncu-rep), CSV exports, files of out/captures, or the name of a case that was
captured here. Kernels of this project are held against the static and simulated layers too.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to explain."""

    capture: str
    against: str | None
    kernel: str  # a glob over function names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument("capture", metavar="CAPTURE", help="a report, a CSV export, or a case captured here")
    parser.add_argument("--against", metavar="BASELINE", help="an earlier capture to compare with")
    parser.add_argument("--kernel", metavar="GLOB", default="*", help="only functions that match (default: all)")


def read_request(options: argparse.Namespace) -> Request:
    """What the options of :func:`add_arguments` ask for."""
    return Request(capture=options.capture, against=options.against, kernel=options.kernel)


def run_explain(request: Request, captures: Path) -> int:
    """Print the explanation; returns the exit code."""
    report = _of_kernel(open_capture(request.capture, captures), request.kernel)
    baseline = open_capture(request.against, captures) if request.against else None
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    explanations = explain_report(report, captures=_other_layers(captures), lines=_lines(captures), baseline=baseline)
    print(explanation_text(explanations), end="")
    return EXIT_PASS


def _of_kernel(report: Report, pattern: str) -> Report:
    chosen = tuple(launch for launch in report.launches if fnmatchcase(launch.function, pattern))
    if not chosen:
        functions = ", ".join(sorted({launch.function for launch in report.launches})) or "none"
        raise RoofgateError(f"{report.path}: no kernel matches {pattern!r}; it holds: {functions}")
    return replace(report, launches=chosen)


def _other_layers(captures: Path) -> tuple[Capture, ...]:
    """Figures of the other layers, so far as they were captured and can be read."""
    sets, problems = read_captures(captures)
    for problem in problems:
        print(f"{problem.subject}: {problem.reason}", file=sys.stderr)
    return tuple(capture for found in sets for capture in found.captures)


def _lines(captures: Path) -> SourceCounters | None:
    try:
        return read_source_counters(lines_path(captures))
    except RoofgateError as error:
        print(error, file=sys.stderr)
        return None
