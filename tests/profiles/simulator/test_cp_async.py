"""cp.async: what is copied, when it arrives, who may use it, and what it costs.

PTX ISA: every thread has groups of its own; a wait is for the thread's own copies; bytes that are not read are zero.
"""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import load_kernel
from tests.profiles.simulator.copy_kernel import (
    BARRIER,
    COMMIT,
    LANES,
    POISON,
    THREAD_BYTES,
    TWO_WARPS,
    WAIT_ALL,
    copies,
    kernel_text,
    old_bytes,
    run,
    source_bytes,
    wait_group,
)


@pytest.mark.parametrize("races", [False, True])
@pytest.mark.parametrize(("cache", "size"), [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)])
def test_a_copy_moves_its_size(cache: str, size: int, races: bool) -> None:
    """Nothing beyond the size is touched."""
    body = f"cp.async.{cache}.shared.global.L2::128B [%own+16], [%source+32], {size};\n{WAIT_ALL}"

    done = run(kernel_text(body), races=races)

    expected = old_bytes()
    expected[:, 16 : 16 + size] = source_bytes()[:, 32 : 32 + size]
    assert done.findings == ()
    assert np.array_equal(done.result, expected)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_bytes_beyond_the_source_size_are_zero(size: int) -> None:
    """src-size in a register, another one in each lane, from 0 to the size of the copy."""
    read = np.arange(LANES) % (size + 1)
    body = f"cp.async.ca.shared::cta.global [%own], [%source], {size}, %number;\n{WAIT_ALL}"

    done = run(kernel_text(body), numbers=read, races=True)

    expected = old_bytes()
    expected[:, :size] = np.where(np.arange(size) < read[:, None], source_bytes()[:, :size], 0)
    assert done.findings == ()
    assert np.array_equal(done.result, expected)
    assert done.copy_counters.bytes == read.sum()


@pytest.mark.parametrize(("operand", "reads"), [("%odd", False), ("!%odd", True)])
def test_lanes_whose_predicate_says_so_read_nothing(operand: str, reads: bool) -> None:
    """ignore-src: zeros instead of the source, which need not exist; here it does not for the lanes that ignore it."""
    move = f"@{'%odd' if not reads else '!%odd'} add.u64 %source, %source, 0x100000000;\n"
    body = f"{move}cp.async.ca.shared.global [%own], [%source], 16, {operand};\n{WAIT_ALL}"

    done = run(kernel_text(body), races=True)

    expected = old_bytes()
    odd = np.arange(LANES) % 2 == 1
    expected[:, :16] = np.where((odd == reads)[:, None], source_bytes()[:, :16], 0)
    assert done.findings == ()
    assert np.array_equal(done.result, expected)


def test_a_cache_policy_changes_nothing() -> None:
    """It is an operand more, behind all others."""
    body = (
        "createpolicy.fractional.L2::evict_last.b64 %policy, 1.0;\n"
        "cp.async.cg.shared.global.L2::cache_hint [%own], [%source], 16, 8, %policy;\n" + WAIT_ALL
    )

    done = run(kernel_text(body))

    assert done.findings == ()
    assert np.array_equal(done.result[:, :8], source_bytes()[:, :8])
    assert not done.result[:, 8:16].any()


def test_lanes_whose_guard_fails_copy_nothing() -> None:
    """Copies are made lane by lane."""
    done = run(kernel_text(f"@%odd {copies(0)}\n{WAIT_ALL}"), races=True)

    expected = old_bytes()
    expected[1::2, :16] = source_bytes()[1::2, :16]
    assert done.findings == ()
    assert np.array_equal(done.result, expected)
    assert done.copy_counters.bytes == LANES // 2 * 16


def test_without_a_wait_the_old_bytes_are_read() -> None:
    """Copies arrive as late as possible; committing a group is no wait."""
    done = run(kernel_text(copies(0) + "\n" + COMMIT))

    assert np.array_equal(done.result, old_bytes())


def test_without_a_wait_reads_are_found_and_give_no_number() -> None:
    """With races checked the place of a copy in flight is poisoned, and who reads it is told so."""
    done = run(kernel_text(copies(0) + "\n" + COMMIT), races=True)

    assert done.checks == {"copy-in-flight"}
    assert done.findings[0].other is not None
    assert done.findings[0].other.action == "cp.async"
    assert (done.result[:, :16] == POISON).all()
    assert np.array_equal(done.result[:, 16:], old_bytes()[:, 16:])


@pytest.mark.parametrize("pending", [0, 1, 2, 3, 4])
def test_a_wait_is_for_all_but_the_latest_groups(pending: int) -> None:
    """Three groups, the second of two copies."""
    body = copies(0) + COMMIT + copies(16, 32) + COMMIT + copies(48) + COMMIT + wait_group(pending)

    done = run(kernel_text(body))

    expected = old_bytes()
    arrived = {0: 64, 1: 48, 2: 16}.get(pending, 0)
    expected[:, :arrived] = source_bytes()[:, :arrived]
    assert np.array_equal(done.result, expected)


def test_a_wait_for_groups_is_not_for_copies_without_one() -> None:
    """wait_group 0 does not wait for what was not committed; wait_all does."""
    body = copies(0) + COMMIT + copies(16)

    by_group, all_of_them = run(kernel_text(body + wait_group(0))), run(kernel_text(body + WAIT_ALL))

    expected = old_bytes()
    expected[:, :16] = source_bytes()[:, :16]
    assert np.array_equal(by_group.result, expected)
    expected[:, 16:32] = source_bytes()[:, 16:32]
    assert np.array_equal(all_of_them.result, expected)


def test_an_empty_group_counts() -> None:
    """A loop's last turns commit groups without copies, so that its wait can stay the same."""
    done = run(kernel_text(copies(0) + COMMIT + COMMIT + wait_group(1)), races=True)

    assert done.findings == ()
    assert np.array_equal(done.result[:, :16], source_bytes()[:, :16])


def test_every_lane_counts_its_own_groups() -> None:
    """Odd lanes commit an empty group more: for them, one group behind the latest is the one with the copy."""
    done = run(kernel_text(copies(0) + COMMIT + f"@%odd {COMMIT}" + wait_group(1)))

    expected = old_bytes()
    expected[1::2, :16] = source_bytes()[1::2, :16]
    assert np.array_equal(done.result, expected)


def test_lanes_in_different_groups_may_copy_together() -> None:
    """Then the copy of one instruction arrives for some of its lanes only."""
    done = run(kernel_text(f"@%odd {COMMIT}" + copies(0) + f"@!%odd {COMMIT}" + COMMIT + wait_group(1)))

    expected = old_bytes()
    expected[0::2, :16] = source_bytes()[0::2, :16]
    assert np.array_equal(done.result, expected)


def test_a_wait_is_for_the_own_copies_of_a_lane() -> None:
    """Lanes that do not execute the wait have not waited."""
    done = run(kernel_text(copies(0) + COMMIT + f"@%odd {wait_group(0)}"), races=True)

    assert done.checks
    assert {finding.other.action for finding in done.findings if finding.other} == {"cp.async"}
    assert np.array_equal(done.result[1::2, :16], source_bytes()[1::2, :16])
    assert (done.result[0::2, :16] == POISON).all()


@pytest.mark.parametrize(
    ("body", "checks"),
    [
        pytest.param(BARRIER + copies(0) + WAIT_ALL + BARRIER, set(), id="wait and barrier"),
        pytest.param(BARRIER + copies(0) + WAIT_ALL, {"shared-race"}, id="no barrier"),
        pytest.param(BARRIER + copies(0) + BARRIER + WAIT_ALL + BARRIER, set(), id="a barrier more"),
        pytest.param(BARRIER + copies(0) + BARRIER, {"copy-in-flight"}, id="no wait"),
        pytest.param(BARRIER + copies(0) + BARRIER + WAIT_ALL, {"copy-in-flight", "shared-race"}, id="wait too late"),
    ],
)
def test_other_warps_need_the_wait_and_then_a_barrier(body: str, checks: set[str]) -> None:
    """The thread that copied waits, then a barrier tells the others; each warp reads what the other one copied."""
    ptx = kernel_text(body, threads=TWO_WARPS, read_from="%other")

    done = run(ptx, threads=TWO_WARPS, races=True)

    assert bool(done.checks) == bool(checks)
    assert done.checks <= checks
    if not checks:
        assert np.array_equal(done.result[:, :16], np.roll(source_bytes(TWO_WARPS), LANES, axis=0)[:, :16])


def test_a_copy_onto_bytes_that_others_may_still_read_is_found() -> None:
    """The buffer is filled again without a barrier behind the last use."""
    read = "ld.shared.b32 %w0, [%other];\n"
    fill = copies(0) + WAIT_ALL + BARRIER

    correct = run(kernel_text(BARRIER + fill + read + BARRIER + fill, threads=TWO_WARPS), threads=TWO_WARPS, races=True)
    wrong = run(kernel_text(BARRIER + fill + read + fill, threads=TWO_WARPS), threads=TWO_WARPS, races=True)

    assert correct.findings == ()
    assert wrong.checks == {"shared-race"}


def test_writing_where_a_copy_is_in_flight_is_found() -> None:
    """Nobody can tell which of both would remain."""
    done = run(kernel_text(copies(0) + "\nst.shared.b32 [%own+8], %old;\n" + WAIT_ALL), races=True)

    assert done.checks == {"copy-in-flight"}


def test_two_copies_in_flight_to_one_place_are_found() -> None:
    """The order in which copies arrive is open."""
    assert run(kernel_text(copies(0, 0) + WAIT_ALL), races=True).checks == {"copy-in-flight"}


def test_sectors_wavefronts_and_bytes_are_counted() -> None:
    """Lanes copy 16 bytes each, 64 bytes apart: a sector each; of 8 lanes that are served together, 4 share banks."""
    counters = run(kernel_text(copies(0) + WAIT_ALL)).copy_counters

    assert (counters.requests, counters.sectors, counters.wavefronts) == (1, LANES, LANES // 2)
    assert counters.bytes == LANES * 16


@pytest.mark.parametrize(
    ("copy", "check", "space"),
    [
        ("cp.async.cg.shared.global [%own+8], [%source], 16", "misaligned", "shared"),
        ("cp.async.ca.shared.global [%own], [%source+4], 8", "misaligned", "global"),
        (f"cp.async.ca.shared.global [%own+{LANES * THREAD_BYTES - 60}], [%source], 4", "out-of-bounds", "shared"),
        ("cp.async.ca.shared.global [%own], [%source+64], 4", "out-of-bounds", "global"),
        ("cp.async.ca.shared.global [%own], [%source+56], 16", "misaligned", "global"),
        ("cp.async.ca.shared.global [%own], [%source], 8, 9", "out-of-bounds", "global"),
    ],
)
def test_wrong_addresses_are_found(copy: str, check: str, space: str) -> None:
    """Both sides are aligned to the size of the copy and exist; a copy cannot read more than it writes."""
    (finding,) = run(kernel_text(f"{copy};\n{WAIT_ALL}")).findings

    assert (finding.check, finding.space) == (check, space)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("cp.async.cg.shared.global [%own], [%source], 8", "16 bytes, not 8"),
        ("cp.async.ca.shared.global [%own], [%source], 12", "not 12"),
        ("cp.async.ca.shared.global [%own], [%source], %number", "literal"),
        ("cp.async.ca.shared::cluster.global [%own], [%source], 4", ".ca and .cg"),
        ("cp.async.ca.global.shared [%source], [%own], 4", ".ca and .cg"),
        ("cp.async.ca.shared.global.L1::evict_last [%own], [%source], 4", "L1::evict_last"),
        ("cp.async.wait_group -1", "negative"),
        ("cp.async.wait_group %number", "literal"),
        ("cp.async.mbarrier.test.b64 [%own]", "cp.async.mbarrier.arrive"),
    ],
)
def test_a_form_that_is_not_known_is_refused_with_its_reason(instruction: str, reason: str) -> None:
    """Nothing is ignored silently."""
    with pytest.raises(LoweringError, match="PTX line") as refusal:
        load_kernel(kernel_text(f"{instruction};"), "copy")

    assert reason in str(refusal.value)
