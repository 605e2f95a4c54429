"""Floors on declared targets, and roofline positions under measured ceilings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perf.config import load_suites, load_targets
from perf.model import Ceiling, CeilingKind, Device, DType, Target
from perf.roofline import find_ceiling, floor, floors, roofline_point, throughput
from perf.work import exp_count, flop_count, minimum_bytes
from tests.perf.simulated_runs import simulated_case, simulated_run

TARGET = Target(
    name="invented",
    title="Invented",
    device=Device.CUDA,
    architecture="sm_80",
    flop_per_s={DType.FP32: 1e12, DType.BF16: 4e12},
    exp_per_s=1e11,
    dram_bytes_per_s=1e11,
)
CASE = simulated_case(7)


def ceiling(kind: CeilingKind, value: float, dtype: DType | None = None) -> Ceiling:
    """A ceiling of the host."""
    return Ceiling(kind=kind, device=Device.CPU, dtype=dtype, value=value, samples=(value,), detail="invented")


def test_floor_is_the_longest_of_its_three_parts() -> None:
    """Perfect overlap hides all but the longest part, which is named."""
    found = floor(CASE, TARGET)

    assert found is not None
    assert found.bytes_s == minimum_bytes(CASE) / 1e11
    assert found.tensor_s == flop_count(CASE) / 4e12
    assert found.exp_s == exp_count(CASE) / 1e11
    assert found.seconds == max(found.bytes_s, found.tensor_s, found.exp_s)


@pytest.mark.parametrize(
    ("bound", "changes"),
    [
        ("bytes", {"dram_bytes_per_s": 1.0}),
        ("tensor", {"flop_per_s": {DType.BF16: 1.0}}),
        ("exp", {"exp_per_s": 1.0}),
    ],
)
def test_the_slowest_resource_sets_the_bound(bound: str, changes: dict[str, object]) -> None:
    """Each resource, made slow, becomes the bound."""
    found = floor(CASE, replace(TARGET, **changes))  # type: ignore[arg-type]

    assert found is not None
    assert found.bound == bound


def test_no_floor_without_a_peak_for_the_element_type() -> None:
    """A missing figure is never guessed."""
    assert floor(CASE, replace(TARGET, flop_per_s={DType.FP32: 1e12})) is None
    assert floor(CASE, replace(TARGET, dram_bytes_per_s=None)) is None
    assert floors(CASE, load_targets()[:1]) == ()  # the host declares nothing


def test_every_shipped_case_has_a_floor_on_every_gpu_that_has_its_type() -> None:
    """All floors are positive, finite and at least the time of moving the bytes."""
    targets = [target for target in load_targets() if target.device is Device.CUDA]
    for suite in load_suites().values():
        for case in suite.cases(Device.CUDA):
            found = floors(case, targets)
            assert len(found) == len(targets)
            assert all(0 < each.bytes_s <= each.seconds < 1 for each in found)


def test_roofline_point_under_the_ridge_is_bound_by_bytes() -> None:
    """Attainable is min(peak, intensity x bandwidth)."""
    own = simulated_run(np.random.default_rng(1), cases=1).measurements[0]
    copy, peak = ceiling(CeilingKind.COPY, 1e9), ceiling(CeilingKind.INSTRUCTION_PEAK, 1e15, own.case.dtype)
    point = roofline_point(own, [copy, peak])

    assert point is not None
    assert point.bound == "bytes"
    assert point.attainable_flop_per_s == pytest.approx(point.intensity_flop_per_byte * 1e9)
    assert point.fraction == pytest.approx(throughput(own.case, own.median_s) / point.attainable_flop_per_s)
    assert point.gemm_fraction is None


def test_roofline_point_needs_ceilings_of_its_own_type() -> None:
    """A peak of another element type is no ceiling."""
    own = simulated_run(np.random.default_rng(1), cases=1).measurements[0]
    other = DType.BF16 if own.case.dtype is DType.FP32 else DType.FP32

    assert (
        roofline_point(own, [ceiling(CeilingKind.COPY, 1e9), ceiling(CeilingKind.INSTRUCTION_PEAK, 1e9, other)]) is None
    )
    assert find_ceiling([], CeilingKind.COPY, Device.CPU) is None
