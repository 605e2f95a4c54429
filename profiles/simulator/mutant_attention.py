"""Attention launches that tell mutants apart where plain ones cannot: other strides, other magnitudes, no keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from perf.model import Case
from profiles.simulator.attention_case import run_attention
from profiles.simulator.attention_inputs import (
    AttentionInputs,
    make_inputs,
    with_heads_inside,
    with_large_scores,
    without_keys,
)
from profiles.simulator.simulated_library import SimulatedLibrary


class Special(StrEnum):
    """What is unusual."""

    INTERLEAVED = "heads interleaved"  # [batch, seqlen, heads, head_dim] in memory
    LARGE_SCORES = "large scores"
    NO_KEYS = "without keys"


_CHANGES: Mapping[Special, Callable[[AttentionInputs], AttentionInputs]] = {
    Special.INTERLEAVED: with_heads_inside,
    Special.LARGE_SCORES: with_large_scores,
    Special.NO_KEYS: without_keys,
}


@dataclass(frozen=True, slots=True)
class SpecialAttention:
    """An attention call on unusual inputs; those of NO_KEYS are without the keys of the case."""

    case: Case
    special: Special

    def __str__(self) -> str:
        return f"{self.case.name}, {self.special.value}"


def run_special(library: SimulatedLibrary, launch: SpecialAttention) -> str:
    """Call the library; returns what is wrong with the answer, empty if it is right.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or the launch fails.
    """
    inputs = _CHANGES[launch.special](make_inputs(launch.case))
    return run_attention(library, launch.case.operation, inputs)
