"""Failures are told apart by what ncu said and did; only a whole report counts."""

from __future__ import annotations

import pytest

from profiles.ncu.command_line import NsightCompute
from profiles.ncu.failures import (
    Expectation,
    Failure,
    FailureKind,
    Outcome,
    UnreadableReport,
    available_kernels,
    judge,
    missing_ncu,
    old_ncu,
)
from profiles.ncu.model import Counter, Exactness, Launch, Report
from tests.profiles.ncu.fake_ncu import Play
from tests.profiles.ncu.recorded_failures import RECORDED

METRIC = "smsp__inst_executed.sum"
EXPECTED = Expectation(launches=2, metrics=(METRIC,))
NOT_THERE = UnreadableReport(reason="", exists=False)


def build_launch(number: int, *metrics: str, missing: dict[str, str] | None = None) -> Launch:
    """A launch with these counters."""
    counters = {name: Counter(name, 10.0, "", Exactness.EXACT) for name in metrics}
    return Launch(
        number=number,
        kernel="attention_fwd<bf16, 64>",
        function="attention_fwd",
        grid=None,
        block=None,
        device="",
        compute_capability="9.0",
        counters=counters,
        missing=missing or {},
    )


def build_report(*launches: Launch) -> Report:
    """A report of these launches."""
    return Report(path="x.ncu-rep", reader="a test", launches=launches)


WHOLE = build_report(build_launch(0, METRIC), build_launch(1, METRIC))


def outcome_of(play: Play) -> Outcome:
    """How such a run ends."""
    return Outcome(exit_code=-11 if play.crash else play.exit_code, seconds=1.0, log=play.log, output=play.output)


def failure_of(outcome: Outcome, report: Report | UnreadableReport = NOT_THERE) -> Failure:
    """The failure, which there must be."""
    failure = judge(outcome, report, EXPECTED)
    assert failure is not None
    return failure


MESSAGES = {name: (play, kind) for name, (play, kind) in RECORDED.items() if play.report == "absent"}


@pytest.mark.parametrize("name", MESSAGES)
def test_each_recorded_run_has_its_own_kind_cause_and_remedy(name: str) -> None:
    """Told apart by messages, whatever else the run said."""
    play, kind = MESSAGES[name]

    failure = failure_of(outcome_of(play))

    assert failure.kind is kind
    assert failure.cause
    assert failure.remedy


def test_a_whole_report_with_exit_code_zero_is_a_capture() -> None:
    """Nothing else is asked."""
    assert judge(outcome_of(Play()), WHOLE, EXPECTED) is None


def test_a_message_alone_is_no_failure() -> None:
    """Some versions name a lack that this capture does not feel: what counts is whether the values are there."""
    outcome = outcome_of(Play(log="==ERROR== Cuda driver is not compatible with Nsight Compute.\n"))

    assert judge(outcome, WHOLE, EXPECTED) is None


@pytest.mark.parametrize("exit_code", [1, 2, 255, -6])
def test_a_whole_report_does_not_excuse_an_exit_code(exit_code: int) -> None:
    """The program may have failed behind the range."""
    assert failure_of(outcome_of(Play(exit_code=exit_code)), WHOLE).kind is FailureKind.UNEXPLAINED


def test_what_the_program_writes_is_not_taken_for_words_of_ncu() -> None:
    """A workload may print anything."""
    words = "my ERR_NVGPUCTRPERM handler; a driver resource was unavailable\n"
    outcome = outcome_of(Play(output=f"{words}The application returned an error code (3).\n"))

    assert judge(outcome, WHOLE, EXPECTED) is None
    assert failure_of(outcome).kind is FailureKind.NO_REPORT


def test_a_failed_program_is_quoted() -> None:
    """Its exit code and its last words."""
    play, _ = RECORDED["program failed"]

    failure = failure_of(outcome_of(play))

    assert "exit code 2" in failure.cause
    assert failure.details == ("error: library 'cuda_sm_90a' is not built; run: nox -s build",)


def test_when_nothing_matched_the_launched_kernels_are_listed() -> None:
    """So that the filter can be mended."""
    play, _ = RECORDED["nothing matched"]

    failure = failure_of(outcome_of(play))

    assert failure.details == ("attention_fwd_kernel", "distribution_elementwise_grid_stride_kernel")
    assert "attention_fwd_kernel" in failure.cause


def test_listed_kernels_may_hold_commas_and_end_with_the_list() -> None:
    """C++ signatures, as ncu prints them."""
    text = (
        "==WARNING== No kernels were profiled.\nAvailable Kernels:\n"
        "1. gn_stats_kernel(const __half *, float *, int, int)\n 12. void f<(int)2, true>(T1::Params)\n\n3. not one\n"
    )

    assert available_kernels(text) == (
        "gn_stats_kernel(const __half *, float *, int, int)",
        "void f<(int)2, true>(T1::Params)",
    )
    assert available_kernels("==WARNING== No kernels were profiled.\n") == ()


def test_a_hang_says_how_far_it_got() -> None:
    """A kernel that stands at 0 % is another matter than a program that launches none."""
    log = '==PROF== Profiling "attention_fwd" - 0: 0%\n==WARNING== Launching the workload is taking more time\n'

    hanging = failure_of(Outcome(exit_code=None, seconds=300.0, log=log, output=""))
    silent = failure_of(Outcome(exit_code=None, seconds=300.0, log="", output=""))

    assert hanging.kind is silent.kind is FailureKind.HANG
    assert 'at "attention_fwd" - 0: 0%' in hanging.cause
    assert "before the first kernel" in silent.cause


def test_a_hang_after_a_refused_permission_is_a_lack_of_permission() -> None:
    """The first cause is the one to mend."""
    play, _ = RECORDED["no permission"]

    assert failure_of(Outcome(exit_code=None, seconds=1.0, log=play.log, output="")).kind is FailureKind.NO_PERMISSION


@pytest.mark.parametrize(
    ("launches", "kind"),
    [(1, FailureKind.WRONG_LAUNCHES), (3, FailureKind.WRONG_LAUNCHES), (0, FailureKind.WRONG_LAUNCHES)],
)
def test_the_number_of_launches_must_be_the_expected_one(launches: int, kind: FailureKind) -> None:
    """Too many means that something else ran inside the range."""
    report = build_report(*(build_launch(number, METRIC) for number in range(launches)))

    assert failure_of(outcome_of(Play()), report).kind is kind


def test_every_requested_value_must_be_in_every_launch() -> None:
    """A metric that only one launch lacks is missing; the reason is what the file says."""
    report = build_report(build_launch(0, METRIC), build_launch(1, missing={METRIC: "n/a"}))

    failure = failure_of(outcome_of(Play()), report)

    assert failure.kind is FailureKind.MISSING_VALUES
    assert failure.details == (f"{METRIC}: n/a",)


def test_many_missing_values_are_all_in_the_details() -> None:
    """The message names a few."""
    metrics = tuple(f"metric_{number}" for number in range(30))
    report = build_report(build_launch(0, METRIC))

    failure = judge(outcome_of(Play()), report, Expectation(launches=1, metrics=metrics))

    assert failure is not None
    assert len(failure.details) == 30
    assert "and 22 more" in failure.cause


def test_a_launch_without_counters_is_none() -> None:
    """Of whole sections no metric is known beforehand, but nothing at all is not a section."""
    failure = judge(outcome_of(Play()), build_report(build_launch(0)), Expectation(launches=1, metrics=()))

    assert failure is not None
    assert failure.kind is FailureKind.MISSING_VALUES


def test_a_damaged_report_keeps_the_readers_reason() -> None:
    """The file is there, which is another matter than none."""
    report = UnreadableReport(reason="x.ncu-rep: is empty", exists=True)

    failure = failure_of(outcome_of(Play()), report)

    assert failure.kind is FailureKind.DAMAGED_REPORT
    assert "x.ncu-rep: is empty" in failure.cause


def test_a_missing_and_an_old_ncu_say_what_is_needed() -> None:
    """And how to choose another."""
    old = old_ncu(NsightCompute(path="/opt/ncu", version=(2021, 2, 0)))

    assert "2021.2.0" in old.cause
    assert "2022.4.0" in old.cause
    assert "ROOFGATE_NCU" in old.remedy
    assert missing_ncu("nowhere").kind is FailureKind.NCU_MISSING
    assert "nowhere" in str(missing_ncu("nowhere"))
