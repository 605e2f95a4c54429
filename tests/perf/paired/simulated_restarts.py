"""Restarts without a clock: their log ratios follow a law that the test chooses. No figure in here was measured."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from perf.model import Verdict
from perf.paired import engine
from perf.paired.model import Block, Finding, Plan, Restart, Stage

Noise = Callable[[random.Random], float]  # standard deviation 1, or none at all

BASE_S = 1e-3
CASE = "the case"


def build_restart(log_ratio: float, *, stage: Stage = Stage.SCREENING, seed: int = 0, wall_s: float = 0.4) -> Restart:
    """A restart of one block of one sample of either side, whose value is ``log_ratio``."""
    block = Block(base_s=(BASE_S,), candidate_s=(BASE_S * math.exp(log_ratio),), started_s=0.0)
    return Restart(stage=stage, seed=seed, iterations=1, blocks=(block,), dropped=0, measured_s=0.2, wall_s=wall_s)


def normal(generator: random.Random) -> float:
    """Gauss's."""
    return generator.gauss(0.0, 1.0)


def heavy_tailed(generator: random.Random) -> float:
    """Student's with 3 degrees of freedom, whose standard deviation is the root of 3."""
    chi_squared = sum(generator.gauss(0.0, 1.0) ** 2 for _ in range(3))
    return generator.gauss(0.0, 1.0) / math.sqrt(chi_squared / 3) / math.sqrt(3)


@dataclass(kw_only=True)
class SimulatedMachine:
    """Answers as :func:`perf.paired.restarts.run_restart` would, from the restart's seed alone.

    Attributes:
        change: true change of a subject in each stage, as a fraction.
        scatter: standard deviation between restarts in each stage, of the log ratio.
        noise: the law of the scatter.
        wall_s: of each restart.
        calls: what was asked, in order.
    """

    change: Mapping[Stage, float] = field(default_factory=lambda: dict.fromkeys(Stage, 0.0))
    scatter: Mapping[Stage, float] = field(default_factory=lambda: dict.fromkeys(Stage, 0.005))
    noise: Noise = normal
    wall_s: float = 0.4
    calls: list[tuple[str, Stage, int]] = field(default_factory=list)

    def measure(self, name: str, stage: Stage, seed: int) -> Restart:
        """One restart."""
        self.calls.append((name, stage, seed))
        scatter = self.scatter[stage] * self.noise(random.Random(seed))  # noqa: S311
        return build_restart(math.log1p(self.change[stage]) + scatter, stage=stage, seed=seed, wall_s=self.wall_s)


def in_both_stages(value: float) -> dict[Stage, float]:
    """The same in screening and in confirmation."""
    return dict.fromkeys(Stage, value)


def decide(machine: SimulatedMachine, decisions: int, plan_changes: Mapping[str, float] | None = None) -> list[Finding]:
    """The findings of so many comparisons of one case each, with seeds 0, 1, 2, ..."""
    found = []
    for seed in range(decisions):
        plan = Plan(seed=seed, **(plan_changes or {}))  # type: ignore[arg-type]
        found.append(engine.findings(engine.compare([CASE], plan, machine.measure), plan)[CASE])
    return found


def alarms(findings: list[Finding]) -> int:
    """How many say that something changed."""
    return sum(finding.verdict in (Verdict.REGRESSED, Verdict.IMPROVED) for finding in findings)
