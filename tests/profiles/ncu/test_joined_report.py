"""Runs over the same launches become one report; runs over others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.errors import RoofgateError
from profiles.ncu.joined_report import join_reports
from profiles.ncu.model import Counter, Exactness, Launch, Report, Rule

RULE = Rule(section="SpeedOfLight", rule="Bound", kind="OPT", message="bound by nothing")


def build_launch(number: int = 0, kernel: str = "k", missing: dict[str, str] | None = None, **values: float) -> Launch:
    """A launch with these counters."""
    return Launch(
        number=number,
        kernel=kernel,
        function=kernel,
        grid=(8, 1, 1),
        block=(128, 1, 1),
        device="",
        compute_capability="9.0",
        counters={name: Counter(name, value, "", Exactness.EXACT) for name, value in values.items()},
        missing=missing or {},
        rules=(RULE,),
    )


def build_report(name: str, *launches: Launch) -> Report:
    """A report of these launches."""
    return Report(path=name, reader="a test", launches=launches, notes=("rounded",))


def test_every_launch_has_the_counters_of_all_runs() -> None:
    """Launch by launch; of a counter that both hold, the first run's value."""
    counters = build_report("a", build_launch(0, x=1.0, time=10.0), build_launch(1, x=2.0, time=11.0))
    sass = build_report("b", build_launch(0, y=3.0, time=90.0), build_launch(1, y=4.0, time=91.0))

    joined = join_reports([counters, sass])

    assert [{name: counter.value for name, counter in launch.counters.items()} for launch in joined.launches] == [
        {"x": 1.0, "time": 10.0, "y": 3.0},
        {"x": 2.0, "time": 11.0, "y": 4.0},
    ]
    assert joined.notes == ("rounded", "the counters come from 2 runs: a, b")
    assert joined.launches[0].rules == (RULE,)


def test_what_one_run_lacks_another_may_have() -> None:
    """What all lack stays missing, with the reason."""
    first = build_report("a", build_launch(missing={"y": "n/a", "z": "no data"}, x=1.0))
    second = build_report("b", build_launch(missing={"z": "n/a"}, y=2.0))

    (launch,) = join_reports([first, second]).launches

    assert set(launch.counters) == {"x", "y"}
    assert set(launch.missing) == {"z"}


def test_one_report_stays_as_it_is() -> None:
    """Nothing was joined."""
    report = build_report("a", build_launch(x=1.0))

    assert join_reports([report]) is report


@pytest.mark.parametrize(
    "other",
    [
        build_report("b"),
        build_report("b", build_launch(0, "other")),
        build_report("b", build_launch(0), build_launch(1)),
        build_report("b", replace(build_launch(0), grid=(9, 1, 1))),
    ],
)
def test_other_launches_are_refused(other: Report) -> None:
    """Counters of two kernels in one launch would be nonsense."""
    with pytest.raises(RoofgateError, match="capture the case again"):
        join_reports([build_report("a", build_launch(0)), other])


def test_nothing_is_refused() -> None:
    """There is no empty report."""
    with pytest.raises(RoofgateError, match="no reports"):
        join_reports([])
