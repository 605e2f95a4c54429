"""Everything that the gate and the reports judge, read from disk and not yet judged.

:func:`gather` reads what the gate needs, and :func:`with_history` adds the earlier runs that only the reports show,
since reading fifty run files takes longer than the gate may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from kernels.build_record import BuildRecord, BuildStatus, read_record
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf import repository, store
from perf.config import (
    DEFAULT_SUITES,
    DEFAULT_TARGETS,
    DEFAULT_THRESHOLDS,
    Suite,
    load_suites,
    load_targets,
    load_thresholds,
)
from perf.model import CaptureSet, Commit, Layer, Problem, Run, StepStatus, Target, Verdict
from perf.paired.model import PairedComparison
from perf.paired.record import find_comparison
from perf.pins import DEFAULT_PINS, Pins, load_pins
from perf.rules import Thresholds

# The steps whose failure leaves the gate without the evidence that it judges.
EVIDENCE_STEPS = ("build", "bench", "profile")

# Layers that leave captures on every machine, if only to say why there are none.
CAPTURED_LAYERS = (Layer.STATIC, Layer.SIMULATED)

ContentT = TypeVar("ContentT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The tracked files that say what is measured and what is demanded."""

    targets: Path = DEFAULT_TARGETS
    suites: Path = DEFAULT_SUITES
    thresholds: Path = DEFAULT_THRESHOLDS
    pins: Path = DEFAULT_PINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything read, before anything is judged. ``failures`` are why the gate can only say ERROR."""

    commit: Commit
    targets: tuple[Target, ...] = ()
    suites: Mapping[str, Suite] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=lambda: Thresholds(margin=0.0, rules=()))
    run: Run | None = None
    baseline: Run | None = None
    paired: PairedComparison | None = None  # of the present sources, measured on the machine of the run
    history: tuple[Run, ...] = ()  # newest first
    captures: tuple[CaptureSet, ...] = ()  # of the present sources
    pins: Pins = field(default_factory=lambda: Pins(compilers={}, captures=()))
    steps: tuple[StepStatus, ...] = ()  # of the present sources
    failures: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def gather(workspace: Workspace, sources: Sources, suite: str | None = None) -> Evidence:
    """Read all but the history.

    Args:
        workspace: where results lie.
        sources: the configuration files.
        suite: take the newest run of this suite; the newest of any suite if None.

    Raises:
        RoofgateError: there is no git repository or commit. Everything else that is missing or broken is kept as a
            failure or a problem.
    """
    commit = repository.current_commit()
    reading = _Reading()
    run, run_problems = find_run(workspace, commit.tree, suite)
    baseline, baseline_problems = _find_baseline(workspace, run)
    paired, paired_problems = find_comparison(workspace, commit.tree, run.machine.fingerprint if run else None)
    capture_sets, capture_problems = store.read_captures(workspace.captures)
    steps, step_problems = store.read_steps(workspace)
    pins, pin_problems = _read_pins(reading, sources, workspace, run)
    evidence = Evidence(
        commit=commit,
        targets=reading.config(lambda: load_targets(sources.targets), ()),
        suites=reading.config(lambda: load_suites(sources.suites), {}),
        thresholds=reading.config(lambda: load_thresholds(sources.thresholds), Thresholds(margin=0.0, rules=())),
        pins=pins,
        run=run,
        baseline=baseline,
        paired=paired,
        captures=tuple(found for found in capture_sets if found.tree == commit.tree),
        steps=tuple(step for step in steps if step.tree == commit.tree),
    )
    build_problems, build_failures = _build_problems(workspace)
    stale = tuple(_stale(found) for found in capture_sets if found.tree != commit.tree)
    return replace(
        evidence,
        failures=(*reading.failures, *_step_failures(evidence), *build_failures, *_missing_results(evidence, suite)),
        problems=(
            *run_problems,
            *baseline_problems,
            *paired_problems,
            *capture_problems,
            *pin_problems,
            *stale,
            *step_problems,
            *build_problems,
        ),
    )


class _Reading:
    """Reads configuration, and keeps every mistake instead of stopping at it."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def config(self, read: Callable[[], ContentT], default: ContentT) -> ContentT:
        try:
            return read()
        except RoofgateError as error:
            self.failures.append(str(error))
            return default


def find_run(workspace: Workspace, tree: str, suite: str | None = None) -> tuple[Run | None, tuple[Problem, ...]]:
    """The newest run of these sources, and what could not be read while looking for it.

    Stops at the first that fits, so that a long history costs nothing.
    """
    problems: list[Problem] = []
    for path in store.files_mentioning(store.run_files(workspace.runs), tree):
        runs, found = store.load_run_files((path,))
        problems += found
        for run in runs:
            if run.commit.tree == tree and suite in {None, run.suite}:
                return run, tuple(problems)
    return None, tuple(problems)


def baseline_path(workspace: Workspace, run: Run) -> Path:
    """Where the timed baseline for the machine and suite of ``run`` is kept."""
    return workspace.baselines / run.machine.fingerprint / f"{run.suite}.json"


def _find_baseline(workspace: Workspace, run: Run | None) -> tuple[Run | None, tuple[Problem, ...]]:
    path = baseline_path(workspace, run) if run else None
    if path is None or not path.exists():
        return None, ()
    runs, problems = store.load_run_files((path,))
    return (runs[0] if runs else None), problems


def hardware_baseline_folder(workspace: Workspace, fingerprint: str) -> Path:
    """Where the hardware counters are kept that later ones of the same machine are compared with."""
    return workspace.baselines / fingerprint / "hardware"


def _read_pins(
    reading: _Reading, sources: Sources, workspace: Workspace, run: Run | None
) -> tuple[Pins, tuple[Problem, ...]]:
    """The tracked pins and, beside them, the hardware counters kept for the machine of the run.

    The latter are not tracked: what one GPU counts says little of another.
    """
    pins = reading.config(lambda: load_pins(sources.pins), Pins(compilers={}, captures=()))
    if run is None:
        return pins, ()
    baseline, problems = store.read_captures(hardware_baseline_folder(workspace, run.machine.fingerprint))
    counted = tuple(capture for found in baseline for capture in found.captures)
    return replace(pins, captures=pins.captures + counted), problems


def _stale(captures: CaptureSet) -> Problem:
    return Problem(
        subject=f"{captures.layer.value} captures", reason="left out: they are of other sources; run: nox -s profile"
    )


def _step_failures(evidence: Evidence) -> tuple[str, ...]:
    return tuple(
        f"step {step.step} failed with exit code {step.exit_code}" + (f": {step.error}" if step.error else "")
        for step in evidence.steps
        if step.step in EVIDENCE_STEPS and step.exit_code != 0
    )


def _missing_results(evidence: Evidence, suite: str | None) -> tuple[str, ...]:
    """Results that the rules speak of and that nobody tried to get: a layer that could not run left its reason."""
    layers = {rule.metric.layer for rule in evidence.thresholds.rules}
    captured = {found.layer for found in evidence.captures}
    lacking = tuple(
        f"no {layer.value} captures of the present sources ({evidence.commit.tree}); run: nox -s profile"
        for layer in CAPTURED_LAYERS
        if layer in layers - captured
    )
    return (*_missing_run(evidence, suite), *lacking)


def _missing_run(evidence: Evidence, suite: str | None) -> tuple[str, ...]:
    if evidence.run is not None:
        return () if evidence.run.complete else (f"run {evidence.run.id} was cut short; run: nox -s bench",)
    if _has_compared(evidence.paired, suite):
        return ()
    which = f"suite {suite!r}" if suite else "any suite"
    return (f"no timed result of {which} for the present sources ({evidence.commit.tree}); run: nox -s bench",)


def _has_compared(paired: PairedComparison | None, suite: str | None) -> bool:
    """Whether a paired comparison stands for a run: it concluded something of a case of the suite asked for."""
    if paired is None or suite not in {None, paired.suite}:
        return False
    return any(case.finding.verdict is not Verdict.NOT_RUN for case in paired.cases)


def _build_problems(workspace: Workspace) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """What did not build, as problems; and of these, what a compiler refused, as failures."""
    try:
        record: BuildRecord = read_record(workspace.build_record)
    except RoofgateError as error:
        return (Problem(subject="build", reason=str(error)),), ()
    unbuilt = [library for library in record.libraries if library.status is not BuildStatus.BUILT]
    problems = tuple(
        Problem(subject=library.name, reason=f"{library.status.value.replace('_', ' ')}: {library.reason}")
        for library in unbuilt
    )
    refused = [library.name for library in unbuilt if library.status is BuildStatus.FAILED]
    return problems, tuple(f"{name} did not compile; see the build's output above or the report" for name in refused)


def with_history(evidence: Evidence, workspace: Workspace) -> Evidence:
    """``evidence`` with every other stored run of the same machine, and the files that could not be read."""
    present = evidence.run
    paths = tuple(path for path in store.run_files(workspace.runs) if not (present and present.path == str(path)))
    runs, problems = store.load_run_files(paths)
    history = tuple(run for run in runs if present and run.machine.fingerprint == present.machine.fingerprint)
    known = set(evidence.problems)
    unread = tuple(problem for problem in problems if problem not in known)
    return replace(evidence, history=history, problems=(*evidence.problems, *unread))
