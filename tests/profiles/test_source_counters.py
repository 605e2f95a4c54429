"""Counters per source line come back from their file, and a damaged file says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from profiles.source_counters import lines_path, read_source_counters, write_source_counters
from tests.source_builders import build_counted_kernel, build_source_counters

COUNTERS = build_source_counters("0123456789abcdef", build_counted_kernel("attention_fwd<bf16, 64, full>", "sm_80"))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """Every count, and the text of the sources."""
    path = lines_path(tmp_path)
    write_source_counters(path, COUNTERS)

    assert read_source_counters(path) == COUNTERS


def test_it_is_no_capture_set(tmp_path: Path) -> None:
    """Those are read from all files right in the folder of captures."""
    write_source_counters(lines_path(tmp_path), COUNTERS)

    assert list(tmp_path.glob("*.json")) == []


def test_before_the_first_capture_there_is_nothing(tmp_path: Path) -> None:
    """And that is no error."""
    assert read_source_counters(lines_path(tmp_path)) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"schema": 1, "tree": "t", "texts": {}, "kernels": [{"kernel": "k"}]}', "cannot be read"),
        ('{"schema": 2}', "schema 2, expected 1"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str, reason: str) -> None:
    """Whatever is wrong with it."""
    path = tmp_path / "simulated.json"
    path.write_text(content)
    with pytest.raises(RoofgateError, match=reason) as caught:
        read_source_counters(path)

    assert str(path) in str(caught.value)
    assert "nox -s profile" in str(caught.value)
