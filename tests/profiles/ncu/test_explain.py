"""Whole explanations: groups of launches, baselines, the other layers, and the text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from perf.model import Capture, Layer, Metric
from profiles.ncu.explain import explain, explain_report
from profiles.ncu.explain_text import explanation_text
from profiles.ncu.layer_links import Agreement, agreements, matching_captures, matching_lines
from profiles.ncu.model import Launch, Report
from tests.profiles.ncu.hand_made import BASE, base_launch, build_launch
from tests.source_builders import build_counted_kernel, build_simulated_capture, build_source_counters

NAME = "attention_fwd<bf16, 64, window>"
TIME = "gpu__time_duration.sum"
STATIC = Capture(
    kernel=NAME,
    architecture="sm_90a",
    layer=Layer.STATIC,
    counters={
        Metric.REGISTERS: 64.0,
        Metric.SPILL_BYTES: 0.0,
        Metric.SHARED_MEMORY_BYTES: 16384.0,
        Metric.OCCUPANCY: 0.5,
        Metric.SASS_TENSOR: 64.0,
    },
)
SIMULATED = build_simulated_capture(NAME, "sm_90a")


def _of(found: tuple[Agreement, ...], figure: str) -> Agreement:
    return next(one for one in found if one.figure == figure)


def test_launches_of_one_kernel_and_shape_are_one_explanation() -> None:
    """The launch of median time speaks for all; another grid is another group."""
    times = [base_launch({TIME: seconds}, number=index) for index, seconds in enumerate((3e-4, 1e-4, 2e-4))]
    other = replace(base_launch(number=3), grid=(1, 1, 1))
    found = explain([*times, other])
    assert [len(one.group.launches) for one in found] == [3, 1]
    assert found[0].launch.number == 2
    assert found[0].spreads[TIME].relative == pytest.approx(1.0)


def test_separate_captures_of_one_kernel_complete_each_other() -> None:
    """Hardware's counters in one launch and those of patched instructions in another are explained together."""
    patched = ("memory_l1_wavefronts_shared", "memory_l1_wavefronts_shared_ideal")
    hardware = build_launch({name: value for name, value in BASE.items() if name not in patched})
    other = build_launch({name: BASE[name] for name in patched}, number=1)
    worse = build_launch({"memory_l1_wavefronts_shared": 8 * 1.98e6}, number=1)
    slower = build_launch({name: counter.value for name, counter in hardware.counters.items()} | {TIME: 131e-6})
    (found,) = explain([slower, worse], baseline=[hardware, other])
    assert found.launch.number_of("memory_l1_wavefronts_shared") == 8 * 1.98e6
    assert found.comparison is not None
    assert found.comparison.causes[0].name == "shared-memory wavefronts"


def test_the_text_has_every_topic() -> None:
    """Time, roofline, occupancy, warps, memory, instructions and the other layers."""
    text = explanation_text(explain([base_launch()], captures=[STATIC, SIMULATED]))
    for words in (
        "DRAM needs 50.00 µs",
        "DRAM moved 335.0 GB/s of 670.0 GB/s, 50.0 %",
        "50.0 % possible, limited by registers; 48.0 % reached",
        "30.0 % waiting for data from global or local memory",
        "L1 global loads: 100 000 requests, 1 600 000 sectors, 16.00 sectors/request",
        "nothing is spilled",
        "registers per thread: hardware 64, static 64: they agree",
    ):
        assert words in text


def test_several_launches_show_their_spread() -> None:
    """Lowest, highest, median and how many."""
    text = explanation_text(explain([base_launch({TIME: seconds}) for seconds in (99e-6, 100e-6, 102e-6)]))
    assert "99.00 µs to 102.0 µs, median 100.0 µs over 3 launches (spread 3.0 %)" in text


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"grid": (7, 1, 1)}, True),  # the only one of this kernel
        ({"kernel": "void attention_fwd_sm90<other>()", "grid": (7, 1, 1)}, True),  # of this function
        ({"kernel": "void copy()", "function": "copy"}, False),
    ],
)
def test_the_baseline_is_of_the_same_kernel(changes: dict[str, object], matches: bool) -> None:
    """Of the same shape if there is one; another kernel is not compared, and the text says so."""
    older = replace(base_launch({TIME: 80e-6}), **changes)  # type: ignore[arg-type]
    (found,) = explain([base_launch()], baseline=[older])
    assert (found.comparison is not None) is matches
    text = explanation_text((found,))
    assert ("not explained" in text) is matches
    assert ("no comparison: the baseline holds no launch of attention_fwd_sm90" in text) is not matches


def test_a_baseline_that_may_be_several_is_none() -> None:
    """Which of two other shapes is meant, nobody knows."""
    older = [replace(base_launch(), grid=(size, 1, 1)) for size in (1, 2)]
    (found,) = explain([base_launch()], baseline=older)
    assert found.comparison is None


def test_an_empty_report_is_refused() -> None:
    """With its name."""
    with pytest.raises(RoofgateError, match=r"x\.ncu-rep: holds no launches"):
        explain_report(Report(path="x.ncu-rep", reader="", launches=()))


def test_captures_are_matched_by_name_and_architecture() -> None:
    """The demangled name of the launch is the house's name of the kernel; sm_90a code runs on 9.0 only."""
    other = replace(STATIC, architecture="sm_80")
    assert matching_captures(base_launch(), [STATIC, other, replace(STATIC, kernel="ceiling_copy")]) == (STATIC,)
    counters = build_source_counters("tree", build_counted_kernel(NAME, "sm_80"), build_counted_kernel(NAME, "sm_90a"))
    lines = matching_lines(base_launch(), counters)
    assert lines is not None
    assert lines.architecture == "sm_90a"
    assert matching_lines(base_launch(), None) is None


def test_layers_that_agree() -> None:
    """Resources of a block, ratios per request, and whether something occurs."""
    launch = base_launch({"l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": 1.55e6})
    found = agreements(launch, [STATIC, SIMULATED])
    assert {one.figure for one in found} == {
        "registers per thread",
        "shared memory per block",
        "theoretical occupancy",
        "access to local memory",
        "tensor instructions",
        "shared wavefronts per conflict-free wavefront",
        "global sectors per request",
    }
    assert all(one.agrees for one in found), [one.sentence for one in found]


@pytest.mark.parametrize(
    ("figure", "changes"),
    [
        ("registers per thread", {"launch__registers_per_thread": 72.0}),
        ("access to local memory", {"smsp__sass_inst_executed_op_local_ld.sum": 5.0}),
        ("tensor instructions", {"sm__inst_executed_pipe_tensor.sum": 0.0}),
        ("shared wavefronts per conflict-free wavefront", {"memory_l1_wavefronts_shared": 4e6}),
        ("global sectors per request", {"l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": 3.2e6}),
    ],
)
def test_layers_that_disagree_are_named_first(figure: str, changes: dict[str, float]) -> None:
    """The sentence has both values, and disagreements stand above agreements."""
    launch = base_launch({"l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": 1.55e6} | changes)
    found = _of(agreements(launch, [STATIC, SIMULATED]), figure)
    assert not found.agrees
    text = explanation_text(explain([launch], captures=[STATIC, SIMULATED]))
    assert text.index(found.sentence) < text.index("they agree")


NAMES = st.sampled_from([*sorted(BASE), "lts__t_requests.sum", "dram__sectors_read.sum", "launch__block_size"])
AMOUNTS = st.just(0.0) | st.floats(1e-9, 1e15)
LAUNCHES = st.dictionaries(NAMES, AMOUNTS | st.text(max_size=3)).map(build_launch)


@given(st.lists(LAUNCHES, min_size=1, max_size=4))
def test_any_capture_has_an_explanation(launches: list[Launch]) -> None:
    """Whatever was captured, or was text where a number is expected: nothing fails, and every launch is in a group."""
    found = explain(launches, captures=[STATIC, SIMULATED])
    assert sum(len(one.group.launches) for one in found) == len(launches)
    assert explanation_text(found)
