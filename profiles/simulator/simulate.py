"""``python -m profiles simulate``: launches by hand, with what they computed, counted and broke."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from kernels.build import cuda_library_name
from kernels.build_record import BuildRecord
from kernels.errors import EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.interface import KernelError
from profiles.kernel_names import demangle, kernel_name, kernel_names
from profiles.simulated import run_launch
from profiles.simulated_launches import LAUNCHES, AttentionLaunch, Launch
from profiles.simulator.attention_case import EXAMPLE_CASE, parse_case
from profiles.simulator.counters import Counts, summarise
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import Finding, finding_text
from profiles.simulator.ptx import kernel_names as entry_symbols
from profiles.simulator.ptx.syntax import SourceLocation
from profiles.simulator.run import LaunchResult, Options, Outcome
from profiles.simulator.simulated_library import SimulatedLibrary

EXAMPLES = """\
examples:
  python -m profiles simulate --case attention_fwd-bf16-1x2x130x64-causal
  python -m profiles simulate --case attention_fwd-fp16-1x8kv2x100k300x128-full --architecture sm_90a
  python -m profiles simulate --case attention_bwd-bf16-1x2x130x64-window30 --deterministic
  python -m profiles simulate --kernel 'attention_fwd<bf16*' --seeds 20
  python -m profiles simulate --kernel ceiling_copy --check none

A case is named OPERATION-DTYPE-BATCHxHEADSxSEQLENxHEAD_DIM-MASK, as in the suites; any sizes will do. The real host
code of the built library runs, and the PTX of its kernels. Counts are of PTX instructions: neither SASS nor time.
Exit code: 0 all right, 1 a wrong answer or a finding, 2 an error.
"""


MOST_SHOWN = 10  # findings of one seed: one mistake breaks rules in many places

# Where a rule is broken, and against whom.
Place = tuple[str, str, SourceLocation | int, SourceLocation | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run, and how."""

    architecture: str = "sm_80"
    case: str | None = None  # a case's name, or
    deterministic: bool = False  # of a backward case
    kernel: str | None = None  # a shell pattern of kernel names, each with the launches that the simulated layer counts
    seeds: Sequence[int] = (0,)
    check_races: bool = True
    threads: int = os.cpu_count() or 1
    timeout_s: float = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--case", metavar="CASE", help="an attention problem, such as " + EXAMPLE_CASE)
    what.add_argument("--kernel", metavar="GLOB", help="kernels whose name matches, each with its fixed small launches")
    parser.add_argument(
        "--deterministic", action="store_true", help="the backward pass of --case that repeats its bits"
    )
    parser.add_argument("--architecture", metavar="NAME", default="sm_80", help="of the library (default: sm_80)")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=_natural, metavar="N", help="of the schedule; 0 is the fixed one (default: 0)")
    seeds.add_argument("--seeds", type=_positive, metavar="N", help="run with every seed from 0 to N-1")
    parser.add_argument(
        "--check",
        choices=("race", "none"),
        default="race",
        help="race: also races, initialisation, copies in flight; none: only what always is checked (default: race)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", default=os.cpu_count() or 1, help="of this machine (default: all)"
    )
    parser.add_argument(
        "--timeout", type=_positive, metavar="SECONDS", default=600, help="for each launch (default: 600)"
    )


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def read_request(options: argparse.Namespace) -> Request:
    """The request that the parsed options make."""
    return Request(
        architecture=options.architecture,
        case=options.case,
        deterministic=options.deterministic,
        kernel=options.kernel,
        seeds=range(options.seeds) if options.seeds else (options.seed or 0,),
        check_races=options.check == "race",
        threads=options.threads,
        timeout_s=options.timeout,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One launch with one seed."""

    seed: int
    outcome: Outcome
    wrong: str  # what is wrong with the answer; empty if it is right

    @property
    def is_clean(self) -> bool:
        return not self.wrong and not self.outcome.findings


def simulate(request: Request, record: BuildRecord) -> int:
    """Run what ``request`` names with the libraries of ``record``, and print a report.

    Returns:
        EXIT_PASS if all answers are right and nothing was found, else EXIT_REGRESSION.

    Raises:
        RoofgateError: nothing matches, the library is not built, or it refuses the call.
    """
    launches = _launches(request, record)
    results = [_simulate_launch(request, record, title, launch) for launch, title in launches.items()]
    return EXIT_PASS if all(results) else EXIT_REGRESSION


def _launches(request: Request, record: BuildRecord) -> Mapping[Launch, str]:
    """Every launch once, with what it is for."""
    if request.case is not None:
        asked = AttentionLaunch(case=parse_case(request.case), deterministic=request.deterministic)
        return {asked: str(asked)}
    pattern = request.kernel or "*"
    library = record.library(cuda_library_name(request.architecture))
    symbols = [name for code in library.device_code for name in entry_symbols(Path(code.ptx).read_text())]
    present = sorted(name for name in kernel_names(symbols).values() if name in LAUNCHES)
    chosen = [name for name in present if fnmatchcase(name, pattern)]
    if not chosen:
        raise RoofgateError(
            f"no kernel matches {pattern!r} on {request.architecture}; there are: {', '.join(present) or 'none'}"
        )
    purposes: dict[Launch, list[str]] = {}
    for name in chosen:
        for launch in LAUNCHES[name]:
            purposes.setdefault(launch, []).append(name)
    return {launch: f"{' and '.join(names)}, {launch}" for launch, names in purposes.items()}


def _simulate_launch(request: Request, record: BuildRecord, title: str, launch: Launch) -> bool:
    """Run and report one launch with every seed; returns whether all was clean."""
    races = "races checked" if request.check_races else "races not checked"
    print(f"{title} on {request.architecture}, simulated from PTX, {races}")
    clean, told = True, set[Place]()
    for seed in request.seeds:
        run = _run(request, record, launch, seed)
        if seed == request.seeds[0]:
            print("\n".join(_counted(run.outcome.launches)))
        print(f"  seed {seed}: {_verdict(run)}")
        new = list(_new_findings(run.outcome.findings, told))
        for finding in new[:MOST_SHOWN]:
            print(_indented(finding_text(finding, _name(finding.kernel)), _replay(request, seed)))
        if len(new) > MOST_SHOWN:
            print(f"\n    and {len(new) - MOST_SHOWN} more places")
        clean = clean and run.is_clean
    print()
    return clean


def _run(request: Request, record: BuildRecord, launch: Launch, seed: int) -> _Run:
    options = Options(check_races=request.check_races, seed=seed, threads=request.threads, timeout_s=request.timeout_s)
    with DeviceMemory() as memory:
        library = SimulatedLibrary(request.architecture, memory, options, record)
        try:
            wrong = run_launch(library, launch)
        except KernelError as refusal:
            if not library.outcome.findings:
                raise  # the host code's own refusal: nothing ran
            wrong = str(refusal)
        return _Run(seed=seed, outcome=library.outcome, wrong=wrong)


def _new_findings(findings: Iterable[Finding], told: set[Place]) -> Iterator[Finding]:
    """One for each place that no earlier seed showed: unrolled loops break one rule at many instructions of a line."""
    alike: dict[Place, list[Finding]] = {}
    for finding in findings:
        other = finding.other
        against = None if other is None else other.location or other.site
        place = (finding.check, finding.kernel, finding.location or finding.site, against)
        alike.setdefault(place, []).append(finding)
    for place, group in alike.items():
        if place not in told:
            told.add(place)
            yield replace(group[0], count=sum(finding.count for finding in group))


def _verdict(run: _Run) -> str:
    seconds = sum(launch.seconds for launch in run.outcome.launches)
    answer = f"WRONG: {run.wrong}" if run.wrong else "right"
    count = len(run.outcome.findings)
    found = f"{count} finding{'s' if count > 1 else ''}" if count else "no findings"
    return f"{answer}; {found}; {seconds:.2f} s here, which says nothing about a GPU"


def _replay(request: Request, seed: int) -> str:
    what = f"--case {request.case}" if request.case else f"--kernel '{request.kernel or '*'}'"
    what += " --deterministic" if request.deterministic else ""
    check = "" if request.check_races else " --check none"
    return f"replay    python -m profiles simulate {what} --architecture {request.architecture} --seed {seed}{check}"


def _indented(text: str, replay: str) -> str:
    return "\n".join(["", *(f"    {line}" for line in text.splitlines()), f"      {replay}"])


def _name(symbol: str) -> str:
    return kernel_name(demangle([symbol])[0]) if symbol else ""


def _counted(launches: Iterable[LaunchResult]) -> Iterator[str]:
    for launch in launches:
        grid, block = (" x ".join(map(str, extent)) for extent in (launch.grid, launch.block))
        yield f"  {_name(launch.kernel.name)}: grid {grid}, block {block}, {launch.dynamic_shared} B dynamic shared"
        yield from _counts_text(summarise(launch.kernel, launch.counters))


def _counts_text(counts: Counts) -> Iterator[str]:
    yield f"    {'warp-instructions':<28}{counts.executed:>14,}"
    for kind, executed in sorted(counts.by_class.items(), key=lambda item: -item[1]):
        yield f"      {kind.value.replace('_', '/'):<26}{executed:>14,} {executed / counts.executed:>7.1%}"
    yield f"    {'diverged executions':<28}{counts.divergent:>14,}"
    yield f"    {'barriers':<28}{counts.barriers:>14,}"
    yield f"    {'asynchronous copies, bytes':<28}{counts.copy_bytes:>14,}"
    yield _per_request("shared wavefronts/request", counts.wavefronts_per_request, "1.00 is free of bank conflicts")
    yield _per_request("global sectors/request", counts.sectors_per_request, "of 32 bytes")


def _per_request(title: str, figure: float | None, remark: str) -> str:
    return f"    {title:<28}{'-' if figure is None else f'{figure:.2f}':>14}  {remark}"
