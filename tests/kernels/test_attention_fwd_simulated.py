"""The CUDA forward on the simulator, by the same rule as on hardware, and without a finding of the simulator's checks.

The fast selection runs everywhere; ``simulated_all`` is every cell of the feature matrix on every architecture, and
every length (``nox -s simulate``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from kernels.attention_params import AttentionOptions, forward_params, launch_forward
from kernels.build_record import BuildRecord
from kernels.interface import AttentionFwdParams, KernelError
from kernels.masks import from_tensor
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.device_tensors import place_options, place_tensor
from profiles.simulator.run import LaunchResult, Options
from profiles.simulator.simulated_library import SimulatedLibrary
from tests.kernels.accuracy import POISON, assert_forward_as_accurate_as_torch, random_inputs
from tests.kernels.attention_cells import BF16, FP16, HEADS, LENGTHS, MASKS, Cell, Tensors

CHECKED = Options(check_races=True)
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a"]
FULL, CAUSAL = AttentionOptions(scale=0.125), AttentionOptions(scale=0.125, window_right=0)
FULL_AND_CAUSAL = pytest.mark.parametrize("options", [FULL, CAUSAL], ids=["full", "causal"])
DTYPES = pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
HEAD_DIMS = pytest.mark.parametrize("head_dim", [64, 128, 256])


@dataclass(frozen=True)
class Answer:
    """What the kernel wrote over poison."""

    o: torch.Tensor
    lse: torch.Tensor
    launches: tuple[LaunchResult, ...]
    findings: tuple[object, ...]


def simulate(
    record: BuildRecord,
    tensors: Tensors,
    options: AttentionOptions,
    *,
    architecture: str = "sm_80",
    simulation: Options = CHECKED,
) -> Answer:
    """Run the kernel over poison."""
    with DeviceMemory() as memory:
        q, k, v = (place_tensor(memory, tensor, name) for tensor, name in zip(tensors, "qkv", strict=True))
        o = place_tensor(memory, torch.full_like(tensors[0], POISON), "o")
        lse_shape = q.shape[:3] if q.dim() == 4 else (q.shape[1], q.shape[0])
        lse = place_tensor(memory, torch.full(lse_shape, POISON), "lse")
        library = SimulatedLibrary(architecture, memory, simulation, record)
        params = forward_params(q, k, v, o, lse, place_options(memory, options))
        launch_forward(library, params, q.device)
    return Answer(o, lse, library.outcome.launches, library.outcome.findings)


def check(
    record: BuildRecord,
    tensors: Tensors,
    options: AttentionOptions,
    *,
    architecture: str = "sm_80",
    simulation: Options = CHECKED,
) -> None:
    """Run the kernel and hold it to the rule; its checks find nothing."""
    answer = simulate(record, tensors, options, architecture=architecture, simulation=simulation)

    assert answer.findings == ()
    assert_forward_as_accurate_as_torch(answer.o, answer.lse, *tensors, options)


def fast_cells() -> list[Cell]:
    """Every mask twice; types, head_dims, heads and lengths in turn."""
    heads, lengths = list(HEADS), list(LENGTHS)
    return [
        Cell((BF16, FP16)[(i + j) % 2], head_dim, mask, heads[(i + j) % 3], lengths[(i + 2 * j + 1) % 3])
        for i, mask in enumerate(MASKS)
        for j, head_dim in enumerate((64, (128, 256)[i % 2]))
    ]


@pytest.mark.parametrize("cell", fast_cells(), ids=str)
def test_every_mask_is_as_accurate_as_torch(record: BuildRecord, cell: Cell) -> None:
    """Batches, grouped heads, several query and key tiles, ragged at both ends, rows that see nothing."""
    check(record, cell.inputs(), cell.options())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("mask", ["full", "window", "plan", "softcap, ALiBi, causal"])
@HEAD_DIMS
def test_every_architecture_is_as_accurate_as_torch(
    record: BuildRecord, architecture: str, mask: str, head_dim: int
) -> None:
    """Every kernel, in one of its types, with the tiles of each architecture."""
    dtype = (BF16, FP16)[ARCHITECTURES.index(architecture) % 2]
    cell = Cell(dtype, head_dim, mask, "one KV head", "more queries than keys")
    check(record, cell.inputs(), cell.options(), architecture=architecture)


@FULL_AND_CAUSAL
@pytest.mark.parametrize("residue", range(16))
def test_every_residue_of_a_tile_is_as_accurate_as_torch(
    record: BuildRecord, options: AttentionOptions, residue: int
) -> None:
    """A tensor-core tile has 16 rows: lengths with every rest of 16, in queries and keys differently."""
    seqlen_q, seqlen_k = 48 + residue, 80 + (5 * residue + 3) % 16
    check(record, random_inputs(BF16, 1, 1, 1, seqlen_q, seqlen_k, 64), options)


@pytest.mark.parametrize("mask", ["full", "window", "plan", "ALiBi, window of sequences"])
@pytest.mark.parametrize(("head_dim", "seed"), [(64, 1), (128, 2), (256, 3)])
def test_no_schedule_of_the_warps_matters(record: BuildRecord, mask: str, head_dim: int, seed: int) -> None:
    """Warps in random order, copies that land at random times: nothing found, and equal to the bit."""
    cell = Cell(FP16, head_dim, mask)
    fixed = simulate(record, cell.inputs(), cell.options())
    simulation = Options(check_races=True, seed=seed, threads=2)
    random = simulate(record, cell.inputs(), cell.options(), simulation=simulation)

    assert random.findings == ()
    assert torch.equal(fixed.o, random.o)
    assert torch.equal(fixed.lse, random.lse)
    assert fixed.launches[0].counters == random.launches[0].counters


@DTYPES
@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(1, 1), (1, 300), (15, 17), (128, 127), (200, 70), (257, 1)])
def test_lengths_at_the_edges_are_as_accurate_as_torch(
    record: BuildRecord, dtype: torch.dtype, seqlen_q: int, seqlen_k: int
) -> None:
    """Single rows and keys, one more and one less than a tile, and under the mask rows without a key."""
    check(record, random_inputs(dtype, 1, 2, 1, seqlen_q, seqlen_k, 64), CAUSAL)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (5, -1), (-1, 7), (64, 63), (2**31 - 1, 2**31 - 1), (1000, 0)])
def test_windows_of_every_reach_are_as_accurate_as_torch(record: BuildRecord, left: int, right: int) -> None:
    """A key alone, one open side, tile edges, and bounds far beyond both lengths, which hide nothing."""
    options = AttentionOptions(scale=0.125, window_left=left, window_right=right)
    check(record, random_inputs(BF16, 1, 1, 1, 200, 333, 64), options)


@pytest.mark.parametrize("keys", [64, 2048 + 64, 4096 + 65])
def test_plans_wider_than_a_warp_reads_at_once_are_as_accurate_as_torch(record: BuildRecord, keys: int) -> None:
    """The warps read 32 tiles of a plan at a time: tiles at the edges of that, and whole reads of empty tiles."""
    visible = torch.zeros(70, keys, dtype=torch.bool)
    visible[:, ::2111] = True
    visible[3, -1] = True
    visible[64:, :64] = True
    check(record, random_inputs(BF16, 1, 1, 1, 70, keys, 64), AttentionOptions(scale=0.125, plan=from_tensor(visible)))


def test_empty_tiles_of_a_plan_cost_nothing(record: BuildRecord) -> None:
    """With a tenth of the tiles, a tenth of the products, and at most a tenth more of everything than tiles say."""

    def cost(visible: torch.Tensor) -> tuple[int, int]:
        tensors = random_inputs(BF16, 1, 1, 1, 128, 2560, 64)
        options = AttentionOptions(scale=0.125, plan=from_tensor(visible))
        launch = simulate(record, tensors, options, simulation=Options()).launches[0]
        pairs = zip(launch.kernel.instructions, launch.counters, strict=True)
        products = sum(counters.executed for instruction, counters in pairs if instruction.root == "mma")
        return products, launch.executed

    every_tile, tenth = torch.ones(128, 2560, dtype=torch.bool), torch.zeros(128, 2560, dtype=torch.bool)
    tenth[:, 640:896] = True
    nothing = torch.zeros(128, 2560, dtype=torch.bool)
    (all_products, all_executed), (products, executed) = cost(every_tile), cost(tenth)
    _, fixed = cost(nothing)

    assert all_products == 10 * products
    assert executed - fixed <= 1.1 * (all_executed - fixed) / 10


def test_warps_skip_tiles_that_they_see_nothing_of(record: BuildRecord) -> None:
    """Under a causal mask of 1024 the tensor instructions are at most 1.15 times what the visible pairs need."""
    seqlen, head_dim = 1024, 64
    answer = simulate(record, random_inputs(BF16, 1, 1, 1, seqlen, seqlen, head_dim), CAUSAL, simulation=Options())
    launch = answer.launches[0]
    pairs = zip(launch.kernel.instructions, launch.counters, strict=True)
    products = sum(counters.executed for instruction, counters in pairs if instruction.root == "mma")
    flop, flop_of_product = 4 * seqlen * (seqlen + 1) // 2 * head_dim, 2 * 16 * 8 * 16

    assert products <= 1.15 * flop / flop_of_product


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_large_and_small_scores_are_as_accurate_as_torch(record: BuildRecord, scale: float) -> None:
    """A softmax that is nearly flat, and one that is nearly one-hot."""
    check(record, random_inputs(BF16, 1, 1, 1, 100, 140, 64, scale), FULL)


@pytest.mark.parametrize("softcap", [0.01, 1.0, 50.0, 1000.0])
def test_every_softcap_is_as_accurate_as_torch(record: BuildRecord, softcap: float) -> None:
    """Scores that are all at the cap, and scores that it hardly bends."""
    options = AttentionOptions(scale=0.125, softcap=softcap)
    check(record, random_inputs(FP16, 1, 1, 1, 100, 140, 64, 3.0), options)


@DTYPES
def test_strided_heads_are_as_accurate_as_torch(record: BuildRecord, dtype: torch.dtype) -> None:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it."""
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in random_inputs(dtype, 2, 4, 2, 90, 90, 64))
    check(record, (q, k, v), CAUSAL)


def test_without_any_key_everything_is_zero(record: BuildRecord) -> None:
    """seqlen_k = 0 is an empty sum, not an error."""
    answer = simulate(record, random_inputs(BF16, 1, 2, 2, 5, 0, 64), FULL)

    assert (answer.o == 0).all()
    assert (answer.lse == -math.inf).all()
    assert answer.findings == ()


def test_misaligned_rows_are_refused(record: BuildRecord) -> None:
    """The kernel copies 16 bytes at a time; the host code says so before any launch."""
    with DeviceMemory() as memory:
        flat = place_tensor(memory, torch.zeros(8 * 64 + 1, dtype=BF16), "flat")
        shifted = flat[1:].view(1, 1, 8, 64)
        lse = place_tensor(memory, torch.zeros(1, 1, 8), "lse")
        library = SimulatedLibrary("sm_80", memory, CHECKED, record)
        with pytest.raises(KernelError, match="16 bytes"):
            launch_forward(library, forward_params(shifted, shifted, shifted, shifted, lse, FULL), flat.device)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_left": -2}, "window"),
        ({"softcap": -1.0}, "softcap"),
        ({"softcap": math.nan}, "softcap"),
        ({"plan_and": {"window_right": 0}}, "mask plan goes with no window"),
        ({"plan_and": {"cu_seqlens": True}}, "mask plan goes with no window and no sequences"),
        ({"cu_seqlens_q": True}, "sequences"),
        ({"head_dim": 96}, "head_dim"),
        ({"scale": -1.0}, "scale"),
        ({"heads_kv": 3}, "heads_q"),
        ({"seqlen_k": 2**30}, "sizes"),
        ({"batch": 2**30, "heads_q": 2, "heads_kv": 1}, "sizes"),
    ],
    ids=str,
)
def test_problems_that_no_kernel_takes_are_refused(
    record: BuildRecord, changes: dict[str, object], message: str
) -> None:
    """By the host code, before any launch, in words."""
    with DeviceMemory() as memory:
        q, k, v = (place_tensor(memory, tensor, name) for tensor, name in zip(_small(), "qkv", strict=True))
        lse = place_tensor(memory, torch.zeros(1, 2, 8), "lse")
        planned = place_options(memory, replace(FULL, plan=from_tensor(torch.ones(8, 8, dtype=torch.bool))))
        options = planned if "plan_and" in changes else FULL
        params = forward_params(q, k, v, q, lse, options)
        _change(params, changes, address=q.data_ptr())
        library = SimulatedLibrary("sm_80", memory, CHECKED, record)
        with pytest.raises(KernelError, match=message):
            launch_forward(library, params, q.device)


def _small() -> Tensors:
    return random_inputs(BF16, 1, 2, 2, 8, 8, 64)


def _change(params: AttentionFwdParams, changes: dict[str, object], address: int) -> None:
    for name, value in changes.items():
        if isinstance(value, dict):
            _change(params, value, address)
        elif name == "cu_seqlens":
            params.problem.cu_seqlens_q = params.problem.cu_seqlens_k = address
        else:
            setattr(params.problem, name, address if value is True else value)


@pytest.mark.parametrize("mask", ["full", "plan"])
def test_swizzled_tiles_are_free_of_bank_conflicts(record: BuildRecord, mask: str) -> None:
    """One wavefront for each 8x8 matrix of ldmatrix and each access to words, on every instruction, with every row."""
    for head_dim in (64, 128, 256):
        cell = Cell(BF16, head_dim, mask, "one head each", "whole tiles")
        launch = simulate(record, cell.inputs(), cell.options(), simulation=Options()).launches[0]
        pairs = list(zip(launch.kernel.instructions, launch.counters, strict=True))
        loads = [counters for instruction, counters in pairs if instruction.root == "ldmatrix" and counters.executed]

        assert loads
        assert all(counters.wavefronts == counters.requests == 4 * counters.executed for counters in loads)
        shared = [item for item in pairs if item[0].root in ("ld", "st") and item[1].wavefronts]
        assert all(counters.wavefronts <= counters.requests for _, counters in shared)


@pytest.mark.simulated_all
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_every_cell_on_every_architecture(
    record: BuildRecord, architecture: str, dtype: torch.dtype, head_dim: int, mask: str, heads: str, lengths: str
) -> None:
    """The whole feature matrix, with races checked, in a schedule of its own for each cell."""
    cell = Cell(dtype, head_dim, mask, heads, lengths)
    simulation = Options(check_races=True, seed=len(str(cell)), threads=2)
    check(record, cell.inputs(), cell.options(), architecture=architecture, simulation=simulation)


@pytest.mark.simulated_all
@DTYPES
@FULL_AND_CAUSAL
@HEAD_DIMS
@pytest.mark.parametrize("length", range(1, 130))
def test_every_length_up_to_two_tiles(
    record: BuildRecord, dtype: torch.dtype, options: AttentionOptions, head_dim: int, length: int
) -> None:
    """Each length as queries, with another as keys."""
    check(record, random_inputs(dtype, 1, 1, 1, length, 1 + length * 37 % 130, head_dim), options)


@pytest.mark.simulated_all
@pytest.mark.parametrize("mask", ["full", "causal", "plan", "softcap, ALiBi, causal"])
@pytest.mark.parametrize("seed", range(20))
def test_twenty_schedules_find_nothing(record: BuildRecord, mask: str, seed: int) -> None:
    """No false report on a right kernel."""
    cell = Cell(BF16, 128, mask)
    check(record, cell.inputs(), cell.options(), simulation=Options(check_races=True, seed=seed, threads=2))


@pytest.mark.simulated_all
def test_more_heads_than_a_grid_dimension_allows(record: BuildRecord) -> None:
    """Batch x heads beyond 65535 must not overflow the grid."""
    check(record, random_inputs(BF16, 70000, 1, 1, 3, 5, 64), FULL, simulation=Options(threads=2))
