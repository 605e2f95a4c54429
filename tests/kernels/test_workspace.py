"""Files are whole or absent, one writer at a time, steps leave their outcome, errors end in a sentence."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from kernels.artifacts import write_atomically
from kernels.errors import EXIT_INTERRUPTED, RoofgateError, run_command
from kernels.workspace import Workspace, run_step, source_tree


def fail_with(error: BaseException) -> int:
    """A command that ends like this."""
    raise error


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (RoofgateError("suite 'smok' is not known"), 2, "error: suite 'smok' is not known"),
        (OSError(errno.ENOSPC, "No space left on device", "out/runs/a.json"), 2, "out/runs/a.json: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "out"), 2, "out: the file system is read-only"),
        (OSError(errno.EACCES, "Permission denied", "out/lock"), 2, "out/lock: permission denied"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted"),
    ],
)
def test_expected_failures_end_in_one_message(
    capsys: pytest.CaptureFixture[str], error: BaseException, exit_code: int, message: str
) -> None:
    """A user's mistake, a full or read-only disk and Ctrl-C have an exit code and a sentence."""
    assert run_command(lambda: fail_with(error)) == exit_code
    assert message in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    """Only what a user can mend becomes a message."""
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while writing costs neither the old content nor a stray file."""
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (RoofgateError("no compiler"), 2, "no compiler"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted"),
    ],
)
def test_a_failed_step_leaves_its_outcome(tmp_path: Path, error: BaseException, exit_code: int, message: str) -> None:
    """The report and the gate learn what failed, and for which sources."""
    workspace = Workspace(tmp_path)
    result = run_step(workspace, "build", lambda: fail_with(error))
    status = json.loads((workspace.steps / "build.json").read_text())

    assert result == status["exit_code"] == exit_code
    assert status["error"] == message
    assert status["tree"] == source_tree()


def test_a_crashed_step_is_no_success(tmp_path: Path) -> None:
    """An unexpected exception is kept as an error and still raised."""
    workspace = Workspace(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_step(workspace, "bench", lambda: 1 // 0)

    assert json.loads((workspace.steps / "bench.json").read_text())["exit_code"] == 2


def test_the_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    """A failed command does not block the next one."""
    workspace = Workspace(tmp_path)
    run_step(workspace, "build", lambda: fail_with(RoofgateError("no")))

    assert run_step(workspace, "build", lambda: 0) == 0


def test_the_source_tree_changes_with_sources_and_not_with_baselines(tmp_path: Path) -> None:
    """A promotion must not make the very results stale that it promoted."""
    for name in ("kernels/csrc/a.cu", "perf/stats.py", "perf/baselines/pins.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = source_tree(tmp_path)
    (tmp_path / "perf/baselines/pins.yml").write_text("2")
    after_promotion = source_tree(tmp_path)
    (tmp_path / "kernels/csrc/a.cu").write_text("2")

    assert before == after_promotion
    assert before != source_tree(tmp_path)
