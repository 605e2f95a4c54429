"""What a build produced: the one file that says which libraries, cubins and PTX belong to the present sources."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError

SCHEMA = 1
DEFAULT_RECORD = Path("out/build/build.json")


class BuildStatus(Enum):
    """How the build of one library ended."""

    BUILT = "built"
    FAILED = "failed"  # a compiler refused the source
    NOT_RUN = "not_run"  # no compiler for it here


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """The artefacts of one CUDA source for one architecture; paths are relative to the repository's root."""

    source: str
    cubin: str
    ptx: str
    compiler_log: str  # what ptxas -v said


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryBuild:
    """One library: the host's, or the CUDA one for one architecture."""

    name: str  # "cpu", "cuda_sm_80"
    architecture: str  # "cpu", "sm_80", "sm_90a"
    status: BuildStatus
    reason: str = ""  # the compiler's own words, or what is missing
    library: str = ""
    fingerprint: str = ""  # SHA-256 of the machine code, independent of paths and time
    compiler: str = ""
    flags: tuple[str, ...] = ()
    device_code: tuple[DeviceCode, ...] = ()
    seconds: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build of all libraries from one state of the sources."""

    sources_digest: str
    libraries: tuple[LibraryBuild, ...]

    def library(self, name: str) -> LibraryBuild:
        """The library with this name; raises :class:`RoofgateError` if the build knows none."""
        for library in self.libraries:
            if library.name == name:
                return library
        known = ", ".join(library.name for library in self.libraries) or "none"
        raise RoofgateError(f"no library {name!r} in the build record (it has: {known}); run: nox -s build")


def write_record(record: BuildRecord, path: Path = DEFAULT_RECORD) -> None:
    """Write ``record`` as JSON."""
    libraries = [asdict(library) | {"status": library.status.value} for library in record.libraries]
    content = {"schema": SCHEMA, "sources_digest": record.sources_digest, "libraries": libraries}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def read_record(path: Path = DEFAULT_RECORD) -> BuildRecord:
    """Read the record at ``path``; raises :class:`RoofgateError` if there is none or it cannot be understood."""
    try:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise RoofgateError(f"{path}: schema {content['schema']}, expected {SCHEMA}; run: nox -s build")
        libraries = tuple(_library(item) for item in content["libraries"])
        return BuildRecord(sources_digest=content["sources_digest"], libraries=libraries)
    except FileNotFoundError:
        raise RoofgateError(f"{path}: nothing is built yet; run: nox -s build") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RoofgateError(f"{path}: not a build record ({error!r}); run: nox -s build") from error


def _library(item: dict[str, object]) -> LibraryBuild:
    fields = dict(item)
    fields["status"] = BuildStatus(fields["status"])
    fields["flags"] = tuple(fields["flags"])  # type: ignore[arg-type]
    fields["device_code"] = tuple(DeviceCode(**code) for code in fields["device_code"])  # type: ignore[attr-defined]
    return LibraryBuild(**fields)  # type: ignore[arg-type]
