"""The static layer of this project's own CUDA kernels, of the present build."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.build_record import BuildStatus, read_record
from kernels.workspace import Workspace
from perf.model import Layer, Metric
from profiles.static import StaticLayer, capture_static


@pytest.fixture(scope="module")
def layer(nvdisasm: Path) -> StaticLayer:  # noqa: ARG001 (skips where it is missing)
    """Captured with the workspace's cache. ``nox -s tests`` builds first: the absence of a build is an error."""
    record = read_record()
    if not any(library.device_code for library in record.libraries if library.status is BuildStatus.BUILT):
        pytest.skip("no CUDA library is built here: the build record says why")
    return capture_static(record, Workspace().captures / "cache", lambda _: None)


def test_every_kernel_has_every_static_metric(layer: StaticLayer) -> None:
    """A kernel that was added without its launch facts has no occupancy, and is found here."""
    assert layer.errors == ()
    expected = {metric for metric in Metric if metric.layer is Layer.STATIC}
    assert [capture.kernel for capture in layer.captures.captures if set(capture.counters) != expected] == []


def test_every_kernel_fits_its_architecture(layer: StaticLayer) -> None:
    """A launch that asks for more than a multiprocessor has would fail on the first GPU that it meets."""
    assert [found.kernel for found in layer.captures.captures if found.counters[Metric.OCCUPANCY] == 0] == []


def test_attention_runs_on_tensor_cores_with_asynchronous_copies(layer: StaticLayer) -> None:
    """The instructions that its speed rests on are in the machine code of every architecture."""
    attention = [found for found in layer.captures.captures if found.kernel.startswith("attention_fwd<")]
    assert attention
    for found in attention:
        for metric in (Metric.SASS_TENSOR, Metric.SASS_ASYNC_COPIES, Metric.SASS_SPECIAL_FUNCTION):
            assert found.counters[metric] > 0, (found.kernel, found.architecture, metric)
