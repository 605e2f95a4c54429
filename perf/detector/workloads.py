"""Workloads whose amount of work is a count, so that a slowdown of s means exactly 1 + s times as many equal units.

Each has 100 units or a multiple, so that slowdowns of whole percents are exact. They are also sides for
:mod:`perf.paired.worker` (``arguments``: ``workload``, ``slowdown``, ``start_blocks``): base does the normal work,
candidate the slowed one.
"""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from kernels.interface import CeilingCopyParams, CeilingFlopsParams, KernelDType, Library
from perf.conditions import ConditionsProbe
from perf.model import FULL, Case, DType, Operation
from perf.paired import host_sides
from perf.paired.host_problem import Problem, address, buffer
from perf.paired.model import Side
from perf.paired.sampling import Sides

Call = Callable[[], object]
# Makes the call of one side, with so many units of work, in its own library.
CallMaker = Callable[[int, Path | None], Call]
# Allocates what both sides share, for so many units at most. Buffers of their own would let the luck of where they lie
# decide between the sides: a copy scattered by 1.7 % between processes (standard deviation) with buffers of its own, by
# 0.6 % with shared ones.
Preparation = Callable[[int, "Context"], CallMaker]

_COPY_UNIT_BYTES = 320 * 1024
_FLOPS_UNIT_ITERATIONS = 1000
_PYTHON_UNIT_STEPS = 100
# A process that copies so many blocks of zeros and ends. Starting it takes as long as copying START_BLOCKS of them,
# which depends on the machine and is measured before the trials: python -m perf.detector calibrate.
_COPIED_BLOCKS = 1000
_BLOCK_BYTES = 8192
DEFAULT_START_BLOCKS = 1900


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a preparation may use."""

    generator: random.Random
    start_blocks: int = DEFAULT_START_BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload: what it stresses, its units of work, and how to make its calls."""

    name: str
    description: str
    units: int
    prepare: Preparation

    def slowed_units(self, slowdown: float) -> int:
        """Units of the slowed call; raises :class:`RoofgateError` unless the slowdown is a whole number of units."""
        exact = self.units * (1 + slowdown)
        if abs(exact - round(exact)) > 1e-6 * self.units:
            raise RoofgateError(
                f"{self.name} has {self.units} units and cannot be slowed by exactly {slowdown:g}; "
                "choose a multiple of one percent"
            )
        return round(exact)


# A batch of small heads, each an item of its own for the kernel's threads; the batch is the number of units.
ATTENTION_CASE = Case(
    operation=Operation.ATTENTION_FWD,
    dtype=DType.BF16,
    batch=1,
    heads_q=1,
    heads_kv=1,
    seqlen_q=64,
    seqlen_k=64,
    head_dim=64,
    mask=FULL,
)
# Threads of those workloads that are our attention kernel.
ATTENTION_THREADS: Mapping[str, int] = {"attention_small": 1, "attention_threads": 2}


def _attention(threads: int) -> Preparation:
    def prepare(most_units: int, context: Context) -> CallMaker:
        problem = Problem(replace(ATTENTION_CASE, batch=most_units), threads, context.generator)

        def make_call(units: int, path: Path | None) -> Call:
            return partial(_library(path).attention_fwd, problem.params_of_batch(units))

        return make_call

    return prepare


def _copy(most_units: int, context: Context) -> CallMaker:
    target, source = (buffer(most_units * _COPY_UNIT_BYTES, b"\1" * 4096, context.generator) for _ in range(2))

    def make_call(units: int, path: Path | None) -> Call:
        params = CeilingCopyParams(
            dst=address(target),
            src=address(source),
            bytes=units * _COPY_UNIT_BYTES,
            threads=1,
        )
        params.kept_alive = (target, source)  # the structure itself holds addresses alone
        return partial(_library(path).ceiling_copy, params)

    return make_call


def _flops(_most_units: int, _context: Context) -> CallMaker:
    sink = (ctypes.c_float * 64)()

    def make_call(units: int, path: Path | None) -> Call:
        params = CeilingFlopsParams(
            iterations=units * _FLOPS_UNIT_ITERATIONS, dtype=KernelDType.FP32, threads=1, sink=ctypes.addressof(sink)
        )
        params.kept_alive = sink
        return partial(_library(path).ceiling_flops, params)

    return make_call


def _python(_most_units: int, _context: Context) -> CallMaker:
    def make_call(units: int, _path: Path | None) -> Call:
        return partial(_run_python, range(units * _PYTHON_UNIT_STEPS))

    return make_call


def _run_python(steps: range) -> int:
    state = 0
    for _ in steps:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state


def _process_start(_most_units: int, context: Context) -> CallMaker:
    """A unit is a hundredth of the normal call: of the start of a process and of what it copies."""

    def make_call(units: int, _path: Path | None) -> Call:
        blocks = round((context.start_blocks + _COPIED_BLOCKS) * units / 100) - context.start_blocks
        return partial(start_process, blocks)

    return make_call


def start_process(blocks: int) -> None:
    """Start a process that copies so many blocks, and wait for its end."""
    command = ["head", "-c", str(blocks * _BLOCK_BYTES), "/dev/zero"]
    to_nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    os.waitpid(os.posix_spawnp(command[0], command, os.environ, file_actions=to_nowhere), 0)


def _library(path: Path | None) -> Library:
    if path is None:
        raise RoofgateError("this workload needs the host library; run: nox -s build")
    return Library(path)


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            name="attention_small",
            description="our attention kernel, 100 heads of 64 positions, one thread: arithmetic in the L2 cache",
            units=100,
            prepare=_attention(ATTENTION_THREADS["attention_small"]),
        ),
        Workload(
            name="attention_threads",
            description="our attention kernel, 200 heads of 64 positions, two threads",
            units=200,
            prepare=_attention(ATTENTION_THREADS["attention_threads"]),
        ),
        Workload(
            name="copy",
            description="our copy kernel, 31 MiB, one thread: bound by memory",
            units=100,
            prepare=_copy,
        ),
        Workload(
            name="multiply_add",
            description="our multiply-add chains in registers, one thread: bound by arithmetic",
            units=100,
            prepare=_flops,
        ),
        Workload(
            name="python",
            description="a loop in the Python interpreter",
            units=100,
            prepare=_python,
        ),
        Workload(
            name="process_start",
            description="the start of a short process",
            units=100,
            prepare=_process_start,
        ),
    )
}


def find_workload(name: str) -> Workload:
    """The workload with this name; raises :class:`RoofgateError` that lists them for any other."""
    if name not in WORKLOADS:
        raise RoofgateError(f"no workload {name!r}; expected one of: {', '.join(WORKLOADS)}")
    return WORKLOADS[name]


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """Base and slowed candidate as two sides of one process."""
    workload = find_workload(arguments["workload"])
    units = {Side.BASE: workload.units, Side.CANDIDATE: workload.slowed_units(arguments["slowdown"])}
    context = Context(generator=generator, start_blocks=arguments["start_blocks"])
    make_call = workload.prepare(max(units.values()), context)
    calls: dict[Side, Call] = {}

    def make_side(side: Side) -> Call:
        calls[side] = make_call(units[side], libraries.get(side))
        return calls[side]

    placement = host_sides.start_and_bind(make_side, generator)
    probe = ConditionsProbe()
    return Sides(
        samplers={side: host_sides.host_sampler(calls[side]) for side in Side},
        begin_block=probe.begin,
        end_block=probe.end,
        setting={"clock": "host, monotonic", "threads": placement},
    )


def make_single(name: str, slowdown: float, library: Path, start_blocks: int) -> Call:
    """The call alone, for tools that time one side in a process of its own."""
    workload = find_workload(name)
    units = workload.slowed_units(slowdown)
    context = Context(generator=random.Random(), start_blocks=start_blocks)  # noqa: S311 - where buffers begin
    return workload.prepare(units, context)(units, library)
