"""Happens-before: what is ordered is never reported, what is not is, whoever happened to run first.

Each unordered pair is tried in both orders of execution: the fixed schedule runs warps and blocks in the order of their
numbers, so the numbers of the two sides are swapped.
"""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options
from tests.profiles.simulator.memory_kernels import checks, kernel, launch, words

SEEDS = range(5)
RACES_UNCHECKED = Options(check_races=False)

# %r4 is the warp, %r5 the lane; %p1 holds in warp FIRST, %p2 in the other of two.
WARPS = """
    shr.u32 %r4, %r1, 5; and.b32 %r5, %r1, 31;
    setp.eq.u32 %p1, %r4, {first}; setp.ne.u32 %p2, %r4, {first};
    mov.u32 %r6, 1; mov.u16 %h1, 1; mul.lo.u32 %r7, %r5, 4; mov.u32 %r8, s; add.u32 %r8, %r8, %r7;
"""
# The same for blocks: %p1 holds in block FIRST, %p2 in the other.
BLOCKS = """
    setp.eq.u32 %p1, %r2, {first}; setp.ne.u32 %p2, %r2, {first};
    add.s64 %rd11, %rd1, %rd10; mov.u32 %r6, 1; mov.u16 %h1, 1;
"""
BARRIER = "bar.sync 0;"


def warps(first: int, *steps: str, shared: int = 256) -> str:
    """Two warps that share ``s``; a step is one warp's ("1:" or "2:") or, without a number, both warps'."""
    return kernel(WARPS.format(first=first) + _guarded(steps), shared=shared)


def blocks(first: int, *steps: str) -> str:
    """Two blocks of one warp that share the array."""
    return kernel(BLOCKS.format(first=first) + _guarded(steps))


def _guarded(steps: tuple[str, ...]) -> str:
    lines = []
    for step in steps:
        number, _, text = step.partition(":") if step[:2] in ("1:", "2:") else ("", "", step)
        lines += [(f"@%p{number} " if number else "") + line.strip() + ";" for line in text.split(";") if line.strip()]
    return "\n".join(lines)


WRITE = "st.shared.u32 [%r8], %r6"
READ = "ld.shared.u32 %r9, [%r8]"
ADD = "atom.shared.add.u32 %r9, [s], 1"
STRONG_READ = "ld.volatile.shared.u32 %r9, [s]"
STRONG_WRITE = "st.volatile.shared.u32 [s], %r6"

UNORDERED_WARPS = [
    (WRITE, READ),
    (WRITE, WRITE),
    (WRITE, ADD),
    (ADD, "ld.shared.u32 %r9, [s]"),
    (WRITE, STRONG_READ),
    ("ld.shared.u32 %r9, [s]", STRONG_WRITE),
    (WRITE, "ld.shared.v4.u32 {%r9, %r10, %r11, %r12}, [s]"),
    ("st.shared.u8 [s+5], %h1", "ld.shared.u32 %r9, [s+4]"),
    ("st.shared.u8 [s+5], %h1", "ld.shared.u8 %h2, [s+5]"),
]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("one", "other"), UNORDERED_WARPS)
def test_warps_without_a_barrier_race(memory: DeviceMemory, one: str, other: str, first: int) -> None:
    """Both orders of the warps: which one ran first must not matter."""
    text = warps(first, "1: st.shared.u32 [%r8], 0", BARRIER, f"1: {one}", f"2: {other}")
    outcome = launch(memory, text, words(memory), threads=64)
    assert checks(outcome) == ["shared-race"]
    (finding,) = outcome.findings
    assert finding.space == "shared"
    assert finding.other is not None
    assert {finding.warp, finding.other.warp} == {0, 1}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("one", "other"), UNORDERED_WARPS)
def test_a_barrier_orders_warps(memory: DeviceMemory, one: str, other: str, first: int) -> None:
    """The same pairs with a barrier between them."""
    steps = ("1: st.shared.u32 [%r8], 0", BARRIER, f"1: {one}", BARRIER, f"2: {other}")
    for seed in SEEDS:
        options = Options(check_races=True, seed=seed)
        assert checks(launch(memory, warps(first, *steps), words(memory), threads=64, options=options)) == []


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (READ, READ),
        (ADD, ADD),
        (ADD, STRONG_READ),
        (STRONG_WRITE, STRONG_READ),
        (STRONG_WRITE, ADD),
        (STRONG_READ, "ld.shared.u32 %r9, [s]"),
        ("st.shared.u8 [s+4], %h1", "st.shared.u8 [s+5], %h1"),
        ("st.shared.u16 [s+4], %h1", "ld.shared.u16 %h2, [s+6]"),
        ("st.shared.u8 [s+4], %h1", "ld.shared.v4.u32 {%r9, %r10, %r11, %r12}, [s+16]"),
    ],
)
def test_what_cannot_conflict_is_no_race(memory: DeviceMemory, one: str, other: str, first: int) -> None:
    """Reads, strong accesses among themselves, and other bytes of the same word."""
    text = warps(first, "1: st.shared.u32 [%r8], 0", BARRIER, f"1: {one}", f"2: {other}")
    assert checks(launch(memory, text, words(memory), threads=64)) == []


def test_a_race_is_told_with_both_sides(memory: DeviceMemory) -> None:
    """Who, where and what, so that the reader need not search."""
    text = warps(0, "1: st.shared.u32 [%r8], 0", "2: ld.shared.u32 %r9, [%r8+4]")
    (finding,) = launch(memory, text, words(memory), threads=64).findings[:1]
    assert "the read is not ordered after the write by warp 0" in finding.message
    assert finding.other is not None
    assert (finding.warp, finding.address, finding.bytes, finding.lanes) == (1, 4, 4, (0,))
    assert (finding.other.warp, finding.other.lane, finding.other.action) == (0, 1, "write")


def test_a_race_of_many_lanes_is_one_finding(memory: DeviceMemory) -> None:
    """Repetitions at one pair of instructions are counted."""
    outcome = launch(memory, warps(0, f"1: {WRITE}", f"2: {READ}"), words(memory), threads=64)
    assert [(finding.check, finding.count) for finding in outcome.findings] == [("shared-race", 32)]


@pytest.mark.parametrize("first", [0, 1])
def test_an_atomic_of_everybody_is_read_too_early(memory: DeviceMemory, first: int) -> None:
    """Each warp adds, then one reads without a barrier: the sum is not complete, whoever came last."""
    body = ("1: st.shared.u32 [%r8], 0", BARRIER, ADD, "1: ld.shared.u32 %r10, [s]")
    assert checks(launch(memory, warps(first, *body), words(memory), threads=64)) == ["shared-race"]


def test_a_named_barrier_of_other_warps_orders_nothing(memory: DeviceMemory) -> None:
    """Warp 2 writes what warp 0 reads, but only warps 0 and 1 meet."""
    text = kernel(
        """
        shr.u32 %r4, %r1, 5; mov.u32 %r6, 1; setp.eq.u32 %p1, %r4, 2; setp.eq.u32 %p2, %r4, 0;
        @%p1 st.shared.u32 [s], %r6; @!%p1 bar.sync 1, 64; @%p2 ld.shared.u32 %r7, [s];
        """,
        shared=16,
    )
    # Whether the read comes before the write depends on the schedule; it is then of uninitialised memory.
    found = checks(launch(memory, text, words(memory), threads=96))
    assert "shared-race" in found


def test_reading_what_nobody_wrote(memory: DeviceMemory) -> None:
    """By byte: two of the four are written."""
    text = kernel("mov.u16 %h1, 1; st.shared.u16 [s], %h1; ld.shared.u16 %h2, [s]; ld.shared.u32 %r3, [s];", shared=16)
    (finding,) = launch(memory, text, words(memory), threads=1).findings
    assert (finding.check, finding.address, finding.bytes) == ("uninitialised-shared", 0, 4)


def test_lanes_that_write_different_values_to_one_address(memory: DeviceMemory) -> None:
    """Undefined which one stays; of equal values nothing is lost."""
    shared = kernel("st.shared.u32 [s], %r1;", shared=16)
    (finding,) = launch(memory, shared, words(memory)).findings
    assert finding.check == "shared-race"
    assert "different values" in finding.message
    everywhere = kernel("st.global.u32 [%rd1], %r1;")
    assert checks(launch(memory, everywhere, words(memory))) == ["global-race"]
    for same in ("mov.u32 %r3, 1; st.global.u32 [%rd1], %r3;", "st.global.u32 [%rd1], %r2;"):
        assert checks(launch(memory, kernel(same), words(memory))) == []


def test_nothing_is_checked_unless_asked_for(memory: DeviceMemory) -> None:
    """Races cost time."""
    text = warps(0, f"1: {WRITE}", f"2: {READ}")
    assert checks(launch(memory, text, words(memory), threads=64, options=RACES_UNCHECKED)) == []


# --- the cluster's shared memory ---


@pytest.mark.parametrize(
    ("barrier", "found"),
    [("", ["shared-race"]), ("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;", [])],
)
def test_blocks_of_a_cluster_need_the_barrier_of_the_cluster(
    memory: DeviceMemory, barrier: str, found: list[str]
) -> None:
    """Block 0 writes its own memory, block 1 reads it; a barrier at the end keeps it alive."""
    body = f"""
        mov.u32 %r3, %cluster_ctarank; setp.eq.u32 %p1, %r3, 0; mov.u32 %r4, s;
        @%p1 st.shared.u32 [s], 1;
        {barrier}
        mapa.shared::cluster.u32 %r5, %r4, 0; @!%p1 ld.shared::cluster.u32 %r6, [%r5];
        barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
    """
    text = kernel(body, shared=16)
    assert checks(launch(memory, text, words(memory), grid=2, threads=1, cluster=(2, 1, 1))) == found


# --- global memory ---

GLOBAL_WRITE = "st.global.u32 [%rd11], %r6"
GLOBAL_READ = "ld.global.u32 %r9, [%rd11]"
GLOBAL_ADD = "red.global.add.u32 [%rd11], 1"

UNORDERED_BLOCKS = [
    (GLOBAL_WRITE, GLOBAL_READ),
    (GLOBAL_WRITE, GLOBAL_WRITE),
    (GLOBAL_WRITE, GLOBAL_ADD),
    (GLOBAL_ADD, GLOBAL_READ),
    (GLOBAL_WRITE, "ld.volatile.global.u32 %r9, [%rd11]"),
    ("st.global.u8 [%rd1+5], %h1", "ld.global.u32 %r9, [%rd1+4]"),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("one", "other"), UNORDERED_BLOCKS)
def test_blocks_race_on_global_memory(memory: DeviceMemory, one: str, other: str, first: int, threads: int) -> None:
    """Whichever block ran first, on one host thread or on two."""
    options = Options(check_races=True, threads=threads)
    outcome = launch(memory, blocks(first, f"1: {one}", f"2: {other}"), words(memory), grid=2, options=options)
    assert checks(outcome) == ["global-race"]
    (finding,) = outcome.findings
    assert finding.other is not None
    assert {finding.block[0], finding.other.block[0]} == {0, 1}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (GLOBAL_READ, GLOBAL_READ),
        (GLOBAL_ADD, GLOBAL_ADD),
        (GLOBAL_ADD, "ld.relaxed.gpu.global.u32 %r9, [%rd11]"),
        ("st.global.u8 [%rd1+4], %h1", "st.global.u8 [%rd1+5], %h1"),
        ("st.global.u32 [%rd1], %r6", "st.global.u32 [%rd1+4], %r6"),
    ],
)
def test_blocks_may_share_what_does_not_conflict(memory: DeviceMemory, one: str, other: str, first: int) -> None:
    """Reads, atomics among themselves, neighbouring bytes."""
    assert checks(launch(memory, blocks(first, f"1: {one}", f"2: {other}"), words(memory), grid=2)) == []


@pytest.mark.parametrize("writer", [0, 3, 20, 39])
def test_one_writer_among_many_readers_is_found(memory: DeviceMemory, writer: int) -> None:
    """Only some of many readers are kept; a writer before, between or after them is found all the same."""
    body = f"""
        setp.eq.u32 %p1, %r2, {writer}; add.s64 %rd11, %rd1, %rd10; ld.global.u32 %r9, [%rd11];
        @%p1 st.global.u32 [%rd11], %r2;
    """
    found = checks(launch(memory, kernel(body), words(memory, 64), grid=40, threads=64))
    assert set(found) == {"global-race"}


def test_warps_of_a_block_race_on_global_memory(memory: DeviceMemory) -> None:
    """And a barrier of the block orders them, even after all warps have read."""
    body = """
        and.b32 %r5, %r1, 31; mul.wide.u32 %rd11, %r5, 4; add.s64 %rd11, %rd1, %rd11;
        ld.global.u32 %r9, [%rd11]; {barrier} setp.lt.u32 %p1, %r1, 32; @%p1 st.global.u32 [%rd11], %r1;
    """
    racing, ordered = (kernel(body.format(barrier=barrier)) for barrier in ("", BARRIER))
    assert checks(launch(memory, racing, words(memory), threads=512)) == ["global-race"]
    assert checks(launch(memory, ordered, words(memory), threads=512)) == []


# The last block sums what all have written: threadFenceReduction of the CUDA samples.
LAST_BLOCK = """
    mul.wide.u32 %rd3, %r2, 4; add.s64 %rd4, %rd1, %rd3; setp.eq.u32 %p1, %r1, 0; add.u32 %r3, %r2, 1;
    @%p1 st.global.u32 [%rd4], %r3; {fence}
    mov.u32 %r4, 0; @%p1 {add} %r4, [%rd2], 1; {barrier}
    {broadcast}
    setp.ne.u32 %p2, %r4, 7; @%p2 bra DONE; {acquire}
    setp.lt.u32 %p3, %r1, 8; mul.wide.u32 %rd5, %r1, 4; add.s64 %rd6, %rd1, %rd5; @%p3 ld.global.u32 %r5, [%rd6];
DONE:
"""
SHUFFLE = "shfl.sync.idx.b32 %r4, %r4, 0, 31, -1;"
RELAXED, ACQ_REL = "atom.global.add.u32", "atom.acq_rel.gpu.global.add.u32"


@pytest.mark.parametrize(
    ("fence", "add", "acquire", "found"),
    [
        ("membar.gl;", RELAXED, "membar.gl;", []),
        ("fence.acq_rel.gpu;", RELAXED, "fence.sc.gpu;", []),
        ("", ACQ_REL, "", []),
        ("", RELAXED, "membar.gl;", ["global-race"]),  # nothing was released
        ("membar.gl;", RELAXED, "", ["global-race"]),  # nothing was acquired
        ("", RELAXED, "", ["global-race"]),
        ("", "atom.release.gpu.global.add.u32", "membar.gl;", []),
        ("membar.gl;", "atom.acquire.gpu.global.add.u32", "", []),
    ],
)
def test_release_and_acquire_order_blocks(
    memory: DeviceMemory, fence: str, add: str, acquire: str, found: list[str]
) -> None:
    """An atomic passes on what was fenced before it, to those who fence after it."""
    text = kernel(LAST_BLOCK.format(fence=fence, add=add, barrier="", broadcast=SHUFFLE, acquire=acquire), arrays=2)
    for threads in (1, 2):
        options = Options(check_races=True, threads=threads)
        outcome = launch(memory, text, words(memory, 8), words(memory, 1), grid=8, options=options)
        assert checks(outcome) == found


def test_what_one_warp_acquires_a_barrier_passes_on(memory: DeviceMemory) -> None:
    """Warp 0 of the last block acquires; after a barrier of the block, warp 1 reads."""
    body = """
        mul.wide.u32 %rd3, %r2, 4; add.s64 %rd4, %rd1, %rd3; setp.eq.u32 %p1, %r1, 0;
        @%p1 st.global.u32 [%rd4], %r2; membar.gl; @%p1 atom.global.add.u32 %r4, [%rd2], 1; membar.gl;
        @%p1 st.shared.u32 [s], %r4; bar.sync 0; ld.shared.u32 %r4, [s];
        setp.ne.u32 %p2, %r4, 7; @%p2 bra DONE; setp.eq.u32 %p3, %r1, 40; @%p3 ld.global.u32 %r5, [%rd1+8];
    DONE:
    """
    outcome = launch(memory, kernel(body, 2, shared=16), words(memory, 8), words(memory, 1), grid=8, threads=64)
    assert checks(outcome) == []


def test_a_flag_in_shared_memory_orders_warps(memory: DeviceMemory) -> None:
    """Warp 0 writes, fences and raises a flag; warp 1 polls it, fences and reads."""
    body = """
        shr.u32 %r4, %r1, 5; setp.eq.u32 %p1, %r4, 0; setp.eq.u32 %p4, %r1, 0;
        @%p4 st.shared.u32 [s+4], 0; bar.sync 0;
        @!%p1 bra READER;
        mov.u32 %r6, 1; @%p4 st.shared.u32 [s], 42; {fence} @%p4 st.volatile.shared.u32 [s+4], %r6; bra DONE;
    READER:
        ld.volatile.shared.u32 %r7, [s+4]; setp.eq.u32 %p2, %r7, 0; @%p2 bra READER;
        {fence} ld.shared.u32 %r8, [s];
    DONE:
    """
    for fence, found in (("membar.cta;", []), ("", ["shared-race"])):
        text = kernel(body.format(fence=fence), shared=16)
        assert checks(launch(memory, text, words(memory), threads=64)) == found


def test_a_later_launch_is_ordered_after_an_earlier_one(memory: DeviceMemory) -> None:
    """Each launch begins with an empty history."""
    array = words(memory)
    text = kernel("add.s64 %rd11, %rd1, %rd10; st.global.u32 [%rd11], %r1;")
    for _ in range(2):
        assert checks(launch(memory, text, array)) == []
    np.testing.assert_array_equal(array.array, np.arange(32))


# --- copies that are under way ---

COPY = "add.s64 %rd12, %rd1, 0; cp.async.ca.shared.global [s], [%rd12], 16; cp.async.commit_group"
WAIT = "cp.async.wait_group 0"


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ((f"1: {COPY}", f"1: {WAIT}", BARRIER, READ), []),
        ((f"1: {COPY}", f"1: {READ}", f"1: {WAIT}"), ["copy-in-flight"]),
        ((f"1: {COPY}", f"1: {WRITE}", f"1: {WAIT}"), ["copy-in-flight"]),
        ((f"1: {COPY}", BARRIER, f"2: {READ}", f"1: {WAIT}"), ["copy-in-flight"]),
        ((f"1: {COPY}", f"1: {WAIT}", f"2: {READ}"), ["shared-race"]),
        ((f"1: {WRITE}", BARRIER, f"2: {READ}", f"1: {COPY}", f"1: {WAIT}"), ["shared-race"]),
        ((f"1: {WRITE}", BARRIER, f"2: {READ}", BARRIER, f"1: {COPY}", f"1: {WAIT}"), []),
        ((f"1: {COPY}", f"1: {COPY}", f"1: {WAIT}"), ["copy-in-flight"]),
    ],
)
def test_copies_have_to_be_waited_for(memory: DeviceMemory, steps: tuple[str, ...], found: list[str]) -> None:
    """By their own warp, and then by a barrier for the others; only lane 0 of each warp takes part."""
    body = WARPS.format(first=0) + "setp.ne.u32 %p3, %r5, 0; @%p3 exit;" + _guarded(steps)
    assert checks(launch(memory, kernel(body, shared=16), words(memory), threads=64)) == found
