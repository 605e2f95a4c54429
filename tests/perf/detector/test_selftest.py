"""The self-test: the canary is verified by count, and its outcome becomes an exit code."""

from __future__ import annotations

import pytest

from kernels.errors import EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.interface import Library
from kernels.library import host_library
from perf.detector import selftest
from perf.detector.selftest import Outcome, conclude, count_written_heads
from perf.detector.workloads import ATTENTION_THREADS, WORKLOADS
from perf.model import Verdict
from perf.paired.model import Finding


def outcome(canary: Verdict, identical: Verdict = Verdict.UNCHANGED) -> Outcome:
    """One canary and one comparison of identical code."""
    found = [Finding(verdict=verdict, reason="invented", mde=0.02) for verdict in (canary, identical)]
    return Outcome(workload="invented", canary=(found[0],), identical=(found[1],))


@pytest.mark.parametrize("name", ATTENTION_THREADS)
@pytest.mark.parametrize("slowdown", [0.01, 0.05])
def test_the_canary_really_does_that_much_more_work(name: str, slowdown: float) -> None:
    """Counted in heads that the kernel writes."""
    workload = WORKLOADS[name]

    counted = count_written_heads(workload, slowdown, host_library())

    assert counted == (workload.units, workload.slowed_units(slowdown))


def test_a_kernel_that_skips_the_extra_work_fails_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that does no more work would prove nothing, and the self-test says so."""
    monkeypatch.setattr(Library, "attention_fwd", lambda *_: None)

    with pytest.raises(RoofgateError, match="writes 0 heads"):
        selftest._counted(WORKLOADS["attention_small"], 0.05, host_library())


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (outcome(Verdict.REGRESSED), EXIT_PASS),
        (outcome(Verdict.REGRESSED, Verdict.INCONCLUSIVE), EXIT_PASS),
        (outcome(Verdict.UNCHANGED), EXIT_REGRESSION),
        (outcome(Verdict.IMPROVED), EXIT_REGRESSION),
        (outcome(Verdict.REGRESSED, Verdict.REGRESSED), EXIT_REGRESSION),
        (outcome(Verdict.REGRESSED, Verdict.IMPROVED), EXIT_REGRESSION),
        (outcome(Verdict.INCONCLUSIVE), EXIT_NO_VERDICT),
    ],
)
def test_a_missed_canary_or_a_false_alarm_breaks_the_alarm(found: Outcome, code: int) -> None:
    """Noise alone is no verdict."""
    assert conclude([outcome(Verdict.REGRESSED), found], 0.05)[0] == code


@pytest.mark.parametrize(
    ("arguments", "option"), [(["--slowdown", "0"], "--slowdown"), (["--repeats", "0"], "--repeats")]
)
def test_a_wrong_option_is_named(arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 before anything is measured."""
    from perf.__main__ import main

    assert main(["selftest", *arguments]) == 2
    assert option in capsys.readouterr().err
