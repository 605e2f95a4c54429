"""Why a capture failed: what Nsight Compute said and did, as one kind of failure with its cause and remedy. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from profiles.ncu.command_line import OLDEST_VERSION, NsightCompute, version_text
from profiles.ncu.model import Report

_WORDS_OF_PROGRAM = 6  # last lines kept of what the workload wrote
_MISSING_SHOWN = 8  # metrics named in a message; the details hold all

_MESSAGE = re.compile(r"==(?:ERROR|WARNING)== ?(.*)")
_ERROR = re.compile(r"==ERROR== ?(.*)")
_PROGRAM_CODE = re.compile(r"The application returned an error code \((-?\d+)\)")
_LISTED_KERNEL = re.compile(r"\s*\d+\.\s+(\S.*)")
_PROGRESS = re.compile(r"==PROF== Profiling (.*)")


class FailureKind(Enum):
    """What went wrong, told apart by what mends it."""

    NCU_MISSING = "ncu_missing"
    NCU_TOO_OLD = "ncu_too_old"
    NO_DRIVER = "no_driver"
    DRIVER_MISMATCH = "driver_mismatch"
    NO_PERMISSION = "no_permission"
    COUNTERS_BUSY = "counters_busy"
    SHARED_MIG_INSTANCE = "shared_mig_instance"
    LOCK_FILE = "lock_file"
    UNKNOWN_METRIC = "unknown_metric"
    REFUSED_COMMAND = "refused_command"
    PROGRAM_MISSING = "program_missing"
    PROGRAM_FAILED = "program_failed"
    NOTHING_MATCHED = "nothing_matched"
    HANG = "hang"
    NO_REPORT = "no_report"
    DAMAGED_REPORT = "damaged_report"
    WRONG_LAUNCHES = "wrong_launches"
    MISSING_VALUES = "missing_values"
    UNEXPLAINED = "unexplained"

    @property
    def ends_ladder(self) -> bool:
        """Whether collecting less would fail in the same way."""
        return self in _ENDS_LADDER


_ENDS_LADDER = frozenset(
    {
        FailureKind.NCU_MISSING,
        FailureKind.NCU_TOO_OLD,
        FailureKind.NO_DRIVER,
        FailureKind.DRIVER_MISMATCH,
        FailureKind.NO_PERMISSION,
        FailureKind.COUNTERS_BUSY,
        FailureKind.LOCK_FILE,
        FailureKind.PROGRAM_MISSING,
        FailureKind.PROGRAM_FAILED,
        FailureKind.NOTHING_MATCHED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure, for people."""

    kind: FailureKind
    cause: str
    remedy: str
    details: tuple[str, ...] = ()  # the words of Nsight Compute or of the workload

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one run of Nsight Compute ended."""

    exit_code: int | None  # None if it was killed for taking too long; -N if signal N ended it
    seconds: float
    log: str  # the file that --log-file named
    output: str  # standard output and error, of Nsight Compute and of the workload

    @property
    def timed_out(self) -> bool:
        """Whether it was killed for taking too long."""
        return self.exit_code is None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableReport:
    """A report file that is not there, or that cannot be read."""

    reason: str
    exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a capture must hold to count."""

    launches: int
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A message of Nsight Compute and what it means."""

    pattern: re.Pattern[str]
    kind: FailureKind
    cause: str
    remedy: str


_NO_DRIVER = "there is no NVIDIA driver here, or a stub libcuda.so hides it"
_NO_DRIVER_REMEDY = "run on a machine where nvidia-smi works, and take folders called stubs out of LD_LIBRARY_PATH"

# In the order of precedence: a run without a driver also says that the program failed and that no kernel was profiled.
_KNOWN = (
    _Known(
        re.compile(r"driver is not compatible with Nsight Compute", re.IGNORECASE),
        FailureKind.DRIVER_MISMATCH,
        "the NVIDIA driver does not fit this version of Nsight Compute",
        "install the Nsight Compute of the CUDA version that nvidia-smi shows, or a newer driver; "
        "ROOFGATE_NCU chooses among several",
    ),
    _Known(
        re.compile(r"failed to connect to the CUDA driver|Driver could not be loaded"),
        FailureKind.NO_DRIVER,
        _NO_DRIVER,
        _NO_DRIVER_REMEDY,
    ),
    _Known(
        re.compile(r"Failed to initialize the profiler: ?LibraryNotLoaded"),
        FailureKind.NO_DRIVER,
        "a library of the driver that profiling needs could not be loaded, as in a sandbox that hides it",
        "run outside the sandbox, or in a container started with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    _Known(
        re.compile(r"ERR_NVGPUCTRPERM"),
        FailureKind.NO_PERMISSION,
        "this user may not read the GPU's performance counters (ERR_NVGPUCTRPERM)",
        "ask the administrator for the driver option NVreg_RestrictProfilingToAdminUsers=0, or start the container "
        "with --cap-add=SYS_ADMIN; see https://developer.nvidia.com/ERR_NVGPUCTRPERM",
    ),
    _Known(
        re.compile(r"driver resource was unavailable"),
        FailureKind.COUNTERS_BUSY,
        "another tool, such as DCGM or a second profiler, holds the performance counters of the machine",
        "run dcgmi profile --pause before and dcgmi profile --resume after, or end the other profiler",
    ),
    _Known(
        re.compile(r"profiling on a MIG instance"),
        FailureKind.SHARED_MIG_INSTANCE,
        "the metrics come from units that this MIG instance shares with others",
        "profile on the whole GPU or on an instance that owns them, or collect fewer metrics",
    ),
    _Known(
        re.compile(r"Failed to (?:open|create|open/create) (?:the )?lock file|InterprocessLockFailed"),
        FailureKind.LOCK_FILE,
        "the lock file of Nsight Compute cannot be written: it lies in TMPDIR and belongs to another user",
        "give TMPDIR a folder of your own",
    ),
    _Known(
        re.compile(r"Failed to find metric"),
        FailureKind.UNKNOWN_METRIC,
        "this GPU, or this version of Nsight Compute, does not know a metric",
        "see which metrics there are: python -m profiles metrics, or ncu --query-metrics",
    ),
    _Known(
        re.compile(
            r"unrecognised option|did not match any section|the argument .* is invalid|Invalid option"
            r"|already exists\. Use '-f'|No metrics to collect found"
        ),
        FailureKind.REFUSED_COMMAND,
        "this version of Nsight Compute refuses the command",
        "compare the options with ncu --help, and the sections with ncu --list-sections",
    ),
    _Known(
        re.compile(r"does not exist or is not an executable"),
        FailureKind.PROGRAM_MISSING,
        "the program to profile is not there",
        "check the path of the program",
    ),
)


def missing_ncu(looked_for: str) -> Failure:
    """No Nsight Compute: ``looked_for`` says where."""
    return Failure(
        kind=FailureKind.NCU_MISSING,
        cause=f"Nsight Compute is not here ({looked_for})",
        remedy=f"install it, {version_text(OLDEST_VERSION)} or later, or set ROOFGATE_NCU to its ncu",
    )


def no_driver(words: str) -> Failure:
    """No driver or no GPU: ``words`` are the loader's or the driver's."""
    return Failure(kind=FailureKind.NO_DRIVER, cause=_NO_DRIVER, remedy=_NO_DRIVER_REMEDY, details=(words,))


def old_ncu(ncu: NsightCompute) -> Failure:
    """An Nsight Compute whose reports and options are not those that we know."""
    return Failure(
        kind=FailureKind.NCU_TOO_OLD,
        cause=f"{ncu.path} is version {version_text(ncu.version)}, and {version_text(OLDEST_VERSION)} is the oldest "
        "that is supported",
        remedy="install a newer one, or set ROOFGATE_NCU to it",
    )


def judge(outcome: Outcome, report: Report | UnreadableReport, expected: Expectation) -> Failure | None:
    """Why this run is no capture; None if it is one.

    It is one if Nsight Compute exits with 0 and the report loads with the expected launches, every requested value in
    each. Messages alone are no failure: some name a lack that this capture does not feel.
    """
    incomplete = _incomplete(report, expected)
    if outcome.exit_code == 0 and incomplete is None:
        return None
    for find in (_known_message, _hang, _program_failed, _nothing_matched):
        found = find(outcome)
        if found is not None:
            return found
    if outcome.exit_code:
        return _unexplained(outcome)
    return incomplete


def _said(outcome: Outcome, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Nsight Compute's own lines, in its log and among the workload's: they begin with the pattern."""
    found = (pattern.match(line) for line in (*outcome.log.splitlines(), *outcome.output.splitlines()))
    return tuple(dict.fromkeys(match[1] for match in found if match))


def _known_message(outcome: Outcome) -> Failure | None:
    said = _said(outcome, _MESSAGE)
    for known in _KNOWN:
        if any(known.pattern.search(line) for line in said):
            return Failure(kind=known.kind, cause=known.cause, remedy=known.remedy, details=said)
    return None


def _hang(outcome: Outcome) -> Failure | None:
    if not outcome.timed_out:
        return None
    progress = _said(outcome, _PROGRESS)
    where = f"at {progress[-1]}" if progress else "before the first kernel"
    return Failure(
        kind=FailureKind.HANG,
        cause=f"no end after {outcome.seconds:.0f} s, {where}",
        remedy="collect less: kernels that wait on barriers in memory can hang under patched instructions; "
        "or allow more time",
        details=(*_said(outcome, _MESSAGE), *_last_words(outcome)),
    )


def _program_failed(outcome: Outcome) -> Failure | None:
    codes = [match[1] for line in _said(outcome, _ERROR) if (match := _PROGRAM_CODE.match(line))]
    if not codes:
        return None
    return Failure(
        kind=FailureKind.PROGRAM_FAILED,
        cause=f"the profiled program failed with exit code {codes[-1]}",
        remedy="run it without Nsight Compute first",
        details=_last_words(outcome),
    )


def _nothing_matched(outcome: Outcome) -> Failure | None:
    if "No kernels were profiled." not in _said(outcome, _MESSAGE):
        return None
    kernels = available_kernels(outcome.log) or available_kernels(outcome.output)
    launched = f"launched were: {', '.join(kernels)}" if kernels else "Nsight Compute saw no kernel at all"
    return Failure(
        kind=FailureKind.NOTHING_MATCHED,
        cause=f"no launch matched the filter ({launched})",
        remedy="check the NVTX range and the program; a GPU older than compute capability 7.0 is not supported",
        details=kernels,
    )


def available_kernels(text: str) -> tuple[str, ...]:
    """The kernels that Nsight Compute lists when none of them matched."""
    _, heading, rest = text.partition("Available Kernels:")
    kernels: list[str] = []
    for line in rest.splitlines()[1:] if heading else ():
        found = _LISTED_KERNEL.fullmatch(line)
        if found is None:
            break
        kernels.append(found[1].rstrip())
    return tuple(kernels)


def _unexplained(outcome: Outcome) -> Failure:
    said = _said(outcome, _ERROR)
    code = outcome.exit_code or 0
    ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return Failure(
        kind=FailureKind.UNEXPLAINED,
        cause=f"Nsight Compute {ended}" + (f": {said[0]}" if said else " and said nothing of it"),
        remedy="see its log",
        details=(*said, *_last_words(outcome)),
    )


def _last_words(outcome: Outcome) -> tuple[str, ...]:
    """The end of what the workload wrote."""
    own = [line for line in outcome.output.splitlines() if line.strip() and not line.startswith("==")]
    return tuple(own[-_WORDS_OF_PROGRAM:])


def _incomplete(report: Report | UnreadableReport, expected: Expectation) -> Failure | None:
    if isinstance(report, UnreadableReport):
        return _unreadable(report)
    if len(report.launches) != expected.launches:
        return Failure(
            kind=FailureKind.WRONG_LAUNCHES,
            cause=f"the report holds {len(report.launches)} launches, expected {expected.launches}",
            remedy="check what the program launches inside the NVTX range",
            details=tuple(launch.kernel for launch in report.launches),
        )
    return _missing_values(report, expected)


def _unreadable(report: UnreadableReport) -> Failure:
    if not report.exists:
        return Failure(
            kind=FailureKind.NO_REPORT,
            cause="Nsight Compute left no report",
            remedy="see its log, and whether the disk is full",
        )
    return Failure(
        kind=FailureKind.DAMAGED_REPORT,
        cause=f"the report is empty, cut off or of an unknown format: {report.reason}",
        remedy="capture again; if it stays so, see whether the disk is full and which version reads the report",
    )


def _missing_values(report: Report, expected: Expectation) -> Failure | None:
    lacking: dict[str, str] = {}
    for launch in report.launches:
        for name in expected.metrics:
            if name not in launch.counters:
                lacking[name] = launch.missing.get(name) or "not in the report"
    if not lacking:
        return _without_counters(report)
    shown = ", ".join(list(lacking)[:_MISSING_SHOWN])
    rest = len(lacking) - _MISSING_SHOWN
    return Failure(
        kind=FailureKind.MISSING_VALUES,
        cause=f"{len(lacking)} of {len(expected.metrics)} requested metrics have no value: {shown}"
        + (f" and {rest} more" if rest > 0 else ""),
        remedy="see which metrics this GPU has: python -m profiles metrics; ncu of another version may have them",
        details=tuple(f"{name}: {reason}" for name, reason in lacking.items()),
    )


def _without_counters(report: Report) -> Failure | None:
    """Of sections no metric is known by name, but a launch without any counter was not profiled."""
    bare = tuple(launch.kernel for launch in report.launches if not launch.counters)
    if not bare:
        return None
    return Failure(
        kind=FailureKind.MISSING_VALUES,
        cause=f"{len(bare)} of {len(report.launches)} launches hold no counter",
        remedy="see the log of Nsight Compute",
        details=bare,
    )
