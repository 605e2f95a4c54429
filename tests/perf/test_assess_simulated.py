"""Simulated figures join the baseline, the gate and the assessment as exact figures of a layer of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild, write_record
from kernels.workspace import Workspace
from perf import repository, store
from perf.assess import load_assessment
from perf.config import load_thresholds
from perf.findings import Assessment, GateVerdict, RuleResult
from perf.model import Capture, CaptureSet, Layer, Metric, Problem, Verdict
from perf.pins import Pins, load_pins, write_pins
from perf.promote import promote
from perf.rules import MaximumChange
from tests.builders import build_capture
from tests.perf.stored_runs import save
from tests.perf.test_assess import COMMIT, TREE, present_run
from tests.source_builders import build_simulated_capture

KERNEL = "attention_fwd<bf16, 64, causal>"
PINS = Path("perf/baselines/pins.yml")
BEFORE = build_simulated_capture(
    KERNEL,
    "sm_80",
    counters={
        Metric.SIMULATED_FINDINGS: 0.0,
        Metric.SIMULATED_INSTRUCTIONS: 1000.0,
        Metric.SIMULATED_TENSOR: 64.0,
        Metric.SIMULATED_DIVERGENT: 0.0,
        Metric.SIMULATED_BARRIERS: 16.0,
        Metric.SIMULATED_WAVEFRONTS: 1.0,
        Metric.SIMULATED_SECTORS: 16.0,
        Metric.SIMULATED_GLOBAL_SECTORS: 320.0,
        Metric.SIMULATED_COPY_BYTES: 10240.0,
    },
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A checkout with the shipped policy, a run, static captures, and both layers of the kernel pinned."""
    root = Path.cwd()
    for name in ("perf/targets.yml", "perf/suites.yml", "ci/thresholds.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((root / name).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repository, "current_commit", lambda: COMMIT)
    there = Workspace()
    write_record(BuildRecord(sources_digest="x", libraries=(library(),)), there.build_record)
    static = build_capture(KERNEL, "sm_80")
    write_pins(Pins(compilers={}, captures=(static, BEFORE)), PINS)
    store.write_capture_set(there.captures, CaptureSet(layer=Layer.STATIC, tree=TREE, captures=(static,)))
    save(there.runs, present_run())
    yield there


def library() -> LibraryBuild:
    """The library that the captures are of."""
    return LibraryBuild(name="cuda_sm_80", architecture="sm_80", status=BuildStatus.BUILT, compiler="nvcc 13")


def simulate(workspace: Workspace, *captures: Capture, problems: tuple[Problem, ...] = ()) -> Assessment:
    """The assessment with these captures of the simulated layer."""
    found = CaptureSet(layer=Layer.SIMULATED, tree=TREE, captures=captures, problems=problems)
    store.write_capture_set(workspace.captures, found)
    return load_assessment(workspace)


def changed(metric: Metric, value: float) -> Capture:
    """The pinned launch with one figure changed."""
    return replace(BEFORE, counters={**BEFORE.counters, metric: value})


def breaches(assessment: Assessment) -> list[RuleResult]:
    """Rules of the simulated layer that are broken."""
    return [
        result
        for result in assessment.gate.results
        if result.layer is Layer.SIMULATED and result.verdict is Verdict.REGRESSED
    ]


def test_equal_figures_keep_every_rule(workspace: Workspace) -> None:
    """Of the shipped policy, each of which is judged."""
    assessment = simulate(workspace, BEFORE)
    results = [result for result in assessment.gate.results if result.layer is Layer.SIMULATED]

    assert {result.verdict for result in results} == {Verdict.UNCHANGED}
    assert len(results) == sum(rule.metric.layer is Layer.SIMULATED for rule in load_thresholds().rules)
    (kernel,) = assessment.kernels
    assert [capture.layer for capture in kernel.captures] == [Layer.STATIC, Layer.SIMULATED]


@pytest.mark.parametrize(
    ("metric", "value", "rules"),
    [
        (Metric.SIMULATED_FINDINGS, 1.0, {"no-simulated-findings"}),
        (Metric.SIMULATED_WAVEFRONTS, 8.0, {"no-bank-conflicts", "wavefronts-as-pinned"}),
        (Metric.SIMULATED_SECTORS, 16.5, {"coalescing-as-pinned"}),
        (Metric.SIMULATED_GLOBAL_SECTORS, 321.0, {"traffic-as-pinned"}),
        (Metric.SIMULATED_INSTRUCTIONS, 1001.0, {"simulated-instructions-as-pinned"}),
        (Metric.SIMULATED_DIVERGENT, 1.0, {"divergence-as-pinned"}),
        (Metric.SIMULATED_BARRIERS, 17.0, {"barriers-as-pinned"}),
        (Metric.SIMULATED_TENSOR, 32.0, {"tensor-instructions-as-pinned"}),
        (Metric.SIMULATED_TENSOR, 65.0, {"tensor-instructions-as-pinned"}),
        (Metric.SIMULATED_COPY_BYTES, 0.0, {"copies-as-pinned"}),
    ],
)
def test_the_smallest_change_for_the_worse_breaks_its_rule(
    workspace: Workspace, metric: Metric, value: float, rules: set[str]
) -> None:
    """Counts carry no noise. Lost tensor instructions and copies are as bad as new ones."""
    assessment = simulate(workspace, changed(metric, value))

    assert {result.rule for result in breaches(assessment)} == rules
    assert assessment.gate.verdict is GateVerdict.REGRESSION


def test_fewer_instructions_break_no_rule(workspace: Workspace) -> None:
    """They are an improvement, shown as such."""
    assessment = simulate(workspace, changed(Metric.SIMULATED_INSTRUCTIONS, 900.0))
    (kernel,) = assessment.kernels
    moved = [one for one in kernel.comparisons if one.metric is Metric.SIMULATED_INSTRUCTIONS]

    assert breaches(assessment) == []
    assert [one.verdict for one in moved] == [Verdict.IMPROVED]


def test_rules_without_captures_are_an_error_and_name_the_step(workspace: Workspace) -> None:
    """Nobody tried, so nothing may pass."""
    assessment = load_assessment(workspace)

    assert assessment.gate.verdict is GateVerdict.ERROR
    assert f"no simulated captures of the present sources ({TREE}); run: nox -s profile" in assessment.gate.reason


def test_a_layer_that_could_not_run_fails_nothing(workspace: Workspace) -> None:
    """Its rules are not run, and its reason is shown."""
    reason = "no C++ compiler: neither g++, clang++ nor c++ is on PATH"
    assessment = simulate(workspace, problems=(Problem(subject="simulated layer", reason=reason),))
    results = [result for result in assessment.gate.results if result.layer is Layer.SIMULATED]

    assert {result.verdict for result in results} == {Verdict.NOT_RUN}
    assert {result.reason for result in results} == {"the simulated layer captured no kernel"}
    assert f"not run: {reason}" in [layer.text for layer in assessment.layers]


def test_promoting_pins_both_layers(workspace: Workspace) -> None:
    """In one file, from the captures of the present sources."""
    after = changed(Metric.SIMULATED_INSTRUCTIONS, 1234.0)
    simulate(workspace, after)
    said: list[str] = []
    promote(workspace, COMMIT, PINS, said.append)
    pins = load_pins(PINS)

    pin = pins.find(KERNEL, "sm_80", Layer.SIMULATED)
    assert pin is not None
    assert pin.counters == after.counters
    assert pins.find(KERNEL, "sm_80") is not None
    assert not any("left as they are" in text for text in said)


def test_promoting_without_the_layer_keeps_its_pins_and_says_so(workspace: Workspace) -> None:
    """A machine without the simulator does not unpin what others check."""
    said: list[str] = []
    promote(workspace, COMMIT, PINS, said.append)
    pin = load_pins(PINS).find(KERNEL, "sm_80", Layer.SIMULATED)

    assert pin is not None
    assert pin.counters == BEFORE.counters
    assert any("simulated figures are left as they are" in text for text in said)


def test_exact_rules_of_the_layer_allow_no_change() -> None:
    """The shipped policy pins the simulated layer exactly."""
    pinned = [
        rule.limit
        for rule in load_thresholds().rules
        if rule.metric.layer is Layer.SIMULATED and isinstance(rule.limit, MaximumChange)
    ]

    assert pinned
    assert {limit.fraction for limit in pinned} == {0.0}
