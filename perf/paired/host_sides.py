"""Two host libraries on the same attention problem, in one process.

``arguments``: ``case`` (the fields of :class:`perf.model.Case`, the enumerations by key), ``threads``.

Both sides read and write the same buffers, so that where these lie in memory favours neither. What could still differ
is made equal or random: the libraries are opened in random order; every buffer starts at a random cache line of a page;
and the worker threads of both are bound to the same processors. Without that the scheduler settles the thread of one
library on a busy processor and the thread of the other on a free one, for as long as the process lives: with one of two
cores loaded, identical libraries differed by 20 to 40 % within one process (standard deviation between processes), by
0.8 to 1.1 % with the threads bound. That holds for calls of 1.4 ms; calls that outlast the scheduler's time slices
differ by 5 to 10 % on a loaded core all the same, and one thread (``--threads 1``) is the remedy.

q, k and v hold the same normal values, so every query has a key much like itself and the answers are of the order of 1,
where a tolerance tells right from wrong. Of independent values, thousands of keys would average to nearly 0.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from kernels.interface import AttentionFwdParams, KernelDType, Library
from perf.conditions import ConditionsProbe
from perf.model import CAUSAL, DType
from perf.paired.model import Side
from perf.paired.sampling import Sampler, Sides

_KERNEL_DTYPES = {DType.BF16: KernelDType.BF16, DType.FP32: KernelDType.FP32}
# Normal values are drawn once and repeated: a restart may not spend its time on random numbers.
_DISTINCT_VALUES = 16 * 1024
_CACHE_LINE_BYTES = 64
_TASKS = Path("/proc/self/task")
# Far above the rounding of two right answers, far below what a wrong tile or mask gives (as in perf.measure).
_TOLERANCE = {DType.BF16: 0.1, DType.FP32: 1e-3}
_COMPARED_VALUES = 4096
_NAN_BYTE = b"\xff"


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The two sides; raises :class:`RoofgateError` if a library cannot be opened or the answers differ."""
    problem = Problem(arguments["case"], int(arguments["threads"]), generator)
    calls: dict[Side, Callable[[], object]] = {}
    outputs: dict[Side, bytes] = {}

    def make_call(side: Side) -> Callable[[], object]:
        library = Library(libraries[side])
        outputs[side] = _answer(library, problem, side)
        calls[side] = lambda: library.attention_fwd(problem.params)
        return calls[side]

    probe = ConditionsProbe(processors=_processors())  # of all threads: binding leaves the main thread with one
    placement = start_and_bind(make_call, generator)
    _check_outputs(outputs, problem.dtype)
    return Sides(
        samplers={side: host_sampler(calls[side]) for side in Side},
        begin_block=probe.begin,
        end_block=probe.end,
        setting={"clock": "host, monotonic", "threads": f"{problem.params.threads}, {placement}"},
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


class Problem:
    """The buffers of one attention problem, filled with normal values, and the C structure that points to them."""

    def __init__(self, case: Mapping[str, Any], threads: int, generator: random.Random) -> None:
        self.dtype = DType.from_key(case["dtype"])
        if self.dtype not in _KERNEL_DTYPES:
            raise RoofgateError(f"{self.dtype.key} has no host kernel; expected bf16 or fp32")
        q_shape = (case["batch"], case["heads_q"], case["seqlen_q"], case["head_dim"])
        k_shape = (case["batch"], case["heads_kv"], case["seqlen_k"], case["head_dim"])
        values = _normal_bytes(self.dtype, generator)
        q, k, v, self.output = (
            buffer(_product(shape) * self.dtype.size_bytes, values, generator)
            for shape in (q_shape, k_shape, k_shape, q_shape)
        )
        self._lse = buffer(_product(q_shape[:3]) * 4, bytes(mmap.PAGESIZE), generator)
        self._kept_alive = (q, k, v)
        self.params = AttentionFwdParams(
            q=address(q),
            k=address(k),
            v=address(v),
            o=address(self.output),
            lse=address(self._lse),
            batch=case["batch"],
            heads_q=case["heads_q"],
            heads_kv=case["heads_kv"],
            seqlen_q=case["seqlen_q"],
            seqlen_k=case["seqlen_k"],
            head_dim=case["head_dim"],
            dtype=_KERNEL_DTYPES[self.dtype],
            causal=case["mask"] == CAUSAL.name,
            scale=case["head_dim"] ** -0.5,
            threads=threads,
        )
        for name, shape in (("q", q_shape), ("k", k_shape), ("v", k_shape), ("o", q_shape)):
            setattr(self.params, f"{name}_stride", type(self.params.q_stride)(*_strides(shape)))

    def params_of_batch(self, batch: int) -> AttentionFwdParams:
        """The same problem with the first ``batch`` entries of its batch alone."""
        params = AttentionFwdParams.from_buffer_copy(self.params)
        params.batch = batch
        params.kept_alive = self  # the structure itself holds addresses alone
        return params


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _strides(shape: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Of a contiguous tensor, in elements, without the last one."""
    _, heads, seqlen, head_dim = shape
    return heads * seqlen * head_dim, seqlen * head_dim, head_dim


def _normal_bytes(dtype: DType, generator: random.Random) -> bytes:
    values = array.array("f", [generator.gauss(0.0, 1.0) for _ in range(_DISTINCT_VALUES)])
    if dtype is DType.FP32:
        return values.tobytes()
    # The upper half of a float32 is its bf16, rounded towards zero. The host kernels are for little-endian processors.
    return array.array("H", values.tobytes())[1::2].tobytes()


def buffer(size: int, values: bytes, generator: random.Random) -> memoryview:
    """``size`` bytes of memory of their own at a random cache line of a page, filled with ``values`` repeated."""
    offset = generator.randrange(mmap.PAGESIZE // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES
    memory = memoryview(mmap.mmap(-1, offset + max(size, 1)))[offset : offset + size]
    for start in range(0, size, len(values)):
        memory[start : start + len(values)] = values[: size - start]
    return memory


def address(memory: memoryview) -> int:
    """Where the memory starts; 0, a null pointer, if there is none."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) if len(memory) else 0


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
    # NaN in either type: what a kernel leaves out is not the other one's answer.
    problem.output[:] = _NAN_BYTE * len(problem.output)
    try:
        library.attention_fwd(problem.params)
    except RoofgateError as error:
        raise RoofgateError(f"{side.value}: {error}") from error
    return bytes(problem.output)


def _check_outputs(outputs: Mapping[Side, bytes], dtype: DType) -> None:
    """A revision that computes something else is not faster or slower: its time means nothing."""
    base, candidate = (_some_values(outputs[side], dtype) for side in (Side.BASE, Side.CANDIDATE))
    differences = [abs(one - other) for one, other in zip(base, candidate, strict=True)]
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
