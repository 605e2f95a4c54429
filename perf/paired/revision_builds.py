"""Each revision built by its own commands, from its own sources and with its own flags.

Compiled objects and disassemblies are kept by content, so all revisions share those of the user's checkout: what two
commits have in common is compiled once. A revision that cannot be built is a result, not an exception: the other one
and the cases that do not need it are still reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from kernels.artifacts import write_atomically
from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild, read_record
from kernels.errors import RoofgateError
from kernels.fingerprint import machine_code_fingerprint
from kernels.toolchain import CUDA_TOOL_PACKAGES, find_cuda_tool, find_cxx, version_line
from perf.model import CaptureSet, Layer, Problem
from perf.paired.revisions import Revision, check_out, revisions_folder, workspace_of
from perf.store import read_captures

Progress = Callable[[str], None]

# What is named by content under ``out``, and so may be shared between checkouts.
_SHARED_FOLDERS = ("build/objects", "captures/cache")
_STATIC_LAYER = "static layer"
_MOST_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionBuild:
    """What came of building one revision."""

    revision: Revision
    record: BuildRecord | None = None  # with absolute paths; None if nothing could be built
    library_failures: Mapping[str, str] = field(default_factory=dict)  # by library: the compiler's words, or what lacks
    failure: str = ""  # why the build as a whole did not succeed; libraries may have been built all the same
    captures: CaptureSet | None = None  # the static layer
    problems: tuple[Problem, ...] = ()  # of the static layer, its own included

    def library(self, name: str) -> LibraryBuild | None:
        """The library of this name, if it was built; otherwise :meth:`reason` says why not."""
        libraries = self.record.libraries if self.record else ()
        built = [each for each in libraries if each.name == name and each.status is BuildStatus.BUILT]
        return built[0] if built else None

    def reason(self, name: str) -> str:
        """Why there is no library of this name, in the words of whoever knows best."""
        unknown = f"{self.revision.name} ({self.revision.short}) builds no library called {name}"
        return self.library_failures.get(name) or self.failure or unknown


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a command of a revision ended, and what it said last."""

    exit_code: int
    words: str


def build_revision(revision: Revision, repository: Path = Path(), progress: Progress = print) -> RevisionBuild:
    """Check out ``revision``, build it, and capture its static layer.

    Of a commit that was built before by the same compilers, what that made is read; the working tree's commands run
    every time, and find what they made before. They hold the lock of the checkout that they write to: call this while
    holding no lock on ``repository`` yourself.

    Args:
        revision: from :func:`perf.paired.revisions.resolve`.
        repository: root of the user's checkout.
        progress: told every line that the commands print.

    Raises:
        RoofgateError: it cannot be checked out. What cannot be built is told by the result.
    """
    with _alone_with(revision, repository, progress):
        check_out(revision, repository)
        if revision.is_working_tree:
            return _build_and_capture(revision, progress)
        _share_folders(repository, revision.root)
        if _is_remembered(revision):
            return _with_static_layer(_read_build(revision), ())
        built = _build_and_capture(revision, progress)
        if _is_whole(built):
            write_atomically(_memory(revision), _what_is_made(revision))
        return built


@contextmanager
def _alone_with(revision: Revision, repository: Path, progress: Progress) -> Iterator[None]:
    """Keep two comparisons from making the same checkout at once: the second waits and finds it made."""
    folder = revisions_folder(repository)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{'working-tree' if revision.is_working_tree else revision.commit_id}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"{revision.name}: another comparison is building {revision.short}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _share_folders(repository: Path, root: Path) -> None:
    """Let the checkout at ``root`` keep its objects and disassemblies with those of ``repository``."""
    for name in _SHARED_FOLDERS:
        shared, link = workspace_of(repository).root / name, workspace_of(root).root / name
        shared.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() and link.resolve() != shared.resolve():
            link.unlink()  # it leads to where the repository was before it was moved
        if not link.exists():
            link.symlink_to(shared, target_is_directory=True)


def _build_and_capture(revision: Revision, progress: Progress) -> RevisionBuild:
    built = _build(revision, progress)
    return built if built.record is None else _capture(built, progress)


def _build(revision: Revision, progress: Progress) -> RevisionBuild:
    if not _has_command(revision, "kernels"):
        missing = "has no command that builds its kernels (python -m kernels build): it is older than that command"
        return RevisionBuild(revision=revision, failure=f"{revision.name} ({revision.short}) {missing}")
    path = workspace_of(revision.root).build_record
    before = _version(path)
    ended = _run(revision, ("kernels", "build"), progress)
    failure = f"{revision.name} ({revision.short}) could not be built: {ended.words}" if ended.exit_code else ""
    if _version(path) == before:
        return RevisionBuild(revision=revision, failure=failure or f"{revision.name}: its build wrote no {path}")
    return replace(_read_build(revision), failure=failure) if failure else _read_build(revision)


def _read_build(revision: Revision) -> RevisionBuild:
    try:
        record = _absolute(read_record(workspace_of(revision.root).build_record), revision.root)
    except (RoofgateError, OSError) as error:
        return RevisionBuild(revision=revision, failure=f"{revision.name} ({revision.short}): {error}")
    unusable = [library for library in record.libraries if library.status is not BuildStatus.BUILT]
    return RevisionBuild(
        revision=revision, record=record, library_failures={library.name: library.reason for library in unusable}
    )


def _capture(built: RevisionBuild, progress: Progress) -> RevisionBuild:
    """``built`` with the static layer that the revision's own analysis captures, or the reason why there is none."""
    revision = built.revision
    if not _has_command(revision, "profiles"):
        return replace(built, problems=(_static_problem(revision, "is older than the command that captures it"),))
    before = _version(_static_captures(revision))
    ended = _run(revision, ("profiles", "static"), progress)
    failures = (_static_problem(revision, f"its capture failed: {ended.words}"),) if ended.exit_code else ()
    if _version(_static_captures(revision)) == before:
        return replace(built, problems=failures or (_static_problem(revision, "its capture wrote nothing"),))
    return _with_static_layer(built, failures)


def _with_static_layer(built: RevisionBuild, failures: tuple[Problem, ...]) -> RevisionBuild:
    """``built`` with the captures that lie in its checkout, and their problems after ``failures``."""
    path = _static_captures(built.revision)
    sets, unreadable = read_captures(path.parent)
    static = next((each for each in sets if each.layer is Layer.STATIC), None)
    damage = tuple(problem for problem in unreadable if Path(problem.subject).name == path.name)
    return replace(built, captures=static, problems=(*failures, *damage, *(static.problems if static else ())))


def _static_captures(revision: Revision) -> Path:
    return workspace_of(revision.root).captures / f"{Layer.STATIC.value}.json"


def _is_whole(built: RevisionBuild) -> bool:
    """Whether every command ended well, so that there is no point in running them again."""
    return not built.failure and built.captures is not None and built.problems == built.captures.problems


def _memory(revision: Revision) -> Path:
    """The file that says what was made of a commit."""
    return revision.root.with_name(f"{revision.root.name}.built")


def _is_remembered(revision: Revision) -> bool:
    """Whether the very files that lie there were made by the compilers of today, and nothing of them was removed."""
    try:
        is_same = _memory(revision).read_text() == _what_is_made(revision)
    except FileNotFoundError:
        return False
    record = _read_build(revision).record if is_same else None
    return record is not None and all(Path(path).exists() for path in _artefacts(record))


def _artefacts(record: BuildRecord) -> Iterator[str]:
    for library in record.libraries:
        yield from filter(None, [library.library])
        for code in library.device_code:
            yield from (code.cubin, code.ptx, code.compiler_log)


def _what_is_made(revision: Revision) -> str:
    files = (workspace_of(revision.root).build_record, _static_captures(revision))
    versions = [f"{path.name} {_version(path)}" for path in files]
    return "\n".join([sys.version, *_tools(), *versions, ""])


def _tools() -> list[str]:
    """Every tool that decides what is built: path and version, or why there is none."""
    finders: list[Callable[[], Path]] = [find_cxx, *(partial(find_cuda_tool, name) for name in CUDA_TOOL_PACKAGES)]
    return [_tool(find) for find in finders]


def _tool(find: Callable[[], Path]) -> str:
    try:
        path = find()
        return f"{path} {version_line(path)} {_version(path)}"
    except RoofgateError as missing:
        return str(missing)


def _static_problem(revision: Revision, reason: str) -> Problem:
    return Problem(subject=f"{_STATIC_LAYER} of {revision.name}", reason=f"{revision.short} {reason}")


def _has_command(revision: Revision, package: str) -> bool:
    """Whether the revision itself has it: Python would else look for a package of that name elsewhere."""
    return (revision.root / package / "__main__.py").is_file()


def _run(revision: Revision, command: tuple[str, ...], progress: Progress) -> _Ended:
    """Run ``python -m <command>`` in the revision's root, line by line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=revision.root,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    lines = []
    with process:
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                progress(f"{revision.name}: {lines[-1]}")
        except BaseException:
            process.kill()
            raise
    return _Ended(process.returncode, _last_words(lines) or f"exit code {process.returncode} without a word")


def _last_words(lines: list[str]) -> str:
    """The error message if there is one, the last line of a traceback, or else the last lines."""
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix("error: ")
    is_crash = any(line.startswith("Traceback (most recent call last)") for line in lines)
    return "\n".join(lines[-1 if is_crash else -_MOST_LINES :])


def _version(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is written: it is replaced as a whole."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _absolute(record: BuildRecord, root: Path) -> BuildRecord:
    return replace(record, libraries=tuple(_absolute_library(library, root) for library in record.libraries))


def _absolute_library(library: LibraryBuild, root: Path) -> LibraryBuild:
    device_code = [
        replace(
            code,
            cubin=str(root / code.cubin),
            ptx=str(root / code.ptx),
            compiler_log=str(root / code.compiler_log),
        )
        for code in library.device_code
    ]
    if not library.library:
        return library
    path = root / library.library
    # By today's rule, whatever the rule was at that commit; the fingerprint of a CUDA library is of its cubins.
    fingerprint = library.fingerprint if device_code else machine_code_fingerprint(path.read_bytes())
    return replace(library, library=str(path), fingerprint=fingerprint, device_code=tuple(device_code))
