"""The state of the git repository that a result belongs to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import Commit

_GIT_TIMEOUT_S = 30
_FORMAT = "%H%x00%cI%x00%s"


def current_commit(root: Path = Path()) -> Commit:
    """The checked-out commit, and whether there are uncommitted edits.

    Untracked files that git does not ignore count as edits. The subject is untrusted text.

    Raises:
        RoofgateError: git is missing, ``root`` is no repository, or it has no commit yet.
    """
    _require_repository(root)
    head = _git(root, "log", "-1", f"--format={_FORMAT}", "HEAD", "--")
    if head is None:
        raise RoofgateError('the git repository has no commit yet; run: git add -A && git commit -m "First commit"')
    commit_id, time, subject = head.strip("\n").split("\0", 2)
    return Commit(
        id=commit_id,
        tree=source_tree(root),
        subject=subject,
        branch=(_git(root, "symbolic-ref", "--short", "-q", "HEAD") or "(detached)").strip(),
        dirty=bool(_git(root, "status", "--porcelain", "--untracked-files=normal")),
        time=time,
    )


def _require_repository(root: Path) -> None:
    if (_git(root, "rev-parse", "--is-inside-work-tree") or "").strip() != "true":
        raise RoofgateError(
            f"{root.resolve()} is no git repository that git agrees to read, and every result is kept by its commit; "
            "run from a git clone, or make one here: git init && git add -A && git commit -m 'First commit'"
        )


def _git(root: Path, *arguments: str) -> str | None:
    """What git printed, or None if it failed."""
    command = ["git", "-C", str(root), *arguments]
    # Without optional locks, looking at a repository never disturbs a git command that runs beside it.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_TIMEOUT_S, env=environment, check=False)
    except FileNotFoundError:
        raise RoofgateError("git is not installed, and every result is kept by its commit; install git") from None
    except subprocess.TimeoutExpired:
        raise RoofgateError(f"{' '.join(command)} did not end within {_GIT_TIMEOUT_S} s; run it by hand") from None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None
