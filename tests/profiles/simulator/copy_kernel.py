"""A kernel around some cp.async: each thread has its own place in shared memory, and shows what is there at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles.simulator.counters import SiteCounters
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import Finding
from profiles.simulator.run import Options, Outcome, launch_kernel

Array = npt.NDArray[Any]

LANES = 32
TWO_WARPS = 2 * LANES
OLD = 7  # what shared memory holds before the copies
POISON = 0xFF
THREAD_BYTES = 64  # of shared memory, for each thread

# Each thread owns 64 bytes of shared memory, full of OLD; what it finds there at the end is its result.
KERNEL = """
.version 8.7
.target sm_90a
.address_size 64
.visible .entry copy(.param .u64 source, .param .u64 numbers, .param .u64 result)
{{
.shared .align 16 .b8 buffer[{shared}];
.shared .align 8 .b64 arrived;
.reg .pred %p, %odd, %first;
.reg .b32 %thread, %own, %other, %number, %parity, %old, %w<4>;
.reg .b64 %source, %numbers, %result, %wide, %policy;
mov.u32 %thread, %tid.x;
mov.u32 %own, buffer;
mad.lo.u32 %own, %thread, {bytes}, %own;
xor.b32 %other, %own, {other};
ld.param.u64 %source, [source];
ld.param.u64 %numbers, [numbers];
ld.param.u64 %result, [result];
mad.wide.u32 %source, %thread, {bytes}, %source;
mad.wide.u32 %numbers, %thread, 4, %numbers;
mad.wide.u32 %result, %thread, {bytes}, %result;
ld.global.u32 %number, [%numbers];
and.b32 %parity, %thread, 1;
setp.eq.u32 %odd, %parity, 1;
setp.eq.u32 %first, %thread, 0;
setp.ne.u32 %p, %number, 0;
mov.u32 %old, {old};
st.shared.v4.b32 [%own], {{%old, %old, %old, %old}};
st.shared.v4.b32 [%own+16], {{%old, %old, %old, %old}};
st.shared.v4.b32 [%own+32], {{%old, %old, %old, %old}};
st.shared.v4.b32 [%own+48], {{%old, %old, %old, %old}};
{body}
{read}
ret;
}}
"""


def kernel_text(body: str, *, threads: int = LANES, read_from: str = "%own") -> str:
    """The kernel around ``body``; %other is the place of the thread in the other half of the block."""
    read = "\n".join(
        f"ld.shared.v4.b32 {{%w0, %w1, %w2, %w3}}, [{read_from}+{place}];"
        f"st.global.v4.b32 [%result+{place}], {{%w0, %w1, %w2, %w3}};"
        for place in range(0, THREAD_BYTES, 16)
    )
    shared = threads * THREAD_BYTES
    old = int.from_bytes(bytes([OLD] * 4), "little")
    return KERNEL.format(body=body, read=read, shared=shared, bytes=THREAD_BYTES, other=shared // 2, old=f"{old:#x}")


def copies(*places: int) -> str:
    """One copy of 16 bytes for each place."""
    return "\n".join(f"cp.async.cg.shared.global [%own+{place}], [%source+{place}], 16;" for place in places)


COMMIT = "cp.async.commit_group;\n"
WAIT_ALL = "cp.async.wait_all;\n"
BARRIER = "bar.sync 0;\n"


def wait_group(pending: int) -> str:
    """Wait for all but the latest ``pending`` groups."""
    return f"cp.async.wait_group {pending};\n"


def source_bytes(threads: int = LANES) -> Array:
    """(threads, bytes): neither OLD, nor POISON, nor zero, so that all can be told apart."""
    return (np.arange(threads * THREAD_BYTES) % 200 + 20).astype(np.uint8).reshape(threads, THREAD_BYTES)


def old_bytes(threads: int = LANES) -> Array:
    """What shared memory holds without copies."""
    return np.full((threads, THREAD_BYTES), OLD, np.uint8)


@dataclass(frozen=True, slots=True)
class Run:
    """What each thread found, and what the launch counted and reported."""

    result: Array
    outcome: Outcome

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found."""
        return self.outcome.findings

    @property
    def checks(self) -> set[str]:
        """Kinds of what was found."""
        return {finding.check for finding in self.findings}

    @property
    def copy_counters(self) -> SiteCounters:
        """Of the first copy."""
        launch = self.outcome.launches[0]
        names = [instruction.opcode for instruction in launch.kernel.instructions]
        return launch.counters[next(site for site, name in enumerate(names) if ".shared" in name and name[:2] == "cp")]


def run(ptx: str, *, numbers: Array | None = None, threads: int = LANES, races: bool = False, seed: int = 0) -> Run:
    """Launch one block on :func:`source_bytes`; ``numbers`` gives each thread its %number."""
    with DeviceMemory() as memory:
        result = memory.place(np.zeros((threads, THREAD_BYTES), np.uint8))
        given = np.zeros(threads) if numbers is None else numbers
        arguments = [memory.place(source_bytes(threads)), memory.place(given.astype(np.uint32)), result]
        options = Options(check_races=races, seed=seed)
        outcome = launch_kernel(
            ptx, "copy", grid=(1, 1, 1), block=(threads, 1, 1), arguments=arguments, memory=memory, options=options
        )
        return Run(result.array.copy(), outcome)
