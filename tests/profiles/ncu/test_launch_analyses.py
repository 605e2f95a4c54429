"""What single launches say: floors, occupancy, stalls, memory flow, instructions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.ncu.busy_time import DRAM, ISSUE, L1_DATA, TENSOR, time_floor
from profiles.ncu.instructions import instruction_mix, tensor_instructions
from profiles.ncu.launch_facts import clock_hz, duration_s
from profiles.ncu.launch_occupancy import launch_occupancy
from profiles.ncu.memory_flow import Flow, excess_wavefronts, memory_flow
from profiles.ncu.model import Counter, Exactness, Launch
from profiles.ncu.roofline import roofline
from profiles.ncu.stalls import stall_breakdown
from tests.profiles.ncu.hand_made import BASE, base_launch, build_launch, stalls


def test_the_floor_is_the_busiest_resource() -> None:
    """33.5 MB at 0.67 TB/s are 50 µs; the tensor pipe is busy 40 %; 1.98e6 wavefronts need 10 µs; all within 100 µs."""
    launch = base_launch()
    floor = time_floor(launch, roofline(launch))
    assert floor is not None
    busy = {one.resource: one.seconds for one in floor.busy}
    assert floor.floor.resource == DRAM
    assert busy[DRAM] == pytest.approx(50e-6, rel=1e-3)
    assert busy[TENSOR] == pytest.approx(40e-6)
    assert busy[L1_DATA] == pytest.approx(10e-6)
    assert busy[ISSUE] == pytest.approx(20e6 / (4 * 132 * 1.5e9))
    assert "DRAM needs 50.00 µs (50.0 %)" in floor.sentence


def test_no_floor_without_a_time() -> None:
    """A share of unknown time says nothing."""
    launch = build_launch({name: value for name, value in BASE.items() if name != "gpu__time_duration.sum"})
    assert duration_s(launch) is None
    assert time_floor(launch, roofline(launch)) is None


def test_time_and_clock_follow_from_cycles() -> None:
    """Cycles at a frequency are a time, and cycles in a time are a frequency."""
    assert duration_s(
        build_launch({"gpc__cycles_elapsed.max": 3000.0, "gpc__cycles_elapsed.avg.per_second": 1e9})
    ) == pytest.approx(3e-6)
    assert clock_hz(build_launch({"sm__cycles_elapsed.avg": 3000.0, "gpu__time_duration.sum": 2e-6})) == pytest.approx(
        1.5e9
    )


def test_active_cycles_are_scaled_to_the_whole_launch() -> None:
    """A pipe that is busy half of the active cycles, of which there are half, is busy a quarter of the time."""
    launch = build_launch(
        {
            "gpu__time_duration.sum": 1e-4,
            "sm__cycles_active.avg": 500.0,
            "sm__cycles_elapsed.avg": 1000.0,
            "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active": 50.0,
        }
    )
    floor = time_floor(launch, roofline(launch))
    assert floor is not None
    assert {one.resource: one.fraction for one in floor.busy} == {"special functions": pytest.approx(0.25)}


def test_occupancy_is_computed_and_held_against_that_of_ncu() -> None:
    """64 registers in blocks of 128 threads: 8 blocks of 4 warps, half of 64 warps."""
    occupancy = launch_occupancy(base_launch())
    assert occupancy.theoretical == 0.5
    assert occupancy.limiter == "registers"
    assert occupancy.agrees is True
    assert occupancy.achieved == pytest.approx(0.48)
    other = launch_occupancy(base_launch({"sm__maximum_warps_per_active_cycle_pct": 62.5}))
    assert other.agrees is False
    assert "ncu states 62.5 %" in other.sentence


@pytest.mark.parametrize(
    ("capability", "missing", "reason"),
    [("", "", "compute capability"), ("3.5", "", "'sm_35'"), ("9.0", "launch__registers_per_thread", "no registers")],
)
def test_occupancy_that_cannot_be_computed_says_why(capability: str, missing: str, reason: str) -> None:
    """Ncu's own figure still stands."""
    counters = {name: value for name, value in BASE.items() if name != missing}
    occupancy = launch_occupancy(build_launch(counters, capability=capability))
    assert occupancy.computed is None
    assert reason in occupancy.reason
    assert occupancy.theoretical == 0.5


def test_stalls_are_shares_of_a_warps_time() -> None:
    """Ratios add up to the cycles per instruction; the longest state comes first; issuing is no waiting."""
    found = stall_breakdown(base_launch())
    assert found.cycles_per_instruction == pytest.approx(10.0)
    assert [state.reason for state in found.states[:2]] == ["long_scoreboard", "math_pipe_throttle"]
    assert found.states[0].share == pytest.approx(0.3)
    assert "selected" not in [state.reason for state in found.waiting]


def test_sampled_states_serve_where_none_were_counted() -> None:
    """Samples taken while nothing was issued are the same warps again and do not count twice."""
    launch = build_launch(
        {
            "smsp__pcsamp_warps_issue_stalled_no_instructions": 25.0,
            "smsp__pcsamp_warps_issue_stalled_barrier": 75.0,
            "smsp__pcsamp_warps_issue_stalled_barrier_not_issued": 70.0,
        }
    )
    found = stall_breakdown(launch)
    assert found.source == "sampled"
    assert {state.reason: state.share for state in found.states} == {"barrier": 0.75, "no_instruction": 0.25}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_shares_add_up_to_one(ratios: list[float]) -> None:
    """Whatever the ratios, unless all are zero."""
    names = ("barrier", "wait", "selected", "gmma", "membar")
    found = stall_breakdown(build_launch(stalls(**dict(zip(names, ratios, strict=False)))))
    assert sum(state.share for state in found.states) == pytest.approx(1.0 if any(ratios) else 0.0)


def _flow(launch: Launch, level: str, access: str) -> Flow:
    return next(flow for flow in memory_flow(launch) if (flow.level, flow.access) == (level, access))


def test_memory_flow_has_ratios_and_hit_rates() -> None:
    """16 sectors per request, of which half is used; ways that nothing went are left out."""
    used = {"smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.ratio": 16.0}
    launch = base_launch({**used, "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum": 0.0})
    loads = _flow(launch, "L1", "global loads")
    assert loads.sectors_per_request == pytest.approx(16.0)
    assert loads.bytes_per_sector == pytest.approx(16.0)
    assert _flow(launch, "L2", "all").hit_rate == pytest.approx(0.6)
    assert _flow(launch, "L2", "all").bytes == 2e6 * 32
    assert _flow(launch, "shared memory", "all").wavefronts_per_request == pytest.approx(1.0)
    assert "global stores" not in [flow.access for flow in memory_flow(launch)]


def test_a_hit_rate_follows_from_hits_and_sectors() -> None:
    """Of an A100: 288244 of 371215 sectors hit, and ncu states 77.6488 %."""
    launch = build_launch({"lts__t_sectors_lookup_hit.sum": 288244.0, "lts__t_sectors.sum": 371215.0})
    assert _flow(launch, "L2", "all").hit_rate == pytest.approx(0.7764880190725052)


def test_bank_conflicts_prefer_the_exact_counter() -> None:
    """Patched instructions count exactly; the hardware's counter varies."""
    exact = {"memory_l1_wavefronts_shared": 800.0, "memory_l1_wavefronts_shared_ideal": 100.0}
    hardware = {"l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": 711.0}
    assert excess_wavefronts(build_launch(exact | hardware)) == 700.0
    assert excess_wavefronts(build_launch(hardware)) == 711.0
    assert excess_wavefronts(build_launch({})) is None


def _with_opcodes(opcodes: dict[str, float]) -> Launch:
    name = "sass__inst_executed_per_opcode"
    counter = Counter(name, sum(opcodes.values()), "", Exactness.EXACT, opcodes)
    launch = build_launch({})
    return Launch(
        number=0,
        kernel=launch.kernel,
        function=launch.function,
        grid=None,
        block=None,
        device="",
        compute_capability="",
        counters={name: counter},
    )


def test_the_mix_counts_opcodes() -> None:
    """Most frequent first; tensor instructions and local memory by opcode where nothing else counts them."""
    launch = _with_opcodes({"HMMA": 60.0, "LDL": 10.0, "STL": 5.0, "FFMA": 25.0, "NOP": 0.0})
    mix = instruction_mix(launch)
    assert [opcode.name for opcode in mix.opcodes] == ["HMMA", "FFMA", "LDL", "STL"]
    assert mix.opcodes[0].share == pytest.approx(0.6)
    assert tensor_instructions(launch) == 60.0
    assert mix.local == 15.0


def test_spills_are_told_from_their_absence() -> None:
    """Zero is a finding, and not captured is none."""
    assert "nothing is spilled" in instruction_mix(base_launch()).spill_sentence
    assert instruction_mix(build_launch({})).spill_sentence == ""
    spilling = base_launch({"smsp__sass_inst_executed_op_local_ld.sum": 2e6})
    assert "2 000 000 instructions access local memory (10.0 % of all)" in instruction_mix(spilling).spill_sentence


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ({"sm__inst_executed_pipe_tensor.sum": 3.0}, 3.0),
        ({"sm__inst_executed_pipe_tensor_v2.sum": 4.0}, 4.0),
        ({"sm__inst_executed_pipe_tensor.sum": 3.0, "sm__inst_executed_pipe_tc.sum": 5.0}, 8.0),
        ({}, None),
    ],
)
def test_tensor_instructions_have_a_name_for_each_architecture(
    counters: dict[str, float], expected: float | None
) -> None:
    """Ampere and Hopper, Ada, Blackwell with mma.sync and tcgen05; and none where none was captured."""
    assert tensor_instructions(build_launch(counters)) == expected
