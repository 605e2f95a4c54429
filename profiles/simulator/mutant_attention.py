"""Attention launches that tell mutants apart where plain ones cannot: other strides, other magnitudes, no keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from perf.model import Case
from profiles.simulator.attention_case import PlacedAttention, check_attention, place_attention
from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.simulated_library import SimulatedLibrary

# Q is multiplied by 2^7, which bf16 and fp16 keep exactly. Scores then lie hundreds apart: whoever subtracts anything
# but the row's maximum before exponentiating gets infinities.
_LARGER_EXPONENT = 7
_MANTISSA_BITS = {"bf16": 7, "fp16": 10}


class Special(StrEnum):
    """What is unusual."""

    INTERLEAVED = "heads interleaved"  # [batch, seqlen, heads, head_dim] in memory
    LARGE_SCORES = "large scores"
    NO_KEYS = "without keys"


@dataclass(frozen=True, slots=True)
class SpecialAttention:
    """``roofgate_attention_fwd`` on unusual inputs; those of NO_KEYS are without the keys of the case."""

    case: Case
    special: Special

    def __str__(self) -> str:
        return f"{self.case.name}, {self.special.value}"


def run_special(library: SimulatedLibrary, launch: SpecialAttention) -> str:
    """Call the library; returns what is wrong with the answer, empty if it is right.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or the launch fails.
    """
    placed = place_attention(launch.case, library.memory)
    if launch.special is Special.NO_KEYS:
        return _run_without_keys(library, placed)
    if launch.special is Special.INTERLEAVED:
        placed = _interleaved(placed, library.memory)
    else:
        _enlarge(placed)
    library.attention_fwd(placed.params())
    accuracy = check_attention(placed)
    return "" if accuracy.is_right else f"O is off by up to {accuracy.o_error:.3g} from float64"


def _run_without_keys(library: SimulatedLibrary, placed: PlacedAttention) -> str:
    params = placed.params()
    params.seqlen_k = 0
    library.attention_fwd(params)
    is_right = bool((placed.o.array == 0).all() and np.isneginf(placed.lse.array).all())
    return "" if is_right else "expected zeros, and -inf for their LSE"


def _interleaved(placed: PlacedAttention, memory: DeviceMemory) -> PlacedAttention:
    q, k, v, o = (_with_heads_inside(array, memory) for array in (placed.q, placed.k, placed.v, placed.o))
    return replace(placed, q=q, k=k, v=v, o=o)


def _with_heads_inside(placed: DeviceArray, memory: DeviceMemory) -> DeviceArray:
    """A copy with the same indices and other strides."""
    copy = memory.place(placed.array.transpose(0, 2, 1, 3), name=placed.name)
    return replace(copy, array=copy.array.transpose(0, 2, 1, 3))


def _enlarge(placed: PlacedAttention) -> None:
    bits = placed.q.array
    step = np.uint16(_LARGER_EXPONENT << _MANTISSA_BITS[placed.case.dtype.key])
    bits[bits & 0x7FFF > step] += step  # leaves alone what is too small to matter
