"""mbarrier objects: phases, counts, transactions, what they order, and how they are misused. PTX ISA, "mbarrier"."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Options, Outcome, load_kernel
from tests.profiles.simulator.memory_kernels import checks, kernel, launch, words

# %p7: the first thread. The object lies at s, data from s + 16 on.
FIRST = "setp.eq.u32 %p7, %r1, 0;"


def initialised(count: int) -> str:
    """The first thread makes the object; a barrier makes it known."""
    return f"{FIRST} @%p7 mbarrier.init.shared::cta.b64 [s], {count}; bar.sync 0;"


def store(register: str, place: int) -> str:
    """The first thread stores a register as word ``place`` of the output."""
    return f"@%p7 st.global.u32 [%rd1+{4 * place}], {register};"


def poll(register: str, parity: int, predicate: str = "%p1") -> str:
    """1 in the register if the phase of the parity is complete."""
    return (
        f"mbarrier.test_wait.parity.shared::cta.b64 {predicate}, [s], {parity};selp.u32 {register}, 1, 0, {predicate};"
    )


def run(
    memory: DeviceMemory, body: str, threads: int = 32, options: Options | None = None
) -> tuple[Outcome, list[int]]:
    """The outcome, and what the kernel stored."""
    output = words(memory, 64)
    outcome = launch(memory, kernel(body, shared=1024), output, threads=threads, options=options)
    return outcome, output.array.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "wait",
    [
        "mbarrier.try_wait.parity.shared::cta.b64 %p1, [s], 0;",
        "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p1, [s], 0, 1000;",
        "mbarrier.test_wait.parity.shared.b64 %p1, [s], 0;",
        "mbarrier.try_wait.parity.b64 %p1, [%rd21], 0;",
        "mbarrier.try_wait.parity.shared::cta.b64 %p1, [%rd20], 0;",
        "mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r20+8], 0;",
    ],
)
def test_a_wait_sees_what_was_written_before_the_arrivals(memory: DeviceMemory, seed: int, wait: str) -> None:
    """Whatever the schedule and the form of the address: the second warp reads what the first one wrote."""
    body = f"""
    {initialised(32)}
    mov.u32 %r20, s; cvt.u64.u32 %rd20, %r20; cvta.shared.u64 %rd21, %rd20; sub.u32 %r20, %r20, 8;
    shl.b32 %r3, %r1, 2; mov.u32 %r4, s; add.u32 %r4, %r4, %r3;
    setp.ge.u32 %p2, %r1, 32; @%p2 bra WAIT;
    st.shared.u32 [%r4+16], %r1;
    mbarrier.arrive.shared::cta.b64 _, [s];
    bra END;
WAIT:
    {wait}
    @!%p1 bra WAIT;
    ld.shared.u32 %r5, [%r4+-112];
    add.u64 %rd2, %rd1, %rd10; st.global.u32 [%rd2+-128], %r5;
END:"""

    outcome, found = run(memory, body, threads=64, options=Options(check_races=True, seed=seed))

    assert outcome.findings == ()
    assert found[:32] == list(range(32))


def test_a_phase_completes_with_the_last_arrival_and_the_parity_flips(memory: DeviceMemory) -> None:
    """Parity 1 counts as complete before the first phase ends; then parity 0, then 1 again."""
    tests = "".join(poll(f"%r{10 + parity}", parity) for parity in (0, 1))
    stores = [store("%r10", place) + store("%r11", place + 1) for place in (0, 2, 4)]
    arrive = "@%p7 mbarrier.arrive.shared::cta.b64 _, [s], 3;"

    outcome, found = run(memory, initialised(3) + "".join(f"{tests}{item}{arrive}" for item in stores))

    assert outcome.findings == ()
    assert found[:6] == [0, 1, 1, 0, 0, 1]


def test_an_arrival_returns_the_state_before_it(memory: DeviceMemory) -> None:
    """Lanes arrive one after the other: the pending counts are 32, 31, ... 1; each state names the phase that ends."""
    body = f"""
    {initialised(32)}
    mbarrier.arrive.shared::cta.b64 %rd3, [s];
    mbarrier.pending_count.b64 %r5, %rd3;
    mbarrier.try_wait.shared::cta.b64 %p1, [s], %rd3;
    selp.u32 %r6, 1, 0, %p1;
    add.u64 %rd2, %rd1, %rd10; st.global.u32 [%rd2], %r5; st.global.u32 [%rd2+128], %r6;"""

    outcome, found = run(memory, body)

    assert outcome.findings == ()
    assert found == [*range(32, 0, -1), *[1] * 32]


def test_dropping_lowers_what_later_phases_expect(memory: DeviceMemory) -> None:
    """Of four, one leaves: the phase still needs the other three, and so does the next one."""
    arrivals = [
        "mbarrier.arrive_drop.shared::cta.b64 _, [s];",
        "mbarrier.arrive.shared::cta.b64 _, [s], 3;",
        "mbarrier.arrive.shared::cta.b64 _, [s], 2;",
        "mbarrier.arrive.shared::cta.b64 _, [s];",
    ]
    body = "".join(
        f"@%p7 {arrive}{poll('%r9', number // 2)}{store('%r9', number)}" for number, arrive in enumerate(arrivals)
    )

    outcome, found = run(memory, initialised(4) + body)

    assert outcome.findings == ()
    assert found[:4] == [0, 1, 0, 1]


def test_a_phase_waits_for_its_bytes(memory: DeviceMemory) -> None:
    """All have arrived, but 48 bytes are expected: they come in two parts, the first of them before the arrival."""
    steps = [
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [s], 32;",
        "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [s], 16;",
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [s], 16;",
        "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [s], 31;",
        "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [s], 1;",
    ]
    body = "".join(f"@%p7 {step}{poll('%r9', 0)}{store('%r9', number)}" for number, step in enumerate(steps))

    outcome, found = run(memory, initialised(1) + body)

    assert outcome.findings == ()
    assert found[:5] == [0, 0, 0, 0, 1]


def test_polls_do_not_show_in_the_counters(memory: DeviceMemory) -> None:
    """A wait is counted once, however late the phase completes."""
    body = f"""
    {initialised(32)}
    mov.u32 %r5, 0;
    setp.ge.u32 %p2, %r1, 32; @%p2 bra WAIT;
LOOP:
    add.u32 %r5, %r5, 1; setp.lt.u32 %p3, %r5, 1000; @%p3 bra LOOP;
    mbarrier.arrive.shared::cta.b64 _, [s];
    bra END;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [s], 0;
    @!%p1 bra WAIT;
END:"""
    for seed in range(3):
        outcome, _ = run(memory, body, threads=64, options=Options(seed=seed))
        (result,) = outcome.launches
        executed = {
            instruction.opcode: counters.executed
            for instruction, counters in zip(result.kernel.instructions, result.counters, strict=True)
        }
        assert executed["mbarrier.try_wait.parity.shared::cta.b64"] == 1


MISUSES = {
    "more arrivals than expected": initialised(2) + "@%p7 mbarrier.arrive.shared::cta.b64 _, [s], 3;",
    "not initialised": "mbarrier.arrive.shared::cta.b64 _, [s];",
    "after inval": initialised(1) + "mbarrier.inval.shared::cta.b64 [s]; mbarrier.arrive.shared::cta.b64 _, [s];",
    "overwritten": initialised(32) + f"{FIRST} @%p7 st.shared.u32 [s], 0; mbarrier.arrive.shared::cta.b64 _, [s];",
    "count of zero": initialised(0),
    "count too large": initialised(1 << 20),
    "misaligned": f"{FIRST} @%p7 mbarrier.init.shared::cta.b64 [s+4], 1;",
    "too many bytes": initialised(1) + "@%p7 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [s], 1048576;",
    "noComplete completes": initialised(1) + "@%p7 mbarrier.arrive.noComplete.shared.b64 %rd3, [s], 1;",
    "state of an older phase": initialised(1)
    + "@%p7 mbarrier.arrive.shared::cta.b64 %rd3, [s]; @%p7 mbarrier.arrive.shared::cta.b64 _, [s];"
    "@%p7 mbarrier.test_wait.shared::cta.b64 %p1, [s], %rd3;",
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_found(memory: DeviceMemory, name: str) -> None:
    """What PTX calls undefined ends the launch with a finding that names the instruction."""
    outcome, _ = run(memory, MISUSES[name], options=Options())

    assert checks(outcome) == ["mbarrier"]
    assert "mbarrier" in outcome.launches[0].kernel.instructions[outcome.findings[0].site].opcode


def test_noncompleting_arrivals_below_the_count_are_right(memory: DeviceMemory) -> None:
    """Two of three with .noComplete, the last one without."""
    body = f"""
    @%p7 mbarrier.arrive.noComplete.shared.b64 %rd3, [s], 2; {poll("%r9", 0)} {store("%r9", 0)}
    @%p7 mbarrier.arrive.shared::cta.b64 _, [s]; {poll("%r9", 0)} {store("%r9", 1)}"""

    outcome, found = run(memory, initialised(3) + body)

    assert outcome.findings == ()
    assert found[:2] == [0, 1]


def test_waiting_for_what_never_comes_is_a_deadlock(memory: DeviceMemory) -> None:
    """The report names the object's address."""
    body = (
        initialised(33)
        + """
    mbarrier.arrive.shared::cta.b64 _, [s];
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [s], 0;
    @!%p1 bra WAIT;"""
    )

    outcome, _ = run(memory, body)

    assert checks(outcome) == ["deadlock"]
    assert "mbarrier at shared address 0" in outcome.findings[0].message


def test_the_object_must_be_known_before_it_is_used(memory: DeviceMemory) -> None:
    """Without a barrier behind mbarrier.init, the other warp's arrival races with it, if it is not too early anyway."""
    body = f"{FIRST} @%p7 mbarrier.init.shared::cta.b64 [s], 64; mbarrier.arrive.shared::cta.b64 _, [s];"

    outcome, _ = run(memory, body, threads=64)

    assert set(checks(outcome)) & {"shared-race", "mbarrier"}


@pytest.mark.parametrize(
    ("arrive", "wait", "races"),
    [
        ("mbarrier.arrive.release.cta", "acquire.cta", False),
        ("mbarrier.arrive.relaxed.cta", "acquire.cta", True),
        ("mbarrier.arrive.release.cta", "relaxed.cta", True),
        ("fence.acq_rel.cta; mbarrier.arrive.relaxed.cta", "acquire.cta", False),
    ],
)
def test_relaxed_forms_order_nothing_by_themselves(memory: DeviceMemory, arrive: str, wait: str, races: bool) -> None:
    """A race is reported unless an arrival releases, or a fence before it does, and the wait acquires."""
    body = f"""
    {initialised(32)}
    setp.ge.u32 %p2, %r1, 32; @%p2 bra WAIT;
    {FIRST} @%p7 st.shared.u32 [s+16], 1;
    {arrive}.shared::cta.b64 _, [s];
    bra END;
WAIT:
    mbarrier.try_wait.parity.{wait}.shared::cta.b64 %p1, [s], 0;
    @!%p1 bra WAIT;
    ld.shared.u32 %r5, [s+16];
END:"""

    outcome, _ = run(memory, body, threads=64)

    assert checks(outcome) == (["shared-race"] if races else [])


@pytest.mark.parametrize(
    "text",
    [
        "mbarrier.init.shared::cta.b32 [s], 1;",
        "mbarrier.arrive.later.shared::cta.b64 _, [s];",
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [s];",
        "mbarrier.swap.b64 [s];",
        "mbarrier.try_wait.parity.shared::cta.b64 %p1, [s];",
    ],
)
def test_unknown_forms_are_refused(text: str) -> None:
    """With the instruction's text, rather than being taken for something else."""
    with pytest.raises(LoweringError, match="mbarrier"):
        load_kernel(kernel(text, shared=64), "k")


def test_an_object_can_be_made_again(memory: DeviceMemory) -> None:
    """After inval, with another count."""
    body = f"""
    {initialised(1)}
    @%p7 mbarrier.inval.shared::cta.b64 [s];
    @%p7 mbarrier.init.shared::cta.b64 [s], 2;
    @%p7 mbarrier.arrive.shared::cta.b64 _, [s], 2; {poll("%r9", 0)} {store("%r9", 0)}"""

    outcome, found = run(memory, body)

    assert outcome.findings == ()
    assert found[0] == 1
    assert np.all(np.array(found[1:]) == 0)
