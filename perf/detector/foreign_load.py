"""How busy the processors are with what is not ours: whether a quiet machine was quiet."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_STAT = Path("/proc/stat")
# user, nice, system, idle, iowait, irq, softirq, steal: proc(5).
_BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)


class ForeignLoad:
    """The share of this process's processors that other processes took since this object was made.

    Children count as ours once they have ended and were waited for. Without /proc/stat the share is zero.
    """

    def __init__(self) -> None:
        self._busy_s, self._own_s, self._clock = _busy_s(), _own_s(), time.monotonic()

    def fraction(self) -> float:
        """Between 0 and 1; processor times come in steps of 10 ms, so that short spans are coarse."""
        elapsed_s = (time.monotonic() - self._clock) * len(os.sched_getaffinity(0))
        foreign_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        return max(0.0, foreign_s / elapsed_s) if elapsed_s > 0 else 0.0


def _busy_s() -> float:
    """Seconds for which the processors that we may run on were busy since the machine started."""
    if not _STAT.exists():
        return _own_s()
    ours = {f"cpu{index}" for index in os.sched_getaffinity(0)}
    rows = (line.split() for line in _STAT.read_text().splitlines())
    ticks = sum(int(row[1 + column]) for row in rows if row[0] in ours for column in _BUSY_COLUMNS)
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
