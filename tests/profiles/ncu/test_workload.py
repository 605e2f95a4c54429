"""The program that Nsight Compute profiles: its launches, its range, and its words when it cannot run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kernels.errors import EXIT_ERROR
from profiles.ncu import workload

CASE = "attention_fwd-bf16-1x2x256x64-causal"


def test_the_case_and_the_launches_reach_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """The range is the one that ncu is told to include."""
    calls: list[tuple[str, int, str]] = []
    monkeypatch.setattr(
        workload, "launch_in_range", lambda case, launches, name: calls.append((case.name, launches, name))
    )

    assert workload.main(["--case", CASE, "--launches", "3"]) == 0

    assert calls == [(CASE, 3, "roofgate")]


def test_a_name_that_is_no_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """By exit code and message, which the capture quotes."""
    assert workload.main(["--case", "nonsense"]) == EXIT_ERROR

    assert "'nonsense' is no case" in capsys.readouterr().err


def test_without_a_gpu_it_says_so() -> None:
    """As a program, hidden from every GPU that there may be."""
    command = [sys.executable, "-m", "profiles.ncu.workload", "--case", CASE]

    done = subprocess.run(
        ["env", "CUDA_VISIBLE_DEVICES=", *command], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == EXIT_ERROR
    assert done.stderr.startswith("error: torch finds no CUDA device")
