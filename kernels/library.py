"""Find and open the libraries of the present build."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kernels.build import HOST_LIBRARY, cuda_library_name
from kernels.build_record import DEFAULT_RECORD, BuildRecord, BuildStatus, read_record
from kernels.errors import RoofgateError
from kernels.interface import Library
from kernels.sources import CUDA_ARCHITECTURES


@cache
def open_library(name: str, record_path: Path = DEFAULT_RECORD) -> Library:
    """Open the present build's library of this name; raises :class:`RoofgateError` if it was not built."""
    return open_built(read_record(record_path), name)


def open_built(record: BuildRecord, name: str) -> Library:
    """Open the library called ``name`` of a build record; raises :class:`RoofgateError` if it was not built."""
    built = record.library(name)
    if built.status is not BuildStatus.BUILT:
        # The compiler's whole answer can be thousands of lines; the build printed it and the report shows it.
        first_line = built.reason.partition("\n")[0]
        raise RoofgateError(f"library {name!r} is not built ({first_line}); run: nox -s build")
    return Library(Path(built.library), built.fingerprint)


def host_library() -> Library:
    """The host library of the present build."""
    return open_library(HOST_LIBRARY)


def cuda_library(major: int, minor: int) -> Library:
    """The CUDA library for a GPU of this compute capability.

    A capability that no library was built for gets the one that ships PTX, which the driver compiles for it.
    Raises :class:`RoofgateError` for GPUs older than every architecture built.
    """
    exact = [known for known in CUDA_ARCHITECTURES if known.number == 10 * major + minor]
    general = [known for known in CUDA_ARCHITECTURES if known.keeps_ptx and known.number <= 10 * major + minor]
    for known in exact + general:
        return open_library(cuda_library_name(known.name))
    oldest = min(known.number for known in CUDA_ARCHITECTURES)
    raise RoofgateError(
        f"compute capability {major}.{minor} is too old; the CUDA kernels need {oldest / 10:.1f} or later"
    )
