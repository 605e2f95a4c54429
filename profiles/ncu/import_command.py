"""``python -m profiles import``: keep what reports of Nsight Compute hold, so that the site has pages of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kernels.errors import EXIT_PASS, RoofgateError
from profiles.ncu.model import Report
from profiles.ncu.read import read_report
from profiles.ncu.stored_report import (
    hardware_folder,
    imports_folder,
    is_stored_report,
    read_stored_report,
    stored_path,
    write_report,
)

EXAMPLES = """\
examples:
  python -m profiles import report.ncu-rep details.csv     keep them in out/captures/imports
  python -m profiles import new.ncu-rep --against old.ncu-rep
  nox -s profile -- --import report.ncu-rep                the same, and render the site

Any report file (.ncu-rep) or CSV export (pages raw and details), of anybody's kernel, on any machine. To take one out
of the site again, delete its file in out/captures/imports.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a .ncu-rep or a CSV export")
    parser.add_argument("--against", type=Path, metavar="BASELINE", help="an earlier report to compare each FILE with")


def import_files(
    files: Sequence[Path], captures: Path, say: Callable[[str], object], against: Path | None = None
) -> int:
    """Read ``files`` and keep each below ``captures``; returns the exit code.

    Args:
        files: reports and exports.
        captures: the workspace's folder of captures.
        say: told what became of each file.
        against: a report that the pages compare the others with; it is kept as well.

    Raises :class:`RoofgateError` that names every file which could not be read; the others are kept.
    """
    refused: list[str] = []
    folder = imports_folder(captures)
    baseline = stored_path(folder, against).name if against else ""
    for file in (*([against] if against else []), *files):
        try:
            report = read_report(file)
        except RoofgateError as error:
            refused.append(str(error))
            continue
        path = stored_path(folder, file)
        write_report(path, replace(report, path=str(file)), baseline if file != against else "")
        say(f"{file}: {_contents(report)}, read by {report.reader}; kept as {path}")
        for note in report.notes:
            say(f"  note: {note}")
    if refused:
        raise RoofgateError("\n".join(refused))
    return EXIT_PASS


def open_capture(name: str, captures: Path) -> Report:
    """The report that ``name`` means: a file of Nsight Compute, a stored one, or a case that was captured here.

    Raises :class:`RoofgateError` if there is no such thing or it cannot be read.
    """
    captured_here = hardware_folder(captures) / f"{name}.json"
    if captured_here.exists():
        return read_stored_report(captured_here)
    path = Path(name)
    return read_stored_report(path) if is_stored_report(path) else read_report(path)


def _contents(report: Report) -> str:
    kernels = len({launch.kernel for launch in report.launches})
    launches = len(report.launches)
    return f"{launches} launch{'' if launches == 1 else 'es'} of {kernels} kernel{'' if kernels == 1 else 's'}"
