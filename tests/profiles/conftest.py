"""Small CUDA libraries, compiled once per test session by the pinned compiler; skipped where there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from kernels.build import sources_digest
from kernels.build_record import BuildRecord, BuildStatus, DeviceCode, LibraryBuild
from kernels.errors import RoofgateError
from kernels.toolchain import find_cuda_tool
from profiles.sass import Disassembler

SOURCES = Path(__file__).parent / "cuda"
ABI = Path("kernels/csrc").resolve()

Compile = Callable[..., LibraryBuild]


@pytest.fixture(scope="session")
def nvcc() -> Path:
    """The pinned CUDA compiler."""
    try:
        return find_cuda_tool("nvcc")
    except RoofgateError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def nvdisasm() -> Path:
    """The pinned disassembler."""
    try:
        return find_cuda_tool("nvdisasm")
    except RoofgateError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def disassembler(nvdisasm: Path, tmp_path: Path) -> Disassembler:
    """A disassembler with an empty cache."""
    return Disassembler(nvdisasm, tmp_path / "cache")


@pytest.fixture(scope="session")
def compile_cuda(nvcc: Path, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """A function that compiles ``cuda/<name>.cu`` in a new folder: ``compile_cuda(name, *flags)``."""

    @cache
    def compiled(name: str, *flags: str, architecture: str = "sm_80") -> LibraryBuild:
        folder = tmp_path_factory.mktemp(name)
        source = Path(shutil.copy(SOURCES / f"{name}.cu", folder))
        virtual = architecture.replace("sm_", "compute_")
        verbose = ("-Xptxas", "-v,-warn-spills,-warn-lmem-usage")
        options = ("-O3", "-std=c++17", "-gencode", f"arch={virtual},code={architecture}", f"-I{ABI}", *verbose, *flags)
        # One compiler run leaves the library and, kept beside it, the cubin that is in it.
        library, run_time = folder / "library.so", f"-L{nvcc.parent.parent / 'lib'}"
        command = [str(nvcc), *options, "--shared", run_time, "-Xcompiler", "-fPIC", "-keep", "-o", str(library)]
        result = subprocess.run([*command, str(source)], cwd=folder, capture_output=True, text=True, check=True)
        (folder / "log.txt").write_text(result.stderr)
        code = DeviceCode(
            source=f"{name}.cu",
            cubin=str(next(folder.glob(f"{name}*.cubin"))),
            ptx=str(next(folder.glob(f"{name}*.ptx"))),
            compiler_log=str(folder / "log.txt"),
        )
        return LibraryBuild(
            name=f"cuda_{architecture}",
            architecture=architecture,
            status=BuildStatus.BUILT,
            library=str(library),
            device_code=(code,),
        )

    return compiled


@pytest.fixture
def record_of() -> Callable[..., BuildRecord]:
    """A function that makes a build record of libraries."""
    return lambda *libraries: BuildRecord(sources_digest=sources_digest(), libraries=libraries)
