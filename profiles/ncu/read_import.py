"""Report files by way of an installed Nsight Compute: ``ncu --import`` prints the raw page, which is read as CSV."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from kernels.errors import RoofgateError
from profiles.ncu.command_line import NsightCompute, import_command, parse_version, version_text
from profiles.ncu.model import Report
from profiles.ncu.read_csv import read_csv
from profiles.ncu.read_process import Answer, run_contained

TIMEOUT = 120.0  # seconds
_ENVIRONMENT = {"LC_ALL": "C", "NV_COMPUTE_PROFILER_DISABLE_STOCK_FILE_DEPLOYMENT": "1"}
_NO_RULES = "read without rules and without the parts of instanced metrics; for those: pip install ncu-report"


def read_by_import(path: Path, ncu: str) -> Report:
    """Read a report with the executable ``ncu``.

    Raises:
        RoofgateError: ncu fails, crashes or hangs on it, or what it prints is no raw page.
    """
    with tempfile.TemporaryDirectory(prefix="roofgate-ncu-") as folder:
        changes = {**_ENVIRONMENT, "TMPDIR": folder}
        version = parse_version(_run((ncu, "--version"), changes, path).output.decode("utf-8", "replace"))
        if version is None:
            raise RoofgateError(f"{path}: {ncu} does not tell its version; expected Nsight Compute's ncu")
        command = import_command(NsightCompute(path=ncu, version=version), path.absolute())
        answer = _run(command, changes, path)
    if answer.exit_code != 0:
        said = " ".join(answer.output.decode("utf-8", "replace").split() + answer.errors.split())
        raise RoofgateError(f"{path}: ncu --import failed: {said or f'exit code {answer.exit_code}'}")
    report = read_csv(answer.output, str(path))
    return replace(report, reader=f"ncu {version_text(version)} --import", notes=(*report.notes, _NO_RULES))


def _run(command: tuple[str, ...], changes: dict[str, str], path: Path) -> Answer:
    return run_contained(command, changes, TIMEOUT, f"{path}: {command[0]}")
