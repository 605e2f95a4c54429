"""``python -m profiles metrics``: what is printed, and the exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

import pytest

from kernels.errors import RoofgateError
from profiles.ncu.metric_tiers import Chip, Source, Tier
from profiles.ncu.metrics_command import Request, add_arguments, read_request, run_metrics
from profiles.ncu.offline_check import Answer, CaptureCheck

Check = Callable[[Iterable[Chip], Sequence[Tier]], tuple[CaptureCheck, ...]]


def playing(unknown: tuple[str, ...]) -> Check:
    """A check in which every capture takes 3 passes, and lacks ``unknown``."""

    def check(chips: Iterable[Chip], tiers: Sequence[Tier]) -> tuple[CaptureCheck, ...]:
        return tuple(
            CaptureCheck(
                chip=chip,
                tier=tier,
                source=source,
                metrics=5,
                unchecked=("launch__grid_size",),
                sections=tier.sections[source],
                answer=Answer(unknown=unknown, passes=3),
            )
            for chip in chips
            for tier in tiers
            for source in Source
        )

    return check


def parse(*arguments: str) -> Request:
    """The request that the command line makes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_request(parser.parse_args(arguments))


def test_tiers_that_hold_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each capture, and what could not be checked."""
    monkeypatch.setattr("profiles.ncu.metrics_command.check_tiers", playing(()))

    assert run_metrics(parse("--chip", "GH100")) == 0
    output = capsys.readouterr().out
    assert output.count("GH100") == 8
    assert "3 + sections" in output
    assert "GA100" not in output
    assert "makes them itself: launch__grid_size." in output


def test_a_missing_metric_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and its name with chip and capture."""
    monkeypatch.setattr("profiles.ncu.metrics_command.check_tiers", playing(("gone.sum",)))

    assert run_metrics(parse("--chip", "GA100", "--tier", "gate")) == 1
    assert "GA100 lacks of gate-counters: gone.sum" in capsys.readouterr().err


def test_without_cupti_the_metrics_are_still_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No verdict, exit code 3, with the reason; each metric with its purpose and how far it repeats."""

    def missing(chips: Iterable[Chip], tiers: Sequence[Tier]) -> tuple[CaptureCheck, ...]:  # noqa: ARG001
        raise RoofgateError("no library; install it")

    monkeypatch.setattr("profiles.ncu.metrics_command.check_tiers", missing)

    assert run_metrics(parse("--tier", "diagnosis", "--chip", "GA100")) == 3
    output, errors = capsys.readouterr()
    assert errors == "not checked: no library; install it\n"
    (row,) = (line for line in output.splitlines() if " dram__bytes_read.sum " in line)
    assert "hardware" in row
    assert "small tolerance" in row
    assert "stalled_gmma" not in output  # which this chip does not have


@pytest.mark.parametrize("arguments", [("--chip", "GH200"), ("--tier", "gating")])
def test_unknown_names_are_refused(arguments: tuple[str, ...]) -> None:
    """With those that there are."""
    with pytest.raises(RoofgateError, match="expected one of"):
        run_metrics(parse(*arguments))
