"""The present build, which ``nox -s tests`` makes before the tests run."""

from __future__ import annotations

import pytest

from kernels.build_record import BuildRecord, read_record
from kernels.interface import Library
from kernels.library import host_library


@pytest.fixture(scope="session")
def build_record() -> BuildRecord:
    """The record of the present build; its absence is an error, not a skip."""
    return read_record()


@pytest.fixture(scope="session")
def library() -> Library:
    """The host library."""
    return host_library()
