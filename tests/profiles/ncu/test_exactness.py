"""The class of a metric follows the repeated launches that were measured; what nobody measured is statistical."""

from __future__ import annotations

import pytest

from profiles.ncu.exactness import classify
from profiles.ncu.model import Exactness

EXACT = [
    "launch__registers_per_thread",
    "launch__shared_mem_per_block_static",
    "launch__waves_per_multiprocessor",
    "device__attribute_multiprocessor_count",
    "sm__maximum_warps_per_active_cycle_pct",
    "smsp__maximum_warps_avg_per_active_cycle",
    "smsp__inst_executed.sum",
    "smsp__inst_executed.avg",
    "smsp__inst_executed_op_branch.sum",
    "sm__inst_executed_pipe_tensor.sum",
    "smsp__sass_inst_executed_op_local.sum",
    "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct",
    "smsp__sass_l1tex_data_bank_conflicts_pipe_lsu_mem_shared_op_ldsm.sum",
    "sass__inst_executed_per_opcode",
    "sass__inst_executed_register_spilling",
    "derived__local_spilling_requests",
    "inst_executed",
    "thread_inst_executed_true",
    "memory_l1_wavefronts_shared",
    "memory_l1_wavefronts_shared_ideal",
    "memory_l2_theoretical_sectors_global",
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
    "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio",
    "smsp__thread_inst_executed_per_inst_executed.ratio",
]
TOLERANCE = [
    "dram__bytes.sum",
    "dram__bytes_read.sum",
    "dram__sectors_write.sum",
    "lts__t_sectors.sum",
    "lts__t_sectors_op_read.sum",
    "smsp__inst_issued.sum",
]
STATISTICAL = [
    "gpu__time_duration.sum",
    "gpc__cycles_elapsed.max",
    "sm__cycles_active.avg",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio",
    "smsp__pcsamp_sample_count",
    "l1tex__t_sector_hit_rate.pct",
    "lts__t_sectors_op_read_lookup_hit.sum",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld_lookup_hit.sum",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum",
    "smsp__inst_executed.max",
    "smsp__inst_executed.sum.per_second",
    "smsp__inst_executed.avg.per_cycle_active",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
    "dram__bytes.sum.per_second",
    "never__heard_of.sum",
    "Occupancy: Some Label",
    "",
]


@pytest.mark.parametrize("name", EXACT)
def test_what_the_launch_fixes_and_what_patched_instructions_count_is_exact(name: str) -> None:
    """What the launch fixes and what patched instructions count is exact."""
    assert classify(name) is Exactness.EXACT


@pytest.mark.parametrize("name", TOLERANCE)
def test_traffic_and_issued_instructions_have_a_small_tolerance(name: str) -> None:
    """Traffic and issued instructions have a small tolerance."""
    assert classify(name) is Exactness.TOLERANCE


@pytest.mark.parametrize("name", STATISTICAL)
def test_time_and_all_that_is_unknown_is_statistical(name: str) -> None:
    """Time and all that is unknown is statistical."""
    assert classify(name) is Exactness.STATISTICAL
