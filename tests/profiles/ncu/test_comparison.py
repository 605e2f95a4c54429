"""Planted causes are named first, with their numbers; noise is no change; and what nothing explains is said so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ncu.comparison import Comparison, compare
from profiles.ncu.explain_text import comparison_text
from profiles.ncu.model import Exactness
from profiles.ncu.spread import Spread, changed
from tests.profiles.ncu.hand_made import BASE, CLOCK_HZ, MEGA, base_launch, build_launch, stalls
from tests.source_builders import KERNEL as KERNEL_SOURCE
from tests.source_builders import build_counted_kernel

TIME = "gpu__time_duration.sum"

# Each of one thing that went wrong, with what follows from it, on a kernel of 100 µs.
PLANTED: Mapping[str, dict[str, float]] = {
    "shared-memory wavefronts": {
        TIME: 131e-6,
        "memory_l1_wavefronts_shared": 8 * 1.98 * MEGA,
        **stalls(short_scoreboard=2.6, mio_throttle=2.5),
        "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": 40 / 1.31,
        "lts__t_sectors.avg.pct_of_peak_sustained_elapsed": 30 / 1.31,
    },
    "spills": {
        TIME: 140e-6,
        "smsp__sass_inst_executed_op_local_ld.sum": 0.5 * MEGA,
        "smsp__sass_inst_executed_op_local_st.sum": 0.3 * MEGA,
        "smsp__inst_executed.sum": 20.8 * MEGA,
        "smsp__inst_issued.sum": 20.8 * MEGA,
        "lts__t_sectors.sum": 2.1 * MEGA,
        **stalls(long_scoreboard=6.5),
    },
    "occupancy": {
        TIME: 170e-6,
        "launch__registers_per_thread": 128,
        "sm__maximum_warps_per_active_cycle_pct": 25.0,
        "sm__warps_active.avg.pct_of_peak_sustained_active": 24.0,
    },
    "DRAM traffic": {
        TIME: 131e-6,
        "dram__bytes_read.sum": 58 * MEGA,
        "lts__t_sector_hit_rate.pct": 25.0,
        **stalls(long_scoreboard=6.0),
    },
    "global memory sectors": {
        TIME: 150e-6,
        "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": 3.2 * MEGA,
        "lts__t_sectors.sum": 3.6 * MEGA,
        **stalls(long_scoreboard=7.5),
    },
    "instructions": {
        TIME: 130e-6,
        "smsp__inst_executed.sum": 27 * MEGA,
        "smsp__inst_issued.sum": 27 * MEGA,
    },
    "clock": {TIME: 130e-6, "sm__cycles_elapsed.avg.per_second": CLOCK_HZ / 1.3},
}


def _compare(changes: Mapping[str, float]) -> Comparison:
    return compare([base_launch()], [base_launch(changes)])


@pytest.mark.parametrize("cause", PLANTED)
def test_a_planted_cause_is_named_first(cause: str) -> None:
    """It accounts for most of the time's change, and the headline says its name."""
    found = _compare(PLANTED[cause])
    assert found.causes[0].name == cause, [one.sentence for one in found.causes]
    assert found.causes[0].share >= 0.5
    assert cause in found.headline
    assert found.explained


@pytest.mark.parametrize("cause", PLANTED)
def test_undoing_a_planted_cause_is_explained_by_it(cause: str) -> None:
    """A gain has the same reasons as the loss that it takes back."""
    found = compare([base_launch(PLANTED[cause])], [base_launch()])
    assert found.relative is not None
    assert found.relative < 0
    assert found.causes[0].name == cause, [one.sentence for one in found.causes]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("shared-memory wavefronts", ("per request 1.0 to 8.0", "1 980 000 to 15 840 000", "all of the +31.0 % time")),
        ("shared-memory wavefronts", ("bank conflicts 0 to 13 860 000",)),
        ("spills", ("instructions on local memory", "0 to 800 000", "+40.0 % time")),
        ("occupancy", ("50.0 % to 25.0 %", "limited by registers", "registers per thread 64 to 128")),
        ("DRAM traffic", ("31.95 MiB to 55.31 MiB", "L2 hit rate 60.0 % to 25.0 %")),
        ("global memory sectors", ("sectors per request 16.0 to 32.0",)),
        ("clock", ("1500 MHz to 1154 MHz", "no change of the code")),
    ],
)
def test_the_sentence_has_the_numbers(cause: str, words: tuple[str, ...]) -> None:
    """Before, after, and how much of the time's change they can account for."""
    sentence = _compare(PLANTED[cause]).causes[0].sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("wavefronts", "where"), [(1, f"most of them at {KERNEL_SOURCE}:40"), (8, f"bank conflicts at {KERNEL_SOURCE}:40")]
)
def test_a_cause_is_placed_at_its_line(wavefronts: int, where: str) -> None:
    """The simulated layer knows which line makes most of the wavefronts: that which calls the loading function."""
    lines = build_counted_kernel("attention_fwd<bf16, 64, window>", "sm_90a", wavefronts=wavefronts)
    planted = base_launch(PLANTED["shared-memory wavefronts"])
    cause = compare([base_launch()], [planted], lines=lines).causes[0]
    assert where in cause.sentence


def test_what_nothing_explains_is_said_so() -> None:
    """The time changed, and no counter did."""
    found = _compare({TIME: 131e-6})
    assert found.causes == ()
    assert not found.explained
    assert found.unexplained == 1.0
    assert "not explained" in found.headline


def test_a_counter_that_moves_against_the_time_explains_nothing() -> None:
    """Fewer bytes cannot have made it slower; they are listed as changed as well."""
    found = _compare({TIME: 131e-6, "dram__bytes_read.sum": 20 * MEGA})
    assert found.causes == ()
    assert [cause.name for cause in found.little] == ["DRAM traffic"]


def test_a_small_change_does_not_account_for_a_large_one() -> None:
    """3 % more L2 sectors are no reason for 31 % more time, though warps wait longer for memory."""
    same_use = {"lts__t_sectors.avg.pct_of_peak_sustained_elapsed": 30 * 1.03 / 1.31}
    found = _compare({TIME: 131e-6, "lts__t_sectors.sum": 2.06 * MEGA, **same_use, **stalls(long_scoreboard=6.0)})
    assert not found.explained
    assert "long_scoreboard" in found.symptoms[0]


def test_lower_occupancy_is_no_reason_while_a_resource_is_always_busy() -> None:
    """DRAM was busy all the time before and after: warps that wait for it would not have made it faster."""
    busy = {"dram__bytes_read.sum": 67 * MEGA}
    slower = {TIME: 131e-6, "dram__bytes_read.sum": 87.5 * MEGA}
    fewer = {
        "sm__maximum_warps_per_active_cycle_pct": 25.0,
        "sm__warps_active.avg.pct_of_peak_sustained_active": 24.0,
        "launch__registers_per_thread": 128,
    }
    found = compare([base_launch(busy)], [base_launch(slower | fewer)])
    assert [cause.name for cause in found.causes] == ["DRAM traffic"]
    assert "surely for 98" in found.causes[0].sentence
    assert [cause.name for cause in found.little] == ["occupancy"]


def test_noise_is_no_change() -> None:
    """Ranges of times that overlap; counters that changed all the same are named without a share."""
    before = [base_launch({TIME: seconds}) for seconds in (98e-6, 100e-6, 107e-6)]
    after = [base_launch({TIME: seconds, "launch__registers_per_thread": 66}) for seconds in (104e-6, 106e-6, 108e-6)]
    found = compare(before, after)
    assert not found.time_changed
    assert found.explained
    assert found.causes == ()
    assert "no more than noise" in found.headline
    assert [change.name for change in found.changes] == ["launch__registers_per_thread"]


def test_without_a_time_only_counters_are_compared() -> None:
    """No share of an unknown change."""
    counters = {name: value for name, value in BASE.items() if name != TIME}
    found = compare([build_launch(counters)], [build_launch(counters | {"memory_l1_wavefronts_shared": 4 * MEGA})])
    assert found.relative is None
    assert found.causes == ()
    assert "not captured" in found.headline
    assert [change.name for change in found.changes] == ["memory_l1_wavefronts_shared"]


def test_other_work_is_noted() -> None:
    """Two architectures are not one experiment."""
    found = compare([base_launch()], [build_launch(BASE, capability="8.0")])
    assert found.notes == ("the architecture differs: sm_90 and sm_80",)


def test_no_launches_are_refused() -> None:
    """There is nothing to compare with."""
    with pytest.raises(RoofgateError, match="no launch to explain"):
        compare([], [base_launch()])


def _spread(exactness: Exactness, *values: float) -> Spread:
    low, middle, high = sorted(values)
    return Spread(name="x", unit="", exactness=exactness, launches=3, median=middle, low=low, high=high)


@pytest.mark.parametrize(
    ("exactness", "before", "after", "expected"),
    [
        (Exactness.EXACT, (100, 100, 100), (101, 101, 101), True),
        (Exactness.EXACT, (100, 103, 106), (101, 104, 107), False),  # a kernel that polls
        (Exactness.TOLERANCE, (100, 100, 100), (101, 101, 101), False),
        (Exactness.TOLERANCE, (100, 100, 100), (103, 103, 103), True),
        (Exactness.STATISTICAL, (100, 100, 100), (104, 104, 104), False),
        (Exactness.STATISTICAL, (90, 100, 112), (110, 115, 120), False),
        (Exactness.STATISTICAL, (90, 100, 105), (110, 115, 120), True),
        (Exactness.EXACT, (0, 0, 0), (1, 1, 1), True),
    ],
)
def test_noise_depends_on_the_class_and_the_spread(
    exactness: Exactness, before: tuple[float, ...], after: tuple[float, ...], expected: bool
) -> None:
    """By more than the class allows, and outside of what the launches themselves varied."""
    assert changed(_spread(exactness, *before), _spread(exactness, *after)) is expected


NAMES = sorted(BASE)
VALUES = st.sampled_from([0.0, 1.0, 50.0]) | st.floats(1e-9, 1e15)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_any_two_captures_can_be_compared(before: dict[str, float], after: dict[str, float]) -> None:
    """Whatever a capture holds or lacks: shares lie in [0, 1], and the text can be written."""
    found = compare([build_launch(before)], [build_launch(after)])
    causes = (*found.causes, *found.little)
    assert all(0 <= cause.surely <= cause.share <= 1 for cause in causes)
    assert comparison_text(found)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_a_capture_equals_itself(counters: dict[str, float]) -> None:
    """No counter changed, and there is nothing to explain."""
    launch = build_launch(counters)
    found = compare([launch], [launch])
    assert (found.changes, found.causes, found.little, found.time_changed) == ((), (), (), False)
