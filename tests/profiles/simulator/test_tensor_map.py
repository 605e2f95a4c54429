"""Tensor maps: what the driver's call refuses, and that Python and C++ encode the same bytes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from kernels.toolchain import find_cxx
from profiles.simulator.runtime_build import SOURCE_FOLDER
from profiles.simulator.tensor_map import TENSOR_MAP_BYTES, TensorMap

CUDA_INVALID_VALUE = 1
CUDA_NOT_SUPPORTED = 801
# CUtensorMapDataType and CUtensorMapSwizzle of cuda.h.
TYPES = ("u8", "u16", "u32", "s32", "u64", "s64", "f16", "f32", "f64", "bf16", "f32.ftz", "tf32", "tf32.ftz")
SWIZZLES = (0, 32, 64, 128)

# Reads the arguments of cuTensorMapEncodeTiled from lines of numbers; answers with its result and the bytes.
PROGRAM = r"""
#include <cstdio>
#include <cstring>
#include "tensor_map.h"
using namespace roofgate::sim;
int main() {
  unsigned long long address, dimensions[5], strides[4];
  unsigned rank, box[5], steps[5];
  int type, interleave, swizzle, promotion, fill;
  while (std::scanf("%d %u %llu", &type, &rank, &address) == 3) {
    uint64_t wide[9] = {};
    for (unsigned i = 0; i < rank; ++i) std::scanf("%llu %u %u", &dimensions[i], &box[i], &steps[i]);
    for (unsigned i = 0; i + 1 < rank; ++i) std::scanf("%llu", &strides[i]);
    for (unsigned i = 0; i < rank; ++i) wide[i] = dimensions[i];
    for (unsigned i = 0; i + 1 < rank; ++i) wide[5 + i] = strides[i];
    std::scanf("%d %d %d %d", &interleave, &swizzle, &promotion, &fill);
    TensorMapBytes map = {};
    std::printf("%d ", encode_tensor_map(&map, type, rank, address, wide, wide + 5, box, steps, interleave, swizzle,
                                         promotion, fill));
    for (std::byte byte : map.bytes) std::printf("%02x", static_cast<unsigned>(byte));
    std::printf("\n");
    std::fflush(stdout);
  }
}
"""


@dataclass(frozen=True)
class Encoder:
    """The C++ encoder as a process."""

    process: subprocess.Popen[str]

    def __call__(self, arguments: dict[str, Any], **enumerations: int) -> tuple[int, bytes]:
        """Status and bytes."""
        rank = len(arguments["dimensions"])
        steps = arguments.get("element_strides") or [1] * rank
        per_dimension = [
            number
            for numbers in zip(arguments["dimensions"], arguments["box"], steps, strict=True)
            for number in numbers
        ]
        numbers = [
            enumerations.get("type", TYPES.index(arguments["type_name"])),
            rank,
            arguments["address"],
            *per_dimension,
            *arguments["strides"],
            enumerations.get("interleave", 0),
            enumerations.get("swizzle", SWIZZLES.index(arguments["swizzle"])),
            enumerations.get("promotion", 0),
            enumerations.get("fill", int(arguments["fill_nan"])),
        ]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, numbers)) + "\n")
        self.process.stdin.flush()
        status, data = self.process.stdout.readline().split()
        return int(status), bytes.fromhex(data)


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The encoder of the run-time, compiled by itself."""
    folder: Path = tmp_path_factory.mktemp("encoder")
    (folder / "main.cpp").write_text(PROGRAM)
    program = folder / "encoder"
    sources = [folder / "main.cpp", SOURCE_FOLDER / "tensor_map_encoding.cpp"]
    subprocess.run([find_cxx(), "-std=c++20", f"-I{SOURCE_FOLDER}", *sources, "-o", program], check=True)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Encoder(process)
        assert process.stdin is not None
        process.stdin.close()


GOOD: dict[str, Any] = {
    "address": 1024, "type_name": "f32", "dimensions": (16, 4), "strides": (64,), "box": (16, 4), "swizzle": 0,
    "fill_nan": False,
}  # fmt: skip


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly legal; each rule is broken now and then."""
    rank = draw(st.integers(1, 5))

    def some(usual: st.SearchStrategy[int], unusual: list[int], count: int) -> list[int]:
        rare = st.sampled_from([0] * 15 + [1]).flatmap(lambda odd: st.sampled_from(unusual) if odd else usual)
        return draw(st.lists(rare, min_size=count, max_size=count))

    return {
        "address": some(st.integers(1, 1000).map(lambda number: 16 * number), [8, 24], 1)[0],
        "type_name": draw(st.sampled_from(TYPES)),
        "dimensions": some(st.integers(1, 1 << 32), [0, (1 << 32) + 1], rank),
        "strides": some(st.integers(0, 1 << 30).map(lambda number: 16 * number), [24, 1 << 40], rank - 1),
        "box": some(st.sampled_from([16, 32, 64, 128, 256]), [0, 3, 257], rank),
        "element_strides": some(st.integers(1, 8), [0, 9], rank),
        "swizzle": draw(st.sampled_from(SWIZZLES)),
        "fill_nan": draw(st.booleans()),
    }


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(description=descriptions())
def test_both_encoders_agree(encode: Encoder, description: dict[str, Any]) -> None:
    """On what is refused and on every byte of what is not."""
    status, data = encode(description)

    try:
        expected = TensorMap(**description).encode()
    except RoofgateError:
        assert status == CUDA_INVALID_VALUE
    else:
        assert (status, data) == (0, expected)


@pytest.mark.parametrize(
    "change",
    [
        {"address": 8},
        {"dimensions": (0, 4)},
        {"strides": (24,)},
        {"strides": (1 << 40,)},
        {"box": (257, 4)},
        {"box": (3, 4)},
        {"box": (64, 4), "swizzle": 128},
        {"element_strides": (1, 9)},
        {"type_name": "u32", "fill_nan": True},
    ],
)
def test_what_the_driver_refuses(encode: Encoder, change: dict[str, Any]) -> None:
    """The rules of cuTensorMapEncodeTiled (cuda.h), one by one."""
    assert encode(GOOD)[0] == 0
    assert encode({**GOOD, **change}) == (CUDA_INVALID_VALUE, bytes(TENSOR_MAP_BYTES))
    with pytest.raises(RoofgateError):
        TensorMap(**{**GOOD, **change})


@pytest.mark.parametrize(
    "enumerations",
    [{"type": 16}, {"type": -1}, {"interleave": 3}, {"swizzle": 7}, {"promotion": 4}, {"fill": 2}, {"interleave": 1}],
)
def test_numbers_that_stand_for_nothing(encode: Encoder, enumerations: dict[str, int]) -> None:
    """The last one: interleaved tensors have at least three dimensions."""
    assert encode(GOOD, **enumerations)[0] == CUDA_INVALID_VALUE


@pytest.mark.parametrize("enumerations", [{"type": 13}, {"swizzle": 4}])
def test_what_is_legal_but_not_modelled(encode: Encoder, enumerations: dict[str, int]) -> None:
    """Packed types and the swizzles of later architectures."""
    assert encode(GOOD, **enumerations)[0] == CUDA_NOT_SUPPORTED


@pytest.mark.parametrize("change", [{"swizzle": 48}, {"type_name": "s8"}, {"strides": ()}, {"dimensions": ()}])
def test_what_only_python_can_get_wrong(change: dict[str, Any]) -> None:
    """Names, and counts that do not fit each other."""
    with pytest.raises(RoofgateError):
        TensorMap(**{**GOOD, **change})
