"""``python -m profiles hardware``: capture cases on this machine's GPU, or show the commands that would."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from kernels.errors import EXIT_PASS, RoofgateError
from perf.config import load_suites
from perf.model import Case, Device
from profiles.hardware import HardwareRequest
from profiles.ncu.capture import CaptureSite, commands_text, open_site
from profiles.ncu.failures import Failure
from profiles.ncu.installation import unknown_ncu
from profiles.ncu.metric_tiers import load_tiers
from profiles.ncu.stored_report import hardware_folder
from profiles.simulator.attention_case import EXAMPLE_CASE, parse_case

DEFAULT_SUITE = "smoke"  # its CUDA cases launch every kind of kernel once
DEFAULT_TIER = "full"

EXAMPLES = f"""\
examples:
  python -m profiles hardware                                 the CUDA cases of suite {DEFAULT_SUITE}, every metric
  python -m profiles hardware --tier gate                     only what the gate judges: a few passes
  python -m profiles hardware --case {EXAMPLE_CASE}
  python -m profiles hardware --print-command                 the commands, to paste on another machine

Needs an NVIDIA GPU and Nsight Compute; without them the layer is recorded as not run, with the reason, and the exit
code is 0. Clocks and other settings of the card are left alone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks for."""

    hardware: HardwareRequest
    print_command: bool
    architecture: str  # for --print-command where there is no GPU


def default_request() -> HardwareRequest:
    """What ``nox -s profile`` captures."""
    return HardwareRequest(cases=_default_cases(), tier=load_tiers().tier(DEFAULT_TIER))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument(
        "--case", action="append", metavar="CASE", help=f"such as {EXAMPLE_CASE}; repeatable (default: see below)"
    )
    parser.add_argument("--tier", metavar="TIER", default=DEFAULT_TIER, help=f"metrics (default: {DEFAULT_TIER})")
    parser.add_argument("--print-command", action="store_true", help="print what would run, and run nothing")
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        default="sm_90",
        help="for --print-command without a GPU: whose metrics to ask for (default: sm_90)",
    )


def read_request(options: argparse.Namespace) -> Request:
    """What the options of :func:`add_arguments` ask for; raises :class:`RoofgateError` for what does not exist."""
    cases = tuple(map(parse_case, options.case)) if options.case else _default_cases()
    hardware = HardwareRequest(cases=cases, tier=load_tiers().tier(options.tier))
    return Request(hardware=hardware, print_command=options.print_command, architecture=options.architecture)


def _default_cases() -> tuple[Case, ...]:
    suite = load_suites()[DEFAULT_SUITE]
    cases = tuple(suite.cases(Device.CUDA))
    if not cases:
        raise RoofgateError(f"suite {DEFAULT_SUITE} has no CUDA case; name one with --case")
    return cases


def print_commands(request: Request, captures: Path) -> int:
    """Print the shell commands of each case; returns the exit code. Without a GPU those for a declared one."""
    site = open_site(captures)
    if isinstance(site, Failure):
        print(f"# not for this machine: {site.cause}. For {request.architecture} and any supported version:")
        site = CaptureSite(ncu=unknown_ncu(), architecture=request.architecture, folder=hardware_folder(captures))
    for case in request.hardware.cases:
        print(f"# {case.name}")
        print(commands_text(case, request.hardware.tier, site))
    return EXIT_PASS
