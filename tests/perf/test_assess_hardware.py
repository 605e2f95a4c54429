"""Hardware counters join the assessment: compared with what was promoted on the same machine, never pinned for all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.workspace import Workspace
from perf import store
from perf.assess import load_assessment
from perf.findings import Comparison
from perf.model import Capture, CaptureSet, Gpu, Layer, Metric, Problem, Verdict
from perf.promote import promote
from tests.perf.stored_runs import save
from tests.perf.test_assess import COMMIT, TREE, present_run
from tests.perf.test_assess_simulated import KERNEL, PINS, workspace

__all__ = ["workspace"]  # the fixture

GPU = Gpu(name="NVIDIA H200", architecture="sm_90", multiprocessors=132, memory_bytes=1, driver="1")
COUNTED = Capture(
    kernel=KERNEL,
    architecture="sm_90a",
    layer=Layer.HARDWARE,
    counters={Metric.HW_INSTRUCTIONS: 1000.0, Metric.HW_DRAM_BYTES: 1e6},
    launch="a case on NVIDIA H200",
)


def capture(workspace: Workspace, found: Capture, tree: str = TREE) -> None:
    """Keep what the GPU counted."""
    store.write_capture_set(workspace.captures, CaptureSet(layer=Layer.HARDWARE, tree=tree, captures=(found,)))


def promoted(workspace: Workspace) -> list[str]:
    """Promote on a machine with the GPU; what was said."""
    run = present_run(started="2026-11-24T00:00:00+00:00")
    save(workspace.runs, replace(run, machine=replace(run.machine, gpus=(GPU,))))
    said: list[str] = []
    promote(workspace, COMMIT, PINS, said.append)
    return said


def comparison(workspace: Workspace, metric: Metric) -> Comparison:
    """What the assessment says of the counter."""
    (kernel,) = [one for one in load_assessment(workspace).kernels if one.kernel == KERNEL]
    (found,) = [one for one in kernel.comparisons if one.metric is metric]
    return found


def test_counters_are_compared_with_those_promoted_on_this_machine(workspace: Workspace) -> None:
    """And stay out of the tracked pins, for another GPU counts otherwise."""
    capture(workspace, COUNTED)
    kept = workspace.captures / "hardware" / "case.json"
    kept.parent.mkdir()
    kept.write_text("what was read")
    said = promoted(workspace)
    capture(workspace, replace(COUNTED, counters={Metric.HW_INSTRUCTIONS: 1001.0, Metric.HW_DRAM_BYTES: 1.01e6}))
    instructions = comparison(workspace, Metric.HW_INSTRUCTIONS)

    assert any("hardware counters of 1 kernels" in line for line in said)
    assert [path.read_text() for path in workspace.baselines.glob("*/hardware/hardware/case.json")] == ["what was read"]
    assert "hw_instructions" not in PINS.read_text()
    assert (instructions.verdict, instructions.baseline) == (Verdict.REGRESSED, 1000.0)
    assert comparison(workspace, Metric.HW_DRAM_BYTES).verdict is Verdict.UNCHANGED


def test_counters_of_another_machine_or_other_sources_are_no_baseline(workspace: Workspace) -> None:
    """Nothing is promoted without a GPU in the machine of a run, or from captures of other sources."""
    capture(workspace, COUNTED)
    promote(workspace, COMMIT, PINS, lambda text: None)  # noqa: ARG005
    assert comparison(workspace, Metric.HW_INSTRUCTIONS).verdict is Verdict.NOT_RUN

    capture(workspace, COUNTED, tree="d" * 16)
    assert not any("hardware counters" in line for line in promoted(workspace))


def test_a_damaged_baseline_is_a_problem(workspace: Workspace) -> None:
    """The rest is judged."""
    capture(workspace, COUNTED)
    promoted(workspace)
    (path,) = workspace.baselines.glob("*/hardware/hardware.json")
    path.write_text("{")

    assert any(str(path) in problem.subject for problem in load_assessment(workspace).problems)
    assert comparison(workspace, Metric.HW_INSTRUCTIONS).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize("reason", ["Nsight Compute is not here; install it"])
def test_a_layer_that_could_not_run_says_why(workspace: Workspace, reason: str) -> None:
    """On the overview, and of every rule that speaks of it."""
    problem = Problem(subject="hardware layer", reason=reason)
    store.write_capture_set(
        workspace.captures, CaptureSet(layer=Layer.HARDWARE, tree=TREE, captures=(), problems=(problem,))
    )
    assessment = load_assessment(workspace)
    rules = [one for one in assessment.gate.results if one.layer is Layer.HARDWARE]

    assert [one.text for one in assessment.layers if one.layer is Layer.HARDWARE] == [f"not run: {reason}"]
    assert rules
    assert {one.verdict for one in rules} == {Verdict.NOT_RUN}
    assert {one.reason for one in rules} == {"the hardware layer captured no kernel"}
