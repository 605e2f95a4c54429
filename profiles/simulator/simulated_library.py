"""A built CUDA library whose kernels run on the simulator, with the interface of :class:`kernels.interface.Library`.

The library's real host code runs: the objects of the present build are linked once more, without a CUDA run-time, and
opened by the simulator's process, whose own stands in. So argument checks, grid sizes, shared-memory attributes and
kernel parameters are those of the library on hardware.
"""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from kernels.build import COMPILE_TIMEOUT_S, cuda_library_name, current_record
from kernels.build_record import BuildRecord, BuildStatus, DeviceCode, LibraryBuild
from kernels.errors import RoofgateError
from kernels.interface import KernelError, Library
from kernels.toolchain import find_cxx, version_line
from kernels.workspace import Workspace
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.process import run_simulator
from profiles.simulator.ptx import kernel_names
from profiles.simulator.run import (
    LoadedKernel,
    Options,
    Outcome,
    common_lines,
    load_kernel,
    read_outcome,
    simulator_program,
)


class SimulatedLibrary(Library):
    """The CUDA library of one architecture; all pointers in its parameters lie in ``memory``.

    ``outcome`` holds findings and counters of the latest call, also if it failed.

    Args:
        architecture: "sm_80", as in :data:`kernels.sources.CUDA_ARCHITECTURES`.
        memory: all that the kernels may touch.
        options: of every call.
        record: of the build; by default the present one.
        replacements: kernels by entry symbol that run in place of the build's, on the same parameters.

    Raises:
        RoofgateError: the library is not built from the present sources, or cannot be linked for the simulator.
    """

    def __init__(
        self,
        architecture: str,
        memory: DeviceMemory,
        options: Options | None = None,
        record: BuildRecord | None = None,
        replacements: Mapping[str, LoadedKernel] | None = None,
    ) -> None:
        # The file is opened by the simulator's process, never by this one: so nothing of the base is set up.
        built = _built(record or current_record(Workspace()), architecture)
        self.path = link_for_simulator(built, Workspace().root / "simulator" / "libraries")
        self.fingerprint = built.fingerprint
        self.architecture = architecture
        self.memory = memory
        self.options = options or Options()
        self.outcome = Outcome((), ())
        self._sources = _kernel_sources(built.device_code)
        self._replacements = replacements or {}

    def _call(self, function: str, params: ctypes.Structure, stream: int) -> None:  # noqa: ARG002 - all are in order
        loaded: dict[str, LoadedKernel] = {}

        def find_kernel(name: str) -> str:
            loaded[name] = self._load(name)
            return loaded[name].line

        call = f"call {function} {bytes(params).hex()}"
        lines = [*common_lines(self.architecture, self.memory, self.options), f"library {self.path}", call]
        result = run_simulator(
            simulator_program(),
            lines,
            find_kernel,
            descriptors=[self.memory.file],
            timeout_s=self.options.timeout_s,
        )
        self.outcome = read_outcome(result, loaded)
        answer = result["call"]
        after = bytes.fromhex(answer["structure"])
        ctypes.memmove(ctypes.byref(params), after, len(after))
        if answer["status"]:
            reasons = [answer["text"], *(finding.message for finding in self.outcome.findings[:1])]
            raise KernelError(function, answer["status"], ": ".join(reasons))

    def _load(self, name: str) -> LoadedKernel:
        if name in self._replacements:
            return self._replacements[name]
        if name not in self._sources:
            raise RoofgateError(f"{self.path}: no PTX of the build holds kernel {name!r}; run: nox -s build")
        return load_kernel(_text(self._sources[name]), name)


def _built(record: BuildRecord, architecture: str) -> LibraryBuild:
    built = record.library(cuda_library_name(architecture))
    if built.status is not BuildStatus.BUILT:
        first_line = built.reason.partition("\n")[0]
        raise RoofgateError(f"library {built.name!r} is not built ({first_line}); run: nox -s build")
    return built


def _kernel_sources(codes: tuple[DeviceCode, ...]) -> Mapping[str, Path]:
    """The PTX file of every kernel."""
    return {name: Path(code.ptx) for code in codes for name in _names(Path(code.ptx))}


@lru_cache(maxsize=32)
def _names(path: Path) -> tuple[str, ...]:
    return kernel_names(_text(path))


@lru_cache(maxsize=32)
def _text(path: Path) -> str:
    return path.read_text()


def link_for_simulator(built: LibraryBuild, folder: Path) -> Path:
    """Link the objects of a CUDA library without a CUDA run-time, or find them linked already in ``folder``.

    Raises :class:`RoofgateError` if the linker refuses, or there is none.
    """
    objects = [Path(code.ptx).parent / f"{Path(code.source).stem}.o" for code in built.device_code]
    cxx = find_cxx()
    digest = hashlib.sha256(version_line(cxx).encode())
    for path in objects:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    target = folder.absolute() / f"{built.name}-{digest.hexdigest()[:20]}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.exists():
                _link([cxx, "-shared", *objects], target)
    return target


def _link(command: list[str | Path], target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    answer = subprocess.run(
        [*command, "-o", unfinished], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
    )
    if answer.returncode:
        raise RoofgateError(f"{target.name} cannot be linked:\n{answer.stderr.strip()}")
    unfinished.replace(target)
