"""The two revisions of a comparison: what their names mean, and a checkout of each beside the user's own.

A commit is checked out as a git worktree under ``out/revisions``; the working tree is used where it is. The user's
checkout, index and branches are never touched.
"""

from __future__ import annotations

import difflib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace, source_tree
from perf.paired.model import RevisionInfo
from perf.repository import ask_git, current_commit, git_output, require_repository

WORKING_TREE = "working-tree"
MERGE_BASE = "merge-base"

# Where the default branch may be, the surest first.
_DEFAULT_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_DEEPEN = "run: git fetch --unshallow (or git fetch --deepen=50; in CI, check out with fetch-depth: 0)"
_CHECKOUT_TIMEOUT_S = 600  # large repositories on slow disks


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What a name means. ``root`` is where its checkout lies, or will lie once it is checked out."""

    name: str  # as it was asked for
    commit_id: str  # of the working tree: the commit below its edits
    subject: str  # untrusted text
    dirty: bool  # has uncommitted edits
    root: Path  # absolute
    is_working_tree: bool

    @property
    def short(self) -> str:
        """First ten digits of the commit, with a plus sign for uncommitted edits."""
        return self.commit_id[:10] + ("+" if self.dirty else "")


def workspace_of(root: Path) -> Workspace:
    """The ``out`` folder of the checkout at ``root``, as an absolute path."""
    return Workspace(root.resolve() / Workspace().root)


def revisions_folder(repository: Path) -> Path:
    """Where the checkouts of other commits lie."""
    return workspace_of(repository).root / "revisions"


def resolve(name: str, repository: Path = Path()) -> Revision:
    """What ``name`` means in the checkout at ``repository``. Nothing is written.

    Args:
        name: a commit, tag, branch or any expression git knows (``HEAD~3``); ``merge-base``: where the present branch
            left the default branch, or else its upstream; ``working-tree``: the checkout as it is, edits included.
        repository: root of the user's checkout.

    Raises:
        RoofgateError: no git, no repository, a name that git does not know, or a clone too shallow to know it.
    """
    require_repository(repository)
    if name == WORKING_TREE:
        commit = current_commit(repository)
        return Revision(
            name=name,
            commit_id=commit.id,
            subject=commit.subject,
            dirty=commit.dirty,
            root=repository.resolve(),
            is_working_tree=True,
        )
    commit_id = _merge_base(repository) if name == MERGE_BASE else _commit_id(repository, name)
    subject = git_output(repository, "log", "-1", "--no-show-signature", "--format=%s", commit_id, "--") or ""
    return Revision(
        name=name,
        commit_id=commit_id,
        subject=subject.removesuffix("\n"),
        dirty=False,
        root=revisions_folder(repository) / commit_id,
        is_working_tree=False,
    )


def revision_info(revision: Revision) -> RevisionInfo:
    """What a comparison keeps of a revision; it must be checked out."""
    return RevisionInfo(
        name=revision.name,
        commit_id=revision.commit_id,
        subject=revision.subject,
        tree=source_tree(revision.root),
        dirty=revision.dirty,
    )


def check_out(revision: Revision, repository: Path = Path()) -> None:
    """Make sure that the sources of ``revision`` lie at its root, unchanged. The working tree is left alone.

    An intact checkout is used again; one that a killed run left half-made, or whose tracked files were edited, is made
    anew. Raises :class:`RoofgateError` with git's words if that fails.
    """
    if revision.is_working_tree or _is_intact(revision, repository):
        return
    _remove(revision, repository)
    revision.root.parent.mkdir(parents=True, exist_ok=True)
    # The user's hooks (post-checkout) are for the user's checkout.
    command = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--force")
    arguments = (*command, str(revision.root), revision.commit_id)
    added = ask_git(repository, *arguments, timeout_s=_CHECKOUT_TIMEOUT_S)
    if added.exit_code:
        raise RoofgateError(
            f"{revision.name} ({revision.short}) cannot be checked out into {revision.root}; git says: "
            f"{added.error or 'nothing'}\nmend that, then run again"
        )
    # Last, so that a checkout without it is known to be half-made.
    write_atomically(_marker(revision), f"{revision.commit_id}\n")


def _marker(revision: Revision) -> Path:
    return revision.root.with_name(f"{revision.root.name}.complete")


def _is_intact(revision: Revision, repository: Path) -> bool:
    # Without its .git file, git would answer for the user's checkout, which lies around this one.
    if not (_marker(revision).exists() and (revision.root / ".git").is_file()):
        return False
    # In a copy of the user's folder, the copied file still leads to the repository that was copied.
    if _git_folder(revision.root) != _git_folder(repository):
        return False
    head = git_output(revision.root, "rev-parse", "HEAD")
    edits = git_output(revision.root, "status", "--porcelain", "--untracked-files=no")
    return (head or "").strip() == revision.commit_id and edits == ""


def _git_folder(root: Path) -> Path | None:
    """The repository's own folder, which all of its worktrees share."""
    folder = git_output(root, "rev-parse", "--git-common-dir")
    return (root / folder.strip()).resolve() if folder else None


def _remove(revision: Revision, repository: Path) -> None:
    """Remove what is left of a checkout, and git's memory of all checkouts whose folders are gone."""
    _marker(revision).unlink(missing_ok=True)
    if revision.root.exists():
        shutil.rmtree(revision.root)  # links to shared objects are removed, not followed
    git_output(repository, "worktree", "prune")


def _commit_id(repository: Path, name: str) -> str:
    # Git would take a leading dash for an option.
    answer = ask_git(repository, "rev-parse", "--verify", f"{name}^{{commit}}") if name and name[0] != "-" else None
    if answer is not None and answer.exit_code == 0:
        return answer.output.strip()
    if answer is not None and "is ambiguous" in answer.error:
        raise RoofgateError(f"{name!r} begins the names of several commits; give more of its digits")
    raise RoofgateError(_unknown_name(repository, name))


def _unknown_name(repository: Path, name: str) -> str:
    close = _close_names(repository, name)
    meant = f". Did you mean {' or '.join(close)}?" if close else "."
    if _is_shallow(repository):
        return (
            f"{name!r} is not in this clone, which is shallow: it holds only the newest commits{meant} "
            f"To get the others, {_DEEPEN}"
        )
    return (
        f"{name!r} is no commit, tag or branch that this clone knows{meant} "
        f"Expected one of those, {MERGE_BASE} or {WORKING_TREE}. If it is on the server, run: git fetch --tags"
    )


def _close_names(repository: Path, name: str) -> list[str]:
    """Branches and tags that the user may have meant, the closest first."""
    listing = git_output(
        repository, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
    )
    known = (listing or "").split()
    asked = re.split(r"[~^@:]", name, maxsplit=1)[0]
    elsewhere = [each for each in known if asked and each.endswith(f"/{asked}")]
    return list(dict.fromkeys([*elsewhere, *difflib.get_close_matches(asked, [*known, MERGE_BASE, WORKING_TREE])]))[:3]


def _is_shallow(repository: Path) -> bool:
    return (git_output(repository, "rev-parse", "--is-shallow-repository") or "").strip() == "true"


def _merge_base(repository: Path) -> str:
    for branch in (*_DEFAULT_BRANCHES, "@{upstream}"):
        if git_output(repository, "rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}") is None:
            continue
        common = git_output(repository, "merge-base", "HEAD", branch)
        if common is None:
            raise RoofgateError(_no_common_commit(repository, branch))
        return common.split()[0]
    advice = _DEEPEN if _is_shallow(repository) else "run: git fetch, or name a commit instead, such as HEAD~1"
    raise RoofgateError(
        f"{MERGE_BASE}: there is no default branch to compare with (looked for {', '.join(_DEFAULT_BRANCHES)} and the "
        f"upstream of the present branch); {advice}"
    )


def _no_common_commit(repository: Path, branch: str) -> str:
    if _is_shallow(repository):
        return f"{MERGE_BASE}: HEAD and {branch} meet before the oldest commit of this shallow clone; {_DEEPEN}"
    return f"{MERGE_BASE}: HEAD and {branch} have no common commit; name a commit instead, such as HEAD~1"
