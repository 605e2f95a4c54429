"""How far hardware counters of identical launches lie apart: what a gate must allow before a difference is a change.

The figures are those of repeated launches in real reports, rounded up; docs/nsight_compute.md says more. A counter that
is not named was equal to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping

from perf.model import Metric

_TOLERANCE: Mapping[Metric, float] = {
    Metric.HW_DURATION: 0.05,
    Metric.HW_L2_SECTORS: 0.02,
    Metric.HW_DRAM_BYTES: 0.02,
}
# One capture is too few samples to say that such a figure moved.
STATISTICAL = frozenset({Metric.HW_DURATION})


def tolerance(metric: Metric) -> float:
    """The fraction by which the figure may differ between identical launches; 0 for exact ones."""
    return _TOLERANCE.get(metric, 0.0)
