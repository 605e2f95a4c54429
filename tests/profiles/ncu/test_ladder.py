"""A capture that fails goes on with less, and every rung is on record."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from profiles.ncu.command_line import Collection
from profiles.ncu.failures import Failure, FailureKind
from profiles.ncu.ladder import LAST_RUNG, CollectionResult, Ladder, RungResult, RungState, descend, ladder

COUNTERS = Collection(name="full-counters", metrics=("a",), sections=("SpeedOfLight",))
SASS = Collection(name="full-sass", metrics=("b",), sections=("SourceCounters",))
FULL = ladder("full", (COUNTERS, SASS))


def attempts(plan: Ladder, failures: Mapping[str, FailureKind]) -> tuple[tuple[RungResult, ...], list[str]]:
    """Go down ``plan`` where these collections fail; returns the rungs and what was run."""
    run: list[str] = []

    def attempt(collection: Collection) -> CollectionResult:
        run.append(collection.name)
        kind = failures.get(collection.name)
        failure = Failure(kind=kind, cause="c", remedy="r") if kind else None
        return CollectionResult(name=collection.name, report=f"{collection.name}.ncu-rep", failure=failure)

    return descend(plan, attempt), run


def states(rungs: tuple[RungResult, ...]) -> dict[str, RungState]:
    """By name."""
    return {rung.name: rung.state for rung in rungs}


def test_a_tier_with_sections_has_four_rungs() -> None:
    """From everything to nothing."""
    names = {rung.name: [collection.name for collection in rung.collections] for rung in FULL.rungs}

    assert names == {
        "full sections": ["full-counters", "full-sass"],
        "targeted metrics": ["full-counters-metrics", "full-sass-metrics"],
        "counters only": ["full-counters-metrics"],
        LAST_RUNG: [],
    }
    assert all(not collection.sections for rung in FULL.rungs[1:] for collection in rung.collections)


def test_a_tier_of_metrics_begins_with_them() -> None:
    """There is no fuller rung."""
    plan = ladder(
        "gate", (Collection(name="gate-counters", metrics=("a",)), Collection(name="gate-sass", metrics=("b",)))
    )

    assert [rung.name for rung in plan.rungs] == ["targeted metrics", "counters only", LAST_RUNG]
    assert [collection.name for collection in plan.rungs[0].collections] == ["gate-counters", "gate-sass"]


def test_what_holds_at_once_tries_nothing_else() -> None:
    """Only the top rung is on record."""
    rungs, run = attempts(FULL, {})

    assert states(rungs) == {"full sections": RungState.HELD}
    assert run == ["full-counters", "full-sass"]


def test_a_hang_under_patched_instructions_leaves_the_counters() -> None:
    """Which are not captured a second time."""
    rungs, run = attempts(FULL, {"full-sass": FailureKind.HANG, "full-sass-metrics": FailureKind.HANG})

    assert states(rungs) == {
        "full sections": RungState.FAILED,
        "targeted metrics": RungState.FAILED,
        "counters only": RungState.HELD,
    }
    assert run == ["full-counters", "full-sass", "full-counters-metrics", "full-sass-metrics"]
    assert rungs[-1].collections[0].report == "full-counters-metrics.ncu-rep"


def test_when_everything_fails_the_other_layers_are_left() -> None:
    """The last rung always holds, and holds no report."""
    failing = dict.fromkeys(["full-counters", "full-counters-metrics"], FailureKind.HANG)

    rungs, _ = attempts(FULL, failing)

    assert [rung.state for rung in rungs] == [RungState.FAILED] * 3 + [RungState.HELD]
    assert rungs[-1] == RungResult(name=LAST_RUNG, state=RungState.HELD)


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind.ends_ladder])
def test_a_failure_that_less_does_not_mend_skips_the_rungs_between(kind: FailureKind) -> None:
    """Without permission there is no point in asking for fewer counters."""
    rungs, run = attempts(FULL, {"full-counters": kind})

    assert states(rungs) == {
        "full sections": RungState.FAILED,
        "targeted metrics": RungState.SKIPPED,
        "counters only": RungState.SKIPPED,
        LAST_RUNG: RungState.HELD,
    }
    assert run == ["full-counters"]


def test_what_depends_on_the_collection_goes_on() -> None:
    """A metric, a section, a hang, a report: less may well work."""
    going_on = {kind for kind in FailureKind if not kind.ends_ladder}

    assert {
        FailureKind.HANG,
        FailureKind.UNKNOWN_METRIC,
        FailureKind.MISSING_VALUES,
        FailureKind.DAMAGED_REPORT,
        FailureKind.REFUSED_COMMAND,
        FailureKind.SHARED_MIG_INSTANCE,
        FailureKind.UNEXPLAINED,
    } <= going_on
