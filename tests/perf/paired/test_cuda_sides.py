"""Two CUDA libraries as sides: real answers of the host library, times of a simulated device."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.errors import RoofgateError
from kernels.interface import AttentionBwdParams, AttentionFwdParams, Library
from kernels.library import host_library
from perf import timer
from perf.case import case_fields
from perf.case_inputs import make_inputs
from perf.gpu_conditions import GpuProbe
from perf.model import CAUSAL, Case, Device, DType, Mask, MaskKind, Operation
from perf.paired import cuda_sides
from perf.paired.model import GpuConditions, Side
from perf.paired.sampling import sample_sides
from tests.perf.simulated_cuda import L2_BYTES, SimulatedCuda

CASE = Case(
    operation=Operation.ATTENTION_FWD,
    dtype=DType.FP32,
    batch=1,
    heads_q=2,
    heads_kv=1,
    seqlen_q=32,
    seqlen_k=48,
    head_dim=16,
    mask=CAUSAL,
)
FAST = GpuConditions(sm_clock_hz=1.98e9)


class TimedLibrary(Library):
    """The host library with the launch of a simulated kernel behind every call."""

    cuda: SimulatedCuda
    run_s: Mapping[str, float]  # by the name of the file
    seen: list[tuple[str, int]]  # name of the file, address of q

    def attention_fwd(self, params: AttentionFwdParams, stream: int = 0) -> None:
        """Answer for real; take simulated time."""
        assert stream == 0
        run_s = self.run_s[self.path.name]
        if run_s:
            super().attention_fwd(params)
        self._launched(params.problem.q)

    def attention_bwd(self, params: AttentionBwdParams, stream: int = 0) -> None:
        """The same, but for the question how much memory it needs, which launches nothing."""
        assert stream == 0
        super().attention_bwd(params)
        if params.workspace:
            self._launched(params.dq)

    def _launched(self, address: int) -> None:
        self.seen.append((self.path.name, address))
        self.cuda.host_now += 20e-6
        self.cuda.launch(self.path.name, self.run_s[self.path.name])


class FixedProbe(GpuProbe):
    """An unthrottled GPU."""

    def read(self) -> GpuConditions:
        """Always the same."""
        return FAST


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimulatedCuda:
    """A simulated device on which inputs lie in host memory."""
    world = SimulatedCuda()
    world.install(monkeypatch)
    TimedLibrary.cuda, TimedLibrary.seen = world, []
    monkeypatch.setattr(cuda_sides, "Library", TimedLibrary)
    monkeypatch.setattr(cuda_sides, "make_inputs", lambda case, _, seed: make_inputs(case, Device.CPU, seed))
    monkeypatch.setattr(timer, "open_gpu_probe", lambda _: FixedProbe(None, None))
    return world


def libraries(folder: Path) -> dict[Side, Path]:
    """The same library twice, under two names."""
    paths = {side: folder / f"{side.value}.so" for side in Side}
    for path in paths.values():
        path.write_bytes(host_library().path.read_bytes())
    return paths


def arguments(**changes: Any) -> dict[str, Any]:
    """As JSON brings them."""
    return {"case": case_fields(CASE)} | changes


make = partial(cuda_sides.make, generator=random.Random(1))  # noqa: S311 - placements, not secrets


@pytest.mark.parametrize("run_s", [3e-6, 300e-6])
def test_a_slower_candidate_is_seen_in_every_block(cuda: SimulatedCuda, tmp_path: Path, run_s: float) -> None:
    """By 10 %, with kernels shorter and longer than their launch, under the conditions of the GPU."""
    TimedLibrary.run_s = {"base.so": run_s, "candidate.so": 1.1 * run_s}
    sides = make(arguments(), libraries(tmp_path))
    sampled = sample_sides(sides, duration_s=0.0, sample_s=1e-3, generator=random.Random(2))  # noqa: S311

    for block in sampled.blocks:
        ratios = [c / b for c, b in zip(block.candidate_s, block.base_s, strict=True)]
        assert ratios == pytest.approx([1.1] * len(ratios), rel=0.01)
        assert block.conditions.gpu == FAST
    graph = "CUDA graph of 64 calls" if run_s < 20e-6 else "plain"
    assert sides.setting == {"clock": "CUDA events", "cache": "warm", "launch": graph, "device": "Simulated GPU"}
    assert cuda.stream == "default"


def test_both_sides_work_on_the_same_buffers(cuda: SimulatedCuda, tmp_path: Path) -> None:  # noqa: ARG001
    """So that where these lie favours neither."""
    TimedLibrary.run_s = {"base.so": 1e-3, "candidate.so": 1e-3}
    make(arguments(), libraries(tmp_path))

    assert {name for name, _ in TimedLibrary.seen} == {"base.so", "candidate.so"}
    assert len({address for _, address in TimedLibrary.seen}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mask": Mask(MaskKind.DOCUMENT, 20), "seqlen_q": 48},
        {"varlen": True, "batch": 3},
        {"softcap": 2.0, "alibi": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("operation", list(Operation))
def test_every_kind_of_case_can_be_compared(
    cuda: SimulatedCuda,  # noqa: ARG001
    tmp_path: Path,
    operation: Operation,
    changes: dict[str, Any],
) -> None:
    """Backward and masks too: both sides give equal answers, on the same buffers, and are timed."""
    TimedLibrary.run_s = {"base.so": 1e-3, "candidate.so": 1e-3}
    case = replace(CASE, operation=operation, **changes)
    sides = make({"case": case_fields(case)}, libraries(tmp_path))

    assert sides.samplers[Side.CANDIDATE](2) == pytest.approx(2e-3, rel=0.1)
    timed = [address for name, address in TimedLibrary.seen if name == "candidate.so"]
    assert len(set(timed)) == 1


def test_rotating_sides_have_more_inputs_than_the_cache_holds(cuda: SimulatedCuda, tmp_path: Path) -> None:  # noqa: ARG001
    """Each set of its own, and both sides the same sets."""
    TimedLibrary.run_s = {"base.so": 1e-3, "candidate.so": 1e-3}
    sides = make(arguments(cache="rotating"), libraries(tmp_path))
    by_side = {name: {address for other, address in TimedLibrary.seen if other == name} for name in TimedLibrary.run_s}
    elements = CASE.head_dim * (2 * 2 * CASE.seqlen_q + 2 * CASE.seqlen_k) + 2 * CASE.seqlen_q
    sets = math.floor(2 * L2_BYTES / (4 * elements)) + 1

    assert by_side["base.so"] == by_side["candidate.so"]
    assert len(by_side["base.so"]) == sets
    assert sides.setting["cache"] == f"rotating: {sets} sets of inputs"


def test_an_answer_that_one_side_leaves_out_is_not_the_other_sides(cuda: SimulatedCuda, tmp_path: Path) -> None:  # noqa: ARG001
    """Both write to one buffer; a kernel that writes nothing must not pass with what the first one left there."""
    TimedLibrary.run_s = {"base.so": 1e-3, "candidate.so": 0.0}

    with pytest.raises(RoofgateError, match=r"answers of base and candidate differ by up to nan.*not timed"):
        make(arguments(), libraries(tmp_path))


def test_an_unknown_cache_state_is_refused(cuda: SimulatedCuda, tmp_path: Path) -> None:  # noqa: ARG001
    """With those that there are."""
    with pytest.raises(RoofgateError, match="cache is 'cold', expected one of warm, flushed, rotating"):
        make(arguments(cache="cold"), libraries(tmp_path))


def test_a_case_that_no_kernel_takes_is_refused(cuda: SimulatedCuda, tmp_path: Path) -> None:  # noqa: ARG001
    """In the words of the op."""
    TimedLibrary.run_s = {"base.so": 1e-3, "candidate.so": 1e-3}
    case = arguments()["case"] | {"head_dim": 24}

    with pytest.raises(RoofgateError, match="head_dim 24"):
        make({"case": case}, libraries(tmp_path))


def test_without_a_gpu_the_next_step_is_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not a traceback of torch's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(RoofgateError, match="finds no usable NVIDIA GPU"):
        make(arguments(), dict.fromkeys(Side, tmp_path / "missing.so"))
