"""The simulator's C++ run-time as a program: compiled once by the machine's own compiler and kept by content."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock

from kernels.errors import RoofgateError
from kernels.toolchain import find_cxx, version_line
from kernels.workspace import Workspace

SOURCE_FOLDER = Path(__file__).parent / "runtime"
COMPILE_TIMEOUT_S = 600

# Results must be equal on all machines: whatever lets a compiler round differently for another instruction set is off.
COMPILE_FLAGS = (
    "-O3",
    "-march=native",
    "-std=c++20",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-pthread",
)
# Kernel libraries find the stand-in for the CUDA run-time among the program's own symbols.
LINK_FLAGS = ("-rdynamic", "-pthread", "-ldl")

Progress = Callable[[str], None]

_LOCAL_INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


class RuntimeBuildError(RoofgateError):
    """The run-time does not compile here. The message is the compiler's own."""


@dataclass(frozen=True, slots=True)
class _Compiler:
    path: Path
    identity: str  # decides, with a source's content, what comes out


def runtime_program(
    folder: Path | None = None, progress: Progress = print, source_folder: Path = SOURCE_FOLDER
) -> Path:
    """Path of the simulator program, compiled first if its sources have changed.

    Args:
        folder: receives objects and programs; ``out/simulator`` by default.
        progress: told each compiled source.
        source_folder: holds the sources and the headers that they include.

    Raises:
        RoofgateError: there is no C++ compiler, or it refuses a source.
    """
    folder = (folder or Workspace().root / "simulator").absolute()
    compiler = _compiler()
    objects = {source: _object_path(folder, source, compiler) for source in sorted(source_folder.glob("*.cpp"))}
    program = folder / "programs" / f"simulator-{_digest(path.name.encode() for path in objects.values())}"
    if not program.exists():
        _compile_all(objects, compiler, progress)
        _link(program, list(objects.values()), compiler)
    return program


@cache
def _compiler() -> _Compiler:
    path = find_cxx()
    return _Compiler(path, "\0".join([version_line(path), *COMPILE_FLAGS, *LINK_FLAGS, _processor()]))


def _processor() -> str:
    """What -march=native means here: the instruction sets of this processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {features.partition(':')[2]}"


def _object_path(folder: Path, source: Path, compiler: _Compiler) -> Path:
    return folder / "objects" / f"{source.stem}-{_digest([compiler.identity.encode(), *_contents(source)])}.o"


def _contents(source: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in _with_headers(source))


def _with_headers(source: Path) -> list[Path]:
    """The source and every header of ours that it includes, directly or not."""
    found: dict[Path, None] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found and path.exists():
            found[path] = None
            waiting += [path.parent / name.decode() for name in _LOCAL_INCLUDE.findall(path.read_bytes())]
    return sorted(found)


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:20]


def _compile_all(objects: dict[Path, Path], compiler: _Compiler, progress: Progress) -> None:
    """Compile what is missing, a few at a time. All refusals are told at once."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = {source: pool.submit(_compile, source, path, compiler, progress) for source, path in objects.items()}
    errors = [str(error) for job in jobs.values() if (error := job.exception()) is not None]
    if errors:
        raise RuntimeBuildError("the simulator's run-time does not compile:\n" + "\n".join(errors))


def _compile(source: Path, target: Path, compiler: _Compiler, progress: Progress) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Test workers start together: the first compiles, the others wait for it instead of doing the same.
    with FileLock(target.with_suffix(".lock")):
        if target.exists():
            return
        started = time.monotonic()
        _run_to(target, [compiler.path, *COMPILE_FLAGS, "-c", source])
        if target != _object_path(target.parents[1], source, compiler):  # an object must be what its name says
            target.unlink()
            raise RuntimeBuildError(f"{source.name} was edited while it was compiled; run the command again")
        progress(f"simulator: {source.name} compiled in {time.monotonic() - started:.1f} s")
    target.with_suffix(".lock").unlink(missing_ok=True)


def _link(program: Path, objects: Sequence[Path], compiler: _Compiler) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    _run_to(program, [compiler.path, *objects, *LINK_FLAGS])


def _run_to(target: Path, command: Sequence[str | Path]) -> None:
    """Run a compiler; its output appears at ``target`` whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as scratch:
        result = Path(scratch) / target.name
        try:
            answer = subprocess.run([*command, "-o", result], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RuntimeBuildError(f"{target.name}: the compiler did not end within {COMPILE_TIMEOUT_S} s") from None
        if answer.returncode:
            raise RuntimeBuildError(answer.stderr.strip() or f"{target.name}: exit code {answer.returncode}")
        result.replace(target)
