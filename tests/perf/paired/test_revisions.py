"""Names are resolved as the user means them, and checked out without touching what is the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.paired.revisions import Revision, check_out, resolve, revision_info

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]


def git(root: Path, *arguments: str) -> str:
    """Run git with an identity of its own."""
    command = ["git", "-C", str(root), *IDENTITY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, content: str, subject: str) -> str:
    """Commit a kernel with this content; returns the commit's id."""
    (root / "kernels").mkdir(exist_ok=True)
    (root / "kernels" / "a.cpp").write_text(content)
    git(root, "add", "-A")
    git(root, "commit", "-m", subject)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits on main, the first tagged; out/ is ignored."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--initial-branch=main")
    (root / ".gitignore").write_text("/out/\n")
    commit(root, "int one;\n", "First <b>commit</b>")
    git(root, "tag", "v1")
    commit(root, "int two;\n", "Second")
    commit(root, "int three;\n", "Third")
    return root


def clone(repository: Path, *options: str) -> Path:
    """A clone beside the repository, over the protocol that shallow clones need."""
    target = repository.with_name("clone")
    git(repository.parent, "clone", *options, repository.as_uri(), str(target))
    return target


def checked_out(name: str, repository: Path) -> Revision:
    """Resolved and checked out."""
    revision = resolve(name, repository)
    check_out(revision, repository)
    return revision


def content(revision: Revision) -> str:
    """The kernel in the checkout."""
    return (revision.root / "kernels" / "a.cpp").read_text()


@pytest.mark.parametrize("name", ["v1", "HEAD~2", "main~2", "refs/tags/v1"])
def test_whatever_git_knows_is_a_revision(repository: Path, name: str) -> None:
    """Tags and expressions, with the subject as it is: it is untrusted text, escaped where it is shown."""
    revision = resolve(name, repository)

    assert revision.commit_id == git(repository, "rev-parse", "v1")
    assert revision.root == repository / "out" / "revisions" / revision.commit_id
    assert (revision.name, revision.subject) == (name, "First <b>commit</b>")
    assert not (revision.dirty or revision.is_working_tree)
    assert not revision.root.exists()


def test_an_abbreviated_commit_is_a_revision(repository: Path) -> None:
    """As every log prints it."""
    commit_id = git(repository, "rev-parse", "HEAD~1")

    assert resolve(commit_id[:10], repository).commit_id == commit_id
    assert resolve(commit_id, repository).short == commit_id[:10]


def test_the_working_tree_is_used_in_place(repository: Path) -> None:
    """With its uncommitted edits, which change what it is built from."""
    clean = revision_info(checked_out("working-tree", repository))
    (repository / "kernels" / "a.cpp").write_text("int edited;\n")
    edited = checked_out("working-tree", repository)

    assert edited.is_working_tree
    assert edited.root == repository
    assert (clean.dirty, edited.dirty) == (False, True)
    assert edited.short == git(repository, "rev-parse", "HEAD")[:10] + "+"
    assert revision_info(edited).tree == source_tree(repository) != clean.tree


def test_the_merge_base_is_where_the_branch_left_the_default_branch(repository: Path) -> None:
    """In a clone, that of the server; edits of main since then do not belong to the branch."""
    copy = clone(repository)
    git(copy, "checkout", "-b", "work", "HEAD~1")
    commit(copy, "int mine;\n", "Mine")

    assert resolve("merge-base", copy).commit_id == git(repository, "rev-parse", "main~1")


@pytest.mark.parametrize("branch", ["main", "master"])
def test_the_default_branch_may_be_local(repository: Path, branch: str) -> None:
    """A repository without a server."""
    git(repository, "branch", "-m", branch)
    git(repository, "checkout", "-b", "work", "HEAD~1")
    commit(repository, "int mine;\n", "Mine")

    assert resolve("merge-base", repository).commit_id == git(repository, "rev-parse", f"{branch}~1")


def test_without_a_default_branch_the_upstream_is_taken(repository: Path) -> None:
    """Whatever it is called."""
    git(repository, "branch", "-m", "trunk")
    git(repository, "checkout", "-b", "work", "--track", "trunk")
    commit(repository, "int mine;\n", "Mine")

    assert resolve("merge-base", repository).commit_id == git(repository, "rev-parse", "trunk")


def test_no_default_branch_is_explained(repository: Path) -> None:
    """With what was looked for."""
    git(repository, "branch", "-m", "trunk")
    with pytest.raises(RoofgateError, match=r"looked for origin/HEAD.*name a commit instead, such as HEAD~1"):
        resolve("merge-base", repository)


def test_a_branch_without_a_common_commit_is_explained(repository: Path) -> None:
    """Two histories that never meet."""
    git(repository, "checkout", "--orphan", "work")
    commit(repository, "int mine;\n", "Mine")
    with pytest.raises(RoofgateError, match="HEAD and main have no common commit; name a commit instead"):
        resolve("merge-base", repository)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mian", r"Did you mean main\?"),
        ("mian~2", r"Did you mean main\?"),
        ("release-1.3", r"Did you mean release-1.2\?"),
        ("mergebase", r"Did you mean merge-base\?"),
        ("feature", r"Did you mean origin/feature\?"),
        ("0123456789", "no commit, tag or branch that this clone knows"),
        ("HEAD~99", "run: git fetch"),
        ("HEAD:kernels/a.cpp", "Expected one of those"),
        ("--all", "no commit, tag or branch"),
        ("", "no commit, tag or branch"),
    ],
)
def test_an_unknown_name_is_explained(repository: Path, name: str, meant: str) -> None:
    """With close names, a branch of the server among them, and how to get what is not here yet."""
    git(repository, "update-ref", "refs/remotes/origin/feature", "HEAD")
    git(repository, "tag", "release-1.2")
    with pytest.raises(RoofgateError, match=meant):
        resolve(name, repository)


def test_too_few_digits_are_explained(repository: Path) -> None:
    """When several commits begin with them."""
    commits = "".join(
        f"commit refs/heads/many\ncommitter Test <test@example.invalid> {number} +0000\ndata 1\nx\n\n"
        for number in range(1, 1500)
    )
    command = ["git", "-C", str(repository), "fast-import", "--quiet"]
    subprocess.run(command, input=commits, text=True, check=True, capture_output=True)
    digits = [line[:4] for line in git(repository, "log", "--format=%H", "many").split()]
    twice = next(each for each in digits if digits.count(each) > 1)
    with pytest.raises(RoofgateError, match="give more of its digits"):
        resolve(twice, repository)


def test_a_shallow_clone_says_how_to_deepen(repository: Path) -> None:
    """As continuous integration checks out."""
    copy = clone(repository, "--depth=1")
    with pytest.raises(RoofgateError, match=r"'HEAD~1' is not in this clone, which is shallow.*git fetch --unshallow"):
        resolve("HEAD~1", copy)
    with pytest.raises(RoofgateError, match=r"--deepen=50.*fetch-depth: 0"):
        resolve(git(repository, "rev-parse", "v1"), copy)


def test_a_shallow_clone_may_lack_the_merge_base(repository: Path) -> None:
    """Both tips are there, but not where they meet."""
    git(repository, "checkout", "-b", "work", "HEAD~1")
    commit(repository, "int mine;\n", "Mine")
    git(repository, "checkout", "main")
    copy = clone(repository, "--depth=1", "--no-single-branch")
    git(copy, "checkout", "work")
    with pytest.raises(RoofgateError, match="meet before the oldest commit of this shallow clone; run: git fetch --un"):
        resolve("merge-base", copy)


def test_no_repository_and_no_git_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is tried."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(RoofgateError, match="is no git repository"):
        resolve("HEAD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RoofgateError, match="git is not installed"):
        resolve("HEAD", tmp_path)


def test_a_commit_is_checked_out_beside_the_users_checkout(repository: Path) -> None:
    """With that commit's content; what it is built from tells the two apart."""
    first, second = checked_out("v1", repository), checked_out("HEAD~1", repository)

    assert (content(first), content(second)) == ("int one;\n", "int two;\n")
    assert revision_info(first).tree == source_tree(first.root) != revision_info(second).tree
    assert revision_info(first).commit_id == first.commit_id


def state(repository: Path) -> tuple[object, ...]:
    """Everything of the user's: files, index, branches and where HEAD points."""
    files = {path: path.read_bytes() for path in repository.glob("kernels/*")}
    staged = git(repository, "ls-files", "--stage")
    return files, staged, git(repository, "for-each-ref"), git(repository, "symbolic-ref", "HEAD")


def test_the_users_checkout_is_not_touched(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a staged edit, not another one, not a hook, and not from within a hook either."""
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository}/kernels/hook-ran\n")
    hook.chmod(0o755)
    (repository / "kernels" / "a.cpp").write_text("int staged;\n")
    git(repository, "add", "-A")
    (repository / "kernels" / "b.cpp").write_text("int untracked;\n")
    before = state(repository)
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    revision = checked_out("v1", repository)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")

    assert content(revision) == "int one;\n"
    assert state(repository) == before


def test_an_intact_checkout_is_used_again(repository: Path) -> None:
    """With whatever was built in it."""
    revision = checked_out("v1", repository)
    (revision.root / "out").mkdir()
    (revision.root / "out" / "built").touch()
    check_out(revision, repository)

    assert (revision.root / "out" / "built").exists()


def break_off(revision: Revision) -> None:
    """A run killed during the checkout."""
    revision.root.with_name(f"{revision.commit_id}.complete").unlink()
    shutil.rmtree(revision.root / "kernels")


def break_marker(revision: Revision) -> None:
    """A run killed just before it said that the checkout is complete."""
    revision.root.with_name(f"{revision.commit_id}.complete").unlink()


def break_edit(revision: Revision) -> None:
    """Somebody edited it."""
    (revision.root / "kernels" / "a.cpp").write_text("int edited;\n")


def break_head(revision: Revision) -> None:
    """Somebody checked out another commit in it."""
    git(revision.root, "checkout", "--detach", "HEAD~1")


def break_link(revision: Revision) -> None:
    """Without its .git file, git takes it for a part of the user's checkout."""
    (revision.root / ".git").unlink()


def break_folder(revision: Revision) -> None:
    """Somebody removed all of out/."""
    shutil.rmtree(revision.root.parent.parent)


@pytest.mark.parametrize("harm", [break_off, break_marker, break_edit, break_head, break_link, break_folder])
def test_a_broken_checkout_is_made_anew(repository: Path, harm: Callable[[Revision], None]) -> None:
    """With nothing of the old one in it. Git remembers one worktree, not two."""
    revision = checked_out("HEAD", repository)
    (revision.root / "left.txt").touch()
    harm(revision)
    check_out(revision, repository)

    assert content(revision) == "int three;\n"
    assert not (revision.root / "left.txt").exists()
    assert git(revision.root, "rev-parse", "--show-toplevel", "HEAD").split() == [
        str(revision.root),
        revision.commit_id,
    ]
    assert git(repository, "worktree", "list").count(str(revision.root)) == 1


def test_removed_checkouts_are_forgotten(repository: Path) -> None:
    """Git would else list them for ever."""
    removed = checked_out("v1", repository)
    shutil.rmtree(removed.root)
    checked_out("HEAD", repository)

    assert str(removed.root) not in git(repository, "worktree", "list")


def test_mending_leaves_shared_objects_alone(repository: Path) -> None:
    """They are links into the user's out/, which are removed and not followed."""
    revision = checked_out("v1", repository)
    objects = repository / "out" / "build" / "objects"
    objects.mkdir(parents=True)
    (objects / "a.o").touch()
    (revision.root / "out").mkdir()
    (revision.root / "out" / "objects").symlink_to(objects)
    break_edit(revision)
    check_out(revision, repository)

    assert not (revision.root / "out").exists()
    assert (objects / "a.o").exists()


def test_a_failing_checkout_repeats_gits_words(repository: Path) -> None:
    """Such as for a commit that was collected meanwhile."""
    gone = replace(resolve("v1", repository), commit_id="0" * 39 + "1")
    with pytest.raises(RoofgateError, match=r"v1 \(0000000000\) cannot be checked out into .*; git says: fatal"):
        check_out(gone, repository)


def test_it_works_in_a_linked_worktree(repository: Path, tmp_path: Path) -> None:
    """For users who keep several branches checked out."""
    git(repository, "worktree", "add", str(tmp_path / "linked"), "-b", "work")
    revision = checked_out("v1", tmp_path / "linked")

    assert revision.root.is_relative_to(tmp_path / "linked" / "out")
    assert content(revision) == "int one;\n"


def test_a_relative_repository_is_resolved(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in the root of the checkout, and give no path."""
    monkeypatch.chdir(repository)

    assert resolve("v1").root == Path(os.path.realpath(repository)) / "out" / "revisions" / resolve("v1").commit_id
