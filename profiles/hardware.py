"""The hardware layer: what a GPU counts of our kernels on selected cases, by Nsight Compute.

Reports and the record of every attempt lie in ``out/captures/hardware/<case>/``, and what was read of them in
``<case>.json`` beside it, from which the report's pages are made. The gate's figures are a few of these counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from kernels.build_record import BuildRecord
from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import Capture, CaptureSet, Case, Layer, Metric, Problem
from profiles.kernel_names import kernel_name
from profiles.ncu.attempts import CaptureAttempt
from profiles.ncu.capture import (
    CaptureSite,
    capture_case,
    captured_report,
    open_site,
    probe_counters,
    record_refusal,
)
from profiles.ncu.failures import Failure
from profiles.ncu.metric_tiers import Tier
from profiles.ncu.model import Launch, Report
from profiles.ncu.spread import LaunchGroup, group_launches
from profiles.ncu.stored_report import hardware_folder, write_report

Progress = Callable[[str], None]

# Names that a figure is the sum of; the first of several choices whose names were all captured counts.
COUNTERS: Mapping[Metric, tuple[tuple[str, ...], ...]] = {
    Metric.HW_DURATION: (("gpu__time_duration.sum",),),
    Metric.HW_INSTRUCTIONS: (("smsp__inst_executed.sum",),),
    Metric.HW_TENSOR: (
        ("sm__inst_executed_pipe_tensor_op_hmma.sum", "sm__inst_executed_pipe_tensor_op_gmma.sum"),
        ("sm__inst_executed_pipe_tensor_subpipe_hmma.sum", "sm__inst_executed_pipe_tc.sum"),
        ("sm__inst_executed_pipe_tensor_op_hmma_v2.sum",),
        ("sm__inst_executed_pipe_tensor_op_hmma.sum",),
    ),
    Metric.HW_SHARED_WAVEFRONTS: (("memory_l1_wavefronts_shared",),),
    Metric.HW_GLOBAL_SECTORS: (
        (
            "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
            "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
        ),
    ),
    Metric.HW_LOCAL_INSTRUCTIONS: (
        ("smsp__inst_executed_op_local_ld.sum", "smsp__inst_executed_op_local_st.sum"),
        ("smsp__sass_inst_executed_op_local_ld.sum", "smsp__sass_inst_executed_op_local_st.sum"),
    ),
    Metric.HW_L2_SECTORS: (("lts__t_sectors.sum",),),
    Metric.HW_DRAM_BYTES: (("dram__bytes.sum",), ("dram__bytes_read.sum", "dram__bytes_write.sum")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareRequest:
    """What to capture."""

    cases: tuple[Case, ...]
    tier: Tier


def capture_hardware(request: HardwareRequest, record: BuildRecord, captures: Path, progress: Progress) -> CaptureSet:
    """Capture every case of ``request`` on this machine's GPU.

    Args:
        request: cases and metrics.
        record: the present build, for the names of its architectures.
        captures: the workspace's folder of captures.
        progress: told how each case went.

    Nothing that fails is an exception: a machine without a GPU or Nsight Compute, a driver that keeps the counters to
    itself, or a case that cannot be captured is a problem of the layer, with cause and remedy.
    """
    for earlier in hardware_folder(captures).glob("*.json"):
        earlier.unlink()  # they are of other sources
    site = _ready_site(captures)
    if isinstance(site, Failure):
        for case in request.cases:
            record_refusal(case, request.tier.name, captures, site)
        return _layer((), (Problem(subject="hardware layer", reason=str(site)),))
    found: list[Capture] = []
    problems: list[Problem] = []
    for case in request.cases:
        attempt = capture_case(case, request.tier, site)
        progress(f"hardware {case.name}: {_outcome(attempt)}")
        problems += _problems(attempt)
        try:
            found += _keep(attempt, case, site, record, captures)
        except RoofgateError as error:
            problems.append(Problem(subject=f"hardware layer of {case.name}", reason=str(error)))
    return _layer(first_of_each(found), problems)


def _ready_site(captures: Path) -> CaptureSite | Failure:
    """This machine's GPU and Nsight Compute, once a counter of a real kernel could be read."""
    site = open_site(captures)
    if isinstance(site, Failure):
        return site
    return probe_counters(site) or site


def _layer(captures: Sequence[Capture], problems: Sequence[Problem]) -> CaptureSet:
    return CaptureSet(layer=Layer.HARDWARE, tree=source_tree(), captures=tuple(captures), problems=tuple(problems))


def _outcome(attempt: CaptureAttempt) -> str:
    return attempt.rungs[-1].name if attempt.reports else "not captured"


def _problems(attempt: CaptureAttempt) -> list[Problem]:
    """Why less was captured than was asked for."""
    if attempt.failure is None:
        return []
    less = "" if attempt.reports else "not captured: "
    return [Problem(subject=f"hardware layer of {attempt.case}", reason=f"{less}{attempt.failure}")]


def _keep(attempt: CaptureAttempt, case: Case, site: CaptureSite, record: BuildRecord, captures: Path) -> list[Capture]:
    """Store what the reports of one case hold together, and return the gate's figures; none if there are no reports."""
    if not attempt.reports:
        return []
    report = captured_report(attempt, site.ncu)
    notes = (*report.notes, f"tier {attempt.tier}, {attempt.ncu}, {attempt.settings}")
    report = replace(report, path=f"{case.name}, captured here", notes=notes)
    write_report(hardware_folder(captures) / f"{case.name}.json", report)
    return captures_of(report, case, record)


def captures_of(report: Report, case: Case, record: BuildRecord) -> list[Capture]:
    """The gate's figures of each kernel that was launched for ``case``."""
    return [_capture(group, case, record) for group in group_launches(report.launches)]


def _capture(group: LaunchGroup, case: Case, record: BuildRecord) -> Capture:
    first = group.launches[0]
    figures = {metric: figure(metric, group.launches) for metric in COUNTERS}
    return Capture(
        kernel=kernel_name(group.kernel),
        architecture=_architecture(first, record),
        layer=Layer.HARDWARE,
        counters={metric: value for metric, value in figures.items() if value is not None},
        launch=f"{case.name} on {first.device or 'an unnamed GPU'}",
    )


def figure(metric: Metric, launches: Sequence[Launch]) -> float | None:
    """The median over ``launches`` of a figure; None if some launch lacks a counter of it."""
    for names in COUNTERS[metric]:
        values = [[launch.number_of(name) for name in names] for launch in launches]
        known = [[value for value in one if value is not None] for one in values]
        if values == known:
            return float(median(sum(one) for one in known))
    return None


def _architecture(launch: Launch, record: BuildRecord) -> str:
    """The build's name for the GPU's compute capability: ``sm_90a`` rather than ``sm_90`` if that was built."""
    plain = f"sm_{launch.compute_capability.replace('.', '')}"
    built = [library.architecture for library in record.libraries if library.architecture.rstrip("af") == plain]
    return built[0] if built else plain


def first_of_each(found: Sequence[Capture]) -> tuple[Capture, ...]:
    """One capture for each kernel and architecture, for a baseline names no case; the later ones are only pages."""
    chosen: dict[tuple[str, str], Capture] = {}
    for capture in found:
        chosen.setdefault((capture.kernel, capture.architecture), capture)
    return tuple(chosen.values())
