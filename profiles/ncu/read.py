"""Read what Nsight Compute wrote: a report file or a CSV export, of anybody's kernel, on any machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from kernels.errors import RoofgateError
from profiles.ncu.model import Report
from profiles.ncu.read_csv import read_csv
from profiles.ncu.read_frame import MAGIC
from profiles.ncu.read_import import read_by_import
from profiles.ncu.read_report_file import read_report_file

REPORT_SUFFIXES = (".ncu-rep", ".ncu-repz")


def read_report(path: Path, *, site: Path | None = None) -> Report:
    """Read ``path``: a report file by NVIDIA's ``ncu-report`` or, without it, by ``ncu --import``; else as CSV.

    Args:
        path: what it is, is told by its content, then by its suffix.
        site: a folder in which the package ``ncu-report`` is looked for first.

    Raises:
        RoofgateError: the file is not there, holds no launch, is damaged, or nothing is installed that reads it.
    """
    content = _content(path)
    if content.startswith(MAGIC) or path.suffix in REPORT_SUFFIXES:
        return read_report_file(path, content, site) or _by_import(path)
    if not content.strip():
        raise RoofgateError(f"{path}: is empty; the capture or the export did not finish: run it again")
    return read_csv(content, str(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RoofgateError(
            f"{path}: cannot be read ({error.strerror}); expected a .ncu-rep or a CSV export"
        ) from error


def _by_import(path: Path) -> Report:
    ncu = shutil.which("ncu")
    if ncu is None:
        remedy = "pip install ncu-report, or put the ncu of Nsight Compute on PATH"
        raise RoofgateError(f"{path}: nothing is installed that reads report files; {remedy}")
    return read_by_import(path, ncu)
