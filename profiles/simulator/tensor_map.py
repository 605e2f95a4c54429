"""Tensor maps as the simulator's TMA reads them: what cuTensorMapEncodeTiled gives to host code, for Python.

A CUDA program makes its maps with the driver's call, which the simulator answers itself; this is for kernels that are
launched from Python. The bytes are the simulator's own (runtime/tensor_map.h); a GPU would not understand them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kernels.errors import RoofgateError

TENSOR_MAP_BYTES = 128
TENSOR_MAP_ALIGNMENT = 64

_MAGIC = 0x3150414D54474652
_MAX_RANK = 5
_LAYOUT = struct.Struct("<QQ5Q4Q5H5BBBBB")

# CUtensorMapDataType, and bytes of an element.
_TYPES = {
    "u8": (0, 1), "u16": (1, 2), "u32": (2, 4), "s32": (3, 4), "u64": (4, 8), "s64": (5, 8), "f16": (6, 2),
    "f32": (7, 4), "f64": (8, 8), "bf16": (9, 2), "f32.ftz": (10, 4), "tf32": (11, 4), "tf32.ftz": (12, 4),
}  # fmt: skip
_FLOATING = {"f16", "f32", "f64", "bf16", "f32.ftz", "tf32", "tf32.ftz"}
_SWIZZLES = (0, 32, 64, 128)
_GRANULE = 16  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMap:
    """A tensor in global memory and the box of it that one copy moves. Dimensions go from the innermost outwards.

    Raises:
        RoofgateError: for what cuTensorMapEncodeTiled would refuse.
    """

    address: int
    type_name: str  # "bf16", ...
    dimensions: Sequence[int]  # elements
    strides: Sequence[int]  # bytes, of all dimensions but the first
    box: Sequence[int]  # elements that a copy traverses
    element_strides: Sequence[int] | None = None  # of the traversal; by default all 1
    swizzle: int = 0  # bytes of its span: 0, 32, 64 or 128
    fill_nan: bool = False  # outside the tensor: NaN instead of zero

    def __post_init__(self) -> None:
        if self.type_name not in _TYPES or self.swizzle not in _SWIZZLES:
            raise RoofgateError(
                f"tensor map of type {self.type_name!r} with swizzle {self.swizzle}: expected one of "
                f"{', '.join(_TYPES)} and of {', '.join(map(str, _SWIZZLES))}"
            )
        if self.fill_nan and self.type_name not in _FLOATING:
            raise RoofgateError(f"elements of type {self.type_name} cannot be filled with NaN; leave out fill_nan")
        self._check_shape()

    def _check_shape(self) -> None:
        rank = len(self.dimensions)
        steps = self._steps()
        if not 1 <= rank <= _MAX_RANK or (len(self.strides), len(self.box), len(steps)) != (rank - 1, rank, rank):
            raise RoofgateError(f"{rank} dimensions: expected 1 to 5, with one stride less and as many box extents")
        inner = self.box[0] * _TYPES[self.type_name][1]
        rules = {
            "the address must be a multiple of 16": self.address % _GRANULE == 0,
            "dimensions must be from 1 to 2^32": all(1 <= extent <= 1 << 32 for extent in self.dimensions),
            "strides must be multiples of 16 below 2^40": all(
                0 <= stride < 1 << 40 and stride % _GRANULE == 0 for stride in self.strides
            ),
            "box extents must be from 1 to 256": all(1 <= extent <= 256 for extent in self.box),
            "element strides must be from 1 to 8": all(1 <= step <= 8 for step in steps),
            "a row of the box must be a multiple of 16 bytes": inner % _GRANULE == 0,
            "a row of the box must not be longer than the swizzle's span": not self.swizzle or inner <= self.swizzle,
        }
        for rule, holds in rules.items():
            if not holds:
                raise RoofgateError(f"tensor map: {rule}; got {self}")

    def _steps(self) -> Sequence[int]:
        return self.element_strides or [1] * len(self.dimensions)

    def encode(self) -> bytes:
        """The 128 bytes, to be placed at a multiple of 64."""
        steps = [1, *self._steps()[1:]]  # the driver ignores the first
        packed = _LAYOUT.pack(
            _MAGIC,
            self.address,
            *_padded(self.dimensions, _MAX_RANK),
            *_padded(self.strides, _MAX_RANK - 1),
            *_padded(self.box, _MAX_RANK),
            *_padded(steps, _MAX_RANK),
            _TYPES[self.type_name][0],
            len(self.dimensions),
            self.swizzle,
            int(self.fill_nan),
        )
        return packed.ljust(TENSOR_MAP_BYTES, b"\0")


def _padded(values: Sequence[int], count: int) -> list[int]:
    return [*values, *[0] * (count - len(values))]
