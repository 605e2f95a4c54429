"""Sources to C-ABI libraries, cubins and PTX, each compiled once per content and kept by its digest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from kernels import sources
from kernels.build_record import (
    BuildRecord,
    BuildStatus,
    DeviceCode,
    LibraryBuild,
    ObjectCode,
    read_record,
    write_record,
)
from kernels.errors import RoofgateError
from kernels.fingerprint import machine_code_fingerprint
from kernels.object_links import object_codes
from kernels.sources import CudaArchitecture
from kernels.toolchain import find_cuda_tool, find_cxx, version_line
from kernels.workspace import Workspace, digest_files

HOST_LIBRARY = "cpu"
COMPILE_TIMEOUT_S = 600

Progress = Callable[[str], None]


class CompileError(RoofgateError):
    """A compiler refused a source. The message is the compiler's own."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """One compiler run: a source to an object file and whatever else the flags make it leave behind."""

    source: Path
    compiler: Path
    flags: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class CompiledSource:
    """What one compilation left: a folder with the object, for CUDA also cubin and PTX, and the compiler's log."""

    source: Path
    folder: Path
    seconds: float  # 0 if it was there already

    @property
    def object_file(self) -> Path:
        """The compiled object."""
        return self.folder / f"{self.source.stem}.o"

    @property
    def device_code(self) -> DeviceCode | None:
        """The CUDA artefacts; None for a host source."""
        if self.source.suffix != ".cu":
            return None
        return DeviceCode(
            source=self.source.as_posix(),
            cubin=next(self.folder.glob("*.cubin")).as_posix(),
            ptx=next(self.folder.glob("*.ptx")).as_posix(),
            compiler_log=(self.folder / "compile.log").as_posix(),
        )


@dataclass(frozen=True, slots=True)
class LibraryPlan:
    """All compilations of one library and how they are linked."""

    name: str
    architecture: str
    compilations: tuple[Compilation, ...]
    linker: Path
    link_flags: tuple[str, ...]


def cuda_library_name(architecture: str) -> str:
    """Name of the CUDA library for ``architecture`` ("sm_80") in the build record."""
    return f"cuda_{architecture}"


def plan_host_library() -> LibraryPlan:
    """The plan of the host library; raises :class:`RoofgateError` without a C++ compiler."""
    cxx = find_cxx()
    compilations = [_compilation(source, cxx, flags, headers=("*.h",)) for source, flags in sources.cxx_sources()]
    return LibraryPlan(HOST_LIBRARY, "cpu", tuple(compilations), cxx, sources.CXX_LINK_FLAGS)


def plan_cuda_library(architecture: CudaArchitecture) -> LibraryPlan:
    """The plan of the CUDA library for one architecture; raises :class:`RoofgateError` without nvcc or g++."""
    nvcc, cxx = find_cuda_tool("nvcc"), find_cxx()
    target = ("-gencode", architecture.gencode, "-ccbin", str(cxx))
    flags = (*sources.NVCC_FLAGS, f"-DROOFGATE_SM={architecture.number}", *target)
    compilations = [_compilation(source, nvcc, flags, headers=("*.h", "*.cuh")) for source in sources.cuda_sources()]
    # The wheels keep the run-time library in lib, an installed toolkit in lib64; the latter nvcc finds by itself.
    link_flags = (*sources.NVCC_LINK_FLAGS, f"-L{nvcc.parent.parent / 'lib'}", *target)
    return LibraryPlan(cuda_library_name(architecture.name), architecture.name, tuple(compilations), nvcc, link_flags)


def _compilation(source: Path, compiler: Path, flags: tuple[str, ...], headers: tuple[str, ...]) -> Compilation:
    digest = hashlib.sha256()
    digest.update("\0".join([version_line(compiler), *flags]).encode())
    included = sorted(path for pattern in headers for path in source.parent.glob(pattern))
    for path in [source, *included]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return Compilation(source, compiler, flags, digest.hexdigest()[:20])


def build(workspace: Workspace, architectures: Iterable[str], progress: Progress = print) -> BuildRecord:
    """Build the host library and the CUDA library of each architecture, and write the build record.

    Args:
        workspace: receives objects, libraries and the record under ``build``.
        architectures: "cpu" and names out of :data:`kernels.sources.CUDA_ARCHITECTURES`.
        progress: told each finished compilation and library.

    Raises:
        RoofgateError: an unknown architecture. A source that does not compile is no exception: its library is
            FAILED in the record, with the compiler's words.
    """
    digest = sources_digest()  # before compiling: an edit meanwhile must make the record stale
    plans = [_plan_or_reason(architecture) for architecture in architectures]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [_start_compiling(workspace, plan, pool, progress) for plan in plans]
        libraries = [_finish(workspace, plan, job, progress) for plan, job in zip(plans, jobs, strict=True)]
    kept = _libraries_of(workspace, digest, besides={library.name for library in libraries})
    record = BuildRecord(sources_digest=digest, libraries=(*libraries, *kept))
    write_record(record, workspace.build_record)
    return record


def _libraries_of(workspace: Workspace, digest: str, besides: set[str]) -> tuple[LibraryBuild, ...]:
    """What an earlier build of the same sources made, so that building one library does not forget the others."""
    if not workspace.build_record.exists():
        return ()
    earlier = read_record(workspace.build_record)
    if earlier.sources_digest != digest:
        return ()
    return tuple(library for library in earlier.libraries if library.name not in besides)


def sources_digest() -> str:
    """Digest of everything that decides what a build makes: equal digests, equal libraries."""
    return digest_files(Path(), [*sources.SOURCE_FOLDER.glob("*"), *Path("kernels").glob("*.py")])


def current_record(workspace: Workspace) -> BuildRecord:
    """The record of the present sources' build; raises :class:`RoofgateError` if they have changed since."""
    record = read_record(workspace.build_record)
    if record.sources_digest != sources_digest():
        raise RoofgateError("the sources have changed since the last build; run: nox -s build")
    return record


def known_architectures() -> tuple[str, ...]:
    """Every architecture that can be asked for: "cpu" first."""
    return ("cpu", *(known.name for known in sources.CUDA_ARCHITECTURES))


def _plan_or_reason(architecture: str) -> LibraryPlan | LibraryBuild:
    """The plan, or the record of a library that no compiler here can build."""
    if architecture not in known_architectures():
        names = ", ".join(known_architectures())
        raise RoofgateError(f"architecture {architecture!r} is not known; expected one of: {names}")
    try:
        if architecture == "cpu":
            return plan_host_library()
        return plan_cuda_library(next(a for a in sources.CUDA_ARCHITECTURES if a.name == architecture))
    except RoofgateError as missing:
        name = HOST_LIBRARY if architecture == "cpu" else cuda_library_name(architecture)
        return LibraryBuild(name=name, architecture=architecture, status=BuildStatus.NOT_RUN, reason=str(missing))


def _start_compiling(
    workspace: Workspace, plan: LibraryPlan | LibraryBuild, pool: ThreadPoolExecutor, progress: Progress
) -> list[Future[CompiledSource]]:
    if isinstance(plan, LibraryBuild):
        return []
    return [pool.submit(_compile, workspace, item, plan.name, progress) for item in plan.compilations]


def _finish(
    workspace: Workspace, plan: LibraryPlan | LibraryBuild, jobs: list[Future[CompiledSource]], progress: Progress
) -> LibraryBuild:
    if isinstance(plan, LibraryBuild):
        progress(f"{plan.name}: not built: {plan.reason}")
        return plan
    wait(jobs)
    try:
        compiled = [job.result() for job in jobs]
        library = _link(workspace, plan, compiled)
    except CompileError as error:
        progress(f"{plan.name}: does not compile\n{error}")
        return LibraryBuild(
            name=plan.name,
            architecture=plan.architecture,
            status=BuildStatus.FAILED,
            reason=str(error),
            compiler=version_line(plan.linker),
        )
    cubins = [Path(code.cubin).read_bytes() for source in compiled if (code := source.device_code)]
    return LibraryBuild(
        name=plan.name,
        architecture=plan.architecture,
        status=BuildStatus.BUILT,
        library=library.as_posix(),
        fingerprint=machine_code_fingerprint(*(cubins or [library.read_bytes()])),
        compiler=version_line(plan.linker),
        flags=plan.compilations[0].flags,
        link_flags=plan.link_flags,
        device_code=tuple(source.device_code for source in compiled if source.device_code),
        objects=_object_codes(compiled),
        seconds=round(sum(source.seconds for source in compiled), 3),
        cached=all(source.seconds == 0 for source in compiled),
    )


def _object_codes(compiled: list[CompiledSource]) -> tuple[ObjectCode, ...]:
    """Of host sources alone: nvcc's objects hold temporary names, and the static layer tells CUDA kernels apart."""
    host = [source for source in compiled if source.source.suffix != ".cu"]
    return object_codes({source.source.as_posix(): source.object_file.read_bytes() for source in host})


def _compile(workspace: Workspace, item: Compilation, library: str, progress: Progress) -> CompiledSource:
    """Compile one source, or find it already compiled. The folder appears whole or not at all."""
    folder = workspace.root / "build" / "objects" / f"{item.source.stem}-{library}-{item.digest}"
    if folder.exists():
        return CompiledSource(item.source, folder, 0.0)
    started = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".compiling-") as scratch:
        work = Path(scratch) / "result"
        work.mkdir()
        keep = ("--keep", "--keep-dir", str(work)) if item.source.suffix == ".cu" else ()
        command = [item.compiler, *item.flags, *keep, "-c", item.source, "-o", work / f"{item.source.stem}.o"]
        log = _run(command, item.source.as_posix())
        (work / "compile.log").write_text(log)
        for leftover in work.iterdir():
            if leftover.suffix not in {".o", ".cubin", ".ptx", ".log"}:
                leftover.unlink()
        _move_into_place(work, folder)
    seconds = time.monotonic() - started
    progress(f"{library}: {item.source.name} compiled in {seconds:.1f} s")
    return CompiledSource(item.source, folder, seconds)


def _move_into_place(work: Path, folder: Path) -> None:
    """Rename ``work`` to ``folder``, unless another build was faster: revisions share the folder of objects."""
    try:
        work.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _link(workspace: Workspace, plan: LibraryPlan, compiled: list[CompiledSource]) -> Path:
    digest = hashlib.sha256("\0".join(plan.link_flags).encode())
    digest.update("\0".join(source.folder.name for source in compiled).encode() + sources.EXPORTS.read_bytes())
    library = workspace.root / "build" / "libraries" / f"{plan.name}-{digest.hexdigest()[:20]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    objects = [source.object_file for source in compiled]
    unfinished = library.with_suffix(".unfinished")
    # Flags that name libraries (-pthread, -L) only take effect behind the objects.
    _run([plan.linker, *objects, *plan.link_flags, "-o", unfinished], plan.name)
    unfinished.replace(library)
    return library


def _run(command: list[str | Path], what: str) -> str:
    """Run a compiler and return what it said on standard error; raises :class:`CompileError` if it refuses."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{what}: the compiler did not end within {COMPILE_TIMEOUT_S} s") from None
    if result.returncode:
        raise CompileError((result.stderr + result.stdout).strip() or f"{what}: exit code {result.returncode}")
    return result.stderr
