"""Launching a kernel: its arguments, what the driver would refuse, and a simulator that does not come back."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.errors import RoofgateError
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.devices import device_attributes
from profiles.simulator.findings import Finding
from profiles.simulator.process import run_simulator
from profiles.simulator.run import Options, Outcome, launch_kernel, load_kernel, pack_arguments

HEAD = ".version 8.0\n.target {target}\n.address_size 64\n"
SPIN = """.visible .entry spin()
{
    .reg .b32 %r<2>;
LOOP:
    add.s32 %r1, %r1, 1;
    bra LOOP;
}
"""
NOTHING = """.visible .entry nothing() { ret; }
.visible .entry small() .maxntid 64, 1, 1 { ret; }
.visible .entry exact() .reqntid 32, 2, 1 { ret; }
.visible .entry pair() .reqnctapercluster 2, 1, 1 { ret; }
.visible .entry shared() { .shared .align 4 .b8 buffer[1024]; ret; }
"""
MIXED = """.visible .entry mixed(.param .u64 a, .param .u32 b, .param .f32 c, .param .align 8 .b8 d[24], .param .u16 e)
{
    ret;
}
"""


def launch(
    memory: DeviceMemory,
    kernel: str,
    *,
    target: str = "sm_80",
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (32, 1, 1),
    cluster: tuple[int, int, int] | None = None,
    dynamic_shared: int = 0,
    options: Options | None = None,
) -> Outcome:
    """Launch one of the kernels above, which take no arguments."""
    return launch_kernel(
        HEAD.format(target=target) + SPIN + NOTHING,
        kernel,
        grid=grid,
        block=block,
        cluster=cluster,
        dynamic_shared=dynamic_shared,
        arguments=[],
        memory=memory,
        options=options,
    )


def only(outcome: Outcome) -> Finding:
    """The one finding of an outcome."""
    (finding,) = outcome.findings
    return finding


@pytest.mark.parametrize(
    ("kernel", "launch_options", "error"),
    [
        ("nothing", {"block": (1025, 1, 1)}, r"cudaErrorInvalidValue \(1\): a block of 1025 x 1 x 1 threads"),
        ("nothing", {"block": (32, 33, 1)}, r"InvalidValue .* 1 to 1024 threads"),
        ("nothing", {"block": (1, 1, 65)}, r"InvalidValue .* 1024 x 1024 x 64"),
        ("nothing", {"block": (0, 1, 1)}, r"InvalidValue"),
        ("nothing", {"grid": (0, 1, 1)}, r"InvalidValue .*: a grid of 0 x 1 x 1 blocks"),
        ("nothing", {"grid": (1, 65536, 1)}, r"InvalidValue"),
        ("nothing", {"grid": (1, 1, 65536)}, r"InvalidValue"),
        ("nothing", {"grid": (2**31, 1, 1)}, r"InvalidValue"),
        ("nothing", {"dynamic_shared": 163 * 1024 + 1}, r"cudaErrorInvalidValue \(1\): 166913 bytes of shared memory"),
        ("shared", {"dynamic_shared": 162 * 1024 + 1}, r"cudaErrorInvalidValue \(1\): 166913 bytes of shared memory"),
        ("small", {"block": (65, 1, 1)}, r"65 threads; the kernel was compiled for at most 64"),
        ("exact", {"block": (64, 1, 1)}, r"64 x 1 x 1 threads; the kernel was compiled for 32 x 2 x 1 alone"),
        ("nothing", {"cluster": (2, 1, 1), "grid": (2, 1, 1)}, r"InvalidClusterSize .* this device has no clusters"),
        (
            "nothing",
            {"cluster": (2, 1, 1), "grid": (3, 1, 1), "target": "sm_90"},
            r"InvalidClusterSize .* 3 x 1 x 1 blocks is no multiple of the cluster",
        ),
        ("nothing", {"cluster": (17, 1, 1), "grid": (17, 1, 1), "target": "sm_90"}, r"at most 16 are allowed"),
        ("pair", {"grid": (3, 1, 1), "target": "sm_90"}, r"InvalidClusterSize .* no multiple of the cluster of 2"),
        (
            "pair",
            {"grid": (4, 1, 1), "cluster": (4, 1, 1), "target": "sm_90"},
            r"InvalidClusterSize .* compiled for 2 x 1 x 1 alone",
        ),
    ],
)
def test_what_the_driver_refuses_is_its_error_and_no_crash(
    memory: DeviceMemory, kernel: str, launch_options: dict[str, tuple[int, int, int]], error: str
) -> None:
    """Limits of the CUDA programming guide; 163 KiB is sm_80's. The errors are those of CUDA 13.0 on an H100."""
    outcome = launch(memory, kernel, **launch_options)

    assert only(outcome).check == "launch"
    assert re.search(error, only(outcome).message)
    assert outcome.launches == ()


@pytest.mark.parametrize(
    ("kernel", "launch_options"),
    [
        ("nothing", {"block": (1024, 1, 1), "grid": (3, 2, 65535)}),
        ("nothing", {"block": (1, 16, 64), "dynamic_shared": 163 * 1024}),
        ("shared", {"dynamic_shared": 162 * 1024}),
        ("small", {"block": (32, 2, 1)}),
        ("exact", {"block": (32, 2, 1)}),
        ("nothing", {"cluster": (2, 1, 1), "grid": (4, 1, 1), "target": "sm_90a"}),
        ("nothing", {"cluster": (16, 1, 1), "grid": (16, 1, 1), "target": "sm_90"}),
        ("pair", {"grid": (4, 1, 1), "target": "sm_90"}),
        ("pair", {"grid": (4, 1, 1), "cluster": (2, 1, 1), "target": "sm_90"}),
    ],
)
def test_what_the_driver_takes_runs(
    memory: DeviceMemory, kernel: str, launch_options: dict[str, tuple[int, int, int]]
) -> None:
    """The same limits from the inside; every warp executes the one instruction once."""
    outcome = launch(memory, kernel, **launch_options)
    (done,) = outcome.launches
    warps = -(-math.prod(done.block) // 32) * math.prod(done.grid)

    assert outcome.findings == ()
    assert [counters.executed for counters in done.counters] == [warps]
    assert done.counters[0].lanes == math.prod(done.block) * math.prod(done.grid)


def test_a_kernel_that_never_ends_reaches_the_instruction_limit(memory: DeviceMemory) -> None:
    """The finding names the kernel and the line of the loop."""
    finding = only(launch(memory, "spin", options=Options(instruction_limit=100_000)))

    assert (finding.check, finding.kernel) == ("endless", "spin")
    assert "100000 warp-instructions" in finding.message
    assert finding.ptx_line in (8, 9)


def test_a_kernel_that_never_ends_runs_out_of_time(memory: DeviceMemory) -> None:
    """Every thread of the host says where its warp is."""
    outcome = launch(memory, "spin", grid=(8, 1, 1), options=Options(timeout_s=0.5, threads=2))

    assert {finding.check for finding in outcome.findings} == {"endless"}
    assert all("0.5 s" in finding.message and finding.ptx_line in (8, 9) for finding in outcome.findings)


def test_results_do_not_depend_on_the_number_of_threads(memory: DeviceMemory) -> None:
    """Counters are sums over blocks, whoever ran them."""
    counters = {
        launch(memory, "nothing", grid=(50, 1, 1), options=Options(threads=threads, seed=seed)).launches[0].counters
        for threads in (1, 3)
        for seed in (0, 1)
    }

    assert len(counters) == 1


@pytest.fixture
def mixed() -> str:
    """A module with parameters of every size."""
    return HEAD.format(target="sm_80") + MIXED


def test_arguments_are_packed_as_the_parameters_lie(mixed: str, memory: DeviceMemory) -> None:
    """Each at a multiple of its alignment (PTX ISA, kernel function parameters)."""
    array = memory.place(np.zeros(1))
    packed = pack_arguments(load_kernel(mixed, "mixed").kernel, [array, -2, 0.5, bytes(range(24)), np.uint16(7)])

    assert packed == (
        array.address.to_bytes(8, "little")
        + b"\xfe\xff\xff\xff"
        + np.float32(0.5).tobytes()
        + bytes(range(24))
        + b"\x07\x00"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "5 parameters; got 0 arguments"),
        ([0, 2**32, 0.0, b"0" * 24, 0], "does not fit the 4 bytes"),
        ([0, 0, 0.0, b"0" * 23, 0], "takes 24 bytes; got 23 bytes"),
        ([0, np.int64(0), 0.0, b"0" * 24, 0], "takes 4 bytes; got 8 bytes"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(mixed: str, arguments: list[object], message: str) -> None:
    """A parameter block of wrong bytes would be a wrong answer, or a pointer to nowhere."""
    with pytest.raises(RoofgateError, match=message):
        pack_arguments(load_kernel(mixed, "mixed").kernel, arguments)  # type: ignore[arg-type]


def test_an_unknown_architecture_or_kernel_is_an_error(memory: DeviceMemory) -> None:
    """Both name what there is."""
    with pytest.raises(RoofgateError, match=r"sm_70.*sm_80"):
        launch(memory, "nothing", target="sm_70")
    with pytest.raises(RoofgateError, match="absent"):
        launch(memory, "absent")


def impostor(tmp_path: Path, script: str) -> Path:
    """A program that is started in the simulator's place."""
    program = tmp_path / "impostor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def run_impostor(program: Path, timeout_s: float = 5.0) -> dict[str, Any]:
    """The finding that is made of how it ends."""
    result = run_simulator(program, [], lambda name: f"kernel {name}", descriptors=[], timeout_s=timeout_s)
    (finding,) = result["findings"]
    return dict(finding)


def test_a_crash_is_a_finding_with_the_place(tmp_path: Path) -> None:
    """What the signal handler of the run-time writes: signal, address, site, block, warp, kernel."""
    finding = run_impostor(impostor(tmp_path, "echo crash 11 4096 17 1 2 3 5 some_kernel; exit 70"))

    assert (finding["check"], finding["kernel"], finding["site"]) == ("crash", "some_kernel", 17)
    assert (finding["block"], finding["warp"]) == ([1, 2, 3], 5)
    assert "SIGSEGV" in finding["message"] and "0x1000" in finding["message"]


def test_a_crash_of_host_code_is_told_from_one_of_a_kernel(tmp_path: Path) -> None:
    """Site -1: no warp was running."""
    finding = run_impostor(impostor(tmp_path, "echo crash 8 0 -1 0 0 0 0 -; exit 70"))

    assert (finding["check"], finding["site"]) == ("crash", -1)
    assert "host code" in finding["message"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "SIGKILL"),
        ("echo last words >&2; exit 3", "exit code 3.*last words"),
        ("exit 0", "without a result"),
    ],
)
def test_an_end_without_a_word_is_a_finding(tmp_path: Path, script: str, words: str) -> None:
    """Killed for memory, ended by a library's exit(): the report says what is known."""
    finding = run_impostor(impostor(tmp_path, script))

    assert finding["check"] == "crash"
    assert re.search(words, finding["message"])


def test_an_error_of_the_child_is_an_error_here(tmp_path: Path) -> None:
    """It could not begin, so there is no result."""
    with pytest.raises(RoofgateError, match="cannot be opened"):
        run_impostor(impostor(tmp_path, "echo error x.so cannot be opened; exit 2"))


def test_a_real_crash_in_a_kernel_names_its_line(simulator: Path, tmp_path: Path) -> None:
    """A program file that reads outside of its registers stands for a bug of the simulator."""
    broken = tmp_path / "folder of a user" / "broken.program"
    broken.parent.mkdir()
    far = 1 << 40
    broken.write_text(
        "roofgate-program 1\nkernel broken\nparameters 0\nshared 0 16\nlocal 0\nregisters 256\nthreads 0 0 0 0\n"
        f"op nop - 0\nop mov.b32 - 2 0 {far}\nop exit - 0\nend\n"
    )
    attributes = [f"attribute {name.value} {value}" for name, value in device_attributes("sm_80").items()]
    lines = [*attributes, f"kernel broken 0 {broken}", "launch broken 3 1 1 32 1 1 1 1 1 0 -"]
    result = run_simulator(simulator, lines, lambda name: name, descriptors=[], timeout_s=20.0)
    (finding,) = result["findings"]

    assert (finding["check"], finding["kernel"], finding["site"]) == ("crash", "broken", 1)
    assert "SIGSEGV" in finding["message"]
