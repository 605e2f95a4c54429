"""Run one PTX kernel on the simulator, as the driver would launch it."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from profiles.simulator.counters import SiteCounters
from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.devices import device_attributes
from profiles.simulator.findings import Finding, read_finding
from profiles.simulator.lowering.program_cache import cached_program
from profiles.simulator.process import Result, run_simulator
from profiles.simulator.ptx import parse_module
from profiles.simulator.ptx.syntax import Kernel, Parameter
from profiles.simulator.runtime_build import runtime_program

Extent = tuple[int, int, int]
Argument = DeviceArray | np.generic | ctypes.Structure | bytes | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a launch is simulated."""

    check_races: bool = False  # and initialisation, copies in flight, wgmma, proxies; the other checks always run
    count: bool = True  # wavefronts and sectors; executed instructions are always counted
    seed: int = 0  # of the schedule; 0 is the fixed one
    threads: int = 1  # of the host; results do not depend on it
    instruction_limit: int = 4_000_000_000  # warp-instructions of one launch
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResult:
    """One launch that was carried out, at least in part."""

    kernel: Kernel
    grid: Extent
    block: Extent
    cluster: Extent
    dynamic_shared: int  # bytes
    executed: int  # warp-instructions
    seconds: float  # on the host: says nothing about a GPU
    counters: tuple[SiteCounters, ...]  # one for each of kernel.instructions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found and counted."""

    findings: tuple[Finding, ...]
    launches: tuple[LaunchResult, ...]


@dataclass(frozen=True, slots=True)
class LoadedKernel:
    """A kernel as data and as the program file that the run-time reads."""

    kernel: Kernel
    target: str  # "sm_90a"
    program: Path

    @property
    def line(self) -> str:
        """What tells the simulator's process about it."""
        parameters = self.kernel.parameters
        places = (f"{parameter.offset} {parameter.size}" for parameter in parameters)
        return " ".join(["kernel", self.kernel.name, str(len(parameters)), *places, str(self.program)])


def launch_kernel(
    ptx: str,
    kernel: str,
    *,
    grid: Extent,
    block: Extent,
    arguments: Sequence[Argument],
    memory: DeviceMemory,
    cluster: Extent | None = None,
    dynamic_shared: int = 0,
    options: Options | None = None,
) -> Outcome:
    """Launch ``kernel`` of a PTX module on arrays of ``memory`` and run it to its end.

    What the driver would refuse is a finding "launch"; what ends the kernel early is one too.

    Args:
        ptx: text of the module.
        kernel: entry symbol.
        grid: blocks in x, y and z.
        block: threads in x, y and z.
        arguments: one for each parameter: an array stands for its address; a number is converted to the parameter's
            size, a float to a float of that size.
        memory: all that the kernel may touch.
        cluster: blocks of a cluster; by default what the kernel states, or one.
        dynamic_shared: bytes of dynamic shared memory per block; more than 48 KiB need no asking.
        options: see :class:`Options`.

    Raises:
        RoofgateError: the PTX cannot be understood, the arguments do not fit the parameters, or the simulator cannot
            be built here.
    """
    options = options or Options()
    loaded = load_kernel(ptx, kernel)
    parameters = pack_arguments(loaded.kernel, arguments)
    shape = [*grid, *block, *(cluster or (1, 1, 1)), dynamic_shared]
    launch = " ".join(["launch", kernel, *map(str, shape), parameters.hex() or "-"])
    lines = [*common_lines(loaded.target, memory, options), loaded.line, launch]
    result = run_simulator(
        simulator_program(), lines, _no_other_kernel, descriptors=[memory.file], timeout_s=options.timeout_s
    )
    return read_outcome(result, {kernel: loaded})


@lru_cache(maxsize=64)
def load_kernel(ptx: str, name: str) -> LoadedKernel:
    """Parse and lower a kernel; raises :class:`RoofgateError` if the module lacks it or it cannot be understood."""
    module = parse_module(ptx, [name])
    program = cached_program(ptx, name, Workspace().root / "simulator" / "kernels")
    return LoadedKernel(module.kernels[name], module.target, program.absolute())


@cache
def simulator_program() -> Path:
    """The run-time's program, built once in this process."""
    return runtime_program(progress=lambda line: print(line, file=sys.stderr))


def _no_other_kernel(name: str) -> str:
    raise RoofgateError(f"the simulator asks for kernel {name!r}, which nobody launched")


def common_lines(architecture: str, memory: DeviceMemory, options: Options) -> Iterator[str]:
    """What every run tells the simulator's process first: memory, device, options."""
    yield f"memory {memory.file}"
    for region in memory.regions:
        yield f"map {region.address} {region.bytes} {region.file_offset}"
    for array in memory.arrays:
        yield f"allocation {array.address} {array.bytes} {array.name}"
    for attribute, value in device_attributes(architecture).items():
        yield f"attribute {attribute.value} {value}"
    flags = f"{int(options.check_races)} {int(options.count)}"
    yield f"options {flags} {options.seed} {options.threads} {options.instruction_limit}"


def pack_arguments(kernel: Kernel, arguments: Sequence[Argument]) -> bytes:
    """The block of parameters; raises :class:`RoofgateError` if number or sizes of the arguments do not fit."""
    if len(arguments) != len(kernel.parameters):
        raise RoofgateError(f"{kernel.name} has {len(kernel.parameters)} parameters; got {len(arguments)} arguments")
    packed = bytearray(kernel.parameter_bytes)
    for parameter, argument in zip(kernel.parameters, arguments, strict=True):
        value = _argument_bytes(argument, parameter)
        if len(value) != parameter.size:
            raise RoofgateError(
                f"{kernel.name}: parameter {parameter.name} takes {parameter.size} bytes; got {len(value)} bytes "
                f"({argument!r})"
            )
        packed[parameter.offset : parameter.offset + parameter.size] = value
    return bytes(packed)


def _argument_bytes(argument: Argument, parameter: Parameter) -> bytes:
    if isinstance(argument, DeviceArray):
        return struct.pack("<Q", argument.address)
    if isinstance(argument, np.generic):
        return argument.tobytes()
    if isinstance(argument, bytes | ctypes.Structure):
        return bytes(argument)
    if isinstance(argument, float):
        formats = {2: "<e", 4: "<f", 8: "<d"}
        return struct.pack(formats.get(parameter.size, "<d"), argument)
    try:
        return int(argument).to_bytes(parameter.size, "little", signed=argument < 0)
    except OverflowError:
        raise RoofgateError(f"{argument} does not fit the {parameter.size} bytes of {parameter.name}") from None


def read_outcome(result: Result, kernels: Mapping[str, LoadedKernel]) -> Outcome:
    """The run-time's result with the lines of the kernels that it speaks of."""
    findings = (
        read_finding(item, kernels[item["kernel"]].kernel if item["kernel"] in kernels else None)
        for item in result["findings"]
    )
    launches = (_read_launch(item, kernels[item["kernel"]].kernel) for item in result["launches"])
    return Outcome(tuple(findings), tuple(launches))


def _read_launch(item: Mapping[str, Any], kernel: Kernel) -> LaunchResult:
    executed = {site: SiteCounters(**dict(zip(_COUNTERS, values, strict=True))) for site, *values in item["counters"]}
    nothing = SiteCounters()
    grid, block, cluster = (_extent(item[name]) for name in ("grid", "block", "cluster"))
    return LaunchResult(
        kernel=kernel,
        grid=grid,
        block=block,
        cluster=cluster,
        dynamic_shared=item["dynamic_shared"],
        executed=item["executed"],
        seconds=item["seconds"],
        counters=tuple(executed.get(site, nothing) for site in range(len(kernel.instructions))),
    )


# As runtime/results.cpp writes them behind the site.
_COUNTERS = ("executed", "lanes", "divergent", "requests", "wavefronts", "sectors", "bytes")


def _extent(values: Sequence[int]) -> Extent:
    x, y, z = values
    return x, y, z
