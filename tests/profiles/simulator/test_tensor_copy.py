"""Tensor copies: which bytes they move, and what they refuse. Expectations are those of :mod:`.tensor_boxes`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Options, Outcome, launch_kernel, load_kernel
from profiles.simulator.tensor_map import TensorMap
from tests.profiles.simulator.memory_kernels import checks, kernel, launch, words
from tests.profiles.simulator.tensor_boxes import (
    SETUP,
    SHARED,
    TYPES,
    WAIT,
    Tensor,
    expected_box,
    random_bytes,
)

Array = npt.NDArray[Any]


def load(rank: int, coordinates: Sequence[int], size: int) -> str:
    """The first thread loads a box to s and everybody waits."""
    numbers = ", ".join(map(str, coordinates))
    return f"""{SETUP}
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {size};
    cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
        [%r20], [%rd2, {{{numbers}}}], [%r21];
    {WAIT}"""


def copy_out(size: int) -> str:
    """All threads copy the first bytes of s to the output, 16 at a time."""
    return f"""
    mov.u32 %r10, %r1;
COPY:
    shl.b32 %r11, %r10, 4; setp.ge.u32 %p2, %r11, {size}; @%p2 bra END;
    add.u32 %r12, %r20, %r11; ld.shared.v4.u32 {{%r13, %r14, %r15, %r16}}, [%r12];
    cvt.u64.u32 %rd11, %r11; add.u64 %rd12, %rd1, %rd11; st.global.v4.u32 [%rd12], {{%r13, %r14, %r15, %r16}};
    add.u32 %r10, %r10, 32; bra COPY;
END:"""


def place_map(memory: DeviceMemory, tensor: Tensor, values: DeviceArray) -> DeviceArray:
    """The tensor map in global memory."""
    return memory.place(np.frombuffer(tensor.map_of(values.address), np.uint8), name="map")


def load_box(tensor: Tensor, coordinates: Sequence[int], seed: int = 0) -> tuple[Outcome, Array, Array]:
    """Outcome, bytes of the box in shared memory, and bytes of the tensor."""
    with DeviceMemory() as memory:
        values = memory.place(random_bytes(tensor.memory_bytes()), name="tensor")
        output = memory.place(np.zeros(tensor.box_bytes, np.uint8), name="output")
        text = kernel(load(len(tensor.box), coordinates, tensor.box_bytes) + copy_out(tensor.box_bytes), 2, SHARED)
        options = Options(check_races=True, seed=seed)
        outcome = launch(memory, text, output, place_map(memory, tensor, values), options=options)
        return outcome, output.array, values.array


@st.composite
def tensors(draw: st.DrawFn, least: int = -3) -> tuple[Tensor, list[int]]:
    """A tensor of 1 to 5 dimensions, and coordinates of a box that may lie outside of it on every side.

    The innermost coordinate is a multiple of 16 bytes; ``least`` is the smallest coordinate.
    """
    type_name = draw(st.sampled_from(["u8", "u16", "u32", "u64", "f32", "f16"]))
    size = np.dtype(TYPES[type_name]).itemsize
    rank = draw(st.integers(1, 5))
    swizzle = draw(st.sampled_from([0, 32, 64, 128]))
    inner = (swizzle or 16 * draw(st.integers(1, 9))) // size
    inner = inner if inner <= 256 else 256
    outer = [draw(st.integers(1, 4)) for _ in range(rank - 1)]
    steps = [1, *(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank - 1))]
    dimensions = [draw(st.integers(1, 80)), *(draw(st.integers(1, 5)) for _ in range(rank - 1))]
    column = 16 // size * draw(st.integers(least, 8))
    coordinates = [column, *(draw(st.integers(least, 4)) for _ in range(rank - 1))]
    return Tensor(type_name, dimensions, [inner, *outer], swizzle, steps), coordinates


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors())
def test_a_load_brings_the_box(case: tuple[Tensor, list[int]]) -> None:
    """Every element at its swizzled place, zeros outside the tensor; the bytes are counted; nothing to report."""
    tensor, coordinates = case

    outcome, box, values = load_box(tensor, coordinates)

    assert outcome.findings == ()
    np.testing.assert_array_equal(box, expected_box(tensor, coordinates, values, 0))
    moved = [counters.bytes for counters in outcome.launches[0].counters if counters.bytes]
    assert moved == [tensor.box_bytes]


@pytest.mark.parametrize("swizzle", [32, 64, 128])
def test_the_swizzle_follows_the_address(swizzle: int) -> None:
    """The figure of the PTX ISA for 16-bit elements: line 1 of a 128-byte span begins with its chunk 1."""
    tensor = Tensor("u16", (swizzle // 2, 16), (swizzle // 2, 16), swizzle)

    _, box, values = load_box(tensor, (0, 0))

    rows = values.reshape(16, -1)[:, :swizzle]
    lines = box.reshape(16, swizzle // 16, 16)
    for row, chunk in itertools.product(range(16), range(swizzle // 16)):
        line = row * swizzle // 128
        np.testing.assert_array_equal(
            lines[row, chunk ^ line % (swizzle // 16)], rows[row, 16 * chunk : 16 * chunk + 16]
        )


@pytest.mark.parametrize("type_name", ["f16", "f32"])
def test_what_is_outside_can_be_nan(type_name: str) -> None:
    """If the map says so: the 16 bits 7ff7 over and over, of every floating-point type (seen on an H100)."""
    size = np.dtype(TYPES[type_name]).itemsize
    _, box, values = load_box(Tensor(type_name, (5, 3), (16, 4), fill_nan=True), (-16 // size, -1))

    found = box.view(np.uint16).reshape(4, 16, size // 2)
    inside = values.view(np.uint16).reshape(3, -1, size // 2)
    columns = slice(16 // size, 16 // size + 5)
    np.testing.assert_array_equal(found[1:, columns], inside[:, :5])
    assert np.isnan(np.array([0x7FF77FF7], np.uint32).view(np.float32)).all()
    assert set(np.delete(found[1:], columns, axis=1).ravel().tolist()) | set(found[0].ravel().tolist()) == {0x7FF7}


@pytest.mark.parametrize("type_name", ["tf32", "tf32.ftz"])
def test_loads_of_tf32_round_to_the_nearest(type_name: str) -> None:
    """To 10 bits of mantissa, ties to even; subnormal numbers stay in either type, NaN is 7fffe000 (on an H100)."""
    codes = [0x3F801000, 0x3F803000, 0x3F801001, 0xFF7FF000, 0x00400000, 0x80002000, 0x00001000, 0xFFC12345]
    rounded = [0x3F800000, 0x3F804000, 0x3F802000, 0xFF800000, 0x00400000, 0x80002000, 0x00000000, 0x7FFFE000]
    with DeviceMemory() as memory:
        values = memory.place(np.array(codes, np.uint32), name="tensor")
        output = memory.place(np.zeros(8, np.uint32), name="output")
        description = TensorMap(address=values.address, type_name=type_name, dimensions=(8,), strides=(), box=(8,))
        place = memory.place(np.frombuffer(description.encode(), np.uint8), name="map")
        launch(memory, kernel(load(1, (0,), 32) + copy_out(32), 2, SHARED), output, place)
        assert output.array.tolist() == rounded


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors(least=0), st.sampled_from(["", "add", "min", "max", "and", "or", "xor"]))
def test_a_store_writes_what_is_inside(case: tuple[Tensor, list[int]], reduction: str) -> None:
    """A box goes back to where it belongs; elements outside the tensor, and the padding, stay as they were."""
    tensor, coordinates = case
    if reduction:
        tensor = Tensor("u32" if tensor.element_bytes == 4 else "u64", tensor.dimensions, (
            tensor.box[0] * tensor.element_bytes // (4 if tensor.element_bytes == 4 else 8), *tensor.box[1:]
        ), tensor.swizzle, tensor.element_strides)  # fmt: skip

    outcome, before, after, box = store_box(tensor, coordinates, reduction)

    expected = before.copy()
    kind: Any = TYPES[tensor.type_name]
    for source, target in tensor.places(coordinates):
        if target is None:
            continue
        place = slice(target, target + tensor.element_bytes)
        old = before[place].view(kind)
        new = box[source : source + tensor.element_bytes].view(kind)
        expected[place] = np.atleast_1d(REDUCTIONS[reduction](old, new)).astype(kind).view(np.uint8)
    assert outcome.findings == ()
    np.testing.assert_array_equal(after, expected)


REDUCTIONS: dict[str, Any] = {
    "": lambda _, new: new,
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def store_box(
    tensor: Tensor, coordinates: Sequence[int], reduction: str, wait: str = "cp.async.bulk.wait_group 0;"
) -> tuple[Outcome, Array, Array, Array]:
    """Outcome, the tensor's bytes before and after, and the box's."""
    rank = len(tensor.box)
    numbers = ", ".join(map(str, coordinates))
    name = f"cp.reduce.async.bulk.tensor.{rank}d" if reduction else f"cp.async.bulk.tensor.{rank}d"
    operation = f".{reduction}" if reduction else ""
    body = f"""
    mov.u32 %r20, s; mov.u32 %r10, %r1; setp.eq.u32 %p7, %r1, 0;
COPY:
    shl.b32 %r11, %r10, 4; setp.ge.u32 %p2, %r11, {tensor.box_bytes}; @%p2 bra END;
    cvt.u64.u32 %rd11, %r11; add.u64 %rd12, %rd1, %rd11; ld.global.v4.u32 {{%r13, %r14, %r15, %r16}}, [%rd12];
    add.u32 %r12, %r20, %r11; st.shared.v4.u32 [%r12], {{%r13, %r14, %r15, %r16}};
    add.u32 %r10, %r10, 32; bra COPY;
END:
    fence.proxy.async.shared::cta;
    bar.sync 0;
    @!%p7 bra DONE;
    {name}.global.shared::cta{operation}.tile.bulk_group [%rd2, {{{numbers}}}], [%r20];
    cp.async.bulk.commit_group;
    {wait}
DONE:"""
    with DeviceMemory() as memory:
        values = memory.place(random_bytes(tensor.memory_bytes(), 2), name="tensor")
        box = memory.place(random_bytes(tensor.box_bytes, 3), name="box")
        before = values.array.copy()
        outcome = launch(memory, kernel(body, 2, SHARED), box, place_map(memory, tensor, values))
        return outcome, before, values.array, box.array


def run_with_map(memory: DeviceMemory, description: bytes, body: str) -> Outcome:
    """Launch with the map in global memory."""
    return launch(memory, kernel(body, 2, SHARED), words(memory), memory.place(np.frombuffer(description, np.uint8)))


def test_tensor_copies_that_hardware_refuses(memory: DeviceMemory) -> None:
    """What is no tensor map, one of another rank, and a destination that is not aligned to 128 bytes."""
    tensor = Tensor("u32", (16, 16), (16, 16))
    values = memory.place(random_bytes(tensor.memory_bytes()), name="tensor")
    good = tensor.map_of(values.address)

    no_map = run_with_map(memory, bytes(128), load(2, (0, 0), 1024))
    rank = run_with_map(memory, good, load(3, (0, 0, 0), 1024))
    place = run_with_map(memory, good, load(2, (0, 0), 1024).replace("[%r20]", "[%r20+64]"))

    assert [checks(outcome) for outcome in (no_map, rank, place)] == [["tensor-copy"]] * 3


@pytest.mark.parametrize("coordinates", [(2, 0), (-1, 0), (7, 3)])
def test_the_innermost_coordinate_is_a_multiple_of_16_bytes(coordinates: tuple[int, int]) -> None:
    """PTX does not say so, but an H100 ends the kernel with an illegal instruction; for loads and for stores."""
    tensor = Tensor("u32", (32, 16), (16, 4))

    loading, *_ = load_box(tensor, coordinates)
    storing, *_ = store_box(tensor, coordinates, "")
    assert (checks(loading), checks(storing)) == (["tensor-copy"], ["tensor-copy"])
    assert "multiple of 16 bytes" in loading.findings[0].message


@pytest.mark.parametrize("reduction", ["", "add"])
@pytest.mark.parametrize("coordinates", [(-4, 0), (0, -1), (-32, -8)])
def test_stores_do_not_begin_before_the_tensor(coordinates: tuple[int, int], reduction: str) -> None:
    """Where loads may: an H100 ends the kernel with an illegal instruction."""
    outcome, before, after, _ = store_box(Tensor("u32", (32, 16), (16, 4)), coordinates, reduction)

    assert checks(outcome) == ["tensor-copy"]
    assert "negative" in outcome.findings[0].message
    np.testing.assert_array_equal(before, after)


def test_a_map_can_be_a_kernel_parameter(memory: DeviceMemory) -> None:
    """A __grid_constant__ parameter: its generic address comes from cvta.param."""
    tensor = Tensor("u32", (32,), (32,))
    values = memory.place(random_bytes(128), name="tensor")
    text = kernel(load(1, (0,), 128) + copy_out(128), 2, SHARED)
    text = text.replace(".param .u64 a2", ".param .align 64 .b8 a2[128]").replace(
        "ld.param.u64 %rd2, [a2];", "mov.b64 %rd30, a2; cvta.param.u64 %rd2, %rd30;"
    )
    output = words(memory)

    outcome = launch_kernel(
        text,
        "k",
        grid=(1, 1, 1),
        block=(32, 1, 1),
        arguments=[output, tensor.map_of(values.address)],
        memory=memory,
        options=Options(check_races=True),
    )

    assert outcome.findings == ()
    np.testing.assert_array_equal(output.array.view(np.uint8), values.array)


@pytest.mark.parametrize(
    "text",
    [
        "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [s], [%rd1, {0}], [s];",
        "tensormap.replace.tile.rank.global.b1024.b32 [%rd1], 3;",
        "cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%rd1], [%r20], 16, %h1;",
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r20], [%rd1, {0}], [%r21];",
    ],
)
def test_unknown_forms_are_refused(text: str) -> None:
    """im2col, maps that kernels change, byte masks, and wrong coordinates."""
    with pytest.raises(LoweringError):
        load_kernel(kernel(text, shared=64), "k")


def test_prefetches_do_nothing(memory: DeviceMemory) -> None:
    """They are hints to caches, which the simulator does not have."""
    body = """
    prefetch.tensormap [%rd1];
    cp.async.bulk.prefetch.L2.global [%rd1], 64;
    cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%rd1, {0, 0}];"""

    assert launch(memory, kernel(body), words(memory)).findings == ()
