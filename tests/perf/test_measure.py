"""One case measured for real: ours and torch's kernels, right answers only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kernels.library import host_library
from perf import measure
from perf.case_inputs import make_inputs
from perf.measure import WrongAnswerError, measure_case
from perf.model import (
    CAUSAL,
    FULL,
    FULL_MASK_IMPLEMENTATION,
    OWN_IMPLEMENTATION,
    Case,
    Device,
    DType,
    Mask,
    MaskKind,
    Operation,
)
from perf.peers import peer_contenders
from perf.timer import Contender


def small_case(*, mask: Mask = FULL, seqlen_k: int = 64) -> Case:
    """A case of well under a millisecond."""
    return Case(
        operation=Operation.ATTENTION_FWD,
        dtype=DType.FP32,
        batch=1,
        heads_q=4,
        heads_kv=2,
        seqlen_q=64,
        seqlen_k=seqlen_k,
        head_dim=64,
        mask=mask,
    )


@pytest.mark.parametrize("seqlen_k", [64, 96])
def test_ours_and_the_peers_answer_the_same_question(seqlen_k: int) -> None:
    """Causal with unequal lengths too, where torch aligns its mask elsewhere unless it is told."""
    result = measure_case(small_case(mask=CAUSAL, seqlen_k=seqlen_k), Device.CPU, "cpu", seconds_each=0.05)
    own = result.measurements[OWN_IMPLEMENTATION]

    assert set(result.measurements) | set(result.problems) == {OWN_IMPLEMENTATION, "torch_flash", "torch_math"}
    assert own.max_abs_difference is not None
    assert own.max_abs_difference < 1e-5
    assert own.library_fingerprint == host_library().fingerprint
    assert len({len(each.samples_s) for each in result.measurements.values()}) == 1


def test_a_wrong_answer_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken kernel can be very fast; its time must not enter the history."""
    wrong = torch.zeros(1, 4, 64, 64)
    monkeypatch.setattr(measure, "own_contender", lambda *_: Contender(lambda: (wrong,)))

    with pytest.raises(WrongAnswerError, match="differs from torch's by up to"):
        measure_case(small_case(), Device.CPU, "cpu", seconds_each=0.05)


def test_a_mask_is_measured_beside_the_full_one() -> None:
    """In the same rounds, so that the samples pair up; it is our kernel too."""
    case = small_case(mask=Mask(MaskKind.WINDOW, 16))
    found = measure_case(case, Device.CPU, "cpu", seconds_each=0.05).measurements
    own, full = found[OWN_IMPLEMENTATION], found[FULL_MASK_IMPLEMENTATION]

    assert full.case == case
    assert len(full.samples_s) == len(own.samples_s)
    assert full.library_fingerprint == own.library_fingerprint
    assert full.max_abs_difference is None


@pytest.mark.parametrize("spoilt", ["dQ", "dK", "dV"])
def test_a_wrong_gradient_is_not_timed(monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    """Any of the three; the message names it."""
    case = replace(small_case(), operation=Operation.ATTENTION_BWD)
    right = peer_contenders(case, Device.CPU, make_inputs(case, Device.CPU))[2]
    assert right is not None
    answer = tuple(
        torch.zeros_like(tensor) if name == spoilt else tensor
        for name, tensor in zip(("dQ", "dK", "dV"), right, strict=True)
    )
    monkeypatch.setattr(measure, "own_contender", lambda *_: Contender(lambda: answer))

    with pytest.raises(WrongAnswerError, match=f"{spoilt} differs from torch's by up to"):
        measure_case(case, Device.CPU, "cpu", seconds_each=0.05)


def test_a_nan_is_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison with NaN is false, so the check must not be written the other way round."""
    wrong = torch.full((1, 4, 64, 64), torch.nan)
    monkeypatch.setattr(measure, "own_contender", lambda *_: Contender(lambda: (wrong,)))

    with pytest.raises(WrongAnswerError):
        measure_case(small_case(), Device.CPU, "cpu", seconds_each=0.05)
