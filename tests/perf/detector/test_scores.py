"""Rates, their intervals and the least slowdown found, against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.detector.regimes import Regime
from perf.detector.scores import (
    Rate,
    Rule,
    counted,
    disturbed,
    estimate_score,
    measured_durations,
    minimum_detectable_effect,
    rules,
    score,
    select,
    verdicts,
    wall_durations,
)
from perf.detector.targets import OURS, Outcome, check_targets
from perf.detector.trials import COUNTS, SLOWDOWNS, Result, plan_trials
from perf.detector.workloads import WORKLOADS
from perf.model import Verdict
from tests.perf.detector.synthetic_results import build_result, build_trial, sharp_result

ASV = Rule(name="asv continuous 1.05", method="asv")
rates = st.integers(0, 500).flatmap(lambda total: st.builds(Rate, count=st.integers(0, total), total=st.just(total)))
curves = st.dictionaries(st.sampled_from([0.0, *SLOWDOWNS]), rates, min_size=1)


def build_results(
    slowdown: float, alarms: int, quiet: int, *, first: int = 0, method: str = "roofgate"
) -> list[Result]:
    """So many decisions with and without an alarm."""
    return [
        build_result(build_trial(first + index, slowdown=slowdown, method=method), alarm=index < alarms)
        for index in range(alarms + quiet)
    ]


def outcomes(results: list[Result]) -> dict[str, Outcome]:
    """What became of each target."""
    return {check.what: check.outcome for check in check_targets(results)}


def test_wilson_interval_of_hand_computed_cases() -> None:
    """0 of 300: z^2 / (n + z^2) with z = 1.96; 5 of 10: 0.5 +- z sqrt(0.025 + z^2 / 400) / (1 + z^2 / 10)."""
    none, half = Rate(count=0, total=300).interval, Rate(count=5, total=10).interval

    assert (none.low, none.high) == (0.0, pytest.approx(3.8415 / 303.8415, rel=1e-4))
    assert (half.low, half.high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))


def test_a_rate_of_nothing_says_nothing() -> None:
    """Not zero: no decision is no proof of quiet."""
    nothing = Rate(count=0, total=0)

    assert math.isnan(nothing.value)
    assert (nothing.interval.low, nothing.interval.high) == (0.0, 1.0)


@given(rates)
def test_the_interval_holds_the_rate(rate: Rate) -> None:
    """And stays between 0 and 1."""
    bounds = rate.interval

    assert 0 <= bounds.low <= bounds.high <= 1
    if rate.total:
        assert bounds.low - 1e-12 <= rate.value <= bounds.high + 1e-12


def test_mde_lies_on_the_line_between_two_slowdowns() -> None:
    """From 60 % at 2 % to 90 % at 3 %: 80 % is two thirds of the way."""
    curve = {0.0: Rate(count=0, total=10), 0.02: Rate(count=6, total=10), 0.03: Rate(count=9, total=10)}

    assert minimum_detectable_effect(curve) == pytest.approx(0.02 + 0.01 * 2 / 3)


def test_mde_pools_rates_that_fall() -> None:
    """9 of 10, then 21 of 30: pooled 30 of 40 at both, which is under 80 %; so it is found on the way to 10 %."""
    curve = {0.02: Rate(count=9, total=10), 0.05: Rate(count=21, total=30), 0.1: Rate(count=10, total=10)}

    assert minimum_detectable_effect(curve) == pytest.approx(0.05 + 0.05 * (0.8 - 0.75) / 0.25)


def test_mde_beyond_the_slowdowns_tried_is_none() -> None:
    """Never extrapolated, and not made up of no decisions."""
    assert minimum_detectable_effect({0.0: Rate(count=0, total=9), 0.1: Rate(count=7, total=9)}) is None
    assert minimum_detectable_effect({0.1: Rate(count=0, total=0)}) is None


@given(curves)
def test_mde_is_one_of_the_slowdowns_or_between(curve: dict[float, Rate]) -> None:
    """Whatever the rates."""
    found = minimum_detectable_effect(curve)

    assert found is None or min(curve) <= found <= max(curve) + 1e-12


@given(curves, st.sampled_from(SLOWDOWNS))
def test_more_detections_never_raise_the_mde(curve: dict[float, Rate], improved: float) -> None:
    """Monotone: one slowdown found always instead of sometimes."""
    total = curve[improved].total if improved in curve else 0
    better = curve | ({improved: Rate(count=total, total=total)} if total else {})
    before, after = minimum_detectable_effect(curve), minimum_detectable_effect(better)

    assert before is None or (after is not None and after <= before + 1e-9)


def test_planted_false_alarms_are_seen() -> None:
    """Two alarms and one "improved" on identical code, of ten."""
    improved = build_result(build_trial(9), verdict="improved")
    scored = score([*build_results(0.0, 2, 7), improved], OURS)

    assert scored.false_alarms == Rate(count=3, total=10)
    assert scored.false_improvements == Rate(count=1, total=10)


def test_improved_on_slowed_code_is_no_detection() -> None:
    """Only an alarm is."""
    scored = score([build_result(build_trial(slowdown=0.05), verdict="improved")], OURS)

    assert scored.detections == {0.05: Rate(count=0, total=1)}


def test_rules_of_one_method_are_scored_apart() -> None:
    """pytest-benchmark applies three at once."""
    alarms = {"pytest-benchmark min 5 %": False, "pytest-benchmark mean 5 %": True}
    results = [build_result(build_trial(method="pytest-benchmark", slowdown=0.1), alarms=alarms)]

    found = {rule.name: score(results, rule).detections[0.1].count for rule in rules(results)}

    assert found == {"pytest-benchmark min 5 %": 0, "pytest-benchmark mean 5 %": 1}


def test_errors_are_in_no_rate() -> None:
    """A method that gave no decision was neither quiet nor wrong."""
    failed = Result(trial=build_trial(5), decision=None, error="asv gave no verdict")
    scored = score([*build_results(0.0, 0, 4), failed], OURS)

    assert (scored.errors, scored.false_alarms, scored.inconclusive.total) == (1, Rate(count=0, total=4), 4)


def test_trials_under_another_load_do_not_count() -> None:
    """They are repeated; the first that was quiet counts, also where a later one says otherwise."""
    busy = build_result(build_trial(3), alarm=True, foreign_load=0.5)
    first, second = build_result(build_trial(3)), build_result(build_trial(3), alarm=True)

    assert counted([busy, first, second]) == [first]
    assert disturbed([busy, first, second]) == 1


def test_load_is_no_reason_to_leave_out_a_trial_with_bursts() -> None:
    """It is what the regime is about."""
    result = build_result(build_trial(3, regime=Regime.BURSTS), foreign_load=0.9)

    assert counted([result]) == [result]


def test_select_by_regime_workload_and_slowdown() -> None:
    """None means any."""
    quiet, loaded = build_result(build_trial(1)), build_result(build_trial(2, regime=Regime.LOADED, workload="python"))

    assert select([quiet, loaded], regime=Regime.LOADED) == [loaded]
    assert select([quiet, loaded], workload="copy") == [quiet]
    assert select([quiet, loaded], slowdown=0.0) == [quiet, loaded]


def test_coverage_bias_and_deviation_by_hand() -> None:
    """Errors of +1, +1 and +4 points: mean 2, standard deviation sqrt(3); the last interval misses."""
    estimates = [(0.03, 0.01, 0.05), (0.03, 0.01, 0.05), (0.06, 0.05, 0.07)]
    results = [
        build_result(build_trial(number, slowdown=0.02), change=change, low=low, high=high)
        for number, (change, low, high) in enumerate(estimates)
    ]
    scored = estimate_score([*results, *build_results(0.0, 0, 3, first=9, method="asv")])

    assert scored.coverage == Rate(count=2, total=3)
    assert scored.bias == pytest.approx(0.02)
    assert scored.deviation == pytest.approx(math.sqrt(3) / 100)


def test_durations_and_verdicts() -> None:
    """Median, 90th percentile by linear interpolation, and the largest."""
    results = [build_result(build_trial(number), wall_s=float(number), measured_s=None) for number in range(11)]
    wall = wall_durations(results)

    assert wall is not None
    assert (wall.median_s, wall.percentile_90_s, wall.largest_s) == (5.0, 9.0, 10.0)
    assert measured_durations(results) is None
    assert verdicts(results) == {Verdict.UNCHANGED: 11}


def test_without_trials_every_target_is_open() -> None:
    """Nothing is reached by not trying."""
    assert set(outcomes([]).values()) == {Outcome.OPEN}


def test_a_sharp_detector_meets_the_targets_on_itself() -> None:
    """Except coverage, for its intervals never miss, which 95 % intervals should."""
    reached = outcomes([sharp_result(trial) for trial in plan_trials() if trial.method == "roofgate"])

    assert {what for what, outcome in reached.items() if outcome is not Outcome.MET} == {
        "coverage of the 95 % interval of the change, all trials"
    }


@pytest.mark.parametrize(
    ("alarms", "total", "outcome"),
    [(0, 299, Outcome.OPEN), (2, 300, Outcome.MET), (3, 300, Outcome.MISSED), (10, 1000, Outcome.MET)],
)
def test_the_false_alarm_target_needs_decisions_rate_and_bound(alarms: int, total: int, outcome: Outcome) -> None:
    """3 of 300 are 1 %, but the bound is 2.9 %; 10 of 1000 have 1.8 %."""
    results = build_results(0.0, alarms, total - alarms)

    assert outcomes(results)["false alarms on identical code, quiet"] is outcome


def test_a_missed_detection_misses_the_target() -> None:
    """All but one are under 99 %; and all of too few are no proof."""
    planned = COUNTS["roofgate"].slowed * len(WORKLOADS)

    def outcome(detected: int, missed: int) -> Outcome:
        return outcomes(build_results(0.05, detected, missed))["detects 5 %, quiet"]

    assert outcome(planned, 0) is Outcome.MET
    assert outcome(planned - 1, 1) is Outcome.MISSED
    assert outcome(planned - 1, 0) is Outcome.OPEN


def test_one_slow_decision_misses_the_limit_of_time() -> None:
    """The limit is for every decision, not for their median."""
    slow = build_result(build_trial(50), measured_s=5.1)

    assert outcomes([*build_results(0.0, 0, 50), slow])["seconds of measuring per decision"] is Outcome.MISSED


def rival_results(detected: int) -> list[Result]:
    """Ours finds all; theirs finds ``detected`` of two at each slowdown; nobody raises a false alarm."""
    ours = [r for i, s in enumerate(SLOWDOWNS) for r in build_results(s, 2, 0, first=10 * i)]
    theirs = [
        r
        for i, s in enumerate(SLOWDOWNS)
        for r in build_results(s, detected, 2 - detected, first=100 + 10 * i, method="asv")
    ]
    quiet = [*build_results(0.0, 0, 2, first=200), *build_results(0.0, 0, 2, first=210, method="asv")]
    return [*ours, *theirs, *quiet]


def test_two_perfect_scores_are_met_and_equal_imperfect_ones_missed() -> None:
    """Nothing is higher than always or lower than never; but 1 of 2 is not higher than 1 of 2."""
    what = f"against {ASV.name}, quiet"
    equal = [build_result(r.trial, alarm=r.trial.number % 2 == 0 and r.trial.slowdown > 0) for r in rival_results(1)]

    assert outcomes(rival_results(2))[what] is Outcome.MET
    assert outcomes(rival_results(1))[what] is Outcome.MET
    assert outcomes(equal)[what] is Outcome.MISSED


def test_against_a_rival_every_slowdown_must_have_been_tried() -> None:
    """Otherwise the comparison is open."""
    without = [result for result in rival_results(1) if result.trial.slowdown != 0.01]

    assert outcomes(without)[f"against {ASV.name}, quiet"] is Outcome.OPEN


def test_more_false_alarms_than_a_rival_miss_the_target() -> None:
    """However sharp."""
    noisy = build_results(0.0, 1, 0, first=300)

    assert outcomes([*rival_results(0), *noisy])[f"against {ASV.name}, quiet"] is Outcome.MISSED
