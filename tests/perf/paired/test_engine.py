"""The whole rule by simulation: false alarms, detection, coverage, time; and the order in which things are measured.

The machine is a random number generator (tests/perf/paired/simulated_restarts.py), seeds are fixed, and every rate has
a twin that shows a detector without the rule failing it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from kernels.errors import RoofgateError
from perf.model import Verdict
from perf.paired import decision, engine, statistics
from perf.paired.decision import SCREENING_SHARE, Outlook
from perf.paired.engine import Progress
from perf.paired.model import Finding, Plan, Restart, Stage
from tests.perf.paired.simulated_restarts import (
    CASE,
    Noise,
    SimulatedMachine,
    alarms,
    build_restart,
    decide,
    heavy_tailed,
    in_both_stages,
    normal,
)

PLAN = Plan()
CASES = [f"case {index}" for index in range(20)]
# Restarts of the noisy machine scatter by more than the margin, so that suspicions are frequent.
NOISY, QUIET = 0.02, 0.005
# Of 600 decisions with a probability of 1 % each, more than 14 are alarms with a probability of 0.1 %.
DECISIONS, MOST_ALARMS = 600, 14
LATER_CHANGE = {Stage.SCREENING: 0.04, Stage.CONFIRMATION: 0.0}


@pytest.fixture(autouse=True)
def _fast_restart_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trimmed mean of one block is that block, without 0.4 ms in scipy for each of a hundred thousand restarts."""
    exact = statistics.restart_mean(build_restart(0.03))

    def only_block(restart: Restart) -> float:
        (block,) = restart.blocks
        return statistics.block_log_ratio(block)

    assert only_block(build_restart(0.03)) == exact
    monkeypatch.setattr(statistics, "restart_mean", only_block)


def compare(machine: SimulatedMachine, plan: Plan = PLAN, cases: list[str] | None = None) -> dict[str, Finding]:
    """The findings of one comparison."""
    return engine.findings(engine.compare(cases or [CASE], plan, machine.measure), plan)


# Error rates


@pytest.mark.parametrize("noise", [normal, heavy_tailed])
@pytest.mark.parametrize("scatter", [QUIET, NOISY])
def test_identical_code_gives_no_alarms(noise: Noise, scatter: float) -> None:
    """At most 1 % of decisions, be the noise Gauss's or heavy-tailed, less than the margin or more."""
    findings = decide(SimulatedMachine(scatter=in_both_stages(scatter), noise=noise), DECISIONS)

    assert alarms(findings) <= DECISIONS * PLAN.false_alarm_rate


def test_a_machine_that_gets_noisier_gives_no_alarms() -> None:
    """Scatter that trebles between the stages is what the confirmation itself sees."""
    machine = SimulatedMachine(scatter={Stage.SCREENING: NOISY / 3, Stage.CONFIRMATION: NOISY})

    assert alarms(decide(machine, DECISIONS)) <= DECISIONS * PLAN.false_alarm_rate


def test_without_confirmation_there_would_be_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate above is the work of the confirmation: judged by screening alone, the same decisions exceed it."""
    conclude = decision.conclude_confirmation

    def by_screening_alone(
        screening: list[float], _confirmation: list[float], _adjusted_p: float, mde: float, plan: Plan
    ) -> Finding:
        return conclude(screening, screening, 0.0, mde, plan)

    monkeypatch.setattr(decision, "conclude_confirmation", by_screening_alone)
    findings = decide(SimulatedMachine(scatter=in_both_stages(NOISY)), DECISIONS)

    assert alarms(findings) > 5 * DECISIONS * PLAN.false_alarm_rate


@pytest.mark.parametrize("noise", [normal, heavy_tailed])
def test_a_suspicion_that_does_not_come_back_is_inconclusive(noise: Noise) -> None:
    """What only screening saw, here 4 % by construction, is confirmed with a probability of 1 % at most."""
    machine = SimulatedMachine(change=LATER_CHANGE, scatter=in_both_stages(NOISY), noise=noise)
    findings = decide(machine, DECISIONS)
    suspects = [finding for finding in findings if finding.p_value is not None]

    assert len(suspects) > DECISIONS / 2
    assert alarms(findings) <= MOST_ALARMS
    assert {finding.verdict for finding in suspects if not finding.confirmed} == {Verdict.INCONCLUSIVE}


def test_confirming_with_the_restarts_of_screening_would_raise_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The independence of the second measurement is what holds the rate: both together confirm what is not there."""
    monkeypatch.setattr(
        decision,
        "confirmation_p_value",
        lambda screening, confirmation: statistics.p_value([*screening, *confirmation], 0.0, "greater"),
    )
    machine = SimulatedMachine(change=LATER_CHANGE, scatter=in_both_stages(NOISY))

    assert alarms(decide(machine, DECISIONS)) > MOST_ALARMS


def alarming_comparisons(count: int) -> int:
    """Of so many comparisons of 20 cases, all suspected without reason, those with any alarm."""
    machine = SimulatedMachine(change=LATER_CHANGE, scatter=in_both_stages(QUIET))
    found = [compare(machine, Plan(seed=seed), CASES) for seed in range(count)]
    return sum(alarms(list(findings.values())) > 0 for findings in found)


def test_the_rate_holds_for_all_cases_of_a_comparison() -> None:
    """Of 120 comparisons with 20 suspects each about one has a false alarm; 7 or more have a probability of 0.03 %."""
    assert alarming_comparisons(120) <= 6


def test_the_rate_of_a_comparison_needs_the_adjustment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it one of 20 suspects is confirmed in every sixth comparison: 1 - 0.99 ** 20 is 18 %."""
    monkeypatch.setattr(statistics, "adjusted_p_values", list)

    assert alarming_comparisons(120) > 6


@pytest.mark.parametrize(("change", "verdict"), [(0.02, Verdict.REGRESSED), (-0.02, Verdict.IMPROVED)])
def test_two_percent_are_found(change: float, verdict: Verdict) -> None:
    """In 98 % of decisions or more where restarts scatter by 0.5 %, and never with the wrong sign."""
    verdicts = Counter(f.verdict for f in decide(SimulatedMachine(change=in_both_stages(change)), 300))

    assert verdicts[verdict] >= 0.98 * 300
    assert verdicts[Verdict.REGRESSED] + verdicts[Verdict.IMPROVED] == verdicts[verdict]


@pytest.mark.parametrize("scatter", [0.0025, 0.005, 0.01])
def test_unchanged_is_not_said_of_a_change_at_the_margin(scatter: float) -> None:
    """The margin itself is called unchanged in at most 5 % of decisions, all looks together; twice the margin never."""
    at_margin = decide(SimulatedMachine(change=in_both_stages(PLAN.margin), scatter=in_both_stages(scatter)), 400)
    beyond = decide(SimulatedMachine(change=in_both_stages(2 * PLAN.margin), scatter=in_both_stages(scatter)), 200)

    assert sum(finding.verdict is Verdict.UNCHANGED for finding in at_margin) <= 0.05 * 400
    assert not any(finding.verdict is Verdict.UNCHANGED for finding in beyond)


def test_identical_code_on_a_quiet_machine_is_unchanged() -> None:
    """A finding and not an absence: in 95 % of decisions or more where restarts scatter by half the margin."""
    findings = decide(SimulatedMachine(scatter=in_both_stages(QUIET)), 300)

    assert sum(finding.verdict is Verdict.UNCHANGED for finding in findings) >= 0.95 * 300


@pytest.mark.parametrize("change", [0.0, 0.01, 0.02, 0.05])
def test_the_interval_covers_the_change(change: float) -> None:
    """In 93 to 97.5 % of decisions, although stopping depends on what was seen."""
    findings = decide(SimulatedMachine(change=in_both_stages(change), scatter=in_both_stages(0.01)), 1000)
    hits = sum(f.interval is not None and f.interval.low <= change <= f.interval.high for f in findings)

    assert 0.93 <= hits / 1000 <= 0.975


@pytest.mark.parametrize("seconds", [5.0, 10.0, 40.0])
@pytest.mark.parametrize("scatter", [QUIET, NOISY])
def test_the_detectable_change_is_found_as_often_as_it_says(scatter: float, seconds: float) -> None:
    """With 80 % probability, give or take what the formula leaves out: that there are several looks."""
    plan = replace(PLAN, seconds_per_case=seconds)
    machine = SimulatedMachine(scatter=in_both_stages(scatter))
    known = [scatter * sign for sign in (1, -1) for _ in range(50)]
    change = decision.minimum_detectable_change(known, int(seconds / machine.wall_s), plan)
    findings = decide(replace(machine, change=in_both_stages(change)), 300, {"seconds_per_case": seconds})

    assert 0.7 <= alarms(findings) / 300 <= 0.95


# Time and looks


@pytest.mark.parametrize("change", [0.0, 0.011, 0.03])
@pytest.mark.parametrize("wall_s", [0.2, 0.4, 0.8])
def test_the_time_of_a_case_is_kept(change: float, wall_s: float) -> None:
    """Never more than its seconds, unless even the least number of restarts takes longer."""
    machine = SimulatedMachine(change=in_both_stages(change), scatter=in_both_stages(NOISY), wall_s=wall_s)
    least = PLAN.looks[0] + PLAN.min_confirmation_restarts
    for seed in range(30):
        known = engine.compare([CASE], Plan(seed=seed), machine.measure)
        assert known[CASE].spent_s <= max(PLAN.seconds_per_case, least * wall_s) + 1e-9
        screening_s = known[CASE].count(Stage.SCREENING) * wall_s
        assert screening_s <= max(SCREENING_SHARE * PLAN.seconds_per_case, PLAN.looks[0] * wall_s) + 1e-9


def test_screening_looks_only_when_it_was_planned_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look more would be an error more; after the last one it ends, whatever time is left."""
    seen: list[int] = []

    def look(values: list[float], _: Plan) -> Outlook:
        seen.append(len(values))
        return Outlook.OPEN

    monkeypatch.setattr(decision, "screening_outlook", look)
    machine = SimulatedMachine()
    known = engine.compare([CASE], replace(PLAN, seconds_per_case=1e6), machine.measure)

    assert seen == list(PLAN.looks)
    assert known[CASE].count(Stage.SCREENING) == PLAN.looks[-1]


def test_a_round_that_is_slower_than_expected_does_not_strand_half_a_look() -> None:
    """What was begun for a look is measured up to it."""
    slow = SimulatedMachine(scatter=in_both_stages(NOISY), wall_s=8.0)
    fast = SimulatedMachine(scatter=in_both_stages(NOISY), wall_s=0.1)

    def measure(name: str, stage: Stage, seed: int) -> Restart:
        return (fast if len(fast.calls) < 7 else slow).measure(name, stage, seed)

    known = engine.compare([CASE], PLAN, measure)

    assert known[CASE].count(Stage.SCREENING) in PLAN.looks
    assert known[CASE].count(Stage.SCREENING) > PLAN.looks[0]


def test_confirmation_starts_when_all_cases_are_screened() -> None:
    """So that the two measurements of a case lie apart in time."""
    machine = SimulatedMachine(change=in_both_stages(0.05))
    compare(machine, cases=CASES)
    stages = [stage for _, stage, _ in machine.calls]

    assert stages == sorted(stages, key=list(Stage).index)
    assert set(stages) == set(Stage)


def test_a_round_takes_each_open_case_once_in_random_order() -> None:
    """A disturbance touches one restart of many cases, and no case is always first."""
    machine = SimulatedMachine()
    compare(machine, cases=CASES)
    names = [name for name, _, _ in machine.calls]
    rounds = [names[start : start + len(CASES)] for start in range(0, PLAN.looks[0] * len(CASES), len(CASES))]

    assert all(sorted(each) == sorted(CASES) for each in rounds)
    assert len({tuple(each) for each in rounds}) == len(rounds)


# Seeds, resuming, interruptions, failures


def test_seeds_do_not_depend_on_what_else_is_measured() -> None:
    """The same plan, case and restart have the same seed; others have others."""
    alone, together, other = SimulatedMachine(), SimulatedMachine(), SimulatedMachine()
    compare(alone, cases=CASES[:1])
    compare(together, cases=CASES)
    compare(other, Plan(seed=1), CASES[:1])
    seeds = [seed for _, _, seed in together.calls]

    assert [seed for name, _, seed in together.calls if name == CASES[0]] == [seed for *_, seed in alone.calls]
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & {seed for *_, seed in other.calls}


@pytest.mark.parametrize("kept", [0, 1, 6, 8, 9, 12, 15, 20])
@pytest.mark.parametrize(("change", "scatter"), [(0.0, NOISY), (0.03, 0.02), (0.0, QUIET)])
def test_resuming_gives_what_would_have_come(kept: int, change: float, scatter: float) -> None:
    """The restarts and the finding are those of the uninterrupted comparison, wherever it was interrupted."""
    machine = SimulatedMachine(change=in_both_stages(change), scatter=in_both_stages(scatter))
    whole = engine.compare([CASE], PLAN, machine.measure)
    earlier = {CASE: whole[CASE].restarts[:kept]}
    resumed = engine.compare([CASE], PLAN, machine.measure, earlier=earlier)

    assert resumed[CASE].restarts == whole[CASE].restarts
    assert engine.findings(resumed, PLAN) == engine.findings(whole, PLAN)


def test_a_finished_comparison_measures_nothing_when_resumed() -> None:
    """Cases that are decided stay as they are."""
    machine = SimulatedMachine(change=in_both_stages(0.03))
    whole = engine.compare(CASES, PLAN, machine.measure)
    again = SimulatedMachine()
    engine.compare(CASES, PLAN, again.measure, earlier={name: found.restarts for name, found in whole.items()})

    assert again.calls == []


def interrupted_after(count: int, machine: SimulatedMachine) -> tuple[dict[str, Progress], list[int]]:
    """What the listener had been told when Ctrl-C came in restart ``count`` + 1."""
    told: dict[str, Progress] = {}
    counts: list[int] = []

    def measure(name: str, stage: Stage, seed: int) -> Restart:
        if len(machine.calls) == count:
            raise KeyboardInterrupt
        return machine.measure(name, stage, seed)

    def listen(name: str, progress: Progress) -> None:
        told[name] = progress
        counts.append(len(progress.restarts))

    with pytest.raises(KeyboardInterrupt):
        engine.compare([CASE], PLAN, measure, listener=listen)
    return told, counts


@pytest.mark.parametrize(
    ("count", "change", "reason"),
    [
        (3, 0.0, "interrupted after 3 restarts"),
        (8, 0.0, "interrupted after 8 restarts"),
        (8, 0.05, "a first measurement saw a change; interrupted before a second one could confirm it"),
    ],
)
def test_an_interruption_leaves_what_was_measured(count: int, change: float, reason: str) -> None:
    """Ctrl-C goes on up, every restart had been told, and what follows is inconclusive and says why."""
    machine = SimulatedMachine(change=in_both_stages(change), scatter=in_both_stages(0.012))
    told, counts = interrupted_after(count, machine)
    finding = engine.findings(told, PLAN)[CASE]

    assert counts == list(range(1, count + 1))
    assert (finding.verdict, finding.reason) == (Verdict.INCONCLUSIVE, reason)


@pytest.mark.parametrize("message", ["no such kernel", ""])
def test_a_failure_ends_its_case_alone(message: str) -> None:
    """The others are decided; even an error without words ends the case, instead of being tried for ever."""
    machine = SimulatedMachine()
    tries = Counter[str]()

    def measure(name: str, stage: Stage, seed: int) -> Restart:
        tries[name] += 1
        if name == CASES[1]:
            raise RoofgateError(message)
        return machine.measure(name, stage, seed)

    heard: list[str] = []
    listen = lambda name, progress: heard.append(name) if progress.failure else None  # noqa: E731
    findings = engine.findings(engine.compare(CASES[:3], PLAN, measure, listener=listen), PLAN)

    assert findings[CASES[1]] == Finding(verdict=Verdict.NOT_RUN, reason=message or "RoofgateError")
    assert {findings[name].verdict for name in (CASES[0], CASES[2])} == {Verdict.UNCHANGED}
    assert (tries[CASES[1]], heard) == (1, [CASES[1]])


def test_a_failure_during_confirmation_is_no_verdict() -> None:
    """Half a confirmation confirms nothing, and the rest of the comparison is judged without it."""
    machine = SimulatedMachine(change=in_both_stages(0.05))

    def measure(name: str, stage: Stage, seed: int) -> Restart:
        if name == CASES[0] and stage is Stage.CONFIRMATION:
            raise RoofgateError("lost the machine")
        return machine.measure(name, stage, seed)

    findings = engine.findings(engine.compare(CASES[:2], PLAN, measure), PLAN)

    assert findings[CASES[0]].verdict is Verdict.NOT_RUN
    assert findings[CASES[1]].verdict is Verdict.REGRESSED


def test_the_listener_sees_every_restart_and_the_outlook_it_led_to() -> None:
    """It is told right after each, with the case's progress so far."""
    seen: list[tuple[int, Outlook]] = []
    listen = lambda _, progress: seen.append((len(progress.restarts), progress.outlook))  # noqa: E731
    known = engine.compare([CASE], PLAN, SimulatedMachine(change=in_both_stages(0.05)).measure, listener=listen)

    assert [count for count, _ in seen] == list(range(1, len(known[CASE].restarts) + 1))
    assert seen[PLAN.looks[0] - 2][1] is Outlook.OPEN
    assert seen[PLAN.looks[0] - 1][1] is Outlook.SUSPECT


def test_a_change_that_both_stages_see_is_reported_with_its_size() -> None:
    """The change is that of all restarts together."""
    finding = compare(SimulatedMachine(change=in_both_stages(0.05), scatter=in_both_stages(0.0)))[CASE]

    assert (finding.verdict, finding.confirmed) == (Verdict.REGRESSED, True)
    assert finding.change == pytest.approx(0.05)
    assert math.isclose(finding.mde or 0.0, PLAN.margin)
