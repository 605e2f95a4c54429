"""The CUDA backward kernels on hardware, by the same rule as in the simulator. Every test needs an NVIDIA GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kernels import reference
from kernels.attention_params import AttentionOptions, Gradients, backward_params, launch_backward
from kernels.library import cuda_library
from tests.kernels.accuracy import POISON, assert_gradients_as_accurate_as_torch
from tests.kernels.backward_problems import (
    BF16,
    DTYPES,
    FP16,
    HEAD_DIMS,
    MASK_NAMES,
    MASKS,
    Problem,
    dense,
    masked,
    of_sequences,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here: CUDA kernels cannot run")

DETERMINISTIC = pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])


def on_gpu(problem: Problem) -> Problem:
    """The same problem on the GPU."""
    options = problem.options
    plan = options.plan
    if plan is not None:
        plan = replace(
            plan,
            tiles=plan.tiles.cuda(),
            query_bits=plan.query_bits.cuda(),
            key_bits=plan.key_bits.cuda(),
            query_order=plan.query_order.cuda(),
            key_order=plan.key_order.cuda(),
        )
    options = replace(
        options,
        plan=plan,
        alibi_slopes=None if options.alibi_slopes is None else options.alibi_slopes.cuda(),
        sequences_q=None
        if options.sequences_q is None
        else replace(options.sequences_q, offsets=options.sequences_q.offsets.cuda()),
        sequences_k=None
        if options.sequences_k is None
        else replace(options.sequences_k, offsets=options.sequences_k.offsets.cuda()),
    )
    return Problem(problem.q.cuda(), problem.k.cuda(), problem.v.cuda(), problem.d_o.cuda(), options)


def run(problem: Problem, *, deterministic: bool = False, times: int = 1) -> list[tuple[torch.Tensor, ...]]:
    """Gradients dQ, dK and dV of each of several runs over poison. O and the LSE are those of the reference."""
    q, k, v = problem.q, problem.k, problem.v
    o, lse = reference.attention(q, k, v, problem.options)
    o, lse = torch.empty_like(q).copy_(o), lse.float().contiguous()
    library = cuda_library(*torch.cuda.get_device_capability(q.device))
    answers: list[tuple[torch.Tensor, ...]] = []
    for _ in range(times):
        dq, dk, dv = (torch.full_like(tensor, POISON) for tensor in (q, k, v))
        gradients = Gradients(o=o, d_o=problem.d_o, lse=lse, dq=dq, dk=dk, dv=dv)
        params = backward_params(q, k, v, gradients, problem.options, deterministic=deterministic)
        launch_backward(library, params, q.device)
        answers.append((dq, dk, dv))
    torch.cuda.synchronize()
    return answers


def check(problem: Problem, *, deterministic: bool = False) -> None:
    """Run the kernels and hold them to the rule."""
    problem = on_gpu(problem)
    dq, dk, dv = run(problem, deterministic=deterministic)[0]
    assert_gradients_as_accurate_as_torch(dq, dk, dv, problem.q, problem.k, problem.v, problem.d_o, problem.options)


@DTYPES
@HEAD_DIMS
@MASK_NAMES
@DETERMINISTIC
@pytest.mark.parametrize(
    ("heads", "seqlen_q", "seqlen_k"),
    [
        ((1, 1), 1, 1),
        ((2, 2), 64, 128),
        ((4, 2), 63, 129),
        ((2, 1), 200, 70),
        ((4, 1), 129, 300),
        ((1, 1), 257, 1),
        ((4, 2), 1000, 1100),
    ],
)
def test_the_whole_feature_matrix(
    dtype: torch.dtype,
    head_dim: int,
    mask: str,
    deterministic: bool,
    heads: tuple[int, int],
    seqlen_q: int,
    seqlen_k: int,
) -> None:
    """Type x head_dim x mask x grouped heads x ragged lengths."""
    check(masked(dtype, (2, *heads, seqlen_q, seqlen_k, head_dim), mask), deterministic=deterministic)


@DTYPES
@HEAD_DIMS
@DETERMINISTIC
@pytest.mark.parametrize("mask", ["full", "causal", "window", "softcap", "alibi"])
def test_sequences_of_any_length_are_as_accurate_as_torch(
    dtype: torch.dtype, head_dim: int, deterministic: bool, mask: str
) -> None:
    """Sequences of none, one and many rows."""
    lengths_q, lengths_k = [200, 0, 70, 1, 129, 5], [257, 3, 140, 0, 128, 64]
    options: AttentionOptions = MASKS[mask](head_dim, 6, 4, 200, 257)
    check(of_sequences(dtype, lengths_q, lengths_k, (4, 2), options), deterministic=deterministic)


@HEAD_DIMS
@MASK_NAMES
def test_deterministic_runs_are_equal_to_the_bit(head_dim: int, mask: str) -> None:
    """Key blocks take turns at dQ, so that 20 runs give the same bits; dK and dV need no turns for that."""
    problem = on_gpu(masked(FP16, (2, 8, 2, 777, 900, head_dim), mask))
    first, *others = run(problem, deterministic=True, times=20)

    for answer in others:
        assert all(torch.equal(one, other) for one, other in zip(first, answer, strict=True))


def test_more_heads_than_a_grid_dimension_allows() -> None:
    """Batch x heads beyond 65535 must not overflow the grid."""
    check(dense(BF16, (70000, 1, 1, 3, 5, 64)))
