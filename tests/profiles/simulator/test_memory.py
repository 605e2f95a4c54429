"""Loads, stores and addresses: what each form moves, and what is refused before the hardware would trap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import Finding
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.lowering.lower import lower_kernel
from profiles.simulator.ptx import parse_module
from profiles.simulator.run import Options, Outcome
from tests.profiles.simulator.memory_kernels import LANES, checks, kernel, launch, words

RANDOM = np.random.default_rng(4)
SPACES = ["global", "shared", "local", "generic"]


def lowered(body: str) -> Sequence[str]:
    """Names of the operations of a kernel with that body, without what the template adds."""
    program = lower_kernel(parse_module(kernel(body, shared=256)), "k")
    return [operation.name for operation in program.operations[4:-1]]


def only(outcome: Outcome) -> Finding:
    """The finding of a launch that has one."""
    (finding,) = outcome.findings
    return finding


# --- forms ---

FORMS = [
    ("ld.global.u32 %r3, [%rd1];", "ld.global.b32"),
    ("ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+16];", "ld.global.v4.b32"),
    ("ld.global.L2::cache_hint.b32 %r3, [%rd1], %rd2;", "ld.global.b32"),
    ("ld.global.ca.s8 %r3, [%rd1];", "ld.global.s8.to32"),
    ("ld.global.u8 %h1, [%rd1];", "ld.global.u8.to16"),
    ("ld.global.b8 %rd3, [%rd1];", "ld.global.u8.to64"),
    ("ld.global.s32 %rd3, [%rd1];", "ld.global.s32.to64"),
    ("ld.global.v2.b64 {%rd3, _}, [%rd1];", "ld.global.v2.b64"),
    ("ld.global.b128 %q1, [%rd1];", "ld.global.b128"),
    ("ldu.global.f32 %f1, [%rd1];", "ld.global.b32"),
    ("ld.volatile.shared.u32 %r3, [s+4];", "ld.shared.b32"),
    ("ld.acquire.gpu.global.u32 %r3, [%rd1];", "ld.global.b32"),
    ("ld.relaxed.cluster.shared::cluster.u32 %r3, [%r4];", "ld.shared.b32"),
    ("ld.shared::cta.v2.u16 {%h1, %h2}, [%r4];", "ld.shared.v2.b16"),
    ("ld.u32 %r3, [%rd1];", "ld.generic.b32"),
    ("ld.param.u64 %rd3, [a1];", "ld.param.b64"),
    ("st.global.s8 [%rd1], %r3;", "st.global.u8.to32"),
    ("st.shared.v4.f32 [%r4], {%f1, %f2, 0f3F800000, %f4};", "st.shared.v4.b32"),
    ("st.release.sys.global.u32 [%rd1], 7;", "st.global.b32"),
    ("st.weak.global.wb.u16 [%rd1], %h1;", "st.global.b16"),
    ("st.local.u32 [%rd1], %r3;", "st.local.b32"),
    ("atom.global.add.u32 %r3, [%rd1], 1;", "atom.add.u32"),
    ("red.release.gpu.global.add.s32 [%rd1], %r3;", "atom.add.u32"),
    ("atom.acq_rel.sys.global.cas.b32 %r3, [%rd1], 0, 1;", "atom.cas.b32"),
    ("red.global.add.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};", "atom.v4.add.f32"),
    ("red.relaxed.gpu.global.add.noftz.v2.bf16x2 [%rd1], {%r3, %r4};", "atom.v2.add.bf16x2"),
    ("fence.acq_rel.gpu;", "fence"),
    ("fence.sc.cta;", "fence"),
    ("membar.gl;", "fence"),
    ("fence.proxy.async.shared::cta;", "fence.proxy.async"),
    ("prefetch.global.L2 [%rd1];", "nop"),
    ("discard.global.L2 [%rd1], 128;", "nop"),
    ("createpolicy.fractional.L2::evict_last.b64 %rd3, 1.0;", "createpolicy"),
    ("cvta.shared.u64 %rd3, %rd4;", "cvta"),
    ("cvta.to.global.u64 %rd3, %rd4;", "cvta"),
    ("isspacep.shared %p1, %rd3;", "isspacep.shared::cta"),
    ("isspacep.global %p1, %rd3;", "isspacep"),
    ("mapa.shared::cluster.u32 %r3, %r4, 1;", "mapa.u32"),
    ("getctarank.u64 %r3, %rd4;", "getctarank.u64"),
]


@pytest.mark.parametrize(("text", "name"), FORMS)
def test_each_form_becomes_its_operation(text: str, name: str) -> None:
    """Hints are dropped, wider registers keep the sign, and ``red`` is an ``atom`` without a result."""
    assert lowered(text) == [name]


REFUSED = [
    ("ld.global.v8.b32 {%r3, %r4, %r5, %r6, %r7, %r8, %r9, %r10}, [%rd1];", "sm_100"),
    ("ld.global.v4.b64 {%rd3, %rd4, %rd5, %rd6}, [%rd1];", "sm_100"),
    ("ld.mmio.relaxed.sys.global.u32 %r3, [%rd1];", "mmio"),
    ("ld.global.u64 %r3, [%rd1];", "too narrow"),
    ("ld.global.v2.u32 {%r3, %rd3}, [%rd1];", "different widths"),
    ("ld.global.v2.u32 %r3, [%rd1];", "2 are expected"),
    ("ld.shared.u32 %r3, [a1];", "in .param"),
    ("st.const.u32 [%rd1], %r3;", "cannot write"),
    ("atom.global.add.f16 %h1, [%rd1], %h2;", "noftz"),
    ("atom.global.inc.s32 %r3, [%rd1], %r4;", "no atomic .inc"),
    ("red.shared.add.v2.f32 [%r3], {%f1, %f2};", "in .shared"),
    ("red.global.add.v8.f32 [%rd1], {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8};", "v8"),
    ("isspacep.const %p1, %rd3;", "needs a state space"),
    ("fence.acq_rel;", "needs a scope"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_is_not_understood_is_refused(text: str, reason: str) -> None:
    """A modifier is never dropped unless it is known to be harmless."""
    with pytest.raises(LoweringError, match=reason):
        lowered(text)


# --- values ---

# Type of the element, register, its class, and the widened value in that register.
WIDENING = [
    ("u8", "h", 16, np.uint8, np.uint16), ("s8", "h", 16, np.int8, np.int16), ("s8", "r", 32, np.int8, np.int32),
    ("u8", "rd", 64, np.uint8, np.uint64), ("s8", "rd", 64, np.int8, np.int64), ("b8", "r", 32, np.uint8, np.uint32),
    ("u16", "h", 16, np.uint16, np.uint16), ("u16", "r", 32, np.uint16, np.uint32),
    ("s16", "r", 32, np.int16, np.int32), ("s16", "rd", 64, np.int16, np.int64),
    ("b32", "r", 32, np.uint32, np.uint32), ("u32", "rd", 64, np.uint32, np.uint64),
    ("s32", "rd", 64, np.int32, np.int64), ("u64", "rd", 64, np.uint64, np.uint64),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "register", "bits", "element", "widened"), WIDENING)
def test_a_load_extends_by_the_sign_of_its_type(
    memory: DeviceMemory, type_name: str, register: str, bits: int, element: type, widened: type
) -> None:
    """And a store of the wide register cuts it off again."""
    size = np.dtype(element).itemsize
    source = memory.place(RANDOM.integers(0, 256, LANES * size, np.uint8).view(element), name="source")
    wide = memory.place(np.zeros(LANES, widened), name="wide")
    back = memory.place(np.zeros(LANES, element), name="back")
    body = f"""
        mul.wide.u32 %rd11, %r1, {size}; add.s64 %rd12, %rd1, %rd11; add.s64 %rd13, %rd3, %rd11;
        mul.wide.u32 %rd14, %r1, {bits // 8}; add.s64 %rd15, %rd2, %rd14;
        ld.global.{type_name} %{register}5, [%rd12];
        st.global.b{bits} [%rd15], %{register}5; st.global.{type_name} [%rd13], %{register}5;
    """
    assert launch(memory, kernel(body, 3), source, wide, back).findings == ()
    np.testing.assert_array_equal(wide.array, source.array.astype(widened))
    np.testing.assert_array_equal(back.array, source.array)


# By bytes of the vector: modifiers and registers.
VECTORS = {
    "v2.u8": "{%h1, %h2}", "v4.u8": "{%r5, %r6, %r7, %r8}", "v2.b16": "{%h1, %h2}", "v4.b16": "{%h1, %h2, %h3, %h4}",
    "v2.f32": "{%f1, %f2}", "v4.b32": "{%r5, %r6, %r7, %r8}", "v2.f64": "{%fd1, %fd2}", "b128": "%q1",
}  # fmt: skip


def vector_bytes(form: str) -> int:
    """Bytes that one lane moves."""
    count = int(form[1]) if form[0] == "v" else 1
    return count * int(form.split(".")[-1].lstrip("ubf")) // 8


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("form", sorted(VECTORS))
def test_vectors_keep_their_order_in_every_space(memory: DeviceMemory, space: str, form: str) -> None:
    """Bytes go through memory of the space and come back as they were, from odd lanes only if the guard says so."""
    size = vector_bytes(form)
    source = memory.place(RANDOM.integers(0, 256, (LANES, size), np.uint8), name="source")
    target = memory.place(np.zeros((LANES, size), np.uint8), name="target")
    registers = VECTORS[form]
    suffix = "" if space == "generic" else f".{space}"
    places = {
        "global": "mov.u64 %rd20, %rd13;",
        "generic": "mov.u64 %rd20, s; add.s64 %rd20, %rd20, %rd11; cvta.shared.u64 %rd20, %rd20;",
        "shared": "mov.u64 %rd20, s; add.s64 %rd20, %rd20, %rd11;",
        "local": "mov.u64 %rd20, l;",
    }
    body = f"""
        .local .align 16 .b8 l[16];
        mul.wide.u32 %rd11, %r1, {size}; add.s64 %rd12, %rd1, %rd11; add.s64 %rd13, %rd2, %rd11;
        and.b32 %r30, %r1, 1; setp.eq.u32 %p1, %r30, 1;
        {places[space]}
        ld.global.{form} {registers}, [%rd12];
        @%p1 st{suffix}.{form} [%rd20], {registers};
        @%p1 ld{suffix}.{form} {registers}, [%rd20];
        @%p1 st.global.{form} [%rd13], {registers};
    """
    assert launch(memory, kernel(body, 2, shared=512), source, target).findings == ()
    odd = np.arange(LANES) % 2 == 1
    np.testing.assert_array_equal(target.array, np.where(odd[:, None], source.array, 0))


def test_constants_parameters_and_module_variables_are_read(memory: DeviceMemory) -> None:
    """By symbol with an offset, by register, and through a generic address."""
    module = ".const .align 4 .b32 c[4] = {1, 2, 3, 4}; .global .align 4 .b32 g[2] = {50, 60};"
    body = """
        ld.const.u32 %r3, [c+8]; mov.u64 %rd3, c; ld.const.u32 %r4, [%rd3+4];
        ld.global.u32 %r5, [g+4]; cvta.const.u64 %rd4, %rd3; ld.u32 %r6, [%rd4];
        mov.b64 %rd5, a1; ld.param.u64 %rd6, [%rd5]; cvta.param.u64 %rd7, %rd5; ld.u64 %rd8, [%rd7];
        sub.s64 %rd8, %rd8, %rd6; cvt.u32.u64 %r7, %rd8;
        st.global.v4.u32 [%rd1], {%r3, %r4, %r5, %r6}; st.global.u32 [%rd1+16], %r7;
    """
    result = words(memory, 5)
    result.array[4] = 9
    launch(memory, kernel(body, module=module), result, threads=1)
    assert result.array.tolist() == [3, 2, 60, 1, 0]


def test_generic_addresses_know_their_space(memory: DeviceMemory) -> None:
    """The instruction isspacep tells windows apart, and cvta there and back is the identity."""
    body = """
        .local .align 4 .b8 l[4];
        mov.u64 %rd3, s; cvta.shared.u64 %rd4, %rd3; mov.u64 %rd5, l; cvta.local.u64 %rd6, %rd5;
        isspacep.shared %p1, %rd4; isspacep.local %p2, %rd6; isspacep.global %p3, %rd1; isspacep.global %p4, %rd4;
        isspacep.shared %p5, %rd6; cvta.to.shared.u64 %rd7, %rd4; setp.eq.s64 %p6, %rd7, %rd3;
        selp.u32 %r3, 1, 0, %p1; selp.u32 %r4, 1, 0, %p2; selp.u32 %r5, 1, 0, %p3;
        selp.u32 %r6, 1, 0, %p4; selp.u32 %r7, 1, 0, %p5; selp.u32 %r8, 1, 0, %p6;
        st.global.v4.u32 [%rd1], {%r3, %r4, %r5, %r6}; st.global.v2.u32 [%rd1+16], {%r7, %r8};
    """
    result = words(memory, 6)
    launch(memory, kernel(body, shared=16), result, threads=1)
    assert result.array.tolist() == [1, 1, 1, 0, 0, 1]


def test_blocks_of_a_cluster_reach_each_others_shared_memory(memory: DeviceMemory) -> None:
    """Each block writes its rank where the next one looks: mapa, st and ld of shared::cluster, getctarank."""
    body = """
        mov.u32 %r3, %cluster_ctarank; add.u32 %r4, %r3, 1; and.b32 %r4, %r4, 3;
        mov.u32 %r5, s; mapa.shared::cluster.u32 %r6, %r5, %r4; st.shared::cluster.u32 [%r6], %r3;
        barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
        ld.shared.u32 %r7, [s]; getctarank.shared::cluster.u32 %r8, %r6; getctarank.shared::cluster.u32 %r9, %r5;
        mov.u64 %rd3, s; cvta.shared.u64 %rd3, %rd3; mapa.u64 %rd4, %rd3, %r4; ld.u32 %r10, [%rd4];
        mul.wide.u32 %rd5, %r3, 16; add.s64 %rd5, %rd1, %rd5;
        st.global.v4.u32 [%rd5], {%r7, %r8, %r9, %r10};
        barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
    """
    result = memory.place(np.zeros((4, 4), np.uint32))
    outcome = launch(memory, kernel(body, shared=16), result, grid=4, cluster=(4, 1, 1))
    # All lanes of a warp write the same value to one place, which is no race.
    assert outcome.findings == ()
    assert result.array.tolist() == [[3, 1, 0, 0], [0, 2, 1, 1], [1, 3, 2, 2], [2, 0, 3, 3]]


# --- bounds and alignment ---


@settings(max_examples=25, deadline=None)
@given(st.integers(-64, 200), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(["ld", "st"]))
def test_global_bounds_are_exact_to_the_byte(offset: int, size: int, root: str) -> None:
    """An aligned access is in order if and only if all its bytes are in the array; the array has 100 bytes."""
    form = {1: "u8 %r5", 2: "u16 %h5", 4: "u32 %r5", 8: "u64 %rd5", 16: "v2.u64 {%rd5, %rd6}"}[size]
    type_name, _, register = form.partition(" ")
    operands = f"{register}, [%rd1+{offset}]" if root == "ld" else f"[%rd1+{offset}], {register}"
    body = f"mov.u32 %r5, 0; mov.u16 %h5, 0; mov.u64 %rd5, 0; mov.u64 %rd6, 0; {root}.global.{type_name} {operands};"
    with DeviceMemory() as memory:
        array = memory.place(np.zeros(100, np.uint8), name="array")
        outcome = launch(memory, kernel(body), array, threads=1)
    if offset % size:
        assert checks(outcome) == ["misaligned"]
    elif 0 <= offset <= 100 - size:
        assert checks(outcome) == []
    else:
        assert checks(outcome) == ["out-of-bounds"]


@pytest.mark.parametrize(
    ("address", "words_of_message"),
    [
        ("%rd1+144", ["reads 4 bytes", "16 bytes past the end of 'key' (128 B)"]),
        ("%rd1-8", ["8 bytes before 'key' (128 B)"]),
        ("%rd1+126", ["no multiple of 4"]),
    ],
)
def test_a_message_names_the_array(memory: DeviceMemory, address: str, words_of_message: list[str]) -> None:
    """So that a reader knows which pointer went wrong, and by how much."""
    finding = only(launch(memory, kernel(f"ld.global.u32 %r3, [{address}];"), words(memory, name="key"), threads=1))
    for part in words_of_message:
        assert part in finding.message
    assert (finding.space, finding.bytes, finding.lanes) == ("global", 4, (0,))


def test_only_the_lane_that_leaves_the_array_is_named(memory: DeviceMemory) -> None:
    """With races checked or not."""
    text = kernel("add.s64 %rd2, %rd1, %rd10; ld.global.u32 %r3, [%rd2+4];")
    for check_races in (False, True):
        finding = only(launch(memory, text, words(memory), options=Options(check_races=check_races)))
        assert (finding.check, finding.lanes) == ("out-of-bounds", (31,))


@pytest.mark.parametrize("check_races", [False, True])
@pytest.mark.parametrize(
    ("access", "check", "space"),
    [
        ("ld.shared.u32 %r3, [s+64];", "out-of-bounds", "shared"),
        ("mov.u32 %r4, s; ld.shared.u32 %r3, [%r4+-4];", "out-of-bounds", "shared"),
        ("ld.shared.v2.u32 {%r3, %r4}, [s+60];", "misaligned", "shared"),
        ("ld.shared.u32 %r3, [s+2];", "misaligned", "shared"),
        ("mov.u32 %r4, s; mapa.shared::cluster.u32 %r4, %r4, 3; ld.shared::cluster.u32 %r3, [%r4];",
         "out-of-bounds", "shared"),
        ("ld.local.u32 %r3, [l+8];", "out-of-bounds", "local"),
        ("ld.local.u32 %r3, [l+2];", "misaligned", "local"),
        ("mov.u64 %rd3, l; cvta.local.u64 %rd3, %rd3; st.u64 [%rd3+8], %rd3;", "out-of-bounds", "local"),
        ("ld.u32 %r3, [%rd1+4096];", "out-of-bounds", "global"),
        ("mov.u64 %rd3, 0; ld.u32 %r3, [%rd3];", "out-of-bounds", "global"),
        ("mov.b64 %rd3, a1; ld.param.u32 %r3, [%rd3+8];", "out-of-bounds", "parameter"),
        ("atom.global.add.u32 %r3, [%rd1+128], 1;", "out-of-bounds", "global"),
        ("atom.shared.add.u32 %r3, [s+64], 1;", "out-of-bounds", "shared"),
        ("red.global.add.u64 [%rd1+4], 1;", "misaligned", "global"),
        ("mov.u64 %rd3, c; ld.const.u32 %r3, [%rd3+16];", "out-of-bounds", "global"),
    ],
)  # fmt: skip
def test_every_space_has_bounds(memory: DeviceMemory, access: str, check: str, space: str, check_races: bool) -> None:
    """What the hardware would trap at, and what it would not, ends the launch."""
    body = f".local .align 8 .b8 l[8]; st.shared.u32 [s], 0; {access} trap;"
    text = kernel(body, shared=64, module=".const .align 4 .b32 c[4] = {1, 2, 3, 4};")
    outcome = launch(memory, text, words(memory), threads=1, options=Options(check_races=check_races))
    finding = only(outcome)
    assert (finding.check, finding.space) == (check, space)


def test_shared_memory_of_a_block_that_ended_is_gone(memory: DeviceMemory) -> None:
    """Block 1 ends, block 0 reads its memory: the barrier of the cluster at the end is missing."""
    body = """
        st.shared.u32 [s], 1; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
        mov.u32 %r3, %cluster_ctarank; setp.eq.u32 %p1, %r3, 1; @%p1 exit;
        mov.u32 %r5, s; mapa.shared::cluster.u32 %r6, %r5, 1; ld.shared::cluster.u32 %r7, [%r6];
    """
    finding = only(launch(memory, kernel(body, shared=16), words(memory), grid=2, threads=1, cluster=(2, 1, 1)))
    assert finding.check == "out-of-bounds"
    assert "has ended" in finding.message
