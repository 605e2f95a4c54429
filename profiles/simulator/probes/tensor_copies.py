"""Probes of TMA's tensor copies: which element of the tensor comes to which byte of shared memory, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from profiles.simulator.probes.async_statements import (
    barrier_setup,
    copy_wait,
    first_thread,
    load_barrier_wait,
)
from profiles.simulator.probes.probe import Output, Probe, Tensor
from profiles.simulator.probes.values import hashed_bytes

_ELEMENT_BYTES = {
    "u8": 1, "u16": 2, "f16": 2, "bf16": 2, "u32": 4, "s32": 4, "f32": 4, "tf32": 4, "f32.ftz": 4, "tf32.ftz": 4,
    "u64": 8,
}  # fmt: skip
_ALIGNMENT = 1024  # of each box: the longest period of a swizzle
_UNTOUCHED = b"\xa5"
_DONE = (Output("the barrier's phase is complete", "pred"),)

Coordinates = tuple[int, ...]


def tensor_copy_probes() -> list[Probe]:
    """All of them."""
    return [*_loads(), *_strided_loads(), *_filled_loads(), *_typed_loads(), *_stores(), *_reductions(), _multicast()]


def make_tensor(
    type_name: str,
    dimensions: Coordinates,
    box: Coordinates,
    *,
    swizzle: int = 0,
    element_strides: Coordinates | None = None,
    fill_nan: bool = False,
    content: bytes | None = None,
    written: bool = False,
) -> Tensor:
    """A tensor without gaps, but for rows that end at a multiple of 16 bytes; its elements are pseudo-random."""
    pitches = [-(-dimensions[0] * _ELEMENT_BYTES[type_name] // 16) * 16]
    for extent in dimensions[1:]:
        pitches.append(pitches[-1] * extent)
    return Tensor(
        content=content or hashed_bytes(pitches[-1], sum(dimensions) + 7),
        type_name=type_name,
        dimensions=dimensions,
        strides=tuple(pitches[:-1]),
        box=box,
        element_strides=element_strides,
        swizzle=swizzle,
        fill_nan=fill_nan,
        written=written,
    )


def _box_bytes(tensor: Tensor) -> int:
    steps = (1, *(tensor.element_strides or (1,) * len(tensor.box))[1:])
    counts = [-(-extent // step) for extent, step in zip(tensor.box, steps, strict=True)]
    return math.prod(counts) * _ELEMENT_BYTES[tensor.type_name]


def _slot_bytes(tensor: Tensor) -> int:
    return -(-_box_bytes(tensor) // _ALIGNMENT) * _ALIGNMENT


def _load(name: str, tensor: Tensor, corners: Sequence[Coordinates]) -> Probe:
    """Boxes at the corners, one behind the other."""
    slot, total = _slot_bytes(tensor), len(corners) * _slot_bytes(tensor)
    lines = [*barrier_setup(total, len(corners) * _box_bytes(tensor))]
    for index, corner in enumerate(corners):
        lines.append(f"add.u32 %place, %buffer, {index * slot};")
        opcode = f"cp.async.bulk.tensor.{len(corner)}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        lines.append(f"@%first {opcode} [%place], [%map0, {{{_listed(corner)}}}], [%barrier];")
    return Probe(
        name=f"tensor-load-{name}",
        target="sm_90",
        statements="\n".join([*lines, *load_barrier_wait()]),
        outputs=_DONE,
        shared=_UNTOUCHED * total + bytes(8),
        dump=total,
        tensors=(tensor,),
    )


def _listed(corner: Coordinates) -> str:
    return ", ".join(map(str, corner))


def _loads() -> Iterator[Probe]:
    for type_name in ("u8", "u16", "u32", "u64"):
        size = _ELEMENT_BYTES[type_name]
        inside, outside = (16 // size,), (-16 // size,)
        corners = [(0,), inside, (64 - 16 // size,), outside, (208,)]
        yield _load(f"1d-{type_name}", make_tensor(type_name, (64,), (32,)), corners)
        for swizzle in (0, 32, 64, 128):
            inner = (swizzle or 64) // size
            tensor = make_tensor(type_name, (inner + 16 // size, 20), (inner, 16), swizzle=swizzle)
            yield _load(f"2d-{type_name}-swizzle-{swizzle}", tensor, [(0, 0), (16 // size, 8), (-16 // size, -3)])
    uneven = make_tensor("u16", (13, 9), (16, 8))
    yield _load("2d-uneven", uneven, [(0, 0), (8, 4)])
    yield _load("3d", make_tensor("u16", (24, 6, 5), (16, 4, 3), swizzle=32), [(0, 0, 0), (8, 3, 3), (-8, -1, -1)])
    yield _load("4d", make_tensor("u16", (16, 4, 3, 3), (8, 3, 2, 2)), [(0, 0, 0, 0), (8, 2, 2, 2), (0, -1, 0, -1)])
    yield _load("5d", make_tensor("u16", (16, 3, 3, 2, 3), (8, 2, 2, 2, 2)), [(0, 0, 0, 0, 0), (8, 2, 1, 1, 2)])
    yield _load("3d-rows-outside", make_tensor("u32", (8, 4, 3), (8, 6, 2)), [(0, 0, 0), (0, 2, 2), (0, 5, 0)])


def _strided_loads() -> Iterator[Probe]:
    rows = make_tensor("u16", (16, 20), (16, 12), element_strides=(1, 2))
    yield _load("2d-every-second-row", rows, [(0, 0), (0, 3), (0, 14), (0, -3)])
    third = make_tensor("u16", (32, 20), (16, 11), element_strides=(1, 3), swizzle=32)
    yield _load("2d-every-third-row", third, [(0, 0), (8, 13)])
    yield _load(
        "3d-strided", make_tensor("u32", (8, 9, 7), (4, 6, 5), element_strides=(1, 3, 2)), [(0, 0, 0), (4, 4, 3)]
    )


def _filled_loads() -> Iterator[Probe]:
    for type_name in ("f16", "bf16", "f32"):
        tensor = make_tensor(type_name, (28, 6), (16, 4), fill_nan=True)
        yield _load(f"{type_name}-outside-is-nan", tensor, [(0, 0), (16, 4), (-8, -2), (104, 0)])


def _typed_loads() -> Iterator[Probe]:
    """Types that say how floats are changed on the way."""
    codes = np.array(
        [
            0x3F800000, 0x3F801000, 0x3F801001, 0x3F803000, 0x00000001, 0x807FFFFF, 0x7F800000, 0x7FC00001, 0x7F800001,
            0x7F7FFFFF, 0xBF80FFFF, 0x00800000, 0xFF7FF000, 0x3F7FFFFF, 0x80000000, 0x40490FDB, 0x00400000, 0x80002000,
            0x00001000, 0x00003000, 0x007FF000, 0x807FEFFF, 0xFFC12345, 0x00000FFF,
        ],
        "<u4",
    )  # fmt: skip
    for type_name in ("f32.ftz", "tf32", "tf32.ftz"):
        tensor = make_tensor(type_name, (24,), (24,), content=codes.tobytes())
        yield _load(f"as-{type_name.replace('.', '-')}", tensor, [(0,)])


def _store(name: str, tensor: Tensor, corners: Sequence[Coordinates], reduction: str = "") -> Probe:
    slot, total = _slot_bytes(tensor), len(corners) * _slot_bytes(tensor)
    rank = len(tensor.box)
    copy = (
        f"cp.reduce.async.bulk.tensor.{rank}d.global.shared::cta"
        if reduction
        else (f"cp.async.bulk.tensor.{rank}d.global.shared::cta")
    )
    opcode = f"{copy}{'.' + reduction if reduction else ''}.tile.bulk_group"
    lines = [*first_thread()]
    for index, corner in enumerate(corners):
        lines.append(f"add.u32 %place, %buffer, {index * slot};")
        lines.append(f"@%first {opcode} [%map0, {{{_listed(corner)}}}], [%place];")
    return Probe(
        name=name,
        target="sm_90",
        statements="\n".join([*lines, *copy_wait()]),
        shared=hashed_bytes(total, 400 + len(name)),
        tensors=(tensor,),
    )


def _stores() -> Iterator[Probe]:
    for type_name in ("u8", "u16", "u32"):
        size = _ELEMENT_BYTES[type_name]
        for swizzle in (0, 32, 64, 128):
            inner = (swizzle or 64) // size
            tensor = make_tensor(type_name, (inner + 16 // size, 40), (inner, 16), swizzle=swizzle, written=True)
            corners = [(0, 0), (32 // size, 18), (16 // size, 34)]
            yield _store(f"tensor-store-2d-{type_name}-swizzle-{swizzle}", tensor, corners)
    yield _store("tensor-store-1d", make_tensor("u16", (64,), (16,), written=True), [(8,), (32,), (56,), (72,)])
    deep = make_tensor("u16", (16, 3, 3, 2, 3), (8, 2, 2, 2, 2), written=True)
    yield _store("tensor-store-5d", deep, [(0, 0, 0, 0, 0), (8, 2, 1, 1, 2)])
    rows = make_tensor("u16", (16, 20), (16, 12), element_strides=(1, 2), written=True)
    yield _store("tensor-store-2d-every-second-row", rows, [(0, 1)])


def _reductions() -> Iterator[Probe]:
    for type_name, operations in (
        ("u32", ("add", "min", "max", "inc", "dec", "and", "or", "xor")),
        ("s32", ("add", "min", "max")),
    ):
        for operation in operations:
            tensor = make_tensor(type_name, (12, 10), (8, 4), written=True)
            yield _store(f"tensor-reduce-{operation}-{type_name}", tensor, [(0, 0), (8, 5)], operation)
    codes = {"f16": ("<f2", 2), "f32": ("<f4", 4)}
    for type_name, (dtype, size) in codes.items():
        content = (np.arange(16 * 8) % 23 - 11).astype(dtype).tobytes()
        tensor = make_tensor(type_name, (16, 8), (16, 8), content=content, written=True)
        numbers = (np.arange(16 * 8) % 7 * 0.5).astype(dtype).tobytes()
        probe = _store(f"tensor-reduce-add-{type_name}", tensor, [(0, 0)], "add")
        yield Probe(
            name=probe.name,
            target=probe.target,
            statements=probe.statements,
            shared=numbers.ljust(_ALIGNMENT, b"\0") if size * 128 <= _ALIGNMENT else numbers,
            tensors=probe.tensors,
        )


def _multicast() -> Probe:
    """Each of two blocks loads one half of the box for both."""
    tensor = make_tensor("u16", (64, 16), (64, 8), swizzle=128)
    slot = _slot_bytes(tensor)
    opcode = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
    lines = [
        *barrier_setup(2 * slot, 2 * slot, cluster=True),
        ".reg .b32 %row; .reg .b16 %mask;",
        "mov.b16 %mask, 3;",
        "shl.b32 %row, %rank, 3;",
        f"mad.lo.u32 %place, %rank, {slot}, %buffer;",
        f"@%first {opcode} [%place], [%map0, {{0, %row}}], [%barrier], %mask;",
        *load_barrier_wait(),
        "barrier.cluster.arrive;",
        "barrier.cluster.wait;",
    ]
    return Probe(
        name="tensor-load-multicast",
        target="sm_90a",
        statements="\n".join(lines),
        outputs=_DONE,
        blocks=2,
        cluster=2,
        shared=_UNTOUCHED * (2 * slot) + bytes(8),
        dump=2 * slot,
        tensors=(tensor,),
    )
