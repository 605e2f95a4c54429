"""The plan is fixed and balanced; the runner does what is left of it, and repeats what was disturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from perf.detector import trials
from perf.detector.methods import METHODS, Decision, Setting
from perf.detector.regimes import Regime
from perf.detector.trials import COUNTS, SLOWDOWNS, Trial, plan_trials, read_results, run_trials
from perf.detector.workloads import WORKLOADS, Workload
from tests.perf.detector.synthetic_results import build_decision, build_result, build_trial, write_results

SETTING = Setting(library=Path("unused.so"), start_blocks=1900, scratch=Path("unused"))


class ScriptedLoad:
    """Stands in for the look at the machine: a fixed list of loads, then quiet."""

    loads: Iterator[float] = iter(())

    def fraction(self) -> float:
        """The next of the list."""
        return next(ScriptedLoad.loads, 0.0)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A method that answers at once, on a machine without load; holds the seeds that it was asked with."""
    seeds: list[int] = []

    def answer(_workload: Workload, _slowdown: float, seed: int, _setting: Setting) -> Decision:
        seeds.append(seed)
        return build_decision()

    ScriptedLoad.loads = iter(())
    monkeypatch.setattr(trials, "METHODS", {"roofgate": answer})
    monkeypatch.setattr(trials, "ForeignLoad", ScriptedLoad)
    monkeypatch.setattr(trials, "loaded", lambda _regime, _seed: nullcontext())
    monkeypatch.setattr(trials, "_LOOK_S", 0.0)
    return seeds


def run(planned: list[Trial], results: Path, deadline_s: float = 60.0) -> int:
    """Run them in silence; how many are left."""
    return run_trials(planned, SETTING, results, deadline_s=deadline_s, progress=lambda _line: None)


def test_the_plan_is_the_same_every_time() -> None:
    """Trials are known by their number in it, over many runs."""
    assert plan_trials() == plan_trials()
    assert [trial.number for trial in plan_trials()] == list(range(len(plan_trials())))


def test_another_seed_is_another_plan() -> None:
    """Its order and its seeds come from the seed."""
    assert plan_trials(seed=1) != plan_trials()


def test_the_plan_is_balanced() -> None:
    """Every workload, regime and slowdown equally often, for each method."""
    counts = Counter((trial.method, trial.workload, trial.regime, trial.slowdown) for trial in plan_trials())
    expected = {
        (method, workload, regime, slowdown): COUNTS[method].slowed if slowdown else COUNTS[method].unchanged
        for method in METHODS
        for workload in WORKLOADS
        for regime in Regime
        for slowdown in (0.0, *SLOWDOWNS)
    }

    assert counts == expected


def test_ours_decides_300_times_on_identical_code_in_every_regime() -> None:
    """As the target demands."""
    counts = Counter(t.regime for t in plan_trials() if t.method == "roofgate" and t.slowdown == 0.0)

    assert set(counts.values()) == {300}
    assert set(counts) == set(Regime)


def test_methods_and_regimes_are_spread_over_the_run() -> None:
    """Every quarter of the plan has every method in every regime: drifts fall on all alike."""
    planned = plan_trials()
    quarter = len(planned) // 4
    for start in range(0, 4 * quarter, quarter):
        here = {(trial.method, trial.regime) for trial in planned[start : start + quarter]}
        assert here == {(method, regime) for method in METHODS for regime in Regime}


def test_every_trial_is_run_once(tmp_path: Path, asked: list[int]) -> None:
    """And written as it was planned."""
    planned = [build_trial(number, slowdown=0.02) for number in range(5)]

    assert run(planned, tmp_path / "trials.jsonl") == 0

    assert sorted(asked) == [0, 1, 2, 3, 4]
    assert [result.trial for result in read_results([tmp_path / "trials.jsonl"])] == planned


def test_a_second_run_does_what_is_left(tmp_path: Path, asked: list[int]) -> None:
    """Trials that are done are not run again."""
    results = write_results(tmp_path / "trials.jsonl", [build_result(build_trial(number)) for number in (0, 2)])

    run([build_trial(number) for number in range(4)], results)

    assert asked == [1, 3]
    assert len(read_results([results])) == 4


def test_a_cut_last_line_is_survived(tmp_path: Path) -> None:
    """What a killed run leaves behind is left out."""
    results = write_results(tmp_path / "trials.jsonl", [build_result(build_trial(number)) for number in (0, 1)])
    results.write_text(results.read_text()[:-40])

    assert [result.trial.number for result in read_results([results])] == [0]


def test_a_run_goes_on_after_a_cut_last_line(tmp_path: Path, asked: list[int]) -> None:
    """The trial that was cut is run again, and the file can be read afterwards."""
    results = write_results(tmp_path / "trials.jsonl", [build_result(build_trial(number)) for number in (0, 1)])
    results.write_text(results.read_text()[:-40])

    run([build_trial(number) for number in range(3)], results)

    assert asked == [1, 2]
    assert [result.trial.number for result in read_results([results])] == [0, 1, 2]


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"trial": {"regime": "noisy"}}'])
def test_any_other_bad_line_is_an_error(tmp_path: Path, line: str) -> None:
    """It names file and line: silently skipped results would change the scores."""
    results = tmp_path / "trials.jsonl"
    results.write_text(f"{line}\n")

    with pytest.raises(RoofgateError, match=r"trials\.jsonl:1: not a trial's result"):
        read_results([results])


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    """With and without a decision."""
    written = [
        build_result(build_trial(1, regime=Regime.BURSTS), change=0.01, low=-0.01, high=0.03),
        trials.Result(trial=build_trial(2), decision=None, error="refused", foreign_load=0.25),
    ]

    assert read_results([write_results(tmp_path / "trials.jsonl", written)]) == written


@pytest.mark.parametrize("regime", [Regime.QUIET, Regime.LOADED])
def test_a_trial_under_foreign_load_is_repeated(tmp_path: Path, asked: list[int], regime: Regime) -> None:
    """Both are kept: idle at the look, busy during the trial, then idle."""
    ScriptedLoad.loads = iter([0.0, 0.3])

    assert run([build_trial(0, regime=regime)], tmp_path / "trials.jsonl") == 0

    assert asked == [0, 0]
    assert [result.is_valid for result in read_results([tmp_path / "trials.jsonl"])] == [False, True]


def test_a_trial_with_bursts_is_not_repeated(tmp_path: Path, asked: list[int]) -> None:
    """Not all of its processes can be told from others."""
    ScriptedLoad.loads = iter([0.0, 0.5])

    run([build_trial(0, regime=Regime.BURSTS)], tmp_path / "trials.jsonl")

    assert asked == [0]


@pytest.mark.parametrize("regime", [Regime.QUIET, Regime.LOADED])
def test_trials_with_bursts_go_first_while_the_machine_is_busy(
    tmp_path: Path, asked: list[int], regime: Regime
) -> None:
    """The others wait."""
    ScriptedLoad.loads = iter([0.9])

    run([build_trial(0, regime=regime), build_trial(1, regime=Regime.BURSTS)], tmp_path / "trials.jsonl")

    assert asked == [1, 0]


def test_a_method_that_fails_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its words; the run goes on."""

    def refuse(*_arguments: object) -> Decision:
        raise RoofgateError("asv gave no verdict")

    monkeypatch.setattr(trials, "METHODS", {"roofgate": refuse})

    assert run([build_trial(0), build_trial(1)], tmp_path / "trials.jsonl") == 0
    assert [result.error for result in read_results([tmp_path / "trials.jsonl"])] == ["asv gave no verdict"] * 2


def test_no_trial_starts_after_the_deadline(tmp_path: Path, asked: list[int]) -> None:
    """Those left are counted."""
    assert run([build_trial(0), build_trial(1)], tmp_path / "trials.jsonl", deadline_s=0.0) == 2
    assert asked == []
