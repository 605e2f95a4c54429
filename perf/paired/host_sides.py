"""Two host libraries on the same attention problem, in one process.

``arguments``: ``case`` (the fields of :class:`perf.model.Case`, the enumerations by key), ``threads``.

Both sides read and write the same buffers, so that where these lie in memory favours neither. What could still differ
is made equal or random: the libraries are opened in random order; every buffer starts at a random cache line of a page;
and the worker threads of both are bound to the same processors. Without that the scheduler settles the thread of one
library on a busy processor and the thread of the other on a free one, for as long as the process lives: with one of two
cores loaded, identical libraries differed by 20 to 40 % within one process (standard deviation between processes), by
0.8 to 1.1 % with the threads bound. That holds for calls of 1.4 ms; calls that outlast the scheduler's time slices
differ by 5 to 10 % on a loaded core all the same, and one thread (``--threads 1``) is the remedy.
"""

from __future__ import annotations

import array
import os
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from kernels.interface import Library
from perf.case import case_from_fields
from perf.conditions import ConditionsProbe
from perf.model import DType
from perf.paired.host_problem import Problem
from perf.paired.model import Side
from perf.paired.sampling import Sampler, Sides

_TASKS = Path("/proc/self/task")
# Far above the rounding of two right answers, far below what a wrong tile or mask gives (as in perf.measure).
_TOLERANCE = {DType.BF16: 0.1, DType.FP32: 1e-3}
_COMPARED_VALUES = 4096
_NAN_BYTE = b"\xff"


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The two sides; raises :class:`RoofgateError` if a library cannot be opened or the answers differ."""
    problem = Problem(case_from_fields(arguments["case"]), int(arguments["threads"]), generator)
    calls: dict[Side, Callable[[], object]] = {}
    outputs: dict[Side, bytes] = {}

    def make_call(side: Side) -> Callable[[], object]:
        library = Library(libraries[side])
        outputs[side] = _answer(library, problem, side)
        calls[side] = partial(problem.call, library)
        return calls[side]

    probe = ConditionsProbe(processors=_processors())  # of all threads: binding leaves the main thread with one
    placement = start_and_bind(make_call, generator)
    _check_outputs(outputs, problem.case.dtype, are_gradients=len(problem.outputs) > 1)
    return Sides(
        samplers={side: host_sampler(calls[side]) for side in Side},
        begin_block=probe.begin,
        end_block=probe.end,
        setting={"clock": "host, monotonic", "threads": f"{problem.threads}, {placement}"},
    )


def host_sampler(call: Callable[[], object]) -> Sampler:
    """Wall seconds of so many calls, by the monotonic clock."""

    def sample(iterations: int) -> float:
        calls = range(iterations)
        started = time.perf_counter()
        for _ in calls:
            call()
        return time.perf_counter() - started

    return sample


def start_and_bind(make_call: Callable[[Side], Callable[[], object]], generator: random.Random) -> str:
    """Make and call both sides once, in random order, and bind the threads that each one started.

    Thread i of either side goes to the same processor, and the main thread to another. Returns what was done, in words.
    """
    workers: dict[Side, list[int]] = {}
    for side in generator.sample(list(Side), 2):
        before = _threads()
        make_call(side)()
        workers[side] = sorted(_threads() - before)
    return _bind(workers, generator)


def _threads() -> set[int]:
    """The threads of this process; none where the system does not list them."""
    return {int(task.name) for task in _TASKS.iterdir()} if _TASKS.exists() else set()


def _processors() -> set[int] | None:
    """Those that this process may use; None where there are no affinity masks."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _bind(workers: Mapping[Side, list[int]], generator: random.Random) -> str:
    """Bind thread i of both sides to the same processor; returns what was done, in words."""
    if not any(workers.values()):
        return "unbound"
    processors = sorted(os.sched_getaffinity(0))
    generator.shuffle(processors)
    main_thread = os.getpid()
    os.sched_setaffinity(main_thread, {processors[0]})
    for threads in workers.values():
        for index, thread in enumerate(threads, start=1):
            os.sched_setaffinity(thread, {processors[index % len(processors)]})
    return "bound to the same processors on both sides"


def _answer(library: Library, problem: Problem, side: Side) -> bytes:
    try:
        problem.prepare(library)
        # NaN in either type: what a kernel leaves out is not the other one's answer.
        for output in problem.outputs:
            output[:] = _NAN_BYTE * len(output)
        problem.call(library)
    except RoofgateError as error:
        raise RoofgateError(f"{side.value}: {error}") from error
    return b"".join(problem.outputs)


def _check_outputs(outputs: Mapping[Side, bytes], dtype: DType, *, are_gradients: bool = False) -> None:
    """A revision that computes something else is not faster or slower: its time means nothing."""
    base, candidate = (_some_values(outputs[side], dtype) for side in (Side.BASE, Side.CANDIDATE))
    # A gradient sums over all queries, so that its rounding grows with its size.
    sizes = [max(1.0, abs(value)) if are_gradients else 1.0 for value in base]
    differences = [abs(one - other) / size for one, other, size in zip(base, candidate, sizes, strict=True)]
    if not all(difference <= _TOLERANCE[dtype] for difference in differences):  # also where one is NaN
        raise RoofgateError(
            f"the answers of base and candidate differ by up to {max(differences):.3g}, expected at most "
            f"{_TOLERANCE[dtype]:g}; not timed. Run the correctness tests on both: nox -s tests -- tests/kernels"
        )


def _some_values(data: bytes, dtype: DType) -> array.array[float]:
    """About as many as are compared, from all columns: an odd step is no multiple of the head dimension."""
    step = (len(data) // dtype.size_bytes // _COMPARED_VALUES) | 1
    if dtype is DType.FP32:
        return array.array("f", data)[::step]
    chosen = array.array("H", data)[::step]
    widened = array.array("H", bytes(4 * len(chosen)))
    widened[1::2] = chosen
    return array.array("f", widened.tobytes())
