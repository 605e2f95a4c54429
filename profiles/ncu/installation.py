"""What this machine has for capturing: Nsight Compute, a GPU, and perhaps a driver that restricts the counters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kernels.errors import RoofgateError
from profiles.ncu.command_line import OLDEST_VERSION, NsightCompute, Version, parse_options, parse_version
from profiles.ncu.failures import Failure, FailureKind, missing_ncu, no_driver, old_ncu
from profiles.simulator.probes.gpu_driver import Driver, DriverError

NCU_VARIABLE = "ROOFGATE_NCU"
INSTALL_FOLDER = Path("/opt/nvidia/nsight-compute")  # of the packages of NVIDIA and of the distributions
CUDA_FOLDER = Path("/usr/local/cuda")
DRIVER_PARAMETERS = Path("/proc/driver/nvidia/params")

_ANSWER_TIMEOUT_S = 60
_RESTRICTION = re.compile(r"^RmProfilingAdminOnly:\s*(\d+)", re.MULTILINE)


def find_ncu(installed: Path = INSTALL_FOLDER) -> NsightCompute | Failure:
    """The Nsight Compute to use, or why there is none.

    Looks at ``$ROOFGATE_NCU`` alone if that is set; else at PATH, the usual CUDA folders and ``installed``, newest
    first, in this order.
    """
    chosen = os.environ.get(NCU_VARIABLE)
    if chosen:
        path = shutil.which(chosen)
        return _ask(path) if path else missing_ncu(f"{NCU_VARIABLE} is {chosen!r}, which cannot be run")
    for candidate in _candidates(installed):
        path = shutil.which(candidate)
        if path:
            return _ask(path)
    return missing_ncu(f"neither ncu on PATH, nor under {CUDA_FOLDER}, nor under {installed}")


def unknown_ncu() -> NsightCompute:
    """Stands for an Nsight Compute of another machine: with what every supported version has."""
    return NsightCompute(path="ncu", version=OLDEST_VERSION)


def gpu_architecture() -> str | Failure:
    """Of the first visible GPU, "sm_90", or why there is none. Makes no context on it."""
    try:
        major, minor = Driver().describe().compute_capability
    except (RoofgateError, DriverError) as error:
        return no_driver(str(error))
    return f"sm_{major}{minor}"


def _candidates(installed: Path) -> Iterator[str]:
    yield "ncu"
    for home in (os.environ.get("CUDA_HOME"), CUDA_FOLDER):
        if home:
            yield str(Path(home) / "bin" / "ncu")
    for folder in sorted(installed.glob("*"), key=lambda path: _folder_version(path.name), reverse=True):
        yield str(folder / "ncu")


def _folder_version(name: str) -> Version:
    return parse_version(f"Version {name}") or (0, 0, 0)


def _ask(path: str) -> NsightCompute | Failure:
    said = _answer(path, "--version")
    version = parse_version(said)
    if version is None:
        return Failure(
            kind=FailureKind.NCU_MISSING,
            cause=f"{path} --version names no version",
            remedy=f"reinstall Nsight Compute, or set {NCU_VARIABLE} to another",
            details=tuple(said.splitlines()[-6:]),
        )
    ncu = NsightCompute(path=path, version=version, options=parse_options(_answer(path, "--help")))
    return ncu if version >= OLDEST_VERSION else old_ncu(ncu)


def _answer(path: str, option: str) -> str:
    """What it prints; the reason if it cannot be run."""
    environment = {**os.environ, "LC_ALL": "C", "NV_COMPUTE_PROFILER_DISABLE_STOCK_FILE_DEPLOYMENT": "1"}
    try:
        done = subprocess.run(
            [path, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=_ANSWER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.decode(errors="replace")


def restriction_note(parameters: Path = DRIVER_PARAMETERS) -> str:
    """What the driver's parameters say of permission; empty if they say nothing or cannot be read.

    A hint, not an answer: a capability of the process may lift the restriction, and a container may lack the counters
    without it. Only a profiled kernel tells.
    """
    try:
        found = _RESTRICTION.search(parameters.read_text(errors="replace"))
    except OSError:
        return ""
    restricted = found is not None and found[1] != "0"
    return "the driver keeps the counters for administrators (RmProfilingAdminOnly: 1)" if restricted else ""
