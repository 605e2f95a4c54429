"""Find the compilers: the pinned CUDA packages first, then what the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from kernels.errors import RoofgateError

CUDA_HOME_VARIABLE = "ROOFGATE_CUDA_HOME"
CUDA_TOOL_PACKAGES = {
    "nvcc": "nvidia-cuda-nvcc",
    "ptxas": "nvidia-cuda-nvcc",
    "cuobjdump": "nvidia-cuda-cuobjdump",
    "nvdisasm": "nvidia-cuda-nvdisasm",
}


def find_cuda_tool(name: str) -> Path:
    """Path of a CUDA command such as ``nvcc`` or ``nvdisasm``.

    Looks into ``$ROOFGATE_CUDA_HOME`` alone if that is set; else into the pinned packages of this environment, PATH and
    the usual CUDA folders, in this order. Raises :class:`RoofgateError` if there is none.
    """
    chosen = os.environ.get(CUDA_HOME_VARIABLE)
    if chosen:
        tool = Path(chosen) / "bin" / name
        if not tool.exists():
            raise RoofgateError(f"{CUDA_HOME_VARIABLE} is {chosen!r}, but {tool} does not exist; correct or unset it")
        return tool
    candidates = [_packaged_tool(name), shutil.which(name)]
    candidates += [Path(home) / "bin" / name for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return Path(candidate)
    package = CUDA_TOOL_PACKAGES.get(name, "the CUDA toolkit")
    raise RoofgateError(
        f"{name} is not here: neither {package} in this Python, nor on PATH, nor under /usr/local/cuda; "
        f"run the command through nox, which installs it, or set {CUDA_HOME_VARIABLE} to a CUDA toolkit"
    )


def _packaged_tool(name: str) -> Path | None:
    try:
        files = metadata.files(CUDA_TOOL_PACKAGES.get(name, "")) or []
    except (metadata.PackageNotFoundError, ValueError):
        return None
    for file in files:
        if file.name == name and file.parent.name == "bin":
            return Path(str(file.locate()))
    return None


def find_cxx() -> Path:
    """Path of the host C++ compiler: ``$CXX``, g++ or clang++. Raises :class:`RoofgateError` if there is none."""
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else ["g++", "clang++", "c++"]:
        path = shutil.which(name)
        if path:
            return Path(path)
    looked_for = f"CXX is {chosen!r}, which cannot be run" if chosen else "neither g++, clang++ nor c++ is on PATH"
    raise RoofgateError(f"no C++ compiler: {looked_for}; install one (Debian and Ubuntu: apt-get install g++)")


@cache
def version_line(compiler: Path) -> str:
    """The line of ``compiler --version`` that holds the version: the last for nvcc, the first for others.

    Raises :class:`RoofgateError` if the compiler cannot be run.
    """
    try:
        answer = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise RoofgateError(f"{compiler} --version failed: {error}; check that this compiler works") from error
    lines = answer.stdout.strip().splitlines() or ["unknown version"]
    return lines[-1] if compiler.name == "nvcc" else lines[0]
