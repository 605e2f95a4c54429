"""Where everything produced lies, who may write it, how each step ended, and which sources it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from kernels.artifacts import write_atomically
from kernels.errors import EXIT_INTERRUPTED, RoofgateError, run_command


@dataclass(frozen=True, slots=True)
class Workspace:
    """The ignored folder ``out`` of one checkout."""

    root: Path = Path("out")

    @property
    def build_record(self) -> Path:
        """The present build."""
        return self.root / "build" / "build.json"

    @property
    def runs(self) -> Path:
        """Immutable run files."""
        return self.root / "runs"

    @property
    def baselines(self) -> Path:
        """Timed baselines, one folder per machine fingerprint."""
        return self.root / "baselines"

    @property
    def comparisons(self) -> Path:
        """Paired comparisons of two revisions, immutable once complete."""
        return self.root / "comparisons"

    @property
    def captures(self) -> Path:
        """One capture set per layer."""
        return self.root / "captures"

    @property
    def site(self) -> Path:
        """The HTML report."""
        return self.root / "site"

    @property
    def steps(self) -> Path:
        """One status file per step."""
        return self.root / "steps"

    @contextmanager
    def writing(self, command: str) -> Iterator[None]:
        """Hold the checkout's lock, so that two commands never write into ``out`` at once.

        Raises :class:`RoofgateError` naming the other command if one is running.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        holder = self.root / "lock.holder"
        lock = FileLock(self.root / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            other = holder.read_text() if holder.exists() else "another command"
            raise RoofgateError(f"{other} is writing to {self.root}/; wait for it to end, then run again") from None
        try:
            holder.write_text(f"{command!r} (process {os.getpid()})")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


SOURCE_SUFFIXES = frozenset({".py", ".cpp", ".cu", ".cuh", ".h", ".map", ".yml"})


def source_tree(root: Path = Path()) -> str:
    """Digest of every source that decides what is built and measured, uncommitted edits included.

    Covers ``kernels`` and ``perf`` without the baselines, which a promotion rewrites. Two results with equal digests
    come from equal sources, whatever their commits.
    """
    files = (path for package in ("kernels", "perf") for path in (root / package).rglob("*"))
    return digest_files(root, (path for path in files if "baselines" not in path.parts))


def digest_files(root: Path, files: Iterable[Path]) -> str:
    """Digest of the names and contents of those ``files`` under ``root`` that are sources."""
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.suffix in SOURCE_SUFFIXES):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_step(workspace: Workspace, step: str, work: Callable[[], int]) -> int:
    """Run ``work`` as the named step under the lock and keep how it ended, for the report and the gate.

    Returns the exit code. A failure is kept with its message before it is reported.
    """
    tree = source_tree()

    def recorded() -> int:
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        exit_code, message = 2, "ended by an unexpected error; see its traceback in the terminal"
        try:
            exit_code, message = work(), ""
        except RoofgateError as error:
            message = str(error)
            raise
        except KeyboardInterrupt:
            exit_code, message = EXIT_INTERRUPTED, "interrupted"
            raise
        finally:
            wall_s = time.monotonic() - clock
            status = {
                "step": step,
                "tree": tree,
                "started": started,
                "wall_s": wall_s,
                "exit_code": exit_code,
                "error": message,
            }
            write_atomically(workspace.steps / f"{step}.json", json.dumps(status, indent=1) + "\n")
        return exit_code

    def locked() -> int:
        with workspace.writing(f"roofgate {step}"):
            return recorded()

    return run_command(locked)
