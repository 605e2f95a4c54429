"""The Markdown summary: verdict first, compact, and inert."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from perf.model import Problem
from reports.summary import MAX_ROWS, escape_markdown, summarise
from tests.builders import (
    COMPILER_ERROR,
    build_assessment,
    build_commit,
    build_empty_assessment,
    build_failed_build_assessment,
)


def test_the_first_line_is_the_verdict() -> None:
    """Nobody has to scroll for pass or fail."""
    first = summarise(build_assessment()).splitlines()[0]
    assert first.startswith("## ▲ Regression: 1 of 24 cases is slower")


def test_only_changed_cases_are_listed() -> None:
    """Unchanged cases stay in the report."""
    text = summarise(build_assessment())
    section = text.split("### Cases that changed")[1].split("###")[0]
    assert len(re.findall(r"^\| attention", section, re.M)) == 3


def test_layers_that_did_not_run_are_named_with_their_reason() -> None:
    """A missing layer is never left out."""
    assert "**hardware**: not run: no NVIDIA GPU here" in summarise(build_assessment())


def test_a_failed_build_is_quoted() -> None:
    """The compiler's words stand in the summary too."""
    text = summarise(build_failed_build_assessment())
    assert all(f"    {line}" in text for line in COMPILER_ERROR.splitlines())


def test_without_any_result_the_reason_is_said() -> None:
    """An empty summary explains itself."""
    assert "nothing was measured for this commit" in summarise(build_empty_assessment())


def test_problems_are_counted_and_long_lists_cut() -> None:
    """The count is of all, the list of the first."""
    problems = tuple(Problem(subject=f"file {index}", reason="truncated") for index in range(MAX_ROWS + 5))
    text = summarise(build_assessment(problems=problems))
    assert f"{MAX_ROWS + 5} file, case or steps skipped or not run" in text
    assert "- 5 more in the report" in text


def test_markup_in_a_commit_subject_is_inert() -> None:
    """HTML, links, mentions and table bars in a subject are escaped."""
    text = summarise(build_assessment(commit=build_commit("<img src=x onerror=alert(1)> | `code` [a](b) @all #1")))
    assert r"\<img src=x onerror=alert\(1\)\> \| \`code\` \[a\]\(b\) \@all \#1" in text


@given(st.text(max_size=80))
def test_escaped_text_is_one_line_without_live_markup(text: str) -> None:
    """No text breaks a table row or starts markup."""
    escaped = escape_markdown(text)
    assert len(escaped.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`\[\]]", escaped)
