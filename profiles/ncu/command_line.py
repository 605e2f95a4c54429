"""The command line of a capture: a plan and an installed Nsight Compute make argv and environment. Pure.

Every switch that influences a figure is passed, for its default differs from version to version. Options that came
after the oldest supported version are passed only where the installed one lists them in its help.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

NVTX_RANGE = "roofgate"  # in the default domain; what the workload launches outside it is not profiled

Version = tuple[int, int, int]
OLDEST_VERSION: Version = (2022, 4, 0)

_VERSION = re.compile(r"\bVersion (\d{4})\.(\d+)\.(\d+)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")

# No deployment: sections that somebody edited under the home folder would be used in place of NVIDIA's.
# The locale decides how numbers are written: "1,345.5" or "1.345,5".
_ENVIRONMENT = {"LC_ALL": "C", "NV_COMPUTE_PROFILER_DISABLE_STOCK_FILE_DEPLOYMENT": "1"}


class CacheControl(Enum):
    """What happens to the caches before each replay pass."""

    FLUSH = "all"
    KEEP = "none"


class ClockControl(Enum):
    """What Nsight Compute does to the clocks while it profiles. Only LEAVE does not touch the card's settings."""

    LEAVE = "none"
    BASE = "base"
    BOOST = "boost"


class ReplayMode(Enum):
    """How the passes of one launch are repeated."""

    KERNEL = "kernel"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How launches are profiled, whatever is collected."""

    cache: CacheControl = CacheControl.FLUSH
    clocks: ClockControl = ClockControl.LEAVE
    replay: ReplayMode = ReplayMode.KERNEL

    def __str__(self) -> str:
        return f"cache control {self.cache.value}, clock control {self.clocks.value}, {self.replay.value} replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What one run of Nsight Compute collects: metrics by full name, sections by identifier, or both."""

    name: str  # fit for a file name
    metrics: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.metrics and not self.sections:
            raise ValueError(f"collection {self.name!r} is empty; expected metrics or sections")


@dataclass(frozen=True, slots=True, kw_only=True)
class NsightCompute:
    """An Nsight Compute, as installed."""

    path: str
    version: Version
    options: frozenset[str] = field(default=frozenset(), repr=False)  # every one that its help lists

    @property
    def title(self) -> str:
        """For people: ``Nsight Compute 2025.3.1``."""
        return f"Nsight Compute {version_text(self.version)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFiles:
    """Where one run leaves what it makes."""

    report: Path  # ends in .ncu-rep
    log: Path  # Nsight Compute's own messages, apart from the workload's
    temporary: Path  # TMPDIR: its lock file is one per folder, and another user's cannot be opened


def version_text(version: Version) -> str:
    """``2025.3.1``."""
    return ".".join(map(str, version))


def parse_version(text: str) -> Version | None:
    """The version in the answer of ``ncu --version``; None if there is none."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def parse_options(help_text: str) -> frozenset[str]:
    """Every option that ``ncu --help`` mentions."""
    return frozenset(_OPTION.findall(help_text))


def capture_command(
    ncu: NsightCompute, collection: Collection, settings: Settings, files: CaptureFiles, workload: Sequence[str]
) -> tuple[str, ...]:
    """The argv that captures the launches of ``workload`` inside :data:`NVTX_RANGE` into a report file."""
    metrics = ("--metrics", ",".join(collection.metrics)) if collection.metrics else ()
    sections = tuple(word for section in collection.sections for word in ("--section", section))
    return (
        ncu.path,
        *("--config-file", "off"),
        *("--export", str(files.report), "--force-overwrite"),
        *("--log-file", str(files.log)),
        *("--target-processes", "all"),
        *("--nvtx", "--nvtx-include", f"{NVTX_RANGE}/"),
        *("--replay-mode", settings.replay.value),
        *("--cache-control", settings.cache.value),
        *("--clock-control", settings.clocks.value),
        *_later_options(ncu, settings),
        *sections,
        *metrics,
        *workload,
    )


def _later_options(ncu: NsightCompute, settings: Settings) -> tuple[str, ...]:
    """Options that not every supported version has, as far as this one does."""
    # A pinned boost state of the tensor cores is a setting of the card, as the clocks are.
    boost = "dynamic" if settings.clocks is ClockControl.LEAVE else "stable"
    wanted = {
        "--check-exit-code": "yes",
        "--pipeline-boost-state": boost,
    }
    return tuple(word for option, value in wanted.items() if option in ncu.options for word in (option, value))


def import_command(ncu: NsightCompute, report: Path) -> tuple[str, ...]:
    """The argv that prints a report as CSV in base units: the step after the capture, by hand."""
    page = ("--page", "raw", "--csv", "--print-units", "base")
    return (ncu.path, "--config-file", "off", "--import", str(report), *page)


def environment_changes(files: CaptureFiles) -> Mapping[str, str]:
    """The variables that a capture sets, beside those it inherits."""
    return {**_ENVIRONMENT, "TMPDIR": str(files.temporary)}


def printable_command(
    ncu: NsightCompute, collection: Collection, settings: Settings, files: CaptureFiles, workload: Sequence[str]
) -> str:
    """Shell text that does by hand, from the root of the checkout, what a capture does: capture, then read."""
    variables = [f"{name}={value}" for name, value in environment_changes(files).items()]
    folders = dict.fromkeys(str(folder) for folder in (files.report.parent, files.log.parent, files.temporary))
    steps = (
        ("mkdir", "-p", *folders),
        ("env", *variables, *capture_command(ncu, collection, settings, files, workload)),
        ("env", *variables, *import_command(ncu, files.report)),
    )
    return "\n".join(shlex.join(step) for step in steps)
