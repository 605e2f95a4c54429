"""Results of trials that were never run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perf.detector.methods import PYTEST_BENCHMARK_RULES, Decision
from perf.detector.regimes import Regime
from perf.detector.trials import Result, Trial

STARTED = 1_700_000_000.0


def build_trial(number: int = 0, **changes: Any) -> Trial:
    """A quiet trial of ours on identical code."""
    fields = {"method": "roofgate", "workload": "copy", "regime": Regime.QUIET, "slowdown": 0.0, "seed": number}
    return Trial(number=number, **fields | changes)


def build_decision(method: str = "roofgate", *, alarm: bool = False, **changes: Any) -> Decision:
    """What the method could have said: every one of its rules the same."""
    names = {
        "roofgate": ["roofgate"],
        "pytest-benchmark": [f"pytest-benchmark {rule} 5 %" for rule in PYTEST_BENCHMARK_RULES],
        "asv": ["asv continuous 1.05"],
    }[method]
    verdict = ("regressed" if alarm else "unchanged") if method == "roofgate" else ""
    fields = {"alarms": dict.fromkeys(names, alarm), "wall_s": 4.0, "measured_s": 2.0, "verdict": verdict}
    return Decision(**fields | changes)


def build_result(trial: Trial, *, alarm: bool = False, foreign_load: float = 0.0, **decision: Any) -> Result:
    """A trial that gave a decision."""
    return Result(
        trial=trial,
        decision=build_decision(trial.method, alarm=alarm, **decision),
        foreign_load=foreign_load,
        started=STARTED + trial.number,
    )


def sharp_result(trial: Trial) -> Result:
    """Of a detector that finds every slowdown of 2 % and more, and is otherwise quiet."""
    estimate = {"change": trial.slowdown, "low": trial.slowdown - 0.01, "high": trial.slowdown + 0.01}
    return build_result(trial, alarm=trial.slowdown >= 0.02, **(estimate if trial.method == "roofgate" else {}))


def write_results(path: Path, results: Iterable[Result]) -> Path:
    """As the runner writes them."""
    lines = []
    for result in results:
        content = asdict(result)
        content["trial"]["regime"] = result.trial.regime.value
        lines.append(json.dumps(content) + "\n")
    path.write_text("".join(lines))
    return path
