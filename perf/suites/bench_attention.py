"""Attention on every case of the chosen suite: one benchmark per case and implementation."""

from __future__ import annotations

from typing import Any

import pytest

from kernels.errors import RoofgateError
from perf.model import OWN_IMPLEMENTATION, Case, Device
from perf.plugin import Recorder
from perf.recording import REPLAY_CLOCK, record


@pytest.mark.benchmark(timer=REPLAY_CLOCK)
def test_attention(benchmark: Any, recorder: Recorder, device: Device, case: Case, implementation: str) -> None:  # noqa: ANN401
    """Record this implementation's share of the case's alternating measurement."""
    try:
        result = recorder.case(device, case)
    except RoofgateError as error:
        if implementation != OWN_IMPLEMENTATION:
            pytest.skip("the case could not be measured")
        pytest.fail(str(error), pytrace=False)
    if implementation in result.problems:
        pytest.skip(result.problems[implementation].reason)
    measured = result.measurements[implementation]
    record(benchmark, f"{case.name}[{implementation}]", case.name, measured.samples_s, measured.iterations)
