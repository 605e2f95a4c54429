"""The simulated layer: what small launches of every CUDA kernel execute, and whether the checks find anything.

The host code of the built library runs, and the PTX that the compiler made of its kernels; see
:mod:`profiles.simulator`. Figures are counts of PTX instructions and of memory transactions, equal on every machine:
neither SASS nor time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kernels.build_record import BuildRecord, BuildStatus, DeviceCode, LibraryBuild
from kernels.errors import RoofgateError
from kernels.interface import CeilingCopyParams
from kernels.sources import SOURCE_FOLDER
from kernels.toolchain import find_cxx
from kernels.workspace import source_tree
from perf.model import Capture, CaptureSet, Layer, Metric, Problem
from profiles.kernel_names import kernel_names
from profiles.simulated_launches import LAUNCHES, AttentionLaunch, CopyLaunch, Launch, ProductLaunch
from profiles.simulator.attention_case import run_attention
from profiles.simulator.ceiling_case import run_products
from profiles.simulator.counters import Counts, LineCounters, add_sites, by_source_line, summarise, total
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import Finding, place_text
from profiles.simulator.instruction_class import InstructionClass
from profiles.simulator.ptx import kernel_names as entry_symbols
from profiles.simulator.run import LaunchResult, Options, Outcome, simulator_program
from profiles.simulator.simulated_library import SimulatedLibrary
from profiles.source_counters import CountedKernel, CountedLine, SourceCounters

HOST_ARCHITECTURE = "cpu"
OPTIONS = Options(check_races=True, seed=0, timeout_s=300.0)

CLASS_METRICS: Mapping[InstructionClass, Metric] = {
    InstructionClass.TENSOR: Metric.SIMULATED_TENSOR,
    InstructionClass.FLOAT: Metric.SIMULATED_FLOAT,
    InstructionClass.SPECIAL: Metric.SIMULATED_SPECIAL,
    InstructionClass.INTEGER: Metric.SIMULATED_INTEGER,
    InstructionClass.CONVERT: Metric.SIMULATED_CONVERT,
    InstructionClass.MOVE: Metric.SIMULATED_MOVE,
    InstructionClass.LANES: Metric.SIMULATED_LANES,
    InstructionClass.LOAD_STORE: Metric.SIMULATED_LOAD_STORE,
    InstructionClass.CONTROL: Metric.SIMULATED_CONTROL,
}

_UNPLANNED = "not simulated: no launch is known for it; add one to profiles/simulated_launches.py"
_NO_LINE = 0  # what the compiler's line table says of an instruction that comes from nowhere in particular

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLayer:
    """The captures, their figures per source line, and errors, as opposed to what cannot run here."""

    captures: CaptureSet
    lines: SourceCounters
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedKernel:
    """A kernel of the build and the launches that it is counted in."""

    name: str
    symbol: str  # of the entry
    architecture: str
    launches: tuple[Launch, ...]

    def __str__(self) -> str:
        return f"{self.name} on {self.architecture}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLaunch:
    """A launch that was carried out, with all kernels that belong to it."""

    launch: Launch
    outcome: Outcome
    wrong: str = ""  # what is wrong with the answer; empty if it is right


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelResult:
    """What the simulated launches of one kernel gave: figures, or an error that says why there are none."""

    capture: Capture | None = None
    lines: CountedKernel | None = None
    error: Problem | None = None


def capture_simulated(record: BuildRecord, progress: Progress) -> SimulatedLayer:
    """Simulate every kernel of every CUDA library in ``record``.

    Args:
        record: the build; its paths are relative to the working directory.
        progress: told each finished library.

    A library that was not built, a kernel without a launch, or a machine without a C++ compiler is a problem in the
    captures and no error. A kernel that cannot be simulated is both; the others still are. What the checks find is a
    figure of the kernel, and its words stand in the capture's warnings.
    """
    libraries = [library for library in record.libraries if library.architecture != HOST_ARCHITECTURE]
    try:
        find_cxx()
    except RoofgateError as missing:
        return _layer((), (Problem(subject="simulated layer", reason=str(missing)),))
    built = [library for library in libraries if library.status is BuildStatus.BUILT]
    kernels = {library.architecture: kernels_of(library) for library in built}
    planned = {architecture: _planned(architecture, names) for architecture, names in kernels.items()}
    results = _simulate(record, planned, progress) if any(planned.values()) else ()
    unbuilt = [_unbuilt(library) for library in libraries if library not in built]
    return _layer(results, (*unbuilt, *_unplanned(kernels)))


def _planned(architecture: str, names: Mapping[str, str]) -> list[PlannedKernel]:
    return [
        PlannedKernel(name=name, symbol=symbol, architecture=architecture, launches=LAUNCHES[name])
        for symbol, name in names.items()
        if name in LAUNCHES
    ]


def _unplanned(kernels: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    return [
        Problem(subject=f"{name} on {architecture}", reason=_UNPLANNED)
        for architecture, names in kernels.items()
        for name in names.values()
        if name not in LAUNCHES
    ]


def kernels_of(library: LibraryBuild) -> Mapping[str, str]:
    """Names of a library's kernels by entry symbol, sorted by name."""
    names = kernel_names([symbol for code in library.device_code for symbol in entry_symbols(_ptx(code))])
    return dict(sorted(names.items(), key=lambda pair: pair[1]))


def _ptx(code: DeviceCode) -> str:
    try:
        return Path(code.ptx).read_text()
    except OSError as error:
        raise RoofgateError(f"{code.ptx}: cannot be read ({error.strerror}); run: nox -s build") from error


def _simulate(
    record: BuildRecord, planned: Mapping[str, Sequence[PlannedKernel]], progress: Progress
) -> tuple[KernelResult, ...]:
    simulator_program()  # compiled once, before several launches want it
    results: list[KernelResult] = []
    # Every core has a launch to run: what torch computes of the right answer needs no threads of its own.
    with ThreadPoolExecutor(os.cpu_count() or 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = _start(record, [kernel for kernels in planned.values() for kernel in kernels], pool)
        for name, kernels in planned.items():
            found = [_collect(kernel, jobs) for kernel in kernels]
            progress(f"simulated {name}: {sum(result.capture is not None for result in found)} kernels")
            results += found
    return tuple(results)


_Jobs = Mapping[tuple[Launch, str], Future[SimulatedLaunch]]  # by launch and architecture


def _start(record: BuildRecord, kernels: Sequence[PlannedKernel], pool: ThreadPoolExecutor) -> _Jobs:
    """Every launch once on each architecture: the kernels of a backward pass share theirs.

    A launch runs on one architecture after another, for its right answer is kept for a while.
    """
    architectures: dict[Launch, dict[str, None]] = {}
    for kernel in kernels:
        for launch in kernel.launches:
            architectures.setdefault(launch, {})[kernel.architecture] = None
    return {
        (launch, architecture): pool.submit(simulate_launch, record, architecture, launch)
        for launch, names in architectures.items()
        for architecture in names
    }


def _collect(kernel: PlannedKernel, jobs: _Jobs) -> KernelResult:
    try:
        return read_result(kernel, [jobs[launch, kernel.architecture].result() for launch in kernel.launches])
    except RoofgateError as error:
        return KernelResult(error=Problem(subject=str(kernel), reason=str(error)))


def _layer(results: Sequence[KernelResult], not_run: tuple[Problem, ...]) -> SimulatedLayer:
    errors = tuple(result.error for result in results if result.error)
    captures = tuple(result.capture for result in results if result.capture)
    counted = tuple(result.lines for result in results if result.lines)
    tree = source_tree()
    return SimulatedLayer(
        captures=CaptureSet(layer=Layer.SIMULATED, tree=tree, captures=captures, problems=not_run + errors),
        lines=SourceCounters(tree=tree, texts=_texts(counted), kernels=counted),
        errors=tuple(f"{error.subject}: {error.reason}" for error in errors),
    )


def _unbuilt(library: LibraryBuild) -> Problem:
    status = library.status.value.replace("_", " ")
    return Problem(subject=library.name, reason=f"build {status}: {library.reason}")


def simulate_kernel(record: BuildRecord, kernel: PlannedKernel) -> KernelResult:
    """Run the launches that belong to one kernel of the build."""
    with ThreadPoolExecutor(1) as pool:
        return _collect(kernel, _start(record, [kernel], pool))


def simulate_launch(
    record: BuildRecord, architecture: str, launch: Launch, options: Options | None = None
) -> SimulatedLaunch:
    """Run one launch, as the layer does by default; raises :class:`RoofgateError` if it cannot run to its end."""
    with DeviceMemory() as memory:
        library = SimulatedLibrary(architecture, memory, options or OPTIONS, record)
        wrong = run_launch(library, launch)
    return SimulatedLaunch(launch=launch, outcome=library.outcome, wrong=wrong)


def run_launch(library: SimulatedLibrary, planned: Launch) -> str:
    """Call the library on its memory; returns what is wrong with the answer, empty if it is right.

    Raises :class:`RoofgateError` if the library refuses the call.
    """
    memory = library.memory
    match planned:
        case AttentionLaunch():
            return run_attention(library, planned)
        case CopyLaunch(bytes=size):
            source = memory.place(np.arange(size // 4, dtype=np.uint32), name="source")
            copy = memory.place(np.zeros(size // 4, dtype=np.uint32), name="copy")
            library.ceiling_copy(CeilingCopyParams(dst=copy.address, src=source.address, bytes=size))
            return "" if np.array_equal(source.array, copy.array) else "the copy differs from its source"
        case ProductLaunch():
            return run_products(library, planned)


def read_result(kernel: PlannedKernel, launches: Sequence[SimulatedLaunch]) -> KernelResult:
    """The figures of one kernel, summed over ``launches`` (pure).

    A wrong answer is a finding of every kernel that had a part in it.

    Raises:
        RoofgateError: one of the launches did not launch the kernel.
    """
    found = [result for launch in launches for result in _of_kernel(kernel, launch)]
    code, sites = found[0].kernel, add_sites([result.counters for result in found])
    counts = summarise(code, sites)
    findings = tuple(text for launch in launches for text in _findings_of(kernel, launch))
    capture = Capture(
        kernel=kernel.name,
        architecture=kernel.architecture,
        layer=Layer.SIMULATED,
        counters={Metric.SIMULATED_FINDINGS: float(len(findings)), **count_metrics(counts)},
        launch="; ".join(f"{launch.launch}: {_shape(_of_kernel(kernel, launch)[0])}" for launch in launches),
        warnings=findings,
    )
    return KernelResult(capture=capture, lines=_counted_kernel(capture, counts, by_source_line(code, sites)))


def _of_kernel(kernel: PlannedKernel, launch: SimulatedLaunch) -> list[LaunchResult]:
    """What the kernel did in a launch."""
    results = [result for result in launch.outcome.launches if result.kernel.name == kernel.symbol]
    if not results:
        found = "; ".join(finding.message for finding in launch.outcome.findings) or "another kernel ran in its place"
        raise RoofgateError(f"{launch.launch} did not launch it: {found}")
    return results


def _findings_of(kernel: PlannedKernel, launch: SimulatedLaunch) -> list[str]:
    """What concerns the kernel, and what names none."""
    wrong = [f"wrong-answer: {launch.wrong}"] if launch.wrong else []
    findings = [finding for finding in launch.outcome.findings if finding.kernel in ("", kernel.symbol)]
    return [*wrong, *map(finding_text, findings)]


def _shape(found: LaunchResult) -> str:
    grid, block = ("x".join(map(str, extent)) for extent in (found.grid, found.block))
    return f"grid {grid}, block {block}, {found.dynamic_shared} B dynamic shared memory"


def finding_text(finding: Finding) -> str:
    """One line: ``shared-race: message (at FILE:LINE, block 0,1,0, warp 3; 12 times)``."""
    block = ",".join(map(str, finding.block))
    place = place_text(finding.location, finding.ptx_line)
    times = f"; {finding.count} times" if finding.count > 1 else ""
    return f"{finding.check}: {finding.message} (at {place}, block {block}, warp {finding.warp}{times})"


def count_metrics(counts: Counts) -> dict[Metric, float]:
    """The figures of a launch. A kernel that makes no request to a memory has no figure per request of it."""
    metrics: dict[Metric, float] = {
        Metric.SIMULATED_INSTRUCTIONS: counts.executed,
        **{metric: counts.by_class.get(kind, 0) for kind, metric in CLASS_METRICS.items()},
        Metric.SIMULATED_DIVERGENT: counts.divergent,
        Metric.SIMULATED_BARRIERS: counts.barriers,
        Metric.SIMULATED_GLOBAL_SECTORS: counts.global_sectors,
        Metric.SIMULATED_COPY_BYTES: counts.copy_bytes,
    }
    per_request = {
        Metric.SIMULATED_WAVEFRONTS: counts.wavefronts_per_request,
        Metric.SIMULATED_SECTORS: counts.sectors_per_request,
    }
    return metrics | {metric: value for metric, value in per_request.items() if value is not None}


def _counted_kernel(capture: Capture, counts: Counts, lines: Sequence[LineCounters]) -> CountedKernel:
    ours = tuple(
        CountedLine(file=file, line=line.line.line, own=line.own, direct=line.direct, inclusive=line.inclusive)
        for line in lines
        if line.line.line > _NO_LINE and (file := project_file(line.line.file))
    )
    return CountedKernel(
        kernel=capture.kernel,
        architecture=capture.architecture,
        launch=capture.launch,
        total=counts,
        lines=ours,
        elsewhere=counts.without(total(line.own for line in ours)),
    )


def project_file(file: str) -> str:
    """``kernels/csrc/ptx.cuh`` for a source of ours, wherever the compiler read it; empty for any other file.

    Objects are shared between checkouts by content, so the path may be that of another checkout.
    """
    folder, found, name = file.rpartition(f"{SOURCE_FOLDER.as_posix()}/")
    is_ours = bool(found) and (not folder or folder.endswith("/")) and (SOURCE_FOLDER / name).is_file()
    return (SOURCE_FOLDER / name).as_posix() if is_ours else ""


def _texts(kernels: Sequence[CountedKernel]) -> Mapping[str, tuple[str, ...]]:
    files = sorted({line.file for kernel in kernels for line in kernel.lines})
    return {file: tuple(Path(file).read_text(errors="replace").splitlines()) for file in files}
