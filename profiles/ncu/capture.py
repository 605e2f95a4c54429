"""Capture a case with Nsight Compute: run it as a child, read what it left, and record how it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import FULL, Case, DType, Operation
from profiles.ncu.attempts import CaptureAttempt, write_attempt
from profiles.ncu.command_line import (
    CaptureFiles,
    Collection,
    NsightCompute,
    Settings,
    capture_command,
    environment_changes,
    printable_command,
)
from profiles.ncu.failures import Expectation, Failure, FailureKind, Outcome, UnreadableReport, judge
from profiles.ncu.installation import find_ncu, gpu_architecture, restriction_note
from profiles.ncu.joined_report import join_reports
from profiles.ncu.ladder import LAST_RUNG, CollectionResult, Ladder, RungResult, RungState, descend, ladder
from profiles.ncu.metric_tiers import Tier
from profiles.ncu.model import Report
from profiles.ncu.read_import import read_by_import
from profiles.ncu.read_report_file import read_report_file
from profiles.ncu.stored_report import hardware_folder

DEFAULT_LAUNCHES = 3  # enough to see whether a counter repeats
DEFAULT_TIMEOUT_S = 300.0
# One counter of one small launch: profiling a program without kernels succeeds without any permission.
PROBE = Collection(name="permission-probe", metrics=("smsp__inst_executed.sum",))
PROBE_CASE = Case(
    operation=Operation.ATTENTION_FWD,
    dtype=DType.BF16,
    batch=1,
    heads_q=1,
    heads_kv=1,
    seqlen_q=128,
    seqlen_k=128,
    head_dim=64,
    mask=FULL,
)

# A backward pass is three kernels: delta, the gradients, and dQ out of its fp32 sums.
_KERNELS_OF_A_CALL = {Operation.ATTENTION_FWD: 1, Operation.ATTENTION_BWD: 3}
_GRACE_S = 10.0  # for Nsight Compute to put back what it changed, once asked to end
_OUTPUT_BYTES = 1 << 18  # kept from the end of what a run wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSite:
    """Where and how this machine captures."""

    ncu: NsightCompute
    architecture: str  # of the GPU, "sm_90"
    folder: Path  # one folder per case below it
    settings: Settings = field(default_factory=Settings)
    launches: int = DEFAULT_LAUNCHES
    timeout_s: float = DEFAULT_TIMEOUT_S  # for each run of Nsight Compute


def open_site(captures: Path) -> CaptureSite | Failure:
    """This machine's Nsight Compute and GPU, or why there is none that can be used.

    ``captures`` is the workspace's folder of captures; the reports lie in ``hardware`` below it. Use
    :func:`dataclasses.replace` to profile in another way than the default: caches flushed, clocks left alone.
    """
    ncu = find_ncu()
    if isinstance(ncu, Failure):
        return ncu
    architecture = gpu_architecture()
    if isinstance(architecture, Failure):
        return architecture
    return CaptureSite(ncu=ncu, architecture=architecture, folder=hardware_folder(captures))


def probe_counters(site: CaptureSite) -> Failure | None:
    """Profile one small launch of a real kernel; returns why its counter could not be read, None if it could."""
    result = capture_collection(PROBE, site=replace(site, launches=1), case=PROBE_CASE)
    note = restriction_note()
    if result.failure is None or not note or result.failure.kind is not FailureKind.NO_PERMISSION:
        return result.failure
    return replace(result.failure, details=(note, *result.failure.details))


def capture_case(case: Case, tier: Tier, site: CaptureSite) -> CaptureAttempt:
    """Capture ``case`` as far down the tier's ladder as needed, and record how it went.

    The record lies in ``<folder>/<case>/attempt.json`` beside reports, logs and the workload's output. A failure is no
    exception: it stands in the record, and the last rung says that only the other layers are left.
    """
    plan = tier_ladder(tier, site)
    started = _now()
    rungs = descend(plan, partial(capture_collection, site=site, case=case))
    attempt = CaptureAttempt(
        case=case.name,
        tier=tier.name,
        tree=source_tree(),
        started=started,
        launches=site.launches,
        ncu=f"{site.ncu.title} ({site.ncu.path})",
        settings=str(site.settings),
        rungs=rungs,
    )
    write_attempt(site.folder, attempt)
    return attempt


def record_refusal(case: Case, tier: str, captures: Path, failure: Failure) -> CaptureAttempt:
    """Record that ``case`` was not even tried, because no Nsight Compute can be used or the probe failed."""
    attempt = CaptureAttempt(
        case=case.name,
        tier=tier,
        tree=source_tree(),
        started=_now(),
        launches=0,
        ncu="",
        settings="",
        rungs=(RungResult(name=LAST_RUNG, state=RungState.HELD),),
        refusal=failure,
    )
    write_attempt(hardware_folder(captures), attempt)
    return attempt


def tier_ladder(tier: Tier, site: CaptureSite) -> Ladder:
    """The tier's rungs for the GPU and the Nsight Compute of ``site``."""
    return ladder(tier.name, tier.collections(site.architecture, site.ncu.version))


def commands_text(case: Case, tier: Tier, site: CaptureSite) -> str:
    """The shell commands of the top rung: what :func:`capture_case` runs first, for pasting."""
    temporary = Path(tempfile.gettempdir()) / f"roofgate-ncu-{os.getuid()}"
    workload = workload_command(case, site.launches)
    texts = [
        printable_command(
            site.ncu, collection, site.settings, _files(site.folder / case.name, collection, temporary), workload
        )
        for collection in tier_ladder(tier, site).rungs[0].collections
    ]
    return "\n\n".join(texts)


def workload_command(case: Case, launches: int) -> tuple[str, ...]:
    """The argv of the child that launches ``case``."""
    return (sys.executable, "-m", "profiles.ncu.workload", "--case", case.name, "--launches", str(launches))


def capture_collection(collection: Collection, *, site: CaptureSite, case: Case) -> CollectionResult:
    """One run of Nsight Compute and the reading of its report."""
    folder = site.folder / case.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="roofgate-ncu-", ignore_cleanup_errors=True) as temporary:
        files = _files(folder, collection, Path(temporary))
        for old in (files.report, files.log):
            old.unlink(missing_ok=True)
        command = capture_command(site.ncu, collection, site.settings, files, workload_command(case, site.launches))
        outcome = run_ncu(command, environment_changes(files), files.log, site.timeout_s)
    (folder / f"{collection.name}.txt").write_text(outcome.output)
    report = _read(files.report, site.ncu) if outcome.exit_code == 0 else _not_read(files.report)
    named = tuple(name for name in collection.metrics if ":" not in name)  # groups come out under other names
    launches = site.launches * _KERNELS_OF_A_CALL[case.operation]
    failure = judge(outcome, report, Expectation(launches=launches, metrics=named))
    return CollectionResult(
        name=collection.name,
        report="" if failure else str(files.report),
        seconds=outcome.seconds,
        failure=failure,
    )


def _files(folder: Path, collection: Collection, temporary: Path) -> CaptureFiles:
    stem = folder / collection.name
    return CaptureFiles(
        report=stem.with_name(f"{stem.name}.ncu-rep"), log=stem.with_name(f"{stem.name}.log"), temporary=temporary
    )


def captured_report(attempt: CaptureAttempt, ncu: NsightCompute) -> Report:
    """The captured launches, with the counters of every run of the rung that held.

    Raises :class:`RoofgateError` if nothing was captured, or if a report is no longer what it was.
    """
    return join_reports([_read_report(Path(report), ncu) for report in attempt.reports])


def _read(path: Path, ncu: NsightCompute) -> Report | UnreadableReport:
    if not path.exists():
        return _not_read(path)
    try:
        return _read_report(path, ncu)
    except RoofgateError as error:
        return UnreadableReport(reason=str(error), exists=True)


def _read_report(path: Path, ncu: NsightCompute) -> Report:
    """By ``ncu-report``; where that is not installed, or is too old for this report, by the ncu that wrote it."""
    try:
        found = read_report_file(path, path.read_bytes(), None)
    except (RoofgateError, OSError):
        found = None
    return found or read_by_import(path, ncu.path)


def _not_read(path: Path) -> UnreadableReport:
    return UnreadableReport(reason="the run had failed", exists=path.exists())


def run_ncu(command: Sequence[str], variables: Mapping[str, str], log: Path, timeout_s: float) -> Outcome:
    """Run it in a process group of its own, of which nothing is left in the end."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,  # one that reads the terminal from the background would be stopped
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(exit_code=127, seconds=0.0, log="", output=f"==ERROR== {command[0]}: {error}")
        exit_code = _wait(child, timeout_s)
        seconds = time.monotonic() - started
        return Outcome(exit_code=exit_code, seconds=seconds, log=_text(log), output=_end_of(said))


def _wait(child: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """The exit code; None if it took too long. Ends the whole group unless all went well."""
    try:
        exit_code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
        exit_code = None
    except BaseException:
        _signal_group(child, signal.SIGKILL)
        child.wait()
        raise
    if exit_code != 0:
        _signal_group(child, signal.SIGKILL)  # a workload that outlives a profiler that crashed holds the GPU
        child.wait()
    return exit_code


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(child.pid, number)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _OUTPUT_BYTES))
    return said.read().decode(errors="replace")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
