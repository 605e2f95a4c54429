"""What the checks found, with the lines of PTX and CUDA that it concerns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kernels.sources import SOURCE_FOLDER
from profiles.simulator.ptx.syntax import Instruction, Kernel, SourceLine, SourceLocation

Index = tuple[int, int, int]

NO_SITE = -1
_SITE_IN_MESSAGE = re.compile(r"\{site (\d+)\}")


@dataclass(frozen=True, slots=True)
class Party:
    """The other side of a conflict."""

    site: int
    ptx_line: int | None
    location: SourceLocation | None
    block: Index
    warp: int
    lane: int | None
    action: str  # "write", "read", "cp.async", "TMA load", "wgmma"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violated rule: where, by whom, and how often at this instruction against the same other one.

    ``check`` is one of: barrier, shared-race, global-race, copy-in-flight, wgmma, proxy-fence, uninitialised-shared,
    out-of-bounds, misaligned, divergence, mbarrier, tensor-copy, deadlock, endless, launch, unsupported, crash.
    """

    check: str
    message: str
    kernel: str  # entry symbol
    site: int  # index of the instruction in the kernel; NO_SITE if none made the finding
    ptx_line: int | None
    location: SourceLocation | None
    block: Index
    warp: int
    lanes: tuple[int, ...]
    space: str  # "shared", "global", "local", "parameter"; "" if no address is concerned
    address: int
    bytes: int
    count: int
    other: Party | None


def read_finding(item: Mapping[str, Any], kernel: Kernel | None) -> Finding:
    """A finding as the run-time writes it, with the lines that ``kernel`` knows of its sites."""
    instruction = _instruction(kernel, item["site"])
    return Finding(
        check=item["check"],
        message=_with_lines(item["message"], kernel),
        kernel=item["kernel"],
        site=item["site"],
        ptx_line=instruction.ptx_line if instruction else None,
        location=instruction.location if instruction else None,
        block=_index(item["block"]),
        warp=item["warp"],
        lanes=tuple(lane for lane in range(32) if item["lanes"] >> lane & 1),
        space=item["space"],
        address=item["address"],
        bytes=item["bytes"],
        count=item["count"],
        other=_read_party(item["other"], kernel) if item["other"] else None,
    )


def _read_party(item: Mapping[str, Any], kernel: Kernel | None) -> Party:
    instruction = _instruction(kernel, item["site"])
    return Party(
        site=item["site"],
        ptx_line=instruction.ptx_line if instruction else None,
        location=instruction.location if instruction else None,
        block=_index(item["block"]),
        warp=item["warp"],
        lane=item["lane"] if item["lane"] >= 0 else None,
        action=item["action"],
    )


def _instruction(kernel: Kernel | None, site: int) -> Instruction | None:
    if kernel is None or not 0 <= site < len(kernel.instructions):
        return None
    return kernel.instructions[site]


def _index(values: list[int]) -> Index:
    x, y, z = values
    return x, y, z


def _with_lines(message: str, kernel: Kernel | None) -> str:
    """The run-time knows sites alone; people want lines."""

    def place(match: re.Match[str]) -> str:
        instruction = _instruction(kernel, int(match[1]))
        return place_text(instruction.location, instruction.ptx_line) if instruction else "the end of the kernel"

    return _SITE_IN_MESSAGE.sub(place, message)


def place_text(location: SourceLocation | None, ptx_line: int | None) -> str:
    """Where an instruction is, in a few words: its CUDA line, or its PTX line where the line table has none."""
    if location is not None:
        return f"{source_path(location.line.file)}:{location.line.line}"
    return "no instruction" if ptx_line is None else f"PTX line {ptx_line}"


def finding_text(finding: Finding, kernel_name: str) -> str:
    """The finding as a block of lines for people, with the text of the CUDA lines where the sources are here."""
    return "\n".join([f"{finding.check}: {finding.message}", *(f"  {line}" for line in _details(finding, kernel_name))])


def _details(finding: Finding, kernel_name: str) -> Iterator[str]:
    if kernel_name:
        yield f"kernel    {kernel_name}"
    if finding.site != NO_SITE:
        yield from _place_lines("at", finding.location, finding.ptx_line)
        lanes = f", {_lanes_text(finding.lanes)}" if finding.lanes else ""
        yield f"by        block {finding.block}, warp {finding.warp}{lanes}"
    if finding.space:
        yield f"address   {finding.space} {finding.address:#x}, {finding.bytes} bytes"
    if finding.other is not None:
        other = finding.other
        lane = "" if other.lane is None else f", lane {other.lane}"
        yield f"other     {other.action} by block {other.block}, warp {other.warp}{lane}"
        yield from _place_lines("", other.location, other.ptx_line)
    if finding.count > 1:
        yield f"seen      {finding.count} times"


def _place_lines(title: str, location: SourceLocation | None, ptx_line: int | None) -> Iterator[str]:
    if location is None:
        yield f"{title:<9} {place_text(location, ptx_line)}"
        return
    yield f"{title:<9} {_with_source(location.line)}"
    for line in location.inlined_at:
        yield f"{'':<9} inlined at {_with_source(line)}"


def _with_source(line: SourceLine) -> str:
    """``kernels/csrc/file.cuh:12 | text``."""
    path = source_path(line.file)
    source = _source_lines(path)
    text = f" | {source[line.line - 1].strip()}" if 0 < line.line <= len(source) else ""
    return f"{path}:{line.line}{text}"


def source_path(file: str) -> Path:
    """The file of a line table; of a source of ours, the one in this checkout.

    Objects are shared between checkouts by content, so the compiler may have read the same source in another one.
    """
    folder, found, name = file.rpartition(f"{SOURCE_FOLDER.as_posix()}/")
    ours = SOURCE_FOLDER / name
    return ours if found and folder.endswith("/") and ours.is_file() else Path(file)


@lru_cache(maxsize=64)
def _source_lines(path: Path) -> tuple[str, ...]:
    """The lines of a source; none if it is not here."""
    try:
        return tuple(path.read_text(errors="replace").splitlines())
    except OSError:
        return ()


def _lanes_text(lanes: Sequence[int]) -> str:
    """``lanes 0-7, 9``."""
    runs: list[list[int]] = []
    for lane in lanes:
        if runs and lane == runs[-1][-1] + 1:
            runs[-1].append(lane)
        else:
            runs.append([lane])
    parts = (str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return ("lane " if len(lanes) == 1 else "lanes ") + ", ".join(parts)
