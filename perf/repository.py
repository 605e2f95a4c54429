"""The state of the git repository that a result belongs to, and the way to ask git."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import Commit

_GIT_TIMEOUT_S = 30
_FORMAT = "%H%x00%cI%x00%s"
# A git hook sets these for the repository that it runs for; here the folder decides. With the hook's index, checking
# out another commit elsewhere would overwrite what the user has staged.
_HOOK_VARIABLES = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
)


@dataclass(frozen=True, slots=True)
class GitAnswer:
    """How one git command ended."""

    exit_code: int
    output: str
    error: str


def current_commit(root: Path = Path()) -> Commit:
    """The checked-out commit, and whether there are uncommitted edits.

    Untracked files that git does not ignore count as edits. The subject is untrusted text.

    Raises:
        RoofgateError: git is missing, ``root`` is no repository, or it has no commit yet.
    """
    require_repository(root)
    head = git_output(root, "log", "-1", f"--format={_FORMAT}", "HEAD", "--")
    if head is None:
        raise RoofgateError('the git repository has no commit yet; run: git add -A && git commit -m "First commit"')
    commit_id, time, subject = head.strip("\n").split("\0", 2)
    return Commit(
        id=commit_id,
        tree=source_tree(root),
        subject=subject,
        branch=(git_output(root, "symbolic-ref", "--short", "-q", "HEAD") or "(detached)").strip(),
        dirty=bool(git_output(root, "status", "--porcelain", "--untracked-files=normal")),
        time=time,
    )


def require_repository(root: Path) -> None:
    """Raise :class:`RoofgateError` if git is missing or ``root`` is no checkout that git agrees to read."""
    if (git_output(root, "rev-parse", "--is-inside-work-tree") or "").strip() != "true":
        raise RoofgateError(
            f"{root.resolve()} is no git repository that git agrees to read, and every result is kept by its commit; "
            "run from a git clone, or make one here: git init && git add -A && git commit -m 'First commit'"
        )


def git_output(root: Path, *arguments: str) -> str | None:
    """What git printed, or None if it failed."""
    answer = ask_git(root, *arguments)
    return answer.output if answer.exit_code == 0 else None


def ask_git(root: Path, *arguments: str, timeout_s: float = _GIT_TIMEOUT_S) -> GitAnswer:
    """Run git in ``root``; raises :class:`RoofgateError` if there is no git or it does not end in ``timeout_s``."""
    command = ["git", "-C", str(root), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES}
    # Without optional locks, looking at a repository never disturbs a git command that runs beside it.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, env=environment, check=False)
    except FileNotFoundError:
        raise RoofgateError("git is not installed, and every result is kept by its commit; install git") from None
    except subprocess.TimeoutExpired:
        raise RoofgateError(f"{' '.join(command)} did not end within {timeout_s:g} s; run it by hand") from None
    return GitAnswer(
        exit_code=done.returncode,
        output=done.stdout.decode("utf-8", errors="replace"),
        error=done.stderr.decode("utf-8", errors="replace").strip(),
    )
