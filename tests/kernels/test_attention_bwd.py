"""The host kernel of the backward pass against float64: every instruction set of this processor, mask and shape."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import masks, reference
from kernels.attention_params import AttentionOptions, Gradients, Sequences, backward_params, launch_backward
from kernels.interface import AttentionBwdParams, InstructionSet, KernelError, Library
from kernels.library import host_library
from tests.kernels.accuracy import (
    POISON,
    assert_gradients_as_accurate_as_torch,
    random_gradient,
    random_inputs,
    random_sequences,
)

INSTRUCTION_SETS = [isa for isa in InstructionSet if InstructionSet.AUTO < isa <= host_library().best_isa()]
DTYPES = [torch.bfloat16, torch.float32]
# Products of bf16 serve bf16 alone: on fp32 these would repeat AVX-512.
KINDS = [
    pytest.param(isa, dtype, id=f"{isa.name.lower()}-{str(dtype).removeprefix('torch.')}")
    for isa in INSTRUCTION_SETS
    for dtype in DTYPES
    if dtype is torch.bfloat16 or isa < InstructionSet.AVX512_BF16
]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Where other processes use the cores, the barriers of torch's threads would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(
    dtype: torch.dtype, batch: int, heads_q: int, heads_kv: int, seqlen_q: int, seqlen_k: int, head_dim: int
) -> Inputs:
    """Q, K, V and a gradient of O."""
    q, k, v = random_inputs(dtype, batch, heads_q, heads_kv, seqlen_q, seqlen_k, head_dim)
    return q, k, v, random_gradient(q)


def prepared(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_o: torch.Tensor, options: AttentionOptions
) -> Gradients:
    """O and LSE of the reference, rounded to what a forward kernel stores, and poison where the gradients go."""
    o, lse = reference.attention(q, k, v, options)
    dq, dk, dv = (torch.full_like(tensor, POISON) for tensor in (q, k, v))
    return Gradients(o=o.to(q.dtype), d_o=d_o, lse=lse.float().contiguous(), dq=dq, dk=dk, dv=dv)


def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    d_o: torch.Tensor,
    options: AttentionOptions,
    isa: InstructionSet,
    threads: int = 2,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """DQ, dK and dV of the host kernel."""
    gradients = prepared(q, k, v, d_o, options)
    params = backward_params(q, k, v, gradients, options, deterministic=True, isa=isa)
    params.problem.threads = threads
    launch_backward(host_library(), params, CPU)
    return gradients.dq, gradients.dk, gradients.dv


def check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_o: torch.Tensor, options: AttentionOptions, isa: InstructionSet
) -> None:
    """Run the kernel and hold it to the rule."""
    assert_gradients_as_accurate_as_torch(*run(q, k, v, d_o, options, isa), q, k, v, d_o, options)


def sequences(*lengths: int) -> Sequences:
    """Sequences of these lengths, end to end."""
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return Sequences(offsets=offsets, longest=max(lengths, default=0))


def sparse_plan(batch: int, heads: int, seqlen_q: int, seqlen_k: int) -> masks.MaskPlan:
    """A plan with empty, full and partial tiles, in which some rows see nothing and some keys are seen by nobody."""
    generator = torch.Generator().manual_seed(seqlen_q + seqlen_k)
    pairs = torch.rand(batch, heads, seqlen_q, seqlen_k, generator=generator) < 0.4
    rows, keys = (torch.arange(length) // 64 for length in (seqlen_q, seqlen_k))
    kind = (rows[:, None] * 3 + keys + torch.arange(batch * heads).view(batch, heads, 1, 1)) % 4
    visible = torch.where(kind == 0, pairs, kind >= 2)
    visible[..., seqlen_q // 3 : seqlen_q // 3 + 5, :] = False
    visible[..., :, seqlen_k // 2 : seqlen_k // 2 + 3] = False
    return masks.from_tensor(visible)


def slopes(heads: int) -> torch.Tensor:
    """Of ALiBi, as its authors choose them."""
    return 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)


def plain(head_dim: int) -> AttentionOptions:
    """No mask."""
    return AttentionOptions(scale=head_dim**-0.5)


def causal(head_dim: int) -> AttentionOptions:
    """Aligned to the bottom right."""
    return AttentionOptions(scale=head_dim**-0.5, window_right=0)


MASKS: dict[str, Callable[..., AttentionOptions]] = {
    "full": lambda *_: plain(64),
    "causal": lambda *_: causal(64),
    "window": lambda *_: AttentionOptions(scale=0.125, window_left=70, window_right=0),
    "both-sides": lambda *_: AttentionOptions(scale=0.125, window_left=3, window_right=40),
    "plan": lambda *shape: AttentionOptions(scale=0.125, plan=sparse_plan(*shape)),
    "shared-plan": lambda *shape: AttentionOptions(scale=0.125, plan=sparse_plan(1, 1, *shape[2:])),
    "softcap": lambda *_: AttentionOptions(scale=0.3, window_right=0, softcap=2.0),
    "alibi": lambda *shape: AttentionOptions(scale=0.125, window_right=0, alibi_slopes=slopes(shape[1])),
    "softcap-alibi-plan": lambda *shape: AttentionOptions(
        scale=0.3,
        softcap=3.0,
        plan=sparse_plan(*shape),
        alibi_slopes=slopes(shape[1]).expand(shape[0], -1).contiguous(),
    ),
}


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize("options", [plain, causal])
@pytest.mark.parametrize("head_dim", [16, 48, 64, 80, 128, 208, 256])
def test_every_head_dim_is_as_accurate_as_torch(
    isa: InstructionSet, dtype: torch.dtype, options: Callable[[int], AttentionOptions], head_dim: int
) -> None:
    """head_dim may be any multiple of 16 up to 256."""
    check(*inputs(dtype, 1, 2, 1, 75, 101, head_dim), options(head_dim), isa)


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize("options", [plain, causal])
@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k"),
    [(1, 1), (1, 300), (15, 17), (63, 64), (64, 63), (65, 65), (128, 127), (200, 70), (129, 500), (257, 1)],
)
def test_ragged_lengths_are_as_accurate_as_torch(
    isa: InstructionSet,
    dtype: torch.dtype,
    options: Callable[[int], AttentionOptions],
    seqlen_q: int,
    seqlen_k: int,
) -> None:
    """Lengths that hit tile edges from both sides, longer and shorter queries than keys, rows without a key."""
    check(*inputs(dtype, 2, 4, 2, seqlen_q, seqlen_k, 64), options(64), isa)


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", [(2, 4, 2, 300, 300), (2, 6, 1, 200, 333)], ids=["square", "grouped"])
def test_every_mask_is_as_accurate_as_torch(
    isa: InstructionSet, dtype: torch.dtype, mask: str, shape: tuple[int, int, int, int, int]
) -> None:
    """Windows, plans of every kind, softcap and ALiBi, on several chunks of keys."""
    batch, heads_q, _, seqlen_q, seqlen_k = shape
    check(*inputs(dtype, *shape, 64), MASKS[mask](batch, heads_q, seqlen_q, seqlen_k), isa)


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize(
    "options", [plain(64), causal(64), MASKS["window"](), MASKS["softcap"](), MASKS["alibi"](3, 4)]
)
@pytest.mark.parametrize(
    ("lengths_q", "lengths_k"),
    [((70, 0, 1, 200), (70, 0, 1, 200)), ((5, 130, 0, 64), (300, 7, 64, 0))],
    ids=["equal", "different"],
)
def test_sequences_are_as_accurate_as_torch(
    isa: InstructionSet,
    dtype: torch.dtype,
    options: AttentionOptions,
    lengths_q: tuple[int, ...],
    lengths_k: tuple[int, ...],
) -> None:
    """Sequences of any length, none and one included, longer or shorter than their keys."""
    q, k, v = random_sequences(dtype, sum(lengths_q), sum(lengths_k), 4, 2, 64)
    together = dataclasses.replace(options, sequences_q=sequences(*lengths_q), sequences_k=sequences(*lengths_k))
    check(q, k, v, random_gradient(q), together, isa)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_stride_and_mask_is_as_accurate_as_torch(data: st.DataObject) -> None:
    """Random shapes, groups, layouts, magnitudes and options.

    From 16 queries and keys on: the largest of a few dozen errors, ours or torch's, is luck. Shorter ones have tests of
    their own, with fixed inputs.
    """
    dtype = data.draw(st.sampled_from(DTYPES))
    isa = data.draw(st.sampled_from(INSTRUCTION_SETS))
    batch, heads_kv, group = (data.draw(st.integers(1, 3)) for _ in range(3))
    seqlen_q, seqlen_k = data.draw(st.integers(16, 220)), data.draw(st.integers(16, 220))
    head_dim = 16 * data.draw(st.integers(1, 16))
    factor = data.draw(st.sampled_from([0.1, 1.0, 4.0]))
    q, k, v = random_inputs(dtype, batch, heads_kv * group, heads_kv, seqlen_q, seqlen_k, head_dim, factor)
    tensors = (q, k, v, random_gradient(q))
    if data.draw(st.booleans()):  # [batch, seqlen, heads, head_dim] in memory, as projections leave it
        tensors = tuple(tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors)  # type: ignore[assignment]
    if data.draw(st.booleans()):  # a slice of a wider tensor
        tensors = tuple(torch.cat([tensor, tensor], dim=-1)[..., :head_dim] for tensor in tensors)  # type: ignore[assignment]
    window = st.sampled_from([-1, 0, 7, 40, 64, 150])
    options = AttentionOptions(
        scale=head_dim**-0.5,
        window_left=data.draw(window),
        window_right=data.draw(window),
        softcap=data.draw(st.sampled_from([0.0, 5.0])),
        alibi_slopes=slopes(heads_kv * group) if data.draw(st.booleans()) else None,
    )
    check(*tensors, options, isa)


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
def test_rows_without_a_key_have_no_gradient(isa: InstructionSet, dtype: torch.dtype) -> None:
    """With more queries than keys, the first rows of a causal mask see nothing: their dQ is zero, never NaN."""
    q, k, v, d_o = inputs(dtype, 1, 2, 2, 300, 30, 64)
    dq, dk, dv = run(q, k, v, d_o, causal(64), isa)

    assert (dq[:, :, :270] == 0).all()
    assert all(torch.isfinite(gradient).all() for gradient in (dq, dk, dv))


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
def test_keys_that_nobody_sees_have_no_gradient(isa: InstructionSet, dtype: torch.dtype) -> None:
    """Keys in front of the window have dK and dV of zero, and written."""
    options = AttentionOptions(scale=0.125, window_left=10, window_right=0)
    _, dk, dv = run(*inputs(dtype, 1, 2, 2, 20, 400, 64), options, isa)

    assert (dk[:, :, :370] == 0).all()
    assert (dv[:, :, :370] == 0).all()
    assert (dv[:, :, 390:] != 0).any()


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(5, 0), (0, 5), (0, 0)])
def test_without_queries_or_keys_everything_is_zero(
    isa: InstructionSet, dtype: torch.dtype, seqlen_q: int, seqlen_k: int
) -> None:
    """An empty sum, not an error."""
    for gradient in run(*inputs(dtype, 2, 2, 2, seqlen_q, seqlen_k, 64), plain(64), isa):
        assert (gradient == 0).all()


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
def test_nothing_outside_the_gradients_is_written(isa: InstructionSet, dtype: torch.dtype) -> None:
    """The elements around strided dQ, dK and dV keep their poison."""
    q, k, v, d_o = inputs(dtype, 1, 2, 2, 37, 53, 48)
    wide = [torch.full((1, 2, tensor.shape[2] + 2, 64), POISON, dtype=dtype) for tensor in (q, k, v)]
    dq, dk, dv = (tensor[:, :, 1:-1, 8:56] for tensor in wide)
    gradients = dataclasses.replace(prepared(q, k, v, d_o, plain(48)), dq=dq, dk=dk, dv=dv)
    launch_backward(host_library(), backward_params(q, k, v, gradients, plain(48), deterministic=True, isa=isa), CPU)

    assert_gradients_as_accurate_as_torch(dq, dk, dv, q, k, v, d_o, plain(48))
    for inner, tensor in zip((dq, dk, dv), wide, strict=True):
        inner.fill_(POISON)
        assert (tensor == torch.tensor(POISON, dtype=dtype)).all()


@pytest.mark.parametrize(("isa", "dtype"), KINDS)
@pytest.mark.parametrize("mask", ["full", "causal", "window", "plan"])
def test_neither_threads_nor_runs_change_the_bits(isa: InstructionSet, dtype: torch.dtype, mask: str) -> None:
    """Chunks of keys add to dQ in one order, whoever computes them."""
    tensors = inputs(dtype, 1, 2, 1, 600, 700, 64)
    options = MASKS[mask](1, 2, 600, 700)
    expected = run(*tensors, options, isa, threads=1)
    for threads in (1, 2, 3, 5, 2, 3):
        for gradient, first in zip(run(*tensors, options, isa, threads), expected, strict=True):
            assert torch.equal(gradient, first)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_input_is_not_hidden(dtype: torch.dtype, value: float) -> None:
    """A NaN or infinity in dO must show in its row of dQ and in every dV, as it does in torch."""
    q, k, v, d_o = inputs(dtype, 1, 1, 1, 100, 90, 64)
    d_o[0, 0, 3, 0] = value
    dq, _, dv = run(q, k, v, d_o, plain(64), InstructionSet.AUTO)

    assert not torch.isfinite(dq[0, 0, 3]).any()
    assert torch.isfinite(dq[0, 0, 4:]).all()
    assert not torch.isfinite(dv[0, 0, :, 0]).any()


def small_call() -> AttentionBwdParams:
    """A valid call. Its tensors are kept alive by the structure."""
    q, k, v, d_o = inputs(torch.float32, 1, 1, 1, 8, 8, 64)
    gradients = prepared(q, k, v, d_o, plain(64))
    params = backward_params(q, k, v, gradients, plain(64), deterministic=True)
    params.owner = (q, k, v, gradients)
    return params


BAD_CALLS: dict[str, tuple[str, Callable[[AttentionBwdParams], None]]] = {
    "dtype": ("dtype", lambda params: setattr(params.problem, "dtype", 1)),
    "head_dim": ("head_dim", lambda params: setattr(params.problem, "head_dim", 40)),
    "isa": ("isa", lambda params: setattr(params.problem, "isa", 99)),
    "heads": ("bad shape", lambda params: setattr(params.problem, "heads_kv", 3)),
    "negative length": ("bad shape", lambda params: setattr(params.problem, "seqlen_k", -1)),
    "null dQ": ("bad shape", lambda params: setattr(params, "dq", None)),
    "null LSE": ("bad shape", lambda params: setattr(params, "lse", None)),
    "one of two offsets": ("mask", lambda params: setattr(params.problem, "cu_seqlens_q", params.lse)),
    "odd address": ("alignment", lambda params: setattr(params, "dk", params.dk + 2)),
}


@pytest.mark.parametrize("fault", BAD_CALLS)
def test_what_no_kernel_takes_is_refused_with_a_status(library: Library, fault: str) -> None:
    """The C interface checks for itself: it does not rely on its Python caller."""
    params = small_call()
    words, spoil = BAD_CALLS[fault]
    spoil(params)
    with pytest.raises(KernelError, match=words):
        library.attention_bwd(params)


@pytest.mark.parametrize(
    ("field", "value"),
    [("window_left", -2), ("softcap", -1.0), ("softcap", math.nan), ("softcap", math.inf)],
    ids=lambda value: str(value),
)
def test_a_mask_that_means_nothing_is_refused(library: Library, field: str, value: float) -> None:
    """ROOFGATE_BAD_MASK, before anything is computed."""
    params = small_call()
    setattr(params.problem, field, value)
    with pytest.raises(KernelError) as refusal:
        library.attention_bwd(params)
    assert refusal.value.status == 10007


@pytest.mark.parametrize("offsets", [(0, 9), (0, -1), (-1, 8)], ids=["too long", "decreasing", "negative"])
def test_offsets_outside_of_the_tensors_are_refused(library: Library, offsets: tuple[int, int]) -> None:
    """On the host the offsets are at hand, so the backward pass holds them to the sizes, as the forward does."""
    params = small_call()
    lengths = torch.tensor(offsets, dtype=torch.int32)
    params.problem.cu_seqlens_q = params.problem.cu_seqlens_k = lengths.data_ptr()
    params.problem.total_q = params.problem.seqlen_q
    with pytest.raises(KernelError, match="bad shape"):
        library.attention_bwd(params)


def test_a_workspace_that_is_too_small_or_crooked_is_refused(library: Library) -> None:
    """ROOFGATE_BAD_WORKSPACE; the query says how much is needed."""
    params = small_call()
    library.attention_bwd(params)
    assert params.workspace_bytes > 0
    memory = torch.empty(params.workspace_bytes + 512, dtype=torch.uint8)
    aligned = memory.data_ptr() + -memory.data_ptr() % 256
    for address, size in ((aligned, params.workspace_bytes - 1), (aligned + 64, params.workspace_bytes)):
        params.workspace, params.workspace_bytes = address, size
        with pytest.raises(KernelError) as refusal:
            library.attention_bwd(params)
        assert refusal.value.status == 10008
