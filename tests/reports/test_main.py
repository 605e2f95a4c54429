"""The command line: what it writes, what it prints, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.workspace import Workspace
from reports import __main__ as command
from tests.builders import Shape, build_assessment


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the present checkout, with a small assessment in place of stored results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load_assessment", lambda _: build_assessment(Shape(cases=2, kernels=1)))
    return tmp_path


def test_render_writes_the_site_the_summary_and_the_junit_file(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All three files are there, and the path to open is printed with the time taken."""
    assert command.main(["render"]) == 0
    for name in ("site/index.html", "summary.md", "junit.xml"):
        assert (checkout / "out" / name).is_file()
    assert capsys.readouterr().out.startswith("out/site/index.html (")


def test_the_site_can_go_elsewhere(checkout: Path) -> None:
    """``--out`` names the folder of the pages."""
    assert command.main(["render", "--out", "public"]) == 0
    assert (checkout / "public" / "index.html").is_file()


def test_a_second_command_in_the_same_checkout_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rendering would disturb a measurement, so it waits for the lock and names who holds it."""
    with Workspace(checkout / "out").writing("roofgate bench"):
        assert command.main(["render"]) == 2
    assert "roofgate bench" in capsys.readouterr().err


def test_a_folder_with_other_files_ends_in_one_message(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in ``--out`` overwrites nothing and costs one line."""
    (checkout / "thesis").mkdir()
    (checkout / "thesis" / "chapter.html").write_text("years of work")
    assert command.main(["render", "--out", "thesis"]) == 2
    assert capsys.readouterr().err.startswith("error: thesis: holds files but no report")
