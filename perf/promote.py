"""``python -m perf promote``: make the present results the baseline that later ones are compared with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.build_record import BuildRecord, BuildStatus, read_record
from kernels.errors import EXIT_PASS, RoofgateError
from kernels.workspace import Workspace
from perf import repository, store
from perf.evidence import CAPTURED_LAYERS, baseline_path, hardware_baseline_folder
from perf.model import Capture, Commit, Layer, Run
from perf.pins import DEFAULT_PINS, load_pins, replace_pins, write_pins

_PROFILE = "run: nox -s profile"
HARDWARE_REPORTS = "hardware"  # below the captures, and below the baseline: one file per case

EXAMPLES = """\
examples:
  python -m perf promote      after: python -m nox -s build bench profile

Timed results and hardware counters go to out/baselines/ for this machine alone; static and simulated figures to
perf/baselines/pins.yml, which you commit.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Promote and say what was written; returns the exit code."""
    del options
    workspace = Workspace()
    with workspace.writing("roofgate promote"):
        promote(workspace, repository.current_commit(), DEFAULT_PINS, print)
    return EXIT_PASS


def promote(workspace: Workspace, commit: Commit, pins: Path, say: Callable[[str], object]) -> None:
    """Copy the newest complete run of every suite, and replace the pins of the captured architectures.

    Raises:
        RoofgateError: a library did not compile, or the present sources have no complete run.
    """
    record = read_record(workspace.build_record)
    _require_build(record)
    runs = _complete_runs(workspace, commit)
    if commit.dirty:
        say("note: there are uncommitted edits; the baseline belongs to them, not to the commit alone")
    for suite_run in runs:
        path = baseline_path(workspace, suite_run)
        write_atomically(path, Path(suite_run.path).read_bytes())
        say(f"{path}: suite {suite_run.suite}, {len(suite_run.measurements)} measurements of run {suite_run.id}")
    _promote_hardware(workspace, commit, runs, say)
    _promote_pins(workspace, commit, record, pins, say)


def _require_build(record: BuildRecord) -> None:
    failed = [library.name for library in record.libraries if library.status is BuildStatus.FAILED]
    if failed:
        raise RoofgateError(f"{', '.join(failed)} did not compile; correct the source, then run: nox -s build")


def _complete_runs(workspace: Workspace, commit: Commit) -> list[Run]:
    """The newest complete run of each suite of the present sources, on any machine that shares this folder."""
    candidates = tuple(store.files_mentioning(store.run_files(workspace.runs), commit.tree))
    stored, _ = store.load_run_files(candidates)
    newest: dict[tuple[str, str], Run] = {}
    for found in stored:
        if found.complete and not found.selection and found.commit.tree == commit.tree:
            newest.setdefault((found.machine.fingerprint, found.suite), found)
    if not newest:
        raise RoofgateError(f"no complete run of the present sources ({commit.tree}); run: nox -s bench")
    return list(newest.values())


def _promote_pins(
    workspace: Workspace, commit: Commit, record: BuildRecord, pins: Path, say: Callable[[str], object]
) -> None:
    captures = _exact_captures(workspace, commit)
    for layer in CAPTURED_LAYERS:
        if not any(capture.layer is layer for capture in captures):
            say(f"{pins}: {layer.value} figures are left as they are, since the present sources have none; {_PROFILE}")
    if not captures:
        return
    compilers = {library.architecture: library.compiler for library in record.libraries if library.compiler}
    write_pins(replace_pins(load_pins(pins), captures, compilers), pins)
    architectures = sorted({capture.architecture for capture in captures})
    kernels = {capture.kernel for capture in captures}
    say(f"{pins}: {len(kernels)} kernels on {', '.join(architectures)}; review the difference and commit it")


def _promote_hardware(workspace: Workspace, commit: Commit, runs: list[Run], say: Callable[[str], object]) -> None:
    """Keep the hardware counters of the present sources for the machine with a GPU among those of ``runs``."""
    run = next((found for found in runs if found.machine.gpus), None)
    sets, _ = store.read_captures(workspace.captures)
    for found in sets:
        if run and found.layer is Layer.HARDWARE and found.tree == commit.tree and found.captures:
            folder = hardware_baseline_folder(workspace, run.machine.fingerprint)
            say(f"{store.write_capture_set(folder, found)}: hardware counters of {len(found.captures)} kernels")
            for path in sorted((workspace.captures / HARDWARE_REPORTS).glob("*.json")):
                write_atomically(folder / HARDWARE_REPORTS / path.name, path.read_bytes())


def _exact_captures(workspace: Workspace, commit: Commit) -> tuple[Capture, ...]:
    sets, _ = store.read_captures(workspace.captures)
    present = (found for found in sets if found.layer in CAPTURED_LAYERS and found.tree == commit.tree)
    return tuple(capture for found in present for capture in found.captures)
