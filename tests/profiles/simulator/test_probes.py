"""Probes: the simulator still says what it said, some of that by hand from the PTX ISA, and how a GPU is compared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from kernels.errors import EXIT_ERROR, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.toolchain import find_cuda_tool
from profiles.__main__ import main
from profiles.simulator.probes import gpu_driver
from profiles.simulator.probes.catalogue import all_probes, find_probes
from profiles.simulator.probes.command import hold_answers, read_recording, write_recording
from profiles.simulator.probes.compare import Status, agreement, compare
from profiles.simulator.probes.expectations import (
    FOLDER,
    against_expectation,
    expectation_of,
    read_expectations,
    write_expectations,
)
from profiles.simulator.probes.gpu_driver import Device
from profiles.simulator.probes.gpu_side import reason_not_to_run, run_all
from profiles.simulator.probes.kernel_text import kernel_text
from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import LANES, Probe, Tolerance, Words, place_of
from profiles.simulator.probes.simulator_side import simulate
from tests.profiles.simulator.test_planted_bugs import has_nvcc

H100 = Device("H100", (9, 0), 13000)
MOST_BYTES = 400_000  # of the stored expectations
PROBES = find_probes()


def outputs(name: str) -> Mapping[str, list[int]]:
    """What the simulator says, by label of the output: a word for each thread."""
    probe = PROBES[name]
    words = simulate(probe).tolist()
    rows = [words[index : index + probe.threads] for index in range(0, len(words), probe.threads)]
    return {output.label: row for output, row in zip(probe.outputs, rows, strict=False)}


def column(name: str, index: int) -> list[int]:
    """An input of a probe: a word for each thread."""
    return list(map(int, PROBES[name].inputs[index][1]))


def shared_dump(name: str) -> bytes:
    """What the first block's shared memory holds at the end."""
    probe = PROBES[name]
    first = len(probe.outputs) * probe.threads
    return simulate(probe)[first : first + probe.dump // 8].tobytes()


# --- the stored expectations ---


@pytest.mark.parametrize("family", list(all_probes()))
def test_the_simulator_still_says_what_is_expected(family: str) -> None:
    """A change here is a change of the simulator: confirm it on a GPU, then store it with --update."""
    expected = read_expectations()
    rows = [against_expectation(probe, expected.get(probe.name), simulate(probe)) for probe in all_probes()[family]]

    assert [row for row in rows if row.status is not Status.EQUAL] == []


def test_expectations_are_of_the_present_probes_and_small() -> None:
    """No probe without one, none left over from a probe that is gone, and all of them fit a repository."""
    assert set(read_expectations()) == set(PROBES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


def test_names_are_unique_and_files_can_have_them() -> None:
    """Results are files and keys of that name."""
    names = [probe.name for probes in all_probes().values() for probe in probes]

    assert len(set(names)) == len(names)
    assert not [name for name in names if not name.replace("-", "").isalnum()]


@pytest.mark.skipif(not has_nvcc(), reason="no ptxas here")
@pytest.mark.parametrize("family", list(all_probes()))
def test_the_assembler_accepts_the_kernels(family: str, tmp_path: Path) -> None:
    """The first, the middle and the last of a family: what is no PTX fails on a GPU only."""
    probes = all_probes()[family]
    for probe in {probes[0].name: probes[0], probes[-1].name: probes[-1]}.values():
        text = tmp_path / "probe.ptx"
        text.write_text(kernel_text(probe))
        command = [str(find_cuda_tool("ptxas")), "-arch=sm_90a", str(text), "-o", str(tmp_path / "probe.cubin")]
        assembled = subprocess.run(command, capture_output=True, text=True, check=False)
        assert assembled.returncode == 0, f"{probe.name}: {assembled.stderr}"


# --- by hand, from the PTX ISA ---


def test_ldmatrix_gives_each_lane_two_neighbours_of_a_row() -> None:
    """Lane T gets elements 2 (T mod 4) and the next of row T / 4; lane r says where row r lies."""
    addresses = column("ldmatrix-x1", 0)
    for lane, word in enumerate(outputs("ldmatrix-x1")["matrix 0"]):
        element = addresses[lane // 4] // 2 + 2 * (lane % 4)  # every element holds its index
        assert word == element | (element + 1) << 16


def test_transposed_ldmatrix_gives_each_lane_two_neighbours_of_a_column() -> None:
    """Lane T gets rows 2 (T mod 4) and the next of column T / 4, of each of the four matrices."""
    addresses = column("ldmatrix-x4-trans", 0)
    for matrix in range(4):
        for lane, word in enumerate(outputs("ldmatrix-x4-trans")[f"matrix {matrix}"]):
            rows = [8 * matrix + 2 * (lane % 4) + step for step in (0, 1)]
            low, high = (addresses[row] // 2 + lane // 4 for row in rows)
            assert word == low | high << 16


def test_shifts_by_the_width_or_more_leave_nothing_but_signs() -> None:
    """shl and shr clamp the amount at the width; .s32 fills with the sign."""
    values, counts = column("shifts-32", 0), column("shifts-32", 1)
    found = outputs("shifts-32")
    for thread, (value, count) in enumerate(zip(values, counts, strict=True)):
        assert found["shl.b32"][thread] == (value << min(count, 32)) & 0xFFFFFFFF
        assert found["shr.u32"][thread] == value >> min(count, 32)
        signed = value - (1 << 32) if value >> 31 else value
        assert found["shr.s32"][thread] == (signed >> min(count, 32)) & 0xFFFFFFFF


def test_conversions_to_integers_clamp_and_make_nan_zero() -> None:
    """cvt.rzi.s32.f32: NaN is 0 (as 0x80000000 is for s64 only), infinities and large numbers the nearest end."""
    codes = column("convert-f32-to-integers", 0)
    found = dict(zip(codes, outputs("convert-f32-to-integers")["cvt.rzi.s32.f32"], strict=True))

    assert found[0x7FC00000] == 0
    assert found[0x7F800000] == 0x7FFFFFFF
    assert found[0xFF800000] == 0x80000000
    assert found[0x40200000] == 2  # 2.5
    assert found[0xBF800000] == 0xFFFFFFFF


def test_the_smaller_of_two_zeros_is_the_negative_one_and_nan_is_canonical() -> None:
    """min.f32 orders -0 below +0 and ignores one NaN; min.NaN gives 0x7fffffff."""
    pairs = list(zip(column("f32-minimum-and-maximum", 0), column("f32-minimum-and-maximum", 1), strict=True))
    found = outputs("f32-minimum-and-maximum")
    plain = dict(zip(pairs, found["min.f32"], strict=True))
    strict = dict(zip(pairs, found["min.NaN.f32"], strict=True))

    assert plain[0, 0x80000000] == plain[0x80000000, 0] == 0x80000000
    assert plain[0x7FC00000, 0x3F800000] == 0x3F800000
    assert plain[0x7FC00000, 0x7FC00000] == 0x7FFFFFFF
    assert strict[0xFFC12345, 0x3F800000] == 0x7FFFFFFF


def test_tensor_loads_fill_with_zero_and_swizzle_16_byte_chunks() -> None:
    """With a span of 128 bytes, chunk c of row r lies at chunk c xor (r mod 8)."""
    name = "tensor-load-2d-u32-swizzle-128"
    tensor = PROBES[name].tensors[0]
    rows, pitch = 16, tensor.strides[0]
    content = np.frombuffer(tensor.content, np.uint32).reshape(-1, pitch // 4)
    corners = [(0, 0), (4, 8), (-1, -3)]  # of x and y; the tensor has 36 by 20 elements
    dump = np.frombuffer(shared_dump(name), np.uint32).reshape(len(corners), rows, 32)
    for box, (x, y) in zip(dump, corners, strict=True):
        for row in range(rows):
            for element in range(32):
                inside = 0 <= x + element < 36 and 0 <= y + row < 20
                place = (element // 4 ^ row % 8) * 4 + element % 4
                assert box[row, place] == (content[y + row, x + element] if inside else 0)


def test_a_phase_of_an_mbarrier_ends_with_its_last_arrival() -> None:
    """Two to six arrivals are expected; a wait for the parity of the phase before always succeeds."""
    expected = column("mbarrier-arrivals", 0)
    found = outputs("mbarrier-arrivals")

    assert found["pending before the first arrival"] == expected
    assert found["parity 0 after init"] == [0] * LANES
    assert found["parity 1 after init"] == [1] * LANES
    assert found["parity 0 after one arrival"] == [0] * LANES
    assert found["parity 0 after all arrivals"] == [1] * LANES
    assert found["the first state, complete"] == [1] * LANES
    assert found["pending before the first arrival of phase 1"] == expected


def small_floats(codes: np.ndarray) -> np.ndarray:
    """Values of f16 codes."""
    return codes.view(np.float16).astype(np.float64)


def test_wgmma_reads_swizzled_rows_and_spreads_sums_over_lanes() -> None:
    """The f16 product with rows of 128 bytes, element by element; "Register fragments for wgmma", D of m64nNk16."""
    name = "wgmma-f16-k-major-128"
    shared = np.frombuffer(PROBES[name].shared, np.uint16)

    def factor(first_byte: int, row: int) -> np.ndarray:
        """16 elements of a row: two chunks of 8, wherever the swizzle puts them."""
        chunks = [first_byte + row * 128 + (chunk ^ row % 8) * 16 for chunk in (0, 1)]
        return small_floats(np.concatenate([shared[place // 2 : place // 2 + 8] for place in chunks]))

    found = outputs(name)
    for register in range(8):
        sums = np.array(found[f"D, register {register}"], np.uint32).view(np.float32)
        for thread in range(128):
            row = 16 * (thread // 32) + thread % 32 // 4 + 8 * (register // 2 % 2)
            columns = 8 * (register // 4) + 2 * (thread % 4) + register % 2
            assert sums[thread] == factor(0, row) @ factor(8192, columns)


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
    [("sm_80", (8, 0), True), ("sm_80", (9, 0), True), ("sm_89", (8, 6), False), ("sm_90", (10, 0), True)]
    + [("sm_90a", (9, 0), True), ("sm_90a", (10, 0), False), ("sm_90a", (8, 9), False)],
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
    """Results and reasons."""
    path = tmp_path / "gpu.npz"
    write_recording(path, {"one": words(1, 2**64 - 1), "two": "timed out"})
    found = read_recording(path)

    assert found["two"] == "timed out"
    assert np.array_equal(found["one"], words(1, 2**64 - 1))


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


# --- the command ---


def test_the_command_compares_with_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 if all agree, 1 if not, with the first difference in the table and in the result file."""
    probe = PROBES["movmatrix-trans"]
    recording, output = tmp_path / "gpu.npz", tmp_path / "probes.json"
    command = ["probe", "--against", str(recording), "--filter", probe.name, "--output", str(output)]
    result = simulate(probe)
    write_recording(recording, {probe.name: result})
    assert main(command) == EXIT_PASS

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
