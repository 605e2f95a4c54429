"""What a launch did, counted: per instruction as the run-time gives it, summed per kernel and per source line.

All counts are of warps executing PTX instructions. Machine code has others, and no count is a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profiles.simulator.instruction_class import InstructionClass, instruction_class
from profiles.simulator.ptx.syntax import Instruction, Kernel, SourceLine


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCounters:
    """What one instruction did, summed over a launch; as ``SiteCounters`` of runtime/warp.h."""

    executed: int = 0  # by a warp
    lanes: int = 0  # that executed it
    divergent: int = 0  # executions without all live lanes; of a branch, those that split
    requests: int = 0  # to memory
    wavefronts: int = 0  # shared memory
    sectors: int = 0  # global memory, 32 bytes each
    bytes: int = 0  # moved by asynchronous copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over some instructions.

    A shared request is what hardware can serve in one wavefront at best: a warp's access of up to 4 bytes a lane, half
    of one of 8 bytes, a quarter of one of 16 bytes, or one 8x8 matrix of ldmatrix and stmatrix. So one wavefront per
    request is free of bank conflicts, whatever the width. A global request is a warp's access to global memory,
    asynchronous copies included.
    """

    executed: int = 0
    by_class: Mapping[InstructionClass, int] = field(default_factory=dict)  # warp-instructions; sums to ``executed``
    lanes: int = 0
    divergent: int = 0
    shared_requests: int = 0
    shared_wavefronts: int = 0
    global_requests: int = 0
    global_sectors: int = 0
    copy_bytes: int = 0
    barriers: int = 0  # of a block or cluster, counted by warps

    def without(self, part: Counts) -> Counts:
        """What remains of these when ``part`` of them is taken away."""
        kinds = {kind: executed - part.by_class.get(kind, 0) for kind, executed in self.by_class.items()}
        rest = {name: getattr(self, name) - getattr(part, name) for name in SUMMED}
        return Counts(by_class={kind: executed for kind, executed in kinds.items() if executed}, **rest)

    @property
    def wavefronts_per_request(self) -> float | None:
        """Shared-memory wavefronts per request: 1.0 without bank conflicts; None without a request."""
        return self.shared_wavefronts / self.shared_requests if self.shared_requests else None

    @property
    def sectors_per_request(self) -> float | None:
        """Sectors of 32 bytes per request to global memory; None without a request."""
        return self.global_sectors / self.global_requests if self.global_requests else None


# Of Counts, all that are plain numbers.
SUMMED = tuple(name for name in Counts.__slots__ if name != "by_class")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounters:
    """What was executed for one source line.

    ``own`` are the instructions written at it, ``direct`` also those of functions inlined right there (an access is
    often one instruction in a function of its own, and its address comes from the caller), and ``inclusive`` those of
    all that was inlined at it, however deep.
    """

    line: SourceLine
    own: Counts
    direct: Counts
    inclusive: Counts


def summarise(kernel: Kernel, counters: Sequence[SiteCounters]) -> Counts:
    """What a whole launch of ``kernel`` did; ``counters`` are by site.

    Raises:
        ValueError: there is not one counter for each instruction.
        RoofgateError: an instruction that was executed is of no known class.
    """
    return total(count_site(*pair) for pair in zip(kernel.instructions, counters, strict=True))


def add_sites(launches: Sequence[Sequence[SiteCounters]]) -> tuple[SiteCounters, ...]:
    """Several launches of one kernel as one; all have one counter for each instruction."""
    names = SiteCounters.__slots__
    return tuple(
        SiteCounters(**{name: sum(getattr(site, name) for site in sites) for name in names})
        for sites in zip(*launches, strict=True)
    )


def total(counts: Iterable[Counts]) -> Counts:
    """The sum."""
    parts = tuple(counts)
    by_class: dict[InstructionClass, int] = {}
    for part in parts:
        for kind, executed in part.by_class.items():
            by_class[kind] = by_class.get(kind, 0) + executed
    return Counts(by_class=by_class, **{name: sum(getattr(part, name) for part in parts) for name in SUMMED})


def by_source_line(kernel: Kernel, counters: Sequence[SiteCounters]) -> tuple[LineCounters, ...]:
    """What a launch did for each line, sorted by file and line.

    An instruction counts once for the line that it was written at, and once for each line where the function that it is
    part of was inlined; so counts of different lines overlap, but for their own. Instructions without a line are left
    out.
    """
    own: dict[SourceLine, list[Counts]] = {}
    direct: dict[SourceLine, list[Counts]] = {}
    inclusive: dict[SourceLine, list[Counts]] = {}
    for instruction, site in zip(kernel.instructions, counters, strict=True):
        if instruction.location is None or not site.executed:
            continue
        counts = count_site(instruction, site)
        chain = (instruction.location.line, *instruction.location.inlined_at)
        for sums, lines in ((own, chain[:1]), (direct, chain[:2]), (inclusive, chain)):
            for line in set(lines):
                sums.setdefault(line, []).append(counts)
    return tuple(
        LineCounters(
            line=line,
            own=total(own.get(line, ())),
            direct=total(direct.get(line, ())),
            inclusive=total(inclusive[line]),
        )
        for line in sorted(inclusive, key=lambda line: (line.file, line.line))
    )


def count_site(instruction: Instruction, site: SiteCounters) -> Counts:
    """What one instruction did.

    An asynchronous copy is a request to global memory: the wavefronts with which it arrives in shared memory belong to
    no request of a warp, and are not counted.
    """
    if not site.executed:
        return Counts()
    uses_shared = instruction.root != "cp" and not site.sectors and site.wavefronts > 0
    return Counts(
        executed=site.executed,
        by_class={instruction_class(instruction.opcode): site.executed},
        lanes=site.lanes,
        divergent=site.divergent,
        shared_requests=site.requests if uses_shared else 0,
        shared_wavefronts=site.wavefronts if uses_shared else 0,
        global_requests=site.requests if site.sectors else 0,
        global_sectors=site.sectors,
        copy_bytes=site.bytes,
        barriers=site.executed if _is_barrier(instruction) else 0,
    )


def _is_barrier(instruction: Instruction) -> bool:
    """Of a block or cluster; ``bar.warp.sync`` joins the lanes of one warp alone."""
    return instruction.root in ("bar", "barrier") and instruction.parts[1] != "warp"
