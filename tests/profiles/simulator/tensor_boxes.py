"""Boxes of tensors, and kernels that move bytes with TMA.

Contents are worked out in numpy from the PTX ISA's "Tensors" chapter: a box of elements at coordinates, of which those
outside the tensor read as zero and are not written, in rows of shared memory whose 16-byte chunks the swizzle exchanges
by the number of the 128-byte line.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles.simulator.tensor_map import TensorMap

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


def random_bytes(size: int, seed: int = 1) -> Array:
    """Bytes that are no NaN in any format: below 0x70."""
    return np.random.default_rng(seed).integers(0, 0x70, size, dtype=np.uint8)


def expected_box(tensor: Tensor, coordinates: Sequence[int], values: Array, filling: int) -> Array:
    """Bytes of the box in shared memory."""
    box = np.zeros(tensor.box_bytes, np.uint8)
    size = tensor.element_bytes
    for target, source in tensor.places(coordinates):
        box[target : target + size] = filling if source is None else values[source : source + size]
    return box
