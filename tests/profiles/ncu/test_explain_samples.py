"""Explanations of real captures, by hand: occupancy and percentages computed from raw metrics equal those of ncu.

The files are not part of the project: the environment variable ROOFGATE_NCU_SAMPLES names their folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from profiles.ncu.explain import explain_report
from profiles.ncu.explain_text import explanation_text
from profiles.ncu.launch_occupancy import launch_occupancy
from profiles.ncu.model import Launch
from profiles.ncu.read import read_report
from profiles.ncu.roofline import roofline

SAMPLES = Path(os.environ.get("ROOFGATE_NCU_SAMPLES", "/nonexistent"))
A100 = "a100_ncu2024.1_cutlass_gemm_nvtx_full.ncu-rep"
ROOFLINE_CSV = "rtx5090_fmha_ncu.section_SpeedOfLight_RooflineChart.csv"
METRICS_CSV = "rtx5090_fmha_ncu.metrics.csv"

needs_reader = pytest.mark.skipif(find_spec("ncu_report") is None, reason="ncu-report is not installed")
pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="ROOFGATE_NCU_SAMPLES does not name a folder of real reports"
)


def _launches() -> list[Launch]:
    files = sorted((SAMPLES / "ncu-rep").glob("*.ncu-rep"))
    return [launch for file in files for launch in read_report(file).launches]


@needs_reader
def test_theoretical_occupancy_is_that_of_ncu_in_every_launch() -> None:
    """Five GPUs, four compute capabilities; and our limiter is among those that ncu's own limits name."""
    launches = _launches()
    assert len(launches) == 117
    for launch in launches:
        occupancy = launch_occupancy(launch)
        assert occupancy.agrees is True, (launch.function, occupancy)
        stated = set(occupancy.stated_limiter.split(", "))
        assert set(occupancy.limiter.split(", ")) <= stated | {"blocks", "warps"}, (launch.function, occupancy)


@needs_reader
def test_fractions_of_peak_equal_the_percentages_of_ncu() -> None:
    """DRAM bytes over peak bytes, of each launch that holds both."""
    levels = [level for launch in _launches() for level in roofline(launch).traffic]
    known = [level for level in levels if level.printed is not None and not level.implied]
    assert known
    for level in known:
        assert level.fraction == pytest.approx(level.printed, rel=1e-9)


@needs_reader
def test_hit_rates_equal_those_of_ncu() -> None:
    """Hits over sectors, for every kind of access whose parts the full set holds."""
    compared = 0
    for launch in read_report(SAMPLES / "ncu-rep" / A100).launches:
        for name in launch.counters:
            match = re.fullmatch(r"(lts__t|l1tex__t)_sector((?:_\w+)?)_hit_rate\.pct", name)
            if match is None:
                continue
            sectors = launch.number_of(f"{match[1]}_sectors{match[2]}.sum")
            hits = launch.number_of(f"{match[1]}_sectors{match[2]}_lookup_hit.sum")
            if sectors and hits is not None:
                compared += 1
                assert 100 * hits / sectors == pytest.approx(launch.number_of(name), rel=1e-9), name
    assert compared


# The details page of this section shows labels only; which metrics they stand for is in ncu's section file.
ROOFLINE_LABELS = {
    "Theoretical Predicated-On FFMA Thread Instructions Executed": (
        "sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained"
    ),
    "Single Precision Roofline: SM Frequency": "sm__cycles_elapsed.avg.per_second",
    "Single Precision Roofline: Theoretical DRAM Bytes Accessible": "dram__bytes.sum.peak_sustained",
    "Single Precision Roofline: DRAM Frequency": "dram__cycles_elapsed.avg.per_second",
    "Predicated-On FFMA Thread Instructions Executed Per Cycle": (
        "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum.per_cycle_elapsed"
    ),
    "Single Precision Achieved Value: Predicated-On FADD Thread Instructions Executed Per Cycle": (
        "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum.per_cycle_elapsed"
    ),
    "Single Precision Achieved Value: Predicated-On FMUL Thread Instructions Executed Per Cycle": (
        "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum.per_cycle_elapsed"
    ),
    "Single Precision Achieved Value: DRAM Bandwidth": "dram__bytes.sum.per_second",
}


def test_fp32_and_dram_of_the_roofline_section_of_an_rtx_5090() -> None:
    """Its rule states 2 % of the FP32 peak, and its metrics file 37.26 % of the DRAM's throughput."""
    (launch,) = read_report(SAMPLES / "csv" / ROOFLINE_CSV).launches
    section = "GPU Speed Of Light Roofline Chart: "
    counters = {
        name: replace(counter, name=name)
        for label, name in ROOFLINE_LABELS.items()
        if (counter := launch.counters.get(section + label)) is not None
    }
    assert len(counters) == len(ROOFLINE_LABELS)
    found = roofline(replace(launch, counters=counters))
    assert {work.kind: f"{work.fraction:.0%}" for work in found.work} == {"FP32": "2%"}
    (rule,) = launch.rules
    assert "achieved 2% of this device's fp32 peak performance" in rule.message
    assert [f"{level.fraction:.2%}" for level in found.traffic] == ["37.26%"]
    metrics = read_report(SAMPLES / "csv" / METRICS_CSV).launches[0]
    assert metrics.number_of("dram__throughput.avg.pct_of_peak_sustained_elapsed") == 37.26


@needs_reader
@pytest.mark.parametrize("file", sorted((SAMPLES / "ncu-rep").glob("*.ncu-rep")), ids=lambda path: path.name)
def test_every_report_has_an_explanation(file: Path) -> None:
    """A paragraph for each kernel, with an occupancy."""
    text = explanation_text(explain_report(read_report(file), baseline=read_report(file)))
    assert "possible, limited by" in text
    assert "nan" not in text.split()
