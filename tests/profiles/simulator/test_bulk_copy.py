"""Bulk copies and reductions of plain bytes: what they move, when their bytes may be touched, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options
from tests.profiles.simulator.memory_kernels import checks, kernel, launch, words
from tests.profiles.simulator.tensor_boxes import SETUP, SHARED, WAIT, random_bytes


@pytest.mark.parametrize(
    ("type_name", "kind", "old", "new", "operation", "expected"),
    [
        ("f32", np.float32, 1.5, 2.25, "add", 3.75),
        ("f32", np.float32, 1e-40, 1e-40, "add", 0.0),  # additions of f32 flush subnormal numbers
        ("f16", np.float16, 1.0, 2.0**-11, "add", 1.0),  # halfway: to even
        ("f16", np.float16, -3.0, 2.0, "max", 2.0),
        ("f16", np.float16, np.nan, 2.0, "min", 2.0),
        ("s32", np.int32, -5, 3, "min", -5),
        ("u32", np.uint32, 7, 7, "inc", 0),
        ("u32", np.uint32, 6, 7, "inc", 7),
        ("u32", np.uint32, 0, 7, "dec", 7),
        ("u32", np.uint32, 8, 7, "dec", 7),
        ("u32", np.uint32, 5, 7, "dec", 4),
        ("u64", np.uint64, 2**63, 2**63 + 5, "add", 5),
    ],
)
def test_bulk_reductions(
    memory: DeviceMemory, type_name: str, kind: Any, old: Any, new: Any, operation: str, expected: Any
) -> None:
    """Rounding, wrapping and the odd counters of cp.reduce.async.bulk, element by element."""
    count = 32 // np.dtype(kind).itemsize
    target = memory.place(np.full(count, old, kind), name="target")
    source = memory.place(np.full(count, new, kind), name="source")
    suffix = (
        f"{operation}.noftz.{type_name}" if type_name == "f16" and operation == "add" else f"{operation}.{type_name}"
    )
    body = f"""
    mov.u32 %r20, s; setp.lt.u32 %p2, %r1, 8; @!%p2 bra DONE;
    shl.b32 %r3, %r1, 2; add.u32 %r4, %r20, %r3; add.u64 %rd3, %rd2, %rd10;
    ld.global.u32 %r5, [%rd3]; st.shared.u32 [%r4], %r5;
    bar.warp.sync 255; fence.proxy.async; setp.eq.u32 %p7, %r1, 0; @!%p7 bra DONE;
    cp.reduce.async.bulk.global.shared::cta.bulk_group.{suffix} [%rd1], [%r20], 32;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
DONE:"""

    outcome = launch(memory, kernel(body, 2, SHARED), target, source)

    assert outcome.findings == ()
    np.testing.assert_array_equal(target.array, np.full(count, expected, kind))


def bulk_load(size: str, source: str = "%rd2", target: str = "%r20", tail: str = "") -> str:
    """The first thread copies bytes from the second array to s."""
    return f"""{SETUP}
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], {size};
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{tail} [{target}], [{source}], {size}, [%r21]
    """ + (", %rd2;" if tail else ";")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tail", ["", ".L2::cache_hint"])
def test_a_bulk_load_and_a_bulk_store_copy_bytes(memory: DeviceMemory, seed: int, tail: str) -> None:
    """Global to shared and back, whatever the schedule."""
    values = memory.place(random_bytes(4096), name="values")
    output = memory.place(np.zeros(4096, np.uint8), name="output")
    body = (
        bulk_load("4096", tail=tail)
        + WAIT
        + """
    @!%p7 bra DONE;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1+16], [%r20+16], 4080;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 16;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
DONE:"""
    )

    outcome = launch(memory, kernel(body, 2, SHARED), output, values, options=Options(check_races=True, seed=seed))

    assert outcome.findings == ()
    np.testing.assert_array_equal(output.array, values.array)


@pytest.mark.parametrize("seed", range(8))
def test_copies_that_complete_on_one_mbarrier_end_in_any_order(memory: DeviceMemory, seed: int) -> None:
    """Two phases of three copies each, the second into the same place: the wait covers all of its phase."""
    values = memory.place(np.arange(2 * 96, dtype=np.uint32), name="values")
    load = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
    phases = [
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r21], 384;"
        + "".join(f"{load} [%r20+{128 * i}], [%rd2+{384 * phase + 128 * i}], 128, [%r21];" for i in range(3))
        for phase in range(2)
    ]
    body = f"""{SETUP} {phases[0]} {WAIT}
    shl.b32 %r3, %r1, 2; add.u32 %r4, %r20, %r3; add.u64 %rd3, %rd1, %rd10;
    ld.shared.u32 %r5, [%r4]; ld.shared.u32 %r6, [%r4+128]; ld.shared.u32 %r7, [%r4+256];
    add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7;
    bar.sync 0; @!%p7 bra AGAIN; {phases[1]}
AGAIN:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r21], 1;
    @!%p1 bra AGAIN;
    ld.shared.u32 %r6, [%r4]; ld.shared.u32 %r7, [%r4+256]; add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7;
    st.global.u32 [%rd3], %r5;"""
    output = words(memory)

    outcome = launch(memory, kernel(body, 2, SHARED), output, values, options=Options(check_races=True, seed=seed))

    parts = values.array.reshape(6, 32)
    assert outcome.findings == ()
    np.testing.assert_array_equal(output.array, parts[0] + parts[1] + parts[2] + parts[3] + parts[5])


def test_reading_before_the_wait_is_found(memory: DeviceMemory) -> None:
    """Bytes of a load are in flight until its mbarrier was waited for."""
    values = memory.place(random_bytes(256), name="values")
    body = bulk_load("256") + "ld.shared.u32 %r5, [%r20];" + WAIT

    outcome = launch(memory, kernel(body, 2, SHARED), words(memory), values)

    assert set(checks(outcome)) == {"copy-in-flight"}


def store_and_overwrite(wait: str) -> str:
    """A store whose source is written again behind ``wait``."""
    return f"""
    mov.u32 %r20, s; shl.b32 %r3, %r1, 2; add.u32 %r4, %r20, %r3; st.shared.u32 [%r4], %r1;
    fence.proxy.async; bar.sync 0; setp.eq.u32 %p7, %r1, 0; @!%p7 bra DONE;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 64;
    cp.async.bulk.commit_group;
    cp.async.bulk.global.shared::cta.bulk_group [%rd1+64], [%r20+64], 64;
    cp.async.bulk.commit_group;
    {wait}
    st.shared.u32 [%r20], 77;
DONE:"""


@pytest.mark.parametrize(
    ("wait", "found"),
    [
        ("cp.async.bulk.wait_group.read 1;", []),
        ("cp.async.bulk.wait_group 1;", []),
        ("cp.async.bulk.wait_group.read 0;", []),
        ("cp.async.bulk.wait_group.read 2;", ["copy-in-flight"]),
        ("", ["copy-in-flight"]),
    ],
)
def test_the_source_of_a_store_is_in_use_until_it_was_waited_for(
    memory: DeviceMemory, wait: str, found: list[str]
) -> None:
    """All groups but the latest N are over."""
    output = words(memory)

    outcome = launch(memory, kernel(store_and_overwrite(wait), 1, SHARED), output)

    assert checks(outcome) == found
    if not found:
        assert output.array.tolist() == list(range(32))


def test_generic_writes_need_a_proxy_fence_before_a_store(memory: DeviceMemory) -> None:
    """TMA reads through the asynchronous proxy."""
    text = store_and_overwrite("cp.async.bulk.wait_group 0;").replace("fence.proxy.async;", "")

    outcome = launch(memory, kernel(text, 1, SHARED), words(memory))

    assert set(checks(outcome)) == {"proxy-fence"}


REFUSED_COPIES = {
    "misaligned size": (bulk_load("24"), "misaligned"),
    "misaligned source": (bulk_load("32", source="%rd2+8"), "misaligned"),
    "misaligned destination": (bulk_load("32", target="%r20+8"), "misaligned"),
    "behind the source": (bulk_load("512"), "out-of-bounds"),
    "behind shared memory": (bulk_load("256", target="%r20+16384"), "out-of-bounds"),
    "no mbarrier": (bulk_load("256").replace("@%p7 mbarrier.init.shared::cta.b64 [%r21], 1;", ""), "mbarrier"),
}


@pytest.mark.parametrize("name", REFUSED_COPIES)
def test_bulk_copies_that_hardware_refuses(memory: DeviceMemory, name: str) -> None:
    """Each ends the launch with the finding that says why."""
    body, check = REFUSED_COPIES[name]
    values = memory.place(random_bytes(256), name="values")

    outcome = launch(memory, kernel(body + WAIT, 2, SHARED), words(memory), values)

    assert checks(outcome) == [check]
