"""Launches made by hand, of a kernel that takes 100 µs on 132 multiprocessors at 1.5 GHz."""

from __future__ import annotations

from collections.abc import Mapping

from profiles.ncu.exactness import classify
from profiles.ncu.model import Counter, Launch

KERNEL = "void roofgate::attention_fwd_sm90<roofgate::AttentionForward<roofgate::Bf16, 64, (MaskKind)1>>(Params)"
MULTIPROCESSORS = 132
CLOCK_HZ = 1.5e9
MEGA = 1e6
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"

# 1.98e6 wavefronts take 132 multiprocessors 10 µs; 33.5 MB take half of the DRAM's 0.67 TB/s 50 µs.
BASE: Mapping[str, float] = {
    "gpu__time_duration.sum": 100e-6,
    "sm__cycles_elapsed.avg.per_second": CLOCK_HZ,
    "launch__sm_count": MULTIPROCESSORS,
    "launch__block_size": 128,
    "launch__registers_per_thread": 64,
    "launch__shared_mem_per_block_static": 0,
    "launch__shared_mem_per_block_dynamic": 16384,
    "launch__barrier_count": 1,
    "sm__maximum_warps_per_active_cycle_pct": 50.0,
    "sm__warps_active.avg.pct_of_peak_sustained_active": 48.0,
    "smsp__inst_executed.sum": 20 * MEGA,
    "smsp__inst_issued.sum": 20 * MEGA,
    "sm__inst_executed_pipe_tensor.sum": 1 * MEGA,
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": 40.0,
    "smsp__sass_inst_executed_op_local_ld.sum": 0.0,
    "smsp__sass_inst_executed_op_local_st.sum": 0.0,
    "smsp__sass_inst_executed_op_shared_ld.sum": 1.98 * MEGA,
    "smsp__sass_inst_executed_op_shared_st.sum": 0.0,
    "memory_l1_wavefronts_shared": 1.98 * MEGA,
    "memory_l1_wavefronts_shared_ideal": 1.98 * MEGA,
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": 0.1 * MEGA,
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": 1.6 * MEGA,
    "lts__t_sectors.sum": 2 * MEGA,
    "lts__t_sectors.avg.pct_of_peak_sustained_elapsed": 30.0,
    "lts__t_sector_hit_rate.pct": 60.0,
    "dram__bytes_read.sum": 33.5 * MEGA,
    "dram__bytes_write.sum": 0.0,
    "dram__bytes.sum.peak_sustained": 512.0,
    "dram__cycles_elapsed.avg.per_second": 1.3085938e9,
    _STALL.format("selected"): 1.0,
    _STALL.format("long_scoreboard"): 3.0,
    _STALL.format("short_scoreboard"): 1.0,
    _STALL.format("mio_throttle"): 1.0,
    _STALL.format("wait"): 2.0,
    _STALL.format("math_pipe_throttle"): 2.0,
}


def stalls(**ratios: float) -> dict[str, float]:
    """Counters of the named states of warps, in cycles per instruction."""
    return {_STALL.format(reason): ratio for reason, ratio in ratios.items()}


def build_launch(counters: Mapping[str, float | str], number: int = 0, capability: str = "9.0") -> Launch:
    """A launch with exactly these counters."""
    found = {
        name: Counter(name, value if isinstance(value, str) else float(value), _unit(name), classify(name))
        for name, value in counters.items()
    }
    return Launch(
        number=number,
        kernel=KERNEL,
        function="attention_fwd_sm90",
        grid=(264, 1, 1),
        block=(128, 1, 1),
        device="NVIDIA H100 80GB HBM3",
        compute_capability=capability,
        counters=found,
    )


def base_launch(changes: Mapping[str, float] | None = None, number: int = 0) -> Launch:
    """The launch of 100 µs, with ``changes``."""
    return build_launch({**BASE, **(changes or {})}, number)


def _unit(name: str) -> str:
    if "pct" in name:
        return "%"
    return "s" if "time_duration" in name else ""
