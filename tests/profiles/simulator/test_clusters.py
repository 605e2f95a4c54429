"""Clusters: their barrier, memory of other blocks, remote mbarriers, multicast; and what sets registers aside."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Options, Outcome, load_kernel
from profiles.simulator.tensor_map import TensorMap
from tests.profiles.simulator.memory_kernels import LANES, checks, kernel, launch, words

BLOCKS = 4
BARRIER = 4096  # offset of the mbarrier behind the data
SHARED = BARRIER + 16

# %r20: own shared memory; %r3: own rank; %r23 and %r24: data and mbarrier of the next block; %p7: the first thread.
SETUP = f"""
    mov.u32 %r20, s; add.u32 %r21, %r20, {BARRIER};
    mov.u32 %r3, %cluster_ctarank; add.u32 %r22, %r3, 1; and.b32 %r22, %r22, {BLOCKS - 1};
    mapa.shared::cluster.u32 %r23, %r20, %r22; mapa.shared::cluster.u32 %r24, %r21, %r22;
    setp.eq.u32 %p7, %r1, 0;
    shl.b32 %r8, %r1, 2; add.u32 %r9, %r20, %r8; add.u32 %r19, %r23, %r8;
    mul.lo.u32 %r4, %r2, {4 * LANES}; cvt.u64.u32 %rd4, %r4; add.u64 %rd5, %rd1, %rd4; add.u64 %rd5, %rd5, %rd10;
    mul.lo.u32 %r7, %r2, 100; add.u32 %r7, %r7, %r1;
"""
INIT = "@%p7 mbarrier.init.shared::cta.b64 [%r21], {count}; @%p7 fence.mbarrier_init.release.cluster;"
SYNC = "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"
RELAXED_SYNC = "barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;"
WAIT = """
WAIT:
    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p1, [%r21], 0;
    @!%p1 bra WAIT;
"""
TO_NEXT = "st.shared::cluster.u32 [%r19], %r7;"  # to the next block
SHOW = "ld.shared.u32 %r5, [%r9]; st.global.u32 [%rd5], %r5;"


def run(
    memory: DeviceMemory, body: str, seed: int = 0, check_races: bool = True, arrays: tuple[np.ndarray, ...] = ()
) -> tuple[Outcome, np.ndarray]:
    """The outcome, and what the lanes of every block stored."""
    output = words(memory, BLOCKS * LANES)
    placed = [memory.place(array, name="values") for array in arrays]
    outcome = launch(
        memory,
        kernel(SETUP + body, 1 + len(placed), SHARED),
        output,
        *placed,
        grid=BLOCKS,
        cluster=(BLOCKS, 1, 1),
        options=Options(check_races=check_races, seed=seed),
    )
    return outcome, output.array.reshape(BLOCKS, LANES)


def from_previous_block() -> np.ndarray:
    """What each block's lanes hold after TO_NEXT."""
    blocks, lanes = np.ogrid[:BLOCKS, :LANES]
    return (blocks - 1) % BLOCKS * 100 + lanes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "sync",
    [
        SYNC,
        "barrier.cluster.arrive; barrier.cluster.wait;",
        "barrier.cluster.arrive.aligned; add.u32 %r6, %r6, 1; barrier.cluster.wait.aligned;",
        SYNC + SYNC + SYNC,
        "fence.acq_rel.cluster;" + RELAXED_SYNC,
    ],
)
def test_a_block_sees_what_another_wrote_before_the_barrier(memory: DeviceMemory, seed: int, sync: str) -> None:
    """Each block writes into the memory of the next one, whatever the schedule."""
    outcome, found = run(memory, SYNC + TO_NEXT + sync + SHOW + SYNC, seed)

    assert outcome.findings == ()
    np.testing.assert_array_equal(found, from_previous_block())


@pytest.mark.parametrize("sync", ["", RELAXED_SYNC, "bar.sync 0;"])
def test_other_synchronisation_is_not_enough(memory: DeviceMemory, sync: str) -> None:
    """No barrier, one that does not release, and one of the block alone."""
    outcome, _ = run(memory, TO_NEXT + sync + SHOW + SYNC)

    assert set(checks(outcome)) & {"shared-race", "uninitialised-shared"}


def test_nobody_passes_before_the_last_has_arrived(memory: DeviceMemory) -> None:
    """Blocks take turns of a different length before they arrive."""
    body = """
    mov.u32 %r6, 0; mul.lo.u32 %r10, %r3, 500;
LOOP:
    add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, %r10; @%p2 bra LOOP;
    atom.global.add.u32 %r11, [%rd2], 1;
    barrier.cluster.arrive; barrier.cluster.wait;
    ld.relaxed.gpu.global.u32 %r5, [%rd2]; st.global.u32 [%rd5], %r5;"""
    for seed in range(4):
        outcome, found = run(memory, body, seed, arrays=(np.zeros(1, np.uint32),))
        assert outcome.findings == ()
        assert (found == BLOCKS * LANES).all()


@pytest.mark.parametrize(
    "body",
    ["barrier.cluster.wait;", "barrier.cluster.arrive; barrier.cluster.arrive;", "barrier.cluster.arrive;" + SYNC],
)
def test_arrive_and_wait_alternate(memory: DeviceMemory, body: str) -> None:
    """Waiting without having arrived, or arriving again without having waited, is undefined."""
    outcome, _ = run(memory, body)

    assert checks(outcome) == ["barrier"]


def test_divergent_lanes_cannot_use_the_aligned_form(memory: DeviceMemory) -> None:
    """All lanes of a warp have to execute it together."""
    outcome, _ = run(memory, "setp.lt.u32 %p2, %r1, 16; @%p2 barrier.cluster.arrive.aligned;")

    assert checks(outcome) == ["divergence"]


def test_a_block_that_never_arrives_is_a_deadlock(memory: DeviceMemory) -> None:
    """The report says where the others wait."""
    body = """
    setp.eq.u32 %p2, %r3, 0; @%p2 bra ALONE;
    barrier.cluster.arrive; barrier.cluster.wait; bra END;
ALONE:
    bar.sync 1, 64;
END:"""

    outcome, _ = run(memory, body)

    assert checks(outcome) == ["deadlock"]
    assert "barrier of the cluster" in outcome.findings[0].message


@pytest.mark.parametrize("turns", [1, 50_000])
def test_lanes_that_have_ended_are_not_waited_for(memory: DeviceMemory, turns: int) -> None:
    """One block ends before or after the others have arrived; they meet without it."""
    body = f"""
    setp.eq.u32 %p2, %r3, 0; @%p2 bra ALONE;
    barrier.cluster.arrive; barrier.cluster.wait; st.global.u32 [%rd5], 1;
    bra END;
ALONE:
    add.u32 %r6, %r6, 1; setp.lt.u32 %p3, %r6, {turns}; @%p3 bra ALONE;
END:"""

    for seed in range(4):
        outcome, found = run(memory, "mov.u32 %r6, 0;" + body, seed)
        assert outcome.findings == ()
        assert found.sum() == (BLOCKS - 1) * LANES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sync", [SYNC, RELAXED_SYNC])
def test_arrivals_at_the_mbarrier_of_another_block(memory: DeviceMemory, seed: int, sync: str) -> None:
    """They release what the block wrote; fence.mbarrier_init makes a relaxed barrier enough for the object."""
    body = f"""
    {INIT.format(count=LANES)} {sync}
    {TO_NEXT}
    mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r24];
    {WAIT} {SHOW} {SYNC}"""

    outcome, found = run(memory, body, seed)

    assert outcome.findings == ()
    np.testing.assert_array_equal(found, from_previous_block())


def test_a_remote_arrival_needs_the_object_to_be_known(memory: DeviceMemory) -> None:
    """Without the fence, a relaxed barrier does not order mbarrier.init before another block's arrival."""
    init = INIT.format(count=LANES).partition("@%p7 fence")[0]
    body = f"{init} {RELAXED_SYNC} mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r24]; {WAIT} {SYNC}"

    outcome, _ = run(memory, body)

    assert "shared-race" in checks(outcome)


@pytest.mark.parametrize("seed", range(3))
def test_a_bulk_copy_into_another_block(memory: DeviceMemory, seed: int) -> None:
    """It completes on the mbarrier beside its destination."""
    size = 4 * LANES
    body = f"""
    {INIT.format(count=1)}
    st.shared.u32 [%r9+1024], %r7; fence.proxy.async; {SYNC}
    @!%p7 bra WAIT;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {size};
    cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r23], [%r20+1024], {size}, [%r24];
    {WAIT} {SHOW} {SYNC}"""

    outcome, found = run(memory, body, seed)

    assert outcome.findings == ()
    np.testing.assert_array_equal(found, from_previous_block())


def test_a_bulk_reduction_into_another_block(memory: DeviceMemory) -> None:
    """Each element is added to what was there."""
    size = 4 * LANES
    body = f"""
    {INIT.format(count=1)}
    st.shared.u32 [%r9], %r1; st.shared.u32 [%r9+1024], %r7; fence.proxy.async; {SYNC}
    @!%p7 bra WAIT;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {size};
    cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u32
        [%r23], [%r20+1024], {size}, [%r24];
    {WAIT} {SHOW} {SYNC}"""

    outcome, found = run(memory, body)

    assert outcome.findings == ()
    np.testing.assert_array_equal(found, from_previous_block() + np.arange(LANES))


MASK = 0b1011
MULTICAST = "mbarrier::complete_tx::bytes.multicast::cluster"
MULTICAST_COPIES = {
    "bulk": f"cp.async.bulk.shared::cluster.global.{MULTICAST} [%r20], [%rd2], {4 * LANES}, [%r21], %h1;",
    "tensor": f"cp.async.bulk.tensor.1d.shared::cluster.global.{MULTICAST} [%r20], [%rd3, {{0}}], [%r21], %h1;",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", MULTICAST_COPIES)
def test_multicast_reaches_the_blocks_of_the_mask(memory: DeviceMemory, seed: int, kind: str) -> None:
    """Block 0 loads once; data and completion arrive at the same offsets in every block that the mask names."""
    values = memory.place(np.arange(LANES, dtype=np.uint32) + 7, name="values")
    tensor = TensorMap(address=values.address, type_name="u32", dimensions=(LANES,), strides=(), box=(LANES,))
    body = f"""
    add.u64 %rd3, %rd2, 128; mov.u16 %h1, {MASK}; mov.u32 %r12, {MASK}; shr.u32 %r12, %r12, %r3;
    {INIT.format(count=1)} {SYNC}
    and.b32 %r12, %r12, 1; setp.eq.u32 %p3, %r12, 0; @%p3 bra END;
    @%p7 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {4 * LANES};
    setp.eq.and.u32 %p4, %r3, 0, %p7; @!%p4 bra WAIT;
    {MULTICAST_COPIES[kind]}
    {WAIT} {SHOW}
END:
    {SYNC}"""
    both = np.concatenate([values.array.view(np.uint8), np.frombuffer(tensor.encode(), np.uint8)])

    outcome, found = run(memory, body, seed, arrays=(both,))

    named = [bool(MASK >> rank & 1) for rank in range(BLOCKS)]
    assert outcome.findings == ()
    np.testing.assert_array_equal(found, np.where(np.array(named)[:, None], values.array, 0))
    assert [counters.bytes for counters in outcome.launches[0].counters if counters.bytes] == [3 * 4 * LANES]


def test_a_mask_that_names_no_block_of_the_cluster(memory: DeviceMemory) -> None:
    """There are four blocks; bit 4 stands for a fifth."""
    body = f"""
    mov.u16 %h1, 16; {INIT.format(count=1)} {SYNC}
    @%p7 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster
        [%r20], [%rd2], 64, [%r21], %h1;
    {SYNC}"""

    outcome, _ = run(memory, body, arrays=(np.zeros(64, np.uint32),))

    assert checks(outcome) == ["tensor-copy"]


def test_register_limits_are_checked_and_have_no_effect(memory: DeviceMemory) -> None:
    """A warpgroup has four warps."""
    body = "setmaxnreg.inc.sync.aligned.u32 240; setmaxnreg.dec.sync.aligned.u32 24;"

    whole = launch(memory, kernel(body), words(memory), threads=128)
    half = launch(memory, kernel(body), words(memory), threads=64)

    assert whole.findings == ()
    assert checks(half) == ["divergence"]


def test_grid_dependencies_have_no_effect(memory: DeviceMemory) -> None:
    """Launches follow each other anyway."""
    body = "griddepcontrol.wait; griddepcontrol.launch_dependents;"

    assert launch(memory, kernel(body), words(memory)).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "setmaxnreg.inc.sync.aligned.u32 100;",
        "setmaxnreg.inc.sync.aligned.u32 264;",
        "barrier.cluster.arrive.acquire;",
        "barrier.cluster.sync;",
        "fence.proxy.generic;",
        "griddepcontrol.stop;",
    ],
)
def test_unknown_forms_are_refused(text: str) -> None:
    """With the instruction's text."""
    with pytest.raises(LoweringError):
        load_kernel(kernel(text, shared=64), "k")
