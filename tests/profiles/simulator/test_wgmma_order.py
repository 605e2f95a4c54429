"""wgmma: what may not be touched while a product is under way, and what it refuses. PTX ISA, "Asynchronous wgmma"."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.run import Outcome, load_kernel
from tests.profiles.simulator.memory_kernels import checks, kernel, launch

THREADS = 128

# A at 0 and B behind it in 8192 bytes of shared memory, without a swizzle (core matrices of 128 bytes, two along K).
DESCRIPTOR = 128 >> 4 << 16 | 256 >> 4 << 32
SETUP = f"""
    .reg .b32 %d<8>; .reg .b32 %a<4>; .reg .f32 %x<8>;
    mov.u32 %r20, s; shl.b32 %r3, %r1, 6; add.u32 %r4, %r20, %r3;
    st.shared.v4.u32 [%r4], {{%r1, %r1, %r1, %r1}}; st.shared.v4.u32 [%r4+16], {{%r1, %r1, %r1, %r1}};
    st.shared.v4.u32 [%r4+32], {{%r1, %r1, %r1, %r1}}; st.shared.v4.u32 [%r4+48], {{%r1, %r1, %r1, %r1}};
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mov.u64 %rd20, {DESCRIPTOR}; mov.u64 %rd21, {DESCRIPTOR | 2048 >> 4};
    mov.b32 %d0, 0; mov.b32 %d1, 0; mov.b32 %d2, 0; mov.b32 %d3, 0;
    mov.b32 %d4, 0; mov.b32 %d5, 0; mov.b32 %d6, 0; mov.b32 %d7, 0;
    add.u64 %rd3, %rd1, %rd10;
"""
FENCE = "wgmma.fence.sync.aligned;"
COMMIT = "wgmma.commit_group.sync.aligned;"
NAME = "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16"
FIRST = f"{NAME} {{%d0, %d1, %d2, %d3}}, %rd20, %rd21, 1, 1, 1, 0, 0;"
SECOND = f"{NAME} {{%d4, %d5, %d6, %d7}}, %rd20, %rd21, 1, 1, 1, 0, 0;"
FROM_REGISTERS = f"{NAME} {{%d4, %d5, %d6, %d7}}, {{%a0, %a1, %a2, %a3}}, %rd21, 1, 1, 1, 0;"
MODIFY_A = "".join(f"add.u32 %a{i}, %r1, {i};" for i in range(4))
WAIT_0 = "wgmma.wait_group.sync.aligned 0;"
WAIT_1 = "wgmma.wait_group.sync.aligned 1;"
DONE = COMMIT + WAIT_0
USE = "st.global.u32 [%rd3], %d0;"


def run_steps(body: str, threads: int = THREADS) -> Outcome:
    """The outcome of a kernel with these instructions behind SETUP."""
    with DeviceMemory() as memory:
        output = memory.place(np.zeros(256, np.uint32), name="output")
        return launch(memory, kernel(SETUP + body, 1, 8192), output, threads=threads)


RIGHT = {
    "a product": FENCE + FIRST + DONE + USE,
    "two products in one accumulator": FENCE + FIRST + FIRST + DONE + USE,
    "the group before the last is over": FENCE + FIRST + COMMIT + SECOND + COMMIT + WAIT_1 + USE + WAIT_0,
    "a copy made before the wait": FENCE + FIRST + "mov.b32 %r5, %d0;" + DONE + "st.global.u32 [%rd3], %r5;",
    "registers of A, then a fence": MODIFY_A + FENCE + FROM_REGISTERS + DONE,
    "a modified accumulator, then a fence": FENCE + FIRST + DONE + "add.f32 %d0, %d0, %d0;" + FENCE + FIRST + DONE,
    "other registers in between": FENCE + FIRST + "add.u32 %r5, %r1, 1; st.global.u32 [%rd3], %r5;" + DONE,
    "memory that no product reads": FENCE + FIRST + "setp.ge.u32 %p2, %r1, 64; @%p2 st.shared.u32 [%r4], 5;" + DONE,
}  # fmt: skip
WRONG = {
    "an accumulator read before the wait": FENCE + FIRST + COMMIT + USE + DONE,
    "its group is not yet waited for": FENCE + SECOND + COMMIT + FIRST + COMMIT + WAIT_1 + USE,
    "a product that was not committed": FENCE + FIRST + WAIT_0 + USE,
    "an accumulator written before the wait": FENCE + FIRST + "add.u32 %d0, %r1, 1;" + DONE,
    "a copy used before the wait": FENCE + FIRST + "mov.b32 %r5, %d0; st.global.u32 [%rd3], %r5;" + DONE,
    "registers of A written before the wait": MODIFY_A + FENCE + FROM_REGISTERS + MODIFY_A + DONE,
    "no fence at all": FIRST + DONE,
    "registers of A without a fence": FENCE + MODIFY_A + FROM_REGISTERS + DONE,
    "a modified accumulator without a fence": FENCE + FIRST + DONE + "add.f32 %d0, %d0, %d0;" + FIRST + DONE,
    "a result as A of the next product": FENCE + FIRST + FROM_REGISTERS.replace("%a0", "%d0") + DONE,
    "an operand in memory overwritten": FENCE + FIRST + "st.shared.u32 [%r4], 5;" + DONE,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_legal_uses_are_clean(name: str) -> None:
    """No false report."""
    assert run_steps(RIGHT[name]).findings == ()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_touched_too_early_is_found(name: str) -> None:
    """PTX leaves these undefined."""
    assert "wgmma" in checks(run_steps(WRONG[name]))


def test_generic_writes_need_a_proxy_fence() -> None:
    """A barrier alone does not make them visible to the asynchronous proxy."""
    with DeviceMemory() as memory:
        output = memory.place(np.zeros(256, np.uint32), name="output")
        text = kernel(SETUP.replace("fence.proxy.async.shared::cta;", "") + RIGHT["a product"], 1, 8192)
        outcome = launch(memory, text, output, threads=THREADS)

    assert set(checks(outcome)) == {"proxy-fence"}


ONE = FENCE + FIRST + DONE
REFUSED = {
    "reserved bits": ("or.b64 %rd20, %rd20, 16384;" + ONE, THREADS, "wgmma"),
    "a base offset": ("mov.u64 %rd22, 0x0002000000000000; or.b64 %rd20, %rd20, %rd22;" + ONE, THREADS, "wgmma"),
    "lanes disagree": ("cvt.u64.u32 %rd22, %r1; add.u64 %rd20, %rd20, %rd22;" + ONE, THREADS, "wgmma"),
    "half a warpgroup": (ONE, 64, "wgmma"),
    "behind shared memory": ("mov.u64 %rd21, 1023;" + ONE, THREADS, "out-of-bounds"),
    "some lanes": ("setp.lt.u32 %p2, %r1, 16; @%p2 " + FIRST + DONE, THREADS, "divergence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_products_that_hardware_refuses(name: str) -> None:
    """Each ends the launch with the finding that says why."""
    body, threads, check = REFUSED[name]

    assert checks(run_steps(body, threads)) == [check]


def lowering_errors() -> list[str]:
    """Instructions that PTX does not have, or that are not known."""
    sums = "{%r1, %r2, %r3, %r4}"
    return [
        f"wgmma.mma_async.sync.aligned.m64n8k8.f32.bf16.bf16 {sums}, %rd1, %rd2, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n12k16.f32.bf16.bf16 {sums}, %rd1, %rd2, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {sums}, %rd1, %rd2, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n8k16.f16.bf16.bf16 {sums}, %rd1, %rd2, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {sums}, %rd1, %rd2, 1, 2, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {sums}, %rd1, %rd2, 1, 1, 1;",
        f"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 {sums}, %rd1, %rd2, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.bf16.bf16 {sums}, %rd1, %rd2, %r5, 0, 1, 1, 1, 0, 0;",
        f"wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32.satfinite {sums}, %rd1, %rd2, 1, 1, 1;",
        "wgmma.wait_group.sync.aligned %r1;",
        "wgmma.fence.sync;",
    ]


@pytest.mark.parametrize("text", lowering_errors())
def test_unknown_forms_are_refused(text: str) -> None:
    """With the instruction's text."""
    with pytest.raises(LoweringError, match="wgmma"):
        load_kernel(kernel(text, shared=64), "k")
