"""The host kernel against float64: every instruction set that this processor has, every kind of shape."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.attention_params import AttentionOptions, forward_params, launch_forward
from kernels.interface import InstructionSet, KernelError, Library
from kernels.library import host_library
from tests.kernels.accuracy import POISON, assert_forward_as_accurate_as_torch, random_inputs

INSTRUCTION_SETS = [isa for isa in InstructionSet if InstructionSet.AUTO < isa <= host_library().best_isa()]
DTYPES = [torch.bfloat16, torch.float32]
CPU = torch.device("cpu")


def options_of(q: torch.Tensor, *, causal: bool) -> AttentionOptions:
    """The usual scale, and a causal mask or none."""
    return AttentionOptions(scale=q.shape[-1] ** -0.5, window_right=0 if causal else -1)


def run(
    library: Library, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool, isa: InstructionSet
) -> tuple[torch.Tensor, torch.Tensor]:
    """O and LSE of the host kernel, written over poison."""
    o = torch.full_like(q, POISON)
    lse = torch.full(q.shape[:3], POISON)
    launch_forward(library, forward_params(q, k, v, o, lse, options_of(q, causal=causal), isa), CPU)
    return o, lse


def check(
    library: Library, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool, isa: InstructionSet
) -> None:
    """Run the kernel and hold it to the rule."""
    o, lse = run(library, q, k, v, causal=causal, isa=isa)
    assert_forward_as_accurate_as_torch(o, lse, q, k, v, options_of(q, causal=causal))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("head_dim", [16, 48, 64, 80, 128, 208, 256])
def test_every_head_dim_is_as_accurate_as_torch(
    library: Library, isa: InstructionSet, dtype: torch.dtype, causal: bool, head_dim: int
) -> None:
    """head_dim may be any multiple of 16 up to 256."""
    check(library, *random_inputs(dtype, 1, 2, 1, 75, 101, head_dim), causal=causal, isa=isa)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k"),
    [(1, 1), (1, 300), (15, 17), (63, 64), (64, 63), (65, 65), (128, 127), (200, 70), (129, 500), (257, 1)],
)
def test_ragged_lengths_are_as_accurate_as_torch(
    library: Library, isa: InstructionSet, dtype: torch.dtype, causal: bool, seqlen_q: int, seqlen_k: int
) -> None:
    """Lengths that hit tile edges from both sides, longer and shorter queries than keys, rows without a key."""
    check(library, *random_inputs(dtype, 2, 4, 2, seqlen_q, seqlen_k, 64), causal=causal, isa=isa)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_and_stride_is_as_accurate_as_torch(data: st.DataObject) -> None:
    """Random shapes, groups, layouts and magnitudes."""
    dtype = data.draw(st.sampled_from(DTYPES))
    isa = data.draw(st.sampled_from(INSTRUCTION_SETS))
    batch, heads_kv, group = (data.draw(st.integers(1, 3)) for _ in range(3))
    # Few outputs would make it a matter of luck whose greatest error is the greater.
    seqlen_q, seqlen_k = data.draw(st.integers(1, 220)), data.draw(st.integers(1, 220))
    head_dim = 16 * data.draw(st.integers(1, 16))
    scale = data.draw(st.sampled_from([0.1, 1.0, 10.0]))
    tensors = random_inputs(dtype, batch, heads_kv * group, heads_kv, seqlen_q, seqlen_k, head_dim, scale)
    if data.draw(st.booleans()):  # [batch, seqlen, heads, head_dim] in memory, as projections leave it
        tensors = tuple(tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors)  # type: ignore[assignment]
    if data.draw(st.booleans()):  # a slice of a wider tensor
        tensors = tuple(torch.cat([tensor, tensor], dim=-1)[..., :head_dim] for tensor in tensors)  # type: ignore[assignment]
    causal = data.draw(st.booleans())
    check(host_library(), *tensors, causal=causal, isa=isa)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_without_a_key_are_zero(library: Library, isa: InstructionSet, dtype: torch.dtype) -> None:
    """With more queries than keys, the first rows of a causal mask see nothing: O = 0 and LSE = -inf, never NaN."""
    q, k, v = random_inputs(dtype, 1, 2, 2, 100, 30, 64)
    o, lse = run(library, q, k, v, causal=True, isa=isa)

    assert (o[:, :, :70] == 0).all()
    assert (lse[:, :, :70] == -math.inf).all()
    assert torch.isfinite(o).all()
    assert torch.isfinite(lse[:, :, 70:]).all()


@pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
def test_without_any_key_everything_is_zero(library: Library, isa: InstructionSet) -> None:
    """seqlen_k = 0 is an empty sum, not an error."""
    q, k, v = random_inputs(torch.float32, 1, 2, 2, 5, 0, 64)
    o, lse = run(library, q, k, v, causal=False, isa=isa)

    assert (o == 0).all()
    assert (lse == -math.inf).all()


@pytest.mark.parametrize("isa", INSTRUCTION_SETS, ids=lambda isa: isa.name.lower())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_outside_the_output_is_written(library: Library, isa: InstructionSet, dtype: torch.dtype) -> None:
    """The elements around a strided O keep their poison."""
    q, k, v = random_inputs(dtype, 1, 2, 2, 37, 53, 48)
    wide = torch.full((1, 2, 39, 64), POISON, dtype=dtype)
    o = wide[:, :, 1:38, 8:56]
    lse = torch.full((1, 2, 37), POISON)
    launch_forward(library, forward_params(q, k, v, o, lse, AttentionOptions(scale=0.1), isa), CPU)

    o.fill_(POISON)
    assert (wide == torch.tensor(POISON, dtype=dtype)).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_change_the_answer(library: Library, threads: int) -> None:
    """Work is split by whole rows, so every thread count gives the same bits."""
    q, k, v = random_inputs(torch.bfloat16, 2, 4, 2, 300, 300, 64)
    o, lse = run(library, q, k, v, causal=True, isa=InstructionSet.AUTO)
    params_o, params_lse = torch.empty_like(q), torch.empty(q.shape[:3])
    params = forward_params(q, k, v, params_o, params_lse, options_of(q, causal=True))
    params.problem.threads = threads
    library.attention_fwd(params)

    assert torch.equal(o, params_o)
    assert torch.equal(lse, params_lse)


@pytest.mark.parametrize(("dtype", "value"), list(itertools.product(DTYPES, [math.nan, math.inf])), ids=str)
def test_a_bad_input_is_not_hidden(library: Library, dtype: torch.dtype, value: float) -> None:
    """A NaN or infinite score must show in its row, as it does in torch."""
    q, k, v = random_inputs(dtype, 1, 1, 1, 20, 20, 64)
    q[0, 0, 3, 0] = value
    o, _ = run(library, q, k, v, causal=False, isa=InstructionSet.AUTO)

    assert o[0, 0, 3].isnan().any()
    assert torch.isfinite(o[0, 0, 4:]).all()


def test_what_no_kernel_takes_is_refused_with_a_status(library: Library) -> None:
    """The C interface checks for itself: it does not rely on its Python caller."""
    q, k, v = random_inputs(torch.float32, 1, 1, 1, 8, 8, 64)
    params = forward_params(q, k, v, q, torch.empty(1, 1, 8), AttentionOptions(scale=1.0))
    params.problem.head_dim = 40
    with pytest.raises(KernelError, match="head_dim"):
        library.attention_fwd(params)
