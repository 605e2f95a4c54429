"""TMA: which bytes tensor copies and bulk copies move, what they wait for, and what they refuse.

Expected contents are worked out in numpy from the PTX ISA's "Tensors" chapter: a box of elements at coordinates, of
which those outside the tensor read as zero and are not written, in rows of shared memory whose 16-byte chunks the
swizzle exchanges by the number of the 128-byte line.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Options, Outcome, launch_kernel, load_kernel
from profiles.simulator.tensor_map import TensorMap
from tests.profiles.simulator.memory_kernels import checks, kernel, launch, words

Array = npt.NDArray[Any]

BARRIER = 16384  # offset of the mbarrier behind the data
SHARED = BARRIER + 16
TYPES = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "f32": np.float32, "f16": np.float16}

SETUP = f"""
    setp.eq.u32 %p7, %r1, 0;
    mov.u32 %r20, s; add.u32 %r21, %r20, {BARRIER};
    @%p7 mbarrier.init.shared::cta.b64 [%r21], 1;
    @%p7 fence.proxy.async;
    bar.sync 0;
    @!%p7 bra WAIT;
"""
WAIT = """
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r21], 0;
    @!%p1 bra WAIT;
"""


@dataclass(frozen=True)
class Tensor:
    """A tensor map's description without the address; dimensions go from the innermost outwards."""

    type_name: str
    dimensions: Sequence[int]
    box: Sequence[int]
    swizzle: int = 0
    element_strides: Sequence[int] | None = None
    fill_nan: bool = False

    @property
    def element_bytes(self) -> int:
        """Of one element."""
        return np.dtype(TYPES[self.type_name]).itemsize

    @property
    def strides(self) -> list[int]:
        """Bytes; rows are padded to 16 bytes and 16 more."""
        rows = -(-self.dimensions[0] * self.element_bytes // 16) * 16 + 16
        return [int(rows * np.prod(self.dimensions[1:i], dtype=int)) for i in range(1, len(self.dimensions))]

    @property
    def steps(self) -> Sequence[int]:
        """Of the traversal; TMA has none in the innermost dimension."""
        return [1, *(self.element_strides or [1] * len(self.dimensions))[1:]]

    @property
    def extents(self) -> list[int]:
        """Elements of the box along each dimension."""
        return [-(-extent // step) for extent, step in zip(self.box, self.steps, strict=True)]

    @property
    def box_bytes(self) -> int:
        """Of the box in shared memory."""
        return int(np.prod(self.extents)) * self.element_bytes

    def memory_bytes(self) -> int:
        """Of the tensor in global memory."""
        if len(self.dimensions) == 1:
            return -(-self.dimensions[0] * self.element_bytes // 16) * 16
        return self.strides[-1] * self.dimensions[-1]

    def map_of(self, address: int) -> bytes:
        """The tensor map."""
        return TensorMap(
            address=address,
            type_name=self.type_name,
            dimensions=self.dimensions,
            strides=self.strides,
            box=self.box,
            swizzle=self.swizzle,
            element_strides=self.element_strides,
            fill_nan=self.fill_nan,
        ).encode()

    def places(self, coordinates: Sequence[int]) -> list[tuple[int, int | None]]:
        """Byte offset in shared memory, and in the tensor (None: outside), of every element of the box."""
        found = []
        ranges = [range(extent) for extent in reversed(self.extents)]
        for number, index in enumerate(itertools.product(*ranges)):
            position = [
                start + i * step for start, i, step in zip(coordinates, reversed(index), self.steps, strict=True)
            ]
            inside = all(0 <= p < extent for p, extent in zip(position, self.dimensions, strict=True))
            offset = position[0] * self.element_bytes
            offset += sum(p * stride for p, stride in zip(position[1:], self.strides, strict=True))
            found.append((swizzled(number * self.element_bytes, self.swizzle), offset if inside else None))
        return found


def swizzled(offset: int, span: int) -> int:
    """Where a byte lies: chunk c of a span becomes chunk c XOR the number of its 128-byte line, modulo the span."""
    if not span:
        return offset
    chunks = span // 16
    line, chunk, byte = offset // 128, offset // 16 % chunks, offset % 16
    return offset // span * span + (chunk ^ line % chunks) * 16 + byte


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


def random_bytes(size: int, seed: int = 1) -> Array:
    """Bytes that are no NaN in any format: below 0x70."""
    return np.random.default_rng(seed).integers(0, 0x70, size, dtype=np.uint8)


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


def expected_box(tensor: Tensor, coordinates: Sequence[int], values: Array, filling: int) -> Array:
    """Bytes of the box in shared memory."""
    box = np.zeros(tensor.box_bytes, np.uint8)
    size = tensor.element_bytes
    for target, source in tensor.places(coordinates):
        box[target : target + size] = filling if source is None else values[source : source + size]
    return box


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Tensor, list[int]]:
    """A tensor of 1 to 5 dimensions, and coordinates of a box that may lie outside of it on every side."""
    type_name = draw(st.sampled_from(["u8", "u16", "u32", "u64", "f32", "f16"]))
    size = np.dtype(TYPES[type_name]).itemsize
    rank = draw(st.integers(1, 5))
    swizzle = draw(st.sampled_from([0, 32, 64, 128]))
    inner = (swizzle or 16 * draw(st.integers(1, 9))) // size
    inner = inner if inner <= 256 else 256
    outer = [draw(st.integers(1, 4)) for _ in range(rank - 1)]
    steps = [1, *(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank - 1))]
    dimensions = [draw(st.integers(1, 80)), *(draw(st.integers(1, 5)) for _ in range(rank - 1))]
    coordinates = [draw(st.integers(-20, 60)), *(draw(st.integers(-3, 4)) for _ in range(rank - 1))]
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


def test_what_is_outside_can_be_nan() -> None:
    """For floating-point types, if the map says so."""
    _, box, values = load_box(Tensor("f32", (5, 3), (8, 4), fill_nan=True), (2, -1))

    found = box.view(np.float32).reshape(4, 8)
    inside = values.view(np.float32).reshape(3, -1)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[:, 3:]).all()
    np.testing.assert_array_equal(found[1:, :3], inside[:, 2:5])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors(), st.sampled_from(["", "add", "min", "max", "and", "or", "xor"]))
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


@pytest.mark.parametrize(
    ("type_name", "kind", "old", "new", "operation", "expected"),
    [
        ("f32", np.float32, 1.5, 2.25, "add", 3.75),
        ("f32", np.float32, 1e-40, 1e-40, "add", 0.0),  # additions of f32 flush subnormal numbers
        ("f16", np.float16, 1.0, 2.0**-11, "add", 1.0),  # halfway: to even
        ("f16", np.float16, -3.0, 2.0, "max", 2.0),
        ("f16", np.float16, np.nan, 2.0, "min", 2.0),
        ("s32", np.int32, -5, 3, "min", -5),
        ("u32", np.uint32, 7, 7, "inc", 0),
        ("u32", np.uint32, 6, 7, "inc", 7),
        ("u32", np.uint32, 0, 7, "dec", 7),
        ("u32", np.uint32, 8, 7, "dec", 7),
        ("u32", np.uint32, 5, 7, "dec", 4),
        ("u64", np.uint64, 2**63, 2**63 + 5, "add", 5),
    ],
)
def test_bulk_reductions(
    memory: DeviceMemory, type_name: str, kind: Any, old: Any, new: Any, operation: str, expected: Any
) -> None:
    """Rounding, wrapping and the odd counters of cp.reduce.async.bulk, element by element."""
    count = 32 // np.dtype(kind).itemsize
    target = memory.place(np.full(count, old, kind), name="target")
    source = memory.place(np.full(count, new, kind), name="source")
    suffix = (
        f"{operation}.noftz.{type_name}" if type_name == "f16" and operation == "add" else f"{operation}.{type_name}"
    )
    body = f"""
    mov.u32 %r20, s; setp.lt.u32 %p2, %r1, 8; @!%p2 bra DONE;
    shl.b32 %r3, %r1, 2; add.u32 %r4, %r20, %r3; add.u64 %rd3, %rd2, %rd10;
    ld.global.u32 %r5, [%rd3]; st.shared.u32 [%r4], %r5;
    bar.warp.sync 255; fence.proxy.async; setp.eq.u32 %p7, %r1, 0; @!%p7 bra DONE;
    cp.reduce.async.bulk.global.shared::cta.bulk_group.{suffix} [%rd1], [%r20], 32;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
DONE:"""

    outcome = launch(memory, kernel(body, 2, SHARED), target, source)

    assert outcome.findings == ()
    np.testing.assert_array_equal(target.array, np.full(count, expected, kind))


def bulk_load(size: str, source: str = "%rd2", target: str = "%r20", tail: str = "") -> str:
    """The first thread copies bytes from the second array to s."""
    return f"""{SETUP}
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {size};
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{tail} [{target}], [{source}], {size}, [%r21]
    """ + (", %rd2;" if tail else ";")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tail", ["", ".L2::cache_hint"])
def test_a_bulk_load_and_a_bulk_store_copy_bytes(memory: DeviceMemory, seed: int, tail: str) -> None:
    """Global to shared and back, whatever the schedule."""
    values = memory.place(random_bytes(4096), name="values")
    output = memory.place(np.zeros(4096, np.uint8), name="output")
    body = (
        bulk_load("4096", tail=tail)
        + WAIT
        + """
    @!%p7 bra DONE;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1+16], [%r20+16], 4080;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 16;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
DONE:"""
    )

    outcome = launch(memory, kernel(body, 2, SHARED), output, values, options=Options(check_races=True, seed=seed))

    assert outcome.findings == ()
    np.testing.assert_array_equal(output.array, values.array)


def test_reading_before_the_wait_is_found(memory: DeviceMemory) -> None:
    """Bytes of a load are in flight until its mbarrier was waited for."""
    values = memory.place(random_bytes(256), name="values")
    body = bulk_load("256") + "ld.shared.u32 %r5, [%r20];" + WAIT

    outcome = launch(memory, kernel(body, 2, SHARED), words(memory), values)

    assert set(checks(outcome)) == {"copy-in-flight"}


def store_and_overwrite(wait: str) -> str:
    """A store whose source is written again behind ``wait``."""
    return f"""
    mov.u32 %r20, s; shl.b32 %r3, %r1, 2; add.u32 %r4, %r20, %r3; st.shared.u32 [%r4], %r1;
    fence.proxy.async; bar.sync 0; setp.eq.u32 %p7, %r1, 0; @!%p7 bra DONE;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 64;
    cp.async.bulk.commit_group;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1+64], [%r20+64], 64;
    cp.async.bulk.commit_group;
    {wait}
    st.shared.u32 [%r20], 77;
DONE:"""


@pytest.mark.parametrize(
    ("wait", "found"),
    [
        ("cp.async.bulk.wait_group.read 1;", []),
        ("cp.async.bulk.wait_group 1;", []),
        ("cp.async.bulk.wait_group.read 0;", []),
        ("cp.async.bulk.wait_group.read 2;", ["copy-in-flight"]),
        ("", ["copy-in-flight"]),
    ],
)
def test_the_source_of_a_store_is_in_use_until_it_was_waited_for(
    memory: DeviceMemory, wait: str, found: list[str]
) -> None:
    """All groups but the latest N are over."""
    output = words(memory)

    outcome = launch(memory, kernel(store_and_overwrite(wait), 1, SHARED), output)

    assert checks(outcome) == found
    if not found:
        assert output.array.tolist() == list(range(32))


def test_generic_writes_need_a_proxy_fence_before_a_store(memory: DeviceMemory) -> None:
    """TMA reads through the asynchronous proxy."""
    text = store_and_overwrite("cp.async.bulk.wait_group 0;").replace("fence.proxy.async;", "")

    outcome = launch(memory, kernel(text, 1, SHARED), words(memory))

    assert set(checks(outcome)) == {"proxy-fence"}


REFUSED_COPIES = {
    "misaligned size": (bulk_load("24"), "misaligned"),
    "misaligned source": (bulk_load("32", source="%rd2+8"), "misaligned"),
    "misaligned destination": (bulk_load("32", target="%r20+8"), "misaligned"),
    "behind the source": (bulk_load("512"), "out-of-bounds"),
    "behind shared memory": (bulk_load("256", target="%r20+16384"), "out-of-bounds"),
    "no mbarrier": (bulk_load("256").replace("@%p7 mbarrier.init.shared::cta.b64 [%r21], 1;", ""), "mbarrier"),
}


@pytest.mark.parametrize("name", REFUSED_COPIES)
def test_bulk_copies_that_hardware_refuses(memory: DeviceMemory, name: str) -> None:
    """Each ends the launch with the finding that says why."""
    body, check = REFUSED_COPIES[name]
    values = memory.place(random_bytes(256), name="values")

    outcome = launch(memory, kernel(body + WAIT, 2, SHARED), words(memory), values)

    assert checks(outcome) == [check]


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
    "change",
    [
        {"address": 8},
        {"dimensions": (0, 4)},
        {"strides": (24,)},
        {"strides": (1 << 40,)},
        {"strides": ()},
        {"box": (257, 4)},
        {"box": (3, 4)},
        {"box": (64, 4), "swizzle": 128},
        {"element_strides": (1, 9)},
        {"swizzle": 48},
        {"type_name": "s8"},
        {"type_name": "u32", "fill_nan": True},
    ],
)
def test_maps_that_the_driver_refuses(change: dict[str, Any]) -> None:
    """The rules of cuTensorMapEncodeTiled (cuda.h)."""
    good: dict[str, Any] = {
        "address": 1024, "type_name": "f32", "dimensions": (16, 4), "strides": (64,), "box": (16, 4),
    }  # fmt: skip

    assert len(TensorMap(**good).encode()) == 128
    with pytest.raises(RoofgateError, match=r"tensor map|NaN|dimensions"):
        TensorMap(**{**good, **change})


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
