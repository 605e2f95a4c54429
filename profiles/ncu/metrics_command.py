"""``python -m profiles metrics``: what each tier asks for, whether every chip has it, and how many passes it takes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernels.errors import EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from profiles.ncu.command_line import version_text
from profiles.ncu.metric_tiers import Chip, Source, Tier, load_tiers
from profiles.ncu.offline_check import CaptureCheck, check_tiers
from profiles.table import PIPED_WIDTH

EXAMPLES = """\
examples:
  python -m profiles metrics                            every tier on every chip
  python -m profiles metrics --chip GH100               one chip
  python -m profiles metrics --tier gate                the metrics of a tier: what each is for, and how exact it is

Needs no GPU: the package nvidia-cuda-cupti answers. Passes are as CUPTI schedules them; each replays the kernel.
Exit code: 0 every chip has every metric, 1 some metric is missing, 2 an error, 3 not checked.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to check; None means all."""

    chip: str | None = None
    tier: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument("--chip", metavar="CHIP", help='one chip, such as "GH100" (default: all declared)')
    parser.add_argument("--tier", metavar="TIER", help="one tier, with each of its metrics (default: all, counted)")


def read_request(options: argparse.Namespace) -> Request:
    """What the options of :func:`add_arguments` ask for."""
    return Request(chip=options.chip, tier=options.tier)


def run_metrics(request: Request) -> int:
    """Print the tables; returns the exit code.

    Raises :class:`RoofgateError` for a tier or chip that is not declared.
    """
    declared = load_tiers()
    chips = [declared.chip(request.chip)] if request.chip else list(declared.chips.values())
    tiers = [declared.tier(request.tier)] if request.tier else list(declared.tiers.values())
    if request.tier:
        _print(metric_table(tiers[0], chips if request.chip else ()))
    try:
        checks = check_tiers(chips, tiers)
    except RoofgateError as error:
        print(f"not checked: {error}", file=sys.stderr)
        return EXIT_NO_VERDICT
    _print(check_table(checks))
    return _conclude(checks)


def _conclude(checks: Sequence[CaptureCheck]) -> int:
    """Name what the table only counts; returns the exit code."""
    unchecked = sorted({metric for check in checks for metric in check.unchecked})
    print(f"Not checkable offline, for Nsight Compute makes them itself: {', '.join(unchecked) or 'none'}.")
    missing = [check for check in checks if not check.holds]
    for check in missing:
        names = ", ".join(check.answer.unknown)
        print(f"{check.chip.name} lacks of {check.tier.name}-{check.source.value}: {names}", file=sys.stderr)
    return EXIT_REGRESSION if missing else EXIT_PASS


def check_table(checks: Sequence[CaptureCheck]) -> Table:
    """One row for each capture of each tier on each chip."""
    table = Table(title="Metric tiers, held against each chip without a GPU", title_justify="left")
    for heading in ("chip", "architecture", "tier", "counted by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("metrics", "missing", "not checked", "passes", "sections"):
        table.add_column(heading, justify="right", no_wrap=True)
    for check in checks:
        sections = len(check.sections)
        cells = (
            check.chip.name,
            check.chip.architecture,
            check.tier.name,
            _COUNTED_BY[check.source],
            f"{check.metrics}",
            f"{len(check.answer.unknown)}",
            f"{len(check.unchecked)}",
            f"{check.answer.passes}" + (" + sections" if sections else ""),
            f"{sections or '-'}",
        )
        table.add_row(*map(Text, cells))
    return table


def metric_table(tier: Tier, chips: Sequence[Chip]) -> Table:
    """One row for each metric of ``tier``, of those that exist on one of ``chips``, or of all if there are none."""
    wanted = {metric for chip in chips for source in Source for metric in tier.select(chip.architecture, source)}
    table = Table(title=Text(f"Tier {tier.name}: {tier.purpose}"), title_justify="left")
    for heading in ("metric", "counted by", "repeats", "architectures", "from"):
        table.add_column(heading, no_wrap=True)
    table.add_column("purpose")
    for metric in tier.metrics:
        if not chips or metric in wanted:
            cells = (
                metric.name,
                _COUNTED_BY[metric.source],
                metric.exactness.value,
                ", ".join(sorted(metric.architectures)) or "all",
                version_text(metric.since),
                metric.purpose,
            )
            table.add_row(*map(Text, cells))
    return table


_COUNTED_BY = {Source.COUNTERS: "hardware", Source.SASS: "patched code"}


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
