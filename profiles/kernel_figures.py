"""``python -m profiles figures``: what compiler and simulator say of the attention kernels, as a Markdown table."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild
from kernels.errors import EXIT_PASS, RoofgateError
from perf.case import parse_mask
from perf.model import Case, DType, Operation
from perf.work import flop_count
from profiles.ptxas import CompilerReport, parse_log
from profiles.simulated import SimulatedLaunch, kernels_of, simulate_launch
from profiles.simulated_launches import AttentionLaunch
from profiles.simulator.counters import SiteCounters, summarise
from profiles.simulator.instruction_class import InstructionClass
from profiles.simulator.ptx.syntax import Instruction
from profiles.simulator.run import LaunchResult, simulator_program

EXAMPLES = """\
examples:
  python -m profiles figures                              every attention kernel on every architecture
  python -m profiles figures --kernel 'attention_bwd*' --architecture sm_80 --seqlen 2048

Registers and spills are the compiler's. The rest is counted on the simulator, in one launch of 2 heads of N queries and
keys: under no mask, a causal mask, or a plan that leaves half of the 128 x 128 blocks empty; "any" with a softcap and
a causal mask.
  wavefronts   of shared memory, for each request; 1 is free of bank conflicts
  sectors      of global memory that are touched, over the least that could hold the bytes; 1 is ideal
  products     tensor instructions executed, over those that the visible pairs need:
               FLOP / (2 * 16 * 8 * 16), with 4 * head_dim FLOP for each pair forward and 10 * head_dim backward
"""

_SECTOR_BYTES = 32
_FLOP_PER_INSTRUCTION = 2 * 16 * 8 * 16  # mma.m16n8k16
_NAME = re.compile(r"attention_(?P<pass>fwd|bwd)\w*<(?P<dtype>\w+), (?P<head_dim>\d+)(?:, (?P<mask>\w+))?>")
_SCORES: Mapping[str | None, tuple[str, float]] = {
    None: ("full", 0.0),
    "full": ("full", 0.0),
    "window": ("causal", 0.0),
    "plan": ("sparse50", 0.0),
    "any": ("causal", 30.0),
}
_TYPE = re.compile(r"(?:bf|[busf])(?P<bits>\d+)(?P<pair>x2)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which kernels, and how long a sequence."""

    kernel: str = "*"
    architecture: str | None = None
    seqlen: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFigures:
    """One kernel on one architecture; None where a kernel has no such request or product."""

    kernel: str
    architecture: str
    registers: int
    spill_bytes: int
    wavefronts: float | None
    sectors: float | None
    products: float | None
    findings: int

    @property
    def cells(self) -> tuple[str, ...]:
        """All but where it runs."""
        ratios = (self.wavefronts, self.sectors, self.products)
        texts = ("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)
        return f"`{self.kernel}`", str(self.registers), str(self.spill_bytes), *texts, str(self.findings)


@dataclass(frozen=True, slots=True)
class _Counted:
    kernel: str
    symbol: str
    architecture: str
    report: CompilerReport
    launch: AttentionLaunch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument("--kernel", metavar="GLOB", default="*", help="kernels whose name matches (default: all)")
    parser.add_argument("--architecture", metavar="NAME", help='one architecture, such as "sm_80" (default: all)')
    parser.add_argument("--seqlen", type=int, metavar="N", default=1024, help="queries and keys (default: 1024)")


def read_request(options: argparse.Namespace) -> Request:
    """The request that the parsed options make; raises :class:`RoofgateError` for a length below 1."""
    if options.seqlen < 1:
        raise RoofgateError(f"--seqlen {options.seqlen}: expected at least 1")
    return Request(kernel=options.kernel, architecture=options.architecture, seqlen=options.seqlen)


def print_figures(request: Request, record: BuildRecord) -> int:
    """Print the table.

    Raises:
        RoofgateError: no built attention kernel matches, or one cannot be simulated.
    """
    print("\n".join(markdown(kernel_figures(request, record))))
    return EXIT_PASS


def kernel_figures(request: Request, record: BuildRecord) -> list[KernelFigures]:
    """The figures of every kernel that matches, by name and architecture. Kernels of one call share its launch."""
    built = [one for one in record.libraries if one.status is BuildStatus.BUILT]
    wanted = [one for one in built if request.architecture in (None, one.architecture)]
    chosen = [counted for library in wanted for counted in _counted(library, request)]
    if not chosen:
        raise RoofgateError(f"no built attention kernel matches {request.kernel!r}; try --kernel 'attention_fwd*'")
    simulator_program()  # compiled once, before several launches want it
    jobs: dict[tuple[str, AttentionLaunch], Future[SimulatedLaunch]] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for one in sorted(chosen, key=lambda one: one.kernel):  # a launch on one architecture after another
            key = (one.architecture, one.launch)
            if key not in jobs:
                jobs[key] = pool.submit(simulate_launch, record, *key)
    figures = [_figures(one, jobs[one.architecture, one.launch].result()) for one in chosen]
    return sorted(figures, key=lambda one: (one.kernel, one.architecture))


def _counted(library: LibraryBuild, request: Request) -> Iterator[_Counted]:
    logs = [Path(code.compiler_log).read_text() for code in library.device_code]
    reports = {symbol: report for log in logs for symbol, report in parse_log(log, library.architecture).items()}
    for symbol, name in kernels_of(library).items():
        if _NAME.fullmatch(name) and fnmatchcase(name, request.kernel):
            launch = AttentionLaunch(case=figure_case(name, request.seqlen))
            yield _Counted(name, symbol, library.architecture, reports[symbol], launch)


def figure_case(kernel: str, seqlen: int) -> Case:
    """What is counted for a kernel: ``attention_fwd<bf16, 64, plan>``. Raises :class:`RoofgateError` for others."""
    found = _NAME.fullmatch(kernel)
    if found is None or found["mask"] not in _SCORES:
        raise RoofgateError(f"{kernel!r} is no attention kernel; expected one such as attention_fwd<bf16, 64, full>")
    mask, softcap = _SCORES[found["mask"]]
    return Case(
        operation=Operation(f"attention_{found['pass']}"),
        dtype=DType.from_key(found["dtype"]),
        batch=1,
        heads_q=2,
        heads_kv=2,
        seqlen_q=seqlen,
        seqlen_k=seqlen,
        head_dim=int(found["head_dim"]),
        mask=parse_mask(mask),
        softcap=softcap,
    )


def _figures(counted: _Counted, simulated: SimulatedLaunch) -> KernelFigures:
    launched = [found for found in simulated.outcome.launches if found.kernel.name == counted.symbol]
    if len(launched) != 1:
        raise RoofgateError(f"{counted.launch} launched {counted.kernel} {len(launched)} times; expected once")
    counts = summarise(launched[0].kernel, launched[0].counters)
    tensor = counts.by_class.get(InstructionClass.TENSOR, 0)
    needed = flop_count(counted.launch.case) / _FLOP_PER_INSTRUCTION
    findings = [finding for finding in simulated.outcome.findings if finding.kernel in ("", counted.symbol)]
    return KernelFigures(
        kernel=counted.kernel,
        architecture=counted.architecture,
        registers=counted.report.registers,
        spill_bytes=counted.report.spill_store_bytes + counted.report.spill_load_bytes,
        wavefronts=counts.wavefronts_per_request,
        sectors=sectors_over_least(launched[0]),
        products=tensor / needed if tensor else None,
        findings=len(findings) + bool(simulated.wrong),
    )


def sectors_over_least(launched: LaunchResult) -> float | None:
    """Sectors of global memory that a launch touched, over the least that could hold the bytes of each instruction."""
    sites = [site for site in zip(launched.kernel.instructions, launched.counters, strict=True) if site[1].sectors]
    touched = sum(counters.sectors for _, counters in sites)
    least = sum(min(counters.sectors, _least_sectors(code, counters)) for code, counters in sites)
    return touched / least if sites else None


def _least_sectors(instruction: Instruction, counters: SiteCounters) -> float:
    """At least one for each request, and at least those that hold the bytes of all lanes."""
    moved = counters.bytes or counters.lanes * lane_bytes(instruction)
    return max(counters.requests, moved / _SECTOR_BYTES)


def lane_bytes(instruction: Instruction) -> int:
    """Of one lane of an access to memory: 16 of ``ld.global.v4.f32``.

    Raises :class:`RoofgateError` for an instruction that ends in no type.
    """
    found = _TYPE.match(instruction.parts[-1])
    if found is None:
        raise RoofgateError(f"{instruction.text}: the bytes of a lane are not known")
    vector = next((int(part[1:]) for part in instruction.parts if part in ("v2", "v4", "v8")), 1)
    return int(found["bits"]) // 8 * (2 if found["pair"] else 1) * vector


def markdown(figures: Iterable[KernelFigures]) -> Iterator[str]:
    """One row for each kernel, and for each group of architectures on which its figures are equal."""
    yield "| kernel | registers | spilled bytes | wavefronts | sectors | products | findings | architectures |"
    yield "|---|---|---|---|---|---|---|---|"
    for _, of_kernel in groupby(figures, key=lambda one: one.kernel):
        groups: dict[tuple[str, ...], list[str]] = {}
        for one in of_kernel:
            groups.setdefault(one.cells, []).append(one.architecture)
        for cells, architectures in groups.items():
            yield f"| {' | '.join(cells)} | {', '.join(architectures)} |"
