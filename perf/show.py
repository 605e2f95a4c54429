"""``python -m perf show``: one stored run as a table in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kernels.errors import EXIT_PASS, RoofgateError
from kernels.workspace import Workspace
from perf import store, units
from perf.model import FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, Measurement, Run
from perf.roofline import roofline_point, throughput

EXAMPLES = """\
examples:
  python -m perf show                       the newest run
  python -m perf show out/runs/NAME.json    another one
"""


_LOG_WIDTH = 200  # of a log file, which has no width of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", nargs="?", type=Path, help="a file of out/runs (default: the newest)")


def run(options: argparse.Namespace) -> int:
    """Print the run; returns the exit code."""
    path = options.run or _newest(Workspace().runs)
    try:
        print_run(store.read_run(path))
    except RoofgateError as error:
        raise RoofgateError(f"{path}: {error}") from error
    return EXIT_PASS


def _newest(folder: Path) -> Path:
    files = store.run_files(folder)
    if not files:
        raise RoofgateError(f"{folder}: no run yet; run: nox -s bench")
    return files[0]


def print_run(run: Run) -> None:
    """Print, for each case, time, rate, fractions of the ceilings and ratios to the peers."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    peers = sorted({each.implementation for each in run.measurements} - {OWN_IMPLEMENTATION, FULL_MASK_IMPLEMENTATION})
    table = Table(title=f"{run.suite}, commit {run.commit.short}, {run.machine.title}", title_justify="left")
    for heading in ("case", "median", "rate", "of peak", "of GEMM", *peers):
        table.add_column(heading, justify="left" if heading == "case" else "right", no_wrap=True)
    for own in run.measurements:
        if own.implementation == OWN_IMPLEMENTATION:
            table.add_row(*_row(own, run, peers))
    console.print(table)
    for problem in run.problems:
        console.print(f"{problem.subject}: {problem.reason}", markup=False)


def _row(own: Measurement, run: Run, peers: list[str]) -> list[str]:
    point = roofline_point(own, run.ceilings)
    by_peer = {
        each.implementation: each.median_s
        for each in run.measurements
        if each.case == own.case and each.device is own.device
    }
    return [
        own.case.name,
        units.seconds(own.median_s),
        units.flop_rate(throughput(own.case, own.median_s)),
        units.percent(point.fraction) if point else "not measured",
        units.percent(point.gemm_fraction) if point and point.gemm_fraction else "not measured",
        *(units.ratio(by_peer[peer] / own.median_s) if peer in by_peer else "not run" for peer in peers),
    ]
