"""Which metric stands behind a label of the details page.

The page shows ``DRAM Frequency``, ``dram__cycles_elapsed.avg.per_second`` or both, as ``--print-metric-name`` says. The
pairs below are those of Nsight Compute's own sections that kept their meaning from version to version (``SM Busy``, for
one, did not and is left out); a label that is not here keeps its section before it: ``Section: Label``.
"""

from __future__ import annotations

import re

_METRIC = r"(?:[a-z]+:)?[a-z0-9]+__[\w.]+"
_BARE_METRIC = re.compile(rf"{_METRIC}|[a-z][a-z0-9_]*(?:\.[a-z_]+)+|inst_executed|thread_inst_executed\w*|memory_\w+")
_LABEL_WITH_METRIC = re.compile(rf".* \(({_METRIC}|inst_executed)\)")

_SPEED_OF_LIGHT = {
    "Compute (SM) Throughput": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "DRAM Frequency": "dram__cycles_elapsed.avg.per_second",
    "DRAM Throughput": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "Duration": "gpu__time_duration.sum",
    "Elapsed Cycles": "gpc__cycles_elapsed.max",
    "L1/TEX Cache Throughput": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "L2 Cache Throughput": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "Memory Throughput": "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    "SM Active Cycles": "sm__cycles_active.avg",
    "SM Frequency": "gpc__cycles_elapsed.avg.per_second",
}
_LAUNCH = {
    "Block Size": "launch__block_size",
    "Cluster Size": "launch__cluster_size",
    "Driver Shared Memory Per Block": "launch__shared_mem_per_block_driver",
    "Dynamic Shared Memory Per Block": "launch__shared_mem_per_block_dynamic",
    "Function Cache Configuration": "launch__func_cache_config",
    "Grid Size": "launch__grid_size",
    "Registers Per Thread": "launch__registers_per_thread",
    "Shared Memory Configuration Size": "launch__shared_mem_config_size",
    "Stack Size": "launch__stack_size",
    "Static Shared Memory Per Block": "launch__shared_mem_per_block_static",
    "Threads": "launch__thread_count",
    "Waves Per SM": "launch__waves_per_multiprocessor",
    "# SMs": "launch__sm_count",
}
_OCCUPANCY = {
    "Achieved Active Warps Per SM": "sm__warps_active.avg.per_cycle_active",
    "Achieved Occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "Block Limit Barriers": "launch__occupancy_limit_barriers",
    "Block Limit Registers": "launch__occupancy_limit_registers",
    "Block Limit SM": "launch__occupancy_limit_blocks",
    "Block Limit Shared Mem": "launch__occupancy_limit_shared_mem",
    "Block Limit Warps": "launch__occupancy_limit_warps",
    "Theoretical Active Warps per SM": "sm__maximum_warps_avg_per_active_cycle",
    "Theoretical Occupancy": "sm__maximum_warps_per_active_cycle_pct",
}
_MEMORY = {
    "L1/TEX Hit Rate": "l1tex__t_sector_hit_rate.pct",
    "L2 Hit Rate": "lts__t_sector_hit_rate.pct",
    "Local Memory Spilling Requests": "derived__local_spilling_requests",
    "Max Bandwidth": "gpu__compute_memory_request_throughput.avg.pct_of_peak_sustained_elapsed",
    "Mem Busy": "gpu__compute_memory_access_throughput.avg.pct_of_peak_sustained_elapsed",
    "Memory Throughput": "dram__bytes.sum.per_second",
}
_INSTRUCTIONS = {
    "Avg. Executed Instructions Per Scheduler": "smsp__inst_executed.avg",
    "Avg. Issued Instructions Per Scheduler": "smsp__inst_issued.avg",
    "Executed Instructions": "smsp__inst_executed.sum",
    "Issued Instructions": "smsp__inst_issued.sum",
}
_COMPUTE = {
    "Executed Ipc Active": "sm__inst_executed.avg.per_cycle_active",
    "Executed Ipc Elapsed": "sm__inst_executed.avg.per_cycle_elapsed",
    "Issued Ipc Active": "sm__inst_issued.avg.per_cycle_active",
}
_WARP_STATES = {
    "Avg. Active Threads Per Warp": "smsp__thread_inst_executed_per_inst_executed.ratio",
    "Avg. Not Predicated Off Threads Per Warp": "smsp__thread_inst_executed_pred_on_per_inst_executed.ratio",
    "Warp Cycles Per Executed Instruction": "smsp__average_warps_active_per_inst_executed.ratio",
    "Warp Cycles Per Issued Instruction": "smsp__average_warp_latency_per_inst_issued.ratio",
}
_SOURCE = {
    "Avg. Divergent Branches": "smsp__sass_branch_targets_threads_divergent.avg",
    "Branch Efficiency": "smsp__sass_average_branch_targets_threads_uniform.pct",
    "Branch Instructions": "smsp__inst_executed_op_branch.sum",
    "Branch Instructions Ratio": "derived__smsp__inst_executed_op_branch_pct",
}
_SECTIONS = {
    "GPU Speed Of Light Throughput": _SPEED_OF_LIGHT,
    "Launch Statistics": _LAUNCH,
    "Occupancy": _OCCUPANCY,
    "Memory Workload Analysis": _MEMORY,
    "Instruction Statistics": _INSTRUCTIONS,
    "Compute Workload Analysis": _COMPUTE,
    "Warp State Statistics": _WARP_STATES,
    "Source Counters": _SOURCE,
}


def metric_name(section: str, item: str, label: str) -> str:
    """The metric that a row of the details page shows; ``item`` is the chart or table that it stands in, or empty."""
    if _BARE_METRIC.fullmatch(label):
        return label
    if match := _LABEL_WITH_METRIC.fullmatch(label):
        return match[1]
    known = _SECTIONS.get(section, {}).get(label) if not item else None
    return known or ": ".join(part for part in (section, item, label) if part)
