"""The readers against real files, by hand: each value equals NVIDIA's reader or export to the file's last digit.

The files are not part of the project: the environment variable ROOFGATE_NCU_SAMPLES names their folder, with
``ncu-rep``, ``csv``, ``derived`` and ``failures`` in it.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from profiles.ncu.model import Counter, Exactness, Launch
from profiles.ncu.read import read_report

SAMPLES = Path(os.environ.get("ROOFGATE_NCU_SAMPLES", "/nonexistent"))
A100 = "a100_ncu2024.1_cutlass_gemm_nvtx_full.ncu-rep"
A10 = "a10_ncu2023.2_105launches_basic.ncu-rep"
GH200 = "gh200_ncu2025.1_silu_no_duration.ncu-rep"
NVTX = "rtx3070_ncu2022.3_nvtx_3kernels.ncu-rep"
VECTOR_ADD = "rtx3070_ncu2022.3_vectoradd.ncu-rep"
REPORTS = (A100, A10, GH200, NVTX, VECTOR_ADD, "rtx2080ti_ncu2022.3_2kernels.ncu-rep")
EXPORTS = {
    "a100_raw_base.C.csv": A100,
    "a100_raw_base.en_US.UTF-8.csv": A100,
    "a100_raw_base.de_DE.UTF-8.csv": A100,
    "a100_raw_base.fr_FR.UTF-8.csv": A100,
    "a100_raw_auto.C.csv": A100,
    "a100_raw_opcode_instances.C.csv": A100,
    "a10_105launches_raw_base.C.csv": A10,
    "gh200_raw_base_no_duration.C.csv": GH200,
    "rtx3070_nvtx_raw_base.C.csv": NVTX,
    "rtx3070_nvtx_renamed.C.csv": NVTX,
    "rtx3070_nvtx_details_labelname.C.csv": NVTX,
    "rtx3070_details_all.C.csv": VECTOR_ADD,
}
SCALES = {"nsecond": -9, "ns": -9, "usecond": -6, "us": -6, "cycle/nsecond": 9, "Ghz": 9, "sector/nsecond": 9}
SCALES |= {"block/nsecond": 9, "Kbyte": 3, "Kbyte/block": 3, "Kbyte/cycle": 3, "Mbyte": 6, "Mbyte/second": 6}
SCALES |= {"Gbyte/second": 9, "Gbyte/s": 9, "Tbyte/second": 12}

pytestmark = [
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="ROOFGATE_NCU_SAMPLES does not name a folder of real reports"),
    pytest.mark.skipif(find_spec("ncu_report") is None, reason="ncu-report is not installed"),
]


def report_launches(name: str) -> tuple[Launch, ...]:
    """The launches of a report file."""
    return read_report(SAMPLES / "ncu-rep" / name).launches


@pytest.mark.parametrize("name", REPORTS)
def test_every_value_equals_nvidias_reader(name: str) -> None:
    """Every value equals NVIDIA's reader."""
    context = import_module("ncu_report").load_report(str(SAMPLES / "ncu-rep" / name))
    actions = [action for profiled in context for action in profiled]
    launches = report_launches(name)
    assert len(launches) == len(actions)
    for launch, action in zip(launches, actions, strict=True):
        names = {metric for metric in action.metric_names() if not metric.startswith(("group:", "breakdown:"))}
        assert names == set(launch.counters) | set(launch.missing)
        assert not set(launch.counters) & set(launch.missing)
        for metric_name, counter in launch.counters.items():
            metric = action.metric_by_name(metric_name)
            scale = 10.0 ** -SCALES.get(metric.unit(), 0)
            expected = metric.value()
            assert counter.value == (expected if isinstance(expected, str) else expected / scale), metric_name
        for metric_name in launch.missing:
            metric = action.metric_by_name(metric_name)
            assert not metric.has_value() or metric.value() == "", metric_name


@pytest.mark.parametrize(("export", "report"), EXPORTS.items())
def test_an_export_equals_its_report_to_the_last_digit_that_the_export_holds(export: str, report: str) -> None:
    """An export equals its report to the last digit that the export holds."""
    exported = read_report(SAMPLES / "derived" / export).launches
    digits = printed_decimals(SAMPLES / "derived" / export)
    compared = 0
    for launch, whole in zip(exported, report_launches(report), strict=True):
        assert (launch.number, launch.function, launch.grid, launch.block) == (
            whole.number,
            whole.function,
            whole.grid,
            whole.block,
        )
        assert launch.compute_capability == whole.compute_capability
        assert launch.device in ("", whole.device)
        assert launch.ranges == whole.ranges
        for counter in launch.counters.values():
            if counter.name in whole.counters and counter.name in digits:
                require_equal(counter, whole.counters[counter.name], digits[counter.name])
                compared += 1
        for name in launch.missing:
            assert name in whole.missing, name
    assert compared >= len(exported)


def printed_decimals(path: Path) -> dict[str, tuple[int, int]]:
    """For each metric, how many decimals the export prints at most and the power of ten of its unit."""
    with path.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    decimal = "," if "de_DE" in path.name or "fr_FR" in path.name else "."
    if "Metric Value" not in header:
        units, *rows = rows
        columns = [[row[index] for row in rows] for index in range(len(header))]
        cells = zip(header, units, columns, strict=True)
        return {name: (max(map(decimals(decimal), column)), SCALES.get(unit, 0)) for name, unit, column in cells}
    name, unit, value = (header.index(title) for title in ("Metric Name", "Metric Unit", "Metric Value"))
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        metric = row[name].rpartition("(")[2].removesuffix(")") if "__" in row[name] else row[name]
        metric = LABELS.get(metric, metric)
        count = max(decimals(decimal)(row[value]), found.get(metric, (0, 0))[0])
        found[metric] = (count, SCALES.get(row[unit], 0))
    return found


LABELS = {  # a few of the labels of rtx3070_details_all, by hand
    "Duration": "gpu__time_duration.sum",
    "Elapsed Cycles": "gpc__cycles_elapsed.max",
    "DRAM Frequency": "dram__cycles_elapsed.avg.per_second",
    "SM Frequency": "gpc__cycles_elapsed.avg.per_second",
    "Registers Per Thread": "launch__registers_per_thread",
    "Achieved Occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "Theoretical Occupancy": "sm__maximum_warps_per_active_cycle_pct",
    "L2 Cache Throughput": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "Shared Memory Configuration Size": "launch__shared_mem_config_size",
    "Threads": "launch__thread_count",
}


def decimals(mark: str) -> Callable[[str], int]:
    """Counts the digits behind ``mark``."""
    return lambda text: len(text.partition(" (")[0].partition(mark)[2])


def require_equal(exported: Counter, whole: Counter, printed: tuple[int, int]) -> None:
    """Both are one value, the first rounded to the decimals that the export prints."""
    if isinstance(exported.value, str) or isinstance(whole.value, str):
        assert exported.value == whole.value, exported.name
        return
    count, power = printed
    half_a_digit = Decimal(5) * Decimal(10) ** (power - count - 1)
    difference = abs(Decimal(exported.value) - Decimal(whole.value))
    slack = Decimal(math.ulp(whole.value)) * 4  # of converting both to base units
    assert difference <= half_a_digit + slack, (exported.name, exported.value, whole.value)


def test_four_locales_of_one_report_read_as_the_same_launches() -> None:
    """Four locales of one report read as the same launches."""
    locales = ("C", "en_US.UTF-8", "de_DE.UTF-8", "fr_FR.UTF-8")
    first, *others = (read_report(SAMPLES / "derived" / f"a100_raw_base.{name}.csv").launches for name in locales)
    assert all(other == first for other in others)


def test_rules_of_an_export_are_those_of_the_report() -> None:
    """Rules of an export are those of the report."""
    exported = read_report(SAMPLES / "derived" / "rtx3070_nvtx_details_labelname.C.csv").launches
    for launch, whole in zip(exported, report_launches(NVTX), strict=True):
        shown = {(rule.section, rule.rule, rule.kind, rule.message) for rule in launch.rules}
        assert shown == {(rule.section, rule.rule, rule.kind, rule.message) for rule in whole.rules}


def test_no_counter_called_exact_differs_between_105_identical_launches() -> None:
    """No counter called exact differs between 105 identical launches."""
    launches = report_launches(A10)
    exact = {name for name, counter in launches[0].counters.items() if counter.exactness is Exactness.EXACT}
    assert len(exact) > 100
    varying = {name for name in exact if len({launch.counters[name].value for launch in launches}) > 1}
    assert not varying


def test_every_opcode_count_adds_up_to_the_total() -> None:
    """Every opcode count adds up to the total."""
    for launch in (*report_launches(A100), *report_launches(NVTX)):
        counter = launch.counters["sass__inst_executed_per_opcode"]
        assert sum(counter.instances.values()) == counter.value
        lines = launch.counters["inst_executed"]
        assert sum(lines.instances.values()) == lines.value


@pytest.mark.parametrize("path", sorted((SAMPLES / "csv").glob("*.csv")), ids=lambda path: path.name)
def test_real_captures_read_to_their_last_digit_or_are_refused_with_what_ncu_wrote(path: Path) -> None:
    """Real captures read to their last digit or are refused with what ncu wrote."""
    if path.name.startswith("failed"):
        with pytest.raises(RoofgateError, match=r"==ERROR== The application returned an error code \(2\)"):
            read_report(path)
        return
    with path.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    value, unit, identifier = (header.index(title) for title in ("Metric Value", "Metric Unit", "ID"))
    printed: dict[int, set[float]] = {}
    for row in rows:
        text = row[value].replace(",", "")
        if text.replace(".", "").isdigit():
            number = float(Decimal(text).scaleb(SCALES.get(row[unit], 0)))
            printed.setdefault(int(row[identifier]), set()).add(number)
    for launch in read_report(path).launches:
        values = {counter.value for counter in launch.counters.values() if isinstance(counter.value, float)}
        assert values == printed[launch.number]


def test_a_truncated_report_is_refused() -> None:
    """A truncated report is refused."""
    with pytest.raises(RoofgateError, match="cut off or damaged"):
        read_report(SAMPLES / "failures" / "truncated.ncu-rep")


@pytest.mark.parametrize("name", ["rtx3070_nvtx_summary_per_kernel.C.csv", "rtx3070_source_sass.C.csv"])
def test_other_pages_are_refused(name: str) -> None:
    """Other pages are refused."""
    with pytest.raises(RoofgateError, match="export the launches themselves"):
        read_report(SAMPLES / "derived" / name)


def test_105_launches_are_read_within_a_second() -> None:
    """105 launches are read within a second."""
    start = time.perf_counter()
    assert len(report_launches(A10)) == 105
    assert time.perf_counter() - start < 1.0
