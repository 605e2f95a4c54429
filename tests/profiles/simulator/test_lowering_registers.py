"""Slots of the register file: sharing them never loses a value, and the file stays small."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from profiles.simulator.lowering.control_flow import Access, Block, live_out
from profiles.simulator.lowering.registers import SLOT_ALIGNMENT, align, allocate, each_bit, interference, slot_size

WIDTHS = (1, 2, 4, 8, 16)


@st.composite
def accesses(draw: st.DrawFn, registers: int) -> Access:
    """One instruction's reads and writes, mostly few."""
    mask = st.integers(0, (1 << registers) - 1)
    sparse = st.builds(lambda a, b, c: a & b & c, mask, mask, mask)
    writes = draw(sparse)
    return Access(draw(sparse), writes, writes if draw(st.booleans()) else 0)


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[int], list[Block], list[Access]]:
    """Widths, blocks with arbitrary edges, and what their instructions access."""
    registers = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    firsts = [sum(lengths[:i]) for i in range(len(lengths))]
    successors = st.lists(st.integers(0, len(lengths) - 1), max_size=2, unique=True).map(tuple)
    blocks = [Block(first, first + length, draw(successors)) for first, length in zip(firsts, lengths, strict=True)]
    return (
        draw(st.lists(st.sampled_from(WIDTHS), min_size=registers, max_size=registers)),
        blocks,
        [draw(accesses(registers)) for _ in range(sum(lengths))],
    )


class Machine:
    """Runs a thread along a random path and holds each value twice: by register and by byte of the file."""

    def __init__(self, widths: list[int], offsets: list[int]) -> None:
        self.places = [range(offset, offset + slot_size(width)) for width, offset in zip(widths, offsets, strict=True)]
        self.values: dict[int, int] = {}
        self.file: dict[int, int] = {}
        self.written = 0

    def step(self, access: Access, holds: bool) -> None:
        """Execute one instruction; ``holds`` is what its guard says, if it has one."""
        for register in each_bit(access.reads):
            if register in self.values:
                bytes_read = {self.file[byte] for byte in self.places[register]}
                assert bytes_read == {self.values[register]}, f"register {register} was overwritten"
        if access.kills or holds:
            for register in each_bit(access.writes):
                self.written += 1
                self.values[register] = self.written
                self.file.update(dict.fromkeys(self.places[register], self.written))


@given(programs(), st.integers(0, 2**32))
def test_a_register_keeps_its_value_on_every_path(
    program: tuple[list[int], list[Block], list[Access]], seed: int
) -> None:
    """What a thread reads is what it wrote last, however it got there."""
    widths, blocks, instructions = program
    offsets, _ = allocate(widths, interference(blocks, instructions, len(widths)), 0)
    machine = Machine(widths, offsets)
    chance = random.Random(seed)  # noqa: S311 - chooses a path
    index: int | None = 0
    for _ in range(30):
        if index is None:
            break
        block = blocks[index]
        for access in instructions[block.first : block.end]:
            machine.step(access, chance.random() < 0.5)
        index = chance.choice(block.successors) if block.successors else None


@given(programs())
def test_registers_of_one_instruction_never_share_a_slot(
    program: tuple[list[int], list[Block], list[Access]],
) -> None:
    """Handlers may write a destination before they have read all sources; slots are aligned and inside the file."""
    widths, blocks, instructions = program
    offsets, end = allocate(widths, interference(blocks, instructions, len(widths)), 0)
    for access in instructions:
        for written in each_bit(access.writes):
            for other in each_bit((access.reads | access.writes) & ~(1 << written)):
                assert offsets[written] != offsets[other]
    assert end % SLOT_ALIGNMENT == 0
    assert all(offset + slot_size(width) <= end for offset, width in zip(offsets, widths, strict=True))
    assert all(
        offset % min(slot_size(width), SLOT_ALIGNMENT) == 0 for offset, width in zip(offsets, widths, strict=True)
    )


@given(programs())
def test_registers_that_stand_alone_share_with_nobody(program: tuple[list[int], list[Block], list[Access]]) -> None:
    """The registers of asynchronous products keep a slot of their own."""
    widths, blocks, instructions = program
    offsets, _ = allocate(widths, interference(blocks, instructions, len(widths)), 1)
    assert offsets[0] not in offsets[1:]


def test_a_chain_of_temporaries_needs_two_slots() -> None:
    """Each value is read once, by the instruction that makes the next one."""
    count = 100
    chain = [Access(1 << i, 1 << (i + 1), 1 << (i + 1)) for i in range(count - 1)]
    blocks = [Block(0, len(chain), ())]
    _, end = allocate([4] * count, interference(blocks, chain, count), 0)
    assert end == 2 * slot_size(4)


def test_predicates_are_packed() -> None:
    """A predicate takes four bytes, and the file ends at a multiple of the alignment."""
    together = [Access(0, 0b1111, 0b1111), Access(0b1111, 0, 0)]
    offsets, end = allocate([1] * 4, interference([Block(0, 2, ())], together, 4), 0)
    assert sorted(offsets) == [0, 4, 8, 12]
    assert end == SLOT_ALIGNMENT


def test_a_write_under_a_guard_does_not_end_the_old_value() -> None:
    """``r0 = a; @p r0 = b; use r0``: r0 of the lanes without p is still a, so it is live before the guarded write."""
    guarded = [Access(0, 0b01, 0b01), Access(0, 0b10, 0b10), Access(0b10, 0b01, 0), Access(0b01, 0, 0)]
    (first, second) = allocate([4, 4], interference([Block(0, 4, ())], guarded, 2), 0)[0]
    assert first != second


def test_what_a_loop_reads_is_live_through_its_whole_body() -> None:
    """A value made before a loop is live behind every instruction of it."""
    loop = [Access(0, 0b01, 0b01), Access(0b01, 0, 0), Access(0, 0b10, 0b10), Access(0b10, 0, 0)]
    blocks = [Block(0, 1, (1,)), Block(1, 4, (1, 2)), Block(4, 4, ())]
    assert live_out(blocks, loop) == [0b01, 0b01, 0]


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4, 16, 1024]))
def test_align_gives_the_next_multiple(offset: int, alignment: int) -> None:
    """The result is a multiple and less than one alignment away."""
    aligned = align(offset, alignment)
    assert aligned % alignment == 0
    assert 0 <= aligned - offset < alignment


def test_a_value_is_live_through_blocks_that_do_not_read_it() -> None:
    """Made in the first of three blocks and read in the last, through a loop of the middle one over itself."""
    chain = [Access(0, 0b01, 0b01), Access(0, 0b10, 0b10), Access(0b01, 0, 0)]
    blocks = [Block(0, 1, (1,)), Block(1, 2, (1, 2)), Block(2, 3, ())]
    assert live_out(blocks, chain) == [0b01, 0b01, 0]
