"""``python -m perf doctor``: what this machine can run, what is missing, and the remedy for each."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kernels.build_record import BuildStatus, read_record
from kernels.errors import EXIT_ERROR, EXIT_PASS, RoofgateError
from kernels.toolchain import find_cuda_tool, find_cxx, version_line
from kernels.workspace import Workspace
from perf import repository, units

EXAMPLES = """\
examples:
  python -m perf doctor      needs nothing but the project's Python packages; starts no benchmark and writes nothing
"""
NEEDED_DISK_BYTES = 4 << 30  # environment and builds, with room for runs


class Standing(Enum):
    """How a check ended."""

    FINE = "ok"
    ABSENT = "absent"  # something that this machine can do without
    BROKEN = "missing"  # the main job needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: what was found, what it is for, and what to do if it is not there."""

    subject: str
    standing: Standing
    found: str
    remedy: str = ""


def examine(workspace: Workspace) -> tuple[Check, ...]:
    """Look at everything that the pipeline uses. Starts no benchmark and writes nothing."""
    checks: Sequence[Callable[[], Check]] = (
        _python,
        _git,
        _cxx,
        lambda: _cuda_tool("nvcc", "CUDA kernels are compiled"),
        lambda: _cuda_tool("nvdisasm", "the static layer reads machine code"),
        _torch,
        _instruction_sets,
        _gpu,
        _nsight_compute,
        lambda: _disk(workspace),
        lambda: _build(workspace),
    )
    return tuple(check() for check in checks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command takes none."""


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    """Print the table; returns 2 if the main job cannot run here."""
    checks = examine(Workspace())
    table = Table("", "what", "found", "remedy", title="What this machine can run", title_justify="left")
    styles = {Standing.FINE: "green", Standing.ABSENT: "yellow", Standing.BROKEN: "red"}
    for check in checks:
        style = styles[check.standing]
        table.add_row(f"[{style}]{check.standing.value}[/]", check.subject, check.found, check.remedy)
    Console().print(table)
    return EXIT_ERROR if any(check.standing is Standing.BROKEN for check in checks) else EXIT_PASS


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - the doctor is for machines that do not fit
        return _broken("Python", version, "install Python 3.11 or later and run nox with it")
    return _fine("Python", f"{version}, {sys.executable}")


def _git() -> Check:
    try:
        commit = repository.current_commit()
    except RoofgateError as error:
        return _broken("git", str(error), "run from the root of a clone")
    return _fine("git", f"commit {commit.short} on {commit.branch}")


def _cxx() -> Check:
    try:
        return _fine("C++ compiler", version_line(find_cxx()))
    except RoofgateError as error:
        return _broken("C++ compiler", str(error), "install g++ 11 or later, or clang++ 14 or later")


def _cuda_tool(name: str, purpose: str) -> Check:
    try:
        path = find_cuda_tool(name)
    except RoofgateError:
        return _absent(name, f"none: without it no {purpose}", "run through nox, which installs the pinned package")
    return _fine(name, f"{version_line(path)}, {path}")


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return _broken("torch", str(error), "run through nox, or install torch 2.9 or later")
    return _fine("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _instruction_sets() -> Check:
    try:
        from perf.machine import observe_machine
    except ImportError as error:
        return _absent("processor", f"not looked at: {error}", "install torch")
    machine = observe_machine()
    found = f"{machine.cpu_model}, {machine.cpu_count} cores: {', '.join(machine.instruction_sets) or 'no extension'}"
    if "avx512_bf16" in machine.instruction_sets:
        return _fine("processor", found)
    return _absent("processor", found, "none needed: slower host kernels run; rules for AVX-512 BF16 do not apply")


def _gpu() -> Check:
    try:
        from perf.machine import observe_gpus
    except ImportError as error:
        return _absent("NVIDIA GPU", f"not looked at: {error}", "install torch")
    gpus = observe_gpus()
    if gpus:
        return _fine("NVIDIA GPU", "; ".join(f"{gpu.name} ({gpu.architecture}), driver {gpu.driver}" for gpu in gpus))
    remedy = "none needed: CUDA kernels are compiled and analysed statically; to time them, run where torch sees a GPU"
    return _absent("NVIDIA GPU", "none", remedy)


def _nsight_compute() -> Check:
    path = shutil.which("ncu")
    if path is None:
        return _absent("Nsight Compute", "no ncu on PATH", "on a GPU machine, install Nsight Compute 2022.4 or later")
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=60)
    version = answer.stdout.strip().splitlines()[-1:] or ["unknown version"]
    parameters = Path("/proc/driver/nvidia/params")
    restricted = parameters.exists() and "RmProfilingAdminOnly: 1" in parameters.read_text()
    if restricted and os.geteuid() != 0:
        remedy = "run as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0"
        return _absent("Nsight Compute", f"{version[0]}, counters for administrators only", remedy)
    return _fine("Nsight Compute", f"{version[0]}, {path}")


def _disk(workspace: Workspace) -> Check:
    folder = workspace.root if workspace.root.exists() else Path()
    if not os.access(folder, os.W_OK):
        return _broken("disk", f"{folder.absolute()} cannot be written", "run from a checkout of your own")
    free = shutil.disk_usage(folder).free
    if free < NEEDED_DISK_BYTES:
        return _broken("disk", f"{units.byte_total(free)} free", f"free at least {units.byte_total(NEEDED_DISK_BYTES)}")
    return _fine("disk", f"{units.byte_total(free)} free")


def _build(workspace: Workspace) -> Check:
    try:
        record = read_record(workspace.build_record)
    except RoofgateError as error:
        return _absent("build", str(error), "run: nox -s build")
    missing = [library.name for library in record.libraries if library.status is not BuildStatus.BUILT]
    if missing:
        return _absent("build", f"without {', '.join(missing)}", "run nox -s build and read what the compiler says")
    return _fine("build", ", ".join(library.name for library in record.libraries))


def _fine(subject: str, found: str) -> Check:
    return Check(subject=subject, standing=Standing.FINE, found=found)


def _absent(subject: str, found: str, remedy: str) -> Check:
    return Check(subject=subject, standing=Standing.ABSENT, found=found, remedy=remedy)


def _broken(subject: str, found: str, remedy: str) -> Check:
    return Check(subject=subject, standing=Standing.BROKEN, found=found, remedy=remedy)
