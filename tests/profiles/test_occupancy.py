"""Theoretical occupancy: known launches, properties, and agreement with NVIDIA's own header where it is here."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from kernels.sources import CUDA_ARCHITECTURES
from kernels.toolchain import find_cuda_tool
from profiles.occupancy import KIB, MULTIPROCESSORS, REGISTERS, Block, Occupancy, theoretical_occupancy

ARCHITECTURES = [f"sm_{major}{minor}" for major, minor in MULTIPROCESSORS]


# Worked by hand from the programming guide's table: threads, registers, shared bytes, barriers.
@pytest.mark.parametrize(
    ("architecture", "block", "blocks", "fraction", "limiter"),
    [
        ("sm_80", (256, 32, 0, 0), 8, 1.0, "registers, warps"),
        ("sm_80", (128, 255, 0, 1), 2, 0.125, "registers"),
        ("sm_80", (128, 128, 80 * KIB, 1), 2, 0.125, "shared memory"),
        ("sm_80", (32, 16, 0, 0), 32, 0.5, "blocks"),
        ("sm_80", (1024, 64, 0, 1), 1, 0.5, "registers"),
        ("sm_86", (32, 16, 0, 1), 16, 1 / 3, "blocks"),
        ("sm_86", (128, 40, 48 * KIB, 1), 2, 1 / 6, "shared memory"),
        ("sm_86", (64, 16, 0, 4), 16, 2 / 3, "blocks"),
        ("sm_90a", (64, 16, 0, 4), 16, 0.5, "barriers"),
        ("sm_89", (32, 16, 0, 1), 24, 0.5, "blocks"),
        ("sm_90a", (384, 168, 200 * KIB, 2), 1, 0.1875, "registers, shared memory"),
        ("sm_90a", (128, 32, 113 * KIB, 0), 2, 0.125, "shared memory"),
        ("sm_100", (1024, 32, 0, 1), 2, 1.0, "registers, warps"),
    ],
)
def test_known_launches(
    architecture: str, block: tuple[int, int, int, int], blocks: int, fraction: float, limiter: str
) -> None:
    """Each limit is applied as the programming guide states it."""
    threads, registers, shared, barriers = block
    needs = Block(threads=threads, registers=registers, shared_bytes=shared, barriers=barriers)
    assert theoretical_occupancy(needs, architecture) == Occupancy(fraction=fraction, blocks=blocks, limiter=limiter)


@pytest.mark.parametrize(
    ("needs", "limiter"),
    [
        (Block(threads=1056, registers=32, shared_bytes=0), "warps"),
        (Block(threads=128, registers=32, shared_bytes=163 * KIB + 1), "shared memory"),
        (Block(threads=1024, registers=65, shared_bytes=0), "registers"),
        (Block(threads=32, registers=256, shared_bytes=0), "registers"),
    ],
)
def test_a_launch_that_does_not_fit_has_no_occupancy(needs: Block, limiter: str) -> None:
    """A block that needs more than a multiprocessor has cannot run, and the limiter says why."""
    assert theoretical_occupancy(needs, "sm_80") == Occupancy(fraction=0.0, blocks=0, limiter=limiter)


def test_all_of_the_shared_memory_but_the_reserve_is_one_block() -> None:
    """The driver reserves 1 KiB per block: 163 KiB is the most that a block may ask for on sm_80."""
    assert theoretical_occupancy(Block(threads=128, registers=32, shared_bytes=163 * KIB), "sm_80").blocks == 1


def test_an_architecture_without_limits_is_refused_by_name() -> None:
    """No limits are guessed for an architecture that the table lacks."""
    with pytest.raises(RoofgateError, match=r"'sm_70' \(known: sm_75, .*MULTIPROCESSORS"):
        theoretical_occupancy(Block(threads=128, registers=32, shared_bytes=0), "sm_70")


@pytest.mark.parametrize("architecture", [known.name for known in CUDA_ARCHITECTURES])
def test_every_architecture_that_is_built_has_limits(architecture: str) -> None:
    """A new build architecture needs its row in the table."""
    assert theoretical_occupancy(Block(threads=128, registers=32, shared_bytes=0), architecture).blocks > 0


blocks_of_threads = st.builds(
    Block,
    threads=st.integers(1, 1024),
    registers=st.integers(1, 255),
    shared_bytes=st.integers(0, 99 * KIB),
    barriers=st.integers(0, 16),
)


@given(blocks_of_threads, st.sampled_from(ARCHITECTURES), st.sampled_from(["threads", "registers", "shared_bytes"]))
def test_more_resources_never_fit_more_blocks(needs: Block, architecture: str, resource: str) -> None:
    """Occupancy in blocks falls, or stays, as any need grows; and the fraction lies in [0, 1]."""
    fields = {name: getattr(needs, name) for name in Block.__slots__}
    greedier = Block(**(fields | {resource: fields[resource] + 1}))
    before = theoretical_occupancy(needs, architecture)
    assert theoretical_occupancy(greedier, architecture).blocks <= before.blocks
    assert 0 <= before.fraction <= 1


SHIM = """
#include "cuda_occupancy.h"
extern "C" int blocks(int major, int minor, int warps, long shared, int threads, int registers, long block_shared,
                      int barriers, long reserved) {
  cudaOccDeviceProp device = {};
  device.computeMajor = major;
  device.computeMinor = minor;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = warps * 32;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 * 1024;
  device.sharedMemPerMultiprocessor = shared;
  device.sharedMemPerBlockOptin = shared - reserved;
  device.reservedSharedMemPerBlock = reserved;
  device.numSms = 1;
  cudaOccFuncAttributes function = {};
  function.maxThreadsPerBlock = 1024;
  function.numRegs = registers;
  function.sharedSizeBytes = 0;
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = block_shared;
  function.numBlockBarriers = barriers;
  cudaOccDeviceState state = {};
  cudaOccResult result = {};
  const int error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, block_shared);
  return error ? -error : result.activeBlocksPerMultiprocessor;
}
"""


@pytest.fixture(scope="module")
def reference_blocks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """Resident blocks according to cuda_occupancy.h of the CUDA run-time package."""
    try:
        include = find_cuda_tool("nvcc").resolve().parent.parent / "include"
    except RoofgateError as missing:
        pytest.skip(str(missing))
    compiler = shutil.which("g++")
    if compiler is None or not (include / "cuda_occupancy.h").exists():
        pytest.skip("needs g++ and cuda_occupancy.h of the CUDA run-time package")
    folder = tmp_path_factory.mktemp("occupancy")
    source, library = folder / "shim.cpp", folder / "shim.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).blocks
    whole, long = ctypes.c_int, ctypes.c_long
    function.argtypes = (*[whole] * 3, long, *[whole] * 2, long, whole, long)
    return lambda *arguments: int(function(*arguments))


def _random_block(generator: random.Random, shared_bytes: int) -> Block:
    """Launches as people write them, mixed with arbitrary ones, some of which do not fit."""
    threads = generator.choice([32, 64, 128, 192, 256, 384, 512, 768, 1024, generator.randint(1, 1100)])
    shared = generator.choice([0, generator.randint(0, 48 * KIB), generator.randint(0, shared_bytes + 2 * KIB)])
    barriers = generator.choice([0, 1, 1, 2, generator.randint(0, 16)])
    return Block(threads=threads, registers=generator.randint(1, 255), shared_bytes=shared, barriers=barriers)


@pytest.mark.parametrize("capability", sorted(MULTIPROCESSORS))
def test_agrees_with_the_header_of_the_cuda_runtime(
    capability: tuple[int, int], reference_blocks: Callable[..., int], launches: int = 4000
) -> None:
    """The same resident blocks as cuda_occupancy.h on every one of thousands of random launches."""
    generator = random.Random(f"{capability}")  # noqa: S311
    limits = MULTIPROCESSORS[capability]
    architecture = "sm_{}{}".format(*capability)
    for _ in range(launches):
        block = _random_block(generator, limits.shared_bytes)
        device = (*capability, limits.warps, limits.shared_bytes)
        needs = (block.threads, block.registers, block.shared_bytes, block.barriers)
        expected = reference_blocks(*device, *needs, limits.reserved_bytes)
        assert theoretical_occupancy(block, architecture).blocks == expected, block


def test_a_register_file_is_never_overbooked() -> None:
    """Resident blocks never need more registers than the multiprocessor has."""
    for registers in range(1, 256):
        block = Block(threads=160, registers=registers, shared_bytes=0)
        resident = theoretical_occupancy(block, "sm_80").blocks
        assert resident * block.warps * registers * 32 <= REGISTERS
