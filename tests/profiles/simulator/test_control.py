"""Control flow, barriers and collectives: how each form is lowered, what it does, and what is refused.

Expectations are worked out from the PTX ISA's pseudo-code, in Python over the lanes of a warp.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.lowering.lower import lower_kernel
from profiles.simulator.lowering.program import LiteralConstant, Operation, Program
from profiles.simulator.ptx import parse_module
from profiles.simulator.run import Options, Outcome, launch_kernel

LANES = 32
HEADER = ".version 8.0\n.target sm_90a\n.address_size 64\n"
REGISTERS = ".reg .pred %p<9>; .reg .b32 %r<20>; .reg .f32 %f<9>; .reg .b64 %rd<20>;"


def lowered(body: str) -> Program:
    """The program of a kernel without parameters."""
    text = f"{HEADER}.visible .entry k()\n{{\n{REGISTERS}\n{body}\nret;\n}}\n"
    return lower_kernel(parse_module(text), "k")


def first(body: str) -> Operation:
    """The first operation of such a kernel."""
    return lowered(body).operations[0]


FORMS = [
    ("bra L; L:", "bra", 1),
    ("bra.uni L; L:", "bra.uni", 1),
    ("exit;", "exit", 0),
    ("ret.uni;", "exit", 0),
    ("trap;", "trap", 0),
    ("pmevent 7;", "nop", 0),
    ("bar.sync 0;", "barrier.sync.aligned", 2),
    ("bar.cta.sync 1, 64;", "barrier.sync.aligned", 2),
    ("barrier.sync %r1;", "barrier.sync", 2),
    ("barrier.cta.sync.aligned 3, %r1;", "barrier.sync.aligned", 2),
    ("bar.arrive 2, 64;", "barrier.arrive.aligned", 2),
    ("barrier.arrive 2, 64;", "barrier.arrive", 2),
    ("bar.red.popc.u32 %r1, 0, %p1;", "barrier.red.popc.aligned", 5),
    ("bar.red.and.pred %p2, 0, 64, !%p1;", "barrier.red.and.aligned", 5),
    ("barrier.cta.red.or.pred %p2, 0, %p1;", "barrier.red.or", 5),
    ("barrier.red.popc.aligned.u32 %r1, 0, %p1;", "barrier.red.popc.aligned", 5),
    ("bar.warp.sync 0xffffffff;", "bar.warp.sync", 1),
    ("shfl.sync.up.b32 %r1, %r2, 1, 0, -1;", "shfl.up", 5),
    ("shfl.sync.down.b32 %r1|%p1, %r2, %r3, 31, -1;", "shfl.down", 6),
    ("shfl.sync.bfly.b32 %f1, %f2, 1, 31, -1;", "shfl.bfly", 5),
    ("shfl.sync.idx.b32 %r1, %r2, 1, 31, %r4;", "shfl.idx", 5),
    ("vote.sync.all.pred %p1, !%p2, -1;", "vote.all", 4),
    ("vote.sync.any.pred %p1, %p2, -1;", "vote.any", 4),
    ("vote.sync.uni.pred %p1, %p2, -1;", "vote.uni", 4),
    ("vote.sync.ballot.b32 %r1, %p2, -1;", "vote.ballot", 4),
    ("match.any.sync.b32 %r1, %r2, -1;", "match.any.b32", 3),
    ("match.all.sync.b64 %r1|%p1, %rd2, -1;", "match.all.b64", 4),
    ("redux.sync.add.s32 %r1, %r2, -1;", "redux.add.u32", 3),
    ("redux.sync.max.s32 %r1, %r2, -1;", "redux.max.s32", 3),
    ("redux.sync.xor.b32 %r1, %r2, -1;", "redux.xor.b32", 3),
    ("redux.sync.min.abs.NaN.f32 %f1, %f2, -1;", "redux.min.abs.NaN.f32", 3),
    ("activemask.b32 %r1;", "activemask", 1),
    ("elect.sync %r1|%p1, -1;", "elect", 3),
    ("elect.sync _|%p1, -1;", "elect", 3),
    ("nanosleep.u32 100;", "nanosleep", 1),
]


@pytest.mark.parametrize(("body", "name", "count"), FORMS)
def test_each_form_becomes_its_operation(body: str, name: str, count: int) -> None:
    """Names and numbers of operands are those of the table in the module's docstring."""
    operation = first(body)
    assert operation.name == name
    assert len(operation.operands) == count


def test_the_run_time_knows_every_operation(simulator: Path) -> None:
    """Lowering and run-time agree on the names."""
    listed = subprocess.run([simulator, "--operations"], capture_output=True, text=True, check=True).stdout.split()
    assert {name for _, name, _ in FORMS} <= set(listed)


def test_a_negated_predicate_is_followed_by_one() -> None:
    """And a plain one by zero, at the same place."""
    assert first("vote.sync.all.pred %p1, !%p2, -1;").operands[2] == 1
    assert first("vote.sync.all.pred %p1, %p2, -1;").operands[2] == 0
    assert first("bar.red.and.pred %p2, 0, !%p1;").operands[4] == 1
    assert first("bar.red.and.pred %p2, 0, %p1;").operands[4] == 0


def test_a_barrier_without_a_count_is_the_whole_block_s() -> None:
    """-1 stands for it; a stated count is a register or a constant."""
    assert first("bar.sync 0;").operands[1] == -1
    program = lowered("bar.sync 1, 64;")
    constants = {offset: constant for offset, _, constant in program.constants}
    assert [constants[place] for place in program.operations[0].operands] == [LiteralConstant(1), LiteralConstant(64)]


def test_an_indexed_branch_has_all_sites_of_its_table() -> None:
    """In the table's order, behind the index."""
    body = "brx.idx %r1, TABLE; A: trap; B: ret; TABLE: .branchtargets B, A, B;"
    operation = first(body)
    assert operation.name == "brx"
    assert operation.operands[1:] == (2, 1, 2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("bar.sync 16;", "numbered 0 to 15"),
        ("bar.sync 0, 48;", "multiple of 32"),
        ("bar.arrive 0;", "1 operands where 2"),
        ("bar.red.xor.pred %p1, 0, %p2;", "red.or.pred"),
        ("shfl.bfly.b32 %r1, %r2, 1, 31;", "shfl.sync"),
        ("shfl.sync.xor.b32 %r1, %r2, 1, 31, -1;", "bfly.b32"),
        ("vote.all.pred %p1, %p2;", "vote.sync"),
        ("vote.sync.some.pred %p1, %p2, -1;", "ballot.b32"),
        ("match.any.sync.b32 %r1|%p1, %r2, -1;", "no predicate"),
        ("redux.sync.mul.u32 %r1, %r2, -1;", "add.u32"),
        ("elect.sync %r1, -1;", "two destinations"),
        ("nanosleep.u64 %rd1;", "nanosleep.u32"),
        ("bra.maybe L; L:", "bra.uni"),
    ],
)
def test_other_forms_are_refused(body: str, words: str) -> None:
    """The message says what is known or missing; nothing is ignored."""
    with pytest.raises(LoweringError, match=words):
        lowered(body)


# --- what they do ---


def kernel(body: str) -> str:
    """A kernel that loads ``%r2`` of each thread from ``in``, runs the body, and stores ``%r1`` to ``out``."""
    return f"""{HEADER}
.visible .entry k(.param .u64 out, .param .u64 in)
{{
{REGISTERS}
ld.param.u64 %rd1, [out];
ld.param.u64 %rd2, [in];
mov.u32 %r10, %tid.x;
mul.wide.u32 %rd3, %r10, 4;
add.s64 %rd4, %rd1, %rd3;
add.s64 %rd5, %rd2, %rd3;
ld.global.u32 %r2, [%rd5];
mov.u32 %r1, 0xdead;
{body}
st.global.u32 [%rd4], %r1;
ret;
}}
"""


class Threads:
    """Runs bodies on one block and gives back what each thread stored."""

    def __init__(self, memory: DeviceMemory) -> None:
        self.memory = memory

    def outcome(self, body: str, threads: int, seed: int = 0) -> tuple[Outcome, np.ndarray, np.ndarray]:
        """The outcome, the inputs (random, mostly small) and what was stored."""
        values = np.random.default_rng(threads).integers(0, 4, threads).astype(np.uint32)
        source = self.memory.place(values, name="in")
        target = self.memory.place(np.zeros(threads, np.uint32), name="out")
        outcome = launch_kernel(
            kernel(body),
            "k",
            grid=(1, 1, 1),
            block=(threads, 1, 1),
            arguments=[target, source],
            memory=self.memory,
            options=Options(check_races=True, seed=seed),
        )
        return outcome, values, target.array

    def run(self, body: str, threads: int = LANES, seed: int = 0) -> tuple[list[int], list[int]]:
        """Inputs and outputs of a body in which nothing is found."""
        outcome, values, stored = self.outcome(body, threads, seed)
        assert outcome.findings == ()
        return values.tolist(), stored.tolist()


@pytest.fixture
def threads(memory: DeviceMemory) -> Threads:
    """One block in an empty memory."""
    return Threads(memory)


def shuffled(mode: str, lane: int, distance: int, clamp: int) -> tuple[int, bool]:
    """Source lane and predicate of ``shfl``, as the ISA's pseudo-code has them."""
    distance &= 31
    value, mask = clamp & 31, clamp >> 8 & 31
    highest = (lane & mask) | (value & ~mask & 31)
    lowest = lane & mask
    source = {
        "up": lane - distance,
        "down": lane + distance,
        "bfly": lane ^ distance,
        "idx": lowest | (distance & ~mask & 31),
    }[mode]
    inside = source >= highest if mode == "up" else source <= highest
    return (source if inside else lane), inside


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
@pytest.mark.parametrize(("distance", "segment"), [(1, 32), (5, 32), (16, 32), (31, 32), (3, 8), (2, 4), (33, 16)])
def test_shuffles(threads: Threads, mode: str, distance: int, segment: int) -> None:
    """Every mode in whole warps and in segments, with the predicate of lanes that have a source."""
    clamp = (32 - segment) << 8 | (0 if mode == "up" else 31)
    body = f"""shfl.sync.{mode}.b32 %r3|%p1, %r10, {distance}, {clamp}, -1;
selp.u32 %r4, 100, 0, %p1;
add.u32 %r1, %r3, %r4;"""
    _, stored = threads.run(body)
    expected = [shuffled(mode, lane, distance, clamp) for lane in range(LANES)]
    assert stored == [source + (100 if inside else 0) for source, inside in expected]


def test_a_shuffle_may_write_its_own_source(threads: Threads) -> None:
    """Every lane gets the old value of its source."""
    _, stored = threads.run("mov.u32 %r1, %r10; shfl.sync.bfly.b32 %r1, %r1, 1, 31, -1;")
    assert stored == [lane ^ 1 for lane in range(LANES)]


VOTES: list[tuple[str, Callable[[list[bool]], bool]]] = [
    ("all", all),
    ("any", any),
    ("uni", lambda votes: all(votes) or not any(votes)),
]


@pytest.mark.parametrize(("mode", "result"), VOTES)
@pytest.mark.parametrize("limit", [0, 1, 4])
@pytest.mark.parametrize("negation", ["", "!"])
def test_votes(threads: Threads, mode: str, result: Callable[[list[bool]], bool], limit: int, negation: str) -> None:
    """All, any and unanimous votes, of predicates and of their opposites."""
    body = f"""setp.lt.u32 %p1, %r2, {limit};
vote.sync.{mode}.pred %p2, {negation}%p1, -1;
selp.u32 %r1, 1, 0, %p2;"""
    values, stored = threads.run(body)
    votes = [(value < limit) != bool(negation) for value in values]
    assert stored == [int(result(votes))] * LANES


def test_a_ballot_is_the_mask_of_the_lanes_that_agree(threads: Threads) -> None:
    """Bit l stands for lane l."""
    values, stored = threads.run("setp.lt.u32 %p1, %r2, 2; vote.sync.ballot.b32 %r1, %p1, -1;")
    assert stored == [sum(1 << lane for lane, value in enumerate(values) if value < 2)] * LANES


def test_members_vote_among_themselves(threads: Threads) -> None:
    """Two halves of a warp on two paths, each with its own mask."""
    body = """setp.lt.u32 %p1, %r10, 16;
@%p1 bra LOW;
vote.sync.ballot.b32 %r1, 1, 0xffff0000;
bra JOIN;
LOW:
vote.sync.ballot.b32 %r1, 1, 0x0000ffff;
JOIN:"""
    _, stored = threads.run(body)
    assert stored == [0xFFFF] * 16 + [0xFFFF0000] * 16


def test_members_that_come_later_are_waited_for(threads: Threads) -> None:
    """Lanes reach one shuffle after loops of different length, and still exchange values."""
    body = """mov.u32 %r3, 0;
LOOP:
add.u32 %r3, %r3, 1;
setp.le.u32 %p1, %r3, %r2;
@%p1 bra LOOP;
shfl.sync.bfly.b32 %r1, %r3, 1, 31, -1;"""
    values, stored = threads.run(body)
    assert stored == [values[lane ^ 1] + 1 for lane in range(LANES)]


def test_match_any_finds_the_lanes_with_the_same_value(threads: Threads) -> None:
    """Each lane gets the mask of its own value."""
    values, stored = threads.run("match.any.sync.b32 %r1, %r2, -1;")
    assert stored == [sum(1 << other for other, same in enumerate(values) if same == value) for value in values]


@pytest.mark.parametrize(("source", "same"), [("%r2", False), ("7", True)])
def test_match_all_gives_the_members_or_nothing(threads: Threads, source: str, same: bool) -> None:
    """With the predicate that says which."""
    body = f"""mov.u32 %r3, {source};
cvt.u64.u32 %rd9, %r3;
match.all.sync.b64 %r4|%p1, %rd9, 0xffffffff;
selp.u32 %r1, %r4, 5, %p1;"""
    _, stored = threads.run(body)
    assert stored == [0xFFFFFFFF if same else 5] * LANES


REDUCTIONS: list[tuple[str, Callable[[list[int]], int]]] = [
    ("add.u32", lambda values: sum(values) % 2**32),
    ("add.s32", lambda values: sum(values) % 2**32),
    ("min.u32", min),
    ("max.u32", max),
    ("and.b32", lambda values: int(np.bitwise_and.reduce(np.array(values)))),
    ("or.b32", lambda values: int(np.bitwise_or.reduce(np.array(values)))),
    ("xor.b32", lambda values: int(np.bitwise_xor.reduce(np.array(values)))),
]


@pytest.mark.parametrize(("form", "result"), REDUCTIONS)
def test_reductions(threads: Threads, form: str, result: Callable[[list[int]], int]) -> None:
    """Of values whose top bit is set in some lanes."""
    values, stored = threads.run(f"sub.u32 %r3, %r2, 1; redux.sync.{form} %r1, %r3, -1;")
    assert stored == [result([(value - 1) % 2**32 for value in values])] * LANES


@pytest.mark.parametrize(("mode", "result"), [("min", -1), ("max", 2)])
def test_signed_reductions(threads: Threads, mode: str, result: int) -> None:
    """-1 is less than everything else here."""
    _, stored = threads.run(f"sub.u32 %r3, %r2, 1; redux.sync.{mode}.s32 %r1, %r3, -1;")
    assert stored == [result % 2**32] * LANES


def test_activemask_names_the_lanes_on_the_path(threads: Threads) -> None:
    """And leaves out those whose guard does not hold."""
    _, stored = threads.run("setp.lt.u32 %p1, %r10, 8; @%p1 activemask.b32 %r1;")
    assert stored == [0xFF] * 8 + [0xDEAD] * 24


def test_one_lane_is_elected(threads: Threads) -> None:
    """Exactly one member, and every member learns its number."""
    _, stored = threads.run("elect.sync %r3|%p1, 0xffffffff; selp.u32 %r4, 100, 0, %p1; add.u32 %r1, %r3, %r4;")
    leaders = [lane for lane, value in enumerate(stored) if value >= 100]
    assert len(leaders) == 1
    assert {value % 100 for value in stored} == set(leaders)


def test_an_indexed_branch_sends_each_lane_to_its_target(threads: Threads) -> None:
    """Four targets, some of them the same, chosen by data."""
    body = """brx.idx %r2, TABLE;
A: mov.u32 %r1, 10; bra JOIN;
B: mov.u32 %r1, 20; bra JOIN;
C: mov.u32 %r1, 30; bra JOIN;
TABLE: .branchtargets A, B, C, B;
JOIN:"""
    values, stored = threads.run(body)
    assert stored == [[10, 20, 30, 20][value] for value in values]


def test_lanes_that_ended_are_not_waited_for(threads: Threads) -> None:
    """A ballot over all members after half of them have ended."""
    _, stored = threads.run("setp.ge.u32 %p1, %r10, 16; @%p1 exit; vote.sync.ballot.b32 %r1, 1, -1;")
    assert stored == [0xFFFF] * 16 + [0] * 16


def test_nested_branches_join_again(threads: Threads) -> None:
    """All lanes execute what follows together."""
    body = """setp.lt.u32 %p1, %r2, 2;
@%p1 bra LOW;
setp.eq.u32 %p2, %r2, 2;
mov.u32 %r3, 3;
@!%p2 bra JOIN;
mov.u32 %r3, 2;
bra JOIN;
LOW:
setp.eq.u32 %p2, %r2, 0;
selp.u32 %r3, 0, 1, %p2;
JOIN:
activemask.b32 %r4;
and.b32 %r4, %r4, 0xffffff00;
add.u32 %r1, %r3, %r4;"""
    values, stored = threads.run(body)
    assert stored == [0xFFFFFF00 + value for value in values]


def test_the_clock_grows(threads: Threads) -> None:
    """By the instructions in between: it is no time, but it is never the same."""
    body = "mov.u32 %r3, %clock; add.u32 %r5, %r2, 1; add.u32 %r5, %r5, 1; mov.u32 %r4, %clock; sub.u32 %r1, %r4, %r3;"
    _, stored = threads.run(body)
    assert stored == [3] * LANES


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_block_s_barrier_orders_its_warps(threads: Threads, seed: int) -> None:
    """Each warp reads what the next one wrote before the barrier."""
    body = """.shared .align 4 .b8 words[512];
mov.u32 %r5, words;
shl.b32 %r6, %r10, 2;
add.u32 %r6, %r6, %r5;
st.shared.u32 [%r6], %r10;
bar.sync 0;
xor.b32 %r7, %r10, 32;
shl.b32 %r7, %r7, 2;
add.u32 %r7, %r7, %r5;
ld.shared.u32 %r1, [%r7];"""
    _, stored = threads.run(body, threads=128, seed=seed)
    assert stored == [thread ^ 32 for thread in range(128)]


@pytest.mark.parametrize("count", ["", "128, "])
def test_a_barrier_counts_the_lanes_whose_predicate_holds(threads: Threads, count: str) -> None:
    """Over all warps, also of a block whose last warp is not full when the whole block is meant."""
    size = 128 if count else 100
    values, stored = threads.run(f"setp.lt.u32 %p1, %r2, 2; barrier.red.popc.u32 %r1, 0, {count}%p1;", threads=size)
    assert stored == [sum(value < 2 for value in values)] * size


@pytest.mark.parametrize(("mode", "limit", "result"), [("and", 4, 1), ("and", 3, 0), ("or", 1, 1), ("or", 0, 0)])
def test_a_barrier_combines_predicates(threads: Threads, mode: str, limit: int, result: int) -> None:
    """Values are 0 to 3, all of which occur."""
    body = f"""setp.lt.u32 %p1, %r2, {limit};
bar.red.{mode}.pred %p2, 0, %p1;
selp.u32 %r1, 1, 0, %p2;"""
    _, stored = threads.run(body, threads=64)
    assert stored == [result] * 64


def test_arriving_does_not_wait(threads: Threads) -> None:
    """The first warp only arrives at a named barrier; the second waits for it there and sees what it wrote."""
    body = """.shared .align 4 .b8 words[128];
mov.u32 %r5, words;
and.b32 %r7, %r10, 31;
shl.b32 %r6, %r7, 2;
add.u32 %r6, %r6, %r5;
mov.u32 %r1, 1;
setp.ge.u32 %p1, %r10, 32;
@%p1 bra SECOND;
st.shared.u32 [%r6], %r10;
bar.arrive 3, 64;
bra DONE;
SECOND:
bar.sync 3, 64;
ld.shared.u32 %r1, [%r6];
DONE:"""
    _, stored = threads.run(body, threads=64)
    assert stored == [1] * 32 + list(range(32))


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ("trap;", "launch"),
        ("setp.lt.u32 %p1, %r10, 32; @%p1 bar.sync 1, 64;", "deadlock"),
        ("setp.lt.u32 %p1, %r10, 8; @%p1 bar.sync 0;", "divergence"),
        ("setp.lt.u32 %p1, %r10, 8; @%p1 vote.sync.ballot.b32 %r1, 1, 0xff00;", "divergence"),
        ("mov.u32 %r3, 20; bar.sync %r3;", "barrier"),
        ("setp.lt.u32 %p1, %r10, 32; @%p1 bar.sync 1, 64; @!%p1 bar.sync 1, 96;", "barrier"),
        ("A: brx.idx 3, TABLE; TABLE: .branchtargets A, A;", "out-of-bounds"),
    ],
)
def test_wrong_use_is_found(threads: Threads, body: str, check: str) -> None:
    """Each with the name of its check."""
    outcome, _, _ = threads.outcome(body, threads=64)
    assert check in {finding.check for finding in outcome.findings}
