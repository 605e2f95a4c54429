"""The CUDA kernel on the simulator, by the same rule as on hardware, and without a finding of the simulator's checks.

The fast selection runs everywhere; ``simulated_all`` is every architecture, type and shape (``nox -s simulate``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from kernels import ops
from kernels.build import cuda_library_name, current_record
from kernels.build_record import BuildRecord, BuildStatus
from kernels.interface import KernelError
from kernels.workspace import Workspace
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import Options
from profiles.simulator.simulated_library import SimulatedLibrary
from tests.kernels.accuracy import POISON, assert_as_accurate_as_torch, random_inputs

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

BF16, FP16 = torch.bfloat16, torch.float16
CHECKED = Options(check_races=True)
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a"]
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
DTYPES = pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
HEAD_DIMS = pytest.mark.parametrize("head_dim", [64, 128])


@pytest.fixture(scope="session")
def record() -> BuildRecord:
    """The present build; skipped where there is no nvcc to build the CUDA libraries."""
    present = current_record(Workspace())
    library = present.library(cuda_library_name(ARCHITECTURES[0]))
    if library.status is BuildStatus.NOT_RUN:
        pytest.skip(library.reason)
    return present


@dataclass(frozen=True)
class Answer:
    """What the kernel wrote over poison."""

    o: torch.Tensor
    lse: torch.Tensor
    library: SimulatedLibrary


def on_device(memory: DeviceMemory, tensor: torch.Tensor, name: str) -> torch.Tensor:
    """A tensor of the same values and strides in device memory."""
    order = sorted(range(tensor.dim()), key=lambda dim: -tensor.stride(dim))
    stored = tensor.permute(order).contiguous()
    bits = stored.view(torch.int16) if stored.itemsize == 2 else stored
    placed = torch.from_numpy(memory.place(bits.numpy(), name=name).array)
    return placed.view(tensor.dtype).permute([order.index(dim) for dim in range(tensor.dim())])


def simulate(
    record: BuildRecord,
    tensors: Tensors,
    *,
    causal: bool,
    architecture: str = "sm_80",
    options: Options = CHECKED,
) -> Answer:
    """Run the kernel over poison."""
    with DeviceMemory() as memory:
        q, k, v = (on_device(memory, tensor, name) for tensor, name in zip(tensors, "qkv", strict=True))
        o = on_device(memory, torch.full_like(tensors[0], POISON), "o")
        lse = on_device(memory, torch.full(q.shape[:3], POISON), "lse")
        library = SimulatedLibrary(architecture, memory, options, record)
        ops.launch_attention_fwd(library, q, k, v, o, lse, causal=causal, scale=q.shape[-1] ** -0.5)
    return Answer(o, lse, library)


def check(
    record: BuildRecord,
    tensors: Tensors,
    *,
    causal: bool,
    architecture: str = "sm_80",
    options: Options = CHECKED,
) -> None:
    """Run the kernel and hold it to the rule; its checks find nothing."""
    answer = simulate(record, tensors, causal=causal, architecture=architecture, options=options)

    assert answer.library.outcome.findings == ()
    assert_as_accurate_as_torch(answer.o, answer.lse, *tensors, causal=causal)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@DTYPES
@CAUSAL
@HEAD_DIMS
def test_every_kernel_is_as_accurate_as_torch(
    record: BuildRecord, architecture: str, dtype: torch.dtype, causal: bool, head_dim: int
) -> None:
    """All of them, with batches, grouped heads, several query and key tiles, ragged at both ends."""
    check(record, random_inputs(dtype, 2, 2, 1, 140, 210, head_dim), causal=causal, architecture=architecture)


@CAUSAL
@pytest.mark.parametrize("residue", range(16))
def test_every_residue_of_a_tile_is_as_accurate_as_torch(record: BuildRecord, causal: bool, residue: int) -> None:
    """A tensor-core tile has 16 rows: lengths with every rest of 16, in queries and keys differently."""
    seqlen_q, seqlen_k = 48 + residue, 80 + (5 * residue + 3) % 16
    check(record, random_inputs(BF16, 1, 1, 1, seqlen_q, seqlen_k, 64), causal=causal)


@HEAD_DIMS
@CAUSAL
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_schedule_of_the_warps_matters(record: BuildRecord, head_dim: int, causal: bool, seed: int) -> None:
    """Warps in random order, copies that land at random times: nothing found, and equal to the bit."""
    tensors = random_inputs(FP16, 1, 2, 2, 150, 200, head_dim)
    fixed = simulate(record, tensors, causal=causal)
    random = simulate(record, tensors, causal=causal, options=Options(check_races=True, seed=seed, threads=2))

    assert random.library.outcome.findings == ()
    assert torch.equal(fixed.o, random.o)
    assert torch.equal(fixed.lse, random.lse)
    counters = [answer.library.outcome.launches[0].counters for answer in (fixed, random)]
    assert counters[0] == counters[1]


@DTYPES
@pytest.mark.parametrize(("seqlen_q", "seqlen_k"), [(1, 1), (1, 300), (15, 17), (128, 127), (200, 70), (257, 1)])
def test_lengths_at_the_edges_are_as_accurate_as_torch(
    record: BuildRecord, dtype: torch.dtype, seqlen_q: int, seqlen_k: int
) -> None:
    """Single rows and keys, one more and one less than a tile, and under the mask rows without a key."""
    check(record, random_inputs(dtype, 1, 2, 1, seqlen_q, seqlen_k, 64), causal=True)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_large_and_small_scores_are_as_accurate_as_torch(record: BuildRecord, scale: float) -> None:
    """A softmax that is nearly flat, and one that is nearly one-hot."""
    check(record, random_inputs(BF16, 1, 1, 1, 100, 140, 64, scale), causal=False)


@DTYPES
def test_strided_heads_are_as_accurate_as_torch(record: BuildRecord, dtype: torch.dtype) -> None:
    """[batch, seqlen, heads, head_dim] in memory, as projections leave it."""
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in random_inputs(dtype, 2, 4, 2, 90, 90, 64))
    check(record, (q, k, v), causal=True)


def test_without_any_key_everything_is_zero(record: BuildRecord) -> None:
    """seqlen_k = 0 is an empty sum, not an error."""
    answer = simulate(record, random_inputs(BF16, 1, 2, 2, 5, 0, 64), causal=False)

    assert (answer.o == 0).all()
    assert (answer.lse == -math.inf).all()
    assert answer.library.outcome.findings == ()


def test_misaligned_rows_are_refused(record: BuildRecord) -> None:
    """The kernel copies 16 bytes at a time; the host code says so before any launch."""
    with DeviceMemory() as memory:
        flat = on_device(memory, torch.zeros(8 * 64 + 1, dtype=BF16), "flat")
        shifted = flat[1:].view(1, 1, 8, 64)
        lse = on_device(memory, torch.zeros(1, 1, 8), "lse")
        library = SimulatedLibrary("sm_80", memory, CHECKED, record)
        with pytest.raises(KernelError, match="16 bytes"):
            ops.launch_attention_fwd(library, shifted, shifted, shifted, shifted, lse, causal=False, scale=1.0)


def test_swizzled_tiles_are_free_of_bank_conflicts(record: BuildRecord) -> None:
    """One wavefront for each 8x8 matrix of ldmatrix, on every instruction."""
    answer = simulate(record, random_inputs(BF16, 1, 1, 1, 128, 128, 128), causal=False)
    launch = answer.library.outcome.launches[0]
    pairs = zip(launch.kernel.instructions, launch.counters, strict=True)
    loads = [counters for instruction, counters in pairs if instruction.root == "ldmatrix" and counters.executed]

    assert loads
    assert all(counters.wavefronts == counters.requests == 4 * counters.executed for counters in loads)


@pytest.mark.simulated_all
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@DTYPES
@CAUSAL
@HEAD_DIMS
@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    ("seqlen_q", "seqlen_k"),
    [(1, 1), (1, 300), (15, 17), (64, 64), (63, 129), (128, 127), (200, 70), (129, 500), (257, 1), (500, 500)],
)
def test_all_shapes_on_all_architectures(
    record: BuildRecord,
    architecture: str,
    dtype: torch.dtype,
    causal: bool,
    head_dim: int,
    seed: int,
    seqlen_q: int,
    seqlen_k: int,
) -> None:
    """What the GPU tests run where there is a GPU, with races checked."""
    tensors = random_inputs(dtype, 2, 4, 2, seqlen_q, seqlen_k, head_dim)
    check(
        record,
        tensors,
        causal=causal,
        architecture=architecture,
        options=Options(check_races=True, seed=seed, threads=2),
    )


@pytest.mark.simulated_all
@DTYPES
@CAUSAL
@HEAD_DIMS
@pytest.mark.parametrize("length", range(1, 130))
def test_every_length_up_to_two_tiles(
    record: BuildRecord, dtype: torch.dtype, causal: bool, head_dim: int, length: int
) -> None:
    """Each length as queries, with another as keys."""
    check(record, random_inputs(dtype, 1, 1, 1, length, 1 + length * 37 % 130, head_dim), causal=causal)


@pytest.mark.simulated_all
@CAUSAL
@pytest.mark.parametrize("seed", range(20))
def test_twenty_schedules_find_nothing(record: BuildRecord, causal: bool, seed: int) -> None:
    """No false report on a right kernel."""
    tensors = random_inputs(BF16, 1, 2, 1, 300, 260, 128)
    check(record, tensors, causal=causal, options=Options(check_races=True, seed=seed, threads=2))


@pytest.mark.simulated_all
def test_more_heads_than_a_grid_dimension_allows(record: BuildRecord) -> None:
    """Batch x heads beyond 65535 must not overflow the grid."""
    check(record, random_inputs(BF16, 70000, 1, 1, 3, 5, 64), causal=False, options=Options(threads=2))
