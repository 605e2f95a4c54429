"""A mask's time is held against the full mask's on the same shapes, and against the tiles that it leaves."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from perf.case import parse_case
from perf.compare import by_case, full_masks
from perf.findings import CaseAssessment
from perf.gate import Findings, apply_rule
from perf.model import FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, Device, Measurement, Metric, Verdict
from perf.peers import implementations
from perf.proportion import full_case, is_held_against_full, proportion
from perf.rules import Maximum, Rule
from perf.work import share_of_tiles
from tests.builders import build_assessment, build_commit, build_measurement, build_run

FULL_S = 10e-3


def measured(name: str, seconds: float, noise: float = 0.0, seed: int = 1) -> Measurement:
    """A case of this name that took so long; the noise of equal seeds is that of the same rounds."""
    generator = random.Random(seed)  # noqa: S311 - noise
    case = parse_case(name)
    like = build_measurement(case, center_s=seconds)
    return replace(like, samples_s=tuple(seconds * math.exp(generator.gauss(0, noise)) for _ in range(60)))


def verdict(case: CaseAssessment) -> Verdict:
    """What a rule of at most 1.15 says of it."""
    rule = Rule(name="masks", metric=Metric.TIME_OVER_SHARE, subjects=("*",), targets=("*",), limit=Maximum(value=1.15))
    found = Findings(cases=(case,), kernels=(), instruction_sets=frozenset(), suite="irregular", failures=())
    (result,) = apply_rule(rule, found)
    return result.verdict


@pytest.mark.parametrize(
    ("excess", "noise", "expected"),
    [
        (1.0, 0.0, Verdict.UNCHANGED),
        (1.1, 0.01, Verdict.UNCHANGED),
        (1.15, 0.2, Verdict.INCONCLUSIVE),
        (1.3, 0.02, Verdict.REGRESSED),
    ],
)
def test_a_mask_may_cost_its_share_of_tiles(excess: float, noise: float, expected: Verdict) -> None:
    """And not much more; where the samples leave it open, nothing is said."""
    share = 31 / 256
    full = measured("attention_fwd-bf16-1x8x1024x64-full", FULL_S, noise, seed=1)
    masked = measured("attention_fwd-bf16-1x8x1024x64-window64", FULL_S * share * excess, noise, seed=2)
    found = proportion(masked, full)

    assert found.share == share_of_tiles(masked.case) == share
    assert found.time_over_share == pytest.approx(excess, rel=3 * noise / 5 + 1e-9)
    assert found.interval.low <= found.time_over_share <= found.interval.high
    assert verdict(replace(build_assessment().cases[0], proportion=found)) is expected


def test_what_disturbs_both_does_not_count() -> None:
    """A neighbour that doubles every other round doubles the full mask's sample of that round too."""
    full, masked = (measured(f"attention_fwd-bf16-1x8x1024x64-{mask}", FULL_S, 0.5) for mask in ("full", "window64"))

    assert proportion(masked, full).time == pytest.approx(1.0)


def test_without_the_full_mask_beside_it_nothing_is_said() -> None:
    """Not by any rule."""
    assert verdict(build_assessment().cases[0]) is Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("name", "is_held"),
    [("full", False), ("causal", False), ("window64", True), ("sparse90", True), ("causal-varlen", True)],
)
def test_the_full_mask_is_measured_beside_others_than_causal(name: str, is_held: bool) -> None:
    """On the host and on a GPU."""
    case = parse_case(f"attention_fwd-bf16-1x8x1024x64-{name}")

    assert is_held_against_full(case) is is_held
    for device in Device:
        assert (FULL_MASK_IMPLEMENTATION in implementations(case, device)) is is_held


def test_a_run_keeps_the_full_mask_apart_from_the_peers() -> None:
    """It is no peer: neither the fastest one, nor a control of the noise between two runs."""
    case = parse_case("attention_fwd-bf16-1x8x1024x64-window64")
    full, own, peer = (
        build_measurement(case, center_s=FULL_S, implementation=name)
        for name in (FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, "torch_flash")
    )
    run = replace(build_run(build_assessment().cases, build_commit()), measurements=(own, full, peer))
    key = (case, own.device, own.target)

    assert by_case(run) == {key: {OWN_IMPLEMENTATION: own, "torch_flash": peer}}
    assert full_masks(run) == {key: full}


def test_sequences_are_held_against_the_whole_batch() -> None:
    """Of as many positions as there might be; their share is that of the tiles of all sequences."""
    case = parse_case("attention_fwd-bf16-4x8x1024x64-causal-varlen")

    assert full_case(case).name == "attention_fwd-bf16-4x8x1024x64-full"
    assert share_of_tiles(case) < share_of_tiles(replace(case, varlen=False)) == 17 / 32
