"""Small PTX kernels for the tests of memory: one body of instructions, its arrays, and the numbers of its threads."""

from __future__ import annotations

import numpy as np

from profiles.simulator.device_memory import DeviceArray, DeviceMemory
from profiles.simulator.run import Options, Outcome, launch_kernel

LANES = 32

# %rd1, %rd2, ... begin as the addresses of the arrays; %r1 as tid.x, %r2 as ctaid.x, %rd10 as 4 * tid.x.
_TEMPLATE = """
.version 8.5
.target sm_90a
.address_size 64
{module}
.visible .entry k({parameters})
{{
    .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<40>; .reg .b64 %rd<40>; .reg .b128 %q<4>;
    .reg .f32 %f<16>; .reg .f64 %fd<8>;
    {shared}
    {loads}
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mul.wide.u32 %rd10, %r1, 4;
{body}
    ret;
}}
"""


def kernel(body: str, arrays: int = 1, shared: int = 0, module: str = "") -> str:
    """PTX of kernel ``k``; ``shared`` bytes are the variable ``s``."""
    names = [f"a{index}" for index in range(1, arrays + 1)]
    return _TEMPLATE.format(
        module=module,
        parameters=", ".join(f".param .u64 {name}" for name in names),
        shared=f".shared .align 16 .b8 s[{shared}];" if shared else "",
        loads=" ".join(f"ld.param.u64 %rd{index}, [{name}];" for index, name in enumerate(names, start=1)),
        body=body,
    )


def launch(
    memory: DeviceMemory,
    text: str,
    *arrays: DeviceArray,
    grid: int = 1,
    threads: int = LANES,
    cluster: tuple[int, int, int] | None = None,
    options: Options | None = None,
) -> Outcome:
    """Run kernel ``k`` with races checked unless ``options`` say otherwise."""
    return launch_kernel(
        text,
        "k",
        grid=(grid, 1, 1),
        block=(threads, 1, 1),
        arguments=list(arrays),
        memory=memory,
        cluster=cluster,
        options=options or Options(check_races=True),
    )


def checks(outcome: Outcome) -> list[str]:
    """Names of the checks that found something."""
    return [finding.check for finding in outcome.findings]


def words(memory: DeviceMemory, count: int = LANES, name: str = "words") -> DeviceArray:
    """An array of 32-bit zeros."""
    return memory.place(np.zeros(count, np.uint32), name=name)
