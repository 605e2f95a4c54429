"""Host code on the stand-in for the CUDA run-time: the real one's answers, the driver's refusals, and no crash."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernels.build_record import BuildRecord, BuildStatus, DeviceCode, LibraryBuild
from kernels.errors import RoofgateError
from kernels.interface import CeilingFlopsParams, KernelError
from kernels.toolchain import find_cxx
from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.devices import Attribute
from profiles.simulator.run import Options
from profiles.simulator.simulated_library import SimulatedLibrary

SOURCE = Path(__file__).parent / "host_code.cpp"
ABI = Path("kernels/csrc").resolve()
THREADS = 64  # of the launch in host_code.cpp
SUCCESS, INVALID_VALUE, INVALID_FUNCTION, LAUNCH_FAILURE = 0, 1, 98, 719
NOT_SUPPORTED, INVALID_CLUSTER = 801, 912
KIB = 1024

# fill(place, value): place[i] = value + i for every thread i of the grid.
PTX = """.version 8.0
.target sm_80
.address_size 64
.visible .entry fill(.param .u64 place, .param .u32 value)
{
    .reg .b32 %r<6>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [place];
    ld.param.u32 %r1, [value];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r4, %r2, %r3, %r4;
    add.u32 %r1, %r1, %r4;
    mul.wide.u32 %rd2, %r4, 4;
    add.u64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r1;
    ret;
}
"""

Open = Callable[..., SimulatedLibrary]


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> BuildRecord:
    """The hand-written library as a build would record it, for two architectures."""
    folder = tmp_path_factory.mktemp("host_code")
    flags = ["-std=c++20", "-fPIC", "-fvisibility=hidden", f"-I{ABI}"]
    subprocess.run([find_cxx(), *flags, "-c", SOURCE, "-o", folder / "host_code.o"], check=True)
    (folder / "host_code.ptx").write_text(PTX)
    code = DeviceCode(source="host_code.cu", cubin="", ptx=str(folder / "host_code.ptx"), compiler_log="")
    libraries = (
        LibraryBuild(name=f"cuda_{name}", architecture=name, status=BuildStatus.BUILT, device_code=(code,))
        for name in ("sm_80", "sm_90a")
    )
    return BuildRecord(sources_digest="", libraries=tuple(libraries))


@pytest.fixture
def open_library(record: BuildRecord, memory: DeviceMemory) -> Open:
    """A function that opens the library: ``open_library(architecture, **options)``."""

    def opened(architecture: str = "sm_80", **options: object) -> SimulatedLibrary:
        return SimulatedLibrary(architecture, memory, Options(**options), record)  # type: ignore[arg-type]

    return opened


@pytest.fixture
def sink(memory: DeviceMemory) -> DeviceArray:
    """Room for what ``fill`` writes."""
    return memory.place(np.zeros(THREADS, np.uint32), name="sink")


def try_out(library: SimulatedLibrary, scenario: int, number: int = 0, sink: DeviceArray | None = None) -> float:
    """Call the library; returns the number that it gives back."""
    address = sink.address if sink else 0
    return library.ceiling_flops(CeilingFlopsParams(dtype=scenario, iterations=number, sink=address))


def status_of(library: SimulatedLibrary, scenario: int, number: int = 0, sink: DeviceArray | None = None) -> int:
    """The status of a call that has to fail."""
    with pytest.raises(KernelError) as refused:
        try_out(library, scenario, number, sink)
    return refused.value.status


@pytest.mark.parametrize("scenario", [0, 1, 9], ids=["by run-time call", "by stub", "on memory of its own"])
def test_every_way_of_launching_runs_the_kernel(open_library: Open, sink: DeviceArray, scenario: int) -> None:
    """Arguments arrive in the parameters, and results in the arrays of this process."""
    library = open_library(check_races=True)
    try_out(library, scenario, 1000, sink)

    assert list(sink.array) == [1000 + index for index in range(THREADS)]
    assert library.outcome.findings == ()
    (launch,) = library.outcome.launches
    assert (launch.kernel.name, launch.grid, launch.block) == ("fill", (2, 1, 1), (32, 1, 1))
    assert [site.executed for site in launch.counters] == [2] * len(launch.kernel.instructions)


def test_a_checkout_may_lie_in_a_folder_with_spaces(open_library: Open, sink: DeviceArray, tmp_path: Path) -> None:
    """Paths end the lines that hold them."""
    library = open_library()
    folder = tmp_path / "folder of a user"
    folder.mkdir()
    library.path = Path(shutil.copy(library.path, folder))
    try_out(library, 0, 5, sink)

    assert sink.array[1] == 6


def test_a_cluster_is_launched_where_the_device_has_them(open_library: Open, sink: DeviceArray) -> None:
    """Compute capability 9; the grid is a multiple of the cluster."""
    library = open_library("sm_90a")
    try_out(library, 2, 2, sink)

    assert library.outcome.launches[0].cluster == (2, 1, 1)
    assert status_of(open_library("sm_80"), 2, 2, sink) == INVALID_CLUSTER
    assert status_of(open_library("sm_90a"), 2, 9, sink) == INVALID_CLUSTER


@pytest.mark.parametrize(
    ("scenario", "number", "status", "reason"),
    [
        (3, 0, NOT_SUPPORTED, "cooperative"),
        (4, 0, INVALID_VALUE, "null pointer"),
        (5, 0, INVALID_FUNCTION, "no kernel"),
        (6, 48 * KIB + 1, INVALID_VALUE, "49152 are allowed"),
        (7, 163 * KIB + 1, INVALID_VALUE, "the device has 166912"),
        (7, -1, INVALID_VALUE, "asks for -1 bytes"),
        (8, 9999, INVALID_VALUE, "invalid argument"),
    ],
)
def test_what_the_driver_refuses_is_its_error(
    open_library: Open, sink: DeviceArray, scenario: int, number: int, status: int, reason: str
) -> None:
    """A cudaError_t through the host code, and the reason in words."""
    library = open_library()

    with pytest.raises(KernelError, match=reason) as refused:
        try_out(library, scenario, number, sink)
    assert refused.value.status == status
    assert not sink.array.any()


@pytest.mark.parametrize(("scenario", "number"), [(6, 48 * KIB), (7, 163 * KIB)])
def test_shared_memory_within_the_limits_is_given(
    open_library: Open, sink: DeviceArray, scenario: int, number: int
) -> None:
    """48 KiB without asking; what the device has after asking."""
    try_out(open_library(), scenario, number, sink)

    assert sink.array[0] == 1


@pytest.mark.parametrize(
    ("architecture", "attribute", "value"),
    [
        ("sm_80", Attribute.MULTIPROCESSORS, 108),
        ("sm_80", Attribute.MAX_SHARED_PER_BLOCK_OPT_IN, 163 * KIB),
        ("sm_80", Attribute.L2_BYTES, 40 * KIB * KIB),
        ("sm_90a", Attribute.MULTIPROCESSORS, 132),
        ("sm_90a", Attribute.MAX_SHARED_PER_BLOCK_OPT_IN, 227 * KIB),
        ("sm_90a", Attribute.MAJOR, 9),
    ],
)
def test_the_device_has_the_figures_of_its_architecture(
    open_library: Open, architecture: str, attribute: Attribute, value: int
) -> None:
    """A100 and H100: NVIDIA's whitepapers and the CUDA programming guide."""
    assert try_out(open_library(architecture), 8, attribute) == value


@pytest.mark.parametrize(("shared", "blocks"), [(0, 8), (40 * KIB, 4), (163 * KIB - 1, 1)])
def test_occupancy_counts_warps_and_shared_memory(open_library: Open, shared: int, blocks: int) -> None:
    """sm_80: 64 warps and 164 KiB; a block here has 8 warps, and 1 KiB is reserved for each."""
    assert try_out(open_library(), 12, shared) == blocks


def test_errors_are_kept_until_they_are_asked_for(open_library: Open) -> None:
    """The one call keeps them, the other clears them."""
    assert try_out(open_library(), 10) == 1


def test_the_driver_encodes_tensor_maps(open_library: Open, memory: DeviceMemory) -> None:
    """Found by name, with the driver's own checks: here an extent of zero."""
    tensor = memory.place(np.zeros((16, 64), np.float16))
    try_out(open_library("sm_90a"), 11, 16, tensor)

    assert status_of(open_library("sm_90a"), 11, 0, tensor) == INVALID_VALUE


def test_what_host_code_prints_is_no_answer(open_library: Open, sink: DeviceArray) -> None:
    """Standard output belongs to the library; the simulator answers elsewhere."""
    library = open_library()
    try_out(library, 13, 0, sink)

    assert sink.array[0] == 1
    assert len(library.outcome.launches) == 1


def test_an_access_out_of_bounds_fails_the_launch(open_library: Open, memory: DeviceMemory) -> None:
    """As on hardware, but with the array's name and how far it was missed."""
    short = memory.place(np.zeros(THREADS - 1, np.uint32), name="short")
    library = open_library()

    with pytest.raises(KernelError, match="'short'") as failed:
        try_out(library, 0, 0, short)
    assert failed.value.status == LAUNCH_FAILURE
    (finding,) = library.outcome.findings
    assert (finding.check, finding.block, finding.lanes) == ("out-of-bounds", (1, 0, 0), (31,))
    assert finding.address == short.address + short.bytes
    assert library.outcome.launches[0].kernel.instructions[finding.site].root == "st"


@pytest.mark.parametrize(("scenario", "words"), [(14, "host code with SIGSEGV"), (15, "exit code 3")])
def test_a_dying_library_is_a_finding(open_library: Open, scenario: int, words: str) -> None:
    """It takes its own process with it, not this one."""
    library = open_library()

    assert status_of(library, scenario, 64) == LAUNCH_FAILURE
    (finding,) = library.outcome.findings
    assert finding.check == "crash"
    assert re.search(words, finding.message)


def test_a_function_that_the_stand_in_lacks_is_named(memory: DeviceMemory, tmp_path: Path) -> None:
    """Linking succeeds, opening says which symbol is missing."""
    source = tmp_path / "needy.cpp"
    source.write_text(
        'extern "C" int cudaNobodyHas(); extern "C" int roofgate_ceiling_flops() { return cudaNobodyHas(); }'
    )
    subprocess.run([find_cxx(), "-fPIC", "-c", source, "-o", tmp_path / "needy.o"], check=True)
    (tmp_path / "needy.ptx").write_text(PTX)
    code = DeviceCode(source="needy.cu", cubin="", ptx=str(tmp_path / "needy.ptx"), compiler_log="")
    built = LibraryBuild(name="cuda_sm_80", architecture="sm_80", status=BuildStatus.BUILT, device_code=(code,))
    library = SimulatedLibrary("sm_80", memory, record=BuildRecord(sources_digest="", libraries=(built,)))

    with pytest.raises(RoofgateError, match="cudaNobodyHas"):
        try_out(library, 0)


def test_a_library_that_is_not_built_is_an_error(memory: DeviceMemory) -> None:
    """With the build's reason and the next step."""
    unbuilt = LibraryBuild(
        name="cuda_sm_80", architecture="sm_80", status=BuildStatus.NOT_RUN, reason="nvcc is not here\nmore"
    )
    record = BuildRecord(sources_digest="", libraries=(unbuilt,))

    with pytest.raises(RoofgateError, match=r"not built \(nvcc is not here\); run: nox -s build"):
        SimulatedLibrary("sm_80", memory, record=record)
    with pytest.raises(RoofgateError, match="no library 'cuda_sm_86'"):
        SimulatedLibrary("sm_86", memory, record=record)
