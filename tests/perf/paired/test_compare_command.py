"""The command line of ``python -m perf compare``: options, mistakes and exit codes."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from kernels.errors import EXIT_ERROR, EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from perf.__main__ import main
from perf.model import Verdict
from perf.paired.compare import add_arguments, exit_code, make_plan
from perf.paired.model import Finding, PairedComparison, Plan
from tests.comparison_builders import DISTURBED, QUIET, build_paired
from tests.perf.paired.planned_builds import build_library, build_side


def options(*arguments: str) -> argparse.Namespace:
    """Parsed as the command does."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["main", *arguments])


def concluded(*verdicts: Verdict, isa: str = "avx512") -> PairedComparison:
    """A comparison with these verdicts."""
    paired = build_paired()
    cases = [
        replace(case, isa=isa, finding=Finding(verdict=verdict, reason="invented"))
        for case, verdict in zip(paired.cases, verdicts, strict=False)
    ]
    return replace(paired, cases=tuple(cases), controls=QUIET)


def test_the_default_plan_is_that_of_the_detectors_benchmark_with_the_policys_margin() -> None:
    """What was evaluated is what runs."""
    assert make_plan(options()) == Plan()


@pytest.mark.parametrize(("text", "margin"), [("2%", 0.02), ("0.5 %", 0.005), ("0.03", 0.03)])
def test_a_margin_is_a_percentage_or_a_fraction(text: str, margin: float) -> None:
    """As in ci/thresholds.yml."""
    assert make_plan(options("--margin", text)).margin == pytest.approx(margin)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--margin", "much"),
        ("--margin", "0"),
        ("--margin", "100%"),
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--threads", "0"),
        ("--controls", "-1"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(wrong: tuple[str, str]) -> None:
    """The message names option, value and expectation."""
    with pytest.raises(RoofgateError, match=rf"{wrong[0]} is .*expected"):
        make_plan(options(*wrong))


def test_more_time_means_more_looks() -> None:
    """Longer measurements would otherwise stop helping after the last look."""
    assert make_plan(options("--seconds", "60")).looks[:4] == Plan().looks
    assert len(make_plan(options("--seconds", "60")).looks) > len(Plan().looks)


def test_an_unknown_commit_is_an_error_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one message."""
    assert main(["compare", "no-such-commit"]) == EXIT_ERROR
    message = capsys.readouterr().err
    assert "no-such-commit" in message
    assert "Traceback" not in message


def test_a_selection_without_a_case_is_told_before_anything_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    """Two builds should not come before a typing mistake."""
    assert main(["compare", "HEAD", "-k", "no-such-case"]) == EXIT_ERROR
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((Verdict.IDENTICAL, Verdict.UNCHANGED, Verdict.IMPROVED), EXIT_PASS),
        ((Verdict.IDENTICAL, Verdict.REGRESSED, Verdict.INCONCLUSIVE), EXIT_REGRESSION),
        ((Verdict.IDENTICAL, Verdict.INCONCLUSIVE), EXIT_NO_VERDICT),
        ((Verdict.UNCHANGED, Verdict.NOT_RUN), EXIT_ERROR),  # it could have been timed here
    ],
)
def test_the_exit_code_is_that_of_the_worst_verdict(verdicts: tuple[Verdict, ...], code: int) -> None:
    """0 nothing slower, 1 slower, 2 something failed, 3 open."""
    side = build_side("side", library=build_library())

    assert exit_code(concluded(*verdicts), side, side) == code


def test_what_cannot_be_timed_here_is_no_error() -> None:
    """CUDA cases on a machine without a GPU do not fail the comparison of the others, but alone they are no verdict."""
    side = build_side("side", library=build_library())
    mixed = concluded(Verdict.NOT_RUN, Verdict.IDENTICAL, isa="")

    assert exit_code(mixed, side, side) == EXIT_PASS
    assert exit_code(concluded(Verdict.NOT_RUN, isa=""), side, side) == EXIT_NO_VERDICT


def test_moved_controls_leave_no_verdict() -> None:
    """A regression found while identical code moved is none."""
    side = build_side("side", library=build_library())

    assert exit_code(replace(concluded(Verdict.REGRESSED), controls=DISTURBED), side, side) == EXIT_NO_VERDICT


def test_a_side_that_did_not_build_is_an_error() -> None:
    """Even if what could be compared is unchanged."""
    side = build_side("side", library=build_library())

    assert exit_code(concluded(Verdict.UNCHANGED), replace(side, failure="does not compile"), side) == EXIT_ERROR
