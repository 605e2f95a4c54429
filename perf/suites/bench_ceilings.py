"""The ceilings of this machine, measured with every run."""

from __future__ import annotations

from typing import Any

import pytest

from kernels.errors import RoofgateError
from perf import units
from perf.ceilings import CeilingProbe
from perf.model import CeilingKind
from perf.plugin import Recorder
from perf.recording import REPLAY_CLOCK, record


@pytest.mark.benchmark(timer=REPLAY_CLOCK)
def test_ceiling(benchmark: Any, recorder: Recorder, probe: CeilingProbe) -> None:  # noqa: ANN401
    """Record one ceiling."""
    try:
        measured = recorder.ceiling(probe)
    except RoofgateError as error:
        pytest.fail(str(error), pytrace=False)
    value = measured.ceiling.value
    rate = units.byte_rate(value) if probe.kind is CeilingKind.COPY else units.flop_rate(value)
    print(f"{probe.name}: {rate} ({measured.ceiling.detail})")
    record(benchmark, probe.name, "ceilings", measured.samples_s, iterations=1)
