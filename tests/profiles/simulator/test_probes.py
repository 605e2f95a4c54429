"""Probes: the simulator still says what it said, and some of that is worked out by hand from the PTX ISA."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.errors import RoofgateError
from kernels.toolchain import find_cuda_tool
from profiles.simulator.probes.catalogue import all_probes, find_probes
from profiles.simulator.probes.compare import Status
from profiles.simulator.probes.expectations import FOLDER, against_expectation, read_expectations
from profiles.simulator.probes.kernel_text import kernel_text
from profiles.simulator.probes.probe import LANES
from profiles.simulator.probes.simulator_side import simulate

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


@pytest.fixture(scope="module")
def assembler() -> Path:
    """The assembler of the CUDA toolkit; skipped without it."""
    try:
        return find_cuda_tool("ptxas")
    except RoofgateError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("family", list(all_probes()))
def test_the_assembler_accepts_the_kernels(family: str, assembler: Path, tmp_path: Path) -> None:
    """The first and the last of a family: else, what is no PTX fails on a GPU only."""
    for probe in (all_probes()[family][0], all_probes()[family][-1]):
        text = tmp_path / "probe.ptx"
        text.write_text(kernel_text(probe))
        command = [str(assembler), "-arch=sm_90a", str(text), "-o", str(tmp_path / "probe.cubin")]
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
    """Both clamp the amount at the width; .s32 fills with the sign."""
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
    corners = [(0, 0), (4, 8), (-4, -3)]  # of x and y; the tensor has 36 by 20 elements
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


def small_floats(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of f16 codes."""
    return codes.view(np.float16).astype(np.float64)


def test_wgmma_reads_swizzled_rows_and_spreads_sums_over_lanes() -> None:
    """The f16 product with rows of 128 bytes, element by element; "Register fragments for wgmma", D of m64nNk16."""
    name = "wgmma-f16-k-major-128"
    shared = np.frombuffer(PROBES[name].shared, np.uint16)

    def factor(first_byte: int, row: int) -> npt.NDArray[Any]:
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
