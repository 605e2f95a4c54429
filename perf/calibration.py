"""How a timer is set up for one call: when it is warm, how many calls make a sample, how it is launched (pure).

No clock is read here: callers hand in what they timed. Standard library only, for the processes that time one side
against another start by the dozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

STABLE_WINDOW = 3
STABLE_WITHIN = 0.05
# A cache of this size is flushed by writing, or outgrown by reading, this many times as much: once would do if its
# replacement were exactly least recently used, which no vendor promises.
CACHE_FACTOR = 2
# The launch queue ran dry if enqueueing took this share of the device's time, or more; see is_launch_bound.
_LAUNCH_BOUND_SHARE = 0.8
_SHORTEST_CALL_S = 1e-9


class CacheState(Enum):
    """What a timed call finds in the GPU's L2 cache."""

    WARM = "warm"  # what the call before left there
    FLUSHED = "flushed"  # nothing of its own: a buffer of twice the cache's size is written before every call
    ROTATING = "rotating"  # other inputs: so many sets take turns that together they exceed twice the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What a warm-up found: seconds per call when it ended, and whether it ended because calls were stable."""

    per_call_s: float
    spent_s: float
    is_stable: bool


def is_stable(batches_s: Sequence[float]) -> bool:
    """Whether the median of the last three figures is within 5 % of the median of the three before them.

    Medians of three, so that one preempted call neither ends a warm-up nor keeps it going. The figures are seconds per
    call, oldest first.
    """
    if len(batches_s) < 2 * STABLE_WINDOW:
        return False
    before = median(batches_s[-2 * STABLE_WINDOW : -STABLE_WINDOW])
    return abs(median(batches_s[-STABLE_WINDOW:]) - before) <= STABLE_WITHIN * before


def iterations_per_sample(sample_s: float, per_call_s: float) -> int:
    """The least number of calls, at least one, that together last ``sample_s`` seconds."""
    return max(1, math.ceil(sample_s / max(per_call_s, _SHORTEST_CALL_S)))


def warm_up(seconds: Callable[[int], float], *, batch_s: float, limit_s: float) -> WarmUp:
    """Call in batches until :func:`is_stable` or until the calls took ``limit_s``.

    Args:
        seconds: makes so many consecutive calls and returns the seconds that they took together.
        batch_s: a batch has enough calls to last this long by the latest figure, so that neither the clock's error nor
            a single cold call decides how many calls a sample gets. The first batch is one call.
        limit_s: no further batch is begun once this much was spent; one batch always is.

    Returns:
        ``per_call_s`` is the median of the last three batches, or of all if there were fewer; never zero.
    """
    batches: list[float] = []
    spent_s = 0.0
    while not batches or (spent_s < limit_s and not is_stable(batches)):
        calls = iterations_per_sample(batch_s, batches[-1]) if batches else 1
        took_s = seconds(calls)
        spent_s += took_s
        batches.append(took_s / calls)
    per_call_s = max(median(batches[-STABLE_WINDOW:]), _SHORTEST_CALL_S)
    return WarmUp(per_call_s=per_call_s, spent_s=spent_s, is_stable=is_stable(batches))


def is_launch_bound(host_s: float, device_s: float) -> bool:
    """Whether the device waited for the host in a burst of launches on an idle stream.

    Args:
        host_s: from the first launch to the return of the last one. The burst must be shorter than the driver's queue
            (about 1000 launches), or the host waits for the device.
        device_s: from an event before the first launch to one after the last.

    With h seconds for a launch and d for a kernel, n launches give host_s = n h, and device_s = n h + d if the queue
    ran dry (d < h), h + n d if it did not. The share host_s / device_s is therefore near one in the first case and near
    h / d in the second; 0.8 is where kernels are a quarter longer than launches. Above it, device_s measures the host.
    """
    return host_s >= _LAUNCH_BOUND_SHARE * device_s


def rotation_sets(set_bytes: int, cache_bytes: int) -> int:
    """The least number of sets of inputs, ``set_bytes`` each, that together exceed twice a cache of ``cache_bytes``.

    Used in turn, each set has then been evicted before it is read again. One, if a set alone is that large.
    """
    return CACHE_FACTOR * cache_bytes // max(1, set_bytes) + 1
