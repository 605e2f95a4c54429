"""What a build produced: the one file that says which libraries, cubins and PTX belong to the present sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

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
class ObjectCode:
    """The machine code of one host source, and the sources whose code it can reach once it is linked."""

    source: str
    fingerprint: str  # SHA-256, independent of comments, line numbers and paths
    calls: tuple[str, ...] = ()  # define something that this object refers to
    borrows: tuple[str, ...] = ()  # of an inline function that both have, the linker may keep theirs


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
    link_flags: tuple[str, ...] = ()
    device_code: tuple[DeviceCode, ...] = ()
    objects: tuple[ObjectCode, ...] = ()  # of the host library; none in records of before 2026-11-24
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoofgateError(f"{path}: not a build record ({error!r}); run: nox -s build") from error


def _library(item: Mapping[str, Any]) -> LibraryBuild:
    # Another commit may have written the record: a field that only it knows is left out, one that it lacks has its
    # default.
    content = _known(LibraryBuild, item)
    content["status"] = BuildStatus(content["status"])
    for name in ("flags", "link_flags"):
        content[name] = tuple(content.get(name, ()))
    content["device_code"] = tuple(DeviceCode(**_known(DeviceCode, code)) for code in content.get("device_code", ()))
    content["objects"] = tuple(_object_code(code) for code in content.get("objects", ()))
    return LibraryBuild(**content)


def _object_code(item: Mapping[str, Any]) -> ObjectCode:
    content = _known(ObjectCode, item)
    return ObjectCode(**content | {name: tuple(content.get(name, ())) for name in ("calls", "borrows")})


def _known(kind: type[LibraryBuild | DeviceCode | ObjectCode], item: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in item.items() if name in names}
