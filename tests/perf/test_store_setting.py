"""How a measurement was timed and how many rounds it lost are kept, and files from before that are still read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from perf import store
from perf.model import Run
from tests.perf.stored_runs import save


def test_dropped_rounds_and_the_setting_come_back(tmp_path: Path, small_run: Run) -> None:
    """For every measurement of a run."""
    setting = {"cache": "warm", "launch": "CUDA graph of 64 calls", "sm_clock_hz": "1.98e+09"}
    measurements = tuple(replace(each, dropped=3, setting=setting) for each in small_run.measurements)
    path = save(tmp_path, replace(small_run, measurements=measurements))

    assert store.read_run(path).measurements == measurements


def test_a_file_from_before_there_were_settings_is_read(tmp_path: Path, small_run: Run) -> None:
    """Missing means nothing dropped and nothing said."""
    path = save(tmp_path, small_run)
    document = json.loads(path.read_text())
    for benchmark in document["benchmarks"]:
        for name in ("dropped", "setting"):
            benchmark["extra_info"]["roofgate"].pop(name, None)
    path.write_text(json.dumps(document))
    read = store.read_run(path)

    assert read.measurements
    assert {each.dropped for each in read.measurements} == {0}
    assert all(each.setting == {} for each in read.measurements)


def test_a_measurement_with_a_setting_can_be_hashed(small_run: Run) -> None:
    """As every other value of the model that is frozen."""
    first = replace(small_run.measurements[0], setting={"cache": "warm"})

    assert first in {first}
