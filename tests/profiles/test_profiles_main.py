"""The command line of the package: exit codes, what is kept, and what people read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.artifacts import write_atomically
from kernels.build_record import LibraryBuild, write_record
from kernels.workspace import Workspace
from perf.config import DEFAULT_SUITES
from perf.model import CaptureSet, Layer
from perf.store import read_captures, read_steps, write_capture_set
from profiles.__main__ import main
from tests.source_builders import build_simulated_capture


@pytest.fixture
def built(
    compile_cuda: Any,
    nvdisasm: Path,  # noqa: ARG001 (skips where it is missing)
    record_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LibraryBuild:
    """A checkout with one built library; the command runs inside it."""
    library = compile_cuda("warnings")
    assert isinstance(library, LibraryBuild)
    suites = DEFAULT_SUITES.read_text()
    monkeypatch.chdir(tmp_path)
    write_atomically(DEFAULT_SUITES, suites)
    monkeypatch.setenv("ROOFGATE_NCU", "no-such-program")  # nothing is captured where there is a GPU
    write_record(record_of(library), Workspace().build_record)
    return library


def test_capture_keeps_every_layer_and_says_which_did_not_run(
    built: LibraryBuild,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Layers that cannot run have a reason in the captures, and the exit code is 0."""
    assert main(["capture"]) == 0
    sets, problems = read_captures(Workspace().captures)
    assert problems == ()
    assert {captures.layer for captures in sets} == {Layer.STATIC, Layer.SIMULATED, Layer.HARDWARE}
    for captures in sets:
        assert captures.captures or captures.problems[0].reason
    output = capsys.readouterr().out
    assert "static sm_80: 4 kernels" in output
    assert "static layer: 4 kernels on sm_80" in output
    assert "hardware layer: not run: Nsight Compute is not here" in output
    ((step,), _) = read_steps(Workspace())
    assert (step.step, step.exit_code) == ("profile", 0)


def test_show_prints_the_kernels_with_their_warnings(
    built: LibraryBuild,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table holds each kernel; the filters choose; the compiler's words follow."""
    assert main(["static"]) == 0
    capsys.readouterr()
    assert main(["show"]) == 0
    everything = capsys.readouterr().out
    assert all(kernel in everything for kernel in ("spilling", "calls_spilling", "too_many_blocks", "plain"))
    assert "spilling on sm_80: Registers are spilled to local memory" in everything
    assert main(["show", "--architecture", "sm_80", "--kernel", "pl*"]) == 0
    chosen = capsys.readouterr().out
    assert "plain" in chosen
    assert "spilling" not in chosen


def test_the_simulated_layer_is_shown_when_asked_for(
    built: LibraryBuild,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its own table, that says what it is not; the findings follow."""
    capture = build_simulated_capture("plain", "sm_80", warnings=("shared-race: invented",))
    captures = CaptureSet(layer=Layer.SIMULATED, tree="", captures=(capture,))
    assert main(["show", "--layer", "simulated"]) == 2
    assert "no simulated captures yet; run: python -m profiles capture" in capsys.readouterr().err
    write_capture_set(Workspace().captures, captures)
    assert main(["show", "--layer", "simulated"]) == 0
    output = capsys.readouterr().out
    assert "neither SASS nor time" in output
    assert "93,664" in output
    assert "plain on sm_80: shared-race: invented" in output


def test_a_filter_that_matches_nothing_lists_what_there_is(
    built: LibraryBuild,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A typing error gives exit code 2 and the names to choose from."""
    assert main(["static"]) == 0
    assert main(["show", "--kernel", "atention*"]) == 2
    assert "captured architectures: sm_80; kernels: calls_spilling, plain" in capsys.readouterr().err


def test_a_damaged_cubin_is_an_error_and_loses_nothing(
    built: LibraryBuild, record_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 names the file; the captures of the other library are kept."""
    damaged = tmp_path / "damaged.cubin"
    damaged.write_bytes(b"\x7fELF")
    broken = replace(
        built, name="broken", device_code=(replace(built.device_code[0], cubin=str(damaged)),), architecture="sm_86"
    )
    write_record(record_of(built, broken), Workspace().build_record)
    assert main(["static"]) == 2
    assert f"broken: {damaged}: not a usable cubin" in capsys.readouterr().err
    ((captures,), _) = read_captures(Workspace().captures)
    assert len(captures.captures) == 4
    ((step,), _) = read_steps(Workspace())
    assert step.exit_code == 2


@pytest.mark.parametrize(("command", "remedy"), [("static", "run: nox -s build"), ("show", "profiles static")])
def test_a_step_that_comes_too_early_names_the_one_before(
    command: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing built, nothing captured: exit code 2 and the next step."""
    monkeypatch.chdir(tmp_path)
    assert main([command]) == 2
    assert remedy in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """A person who asks for help sees commands to copy."""
    with pytest.raises(SystemExit) as exit_status:
        main(["--help"])
    assert exit_status.value.code == 0
    assert "python -m profiles show --architecture sm_80" in capsys.readouterr().out
