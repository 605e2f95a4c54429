"""Fixtures of the judging core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

from perf.model import Run
from tests.perf.simulated_runs import simulated_run

# The same examples on every machine, and no time limit for each: a busy machine is no failure.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def small_run() -> Run:
    """Two cases with two peers each."""
    return simulated_run(np.random.default_rng(1), cases=2, rounds=8)
