"""cp.async.mbarrier.arrive: an mbarrier that waits for the copies of threads.

PTX ISA: the arrival happens once all copies that the thread started before have arrived.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.profiles.simulator.copy_kernel import (
    BARRIER,
    LANES,
    OLD,
    TWO_WARPS,
    copies,
    kernel_text,
    run,
    source_bytes,
)

# One barrier object for the block, with an arrival of each lane of the first warp.
MBARRIER = (
    f"mov.u32 %w0, arrived;\n@%first mbarrier.init.shared.b64 [%w0], {LANES};\n{BARRIER}"
    f"setp.lt.u32 %p, %thread, {LANES};\n"
)
AWAIT = (
    "TRY: mbarrier.try_wait.parity.shared.b64 %p, [%w0], 0;\n"
    "@!%p bra TRY;\n"
)  # fmt: skip
# The second warp reads what the first one copied, and the first its own bytes.
READ_FIRST = "and.b32 %own, %own, 0x7ff;\nsetp.lt.u32 %p, %thread, 32;\n"


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_an_mbarrier_can_wait_for_the_copies_of_other_threads(seed: int) -> None:
    """The first warp copies and leaves it to the barrier object to say so; both warps wait for that."""
    arrive = "@%p cp.async.mbarrier.arrive.noinc.shared.b64 [%w0];\n"
    body = MBARRIER + "@%p " + copies(0) + "\n" + arrive + AWAIT + READ_FIRST

    done = run(kernel_text(body, threads=TWO_WARPS), threads=TWO_WARPS, races=True, seed=seed)

    expected = np.concatenate([source_bytes(TWO_WARPS)[:LANES, :16]] * 2)
    assert done.findings == ()
    assert np.array_equal(done.result[:, :16], expected)


def test_without_noinc_the_arrival_of_a_copy_is_not_counted() -> None:
    """The count goes up first, so the 32 ordinary arrivals are still needed."""
    counted = "@%p cp.async.mbarrier.arrive.shared.b64 [%w0];\n@%p mbarrier.arrive.shared.b64 _, [%w0];\n"
    body = MBARRIER + "@%p " + copies(0) + "\n{arrivals}" + AWAIT + READ_FIRST

    correct = run(kernel_text(body.format(arrivals=counted), threads=TWO_WARPS), threads=TWO_WARPS, races=True)
    lacking = counted.splitlines()[0] + "\n"
    stuck = run(kernel_text(body.format(arrivals=lacking), threads=TWO_WARPS), threads=TWO_WARPS, races=True)

    assert correct.findings == ()
    assert stuck.checks == {"deadlock"}


def test_an_arrival_does_not_wait_for_later_copies() -> None:
    """Copies that a lane starts behind the arrival are its own affair."""
    arrive = "@%p cp.async.mbarrier.arrive.noinc.shared.b64 [%w0];\n@%p "
    body = MBARRIER + "@%p " + copies(0) + "\n" + arrive + copies(16) + "\n" + AWAIT

    done = run(kernel_text(body, threads=TWO_WARPS), threads=TWO_WARPS)

    assert np.array_equal(done.result[:LANES, :16], source_bytes()[:, :16])
    assert (done.result[:LANES, 16:32] == OLD).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_warp_itself_has_to_wait_for_the_mbarrier_too(seed: int) -> None:
    """An arrival of copies is no wait for them, even where a schedule completes it long before the bytes are read."""
    arrive = "@%p cp.async.mbarrier.arrive.noinc.shared.b64 [%w0];\n"
    pause = "mov.u32 %w1, 0;\nPAUSE: add.u32 %w1, %w1, 1;\nsetp.lt.u32 %odd, %w1, 200;\n@%odd bra PAUSE;\n"
    body = MBARRIER + "@%p " + copies(0) + "\n" + arrive + pause

    done = run(kernel_text(body, threads=TWO_WARPS), threads=TWO_WARPS, races=True, seed=seed)

    assert done.checks == {"copy-in-flight"}
