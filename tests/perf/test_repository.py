"""The state of the repository is recorded as it is, and its absence is explained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from perf.repository import current_commit


def git(root: Path, *arguments: str) -> None:
    """Run git with an identity of its own."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on branch work."""
    git(tmp_path, "init", "--initial-branch=work")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "a.cpp").write_text("int a;\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "<b>First</b> \x1b[31mcommit")
    return tmp_path


def test_a_clean_commit(repository: Path) -> None:
    """Identity, branch and subject, the latter untouched: it is untrusted text, escaped where it is shown."""
    commit = current_commit(repository)

    assert len(commit.id) == 40
    assert (commit.branch, commit.dirty) == ("work", False)
    assert commit.subject == "<b>First</b> \x1b[31mcommit"
    assert commit.time.startswith("2")


@pytest.mark.parametrize("name", ["kernels/a.cpp", "kernels/new.cpp"])
def test_an_edit_or_a_new_file_makes_it_dirty_and_changes_the_tree(repository: Path, name: str) -> None:
    """Results before and after the edit are not of equal sources."""
    before = current_commit(repository)
    (repository / name).write_text("int b;\n")
    after = current_commit(repository)

    assert (after.dirty, after.id, after.short) == (True, before.id, before.id[:10] + "+")
    assert after.tree != before.tree


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    """As a CI job checks it out."""
    git(repository, "checkout", "--detach")

    assert current_commit(repository).branch == "(detached)"


def test_no_repository_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the commands that make one."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RoofgateError, match=r"no git repository.*git init"):
        current_commit(tmp_path)


def test_no_commit_is_explained(tmp_path: Path) -> None:
    """A fresh repository."""
    git(tmp_path, "init")
    with pytest.raises(RoofgateError, match="no commit yet; run: git add"):
        current_commit(tmp_path)


def test_no_git_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RoofgateError, match="git is not installed"):
        current_commit(tmp_path)


def test_looking_takes_no_lock(repository: Path) -> None:
    """A status may refresh the index; with GIT_OPTIONAL_LOCKS=0 it does not, so no other git is disturbed."""
    index = repository / ".git" / "index"
    (repository / "kernels" / "a.cpp").touch()
    before = index.stat().st_mtime_ns
    current_commit(repository)

    assert index.stat().st_mtime_ns == before


def test_the_folder_decides_even_within_a_git_hook(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells a hook its repository by variables, which must not lead away from the one that is asked about."""
    expected = current_commit(repository)
    other = tmp_path_factory.mktemp("other")
    git(other, "init")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))

    assert current_commit(repository) == expected
