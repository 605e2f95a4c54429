"""What runs inside the profiled range: the kernel, as often as asked, and nothing else."""

from __future__ import annotations

import pytest
import torch

from kernels.errors import RoofgateError
from perf import profiled_launches
from perf.model import FULL, Case, DType, Operation
from perf.profiled_launches import launch_in_range
from perf.timer import Contender

CASE = Case(
    operation=Operation.ATTENTION_FWD,
    dtype=DType.BF16,
    batch=1,
    heads_q=1,
    heads_kv=1,
    seqlen_q=128,
    seqlen_k=128,
    head_dim=64,
    mask=FULL,
)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order, on a machine that believes it has a GPU."""
    happened: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: happened.append("wait"))
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", lambda name: happened.append(f"push {name}"))
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: happened.append("pop"))
    monkeypatch.setattr(profiled_launches, "make_inputs", lambda *_: happened.append("inputs"))
    contender = Contender(lambda: happened.append("launch"))
    monkeypatch.setattr(profiled_launches, "own_contender", lambda *_: contender)
    return happened


def test_only_the_launches_are_inside_the_range(events: list[str]) -> None:
    """Inputs are made and code is loaded before; the range ends when the kernels have."""
    launch_in_range(CASE, 2, "name")

    assert events == ["inputs", "launch", "wait", "push name", "launch", "launch", "wait", "pop"]


@pytest.mark.parametrize("launches", [0, -1])
def test_no_launch_is_refused(launches: int, events: list[str]) -> None:
    """It would be a range without a kernel."""
    with pytest.raises(RoofgateError, match="at least 1"):
        launch_in_range(CASE, launches, "name")

    assert events == []


def test_without_a_gpu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(RoofgateError, match="no CUDA device"):
        launch_in_range(CASE, 1, "name")
