"""The hardware layer: figures out of launches, and what is recorded where nothing can be captured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.build_record import BuildRecord
from kernels.errors import RoofgateError
from perf.hardware_tolerance import STATISTICAL, tolerance
from perf.model import Layer, Metric
from profiles import hardware
from profiles.hardware import COUNTERS, HardwareRequest, capture_hardware, captures_of, figure, first_of_each
from profiles.ncu.attempts import CaptureAttempt, read_attempt
from profiles.ncu.capture import CaptureSite
from profiles.ncu.command_line import OLDEST_VERSION, NsightCompute
from profiles.ncu.exactness import classify
from profiles.ncu.failures import FailureKind
from profiles.ncu.ladder import CollectionResult, RungResult, RungState
from profiles.ncu.metric_tiers import load_tiers
from profiles.ncu.model import Exactness, Report
from profiles.ncu.spread import LEAST_CHANGE
from profiles.ncu.stored_report import read_stored_report
from profiles.simulator.attention_case import EXAMPLE_CASE, parse_case
from tests.captured_launches import build_launch, build_report

CASE = parse_case(EXAMPLE_CASE)
KERNEL = "void roofgate::attention_fwd_sm80<roofgate::AttentionForward<ptx::Bf16, 64, (MaskKind)1>>(Params)"


@pytest.fixture
def record() -> BuildRecord:
    """A build of nothing."""
    return BuildRecord(sources_digest="", libraries=())


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric.layer is Layer.HARDWARE])
def test_what_the_gate_allows_is_what_the_counters_class_says(metric: Metric) -> None:
    """The two packages cannot share the classes, so they are held against each other here."""
    classes = {classify(name) for names in COUNTERS[metric] for name in names}
    (exactness,) = classes
    expected = 0.0 if exactness is Exactness.EXACT else LEAST_CHANGE[exactness]

    assert tolerance(metric) == expected
    assert (metric in STATISTICAL) == (exactness is Exactness.STATISTICAL)


def test_the_gate_tier_holds_what_the_gate_judges() -> None:
    """On every declared chip, so that no rule lacks its figure after a capture of the cheapest tier."""
    tiers = load_tiers()
    judged = [metric for metric in COUNTERS if metric is not Metric.HW_L2_SECTORS]  # which is part of larger tiers
    for chip in tiers.chips.values():
        asked = {name for one in tiers.tier("gate").collections(chip.architecture) for name in one.metrics}
        lacking = [metric for metric in judged if not any(asked.issuperset(names) for names in COUNTERS[metric])]
        assert lacking == [], chip.name


def test_a_figure_is_the_median_over_the_launches_of_a_sum() -> None:
    """Loads and stores together; a launch without one of them leaves no figure rather than half of one."""
    launches = [
        build_launch(number, l1tex__t_sectors_pipe_lsu_mem_global_op_ld_sum=sectors)
        for number, sectors in enumerate((100.0, 300.0, 200.0))
    ]

    assert figure(Metric.HW_GLOBAL_SECTORS, launches) == 240.0
    assert figure(Metric.HW_DRAM_BYTES, launches) == 32e6
    lacking = build_launch(l1tex__t_sectors_pipe_lsu_mem_global_op_ld_sum=None)
    assert figure(Metric.HW_GLOBAL_SECTORS, [*launches, lacking]) is None
    assert figure(Metric.HW_SHARED_WAVEFRONTS, launches) is None


def test_a_capture_has_the_names_of_the_build(record: BuildRecord) -> None:
    """Kernel and architecture as in the other layers, and which launch it was."""
    (capture,) = captures_of(build_report(build_launch(kernel=KERNEL)), CASE, record)

    assert (capture.kernel, capture.architecture) == ("attention_fwd<bf16, 64, window>", "sm_80")
    assert capture.launch == f"{CASE.name} on NVIDIA A100"
    assert capture.counters[Metric.HW_TENSOR] == 100.0
    assert first_of_each([capture, replace(capture, launch="later")]) == (capture,)


def request() -> HardwareRequest:
    """One case, the cheapest tier."""
    return HardwareRequest(cases=(CASE,), tier=load_tiers().tier("gate"))


def test_without_nsight_compute_the_layer_says_why_and_every_case_is_recorded(
    record: BuildRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception; what an earlier capture left is not shown for this one."""
    monkeypatch.setenv("ROOFGATE_NCU", str(tmp_path / "none"))
    (tmp_path / "hardware").mkdir()
    earlier = tmp_path / "hardware" / "earlier.json"
    earlier.write_text("{}")
    found = capture_hardware(request(), record, tmp_path, print)
    attempt = read_attempt(tmp_path / "hardware" / CASE.name / "attempt.json")

    assert found.captures == ()
    assert "Nsight Compute is not here" in found.problems[0].reason
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.NCU_MISSING
    assert not earlier.exists()


def script(monkeypatch: pytest.MonkeyPatch, report: Report | RoofgateError) -> None:
    """A machine that captures ``report``, or whose reports cannot be read."""

    def read(attempt: CaptureAttempt, ncu: Any) -> Report:  # noqa: ARG001
        if isinstance(report, RoofgateError):
            raise report
        return report

    ncu = NsightCompute(path="ncu", version=OLDEST_VERSION)
    site = CaptureSite(ncu=ncu, architecture="sm_80", folder=Path("unused"))
    monkeypatch.setattr(hardware, "open_site", lambda captures: site)  # noqa: ARG005
    monkeypatch.setattr(hardware, "probe_counters", lambda site: None)  # noqa: ARG005
    monkeypatch.setattr(hardware, "capture_case", lambda case, tier, site: attempted(case.name, tier.name))  # noqa: ARG005
    monkeypatch.setattr(hardware, "captured_report", read)


def attempted(case: str, tier: str) -> CaptureAttempt:
    """An attempt whose first rung held."""
    results = (CollectionResult(name="gate-counters", report="gate-counters.ncu-rep"),)
    return CaptureAttempt(
        case=case,
        tier=tier,
        tree="",
        started="",
        launches=1,
        ncu="Nsight Compute 2025.3.1",
        settings="clocks left alone",
        rungs=(RungResult(name="targeted metrics", state=RungState.HELD, collections=results),),
    )


def test_a_captured_case_is_kept_and_its_figures_are_the_layer(
    record: BuildRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is stored for the report's pages, with how it was captured."""
    script(monkeypatch, build_report(build_launch(kernel=KERNEL)))
    found = capture_hardware(request(), record, tmp_path, print)
    stored = read_stored_report(tmp_path / "hardware" / f"{CASE.name}.json")

    assert [capture.kernel for capture in found.captures] == ["attention_fwd<bf16, 64, window>"]
    assert found.problems == ()
    assert stored.path == f"{CASE.name}, captured here"
    assert "tier gate, Nsight Compute 2025.3.1, clocks left alone" in stored.notes


def test_a_report_that_cannot_be_read_is_a_problem_of_its_case(
    record: BuildRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer goes on to the next case."""
    script(monkeypatch, RoofgateError("they hold other launches"))
    found = capture_hardware(request(), record, tmp_path, print)

    assert found.captures == ()
    assert [problem.reason for problem in found.problems] == ["they hold other launches"]
