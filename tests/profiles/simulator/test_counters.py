"""Counters per kernel and per source line: every instruction has a class, and no count is lost or doubled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.simulator import lowering
from profiles.simulator.counters import SUMMED, Counts, SiteCounters, add_sites, by_source_line, summarise, total
from profiles.simulator.instruction_class import InstructionClass, instruction_class
from profiles.simulator.lowering.context import LOWERINGS
from profiles.simulator.ptx.syntax import Instruction, Kernel, SourceLine, SourceLocation

INNER = SourceLine("ptx.cuh", 10)
MIDDLE = SourceLine("tiles.cuh", 20)
OUTER = SourceLine("kernel.cuh", 30)


def instruction(opcode: str, location: SourceLocation | None = None) -> Instruction:
    """An instruction without operands, which counting does not look at."""
    return Instruction(opcode=opcode, operands=(), guard=None, ptx_line=1, location=location, text=f"{opcode};")


def kernel(*instructions: Instruction) -> Kernel:
    """A kernel of these instructions."""
    return Kernel(name="k", parameters=(), registers={}, variables=(), instructions=instructions, labels={})


@pytest.mark.parametrize(
    ("opcode", "expected"),
    [
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", InstructionClass.TENSOR),
        ("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16", InstructionClass.TENSOR),
        ("fma.rn.f32", InstructionClass.FLOAT),
        ("add.rn.bf16x2", InstructionClass.FLOAT),
        ("max.f32", InstructionClass.FLOAT),
        ("setp.lt.f32", InstructionClass.FLOAT),
        ("setp.lt.s32", InstructionClass.INTEGER),
        ("mad.lo.s32", InstructionClass.INTEGER),
        ("div.s32", InstructionClass.INTEGER),
        ("xor.b32", InstructionClass.INTEGER),
        ("div.full.f32", InstructionClass.SPECIAL),
        ("ex2.approx.ftz.f32", InstructionClass.SPECIAL),
        ("cvt.rn.bf16x2.f32", InstructionClass.CONVERT),
        ("mov.b32", InstructionClass.MOVE),
        ("shfl.sync.bfly.b32", InstructionClass.LANES),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16", InstructionClass.LOAD_STORE),
        ("cp.async.cg.shared.global.L2::128B", InstructionClass.LOAD_STORE),
        (
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes",
            InstructionClass.LOAD_STORE,
        ),
        ("cp.async.commit_group", InstructionClass.CONTROL),
        ("cp.async.bulk.wait_group.read", InstructionClass.CONTROL),
        ("cp.async.mbarrier.arrive.noinc.shared.b64", InstructionClass.CONTROL),
        ("wgmma.wait_group.sync.aligned", InstructionClass.CONTROL),
        ("bar.sync", InstructionClass.CONTROL),
        ("ret", InstructionClass.CONTROL),
    ],
)
def test_an_opcode_has_the_class_of_its_work(opcode: str, expected: InstructionClass) -> None:
    """Arithmetic by what it computes on, a family by what the member does."""
    assert instruction_class(opcode) is expected


def test_every_instruction_that_can_be_simulated_has_a_class() -> None:
    """A family that lowering learns has to be told to the counters too."""
    assert lowering.__all__
    for prefix in LOWERINGS:
        assert instruction_class(prefix) in InstructionClass


def test_an_instruction_without_a_class_is_an_error_that_says_where_to_add_it() -> None:
    """It is never counted as something else."""
    with pytest.raises(RoofgateError, match=r"'frobnicate\.u32'.*instruction_class\.py"):
        instruction_class("frobnicate.u32")


def test_a_kernel_is_the_sum_of_its_sites() -> None:
    """By class, and per request to each memory."""
    counted = kernel(
        instruction("ldmatrix.sync.aligned.m8n8.x4.shared.b16"),
        instruction("ld.global.v4.u32"),
        instruction("bar.sync"),
        instruction("bar.warp.sync"),
        instruction("bra"),
    )
    counts = summarise(
        counted,
        [
            SiteCounters(executed=4, lanes=128, requests=16, wavefronts=32),
            SiteCounters(executed=2, lanes=64, requests=2, sectors=32),
            SiteCounters(executed=8, lanes=256),
            SiteCounters(executed=5, lanes=160),
            SiteCounters(executed=3, lanes=40, divergent=2),
        ],
    )

    assert counts.executed == 22
    assert counts.by_class == {InstructionClass.LOAD_STORE: 6, InstructionClass.CONTROL: 16}
    assert (counts.wavefronts_per_request, counts.sectors_per_request) == (2.0, 16.0)
    assert (counts.barriers, counts.divergent, counts.lanes) == (8, 2, 648)


def test_a_copy_is_a_request_to_global_memory_and_to_no_other() -> None:
    """Its wavefronts would spoil the ratio of loads; a copy of nothing, which fills with zeros, makes no request."""
    copy = kernel(instruction("cp.async.cg.shared.global"))
    counts = summarise(copy, [SiteCounters(executed=1, lanes=32, requests=1, wavefronts=4, sectors=16, bytes=512)])
    filled = summarise(copy, [SiteCounters(executed=1, lanes=32, requests=1, wavefronts=4)])

    assert (counts.wavefronts_per_request, counts.sectors_per_request, counts.copy_bytes) == (None, 16.0, 512)
    assert (filled.wavefronts_per_request, filled.sectors_per_request) == (None, None)


def test_an_instruction_counts_at_its_line_and_where_it_was_inlined() -> None:
    """The call sites have it inclusively, and once even if a line is in the chain twice."""
    counted = kernel(
        instruction("fma.rn.f32", SourceLocation(INNER, (MIDDLE, OUTER))),
        instruction("mov.b32", SourceLocation(MIDDLE, (MIDDLE, OUTER))),
        instruction("add.s32", None),
    )
    sites = [SiteCounters(executed=executed, lanes=32 * executed) for executed in (5, 7, 11)]
    lines = {line.line: line for line in by_source_line(counted, sites)}

    assert {
        line: (found.own.executed, found.direct.executed, found.inclusive.executed) for line, found in lines.items()
    } == {
        INNER: (5, 5, 5),
        MIDDLE: (7, 12, 12),
        OUTER: (0, 0, 12),
    }
    assert summarise(counted, sites).executed == 23


def test_lines_that_nothing_executed_are_left_out() -> None:
    """A page shows what ran."""
    counted = kernel(instruction("mov.b32", SourceLocation(INNER)))

    assert by_source_line(counted, [SiteCounters()]) == ()


def test_counters_of_another_kernel_are_refused() -> None:
    """One counter for each instruction."""
    with pytest.raises(ValueError, match="shorter"):
        summarise(kernel(instruction("ret")), [])


SITES = st.builds(
    SiteCounters,
    **{name: st.integers(0, 10**6) for name in ("lanes", "divergent", "requests", "wavefronts", "sectors", "bytes")},
    executed=st.integers(0, 10**6),
)
LOCATIONS = st.builds(
    SourceLocation,
    st.sampled_from([INNER, MIDDLE, OUTER]),
    st.lists(st.sampled_from([INNER, MIDDLE, OUTER]), max_size=3).map(tuple),
)
OPCODES = st.sampled_from(["ld.shared.u32", "ld.global.u32", "cp.async.ca.shared.global", "fma.rn.f32", "bar.sync"])


@given(st.lists(st.tuples(OPCODES, LOCATIONS, SITES)))
def test_own_counts_of_all_lines_add_up_to_the_kernel(parts: list[tuple[str, SourceLocation, SiteCounters]]) -> None:
    """And no line's inclusive count is below its own."""
    counted = kernel(*(instruction(opcode, location) for opcode, location, _ in parts))
    sites = [site for _, _, site in parts]
    lines, whole = by_source_line(counted, sites), summarise(counted, sites)

    assert total(line.own for line in lines) == whole
    assert whole.without(whole) == Counts()
    for line in lines:
        for name in SUMMED:
            assert getattr(line.own, name) <= getattr(line.direct, name) <= getattr(line.inclusive, name)


@given(st.lists(SITES, min_size=1, max_size=4), st.integers(1, 4))
def test_launches_of_one_kernel_add_up_by_site(sites: list[SiteCounters], launches: int) -> None:
    """Equal launches multiply every counter."""
    added = add_sites([sites] * launches)

    assert [site.wavefronts for site in added] == [launches * site.wavefronts for site in sites]
    assert [site.bytes for site in added] == [launches * site.bytes for site in sites]
