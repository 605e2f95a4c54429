"""Probes of mbarrier objects: phases and counts. Every lane has a barrier of its own, and nobody waits in vain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from profiles.simulator.probes.per_thread import per_thread
from profiles.simulator.probes.probe import LANES, Output, Probe

_BARRIERS = bytes(8 * LANES)


def barrier_probes() -> list[Probe]:
    """All of them."""
    return [*_mbarriers(), _named_barriers()]


def _mbarriers() -> Iterator[Probe]:
    yield _of_each_lane("mbarrier-arrivals", "sm_80", _arrivals())
    yield _of_each_lane("mbarrier-drop", "sm_80", _drops())
    yield _of_each_lane("mbarrier-transactions", "sm_90", _transactions())
    yield _of_each_lane("mbarrier-after-copies", "sm_80", _after_copies())
    yield per_thread(
        "mbarrier-pending-count-of-a-fresh-barrier",
        "sm_80",
        [("b32", np.arange(LANES, dtype=np.uint64))],
        [
            (
                "b64: .shared .align 8 .b64 %fresh[32]; .reg .b32 %at; mov.u32 %at, %fresh; "
                "mad.lo.u32 %at, %lane, 8, %at; .reg .b32 %count; add.u32 %count, %a0, 3; "
                "mbarrier.init.shared.b64 [%at], %count; .reg .b64 %state; mbarrier.arrive.shared.b64 %state, [%at]; "
                "mbarrier.pending_count.b64 %count, %state; cvt.u64.u32 $0, %count"
            )
        ],
    )


def _of_each_lane(name: str, target: str, steps: list[tuple[str, str, str]]) -> Probe:
    """Steps of kind, label and PTX in which $ stands for the output; kind "" stores nothing."""
    lines = [
        ".reg .b32 %own;",
        ".reg .b64 %state, %first_state;",
        "mad.lo.u32 %own, %lane, 8, %buffer;",
    ]
    outputs: list[Output] = []
    for kind, label, text in steps:
        lines.append(text.replace("$", f"%d{len(outputs)}") + ";")
        if kind:
            outputs.append(Output(label, kind))
    return Probe(
        name=name,
        target=target,
        statements="\n".join(lines),
        outputs=tuple(outputs),
        inputs=(("b32", np.arange(LANES, dtype=np.uint64) % np.uint64(5) + np.uint64(2)),),
        shared=_BARRIERS,
    )


def _tests(when: str) -> list[tuple[str, str, str]]:
    return [
        ("pred", f"parity 0 {when}", "mbarrier.test_wait.parity.shared.b64 $, [%own], 0"),
        ("pred", f"parity 1 {when}", "mbarrier.test_wait.parity.shared.b64 $, [%own], 1"),
    ]


def _pending(when: str) -> tuple[str, str, str]:
    return ("b32", f"pending {when}", "mbarrier.pending_count.b64 $, %state")


def _init(count: str) -> list[tuple[str, str, str]]:
    return [("", "", f"mbarrier.init.shared.b64 [%own], {count}"), *_tests("after init")]


def _arrivals() -> list[tuple[str, str, str]]:
    """From 2 to 6 arrivals expected, by lane."""
    return [
        *_init("%a0"),
        ("", "", "mbarrier.arrive.shared.b64 %first_state, [%own]"),
        ("", "", "mov.b64 %state, %first_state"),
        _pending("before the first arrival"),
        *_tests("after one arrival"),
        ("pred", "the first state, not complete", "mbarrier.test_wait.shared.b64 $, [%own], %first_state"),
        *_rest_of_arrivals(),
    ]


def _rest_of_arrivals() -> list[tuple[str, str, str]]:
    """The remaining arrivals one by one, predicated by how many are left."""
    steps: list[tuple[str, str, str]] = [("", "", ".reg .pred %left")]
    for number in range(1, 6):
        steps += [
            ("", "", f"setp.gt.u32 %left, %a0, {number}"),
            ("", "", "@%left mbarrier.arrive.shared.b64 %state, [%own]"),
            _pending(f"before arrival {number + 1}, or the last"),
        ]
    return [
        *steps,
        *_tests("after all arrivals"),
        ("pred", "the first state, complete", "mbarrier.test_wait.shared.b64 $, [%own], %first_state"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        _pending("before the first arrival of phase 1"),
        *_tests("in phase 1"),
        ("pred", "the state of phase 1", "mbarrier.test_wait.shared.b64 $, [%own], %state"),
    ]


def _drops() -> list[tuple[str, str, str]]:
    """arrive_drop lowers the count of this phase and of the next."""
    return [
        *_init("3"),
        ("", "", "mbarrier.arrive_drop.shared.b64 %state, [%own]"),
        _pending("before the drop"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        _pending("after the drop"),
        *_tests("after two arrivals of three"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        *_tests("after three"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        _pending("in phase 1"),
        *_tests("after one of two in phase 1"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        *_tests("after two of two in phase 1"),
    ]


def _transactions() -> list[tuple[str, str, str]]:
    """A phase ends when arrivals and bytes are both complete, in either order."""
    return [
        *_init("2"),
        ("", "", "mbarrier.arrive.expect_tx.shared::cta.b64 %state, [%own], 64"),
        _pending("before arrive.expect_tx"),
        ("", "", "mbarrier.arrive.shared::cta.b64 %state, [%own]"),
        _pending("before the second arrival"),
        *_tests("with 64 bytes to come"),
        ("", "", "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%own], 48"),
        *_tests("with 16 bytes to come"),
        ("", "", "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%own], 16"),
        *_tests("with no bytes to come"),
        ("", "", "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%own], 32"),
        ("", "", "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%own], 32"),
        *_tests("in phase 1 without arrivals"),
        ("", "", "mbarrier.arrive.shared::cta.b64 %state, [%own], 2"),
        _pending("before an arrival that counts twice"),
        *_tests("after phase 1"),
        ("", "", "mbarrier.arrive.release.cta.shared::cta.b64 %state, [%own], 1"),
        _pending("in phase 2"),
    ]


def _after_copies() -> list[tuple[str, str, str]]:
    """cp.async.mbarrier.arrive: with .noinc it is one of the expected arrivals, without it adds one of its own."""
    return [
        *_init("2"),
        ("", "", "cp.async.mbarrier.arrive.noinc.shared.b64 [%own]"),
        ("", "", "cp.async.wait_all"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        *_tests("after .noinc and one arrival"),
        ("", "", "cp.async.mbarrier.arrive.shared.b64 [%own]"),
        ("", "", "cp.async.wait_all"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        *_tests("in phase 1 after an arrival of copies and another"),
        ("", "", "mbarrier.arrive.shared.b64 %state, [%own]"),
        *_tests("in phase 1 after two other arrivals"),
    ]


def _named_barriers() -> Probe:
    """barrier.red of 128 threads: the number and the logic of their predicates."""
    statements = """
    .reg .pred %odd, %all, %any;
    .reg .b32 %bit;
    and.b32 %bit, %a0, 1;
    setp.ne.u32 %odd, %bit, 0;
    barrier.cta.red.popc.u32 %d0, 1, %odd;
    barrier.cta.red.and.pred %d1, 2, %odd;
    barrier.cta.red.or.pred %d2, 3, %odd;
    barrier.cta.red.popc.u32 %d3, 4, 128, !%odd;
    """
    outputs = tuple(
        Output(label, kind) for label, kind in (("popc", "b32"), ("and", "pred"), ("or", "pred"), ("not", "b32"))
    )
    threads = np.arange(128, dtype=np.uint64)
    return Probe(
        name="barrier-reductions",
        target="sm_80",
        statements=statements,
        outputs=outputs,
        inputs=(("b32", threads * threads % np.uint64(7)),),
        block=128,
    )
