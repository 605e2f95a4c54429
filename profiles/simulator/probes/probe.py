"""What a probe is: inputs, PTX statements and the outputs to store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiles.simulator.tensor_map import TensorMap

Words = npt.NDArray[np.uint64]
LANES = 32
WORD_BYTES = 8
BITS = {"pred": 1, "b16": 16, "b32": 32, "b64": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far apart two results may be that are still equal: any one bound suffices.

    ``type_name`` says what the low bits of a word are: "f16", "bf16" (of those also pairs), "f32" or "f64".
    """

    type_name: str
    reason: str
    ulp: int = 0  # units in the last place of the first result
    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """A register that every thread stores as one 64-bit word, zero-extended. "%d" in the statement stands for it."""

    label: str
    kind: str  # "pred", "b16", "b32", "b64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An array in global memory that a tensor map describes, as cuTensorMapEncodeTiled takes it; see TensorMap."""

    content: bytes
    type_name: str
    dimensions: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    element_strides: tuple[int, ...] | None = None
    swizzle: int = 0
    fill_nan: bool = False
    written: bool = False  # whether its content is part of the result

    def at(self, address: int) -> TensorMap:
        """The map of this tensor when it lies at an address."""
        return TensorMap(
            address=address,
            type_name=self.type_name,
            dimensions=self.dimensions,
            strides=self.strides,
            box=self.box,
            element_strides=self.element_strides,
            swizzle=self.swizzle,
            fill_nan=self.fill_nan,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """One kernel.

    The statements see, besides what they declare: ``%a0``, ``%a1``, ... (the inputs), ``%d0``, ... (the outputs),
    ``%lane`` (number of the thread in its block), ``%buffer`` (shared address of ``shared``), ``%global`` (address of
    this block's copy of ``scratch``) and ``%map0``, ... (generic addresses of the tensor maps).
    """

    name: str
    target: str  # "sm_80", "sm_89", "sm_90", "sm_90a"
    statements: str
    outputs: tuple[Output, ...] = ()
    inputs: tuple[tuple[str, Words], ...] = ()  # kind, and a word for each thread of the grid
    block: int = LANES  # threads
    blocks: int = 1
    cluster: int = 1
    shared: bytes = b""  # what every block's shared memory holds at first; a multiple of 8 bytes
    dump: int = 0  # so many bytes of it are stored at the end
    scratch: bytes = b""  # global memory that the statements may change, and that is part of the result
    tensors: tuple[Tensor, ...] = ()
    tolerance: Tolerance | None = None  # None: the same bits

    @property
    def threads(self) -> int:
        """Of the grid."""
        return self.block * self.blocks

    @property
    def compute_capability(self) -> tuple[int, int]:
        """What a GPU must have at least, or exactly for a target that ends with "a"."""
        digits = self.target.removeprefix("sm_").rstrip("a")
        return int(digits[:-1]), int(digits[-1])

    @property
    def input_bytes(self) -> bytes:
        """All inputs, then the first content of shared memory."""
        return b"".join(words.astype("<u8").tobytes() for _, words in self.inputs) + self.shared

    @property
    def sections(self) -> Sequence[tuple[str, int]]:
        """What the words of the result are, in order: a label and a number of words."""
        return [
            *((output.label, self.threads) for output in self.outputs),
            *(
                (f"shared memory of block {block}", self.dump // WORD_BYTES)
                for block in range(self.blocks)
                if self.dump
            ),
            *((("global memory", len(self.scratch) // WORD_BYTES),) if self.scratch else ()),
            *(
                (f"tensor {index}", len(tensor.content) // WORD_BYTES)
                for index, tensor in enumerate(self.tensors)
                if tensor.written
            ),
        ]

    @property
    def stored_words(self) -> int:
        """Words that the kernel itself stores: outputs and shared memory."""
        return len(self.outputs) * self.threads + self.blocks * (self.dump // WORD_BYTES)


Results = Mapping[str, Words]


def place_of(probe: Probe, index: int) -> str:
    """Words for one word of a result: "cvt.rz.f16.f32, thread 5"."""
    for label, count in probe.sections:
        if index < count:
            return f"{label}, thread {index}" if count == probe.threads else f"{label}, byte {index * WORD_BYTES}"
        index -= count
    raise IndexError(f"{probe.name} has no result word {index}")
