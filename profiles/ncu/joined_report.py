"""Several runs of Nsight Compute over the same launches as one report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kernels.errors import RoofgateError
from profiles.ncu.model import Launch, Report


def join_reports(reports: Sequence[Report]) -> Report:
    """One report of the launches that all ``reports`` hold, each with the counters of all runs.

    Of a counter that several runs hold, the first run's value is taken: hardware counters are captured first, where no
    patched instruction disturbs them.

    Raises:
        RoofgateError: no report, or their launches are not the same.
    """
    if not reports:
        raise RoofgateError("no reports to join; expected at least one")
    first, *others = reports
    if not others:
        return first
    for other in others:
        _require_same_launches(first, other)
    notes = tuple(dict.fromkeys(note for report in reports for note in report.notes))
    apart = f"the counters come from {len(reports)} runs: {', '.join(report.path for report in reports)}"
    launches = tuple(_join(runs) for runs in zip(*(report.launches for report in reports), strict=True))
    return replace(first, launches=launches, notes=(*notes, apart))


def _require_same_launches(first: Report, other: Report) -> None:
    ours, theirs = ([_identity(launch) for launch in report.launches] for report in (first, other))
    if ours != theirs:
        raise RoofgateError(
            f"{first.path} and {other.path} hold other launches: {len(ours)} and {len(theirs)}, of "
            f"{_kernels(first)} and {_kernels(other)}; capture the case again"
        )


def _identity(launch: Launch) -> tuple[object, ...]:
    return (launch.kernel, launch.grid, launch.block)


def _kernels(report: Report) -> str:
    return ", ".join(dict.fromkeys(launch.kernel for launch in report.launches)) or "no kernel"


def _join(runs: Sequence[Launch]) -> Launch:
    """The same launch in every run."""
    counters = {name: counter for launch in reversed(runs) for name, counter in launch.counters.items()}
    missing = {name: reason for launch in runs for name, reason in launch.missing.items() if name not in counters}
    rules = tuple(dict.fromkeys(rule for launch in runs for rule in launch.rules))
    return replace(runs[0], counters=counters, missing=missing, rules=rules)
