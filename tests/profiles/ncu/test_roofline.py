"""The roofline of a launch: formulas worked out by hand, and the right dense peak for each tensor instruction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.ncu.roofline import Point, Roofline, Traffic, Work, roofline
from tests.profiles.ncu.hand_made import build_launch

GHZ = 1e9
HGMMA = "sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off"
HMMA = "sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32_sparsity_off"
ALL_BF16 = "sm__ops_path_tensor_src_bf16_dst_fp32"
# An H100 PCIe at its base clock: 114 multiprocessors with 4096, 2730.67 (two thirds) and 8192 (sparse) per cycle.
H100 = {
    "sm__cycles_elapsed.avg.per_second": 1.103 * GHZ,
    f"{HGMMA}.sum.peak_sustained": 466944.0,
    f"{HMMA}.sum.peak_sustained": 311296.0,
    f"{ALL_BF16}.sum.peak_sustained": 933888.0,
    "dram__bytes.sum.peak_sustained": 1280.0,
    "dram__cycles_elapsed.avg.per_second": 1.5928 * GHZ,
    "dram__bytes.sum.per_second": 1.3682e12,
    "lts__lts2xbar_cycles_active.sum.peak_sustained": 160.0,
    "lts__cycles_elapsed.avg.per_second": 1.094 * GHZ,
    "lts__lts2xbar_cycles_active.sum.per_second": 70e9,
    "l1tex__lsu_writeback_active_mem_lgds.sum.peak_sustained": 114.0,
    "l1tex__cycles_elapsed.avg.per_second": 1.103 * GHZ,
    "l1tex__lsu_writeback_active_mem_lgds.sum.per_second": 50e9,
}


def _work(found: Roofline, kind: str) -> Work:
    return next(work for work in found.work if work.kind == kind)


def _level(found: Roofline, level: str) -> Traffic:
    return next(traffic for traffic in found.traffic if traffic.level == level)


def test_each_level_of_memory_has_its_peak() -> None:
    """DRAM bytes, 32 bytes a cycle of an L2 port, 128 bytes a cycle of L1 write-back."""
    found = roofline(build_launch(H100))
    assert _level(found, "DRAM").peak == pytest.approx(2038.8e9, rel=1e-4)
    assert _level(found, "DRAM").fraction == pytest.approx(0.671, abs=1e-3)
    assert _level(found, "L2").peak == pytest.approx(5120 * 1.094e9)
    assert _level(found, "L2").achieved == pytest.approx(32 * 70e9)
    assert _level(found, "L1").peak == pytest.approx(128 * 114 * 1.103e9)
    assert _level(found, "L1").achieved == pytest.approx(128 * 50e9)


def test_hopper_has_two_dense_peaks() -> None:
    """HGMMA reaches 4096 operations a cycle and multiprocessor, HMMA two thirds; their sum is not counted again."""
    done = {f"{HGMMA}.sum.per_cycle_elapsed": 233472.0, f"{HMMA}.sum.per_cycle_elapsed": 31129.6}
    found = roofline(build_launch(H100 | done | {f"{ALL_BF16}.sum.per_cycle_elapsed": 264601.6}))
    assert [work.kind for work in found.work] == ["HGMMA bf16 to fp32", "HMMA bf16 to fp32"]
    assert _work(found, "HGMMA bf16 to fp32").peak == pytest.approx(515e12, rel=1e-3)
    assert _work(found, "HGMMA bf16 to fp32").fraction == pytest.approx(0.5)
    assert _work(found, "HMMA bf16 to fp32").peak == pytest.approx(343.4e12, rel=1e-3)
    assert _work(found, "HMMA bf16 to fp32").fraction == pytest.approx(0.1)


def test_a_counter_of_all_instructions_on_hopper_is_held_against_the_dense_rate() -> None:
    """Its own peak is that of sparse operands, twice the dense one; the text says so."""
    counters = {name: value for name, value in H100.items() if "_op_h" not in name}
    found = roofline(build_launch(counters | {f"{ALL_BF16}.sum.per_cycle_elapsed": 233472.0}))
    (work,) = found.work
    assert work.fraction == pytest.approx(0.5)
    assert "dense rate of HGMMA" in work.sentence


def test_types_that_no_instruction_counter_names_keep_their_own() -> None:
    """8-bit floats have only a counter of all instructions, beside those by instruction of other types."""
    fp8 = "sm__ops_path_tensor_src_fp8_sparsity_off"
    done = {f"{HGMMA}.sum.per_cycle_elapsed": 1.0, f"{fp8}.sum.per_cycle_elapsed": 93388.8}
    found = roofline(build_launch(H100 | done | {f"{fp8}.sum.peak_sustained": 933888.0}))
    assert _work(found, "tensor fp8").fraction == pytest.approx(0.1)


def test_before_hopper_the_counters_name_types_and_sparsity_only() -> None:
    """Dense and sparse are kinds of work of their own, and their sum is left out."""
    name = "sm__ops_path_tensor_src_fp16_dst_fp32"
    counters = {"sm__cycles_elapsed.avg.per_second": 1 * GHZ}
    for suffix, peak, done in (("", 400.0, 40.0), ("_sparsity_off", 200.0, 20.0), ("_sparsity_on", 400.0, 20.0)):
        counters[f"{name}{suffix}.sum.peak_sustained"] = peak
        counters[f"{name}{suffix}.sum.per_cycle_elapsed"] = done
    found = roofline(build_launch(counters, capability="8.0"))
    assert {work.kind: work.fraction for work in found.work} == {
        "tensor fp16 to fp32": pytest.approx(0.1),
        "tensor fp16 to fp32, sparse": pytest.approx(0.05),
    }


def test_fused_multiply_adds_count_twice() -> None:
    """FP32 work is add + mul + 2 fma; its peak is two operations per FMA lane."""
    counters = {
        "sm__cycles_elapsed.avg.per_second": 1 * GHZ,
        "sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained": 1000.0,
        "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum.per_cycle_elapsed": 100.0,
        "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum.per_cycle_elapsed": 200.0,
        "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum.per_cycle_elapsed": 300.0,
    }
    (work,) = roofline(build_launch(counters)).work
    assert work.kind == "FP32"
    assert work.achieved == pytest.approx(900e9)
    assert work.peak == pytest.approx(2000e9)


def test_the_roof_over_a_point_is_the_lower_of_both() -> None:
    """Below the ridge the level's bandwidth is the roof, above it the peak."""
    done = {f"{HGMMA}.sum.per_cycle_elapsed": 233472.0}
    found = roofline(build_launch(H100 | done))
    over = {point.traffic.level: point for point in found.points}
    assert over["L2"].intensity == pytest.approx(over["L2"].work.achieved / (32 * 70e9))
    assert over["L2"].bound == "HGMMA bf16 to fp32"
    assert over["L2"].fraction == pytest.approx(0.5)
    assert over["DRAM"].bound == "DRAM"
    assert over["DRAM"].fraction == pytest.approx(_level(found, "DRAM").fraction)


def test_rates_follow_from_sums_and_time() -> None:
    """A capture of few counters has the bytes and the time, not the rates."""
    counters = {"gpu__time_duration.sum": 1e-3, "dram__bytes_read.sum": 6e8, "dram__bytes_write.sum": 2e8}
    percentage = {"gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": 40.0}
    (level,) = roofline(build_launch(counters | percentage)).traffic
    assert level.achieved == pytest.approx(8e11)
    assert level.peak == pytest.approx(2e12)
    assert level.implied


def test_nothing_is_guessed() -> None:
    """Without counters there is no roofline, and work that a kernel does not do is no part of one."""
    assert roofline(build_launch({})) == Roofline(traffic=(), work=(), points=())
    assert roofline(build_launch(H100 | {f"{HGMMA}.sum.per_cycle_elapsed": 0.0})).work == ()


RATES = st.floats(1e-3, 1e12)


@given(RATES, RATES, RATES, RATES)
def test_no_point_lies_above_its_roof(work: float, work_share: float, traffic: float, traffic_share: float) -> None:
    """What is achieved within the peaks is within the attainable, and both fractions bound the point's own."""
    done = Work(kind="HMMA", achieved=work, peak=work * (1 + work_share))
    level = Traffic(level="DRAM", achieved=traffic, peak=traffic * (1 + traffic_share))
    point = Point(work=done, traffic=level)
    assert point.fraction <= 1 + 1e-9
    assert point.fraction == pytest.approx(max(done.fraction, level.fraction))
