"""The static layer: what the compiler and its machine code say about every CUDA kernel, without running it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kernels.build_record import BuildRecord, BuildStatus, DeviceCode, LibraryBuild
from kernels.errors import RoofgateError
from kernels.toolchain import find_cuda_tool
from kernels.workspace import source_tree
from perf.model import Capture, CaptureSet, Layer, Metric, Problem
from profiles.kernel_names import kernel_names
from profiles.launches import KernelLaunch, read_launches
from profiles.occupancy import Block, theoretical_occupancy
from profiles.ptxas import CompilerReport, parse_log
from profiles.sass import Disassembler, MachineCode, count_metrics

HOST_ARCHITECTURE = "cpu"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticLayer:
    """The captures, and what went wrong on the way: errors, as opposed to what cannot run here."""

    captures: CaptureSet
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CompiledKernel:
    entry: str
    source: str
    report: CompilerReport
    code: MachineCode


def capture_static(record: BuildRecord, cache: Path, progress: Progress) -> StaticLayer:
    """Analyse every kernel of every CUDA library in ``record``.

    Args:
        record: the build; its paths are relative to the working directory.
        cache: folder where disassemblies are kept by content.
        progress: told each finished library.

    A library that was not built, or a machine without the disassembler, is a problem in the captures and no error. A
    damaged artefact is both; the other libraries are still analysed.
    """
    libraries = [library for library in record.libraries if library.architecture != HOST_ARCHITECTURE]
    try:
        disassembler = Disassembler(find_cuda_tool("nvdisasm"), cache)
    except RoofgateError as missing:
        not_run = Problem(subject="static layer", reason=str(missing))
        return StaticLayer(captures=_capture_set((), (not_run,)), errors=())
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [(library, _start_reading(library, disassembler, pool)) for library in libraries]
        layers = [_finish(library, job, progress) for library, job in jobs]
    captures = tuple(capture for layer in layers for capture in layer.captures)
    problems = tuple(problem for layer in layers for problem in layer.problems)
    errors = tuple(error for layer in layers for error in layer.errors)
    return StaticLayer(captures=_capture_set(captures, problems), errors=errors)


def _capture_set(captures: tuple[Capture, ...], problems: tuple[Problem, ...]) -> CaptureSet:
    return CaptureSet(layer=Layer.STATIC, tree=source_tree(), captures=captures, problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LibraryLayer:
    captures: tuple[Capture, ...] = ()
    problems: tuple[Problem, ...] = ()
    errors: tuple[str, ...] = ()


def _start_reading(
    library: LibraryBuild, disassembler: Disassembler, pool: ThreadPoolExecutor
) -> list[Future[list[_CompiledKernel]]]:
    if library.status is not BuildStatus.BUILT:
        return []
    return [pool.submit(_read_kernels, code, library.architecture, disassembler) for code in library.device_code]


def _finish(library: LibraryBuild, job: list[Future[list[_CompiledKernel]]], progress: Progress) -> _LibraryLayer:
    if library.status is not BuildStatus.BUILT:
        status = library.status.value.replace("_", " ")
        return _LibraryLayer(problems=(Problem(subject=library.name, reason=f"build {status}: {library.reason}"),))
    try:
        kernels = [kernel for future in job for kernel in future.result()]
        layer = _library_layer(library, kernels)
    except RoofgateError as error:
        message = f"{library.name}: {error}"
        layer = _LibraryLayer(problems=(Problem(subject=library.name, reason=str(error)),), errors=(message,))
    progress(f"static {library.architecture}: {len(layer.captures)} kernels")
    return layer


def _read_kernels(code: DeviceCode, architecture: str, disassembler: Disassembler) -> list[_CompiledKernel]:
    """The kernels of one source, perhaps none. Device functions with code of their own are no kernels."""
    functions = disassembler.read(Path(code.cubin), architecture)
    try:
        reports = parse_log(Path(code.compiler_log).read_text(), architecture)
    except OSError as error:
        raise RoofgateError(f"{code.compiler_log}: cannot be read ({error.strerror}); run: nox -s build") from error
    if not set(reports) <= set(functions) or (functions and not reports):
        raise RoofgateError(
            f"{code.cubin} and {code.compiler_log} do not belong together: the log reports "
            f"{_listed(reports)}, the cubin holds {_listed(functions)}; delete out/build and run: nox -s build"
        )
    return [
        _CompiledKernel(entry=entry, source=code.source, report=report, code=functions[entry])
        for entry, report in reports.items()
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no kernel"


def _library_layer(library: LibraryBuild, kernels: list[_CompiledKernel]) -> _LibraryLayer:
    names = kernel_names([kernel.entry for kernel in kernels])
    problems: list[Problem] = []
    launches: Mapping[str, KernelLaunch] = {}
    try:
        launches = read_launches(Path(library.library))
    except RoofgateError as error:
        problems.append(Problem(subject=library.name, reason=f"no occupancy: {error}"))
    else:
        problems += _launch_problems(library, names.values(), launches)
    captures = [
        _capture(kernel, names[kernel.entry], library.architecture, launches.get(names[kernel.entry]))
        for kernel in kernels
    ]
    return _LibraryLayer(captures=tuple(sorted(captures, key=lambda capture: capture.kernel)), problems=tuple(problems))


def _launch_problems(
    library: LibraryBuild, names: Iterable[str], launches: Mapping[str, KernelLaunch]
) -> list[Problem]:
    return [
        Problem(
            subject=f"{name} on {library.architecture}",
            reason="no occupancy: roofgate_kernel_launch of the library does not know this kernel",
        )
        for name in sorted(set(names) - set(launches))
    ] + [
        Problem(
            subject=f"{name} on {library.architecture}",
            reason="roofgate_kernel_launch of the library names a kernel that no cubin holds",
        )
        for name in sorted(set(launches) - set(names))
    ]


def _capture(kernel: _CompiledKernel, name: str, architecture: str, launch: KernelLaunch | None) -> Capture:
    report = kernel.report
    counters: dict[Metric, float] = {
        Metric.REGISTERS: report.registers,
        Metric.SPILL_BYTES: report.spill_store_bytes + report.spill_load_bytes,
        Metric.STACK_BYTES: report.stack_bytes,
        Metric.BARRIERS: report.barriers,
        Metric.COMPILER_WARNINGS: len(report.warnings),
        **count_metrics(kernel.code.opcodes),
    }
    limiter = ""
    if launch is not None:
        block = Block(
            threads=launch.threads,
            registers=report.registers,
            shared_bytes=report.shared_bytes + launch.dynamic_shared_bytes,
            barriers=report.barriers,
        )
        occupancy = theoretical_occupancy(block, architecture)
        counters[Metric.SHARED_MEMORY_BYTES] = block.shared_bytes
        counters[Metric.OCCUPANCY] = occupancy.fraction
        limiter = occupancy.limiter
    return Capture(
        kernel=name,
        architecture=architecture,
        layer=Layer.STATIC,
        counters=counters,
        fingerprint=_fingerprint(kernel),
        opcodes=kernel.code.opcodes,
        occupancy_limiter=limiter,
        launch="" if launch is None else str(launch),
        source=kernel.source,
        warnings=tuple(text.replace(kernel.entry, name) for text in report.warnings),
    )


def _fingerprint(kernel: _CompiledKernel) -> str:
    """Of the code and the resources it is compiled for: equal code with fewer registers may run at another pace."""
    report = kernel.report
    resources = (report.registers, report.shared_bytes, report.barriers, report.stack_bytes)
    return hashlib.sha256(f"{kernel.code.fingerprint} {resources}".encode()).hexdigest()
