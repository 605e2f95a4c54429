"""What is built from what: every source, its flags, and the architectures. Data only.

A host source is named after the instruction set it is compiled for (``attention_fwd_cpu_avx512.cpp``), so the flags
follow from the name and the dispatcher can never run code that the processor lacks.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

SOURCE_FOLDER = Path("kernels/csrc")

CXX_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
EXPORTS = SOURCE_FOLDER / "exports.map"
CXX_LINK_FLAGS = ("-shared", "-pthread", "-s", "-Wl,--build-id=none", f"-Wl,--version-script={EXPORTS.as_posix()}")
NVCC_LINK_FLAGS = ("--shared", "-cudart", "static", "-Xlinker", f"--version-script={EXPORTS.as_posix()}")

_INSTRUCTION_SET_FLAGS: dict[str, tuple[str, ...]] = {
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "avx512bf16": (
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mavx512bf16",
        "-mfma",
        "-mprefer-vector-width=512",
    ),
    "amxbf16": (
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mavx512bf16",
        "-mamx-tile",
        "-mamx-bf16",
        "-mfma",
        "-mprefer-vector-width=512",
    ),
}

# As they end the names of host sources; "portable" needs no flags of its own.
INSTRUCTION_SETS = frozenset({"portable", *_INSTRUCTION_SET_FLAGS})

NVCC_FLAGS = (
    "-O3",
    "-std=c++17",
    "-lineinfo",
    "-Xptxas",
    "-v,-warn-spills,-warn-lmem-usage",
    "-Xcompiler",
    "-fPIC,-fvisibility=hidden,-Wall",
)


@dataclass(frozen=True, slots=True)
class CudaArchitecture:
    """One architecture that the CUDA kernels are built for."""

    name: str  # "sm_90a", as ptxas spells it
    number: int  # 90, as the sources see it in ROOFGATE_SM
    keeps_ptx: bool = False  # ships PTX too, for the driver to compile on later architectures

    @property
    def gencode(self) -> str:
        """Nvcc's ``-gencode`` value."""
        virtual = self.name.replace("sm_", "compute_")
        codes = f"[{self.name},{virtual}]" if self.keeps_ptx else self.name
        return f"arch={virtual},code={codes}"


CUDA_ARCHITECTURES = (
    CudaArchitecture("sm_80", 80, keeps_ptx=True),
    CudaArchitecture("sm_86", 86),
    CudaArchitecture("sm_89", 89),
    CudaArchitecture("sm_90a", 90),
)


def cxx_sources(folder: Path = SOURCE_FOLDER) -> list[tuple[Path, tuple[str, ...]]]:
    """Host sources with the flags of each. Sources for instruction sets of another processor family are left out."""
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    sources: list[tuple[Path, tuple[str, ...]]] = []
    for path in sorted(folder.glob("*.cpp")):
        extra = _INSTRUCTION_SET_FLAGS.get(path.stem.rpartition("_")[2])
        if extra is None:
            sources.append((path, CXX_FLAGS))
        elif is_x86:
            sources.append((path, CXX_FLAGS + extra))
    return sources


def cuda_sources(folder: Path = SOURCE_FOLDER) -> list[Path]:
    """CUDA sources; every one is built for every architecture."""
    return sorted(folder.glob("*.cu"))
