"""How a GPU's answers are obtained and held against the simulator's, with processes and drivers that are none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kernels.errors import EXIT_ERROR, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.toolchain import find_cxx
from profiles.__main__ import main
from profiles.simulator.probes import gpu_driver
from profiles.simulator.probes.catalogue import find_probes
from profiles.simulator.probes.command import hold_answers
from profiles.simulator.probes.compare import Status, agreement, compare
from profiles.simulator.probes.expectations import (
    against_expectation,
    digest_of,
    expectation_of,
    read_expectations,
    write_expectations,
)
from profiles.simulator.probes.gpu_driver import Device
from profiles.simulator.probes.gpu_side import reason_not_to_run, run_all
from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import LANES, Probe, Tolerance, Words, place_of
from profiles.simulator.probes.recordings import kept_recordings, read_recording, write_recording
from profiles.simulator.probes.simulator_side import simulate

PROBES = find_probes()
MOST_BYTES = 300_000  # of a recording that belongs to the project

# --- comparing ---

ULP = Tolerance(type_name="f32", reason="", ulp=2)


def words(*values: int) -> Words:
    """A result."""
    return np.array(values, np.uint64)


def test_without_a_tolerance_every_bit_counts() -> None:
    """Even a NaN's payload, and the sign of zero."""
    assert agreement(words(0, 0x7FC00000), words(0x80000000, 0x7FFFFFFF), None).tolist() == [False, False]


def test_ulp_are_those_of_the_expected_number() -> None:
    """Two steps from 1.0, and two from the smallest number."""
    expected = words(0x3F800000, 0x3F800000, 1, 0x7F800000, 0x7F800000)
    found = words(0x3F800002, 0x3F800003, 3, 0x7F7FFFFF, 0x7F800000)

    assert agreement(expected, found, ULP).tolist() == [True, False, True, False, True]


def test_any_bound_suffices_and_any_nan_is_as_good() -> None:
    """Absolute and relative bounds; NaN against NaN, but not against a number."""
    tolerance = Tolerance(type_name="f32", reason="", absolute=0.5, relative=0.25)
    expected = words(0, 0x41000000, 0x41000000, 0x7FC00000, 0x7FC00000)  # 0, 8, 8
    found = words(0x3F000000, 0x41200000, 0x41300000, 0x7FFFFFFF, 0)  # 0.5, 10, 11

    assert agreement(expected, found, tolerance).tolist() == [True, True, False, True, False]


def test_a_difference_says_where_it_is_and_both_values() -> None:
    """The label of the output and the thread."""
    probe = per_thread("pair", "sm_80", [("b32", words(*range(32)))], each("b32: {op}.b32 $0, %a0", op="not brev"))
    expected = np.arange(64, dtype=np.uint64)
    found = expected.copy()
    found[32 + 5] = 0xABC

    row = compare(probe, expected, found)

    assert (row.status, row.differing, row.words) == (Status.DIFFERS, 1, 64)
    assert row.detail == "brev.b32, thread 5: expected 0x25, got 0xabc"


def test_a_result_of_another_size_differs() -> None:
    """Rather than being compared in part."""
    probe = PROBES["movmatrix-trans"]

    assert compare(probe, words(1, 2), words(1)).status is Status.DIFFERS


def test_places_behind_the_outputs_are_bytes_of_memory() -> None:
    """Shared memory of the block, then global memory."""
    probe = PROBES["bulk-load"]

    assert place_of(probe, LANES + 2) == "shared memory of block 0, byte 16"
    assert place_of(probe, LANES + 64 + 1) == "global memory, byte 8"


def test_large_results_are_kept_as_a_digest() -> None:
    """Which tells a difference, if not where."""
    probe = PROBES["shuffles"]
    result = simulate(probe)
    kept = expectation_of(probe, result)
    changed = result.copy()
    changed[-1] ^= np.uint64(1)

    assert kept.unpacked() is None
    assert against_expectation(probe, kept, result).status is Status.EQUAL
    assert against_expectation(probe, kept, changed).status is Status.DIFFERS


def test_storing_some_results_keeps_the_others(tmp_path: Path) -> None:
    """--update with --filter."""
    one, other = PROBES["movmatrix-trans"], PROBES["ldmatrix-x1"]
    write_expectations({one.name: words(1), other.name: words(2)}, tmp_path)

    assert write_expectations({one.name: words(3)}, tmp_path) == 1
    assert read_expectations(tmp_path) == {
        one.name: expectation_of(one, words(3)),
        other.name: expectation_of(other, words(2)),
    }


def test_a_damaged_expectation_is_an_error(tmp_path: Path) -> None:
    """That names the file."""
    (tmp_path / "matrices.json").write_text('{"x": {"words": 1}}')

    with pytest.raises(RoofgateError, match=r"matrices\.json is damaged"):
        read_expectations(tmp_path)


# --- the GPU's side ---


@pytest.mark.parametrize(
    ("target", "capability", "runs"),
    [
        ("sm_80", (8, 0), True),
        ("sm_80", (9, 0), True),
        ("sm_89", (8, 6), False),
        ("sm_90", (10, 0), True),
        ("sm_90a", (9, 0), True),
        ("sm_90a", (10, 0), False),
        ("sm_90a", (8, 9), False),
    ],
)
def test_a_probe_runs_where_its_architecture_does(target: str, capability: tuple[int, int], runs: bool) -> None:
    """Later GPUs run earlier PTX, but sm_90a runs on 9.0 alone."""
    probe = Probe(name="any", target=target, statements="")
    reason = reason_not_to_run(probe, Device("some GPU", capability, 12080))

    assert (reason is None) == runs
    assert runs or f"needs {target}" in str(reason)


class Worker:
    """A process on a GPU that dies at some probes, as a kernel with an illegal address makes it."""

    def __init__(self, *, leaves_reason: Sequence[str] = (), dies: Sequence[str] = ()) -> None:
        self.leaves_reason = leaves_reason
        self.dies = dies
        self.calls = 0

    def __call__(self, folder: Path, names: Sequence[str]) -> str:
        """Run the group."""
        self.calls += 1
        for name in names:
            if name in self.dies:
                return "exit code -6"
            if name in self.leaves_reason:
                (folder / f"{name}.txt").write_text("CUDA_ERROR_ILLEGAL_ADDRESS")
                return "exit code 1"
            np.save(folder / f"{name}.npy", words(len(name)))
        return ""


def silent(line: str) -> None:
    """Report nothing."""
    del line


NAMES = [f"probe-{index}" for index in range(80)]


@pytest.mark.parametrize(
    ("worker", "failing"),
    [
        (Worker(), {}),
        (Worker(leaves_reason=["probe-3", "probe-79"]), {"probe-3", "probe-79"}),
        (Worker(dies=["probe-0", "probe-1", "probe-40"]), {"probe-0", "probe-1", "probe-40"}),
        (Worker(leaves_reason=["probe-4"], dies=["probe-5"]), {"probe-4", "probe-5"}),
    ],
)
def test_a_failing_probe_costs_no_other_result(worker: Worker, failing: set[str]) -> None:
    """Whether its process says why it ends or not."""
    found = run_all(NAMES, worker, silent)

    assert set(found) == set(NAMES)
    assert {name for name, outcome in found.items() if isinstance(outcome, str)} == set(failing)


def test_processes_that_never_give_a_result_are_an_error() -> None:
    """Rather than one attempt for each of hundreds of probes."""
    worker = Worker(dies=NAMES)

    with pytest.raises(RoofgateError, match="exit code -6"):
        run_all(NAMES, worker, silent)
    assert worker.calls < len(NAMES) / 4


def test_answers_of_a_gpu_can_be_recorded(tmp_path: Path) -> None:
    """Results, reasons, and of large results a digest."""
    path = tmp_path / "gpu.npz"
    answers = {"one": words(1, 2**64 - 1), "two": "timed out", "three": words(), "four": words(7)}
    large = np.arange(9000, dtype=np.uint64)
    write_recording(path, answers | {"large": large})
    found = read_recording(path)

    assert found.keys() == {*answers, "large"}
    assert all(np.array_equal(np.asarray(found[name]), np.asarray(answer)) for name, answer in answers.items())
    assert found["large"] == digest_of(large)


def test_a_digest_of_a_gpu_tells_a_difference() -> None:
    """With the simulator, and without it from the stored expectation."""
    probe = PROBES["shuffles"]
    result = simulate(probe)

    def no_simulator(_: Probe) -> Words:
        raise RoofgateError("no C++ compiler")

    for run in (simulate, no_simulator):
        same, other = (
            hold_answers({probe.name: probe}, {probe.name: digest_of(answer)}, run)[0].status
            for answer in (result, result + np.uint64(1))
        )
        assert (same, other) == (Status.EQUAL, Status.DIFFERS)


def test_the_simulator_agrees_with_an_h100() -> None:
    """All probes, with what an NVIDIA H100 80GB HBM3 said (driver 580, CUDA 13.0); approximations within bounds."""
    rows = hold_answers(PROBES, read_recording(kept_recordings()["h100"]))

    assert [row for row in rows if row.status is not Status.EQUAL] == []
    assert kept_recordings()["h100"].stat().st_size < MOST_BYTES


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 no archive"])
def test_a_missing_or_damaged_recording_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """That says what would have been right."""
    path = tmp_path / "gpu.npz"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RoofgateError, match="--against gpu wrote"):
        read_recording(path)


def test_without_a_compiler_the_gpu_is_held_against_the_stored_answers() -> None:
    """Equal and different ones, and what the GPU did not run."""
    probe = PROBES["movmatrix-trans"]
    result = simulate(probe)

    def no_simulator(_: Probe) -> Words:
        raise RoofgateError("no C++ compiler")

    def status(answer: Words | str) -> Status:
        (row,) = hold_answers({probe.name: probe}, {probe.name: answer}, no_simulator)
        return row.status

    assert status(result) is Status.EQUAL
    assert status(result + np.uint64(1)) is Status.DIFFERS
    assert status("the driver does not know it") is Status.NOT_RUN


@pytest.fixture(scope="module")
def driver_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver without a GPU, whose kernels store the number of blocks: see fake_driver.cpp."""
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).with_name("fake_driver.cpp")
    subprocess.run([str(find_cxx()), "-std=c++20", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


def run_worker(library: Path, folder: Path, names: Sequence[str]) -> int:
    """The process that runs probes, with that library as its driver; returns its exit code."""
    program = (
        "import pathlib, sys; from profiles.simulator.probes import gpu_driver, gpu_worker; "
        "gpu_driver._LIBRARY = sys.argv[1]; sys.exit(gpu_worker.main(pathlib.Path(sys.argv[2]), sys.argv[3:]))"
    )
    return subprocess.run([sys.executable, "-c", program, str(library), str(folder), *names], check=False).returncode


def test_the_worker_calls_the_driver_as_cuda_h_declares(driver_library: Path, tmp_path: Path) -> None:
    """A plain launch, one of a cluster with a tensor map, and memory that a kernel leaves as it was."""
    names = ["shuffles", "tensor-load-multicast", "bulk-store"]

    assert run_worker(driver_library, tmp_path, names) == 0
    shuffles, multicast, store = (np.load(tmp_path / f"{name}.npy") for name in names)
    assert shuffles[0] == PROBES["shuffles"].blocks
    assert multicast[0] == 2
    assert len(store) == len(PROBES["bulk-store"].scratch) // 8
    assert set(store.tolist()) == {0xA5A5A5A5A5A5A5A5}


def test_a_kernel_that_the_driver_cannot_compile_leaves_its_words(driver_library: Path, tmp_path: Path) -> None:
    """And the process goes on: this driver knows no tanh, and fails at launches of three blocks."""
    names = ["approximate-tanh", "movmatrix-trans", "mma-m16n8k8-f32-f16-f16", "ldmatrix-x1"]

    assert run_worker(driver_library, tmp_path, names) == 1
    assert "CUDA_ERROR_INVALID_PTX (218): no tanh here" in (tmp_path / "approximate-tanh.txt").read_text()
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in (tmp_path / "mma-m16n8k8-f32-f16-f16.txt").read_text()
    assert (tmp_path / "movmatrix-trans.npy").exists()
    assert not (tmp_path / "ldmatrix-x1.npy").exists()


# --- the command ---


def test_the_command_compares_with_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 if all agree, 1 if not, with the first difference in the table and in the result file."""
    probe = PROBES["movmatrix-trans"]
    recording, output = tmp_path / "gpu.npz", tmp_path / "probes.json"
    command = ["probe", "--against", str(recording), "--filter", probe.name, "--output", str(output)]
    result = simulate(probe)
    write_recording(recording, {probe.name: result})
    assert main(command) == EXIT_PASS
    assert main(["probe", "--against", "h100", *command[3:]]) == EXIT_PASS

    result = result.copy()
    result[7] = 0x123
    write_recording(recording, {probe.name: result})
    assert main(command) == EXIT_REGRESSION
    assert "thread 7: expected" in capsys.readouterr().out
    (row,) = json.loads(output.read_text())["probes"]
    assert (row["status"], row["differing"]) == ("differs", 1)


def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the user's, not a traceback."""
    monkeypatch.setattr(gpu_driver, "_LIBRARY", str(tmp_path / "no_driver.so"))

    assert main(["probe", "--against", "gpu", "--output", str(tmp_path / "probes.json")]) == EXIT_ERROR
    assert "no GPU here" in capsys.readouterr().err


def test_a_filter_that_matches_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than an empty success."""
    assert main(["probe", "--filter", "nothing-*"]) == EXIT_ERROR
    assert "no probe's name matches 'nothing-*'" in capsys.readouterr().err
