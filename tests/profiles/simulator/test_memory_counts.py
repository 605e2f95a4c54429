"""Wavefronts and sectors are exact: the simulator's counts against a count of sets, for any addresses and lanes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.simulator.counters import SiteCounters
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options, Outcome
from tests.profiles.simulator.memory_kernels import LANES, kernel, launch

COUNTING = Options(check_races=False)
SHARED_BYTES = 8192

# By bytes per lane: the instruction behind the opcode's space, and its registers.
FORMS = {
    1: (".u8", "%r5"),
    2: (".u16", "%h5"),
    4: (".b32", "%r5"),
    8: (".v2.b32", "{%r5, %r6}"),
    16: (".v4.b32", "{%r5, %r6, %r7, %r8}"),
}

requests = st.sampled_from(sorted(FORMS)).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.lists(st.integers(0, SHARED_BYTES // size - 1), min_size=LANES, max_size=LANES),
        st.integers(1, 2**LANES - 1),
    )
)
# Few different addresses, and strides as kernels have them: both make conflicts that random addresses seldom show.
patterns = st.tuples(
    st.sampled_from(sorted(FORMS)), st.integers(0, 40), st.integers(0, 3), st.integers(1, 2**LANES - 1)
).map(lambda x: (x[0], [(lane * x[1] >> x[2]) % (SHARED_BYTES // x[0]) for lane in range(LANES)], x[3]))


def counted(outcome: Outcome, opcode: str) -> SiteCounters:
    """Counters of the only instruction with that opcode."""
    (launched,) = outcome.launches
    (site,) = [
        counters
        for instruction, counters in zip(launched.kernel.instructions, launched.counters, strict=True)
        if instruction.opcode == opcode
    ]
    return site


def measure(opcode: str, size: int, offsets: list[int], lanes: int) -> SiteCounters:
    """Counters of one access by the lanes of a mask, at byte offsets of shared or global memory."""
    space = opcode.split(".")[1]
    form, registers = FORMS[size]
    base = (
        "cvt.u64.u32 %rd4, %r3; mov.u64 %rd6, s; add.s64 %rd5, %rd4, %rd6;"
        if space == "shared"
        else ("cvt.u64.u32 %rd4, %r3; add.s64 %rd5, %rd2, %rd4;")
    )
    operands = f"{registers}, [%rd5]" if opcode.startswith("ld") else f"[%rd5], {registers}"
    body = f"""
        add.s64 %rd3, %rd1, %rd10; ld.global.u32 %r3, [%rd3]; {base}
        mov.u32 %r4, {lanes}; shr.u32 %r4, %r4, %r1; and.b32 %r4, %r4, 1; setp.ne.u32 %p1, %r4, 0;
        mov.u32 %r5, 0; mov.u32 %r6, 0; mov.u32 %r7, 0; mov.u32 %r8, 0; mov.u16 %h5, 0;
        @%p1 {opcode}{form} {operands};
    """
    with DeviceMemory() as memory:
        places = memory.place(np.array(offsets, np.uint32), name="offsets")
        data = memory.place(np.zeros(SHARED_BYTES, np.uint8), name="data")
        shared = SHARED_BYTES if space == "shared" else 0
        outcome = launch(memory, kernel(body, 2, shared=shared), places, data, options=COUNTING)
    assert outcome.findings == ()
    return counted(outcome, opcode + form)


def members(lanes: int) -> list[int]:
    """The lanes of a mask."""
    return [lane for lane in range(LANES) if lanes >> lane & 1]


def wavefronts_by_banks(offsets: list[int], lanes: int, size: int) -> tuple[int, int]:
    """Requests and wavefronts: for each group of lanes, the most distinct words that one bank has to give."""
    group_lanes = LANES * 4 // max(size, 4)
    requests = wavefronts = 0
    for first in range(0, LANES, group_lanes):
        banks: dict[int, set[int]] = defaultdict(set)
        for lane in members(lanes):
            if first <= lane < first + group_lanes:
                for byte in range(offsets[lane], offsets[lane] + size):
                    banks[byte // 4 % 32].add(byte // 4)
        requests += bool(banks)
        wavefronts += max((len(distinct) for distinct in banks.values()), default=0)
    return requests, wavefronts


@settings(max_examples=40, deadline=None)
@given(requests | patterns, st.sampled_from(["ld.shared", "st.shared"]))
def test_wavefronts_are_the_most_words_of_one_bank(request: tuple[int, list[int], int], opcode: str) -> None:
    """32 banks of 4 bytes; lanes of one word share it; 8 and 16 bytes go by halves and quarters of the warp."""
    size, elements, lanes = request
    offsets = [element * size for element in elements]
    counters = measure(opcode, size, offsets, lanes)
    assert (counters.requests, counters.wavefronts) == wavefronts_by_banks(offsets, lanes, size)
    assert counters.sectors == 0


@settings(max_examples=40, deadline=None)
@given(requests | patterns, st.sampled_from(["ld.global", "st.global"]))
def test_sectors_are_the_distinct_aligned_32_bytes(request: tuple[int, list[int], int], opcode: str) -> None:
    """Whatever the order of the lanes, and however many of them share a sector."""
    size, elements, lanes = request
    offsets = [element * size for element in elements]
    counters = measure(opcode, size, offsets, lanes)
    assert counters.sectors == len({offsets[lane] // 32 for lane in members(lanes)})
    assert (counters.requests, counters.wavefronts) == (1, 0)


@pytest.mark.parametrize(
    ("size", "stride", "requests", "wavefronts"),
    [
        (4, 4, 1, 1),  # one word for each bank
        (4, 0, 1, 1),  # all lanes share one word
        (4, 8, 1, 2),  # every other bank
        (4, 128, 1, 32),  # all in one bank
        (4, 132, 1, 1),  # the padded column
        (8, 8, 2, 2),  # a full warp of 8 bytes takes two passes at least
        (8, 128, 2, 32),
        (16, 16, 4, 4),
        (16, 128, 4, 32),  # rows of 128 bytes without a swizzle: 8 in each quarter
        (16, 144, 4, 4),  # and with padding
        (1, 1, 1, 1),
        (2, 2, 1, 1),
    ],
)
def test_well_known_strides(size: int, stride: int, requests: int, wavefronts: int) -> None:
    """Bank conflicts of the access patterns that kernels meet, worked out by hand."""
    counters = measure("ld.shared", size, [lane * stride for lane in range(LANES)], 2**LANES - 1)
    assert (counters.requests, counters.wavefronts) == (requests, wavefronts)


def test_a_generic_access_counts_where_it_goes(memory: DeviceMemory) -> None:
    """Even lanes read shared memory, odd lanes global memory: one request to each."""
    body = """
        mov.u64 %rd4, s; cvta.shared.u64 %rd4, %rd4; add.s64 %rd4, %rd4, %rd10; add.s64 %rd5, %rd1, %rd10;
        and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 0; selp.b64 %rd6, %rd4, %rd5, %p1; ld.u32 %r5, [%rd6];
    """
    array = memory.place(np.zeros(LANES, np.uint32))
    counters = counted(launch(memory, kernel(body, shared=128), array, options=COUNTING), "ld.u32")
    assert (counters.requests, counters.wavefronts, counters.sectors) == (2, 1, 4)


def test_without_counting_there_are_no_counts() -> None:
    """Options.count turns wavefronts and sectors off, not the executed instructions."""
    with DeviceMemory() as memory:
        array = memory.place(np.zeros(LANES, np.uint32))
        text = kernel("add.s64 %rd2, %rd1, %rd10; ld.global.u32 %r3, [%rd2];")
        outcome = launch(memory, text, array, options=Options(count=False))
    counters = counted(outcome, "ld.global.u32")
    assert (counters.executed, counters.lanes, counters.requests, counters.sectors) == (1, LANES, 0, 0)
