"""The record of an attempt to capture a case with Nsight Compute: data, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from profiles.ncu.failures import Failure, FailureKind
from profiles.ncu.ladder import CollectionResult, RungResult, RungState

SCHEMA = 1
FILE_NAME = "attempt.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureAttempt:
    """How the capture of one case went, rung by rung."""

    case: str
    tier: str
    tree: str  # of the sources, see kernels.workspace.source_tree
    started: str  # ISO 8601, UTC
    launches: int
    ncu: str  # path and version; empty if there is none
    settings: str
    rungs: tuple[RungResult, ...]
    refusal: Failure | None = None  # why it was not even tried

    @property
    def reports(self) -> tuple[str, ...]:
        """The report files of the rung that held; none if only the other layers are left."""
        held = [rung for rung in self.rungs if rung.state is RungState.HELD]
        return tuple(result.report for rung in held for result in rung.collections)

    @property
    def failure(self) -> Failure | None:
        """Why there are no reports, or why less was collected than was asked for; None if all was collected."""
        return self.refusal or next((rung.failure for rung in self.rungs if rung.failure), None)


def write_attempt(folder: Path, attempt: CaptureAttempt) -> Path:
    """Write ``folder/<case>/attempt.json``."""
    content = {"schema": SCHEMA, **asdict(attempt)}
    path = folder / attempt.case / FILE_NAME
    write_atomically(path, json.dumps(content, indent=1, default=_enum_value) + "\n")
    return path


def read_attempt(path: Path) -> CaptureAttempt:
    """Read one record; raises :class:`RoofgateError` if it cannot be understood."""
    try:
        content = dict(json.loads(path.read_text()))
        if (schema := content.pop("schema")) != SCHEMA:
            raise RoofgateError(f"{path}: schema {schema!r}, expected {SCHEMA}; run: nox -s profile")
        rungs = tuple(_rung(item) for item in content.pop("rungs"))
        refusal = content.pop("refusal")
        return CaptureAttempt(rungs=rungs, refusal=_failure(refusal) if refusal else None, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoofgateError(f"{path}: no record of a capture ({error!r:.200}); run: nox -s profile") from error


def _enum_value(item: object) -> object:
    if isinstance(item, Enum):
        return item.value
    raise TypeError(f"{item!r} cannot be stored")


def _rung(item: Mapping[str, Any]) -> RungResult:
    collections = tuple(_collection(part) for part in item["collections"])
    return RungResult(name=item["name"], state=RungState(item["state"]), collections=collections)


def _collection(item: Mapping[str, Any]) -> CollectionResult:
    failure = _failure(item["failure"]) if item["failure"] else None
    return CollectionResult(**{**item, "failure": failure})


def _failure(item: Mapping[str, Any]) -> Failure:
    return Failure(**{**item, "kind": FailureKind(item["kind"]), "details": tuple(item["details"])})
