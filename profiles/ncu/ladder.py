"""What is tried in turn when a capture fails: from everything down to no counters at all. Pure but for the attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from profiles.ncu.command_line import Collection
from profiles.ncu.failures import Failure

LAST_RUNG = "static and simulated only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Collections that are captured together, each in a run of its own; none on the last rung."""

    name: str
    collections: tuple[Collection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The rungs of a tier, from the top; the last holds whatever happens."""

    tier: str
    rungs: tuple[Rung, ...]


class RungState(Enum):
    """How it went on a rung."""

    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"  # a rung above failed for a reason that collecting less does not mend


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionResult:
    """How one collection was captured."""

    name: str
    report: str = ""  # the file; empty if there is none that counts
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungResult:
    """How it went on one rung."""

    name: str
    state: RungState
    collections: tuple[CollectionResult, ...] = ()

    @property
    def failure(self) -> Failure | None:
        """The first failure on it."""
        return next((result.failure for result in self.collections if result.failure), None)


def ladder(tier: str, collections: Sequence[Collection]) -> Ladder:
    """The ladder of a tier: whole sections if it has any, then its metrics, then hardware counters alone.

    Args:
        tier: its name.
        collections: what it captures. The first holds hardware counters alone; those with patched instructions follow,
            which some kernels do not survive.
    """
    full = [Rung(name="full sections", collections=tuple(collections))] if any(c.sections for c in collections) else []
    metrics = tuple(replace(each, name=_targeted(each), sections=()) for each in collections if each.metrics)
    targeted = [Rung(name="targeted metrics", collections=metrics)] if metrics else []
    counters_only = [Rung(name="counters only", collections=metrics[:1])] if len(metrics) > 1 else []
    return Ladder(tier=tier, rungs=(*full, *targeted, *counters_only, Rung(name=LAST_RUNG)))


def _targeted(collection: Collection) -> str:
    """A name of its own for what is left of a collection without its sections."""
    return f"{collection.name}-metrics" if collection.sections else collection.name


def descend(plan: Ladder, attempt: Callable[[Collection], CollectionResult]) -> tuple[RungResult, ...]:
    """Try the rungs from the top until one holds; every one is in the answer, down to the one that held.

    A collection that was captured on a rung that failed is not captured again.
    """
    return tuple(_results(plan.rungs, attempt))


def _results(rungs: Sequence[Rung], attempt: Callable[[Collection], CollectionResult]) -> Iterator[RungResult]:
    captured: dict[Collection, CollectionResult] = {}
    hopeless = False
    for rung in rungs:
        if hopeless and rung.collections:
            yield RungResult(name=rung.name, state=RungState.SKIPPED)
            continue
        result = _try(rung, attempt, captured)
        yield result
        if result.state is RungState.HELD:
            return
        hopeless = result.failure is not None and result.failure.kind.ends_ladder


def _try(
    rung: Rung, attempt: Callable[[Collection], CollectionResult], captured: dict[Collection, CollectionResult]
) -> RungResult:
    results: list[CollectionResult] = []
    for collection in rung.collections:
        result = captured.get(collection) or attempt(collection)
        results.append(result)
        if result.failure is not None:
            return RungResult(name=rung.name, state=RungState.FAILED, collections=tuple(results))
        captured[collection] = result
    return RungResult(name=rung.name, state=RungState.HELD, collections=tuple(results))
