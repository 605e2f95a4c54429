"""From the plan to the stored file: what is kept, what an interruption leaves, and what the controls say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.interface import InstructionSet, Library
from perf.model import Device, DType, Verdict
from perf.paired import session as session_module
from perf.paired.engine import Progress
from perf.paired.model import Finding, PairedComparison, Plan, Restart, Stage
from perf.paired.planning import control_subjects, plan_case
from perf.paired.record import read_comparison
from perf.paired.restarts import RestartError, Subject
from perf.paired.session import Session, judge_controls
from tests.perf.paired.planned_builds import build_library, build_scope, build_side
from tests.perf.paired.simulated_restarts import build_restart
from tests.perf.paired.test_planning import SLOWER_BF16, case

Answer = Callable[[str, Stage, int], float]


def simulate(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """Let restarts answer with these log ratios; returns the list of the subjects asked for."""
    asked: list[str] = []

    def restart(subject: Subject, _plan: Plan, stage: Stage, seed: int, _origin: float) -> Restart:
        asked.append(subject.name)
        scatter = random.Random(seed).gauss(0.0, 0.002)  # noqa: S311
        return build_restart(answer(subject.name, stage, len(asked)) + scatter, stage=stage, seed=seed)

    monkeypatch.setattr(session_module, "run_restart", restart)
    return asked


def make_session(folder: Path, monkeypatch: pytest.MonkeyPatch, earlier: PairedComparison | None = None) -> Session:
    """A bf16 case that changed, and an fp32 case that did not and serves as the control."""
    monkeypatch.setattr(Library, "best_isa", lambda _self: InstructionSet.AVX512_BF16)
    monkeypatch.setattr("perf.paired.revisions.source_tree", lambda root: "tree")  # noqa: ARG005
    scope = build_scope(
        build_side("base", library=build_library()), build_side("candidate", library=build_library(SLOWER_BF16))
    )
    planned = [plan_case(case(dtype), Device.CPU, scope) for dtype in (DType.BF16, DType.FP32)]
    controls = control_subjects(planned, scope, 1)
    return Session(
        scope=scope,
        plan=Plan(),
        suite="smoke",
        planned=planned,
        controls=controls,
        folder=folder,
        earlier=earlier,
    )


def ignore(_name: str, _progress: Progress) -> None:
    """Nobody listens."""


def test_a_slower_case_is_regressed_and_an_identical_control_stays_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored file says what the session concluded."""
    simulate(monkeypatch, lambda name, _stage, _count: 0.0 if name.startswith("control") else 0.05)

    comparison = make_session(tmp_path, monkeypatch).run(ignore)

    changed, same = comparison.cases
    assert changed.finding.verdict is Verdict.REGRESSED
    assert changed.finding.confirmed
    assert same.finding.verdict is Verdict.IDENTICAL
    assert same.is_control
    assert same.restarts
    assert not comparison.controls.is_disturbed
    assert read_comparison(Path(comparison.path)) == comparison


def test_a_control_that_moves_is_told_and_leaves_the_machine_code_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identical code that seems to change discredits the clock, not the code."""
    simulate(monkeypatch, lambda _name, _stage, _count: 0.05)

    comparison = make_session(tmp_path, monkeypatch).run(ignore)

    assert comparison.controls.is_disturbed
    assert comparison.cases[1].finding.verdict is Verdict.IDENTICAL
    assert comparison.cases[1].case.name in comparison.controls.reason


def test_an_interrupted_session_is_stored_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C the restarts so far are kept; resuming measures only the others and concludes the same."""

    def interrupted(name: str, _stage: Stage, count: int) -> float:
        if count == 9:
            raise KeyboardInterrupt
        return 0.0 if name.startswith("control") else 0.05

    simulate(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_session(tmp_path, monkeypatch).run(ignore)
    (unfinished,) = tmp_path.glob("*.unfinished.json")
    earlier = read_comparison(unfinished)
    kept = sum(len(each.restarts) for each in earlier.cases)

    asked = simulate(monkeypatch, lambda name, _stage, _count: 0.0 if name.startswith("control") else 0.05)
    comparison = make_session(tmp_path, monkeypatch, earlier).run(ignore)

    assert (earlier.complete, kept) == (False, 8)
    assert sum(len(each.restarts) for each in comparison.cases) == kept + len(asked)
    assert comparison.cases[0].finding.verdict is Verdict.REGRESSED
    assert comparison.started == earlier.started
    assert not list(tmp_path.glob("*.unfinished.json"))


def test_a_case_that_cannot_be_measured_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of one case is its finding."""

    def crash(name: str, _stage: Stage, _count: int) -> float:
        if not name.startswith("control"):
            raise RestartError("the measuring process was killed by signal 11")
        return 0.0

    simulate(monkeypatch, crash)

    comparison = make_session(tmp_path, monkeypatch).run(ignore)

    assert comparison.cases[0].finding.verdict is Verdict.NOT_RUN
    assert "signal 11" in comparison.cases[0].finding.reason
    assert comparison.controls.controls == 1


def test_the_base_as_its_own_control_is_kept_apart_from_the_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no case has equal code the control would else share a case's name."""
    simulate(monkeypatch, lambda name, _stage, _count: 0.0 if name.startswith("control") else 0.05)
    session = make_session(tmp_path, monkeypatch)
    session.planned = session.planned[:1]
    session.controls = control_subjects(session.planned, session.scope, 1)

    comparison = session.run(ignore)

    assert comparison.cases[0].finding.verdict is Verdict.REGRESSED
    (control,) = comparison.self_controls
    assert control.is_control
    assert control.finding.verdict is Verdict.UNCHANGED
    assert read_comparison(Path(comparison.path)) == comparison


def test_controls_without_an_interval_are_none() -> None:
    """A control that failed says nothing of noise."""
    failed = Finding(verdict=Verdict.NOT_RUN, reason="crashed")

    assert judge_controls({"control: a": failed}).controls == 0
    assert judge_controls({}).noise is None
    assert replace(failed, reason="").verdict is Verdict.NOT_RUN
