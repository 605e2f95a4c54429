"""Every check against kernels with one planted mistake, and against the same kernels without it.

The kernels lie in planted/: each is named after the check that has to find its mistake.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from kernels.errors import RoofgateError
from kernels.toolchain import find_cuda_tool
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Argument, Options, Outcome, launch_kernel
from profiles.simulator.tensor_map import TensorMap

SOURCES = Path(__file__).parent / "planted"
ELEMENTS = 4096
SEEDS = range(20)


def has_nvcc() -> bool:
    """Whether the kernels can be compiled here."""
    try:
        find_cuda_tool("nvcc")
    except RoofgateError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_nvcc(), reason="no nvcc here: the planted kernels cannot be compiled")


@dataclass(frozen=True)
class Planted:
    """A kernel that exists twice: ``NAME_correct`` and ``NAME_planted``."""

    name: str
    source: str  # "planted_sm80.cu"

    @property
    def check(self) -> str:
        """The check that its name begins with."""
        words = self.name.replace("_", "-")
        return max((check for check in CHECKS if words.startswith(check)), key=len)

    @property
    def architecture(self) -> str:
        """What it is compiled for."""
        return "sm_90a" if "sm90" in self.source else "sm_80"


CHECKS = (
    "barrier",
    "copy-in-flight",
    "deadlock",
    "divergence",
    "endless",
    "global-race",
    "mbarrier",
    "misaligned",
    "out-of-bounds",
    "proxy-fence",
    "shared-race",
    "tensor-copy",
    "uninitialised-shared",
    "wgmma",
)


def planted_kernels() -> list[Planted]:
    """All of them, as the sources list them."""
    return [
        Planted(name, source.name)
        for source in sorted(SOURCES.glob("*.cu"))
        for name in dict.fromkeys(re.findall(r"^ROOFGATE_PLANTED(?:_STORE)?\((\w+)", source.read_text(), re.MULTILINE))
    ]


@cache
def ptx_of(source: str, architecture: str) -> str:
    """The PTX of one source."""
    command = [str(find_cuda_tool("nvcc")), "-std=c++17", "-O3", "-lineinfo", f"-arch={architecture}", "-ptx"]
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "planted.ptx"
        subprocess.run([*command, str(SOURCES / source), "-o", str(ptx)], check=True, capture_output=True)
        return ptx.read_text()


def run(planted: Planted, variant: str, seed: int) -> Outcome:
    """Launch one variant with every check on."""
    options = Options(check_races=True, seed=seed, instruction_limit=300_000, timeout_s=20)
    ptx = ptx_of(planted.source, planted.architecture)
    with DeviceMemory() as memory:
        arguments, grid, cluster = (ampere if planted.architecture == "sm_80" else hopper)(planted, memory)
        return launch_kernel(
            ptx,
            f"{planted.name}_{variant}",
            grid=grid,
            block=(128, 1, 1),
            cluster=cluster,
            arguments=arguments,
            memory=memory,
            dynamic_shared=512 if "shared" in planted.name and planted.architecture == "sm_80" else 0,
            options=options,
        )


Launch = tuple[list[Argument], tuple[int, int, int], tuple[int, int, int] | None]


def ampere(planted: Planted, memory: DeviceMemory) -> Launch:
    """An array to read, an array to write, and their length."""
    values = memory.place(np.arange(ELEMENTS, dtype=np.float32), name="in")
    result = memory.place(np.zeros(ELEMENTS, dtype=np.float32), name="out")
    blocks = 4 if planted.name.startswith("global_race") else 1
    return [values, result, np.int32(ELEMENTS)], (blocks, 1, 1), None


def hopper(planted: Planted, memory: DeviceMemory) -> Launch:
    """Two tensor maps of 64 x 64 bf16, the matrix itself, and an output."""
    matrix = memory.place(np.full((64, 64), 0x3F80, dtype=np.uint16), name="matrix")
    copied = memory.place(np.zeros((64, 64), dtype=np.uint16), name="copied")
    result = memory.place(np.zeros(64 * 64, dtype=np.float32), name="out")
    maps = [
        TensorMap(
            address=array.address, type_name="bf16", dimensions=(64, 64), strides=(128,), box=(64, 64), swizzle=128
        ).encode()
        for array in (matrix, copied)
    ]
    in_cluster = planted.name.endswith("cluster")
    return [*maps, matrix, result], (2 if in_cluster else 1, 1, 1), (2, 1, 1) if in_cluster else None


@pytest.mark.parametrize("planted", planted_kernels(), ids=lambda planted: planted.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_mistake_is_found_by_its_check(planted: Planted, seed: int) -> None:
    """Whatever the schedule: the check says what is wrong, in the kernel's source, with a line."""
    found = [finding for finding in run(planted, "planted", seed).findings if finding.check == planted.check]

    assert found, f"seed {seed}: nothing found"
    assert found[0].kernel == f"{planted.name}_planted"
    location = found[0].location
    assert location is not None
    assert planted.source in {Path(line.file).name for line in (location.line, *location.inlined_at)}


@pytest.mark.parametrize("planted", planted_kernels(), ids=lambda planted: planted.name)
def test_the_correct_twin_is_clean(planted: Planted) -> None:
    """No false report under 20 schedules."""
    for seed in SEEDS:
        assert run(planted, "correct", seed).findings == (), f"seed {seed}"


def test_every_check_has_a_planted_mistake() -> None:
    """Those of the run-time that a kernel can provoke: not "launch", "unsupported" and "crash"."""
    assert {planted.check for planted in planted_kernels()} == set(CHECKS)
