"""What a threshold rule demands, as typed values. :mod:`perf.config` reads them and :mod:`perf.gate` judges them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from perf.model import Metric

# The implementations that ours is held against: the backends of torch's scaled_dot_product_attention, FlexAttention,
# the formula in torch's ops, and for sequences of different lengths one padded call, one for each, and nested tensors.
PEERS = (
    "torch_flash",
    "torch_cudnn",
    "torch_efficient",
    "torch_math",
    "torch_flex",
    "torch_eager",
    "torch_padded",
    "torch_loop",
    "torch_nested",
)

DEFAULT_PAIRED_MARGIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Maximum:
    """The figure must not exceed ``value``, in the metric's unit."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The figure must not be below ``value``, in the metric's unit."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximumChange:
    """The figure must not get worse than its baseline by more than ``fraction`` of it.

    ``in_pairs`` holds instead where a paired comparison says by how much: it sees far smaller changes than two runs do.
    """

    fraction: float
    in_pairs: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumRatio:
    """We must be at least ``at_least`` times as fast as ``peer``, which is measured in the same run."""

    peer: str
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumRooflineFraction:
    """We must reach this fraction of the roofline that was measured in the same run."""

    fraction: float


Limit = Maximum | Minimum | MaximumChange | MinimumRatio | MinimumRooflineFraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One threshold. ``subjects`` are globs over case names (timed metrics) or kernel names (the others)."""

    name: str
    metric: Metric
    subjects: tuple[str, ...]
    targets: tuple[str, ...]  # globs over target names, or over architectures for metrics of kernels
    limit: Limit
    requires: tuple[str, ...] = ()  # instruction sets without which the rule does not apply
    unless: tuple[str, ...] = ()  # instruction sets with which it does not
    where: str = ""  # "ci/thresholds.yml:12"

    def covers(self, subject: str, target: str) -> bool:
        """Whether the rule speaks of this case or kernel on this target or architecture."""
        return matches_any(subject, self.subjects) and matches_any(target, self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The policy of one repository: what counts as a change at all, and the rules."""

    margin: float  # timed changes between two runs within this fraction are no change worth attention
    rules: tuple[Rule, ...]
    paired_margin: float = DEFAULT_PAIRED_MARGIN  # the same of a paired comparison, which sees smaller ones


def matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether ``name`` fits one of the globs (``*``, ``?``, ``[...]``; case matters)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
