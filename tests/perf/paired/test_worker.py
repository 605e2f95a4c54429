"""The child process of a restart, run for real: what it reads, answers and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perf.paired.sampling import MIN_BLOCKS, QUADRUPLES

ROOT = Path(__file__).parents[3]
FACTORY = "tests.perf.paired.scripted_sides"


def run_worker(behaviour: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """The worker on a task of the scripted sides, with as few blocks as there may be."""
    task = {
        "factory": FACTORY,
        "arguments": {"behaviour": behaviour},
        "seed": 7,
        "restart_s": 0.0,
        "sample_s": 1e-3,
        **changes,
    }
    command = [sys.executable, "-m", "perf.paired.worker"]
    return subprocess.run(command, input=json.dumps(task), cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_answer_has_every_sample_and_how_it_was_taken() -> None:
    """One JSON object: blocks of equally many samples of both sides, in seconds per call."""
    done = run_worker("steady")
    answer = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert (answer["iterations"], answer["dropped"], answer["setting"]) == (1, 0, {"clock": "told"})
    assert len(answer["blocks"]) == MIN_BLOCKS
    for block in answer["blocks"]:
        assert block["base_s"] == [1e-3] * (2 * QUADRUPLES)
        assert block["candidate_s"] == [1.1e-3] * (2 * QUADRUPLES)
    assert answer["measured_s"] == pytest.approx(MIN_BLOCKS * 2 * QUADRUPLES * 2.1e-3)


def test_what_a_library_prints_does_not_mix_with_the_answer() -> None:
    """It goes to standard error, from Python and from C alike."""
    done = run_worker("noisy")

    assert json.loads(done.stdout)["setting"] == {"clock": "told"}
    assert "a library greets the user" in done.stderr
    assert "and so does its C code" in done.stderr


def test_a_refusal_is_told_from_a_crash() -> None:
    """Exit code 2 and the error's own words for what a user can mend; Python's code and a traceback for a mistake."""
    refusal, crash = run_worker("refused"), run_worker("broken")

    assert refusal.returncode == 2
    assert refusal.stderr == "head_dim is 7, expected a multiple of 8; choose another case\n"
    assert crash.returncode == 1
    assert crash.stderr.endswith("KeyError: 'no_such_field'\n")
    assert refusal.stdout == crash.stdout == ""


def test_blocks_of_a_throttled_gpu_are_dropped_and_counted() -> None:
    """The first block of many was throttled."""
    answer = json.loads(run_worker("throttled", restart_s=0.1).stdout)

    assert answer["dropped"] == 1
    assert len(answer["blocks"]) >= MIN_BLOCKS
    assert all(block["conditions"]["gpu"]["throttle_reasons"] == [] for block in answer["blocks"])
    assert answer["setting"] == {}


def test_too_few_blocks_are_kept_and_said_to_be_throttled() -> None:
    """A GPU that is always throttled is what there is to measure on."""
    answer = json.loads(run_worker("throttled").stdout)

    assert (answer["dropped"], len(answer["blocks"])) == (0, MIN_BLOCKS)
    assert "throttled" in answer["setting"]


def test_a_worker_starts_without_heavy_modules() -> None:
    """Every restart starts one: torch, numpy and scipy stay out."""
    answer = json.loads(run_worker("steady").stdout)
    seen = subprocess.run(
        [sys.executable, "-c", "import perf.paired.worker, perf.paired.host_sides, sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert answer["blocks"]
    assert not {"torch", "numpy", "scipy"} & set(seen)
