"""Rules: each limit breached, kept, undecided and not run; and the verdict over all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perf.compare import compare_captures
from perf.findings import Comparison, GateVerdict, KernelAssessment, PeerRatio, RuleResult
from perf.gate import Findings, evaluate, unmatched_rules
from perf.model import Interval, Layer, Metric, Verdict
from perf.rules import Limit, Maximum, MaximumChange, Minimum, MinimumRatio, MinimumRooflineFraction, Rule, Thresholds
from tests.builders import Shape, build_assessment, build_capture

ASSESSMENT = build_assessment(Shape(cases=1, history=0, kernels=0))
CASE = ASSESSMENT.cases[0]
KERNEL = "attention_fwd<bf16, 64, causal>"


def rule(metric: Metric, limit: Limit, **changes: object) -> Rule:
    """A rule over everything."""
    made = Rule(name="the-rule", metric=metric, subjects=("*",), targets=("*",), limit=limit, where="t.yml:3")
    return replace(made, **changes)  # type: ignore[arg-type]


def findings(**changes: object) -> Findings:
    """One measured case with median 1 s within 0.9 to 1.1 s, no kernels, no failures."""
    own = replace(CASE.own, samples_s=(1.0,))
    case = replace(CASE, own=own, interval_s=Interval(low=0.9, high=1.1), throughput_flop_per_s=100.0)
    made = Findings(cases=(case,), kernels=(), instruction_sets=frozenset({"avx2"}), suite="smoke", failures=())
    return replace(made, **changes)  # type: ignore[arg-type]


def judge(one: Rule, found: Findings) -> RuleResult:
    """The single result of a single rule."""
    (result,) = evaluate(Thresholds(margin=0.03, rules=(one,)), found).results
    return result


def with_comparison(**changes: object) -> Findings:
    """The case's change of time is +20 %, 15 % to 25 %, found a regression."""
    comparison = Comparison(
        subject=CASE.case.name,
        target="cpu",
        metric=Metric.TIME,
        baseline=1.0,
        candidate=1.2,
        change=0.2,
        interval=Interval(low=0.15, high=0.25),
        verdict=Verdict.REGRESSED,
        reason="why",
    )
    case = replace(findings().cases[0], comparison=replace(comparison, **changes))  # type: ignore[arg-type]
    return findings(cases=(case,))


@pytest.mark.parametrize(
    ("metric", "limit", "expected"),
    [
        (Metric.TIME, Maximum(value=0.89), Verdict.REGRESSED),
        (Metric.TIME, Maximum(value=1.0), Verdict.INCONCLUSIVE),
        (Metric.TIME, Maximum(value=1.1), Verdict.UNCHANGED),
        (Metric.TIME, Minimum(value=1.2), Verdict.REGRESSED),
        (Metric.TIME, Minimum(value=0.9), Verdict.UNCHANGED),
        (Metric.THROUGHPUT, Minimum(value=112.0), Verdict.REGRESSED),
        (Metric.THROUGHPUT, Minimum(value=100.0), Verdict.INCONCLUSIVE),
        (Metric.THROUGHPUT, Minimum(value=90.0), Verdict.UNCHANGED),
    ],
)
def test_timed_limits_look_at_the_whole_interval(metric: Metric, limit: Limit, expected: Verdict) -> None:
    """Beyond, across and within."""
    result = judge(rule(metric, limit), findings())

    assert result.verdict is expected
    assert result.layer is Layer.TIMED


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.6, Verdict.REGRESSED), (0.5, Verdict.INCONCLUSIVE), (0.4, Verdict.UNCHANGED)],
)
def test_roofline_fraction(fraction: float, expected: Verdict) -> None:
    """Half of the roofline, give or take a tenth."""
    case = findings().cases[0]
    assert case.roofline is not None
    case = replace(case, roofline=replace(case.roofline, fraction=0.5))
    limit = MinimumRooflineFraction(fraction=fraction)

    assert judge(rule(Metric.ROOFLINE_FRACTION, limit), findings(cases=(case,))).verdict is expected


def test_without_ceilings_a_roofline_rule_is_not_run() -> None:
    """No ceiling, no fraction."""
    case = replace(findings().cases[0], roofline=None)
    result = judge(rule(Metric.ROOFLINE_FRACTION, MinimumRooflineFraction(fraction=0.1)), findings(cases=(case,)))

    assert (result.verdict, result.value) == (Verdict.NOT_RUN, None)


@pytest.mark.parametrize(
    ("at_least", "expected"), [(4.5, Verdict.REGRESSED), (4.0, Verdict.INCONCLUSIVE), (3.5, Verdict.UNCHANGED)]
)
def test_peer_ratio(at_least: float, expected: Verdict) -> None:
    """Four times as fast, 3.6 to 4.4."""
    ratio = PeerRatio(peer="torch_flash", ratio=4.0, interval=Interval(low=3.6, high=4.4))
    case = replace(findings().cases[0], ratios=(ratio,))
    limit = MinimumRatio(peer="torch_flash", at_least=at_least)
    result = judge(rule(Metric.PEER_RATIO, limit), findings(cases=(case,)))

    assert (result.verdict, result.value, result.limit) == (expected, 4.0, at_least)
    assert "torch_flash" in result.reason


def test_a_peer_that_was_not_measured_is_not_run() -> None:
    """Never taken for beaten."""
    result = judge(rule(Metric.PEER_RATIO, MinimumRatio(peer="torch_cudnn", at_least=1.0)), findings())

    assert (result.verdict, result.reason) == (Verdict.NOT_RUN, "torch_cudnn was not measured on this case")


@pytest.mark.parametrize(
    ("fraction", "changes", "expected"),
    [
        (0.1, {}, Verdict.REGRESSED),
        (0.2, {}, Verdict.INCONCLUSIVE),
        (0.3, {}, Verdict.UNCHANGED),
        # Beyond the limit as one case, but not a finding among all cases judged.
        (0.1, {"verdict": Verdict.INCONCLUSIVE}, Verdict.INCONCLUSIVE),
        (0.1, {"verdict": Verdict.IDENTICAL}, Verdict.UNCHANGED),
        (0.1, {"verdict": Verdict.NOT_RUN}, Verdict.NOT_RUN),
        (0.1, {"verdict": Verdict.INCONCLUSIVE, "interval": None}, Verdict.INCONCLUSIVE),
        (
            0.1,
            {"change": -0.2, "interval": Interval(low=-0.3, high=-0.1), "verdict": Verdict.IMPROVED},
            Verdict.UNCHANGED,
        ),
        (0.1, {"interval": Interval(low=0.15, high=0.25, confidence=0.75)}, Verdict.INCONCLUSIVE),
    ],
)
def test_change_of_time(fraction: float, changes: dict[str, object], expected: Verdict) -> None:
    """+20 %, 15 % to 25 %, against the allowed fraction."""
    result = judge(rule(Metric.TIME, MaximumChange(fraction=fraction)), with_comparison(**changes))

    assert result.verdict is expected
    assert result.relative


def paired_change(**changes: object) -> Comparison:
    """The same case compared in pairs: +4 %, 3 % to 5 %, confirmed."""
    change = Comparison(
        subject=CASE.case.name,
        target="cpu",
        metric=Metric.TIME,
        baseline=1.0,
        candidate=1.04,
        change=0.04,
        interval=Interval(low=0.03, high=0.05),
        verdict=Verdict.REGRESSED,
        reason="a second measurement confirmed the first",
    )
    return replace(change, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fraction", "changes", "expected"),
    [
        (0.02, {}, Verdict.REGRESSED),
        (0.04, {}, Verdict.INCONCLUSIVE),
        (0.05, {}, Verdict.UNCHANGED),
        # Beyond the limit, but no second measurement confirmed it.
        (0.02, {"verdict": Verdict.INCONCLUSIVE}, Verdict.INCONCLUSIVE),
        (0.02, {"verdict": Verdict.IDENTICAL, "interval": None}, Verdict.UNCHANGED),
        (0.05, {"verdict": Verdict.INCONCLUSIVE}, Verdict.UNCHANGED),
        (0.05, {"verdict": Verdict.INCONCLUSIVE, "interval": None}, Verdict.INCONCLUSIVE),
        (0.02, {"verdict": Verdict.NOT_RUN, "change": None, "interval": None}, Verdict.NOT_RUN),
    ],
)
def test_a_paired_comparison_judges_in_place_of_two_runs(
    fraction: float, changes: dict[str, object], expected: Verdict
) -> None:
    """Between two runs the case is 15 % to 25 % slower, which breaches every one of these limits."""
    found = replace(with_comparison(), paired=(paired_change(**changes),))
    result = judge(rule(Metric.TIME, MaximumChange(fraction=fraction)), found)

    assert result.verdict is expected
    assert expected not in (Verdict.INCONCLUSIVE, Verdict.NOT_RUN) or str(paired_change().reason) in result.reason


def test_pairs_have_a_limit_of_their_own() -> None:
    """+4 % in pairs breaches 2 %, though two runs would be allowed a quarter; without it, the same limit holds."""
    found = replace(with_comparison(), paired=(paired_change(),))
    strict = judge(rule(Metric.TIME, MaximumChange(fraction=0.25, in_pairs=0.02)), found)
    alike = judge(rule(Metric.TIME, MaximumChange(fraction=0.25)), found)

    assert (strict.verdict, strict.limit) == (Verdict.REGRESSED, 0.02)
    assert (alike.verdict, alike.limit) == (Verdict.UNCHANGED, 0.25)
    assert judge(rule(Metric.TIME, MaximumChange(fraction=0.1, in_pairs=0.9)), with_comparison()).limit == 0.1


def test_a_case_that_was_not_compared_in_pairs_keeps_the_rule_of_two_runs() -> None:
    """Each case by the best evidence there is of it, and one that was compared but not measured is judged too."""
    found = replace(with_comparison(), paired=(paired_change(subject="another case"),))
    limit = rule(Metric.TIME, MaximumChange(fraction=0.1))
    results = evaluate(Thresholds(margin=0.03, rules=(limit,)), found).results

    assert {result.subject: result.verdict for result in results} == {
        CASE.case.name: Verdict.REGRESSED,
        "another case": Verdict.UNCHANGED,
    }


def test_other_timed_limits_need_a_run() -> None:
    """A comparison says nothing of throughput or peers."""
    compared = findings(cases=(), paired=(paired_change(),))
    result = judge(rule(Metric.TIME, Maximum(value=2)), compared)

    assert (result.verdict, result.reason) == (
        Verdict.NOT_RUN,
        "no case was measured, only compared; run: nox -s bench",
    )


def kernel_findings(metric: Metric, before: float | None, now: float) -> Findings:
    """One kernel with one counter and its comparison."""
    verdict = Verdict.NOT_RUN if before is None else Verdict.REGRESSED if now > before else Verdict.IMPROVED
    comparison = Comparison(
        subject=KERNEL,
        target="sm_80",
        metric=metric,
        baseline=before,
        candidate=now,
        change=now / before - 1 if before else (0.0 if before == now else None),
        interval=None,
        verdict=Verdict.UNCHANGED if before == now else verdict,
        reason="why",
    )
    capture = build_capture(KERNEL, "sm_80", counters={metric: now})
    return findings(kernels=(KernelAssessment(kernel=KERNEL, captures=(capture,), comparisons=(comparison,)),))


@pytest.mark.parametrize(
    ("metric", "limit", "before", "now", "expected"),
    [
        (Metric.SPILL_BYTES, Maximum(value=0), None, 0, Verdict.UNCHANGED),
        (Metric.SPILL_BYTES, Maximum(value=0), None, 1, Verdict.REGRESSED),
        (Metric.OCCUPANCY, Minimum(value=0.25), None, 0.2, Verdict.REGRESSED),
        (Metric.REGISTERS, MaximumChange(fraction=0), 100, 101, Verdict.REGRESSED),
        (Metric.REGISTERS, MaximumChange(fraction=0), 100, 100, Verdict.UNCHANGED),
        (Metric.REGISTERS, MaximumChange(fraction=0), 100, 90, Verdict.UNCHANGED),
        (Metric.REGISTERS, MaximumChange(fraction=0.05), 100, 104, Verdict.UNCHANGED),
        (Metric.REGISTERS, MaximumChange(fraction=0.05), 100, 106, Verdict.REGRESSED),
        (Metric.REGISTERS, MaximumChange(fraction=0), None, 100, Verdict.NOT_RUN),
        (Metric.SPILL_BYTES, MaximumChange(fraction=0.5), 0, 8, Verdict.REGRESSED),
        (Metric.SPILL_BYTES, MaximumChange(fraction=0.5), 0, 0, Verdict.UNCHANGED),
        (Metric.OCCUPANCY, MaximumChange(fraction=0), 0.25, 0.2, Verdict.REGRESSED),
        (Metric.OCCUPANCY, MaximumChange(fraction=0), 0.25, 0.5, Verdict.UNCHANGED),
        (Metric.SASS_TENSOR, MaximumChange(fraction=0.1), 100, 80, Verdict.REGRESSED),
        (Metric.SASS_TENSOR, MaximumChange(fraction=0.1), 100, 120, Verdict.REGRESSED),
    ],
)
def test_static_limits_are_exact(
    metric: Metric, limit: Limit, before: float | None, now: float, expected: Verdict
) -> None:
    """Both directions of every kind of metric; an unpinned figure is not run."""
    assert judge(rule(metric, limit), kernel_findings(metric, before, now)).verdict is expected


def test_a_rule_that_needs_an_instruction_set_is_not_run_without_it() -> None:
    """With the reason."""
    needing = rule(Metric.TIME, Maximum(value=0.1), requires=("avx512_bf16",))

    assert judge(needing, findings()).reason == "needs avx512_bf16, which this machine lacks"
    assert judge(needing, findings(instruction_sets=frozenset({"avx512_bf16"}))).verdict is Verdict.REGRESSED


def test_a_rule_is_not_run_on_machines_that_it_leaves_out() -> None:
    """With the reason; elsewhere it applies."""
    sparing = rule(Metric.TIME, Maximum(value=0.1), unless=("amx_bf16",))
    reason = "not for machines with amx_bf16, which this one has"

    assert judge(sparing, findings(instruction_sets=frozenset({"amx_bf16"}))).reason == reason
    assert judge(sparing, findings()).verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("one", "found", "reason"),
    [
        (
            rule(Metric.TIME, Maximum(value=1), subjects=("other*",)),
            findings(),
            "no such case was measured in suite smoke",
        ),
        (
            rule(Metric.TIME, Maximum(value=1), targets=("h200",)),
            findings(),
            "no such case was measured in suite smoke",
        ),
        (rule(Metric.TIME, Maximum(value=1)), findings(cases=(), suite=""), "nothing was measured"),
        (rule(Metric.REGISTERS, Maximum(value=1)), findings(), "the static layer captured no kernel"),
        (
            rule(Metric.REGISTERS, Maximum(value=1), targets=("sm_90a",)),
            kernel_findings(Metric.REGISTERS, 1, 1),
            "no such kernel was captured",
        ),
    ],
)
def test_a_rule_without_a_subject_is_not_run(one: Rule, found: Findings, reason: str) -> None:
    """It says why, and names what it looked for."""
    result = judge(one, found)

    assert (result.verdict, result.reason, result.subject) == (Verdict.NOT_RUN, reason, one.subjects[0])


FAST = rule(Metric.TIME, Maximum(value=2.0), name="kept")
SLOW = rule(Metric.TIME, Maximum(value=0.5), name="breached")
UNSURE = rule(Metric.TIME, Maximum(value=1.0), name="unsure")
ABSENT = rule(Metric.REGISTERS, Maximum(value=1), name="absent")


@pytest.mark.parametrize(
    ("rules", "failures", "expected"),
    [
        ((FAST,), (), GateVerdict.PASS),
        ((FAST, ABSENT), (), GateVerdict.PASS),
        ((FAST, UNSURE), (), GateVerdict.NO_VERDICT),
        ((FAST, UNSURE, SLOW), (), GateVerdict.REGRESSION),
        ((ABSENT,), (), GateVerdict.NO_VERDICT),
        ((), (), GateVerdict.NO_VERDICT),
        ((FAST,), ("step build failed",), GateVerdict.ERROR),
        ((SLOW,), ("step build failed",), GateVerdict.ERROR),
        ((), ("no timed result",), GateVerdict.ERROR),
    ],
)
def test_the_verdict_over_all_rules(rules: tuple[Rule, ...], failures: tuple[str, ...], expected: GateVerdict) -> None:
    """The worst wins, nothing judged is no verdict, and a failed step is never a pass."""
    gate = evaluate(Thresholds(margin=0.03, rules=rules), findings(failures=failures))

    assert gate.verdict is expected
    assert gate.reason


def test_the_reason_names_the_breach_and_counts_the_rest() -> None:
    """Three at most, with case, figure, interval and limit."""
    rules = tuple(replace(SLOW, name=f"slow-{index}") for index in range(5))
    reason = evaluate(Thresholds(margin=0.03, rules=rules), findings()).reason

    assert reason.startswith("5 of 5 checks breach their limit: slow-0 (")
    assert "1.000 s (900.0 ms to 1.100 s) breaches the maximum of 500.0 ms" in reason
    assert reason.endswith("and 2 more")


def test_a_rule_that_can_match_nothing_is_named_with_its_line() -> None:
    """A slip in a glob must not pass for a kept limit."""
    slip = rule(Metric.TIME, Maximum(value=1), subjects=("atention*",))
    thresholds = Thresholds(margin=0.0, rules=(slip, FAST))
    (complaint,) = unmatched_rules(thresholds, [("attention_fwd", "cpu")], [])

    assert complaint.startswith("t.yml:3: rule 'the-rule' matches no case of any suite: atention* on *")


def test_nothing_is_said_of_kernels_while_none_is_known() -> None:
    """Without captures and pins a kernel glob cannot be judged; with them it is."""
    thresholds = Thresholds(margin=0.0, rules=(rule(Metric.REGISTERS, Maximum(value=1), subjects=("x*",)),))

    assert unmatched_rules(thresholds, [], []) == ()
    assert len(unmatched_rules(thresholds, [], [("attention", "sm_80")])) == 1


def hardware_findings(metric: Metric, before: float, now: float) -> Findings:
    """A kernel with one hardware counter, and the same of its baseline."""
    pin = replace(build_capture(KERNEL, "sm_90"), layer=Layer.HARDWARE, counters={metric: before})
    capture = replace(pin, counters={metric: now})
    kernel = KernelAssessment(kernel=KERNEL, captures=(capture,), comparisons=compare_captures(capture, pin))
    return findings(kernels=(kernel,))


@pytest.mark.parametrize(
    ("metric", "now", "expected"),
    [
        (Metric.HW_INSTRUCTIONS, 1001.0, Verdict.REGRESSED),
        (Metric.HW_INSTRUCTIONS, 1000.0, Verdict.UNCHANGED),
        (Metric.HW_TENSOR, 999.0, Verdict.REGRESSED),  # may change neither way
        (Metric.HW_DRAM_BYTES, 1019.0, Verdict.UNCHANGED),  # identical launches differ by as much
        (Metric.HW_DRAM_BYTES, 1021.0, Verdict.REGRESSED),
        (Metric.HW_DURATION, 1030.0, Verdict.UNCHANGED),
        (Metric.HW_DURATION, 2000.0, Verdict.INCONCLUSIVE),  # one capture is no measurement of time
    ],
)
def test_a_hardware_counter_may_change_by_what_identical_launches_do(
    metric: Metric, now: float, expected: Verdict
) -> None:
    """max_change: 0 means the tolerance of the counter's class."""
    result = judge(rule(metric, MaximumChange(fraction=0.0)), hardware_findings(metric, 1000.0, now))

    assert (result.verdict, result.layer) == (expected, Layer.HARDWARE)


def test_a_hardware_counter_has_limits_of_its_own_and_is_not_run_without_a_capture() -> None:
    """A maximum needs no baseline; without captures the rule says why it did not run."""
    limit = rule(Metric.HW_LOCAL_INSTRUCTIONS, Maximum(value=0))

    assert judge(limit, hardware_findings(Metric.HW_LOCAL_INSTRUCTIONS, 0.0, 4.0)).verdict is Verdict.REGRESSED
    absent = judge(limit, findings())
    assert (absent.verdict, absent.reason) == (Verdict.NOT_RUN, "the hardware layer captured no kernel")
