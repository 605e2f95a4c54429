"""A slowdown is exactly so many more units, and the units reach the work: by count, never by time."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from kernels.build_record import read_record
from kernels.errors import RoofgateError
from kernels.interface import Library
from perf.detector import workloads
from perf.detector.trials import SLOWDOWNS
from perf.detector.workloads import DEFAULT_START_BLOCKS, WORKLOADS, Call, Context, find_workload, make_single
from perf.paired.model import Side


def seeded() -> random.Random:
    """Of where buffers begin."""
    return random.Random(1)  # noqa: S311


@pytest.fixture(scope="session")
def host_library() -> Path:
    """The built host library; its absence is an error, not a skip."""
    return Path(read_record().library("cpu").library)


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The structures with which kernels were called, by the real library."""
    passed: list[Any] = []

    class RecordingLibrary(Library):
        def _call(self, function: str, params: Any, stream: int) -> None:
            passed.append(params)
            super()._call(function, params, stream)

    monkeypatch.setattr(workloads, "Library", RecordingLibrary)
    return passed


def both_calls(name: str, slowdown: float, library: Path) -> tuple[Call, Call]:
    """The normal call and the slowed one, as the sides of a comparison have them."""
    workload = find_workload(name)
    units = (workload.units, workload.slowed_units(slowdown))
    make_call = workload.prepare(max(units), Context(generator=seeded()))
    return make_call(units[0], library), make_call(units[1], library)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.name)
@pytest.mark.parametrize("percent", [0, 1, 2, 3, 5, 10])
def test_whole_percents_are_exact(workload: workloads.Workload, percent: int) -> None:
    """No rounding: 100 x slowed units are (100 + percent) x units."""
    assert 100 * workload.slowed_units(percent / 100) == (100 + percent) * workload.units


def test_the_planned_slowdowns_are_the_whole_percents() -> None:
    """So that the test above is about the trials."""
    assert SLOWDOWNS == (0.01, 0.02, 0.03, 0.05, 0.1)


@pytest.mark.parametrize("name", ["copy", "python", "process_start"])
def test_half_a_percent_of_100_units_is_refused(name: str) -> None:
    """Rounded to none or to one percent it would be another slowdown than the results say."""
    with pytest.raises(RoofgateError, match=r"cannot be slowed by exactly 0\.005"):
        find_workload(name).slowed_units(0.005)


def test_an_unknown_workload_is_refused_with_the_known_ones() -> None:
    """One line, with what to choose from."""
    with pytest.raises(RoofgateError, match="no workload 'sort'; expected one of: attention_small"):
        find_workload("sort")


def test_a_workload_of_the_library_says_that_it_needs_it() -> None:
    """And how to build it."""
    with pytest.raises(RoofgateError, match="nox -s build"):
        WORKLOADS["copy"].prepare(1, Context(generator=seeded()))(1, None)


def test_multiply_add_executes_so_much_more(host_library: Path, params: list[Any]) -> None:
    """By the kernel's own count of FLOP."""
    base, slowed = both_calls("multiply_add", 0.03, host_library)
    base()
    slowed()

    assert params[1].flop / params[0].flop == pytest.approx(1.03, rel=1e-12)


def test_copy_writes_so_many_more_bytes(host_library: Path, params: list[Any]) -> None:
    """The target holds the source up to the last byte of the call, and nothing beyond."""
    base, _ = both_calls("copy", 0.02, host_library)
    base()
    target, source = params[0].kept_alive

    assert len(target) * 100 == params[0].bytes * 102
    assert target[: params[0].bytes] == source[: params[0].bytes]
    target[:] = bytes(len(target))
    base()
    assert target[params[0].bytes - 1] == 1
    assert not any(target[params[0].bytes :])


@pytest.mark.parametrize("name", ["attention_small", "attention_threads"])
def test_attention_writes_so_many_more_batches(host_library: Path, params: list[Any], name: str) -> None:
    """Outputs of the normal call end where its units end; those of the slowed one fill the buffer."""
    base, slowed = both_calls(name, 0.05, host_library)
    base()
    output = params[0].kept_alive.outputs[0]
    unit_bytes = len(output) // WORKLOADS[name].slowed_units(0.05)
    written = WORKLOADS[name].units * unit_bytes
    unwritten = b"\x5a" * len(output)
    counts = []
    for call in (base, slowed):
        output[:] = unwritten
        call()
        counts.append(
            sum(output[at : at + unit_bytes] != unwritten[:unit_bytes] for at in range(0, len(output), unit_bytes))
        )

    assert counts == [WORKLOADS[name].units, WORKLOADS[name].slowed_units(0.05)]
    assert params[0].problem.batch * unit_bytes == written


def test_python_takes_so_many_more_steps(host_library: Path) -> None:
    """As many as the range has, and each changes the state."""
    base, slowed = both_calls("python", 0.01, host_library)
    lengths = [len(call.args[0]) for call in (base, slowed)]  # type: ignore[attr-defined]

    assert lengths == [10_000, 10_100]
    assert base() != slowed()
    assert base() == base()


def test_process_start_copies_its_percents_of_the_whole_call(
    host_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start and copy together are 100 units: 10 % more are a tenth of both, all of it copied."""
    blocks: list[int] = []
    monkeypatch.setattr(workloads, "start_process", blocks.append)

    for call in both_calls("process_start", 0.1, host_library):
        call()

    assert blocks[0] == 1000
    assert DEFAULT_START_BLOCKS + blocks[1] == pytest.approx(1.1 * (DEFAULT_START_BLOCKS + blocks[0]))


def test_a_started_process_is_waited_for() -> None:
    """None is left behind to disturb the next trial."""
    workloads.start_process(1)

    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_sides_differ_by_the_slowdown_alone(host_library: Path, params: list[Any]) -> None:
    """Same buffers, same library; the candidate copies more."""
    arguments = {"workload": "copy", "slowdown": 0.1, "start_blocks": DEFAULT_START_BLOCKS}
    sides = workloads.make(arguments, dict.fromkeys(Side, host_library), seeded())
    params.clear()
    sides.samplers[Side.BASE](1)
    sides.samplers[Side.CANDIDATE](1)
    base, candidate = params

    assert (base.dst, base.src) == (candidate.dst, candidate.src)
    assert 10 * candidate.bytes == 11 * base.bytes


def test_the_single_call_is_the_slowed_one(host_library: Path, params: list[Any]) -> None:
    """What other tools time is the same work."""
    make_single("copy", 0.1, host_library, DEFAULT_START_BLOCKS)()

    assert params[0].bytes == 110 * 320 * 1024
