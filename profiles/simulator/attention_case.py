"""One attention problem on the simulated device: inputs, the call, and whether the answer is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from kernels.attention_params import AttentionOptions, Gradients, backward_params, forward_params
from kernels.errors import RoofgateError
from perf import case as cases
from perf.model import Case, Operation
from profiles.simulated_launches import AttentionLaunch, Unusual
from profiles.simulator.attention_bounds import Bound, backward_bounds, forward_bounds
from profiles.simulator.attention_inputs import (
    AttentionInputs,
    make_inputs,
    with_heads_inside,
    with_large_scores,
    without_keys,
    without_queries,
)
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.device_tensors import place_options, place_poison, place_tensor, run_backward
from profiles.simulator.simulated_library import SimulatedLibrary

EXAMPLE_CASE = "attention_fwd-bf16-1x2x130x64-causal"


def parse_case(name: str) -> Case:
    """The case that a name describes, whether or not a suite has it: ``attention_fwd-bf16-1x8kv2x128k300x64-full``.

    Raises :class:`RoofgateError` for a name that describes none.
    """
    try:
        return cases.parse_case(name)
    except ValueError as error:
        raise RoofgateError(str(error)) from None


@dataclass(frozen=True, slots=True)
class PlacedAttention:
    """A problem in device memory. Outputs begin as NaN."""

    inputs: AttentionInputs  # on the host
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    options: AttentionOptions  # their tensors too
    o: torch.Tensor  # an output of the forward pass, an input of the backward pass
    lse: torch.Tensor  # float32, likewise
    gradients: Gradients | None  # of the backward pass: its inputs, and its outputs dq, dk, dv

    def outputs(self) -> Mapping[str, tuple[torch.Tensor, Bound]]:
        """Each output by name, and what it should be."""
        if self.gradients is None:
            found = {"O": self.o, "LSE": self.lse}
            bounds = forward_bounds(self.inputs)
        else:
            found = {"dQ": self.gradients.dq, "dK": self.gradients.dk, "dV": self.gradients.dv}
            bounds = backward_bounds(self.inputs)
        return {name: (tensor, bounds[name]) for name, tensor in found.items()}


def place_attention(operation: Operation, inputs: AttentionInputs, memory: DeviceMemory) -> PlacedAttention:
    """Put inputs and poisoned outputs into ``memory``."""
    q, k, v = (place_tensor(memory, getattr(inputs, name), name) for name in ("q", "k", "v"))
    options = place_options(memory, inputs.options)
    answer = inputs.answer
    if operation is Operation.ATTENTION_FWD:
        lse = place_poison(memory, answer[1], "lse")
        return PlacedAttention(inputs, q, k, v, options, place_poison(memory, inputs.q, "o"), lse, None)
    o, lse = (place_tensor(memory, tensor, name) for tensor, name in zip(answer, ("o", "lse"), strict=True))
    gradients = Gradients(
        o=o,
        lse=lse,
        d_o=place_tensor(memory, inputs.d_o, "d_o"),
        dq=place_poison(memory, inputs.q, "dq"),
        dk=place_poison(memory, inputs.k, "dk"),
        dv=place_poison(memory, inputs.v, "dv"),
    )
    return PlacedAttention(inputs, q, k, v, options, o, lse, gradients)


def call_attention(library: SimulatedLibrary, placed: PlacedAttention, *, deterministic: bool = False) -> None:
    """Run the kernels of the placed problem; ``deterministic`` concerns the backward pass alone.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or a launch fails.
    """
    tensors = (placed.q, placed.k, placed.v)
    if placed.gradients is None:
        library.attention_fwd(forward_params(*tensors, placed.o, placed.lse, placed.options))
        return
    params = backward_params(*tensors, placed.gradients, placed.options, deterministic=deterministic)
    run_backward(library, params)


def wrong_answer(placed: PlacedAttention) -> str:
    """What is wrong with the outputs against float64; empty if rounding alone explains every element.

    An element that nobody wrote is a NaN, which is never right.
    """
    return ", ".join(
        f"{name} is off by up to {bound.error_of(found):.3g} from float64"
        for name, (found, bound) in placed.outputs().items()
        if not bound.allows(found)
    )


_CHANGES: Mapping[Unusual, Callable[[AttentionInputs], AttentionInputs]] = {
    Unusual.INTERLEAVED: with_heads_inside,
    Unusual.LARGE_SCORES: with_large_scores,
    Unusual.NO_KEYS: without_keys,
    Unusual.NO_QUERIES: without_queries,
}


def run_attention(library: SimulatedLibrary, launch: AttentionLaunch) -> str:
    """Make and place the inputs, call the library, and return what is wrong with the answer; empty if nothing is.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or a launch fails.
    """
    placed = place_attention(launch.case.operation, _inputs_of(launch.case, launch.unusual), library.memory)
    call_attention(library, placed, deterministic=launch.deterministic)
    return wrong_answer(placed)


@lru_cache(maxsize=32)
def _inputs_of(case: Case, unusual: Unusual | None) -> AttentionInputs:
    inputs = make_inputs(case)
    return inputs if unusual is None else _CHANGES[unusual](inputs)
