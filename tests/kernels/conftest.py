"""The present build, which ``nox -s tests`` makes before the tests run."""

from __future__ import annotations

import pytest

from kernels.build import cuda_library_name, current_record
from kernels.build_record import BuildRecord, BuildStatus, read_record
from kernels.interface import Library
from kernels.library import host_library
from kernels.sources import CUDA_ARCHITECTURES
from kernels.workspace import Workspace


@pytest.fixture(scope="session")
def build_record() -> BuildRecord:
    """The record of the present build; its absence is an error, not a skip."""
    return read_record()


@pytest.fixture(scope="session")
def library() -> Library:
    """The host library."""
    return host_library()


@pytest.fixture(scope="session")
def record() -> BuildRecord:
    """The present build; skipped where there is no nvcc to build the CUDA libraries."""
    present = current_record(Workspace())
    library = present.library(cuda_library_name(CUDA_ARCHITECTURES[0].name))
    if library.status is BuildStatus.NOT_RUN:
        pytest.skip(library.reason)
    return present
