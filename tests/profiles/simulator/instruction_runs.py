"""Single instructions, executed by the simulator for arrays of operands: one lane for each case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import launch_kernel

LANES = 32
Array = NDArray[np.generic]

_KERNEL = """
.version 8.8
.target sm_90a
.address_size 64
.visible .entry k({parameters})
{{
    .reg .pred %p, %q, %t; .reg .b32 %index; .reg .b64 %offset, %pointer, %i; .reg .b64 %base<{count}>;
    {declarations}
    mov.u32 %index, %ctaid.x;
    mad.lo.u32 %index, %index, {lanes}, %i32;
    {body}
    ret;
}}
"""


def execute(memory: DeviceMemory, instructions: Sequence[str], result: str, **inputs: Array) -> list[Array]:
    """What each of the instructions leaves in ``%d``, for every case.

    Args:
        memory: receives the arrays.
        instructions: PTX; each reads the registers that are named like the inputs, and may use the predicates %p %q %t.
        result: numpy type of ``%d``.
        inputs: arrays of one length; a register is as wide as its array's elements.
    """
    cases = max(len(array) for array in inputs.values())
    padded = -(-cases // LANES) * LANES
    places = [memory.place(np.resize(array, padded)) for array in inputs.values()]
    output = memory.place(np.zeros(padded * len(instructions), result))
    outcome = launch_kernel(
        _kernel_text(instructions, np.dtype(result), {name: array.dtype for name, array in inputs.items()}, padded),
        "k",
        grid=(padded // LANES, 1, 1),
        block=(LANES, 1, 1),
        arguments=[output, *places],
        memory=memory,
    )
    assert outcome.findings == (), outcome.findings
    return [output.array[index * padded : index * padded + cases].copy() for index in range(len(instructions))]


def _kernel_text(instructions: Sequence[str], result: np.dtype, inputs: dict[str, np.dtype], padded: int) -> str:
    names = ["out", *inputs]
    types = {"d": result, **inputs}
    declarations = [f".reg .b{8 * types[name].itemsize} %{name};" for name in types] + [".reg .b32 %i32;"]
    body = []
    for number, (name, kind) in enumerate(inputs.items(), start=1):
        body += [f"ld.param.u64 %base{number}, [{name}];", *_address(number, kind.itemsize)]
        body.append(f"ld.global.b{8 * kind.itemsize} %{name}, [%pointer];")
    body.append("ld.param.u64 %base0, [out];")
    for instruction in instructions:
        body += ["{", instruction, "}", *_address(0, result.itemsize)]
        body.append(f"st.global.b{8 * result.itemsize} [%pointer], %d;")
        body.append(f"add.u64 %base0, %base0, {padded * result.itemsize};")
    text = _KERNEL.format(
        parameters=", ".join(f".param .u64 {name}" for name in names),
        count=len(names),
        declarations="\n    ".join(declarations),
        lanes=LANES,
        body="\n    ".join(body),
    )
    return text.replace("mov.u32 %index,", "mov.u32 %i32, %tid.x;\n    mov.u32 %index,")


def _address(base: int, size: int) -> list[str]:
    return [f"mul.wide.u32 %offset, %index, {size};", f"add.u64 %pointer, %base{base}, %offset;"]


def pairs(values: Array) -> tuple[Array, Array]:
    """Every value with every value."""
    return np.repeat(values, len(values)), np.tile(values, len(values))


def integers(type_name: str, seed: int = 1, count: int = 12) -> Array:
    """Numbers at the ends of an integer type, around zero, and some others."""
    info = np.iinfo(type_name)
    edges = {info.min, info.min + 1, 0, 1, 2, 3, info.max // 2, info.max - 1, info.max}
    edges |= {value for value in (-1, -2, -7) if value >= info.min}
    random = np.random.default_rng(seed).integers(info.min, info.max, count, dtype=type_name, endpoint=True)
    return np.unique(np.concatenate([np.array(sorted(edges), type_name), random]))


def floats(type_name: str, seed: int = 1, count: int = 24) -> Array:
    """Zeros, ones, subnormal, least and largest numbers, infinities and NaN of an IEEE type, and random bits."""
    info = np.finfo(type_name)
    word = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64}[type_name]
    edges = [0.0, 1.0, 1.5, 2.0, 3.0, 0.1, info.smallest_subnormal, info.tiny, info.max, np.inf]
    edges += [info.tiny - info.smallest_subnormal, 1 + info.eps, 1 - info.epsneg, 0.5, 65504.0]
    random = np.random.default_rng(seed).integers(0, np.iinfo(word).max, count, dtype=word, endpoint=True)
    values = np.array(edges, type_name)
    return np.concatenate([values, -values, np.array([np.nan], type_name), random.view(type_name)])
