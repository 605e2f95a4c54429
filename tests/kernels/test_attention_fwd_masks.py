"""Masks, sequences, softcap and ALiBi in the host kernel against float64, on every instruction set there is."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.attention_params import AttentionOptions, Sequences, forward_params
from kernels.interface import InstructionSet, KernelError, Library
from kernels.library import host_library
from kernels.masks import from_tensor
from tests.kernels.accuracy import POISON, assert_forward_as_accurate_as_torch, random_inputs, random_sequences

INSTRUCTION_SETS = [isa for isa in InstructionSet if InstructionSet.AUTO < isa <= host_library().best_isa()]
DTYPES = [torch.bfloat16, torch.float32]
PLAIN = AttentionOptions(scale=0.125)
ROOFGATE_BAD_SHAPE, ROOFGATE_BAD_MASK = 10003, 10007

every_isa = pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    options: AttentionOptions,
    isa: InstructionSet = InstructionSet.AUTO,
    threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """O and LSE of the host kernel, written over poison."""
    o = torch.full_like(q, POISON)
    lse = torch.full((q.shape[1], q.shape[0]) if q.dim() == 3 else q.shape[:3], POISON)
    params = forward_params(q, k, v, o, lse, options, isa)
    if threads is not None:
        params.problem.threads = threads
    host_library().attention_fwd(params)
    return o, lse


def check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions, isa: InstructionSet) -> None:
    """Run the kernel and hold it to the rule."""
    o, lse = run(q, k, v, options, isa)
    assert_forward_as_accurate_as_torch(o, lse, q, k, v, options)


def sequences(lengths: list[int]) -> Sequences:
    """Sequences end to end."""
    offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return Sequences(offsets=offsets, longest=max(lengths, default=0))


def random_mask(*shape: int, seed: int = 1) -> torch.Tensor:
    """A mask of blocks that are hidden, visible, or mixed pair by pair."""
    generator = torch.Generator().manual_seed(seed)
    seqlen_q, seqlen_k = shape[-2:]
    blocks = torch.randint(0, 3, (*shape[:-2], -(-seqlen_q // 64), -(-seqlen_k // 64)), generator=generator)
    kinds = blocks.repeat_interleave(64, -2).repeat_interleave(64, -1)[..., :seqlen_q, :seqlen_k]
    return torch.where(kinds == 2, torch.rand(shape, generator=generator) < 0.5, kinds == 1)


@every_isa
@every_dtype
@pytest.mark.parametrize(("left", "right"), [(0, 0), (40, 0), (-1, 30), (33, -1), (70, 90), (500, 500)])
@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(150, 150), (65, 200), (200, 65), (1, 129)])
def test_windows(isa: InstructionSet, dtype: torch.dtype, left: int, right: int, seqlen_q: int, seqlen_k: int) -> None:
    """Both bounds of a window hold, aligned to the bottom right, whatever the lengths."""
    options = replace(PLAIN, window_left=left, window_right=right)
    check(*random_inputs(dtype, 1, 4, 2, seqlen_q, seqlen_k, 64), options, isa)


@every_isa
@every_dtype
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize(("batches", "heads"), [(1, 1), (2, 1), (1, 6), (2, 6)])
def test_plans(isa: InstructionSet, dtype: torch.dtype, group: int, batches: int, heads: int) -> None:
    """A plan may differ by batch and by head, also within the group of a KV head."""
    plan = from_tensor(random_mask(batches, heads, 150, 210))
    check(*random_inputs(dtype, 2, 6, 6 // group, 150, 210, 64), replace(PLAIN, plan=plan), isa)


@every_isa
@every_dtype
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_sequences_of_any_length(isa: InstructionSet, dtype: torch.dtype, causal: bool) -> None:
    """Sequences of different lengths, of none and of one; queries without keys and keys without queries."""
    lengths_q, lengths_k = [70, 0, 1, 200, 5, 3, 0], [70, 3, 1, 130, 0, 90, 0]
    options = replace(
        PLAIN,
        window_right=0 if causal else -1,
        sequences_q=sequences(lengths_q),
        sequences_k=sequences(lengths_k),
    )
    check(*random_sequences(dtype, sum(lengths_q), sum(lengths_k), 8, 4, 64), options, isa)


@every_isa
@every_dtype
@pytest.mark.parametrize("softcap", [0.5, 30.0, 1000.0])
@pytest.mark.parametrize("magnitude", [0.05, 1.0, 6.0])
def test_softcap(isa: InstructionSet, dtype: torch.dtype, softcap: float, magnitude: float) -> None:
    """The cap keeps small scores exact and large ones bounded, with a mask behind it."""
    options = replace(PLAIN, softcap=softcap, window_right=0)
    check(*random_inputs(dtype, 1, 2, 1, 100, 140, 64, magnitude), options, isa)


@every_isa
@every_dtype
@pytest.mark.parametrize("per_batch", [False, True])
def test_alibi(isa: InstructionSet, dtype: torch.dtype, per_batch: bool) -> None:
    """Slopes belong to query heads, and may differ by batch; distances count from the bottom right."""
    slopes = 2.0 ** -torch.arange(1.0, 7.0)
    if per_batch:
        slopes = torch.stack([slopes, slopes.flip(0)])
    options = replace(PLAIN, alibi_slopes=slopes, window_left=60)
    check(*random_inputs(dtype, 2, 6, 2, 90, 130, 64), options, isa)


@st.composite
def problems(draw: st.DrawFn) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], AttentionOptions]:
    """Any inputs with any options that go together."""
    dtype = draw(st.sampled_from(DTYPES))
    batch, heads_kv, group = (draw(st.integers(1, 3)) for _ in range(3))
    # Few outputs would make it a matter of luck whose greatest error is the greater.
    seqlen_q, seqlen_k = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    head_dim = 16 * draw(st.integers(1, 8))
    heads_q = heads_kv * group
    kind = draw(st.sampled_from(["window", "plan", "sequences"]))
    options = AttentionOptions(scale=head_dim**-0.5, softcap=draw(st.sampled_from([0.0, 0.0, 2.0, 50.0])))
    if draw(st.booleans()):
        options = replace(options, alibi_slopes=torch.rand(heads_q, generator=torch.Generator().manual_seed(group)))
    if kind == "plan":
        shape = (draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, heads_q])), seqlen_q, seqlen_k)
        options = replace(options, plan=from_tensor(random_mask(*shape, seed=draw(st.integers(0, 9)))))
    else:
        left, right = (draw(st.sampled_from([-1, 0, 7, 64, 100])) for _ in range(2))
        options = replace(options, window_left=left, window_right=right)
    if kind != "sequences":
        return random_inputs(dtype, batch, heads_q, heads_kv, seqlen_q, seqlen_k, head_dim), options
    lengths_q, lengths_k = (draw(st.lists(st.integers(0, 150), min_size=batch, max_size=batch)) for _ in range(2))
    options = replace(options, sequences_q=sequences(lengths_q), sequences_k=sequences(lengths_k))
    return random_sequences(dtype, sum(lengths_q), sum(lengths_k), heads_q, heads_kv, head_dim), options


@settings(max_examples=150, deadline=None)
@given(problem=problems(), isa=st.sampled_from(INSTRUCTION_SETS))
def test_any_options_together(
    problem: tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], AttentionOptions], isa: InstructionSet
) -> None:
    """Every kind of mask goes with softcap, ALiBi, groups and ragged lengths."""
    tensors, options = problem
    check(*tensors, options, isa)


@every_isa
@every_dtype
def test_fully_masked_rows_are_zero(isa: InstructionSet, dtype: torch.dtype) -> None:
    """A row that a plan hides altogether has O = 0 and LSE = -inf, also beside rows that see NaN."""
    q, k, v = random_inputs(dtype, 1, 2, 1, 130, 130, 64)
    mask = torch.ones(130, 130, dtype=torch.bool)
    mask[[0, 5, 64, 129]] = False
    mask[:, 100:] = False
    v[:, :, 100:] = math.nan
    o, lse = run(q, k, v, replace(PLAIN, plan=from_tensor(mask)), isa)

    assert (o[:, :, [0, 5, 64, 129]] == 0).all()
    assert (lse[:, :, [0, 5, 64, 129]] == -math.inf).all()


@every_isa
@every_dtype
@pytest.mark.parametrize("softcap", [0.0, 10.0])
def test_a_nan_reaches_the_rows_that_see_it(isa: InstructionSet, dtype: torch.dtype, softcap: float) -> None:
    """A NaN in K shows in every row that sees the key, through softcap too, and in no row that does not."""
    q, k, v = random_inputs(dtype, 1, 1, 1, 100, 100, 64)
    k[0, 0, 50, 3] = math.nan
    o, _ = run(q, k, v, replace(PLAIN, window_right=0, softcap=softcap), isa)

    assert o[0, 0, 50:].isnan().all()
    assert torch.isfinite(o[0, 0, :50]).all()


@every_isa
@every_dtype
@pytest.mark.parametrize("kind", ["plan", "sequences"])
def test_the_number_of_threads_does_not_change_the_answer(isa: InstructionSet, dtype: torch.dtype, kind: str) -> None:
    """Rows are computed alike wherever the items are cut."""
    if kind == "plan":
        tensors = random_inputs(dtype, 2, 4, 2, 700, 300, 64)
        options = replace(PLAIN, plan=from_tensor(random_mask(1, 4, 700, 300)))
    else:
        lengths = [400, 1, 0, 90, 33]
        tensors = random_sequences(dtype, 524, 524, 4, 2, 64)
        options = replace(PLAIN, sequences_q=sequences(lengths), sequences_k=sequences(lengths))
    (o, lse), *others = (run(*tensors, options, isa, threads) for threads in (1, 2, 3))

    assert all(torch.equal(o, other) for other, _ in others)
    assert all(torch.equal(lse, other) for _, other in others)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("window_left", -2, ROOFGATE_BAD_MASK),
        ("window_right", -7, ROOFGATE_BAD_MASK),
        ("softcap", -1.0, ROOFGATE_BAD_MASK),
        ("softcap", math.nan, ROOFGATE_BAD_MASK),
        ("softcap", math.inf, ROOFGATE_BAD_MASK),
        ("cu_seqlens_q", None, ROOFGATE_BAD_MASK),
        ("cu_seqlens_k", None, ROOFGATE_BAD_MASK),
        ("total_q", 39, ROOFGATE_BAD_SHAPE),
        ("seqlen_q", 29, ROOFGATE_BAD_SHAPE),
        ("seqlen_k", 29, ROOFGATE_BAD_SHAPE),
    ],
)
def test_options_without_a_meaning_are_refused(library: Library, field: str, value: float | None, status: int) -> None:
    """The C interface checks for itself: it does not rely on its Python caller."""
    q, k, v = random_sequences(torch.float32, 40, 40, 1, 1, 64)
    options = replace(PLAIN, sequences_q=sequences([10, 30]), sequences_k=sequences([10, 30]))
    params = forward_params(q, k, v, q, torch.empty(1, 40), options)
    setattr(params.problem, field, value)
    with pytest.raises(KernelError) as refusal:
        library.attention_fwd(params)

    assert refusal.value.status == status


def test_decreasing_sequences_are_refused(library: Library) -> None:
    """A length below zero would be read as a very long one."""
    q, k, v = random_sequences(torch.float32, 40, 40, 1, 1, 64)
    backwards = Sequences(offsets=torch.tensor([0, 30, 20, 40], dtype=torch.int32), longest=40)
    options = replace(PLAIN, sequences_q=backwards, sequences_k=backwards)
    with pytest.raises(KernelError) as refusal:
        library.attention_fwd(forward_params(q, k, v, q, torch.empty(1, 40), options))

    assert refusal.value.status == ROOFGATE_BAD_SHAPE


@pytest.mark.parametrize("with_sequences", [False, True])
def test_a_plan_goes_with_neither_window_nor_sequences(library: Library, with_sequences: bool) -> None:
    """It says already which pairs are visible, and counts positions within a batch."""
    q, k, v = random_inputs(torch.float32, 1, 1, 1, 40, 40, 64)
    options = replace(PLAIN, plan=from_tensor(torch.ones(40, 40, dtype=torch.bool)))
    if with_sequences:
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (q, k, v))
        options = replace(options, sequences_q=sequences([40]), sequences_k=sequences([40]))
    else:
        options = replace(options, window_right=0)
    with pytest.raises(KernelError) as refusal:
        library.attention_fwd(forward_params(q, k, v, q, torch.empty(1, 1, 40), options))

    assert refusal.value.status == ROOFGATE_BAD_MASK
