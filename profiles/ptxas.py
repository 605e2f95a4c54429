"""What the compiler says about each kernel: registers, spills, stack, shared memory, barriers and its warnings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kernels.errors import RoofgateError

_ENTRY = re.compile(r"^ptxas .*Compiling entry function '(?P<entry>[^']+)' for '(?P<architecture>[^']+)'", re.MULTILINE)
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_BARRIERS = re.compile(r"used (\d+) barriers")
_SHARED = re.compile(r"(\d+) bytes smem")
_STACK = re.compile(r"(\d+) bytes cumulative stack size")
# "ptxas warning : text", "ptxas info    : (C7508) text", "ptxas k.ptx, line 12; warning : text"
_REMARK = re.compile(r"^ptxas\b[^:]*?\b(?P<severity>warning|info)\s*: (?P<text>.*)$", re.MULTILINE)
_CODE = re.compile(r"^\(C\d+\) ")
_NAMED_FUNCTION = re.compile(r"function '([^']+)'|for entry (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerReport:
    """What ``ptxas -v`` reports of one kernel."""

    registers: int  # per thread
    barriers: int  # per block
    stack_bytes: int  # per thread, of the kernel and of what it calls
    spill_store_bytes: int  # static, per thread, of the kernel and of what it calls
    spill_load_bytes: int
    shared_bytes: int  # static, per block, without what the driver reserves
    warnings: tuple[str, ...] = ()


def parse_log(log: str, architecture: str) -> Mapping[str, CompilerReport]:
    """The kernels that ``log`` reports for ``architecture`` ("sm_80"), by entry symbol.

    Every ``ptxas warning`` counts, and every remark with a code, such as ``(C7508) ... 'setmaxnreg' ignored``, which
    ptxas calls mere information. Warnings of the C++ front end say nothing about the machine code and do not.
    A warning belongs to the kernel that it names, or to the kernels that call the device function that it names. One
    that names nothing counts for every kernel in the log: it cannot be pinned to one.

    Raises:
        RoofgateError: the log holds no resource usage: it was not written with ``-Xptxas -v``.
    """
    entries = list(_ENTRY.finditer(log))
    bounds = [*(match.start() for match in entries), len(log)]
    blocks = {
        match["entry"]: log[match.end() : end]
        for match, end in zip(entries, bounds[1:], strict=True)
        if match["architecture"] == architecture
    }
    warnings = _warnings(log)
    return {
        entry: _report(entry, block, tuple(text for text in warnings if _counts_for(entry, text, blocks)))
        for entry, block in blocks.items()
    }


def _report(entry: str, block: str, warnings: tuple[str, ...]) -> CompilerReport:
    """Read one kernel's block: its own lines, then those of each device function that it calls.

    A device function's spills are printed with the function, and the kernel itself reports none, so all are added up.
    """
    frames = [tuple(map(int, match)) for match in _FRAME.findall(block)]
    registers = _REGISTERS.search(block)
    if not frames or registers is None:
        raise RoofgateError(
            f"the compiler's log gives no resource usage for kernel {entry!r}; compile with -Xptxas -v and build again"
        )
    return CompilerReport(
        registers=int(registers[1]),
        barriers=_number(_BARRIERS, block),
        stack_bytes=max(frames[0][0], _number(_STACK, block)),
        spill_store_bytes=sum(stores for _, stores, _ in frames),
        spill_load_bytes=sum(loads for _, _, loads in frames),
        shared_bytes=_number(_SHARED, block),
        warnings=warnings,
    )


def _number(pattern: re.Pattern[str], block: str) -> int:
    """The figure that ``pattern`` finds; ptxas leaves out figures that are zero."""
    match = pattern.search(block)
    return int(match[1]) if match else 0


def _warnings(log: str) -> list[str]:
    return [
        remark["text"].strip()
        for remark in _REMARK.finditer(log)
        if remark["severity"] == "warning" or _CODE.match(remark["text"])
    ]


def _counts_for(entry: str, warning: str, blocks: Mapping[str, str]) -> bool:
    match = _NAMED_FUNCTION.search(warning)
    named = (match[1] or match[2]) if match else None
    holders = [holder for holder, block in blocks.items() if f"Function properties for {named}\n" in block]
    return entry in holders or not holders
