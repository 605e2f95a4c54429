"""The simulator's program, compiled once per session, and empty device memories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels.build import cuda_library_name, current_record
from kernels.build_record import BuildRecord, BuildStatus
from kernels.workspace import Workspace
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


@pytest.fixture(scope="session")
def cuda_build() -> BuildRecord:
    """The present build, with the CUDA library of sm_80; skipped where there is no nvcc."""
    record = current_record(Workspace())
    library = record.library(cuda_library_name("sm_80"))
    if library.status is BuildStatus.NOT_RUN:
        pytest.skip(library.reason)
    return record
