"""Launches as Nsight Compute would report them, made up for tests."""

from __future__ import annotations

from profiles.ncu.exactness import classify
from profiles.ncu.model import Counter, Launch, Report, Rule

# Of a kernel that is bound by memory, on a card with 2 TB/s.
NUMBERS: dict[str, tuple[float, str]] = {
    "gpu__time_duration.sum": (2e-5, "s"),
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": (30.0, "%"),
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": (80.0, "%"),
    "sm__warps_active.avg.pct_of_peak_sustained_active": (45.0, "%"),
    "sm__maximum_warps_per_active_cycle_pct": (50.0, "%"),
    "launch__block_size": (256.0, ""),
    "launch__registers_per_thread": (128.0, ""),
    "launch__shared_mem_per_block_static": (0.0, "B"),
    "launch__shared_mem_per_block_dynamic": (1024.0, "B"),
    "dram__bytes.sum.peak_sustained": (1280.0, "B"),
    "dram__cycles_elapsed.avg.per_second": (1.5625e9, "Hz"),
    "dram__bytes.sum.per_second": (1.6e12, "B/s"),
    "dram__bytes_read.sum": (24e6, "B"),
    "dram__bytes_write.sum": (8e6, "B"),
    "sm__cycles_elapsed.avg.per_second": (1.5e9, "Hz"),
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum.peak_sustained": (2e5, ""),
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum.per_cycle_elapsed": (5e4, ""),
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": (6.0, ""),
    "smsp__average_warps_issue_stalled_selected_per_issue_active.ratio": (1.0, ""),
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": (3.0, ""),
    "smsp__inst_executed.sum": (1000.0, ""),
    "sm__inst_executed_pipe_tensor_op_hmma.sum": (100.0, ""),
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": (10.0, ""),
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": (160.0, ""),
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": (40.0, ""),
}
OPCODES = {"HMMA": 100.0, "LDG": 300.0, "FFMA": 600.0}


def build_launch(number: int = 0, kernel: str = "void copy<float>(float *)", **changes: object) -> Launch:
    """One launch; ``changes`` are counters by name with underscores for dots, or None to leave one out."""
    counters = {
        name: Counter(name=name, value=value, unit=unit, exactness=classify(name))
        for name, (value, unit) in NUMBERS.items()
    }
    opcodes = "sass__inst_executed_per_opcode"
    counters[opcodes] = Counter(name=opcodes, value=1000.0, unit="", exactness=classify(opcodes), instances=OPCODES)
    for key, value in changes.items():
        (name,) = [name for name in counters if name.replace(".", "_") == key]
        if value is None:
            del counters[name]
        else:
            before = counters[name]
            assert isinstance(value, float)
            counters[name] = Counter(name=name, value=value, unit=before.unit, exactness=before.exactness)
    return Launch(
        number=number,
        kernel=kernel,
        function=kernel.removeprefix("void ").partition("<")[0].partition("(")[0],
        grid=(128, 2, 1),
        block=(256, 1, 1),
        device="NVIDIA A100",
        compute_capability="8.0",
        ranges=("outer", "inner"),
        counters=counters,
        missing={"dram__sectors_read.sum": "n/a"},
        rules=(Rule(section="SpeedOfLight", rule="SOLBottleneck", kind="optimization", message="Bound by memory."),),
    )


def build_report(*launches: Launch, path: str = "folder/report.ncu-rep") -> Report:
    """A report of ``launches``; of one if none is given."""
    return Report(
        path=path,
        reader="a test",
        launches=launches or (build_launch(),),
        notes=("values are rounded",),
    )
