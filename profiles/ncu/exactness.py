"""How much a metric of Nsight Compute differs between identical launches, from its name.

The classes rest on repeated launches inside real reports (H100, A100, A10, RTX 3080; caches flushed, clocks locked):
what the compiler and the launch fix, and what is counted by patched instructions, was equal to the last digit; bytes
and sectors of DRAM and L2 stayed within 1.2 %; times, cycles, stalls, hit rates and the bank conflicts that hardware
counts differed by up to 25 %. A kernel that polls (a persistent kernel, an mbarrier loop) executes a varying number of
instructions, so for such a kernel only the counts of its tensor and memory opcodes are exact. A metric that nobody
measured is taken as statistical.
"""

from __future__ import annotations

import re
from functools import cache

from profiles.ncu.model import Exactness

_FIXED_BY_LAUNCH = re.compile(r"launch__\w+|device__attribute_\w+|(sm|smsp)__maximum_warps_\w+")
_SASS_PATCHED = re.compile(
    r"inst_executed|thread_inst_executed\w*"
    r"|memory_(l1_wavefronts_shared|l1_tag_requests_global|l2_theoretical_sectors_\w+)\w*"
    r"|derived__memory_\w+_excessive"
    r"|sass__(thread_)?inst_executed\w*"
    r"|derived__local_spilling_requests\w*"
)
_COUNTED_EXACTLY = re.compile(
    r"(sm|smsp)__inst_executed(_(op|pipe)_\w+)?"
    r"|(sm|smsp)__thread_inst_executed\w*"
    r"|(sm|smsp)__sass_\w+"
    r"|l1tex__t_(requests|sectors)_pipe_lsu_mem_global_op_(ld|st)"
    r"|l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_(ld|st)"
)
_SMALL_TOLERANCE = re.compile(
    r"(sm|smsp)__inst_issued"
    r"|dram__(bytes|sectors)(_(read|write))?"
    r"|lts__t_(sectors|requests|bytes)(_(op|srcunit)_\w+)?"
)
_OF_COUNTS = ("sum", "avg", "ratio", "pct")


@cache
def classify(name: str) -> Exactness:
    """The class of a metric such as ``smsp__inst_executed.sum``; what is not known is statistical.

    A rate (``.per_second``, ``.per_cycle_active``) or a percentage of a peak holds time, so it is statistical whatever
    it counts. So are ``.min`` and ``.max`` over units, since which unit runs which block varies.
    """
    base, _, rollup = name.partition(".")
    if _FIXED_BY_LAUNCH.fullmatch(base):
        return Exactness.EXACT
    if not rollup and _SASS_PATCHED.fullmatch(base):
        return Exactness.EXACT
    return _classify_count(base) if rollup in _OF_COUNTS else Exactness.STATISTICAL


def _classify_count(base: str) -> Exactness:
    if "lookup" in base:  # hits and misses depend on what else is in the cache
        return Exactness.STATISTICAL
    if _COUNTED_EXACTLY.fullmatch(base):
        return Exactness.EXACT
    return Exactness.TOLERANCE if _SMALL_TOLERANCE.fullmatch(base) else Exactness.STATISTICAL
