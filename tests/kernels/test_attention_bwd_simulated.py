"""The CUDA backward kernels on the simulator, by the same rule as on hardware, and without a finding of its checks.

O and the LSE come from the float64 reference, so nothing here depends on the forward kernel. The fast selection runs
everywhere; ``simulated_all`` is the whole feature matrix on every architecture (``nox -s simulate``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from kernels import masks, reference
from kernels.attention_params import AttentionOptions, Gradients, backward_params
from kernels.build_record import BuildRecord
from kernels.interface import AttentionBwdParams, KernelError
from profiles.simulator.counters import SiteCounters
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.device_tensors import place_options, place_tensor
from profiles.simulator.run import LaunchResult, Options
from profiles.simulator.simulated_library import SimulatedLibrary
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
    scaled,
    sequences,
    some_plan,
)

CHECKED = Options(check_races=True)
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a"]


@dataclass(frozen=True)
class Answer:
    """What the kernels wrote over poison."""

    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor
    library: SimulatedLibrary

    @property
    def main_launch(self) -> LaunchResult:
        """Delta, main and dQ kernel are launched in this order."""
        return self.library.outcome.launches[1]


def launch(library: SimulatedLibrary, params: AttentionBwdParams, missing_bytes: int = 0) -> None:
    """Ask for the size of the workspace, poison one, and run."""
    library.attention_bwd(params)
    size = params.workspace_bytes - missing_bytes
    workspace = library.memory.place(np.full(size, 0x7F, np.uint8), name="workspace")
    params.workspace, params.workspace_bytes = workspace.array.ctypes.data, size
    library.attention_bwd(params)


def simulate(
    record: BuildRecord,
    problem: Problem,
    *,
    deterministic: bool = False,
    architecture: str = "sm_80",
    options: Options = CHECKED,
    missing_bytes: int = 0,
) -> Answer:
    """Run the kernels over poison."""
    o, lse = reference.attention(problem.q, problem.k, problem.v, problem.options)
    with DeviceMemory() as memory:
        library = SimulatedLibrary(architecture, memory, options, record)
        q, k, v = (place_tensor(memory, getattr(problem, name), name) for name in ("q", "k", "v"))
        gradients = Gradients(
            o=place_tensor(memory, torch.empty_like(problem.q).copy_(o), "o"),
            d_o=place_tensor(memory, problem.d_o, "d_o"),
            lse=place_tensor(memory, lse.float(), "lse"),
            dq=place_tensor(memory, torch.full_like(problem.q, POISON), "dq"),
            dk=place_tensor(memory, torch.full_like(problem.k, POISON), "dk"),
            dv=place_tensor(memory, torch.full_like(problem.v, POISON), "dv"),
        )
        placed = place_options(memory, problem.options)
        params = backward_params(q, k, v, gradients, placed, deterministic=deterministic)
        launch(library, params, missing_bytes)
        return Answer(gradients.dq.clone(), gradients.dk.clone(), gradients.dv.clone(), library)


def check(
    record: BuildRecord,
    problem: Problem,
    *,
    deterministic: bool = False,
    architecture: str = "sm_80",
    options: Options = CHECKED,
) -> None:
    """Run the kernels and hold them to the rule; the simulator's checks find nothing."""
    answer = simulate(record, problem, deterministic=deterministic, architecture=architecture, options=options)

    assert answer.library.outcome.findings == ()
    q, k, v, d_o = problem.q, problem.k, problem.v, problem.d_o
    assert_gradients_as_accurate_as_torch(answer.dq, answer.dk, answer.dv, q, k, v, d_o, problem.options)


@MASK_NAMES
@HEAD_DIMS
def test_every_mask_is_as_accurate_as_torch(record: BuildRecord, mask: str, head_dim: int) -> None:
    """Batches, grouped heads, several query and key tiles, ragged at both ends."""
    check(record, masked(BF16, (2, 2, 1, 150, 210, head_dim), mask))


@pytest.mark.parametrize("architecture", ARCHITECTURES[1:])
@pytest.mark.parametrize("mask", ["causal", "any-plan"])
@HEAD_DIMS
def test_every_architecture_is_as_accurate_as_torch(
    record: BuildRecord, architecture: str, mask: str, head_dim: int
) -> None:
    """Other tiles, and vector additions on sm_90."""
    check(record, masked(FP16, (1, 2, 1, 140, 200, head_dim), mask), architecture=architecture)


@pytest.mark.parametrize("mask", ["full", "causal", "window", "alibi"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
def test_sequences_of_any_length_are_as_accurate_as_torch(record: BuildRecord, mask: str, deterministic: bool) -> None:
    """None, one, and more than a tile, of queries and keys; rows without a key have gradients of zero."""
    lengths_q, lengths_k = [0, 70, 1, 130, 5], [3, 140, 0, 129, 64]
    options = MASKS[mask](64, 5, 2, 130, 140)
    check(record, of_sequences(FP16, lengths_q, lengths_k, (2, 1), options), deterministic=deterministic)


@pytest.mark.parametrize("residue", range(0, 16, 3))
def test_every_residue_of_a_tile_is_as_accurate_as_torch(record: BuildRecord, residue: int) -> None:
    """A tensor-core tile has 16 rows: lengths with several rests of 16, in queries and keys differently."""
    seqlen_q, seqlen_k = 48 + residue, 112 + (5 * residue + 3) % 16
    check(record, masked(BF16, (1, 1, 1, seqlen_q, seqlen_k, 64), "causal"))


@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(1, 1), (1, 300), (15, 17), (64, 127), (200, 70), (257, 1)])
def test_lengths_at_the_edges_are_as_accurate_as_torch(record: BuildRecord, seqlen_q: int, seqlen_k: int) -> None:
    """Single rows and keys, one more and one less than a tile, and under the mask rows without a key."""
    check(record, masked(FP16, (1, 2, 1, seqlen_q, seqlen_k, 64), "causal"))


@pytest.mark.parametrize("mask", ["full", "window", "plan", "any-plan"])
def test_deterministic_gradients_are_equal_in_every_schedule(record: BuildRecord, mask: str) -> None:
    """Blocks and warps start and go on in any order: equal bits, and as accurate."""
    problem = masked(BF16, (1, 2, 1, 140, 400, 64), mask)
    check(record, problem, deterministic=True)
    answers = [
        simulate(record, problem, deterministic=True, options=Options(check_races=True, seed=seed, threads=2))
        for seed in (1, 2, 3)
    ]

    for answer in answers:
        assert answer.library.outcome.findings == ()
        assert torch.equal(answer.dq, answers[0].dq)
        assert torch.equal(answer.dk, answers[0].dk)
        assert torch.equal(answer.dv, answers[0].dv)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mask", ["causal", "plan"])
def test_no_schedule_of_the_warps_matters(record: BuildRecord, mask: str, seed: int) -> None:
    """Warps in random order, copies that land at random times: nothing found; only the order of dQ's sums differs."""
    problem = masked(FP16, (1, 2, 2, 150, 200, 128), mask)
    options = Options(check_races=True, seed=seed, threads=2)
    check(record, problem, options=options)
    fixed, random = simulate(record, problem), simulate(record, problem, options=options)

    assert torch.equal(fixed.dk, random.dk)
    assert torch.equal(fixed.dv, random.dv)
    assert fixed.main_launch.counters == random.main_launch.counters


@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_large_and_small_scores_are_as_accurate_as_torch(record: BuildRecord, scale: float) -> None:
    """A softmax that is nearly flat, and one that is nearly one-hot."""
    check(record, dense(BF16, (1, 1, 1, 100, 140, 64), scale=scale))


def test_strided_heads_are_as_accurate_as_torch(record: BuildRecord) -> None:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it."""
    problem = masked(BF16, (2, 4, 2, 90, 90, 64), "causal")
    q, k, v, d_o = (
        tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (problem.q, problem.k, problem.v, problem.d_o)
    )
    check(record, Problem(q, k, v, d_o, problem.options))


@pytest.mark.parametrize("shape", [(1, 2, 2, 5, 0, 64), (1, 2, 2, 0, 5, 64)])
def test_without_queries_or_keys_everything_is_zero(record: BuildRecord, shape: tuple[int, ...]) -> None:
    """An empty sum, not an error."""
    batch, heads_q, heads_kv, seqlen_q, seqlen_k, head_dim = shape
    answer = simulate(record, dense(BF16, (batch, heads_q, heads_kv, seqlen_q, seqlen_k, head_dim)))

    assert answer.library.outcome.findings == ()
    for gradient in (answer.dq, answer.dk, answer.dv):
        assert (gradient == 0).all()


def test_an_empty_batch_launches_nothing(record: BuildRecord) -> None:
    """Nothing to write is no error either."""
    assert simulate(record, dense(BF16, (0, 2, 2, 5, 5, 64))).library.outcome.launches == ()


def test_a_mask_that_hides_everything_gives_zeros(record: BuildRecord) -> None:
    """No tile is visited: all gradients are written nevertheless."""
    plan = masks.from_tensor(torch.zeros(70, 150, dtype=torch.bool))
    answer = simulate(record, dense(BF16, (1, 1, 1, 70, 150, 64), scaled(64, plan=plan)))

    assert answer.library.outcome.findings == ()
    for gradient in (answer.dq, answer.dk, answer.dv):
        assert (gradient == 0).all()


def test_misaligned_rows_are_refused(record: BuildRecord) -> None:
    """The kernels copy 16 bytes at a time; the host code says so before any launch."""
    with DeviceMemory() as memory:
        flat = place_tensor(memory, torch.zeros(8 * 64 + 1, dtype=BF16), "flat")
        shifted = flat[1:].view(1, 1, 8, 64)
        lse = place_tensor(memory, torch.zeros(1, 1, 8), "lse")
        library = SimulatedLibrary("sm_80", memory, CHECKED, record)
        gradients = Gradients(o=shifted, d_o=shifted, lse=lse, dq=shifted, dk=shifted, dv=shifted)
        params = backward_params(shifted, shifted, shifted, gradients, scaled(64), deterministic=False)
        with pytest.raises(KernelError, match="16 bytes"):
            library.attention_bwd(params)


def test_a_workspace_that_is_too_small_is_refused(record: BuildRecord) -> None:
    """One byte less than the call asked for."""
    with pytest.raises(KernelError) as caught:
        simulate(record, dense(BF16, (1, 1, 1, 8, 8, 64)), missing_bytes=1)

    assert caught.value.status == 10008  # ROOFGATE_BAD_WORKSPACE


@pytest.mark.parametrize(
    "options",
    [
        scaled(64, window_left=-2),
        scaled(64, softcap=-1.0),
        scaled(64, window_right=0, plan=some_plan(1, 1, 8, 8)),
        scaled(64, sequences_q=sequences([8]), sequences_k=sequences([8]), plan=some_plan(1, 1, 8, 8)),
    ],
    ids=["window", "softcap", "plan-and-window", "plan-and-sequences"],
)
def test_masks_that_exclude_each_other_are_refused(record: BuildRecord, options: AttentionOptions) -> None:
    """Before any launch."""
    shape = (8, 1, 64) if options.sequences_q is not None else (1, 1, 8, 64)
    zeros = torch.zeros(shape, dtype=BF16)
    gradients = Gradients(o=zeros, d_o=zeros, lse=torch.zeros(8), dq=zeros, dk=zeros, dv=zeros)
    with DeviceMemory() as memory:
        library = SimulatedLibrary("sm_80", memory, CHECKED, record)
        with pytest.raises(KernelError) as caught:
            library.attention_bwd(backward_params(zeros, zeros, zeros, gradients, options, deterministic=False))

    assert caught.value.status == 10007  # ROOFGATE_BAD_MASK


def counters_of(launch_result: LaunchResult, root: str) -> list[SiteCounters]:
    """Of the executed instructions of one kind."""
    pairs = zip(launch_result.kernel.instructions, launch_result.counters, strict=True)
    return [counters for instruction, counters in pairs if instruction.root == root and counters.executed]


@HEAD_DIMS
@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90a"])
def test_tiles_are_free_of_bank_conflicts_and_sums_of_dq_coalesced(
    record: BuildRecord, architecture: str, head_dim: int
) -> None:
    """One wavefront for each request of shared memory; each addition to dQ touches whole sectors."""
    problem = dense(BF16, (1, 1, 1, 128, 128, head_dim))
    launch_result = simulate(record, problem, architecture=architecture).main_launch
    in_shared_memory = [
        counters
        for root in ("ldmatrix", "ld", "st", "cp.async")
        for counters in counters_of(launch_result, root)
        if counters.wavefronts
    ]
    additions = counters_of(launch_result, "red")
    bytes_of_a_lane = 16 if architecture == "sm_90a" else 4

    assert in_shared_memory
    assert all(counters.wavefronts == counters.requests for counters in in_shared_memory)
    assert additions
    assert all(counters.sectors * 32 == counters.executed * 32 * bytes_of_a_lane for counters in additions)


@HEAD_DIMS
@pytest.mark.parametrize(("mask", "allowed"), [("full", 1.0), ("causal", 1.1)])
def test_tensor_instructions_are_those_that_the_flops_need(
    record: BuildRecord, head_dim: int, mask: str, allowed: float
) -> None:
    """10 FLOP per visible pair and element of head_dim, over those of an m16n8k16; whole tiles above the diagonal."""
    seqlen = 1024 if mask == "causal" else 256
    problem = masked(BF16, (1, 1, 1, seqlen, seqlen, head_dim), mask)
    launch_result = simulate(record, problem, options=Options(threads=2)).main_launch
    executed = sum(counters.executed for counters in counters_of(launch_result, "mma"))
    pairs = seqlen * seqlen if mask == "full" else seqlen * (seqlen + 1) // 2

    assert executed <= allowed * 10 * pairs * head_dim / (2 * 16 * 8 * 16)


@pytest.mark.simulated_all
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@DTYPES
@HEAD_DIMS
@MASK_NAMES
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
@pytest.mark.parametrize(
    ("heads", "seqlen_q", "seqlen_k"),
    [((2, 2), 64, 128), ((4, 2), 63, 129), ((2, 1), 200, 70), ((4, 1), 129, 300), ((1, 1), 257, 1)],
)
def test_the_whole_feature_matrix(
    record: BuildRecord,
    architecture: str,
    dtype: torch.dtype,
    head_dim: int,
    mask: str,
    deterministic: bool,
    heads: tuple[int, int],
    seqlen_q: int,
    seqlen_k: int,
) -> None:
    """Type x head_dim x mask x grouped heads x ragged lengths, on every architecture, with races checked."""
    problem = masked(dtype, (2, *heads, seqlen_q, seqlen_k, head_dim), mask)
    options = Options(check_races=True, seed=seqlen_q, threads=2)
    check(record, problem, deterministic=deterministic, architecture=architecture, options=options)


@pytest.mark.simulated_all
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("mask", ["full", "causal", "window", "softcap", "alibi"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
def test_the_whole_feature_matrix_of_sequences(
    record: BuildRecord, architecture: str, dtype: torch.dtype, head_dim: int, mask: str, deterministic: bool
) -> None:
    """Sequences of none, one and many rows."""
    lengths_q, lengths_k = [200, 0, 70, 1, 129, 5], [257, 3, 140, 0, 128, 64]
    problem = of_sequences(dtype, lengths_q, lengths_k, (4, 2), MASKS[mask](head_dim, 6, 4, 200, 257))
    check(record, problem, deterministic=deterministic, architecture=architecture)


@pytest.mark.simulated_all
@pytest.mark.parametrize("mask", ["causal", "plan"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
@pytest.mark.parametrize("seed", range(20))
def test_twenty_schedules_find_nothing(record: BuildRecord, mask: str, deterministic: bool, seed: int) -> None:
    """No false report on a right kernel."""
    problem = masked(BF16, (1, 2, 1, 200, 300, 128), mask)
    check(record, problem, deterministic=deterministic, options=Options(check_races=True, seed=seed, threads=2))
