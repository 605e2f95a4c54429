"""Synthetic paired comparisons for tests. Every figure and name in here is invented, and the machine says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from perf.assess import prefer_paired
from perf.findings import Assessment, Comparison
from perf.model import Case, Device, Interval, Metric, Problem, Verdict
from perf.paired.judged import timed_changes
from perf.paired.model import (
    Block,
    Conditions,
    ControlFinding,
    Finding,
    Mode,
    PairedCase,
    PairedComparison,
    Plan,
    Restart,
    RevisionInfo,
    Stage,
)
from perf.paired.statistics import restart_mean
from tests.builders import build_cases, build_commit, build_machine, build_pin_difference

KERNEL = "attention_fwd<bf16, 64, full>"
QUIET = ControlFinding(controls=2, moved=(), noise=0.004, reason="2 A/A controls stayed within 0.4 %")
DISTURBED = replace(QUIET, moved=("a control",), noise=0.07, reason="identical code moved by up to 7.0 %")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much a synthetic comparison measured."""

    cases: int = 12
    restarts: int = 14
    blocks: int = 5
    samples: int = 16  # of each side in each block
    seed: int = 1


# By index: the true change of a timed case and its verdict. Every other case is identical and was not timed.
TIMED = {
    0: (0.079, Verdict.REGRESSED),
    1: (-0.034, Verdict.IMPROVED),
    2: (0.012, Verdict.INCONCLUSIVE),
    3: (0.001, Verdict.UNCHANGED),
    4: (0.0, Verdict.IDENTICAL),  # a control
}
NOT_RUN_INDEX = 5
REASONS = {
    Verdict.REGRESSED: "slower, confirmed by a second measurement (invented)",
    Verdict.IMPROVED: "faster, confirmed by a second measurement (invented)",
    Verdict.INCONCLUSIVE: "the time is spent; measure longer (invented)",
    Verdict.UNCHANGED: "shown to lie within the margin of 1.0 % (invented)",
    Verdict.IDENTICAL: "the same machine code",
    Verdict.NOT_RUN: "no NVIDIA GPU here",
}


def build_revision(name: str, subject: str = "attention_fwd: an invented subject", **changes: object) -> RevisionInfo:
    """A clean revision."""
    made = RevisionInfo(
        name=name, commit_id="9f8e7d6c5b" + "0" * 30, subject=subject, tree="00ff00ff00ff00ff", dirty=False
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def build_block(
    generator: np.random.Generator, *, base_s: float, change: float, samples: int, started_s: float
) -> Block:
    """Samples with a moment that both sides share, skewed noise and a few bursts."""
    moment = base_s * math.exp(generator.normal(0, 0.02))

    def side(center_s: float) -> tuple[float, ...]:
        noise = np.exp(np.abs(generator.normal(0, 0.01, samples)))
        bursts = np.where(generator.random(samples) < 0.05, 1 + generator.random(samples), 1.0)
        return tuple(float(f"{value:.7g}") for value in center_s * noise * bursts)

    conditions = Conditions(
        load_average=round(1 + float(generator.random()), 2),
        steal_fraction=round(0.02 * float(generator.random()), 4),
        frequency_hz=3.1e9 * (1 - 0.03 * float(generator.random())),
    )
    candidate_s = side(moment * (1 + change))
    return Block(base_s=side(moment), candidate_s=candidate_s, started_s=started_s, conditions=conditions)


def build_restart(
    generator: np.random.Generator, *, base_s: float, change: float, stage: Stage, started_s: float, extent: Extent
) -> Restart:
    """One process, whose memory layout gives it a change of its own."""
    own = change + float(generator.normal(0, 0.004))
    blocks = tuple(
        build_block(
            generator, base_s=base_s, change=own, samples=extent.samples, started_s=round(started_s + 0.05 * index, 3)
        )
        for index in range(extent.blocks)
    )
    return Restart(
        stage=stage,
        seed=int(generator.integers(1 << 31)),
        iterations=4,
        blocks=blocks,
        dropped=0,
        measured_s=0.25,
        wall_s=0.6,
        setting={"cache": "warm", "threads": "2 pinned"},
    )


def build_paired_case(case: Case, index: int, extent: Extent) -> PairedCase:
    """The case at ``index`` with the verdict that ``TIMED`` plans for it, and restarts that fit."""
    change, verdict = TIMED.get(index, (0.0, Verdict.IDENTICAL))
    if index == NOT_RUN_INDEX:
        finding = Finding(verdict=Verdict.NOT_RUN, reason=REASONS[Verdict.NOT_RUN])
        return PairedCase(case=case, device=Device.CUDA, target="gpu_large", isa="", finding=finding)
    if index not in TIMED:
        finding = Finding(verdict=verdict, reason=REASONS[verdict])
        return PairedCase(case=case, device=Device.CPU, target="cpu", isa="avx512_bf16", finding=finding)
    generator = np.random.default_rng(extent.seed * 1000 + index)
    confirming = extent.restarts // 2 if verdict in (Verdict.REGRESSED, Verdict.IMPROVED) else 0
    restarts = tuple(
        build_restart(
            generator,
            base_s=2e-3 * (index + 1),
            change=change,
            stage=Stage.CONFIRMATION if order >= extent.restarts - confirming else Stage.SCREENING,
            started_s=8.0 * index + 0.6 * order + (40.0 if order >= extent.restarts - confirming else 0.0),
            extent=extent,
        )
        for order in range(extent.restarts)
    )
    finding = _finding(verdict, restarts, confirmed=confirming > 0)
    return PairedCase(
        case=case,
        device=Device.CPU,
        target="cpu",
        isa="avx512_bf16",
        finding=finding,
        restarts=restarts,
        is_control=verdict is Verdict.IDENTICAL,
    )


def _finding(verdict: Verdict, restarts: tuple[Restart, ...], *, confirmed: bool) -> Finding:
    means = [restart_mean(restart) for restart in restarts]
    half = (2.2 if len(means) > 1 else 0.0) * (stdev(means) if len(means) > 1 else 0.0) / math.sqrt(len(means))
    return Finding(
        verdict=verdict,
        reason=REASONS[verdict],
        change=math.expm1(fmean(means)),
        interval=Interval(low=math.expm1(fmean(means) - half), high=math.expm1(fmean(means) + half)),
        mde=0.014,
        confirmed=confirmed,
        p_value=0.0004 if confirmed else None,
    )


def build_static() -> tuple[Comparison, ...]:
    """One figure of one CUDA kernel that got worse, and one that stayed."""
    worse = build_pin_difference(KERNEL, Metric.REGISTERS, 168.0, 255.0)
    same = replace(worse, metric=Metric.SPILL_BYTES, baseline=0.0, candidate=0.0, change=0.0, verdict=Verdict.UNCHANGED)
    return worse, same


def build_paired(extent: Extent | None = None, **changes: object) -> PairedComparison:
    """A comparison of the synthetic assessment's commit with ``main``: one case slower, one faster, one unclear."""
    extent = extent or Extent()
    commit = build_commit()
    cases = tuple(build_paired_case(case, index, extent) for index, case in enumerate(build_cases(extent.cases)))
    made = PairedComparison(
        id=f"20260105T102000Z-9f8e7d6c5b-{commit.short}",
        started="2026-01-05T10:20:00+00:00",
        mode=Mode.LIBRARIES,
        base=build_revision("main"),
        candidate=build_revision("HEAD", commit.subject, commit_id=commit.id, tree=commit.tree),
        machine=build_machine(),
        plan=Plan(),
        suite="default",
        cases=cases,
        static=build_static(),
        controls=QUIET,
        problems=(Problem(subject="cuda cases of suite default", reason="no NVIDIA GPU here"),),
        wall_s=96.0,
        measured_s=41.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def with_paired(assessment: Assessment, paired: PairedComparison) -> Assessment:
    """``assessment`` as if ``paired`` had been stored for its sources; the gate's results stay as they are."""
    changes = timed_changes(paired)
    return replace(assessment, paired=paired, paired_changes=changes, cases=prefer_paired(assessment.cases, changes))
