"""The page from results that were never run: whole, repeatable, and honest about what is missing."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kernels.errors import EXIT_ERROR, EXIT_PASS, RoofgateError
from perf.detector import page
from perf.detector.__main__ import main
from perf.detector.page import BEGIN, DATA, END, FIGURE, PAGE, write_page
from perf.detector.trials import Result, plan_trials
from tests.perf.detector.synthetic_results import build_result, sharp_result, write_results

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with a page whose generated part is empty."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / PAGE).write_text(f"# By hand\n\n{BEGIN}\nold\n{END}\n\nbelow\n")
    return folder


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text, which need not wait for a figure nor have matplotlib."""
    monkeypatch.setattr(page, "draw_curves", lambda _results: "<svg/>\n")


def all_results() -> list[Result]:
    """Every trial of the plan, by a sharp detector."""
    return [sharp_result(trial) for trial in plan_trials()]


@pytest.mark.usefixtures("without_drawing")
def test_hand_written_text_stays(docs: Path, tmp_path: Path) -> None:
    """Only what stands between the comments is replaced."""
    results = write_results(tmp_path / "trials.jsonl", all_results())

    assert write_page([results], docs) == EXIT_PASS

    text = (docs / PAGE).read_text()
    assert text.startswith(f"# By hand\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nbelow\n")
    assert "\nold\n" not in text


def test_all_three_files_are_the_same_again(docs: Path, tmp_path: Path) -> None:
    """So that a repeated run changes nothing in the repository."""
    pytest.importorskip("matplotlib")
    results = write_results(tmp_path / "trials.jsonl", all_results())

    write_page([results], docs)
    first = {path.name: path.read_bytes() for path in docs.iterdir()}
    write_page([results], docs)

    assert {path.name: path.read_bytes() for path in docs.iterdir()} == first
    assert set(first) == {PAGE, FIGURE, DATA}


def test_the_figure_has_its_text_as_text(docs: Path, tmp_path: Path) -> None:
    """A name per rule, and a title per regime, also for the regimes without trials."""
    pytest.importorskip("matplotlib")
    loaded = [result for result in all_results() if result.trial.regime.value == "loaded"]

    write_page([write_results(tmp_path / "trials.jsonl", loaded)], docs)

    texts = {element.text for element in ElementTree.parse(docs / FIGURE).iter() if element.tag.endswith("text")}  # noqa: S314
    assert {"quiet", "one core loaded", "bursts of load", "no trials yet"} <= texts
    assert {"roofgate", "pytest-benchmark min 5 %", "asv continuous 1.05"} <= texts


@pytest.mark.usefixtures("without_drawing")
def test_missing_trials_are_said(docs: Path, tmp_path: Path) -> None:
    """A preliminary figure must not pass for a final one."""
    known = all_results()

    write_page([write_results(tmp_path / "trials.jsonl", known[:100])], docs)
    part = (docs / PAGE).read_text()
    write_page([write_results(tmp_path / "trials.jsonl", known)], docs)
    whole = (docs / PAGE).read_text()

    assert f"Trials: 100 of {len(known)} ({len(known) - 100} are still to be run" in part
    assert f"Trials: {len(known)} of {len(known)} (all that are planned)" in whole


@pytest.mark.usefixtures("without_drawing")
def test_planted_false_alarms_reach_the_page(docs: Path, tmp_path: Path) -> None:
    """Twelve of 300 quiet decisions on identical code: the target is missed, in words."""
    planted = [
        result
        for result in all_results()
        if (result.trial.method, result.trial.regime.value, result.trial.slowdown) == ("roofgate", "quiet", 0.0)
    ][:12]
    wrong = {result.trial.number: build_result(result.trial, alarm=True) for result in planted}
    results = [wrong.get(result.trial.number, result) for result in all_results()]

    write_page([write_results(tmp_path / "trials.jsonl", results)], docs)

    row = next(
        line for line in (docs / PAGE).read_text().splitlines() if "false alarms on identical code, quiet" in line
    )
    assert "12 of 300" in row
    assert row.endswith("| missed |")


@pytest.mark.usefixtures("without_drawing")
def test_repeats_of_trials_that_were_not_quiet_are_counted(docs: Path, tmp_path: Path) -> None:
    """They are in no table, but the page tells how many there were."""
    known = all_results()
    quiet = next(result for result in known if result.trial.regime.value == "quiet")

    write_page([write_results(tmp_path / "trials.jsonl", [replace(quiet, foreign_load=0.3), *known])], docs)

    assert "* Repeated: 1 quiet or loaded trials" in (docs / PAGE).read_text()


@pytest.mark.usefixtures("without_drawing")
def test_data_has_a_row_for_each_trial(docs: Path, tmp_path: Path) -> None:
    """Small enough to be kept in the repository, and errors with their text."""
    known = all_results()
    failed = replace(known[0], decision=None, error="no,\nreason")

    write_page([write_results(tmp_path / "trials.jsonl", [failed, *known[1:]])], docs)

    rows = list(csv.DictReader((docs / DATA).read_text().splitlines()))
    assert [int(row["trial"]) for row in rows] == [result.trial.number for result in known]
    assert (rows[0]["error"], rows[0]["alarms"], rows[0]["wall_s"]) == ("no, reason", "", "")
    assert (docs / DATA).stat().st_size < 300_000


@pytest.mark.usefixtures("without_drawing")
def test_several_files_are_one_evaluation(docs: Path, tmp_path: Path) -> None:
    """Shares that ran beside each other."""
    known = all_results()
    files = [write_results(tmp_path / f"trials-{index}.jsonl", known[index::2]) for index in range(2)]

    write_page(files, docs)

    assert f"Trials: {len(known)} of {len(known)}" in (docs / PAGE).read_text()


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("text", ["no comments", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_page_without_its_comments_is_an_error(docs: Path, tmp_path: Path, text: str) -> None:
    """And nothing is written."""
    (docs / PAGE).write_text(text)

    with pytest.raises(RoofgateError, match="does not say where its generated part goes"):
        write_page([write_results(tmp_path / "trials.jsonl", all_results())], docs)

    assert [path.name for path in docs.iterdir()] == [PAGE]
    assert (docs / PAGE).read_text() == text


def test_no_trials_are_an_error(docs: Path) -> None:
    """With the command that makes some."""
    with pytest.raises(RoofgateError, match=r"python -m perf\.detector run"):
        write_page([], docs)


def test_trials_of_another_plan_are_an_error(docs: Path, tmp_path: Path) -> None:
    """Their numbers mean other trials."""
    known = all_results()
    strange = replace(known[0], trial=replace(known[0].trial, seed=1))

    with pytest.raises(RoofgateError, match="of another plan"):
        write_page([write_results(tmp_path / "trials.jsonl", [strange, *known[1:]])], docs)


@pytest.mark.usefixtures("without_drawing")
def test_the_command_line_ends_with_an_exit_code(
    docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 with a page, 2 with one line for a user's mistake."""
    results = write_results(tmp_path / "trials.jsonl", all_results())

    assert main(["page", "--results", str(results), "--docs", str(docs)]) == EXIT_PASS
    assert main(["page", "--results", str(results), "--docs", str(tmp_path / "elsewhere")]) == EXIT_ERROR
    assert "does not exist" in capsys.readouterr().err


def test_the_real_page_has_a_place_for_results() -> None:
    """The one that is kept in the repository."""
    text = (DOCS / PAGE).read_text()

    assert 0 < text.index(BEGIN) < text.index(END)
