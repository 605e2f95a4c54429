"""Torch tensors that lie in the memory of the simulated device, so that kernels.attention_params speaks of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from kernels.attention_params import AttentionOptions, Sequences
from kernels.interface import AttentionBwdParams
from kernels.masks import MaskPlan
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.simulated_library import SimulatedLibrary

_POISON_BYTE = 0xFF  # all bytes of it: a NaN in bf16, fp16 and fp32


def place_tensor(memory: DeviceMemory, tensor: torch.Tensor, name: str) -> torch.Tensor:
    """A tensor of the same values, and of the same order of dimensions in memory, without gaps, on the device."""
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda dim: -strides[dim])
    stored = tensor.permute(order).contiguous()
    bits = stored.view(torch.int16) if stored.itemsize == 2 else stored
    placed = torch.from_numpy(memory.place(bits.numpy(), name=name).array)
    return placed.view(tensor.dtype).permute([order.index(dim) for dim in range(tensor.dim())])


def place_poison(memory: DeviceMemory, like: torch.Tensor, name: str) -> torch.Tensor:
    """An output like ``like`` on the device, NaN until a kernel writes it."""
    return place_tensor(memory, torch.full_like(like, torch.nan), name)


def place_options(memory: DeviceMemory, options: AttentionOptions) -> AttentionOptions:
    """The options with their tensors on the device: slopes, plan, offsets of the sequences."""
    slopes = options.alibi_slopes
    return replace(
        options,
        alibi_slopes=None if slopes is None else place_tensor(memory, slopes, "ALiBi slopes"),
        plan=None if options.plan is None else _place_plan(memory, options.plan),
        sequences_q=_place_sequences(memory, options.sequences_q, "cu_seqlens_q"),
        sequences_k=_place_sequences(memory, options.sequences_k, "cu_seqlens_k"),
    )


def _place_plan(memory: DeviceMemory, plan: MaskPlan) -> MaskPlan:
    return replace(
        plan,
        tiles=place_tensor(memory, plan.tiles, "plan.tiles"),
        query_bits=place_tensor(memory, plan.query_bits, "plan.query_bits"),
        key_bits=place_tensor(memory, plan.key_bits, "plan.key_bits"),
        query_order=place_tensor(memory, plan.query_order, "plan.query_order"),
        key_order=place_tensor(memory, plan.key_order, "plan.key_order"),
    )


def _place_sequences(memory: DeviceMemory, sequences: Sequences | None, name: str) -> Sequences | None:
    return sequences and replace(sequences, offsets=place_tensor(memory, sequences.offsets, name))


def run_backward(library: SimulatedLibrary, params: AttentionBwdParams) -> None:
    """Run the kernels of the backward pass in a poisoned workspace of just the size that the library asks for.

    Raises :class:`kernels.interface.KernelError` if the library refuses the call or a launch fails.
    """
    params.workspace = None
    library.attention_bwd(params)  # asks for the size
    poison = np.full(params.workspace_bytes, _POISON_BYTE, dtype=np.uint8)
    params.workspace = library.memory.place(poison, name="workspace").address
    library.attention_bwd(params)
