"""Captures kept as JSON: nothing is lost or rounded, and a damaged file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ncu.model import Counter, Exactness, Launch, Report, Rule
from profiles.ncu.stored_report import read_stored_report, read_stored_reports, stored_path, write_report

TEXT = st.text(max_size=20)
EXTENTS = st.none() | st.tuples(*(st.integers(1, 2**31),) * 3)
COUNTERS = st.builds(
    Counter,
    name=TEXT,
    value=st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    unit=st.sampled_from(["", "s", "B", "%", "cycle"]),
    exactness=st.sampled_from(list(Exactness)),
    instances=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)
LAUNCHES = st.builds(
    Launch,
    number=st.integers(0, 10**6),
    kernel=TEXT,
    function=TEXT,
    grid=EXTENTS,
    block=EXTENTS,
    device=TEXT,
    compute_capability=st.sampled_from(["", "9.0"]),
    ranges=st.lists(TEXT, max_size=2).map(tuple),
    counters=st.lists(COUNTERS, max_size=4).map(lambda found: {counter.name: counter for counter in found}),
    missing=st.dictionaries(TEXT, st.sampled_from(["n/a", "no data", "", "nan"]), max_size=2),
    rules=st.lists(st.builds(Rule, section=TEXT, rule=TEXT, kind=TEXT, message=TEXT), max_size=2).map(tuple),
)
REPORTS = st.builds(
    Report,
    path=TEXT,
    reader=TEXT,
    launches=st.lists(LAUNCHES, max_size=3).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
)


@given(report=REPORTS)
def test_what_is_read_is_what_was_written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every field, and every value to the last digit."""
    path = tmp_path_factory.mktemp("stored") / "report.json"
    write_report(path, report)

    assert read_stored_report(path) == report


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "truncated"),
        ('{"launches": []}', "foreign"),
        ('{"roofgate-capture": {"schema": 99}}', "newer"),
        ('{"roofgate-capture": {"schema": 1, "path": "a", "reader": "b", "notes": []}}', "not a stored capture"),
    ],
)
def test_a_damaged_file_is_refused_and_the_others_are_read(text: str, words: str, tmp_path: Path) -> None:
    """The message names the file and the next step."""
    write_report(tmp_path / "whole.json", Report(path="a", reader="b", launches=()))
    damaged = tmp_path / "damaged.json"
    damaged.write_text(text)
    with pytest.raises(RoofgateError, match=words):
        read_stored_report(damaged)
    reports, (problem,) = read_stored_reports(tmp_path)

    assert [stored.report.path for stored in reports] == ["a"]
    assert str(damaged) in problem.reason
    assert "import the report again" in problem.reason


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """Neither written nor read: a missing value is said to be missing."""
    path = tmp_path / "report.json"
    write_report(path, Report(path="a", reader="b", launches=()))
    document = json.loads(path.read_text())
    launch = {
        "number": 0,
        "kernel": "",
        "function": "",
        "grid": None,
        "block": None,
        "device": "",
        "compute_capability": "",
        "ranges": [],
        "counters": {"a": [float("nan"), "", "exact"]},
        "missing": {},
        "rules": [],
    }
    path.write_text(json.dumps(document | {"launches": [launch]}))

    with pytest.raises(RoofgateError, match="a is nan"):
        read_stored_report(path)


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """And the same file always goes to the same place."""
    first, second = tmp_path / "a" / "report.ncu-rep", tmp_path / "b" / "report.ncu-rep"

    assert stored_path(tmp_path, first) != stored_path(tmp_path, second)
    assert stored_path(tmp_path, first) == stored_path(tmp_path, first)
