"""The simulator's program, compiled once per session, and empty device memories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.run import simulator_program


@pytest.fixture(scope="session")
def simulator() -> Path:
    """The run-time's program."""
    return simulator_program()


@pytest.fixture
def memory() -> Iterator[DeviceMemory]:
    """Device memory without arrays."""
    with DeviceMemory() as empty:
        yield empty
