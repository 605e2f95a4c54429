"""``python -m perf transformer`` from end to end, in its quick form."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.errors import EXIT_ERROR, EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION
from kernels.workspace import Workspace
from perf.__main__ import main
from perf.transformer import command
from perf.transformer.command import worst
from perf.transformer.record import read_run, transformer_folder, write_run
from tests.perf.transformer.invented_runs import invented_curves, invented_run


@pytest.mark.slow
def test_quick_trains_times_stores_and_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With our kernels, forward and backward."""

    class Elsewhere(Workspace):
        """Results apart from the checkout's own; the build is the checkout's."""

        @property
        def build_record(self) -> Path:
            return Workspace().build_record

    monkeypatch.setattr(command, "Workspace", lambda: Elsewhere(tmp_path))

    assert main(["transformer", "--quick", "--threads", "1"]) == EXIT_PASS

    (path,) = transformer_folder(Workspace(tmp_path)).glob("*.json")
    stored = read_run(path)
    assert stored.quick
    assert [len(curves.own.losses) for curves in stored.curves] == [10, 10]
    printed = capsys.readouterr().out
    assert "loss curves, fp32, 10 steps: equal" in printed
    assert "mean anything" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--setting", "blanced"], "did you mean 'balanced'"),
        (["--steps", "-1"], "--steps is -1"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--threads", "0"], "--threads is 0"),
        (["--show", "nowhere.json"], "nowhere.json: cannot be opened"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before torch is loaded or anything measured."""
    assert main(["transformer", *arguments]) == EXIT_ERROR
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("own_drift", "code", "word"), [(1e-3, EXIT_PASS, "equal"), (0.1, EXIT_REGRESSION, "DIFFERENT")]
)
def test_show_prints_a_stored_run_again(
    own_drift: float, code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code that the run had."""
    path = write_run(tmp_path, invented_run(curves=(invented_curves(own_drift),)))

    assert main(["transformer", "--show", str(path)]) == code

    printed = capsys.readouterr().out
    assert f"bf16, 200 steps: {word}" in printed
    assert printed.count("as predicted") == 2


def test_the_gravest_exit_code_counts() -> None:
    """Of several settings."""
    assert worst([EXIT_PASS, EXIT_NO_VERDICT]) == EXIT_NO_VERDICT
    assert worst([EXIT_NO_VERDICT, EXIT_REGRESSION, EXIT_PASS]) == EXIT_REGRESSION
    assert worst([EXIT_PASS, EXIT_PASS]) == EXIT_PASS
