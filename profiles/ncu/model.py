"""What a capture of Nsight Compute says, whoever wrote the file: pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from perf.model import Layer

Extent = tuple[int, int, int]


class Exactness(Enum):
    """How much a counter differs between identical launches."""

    EXACT = "exact"  # to the last digit
    TOLERANCE = "small tolerance"  # a percent or two
    STATISTICAL = "statistical"  # only many launches tell


@dataclass(frozen=True, slots=True)
class Counter:
    """One metric of one launch. A value that the file does not hold makes no Counter: see :attr:`Launch.missing`.

    ``value`` is finite if it is a number. ``unit`` is as the reader normalised it: "" for counts and ratios, "%", "s",
    "Hz", "B", "B/s", "cycle", ... ``instances`` are the parts of an instanced metric, such as the count of each opcode.
    """

    name: str
    value: float | str
    unit: str
    exactness: Exactness
    instances: Mapping[str, float] = field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        """Always the hardware's."""
        return Layer.HARDWARE


@dataclass(frozen=True, slots=True)
class Rule:
    """What one of Nsight Compute's own rules says of a launch."""

    section: str
    rule: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One profiled launch of a kernel."""

    number: int  # in the report, from 0
    kernel: str  # demangled, with template arguments
    function: str  # the bare name
    grid: Extent | None  # blocks
    block: Extent | None  # threads
    device: str  # "NVIDIA H100 80GB HBM3"; "" if the file does not say
    compute_capability: str  # "9.0"; "" if the file does not say
    ranges: tuple[str, ...] = ()  # NVTX, from the outside in
    counters: Mapping[str, Counter] = field(default_factory=dict)  # by name
    missing: Mapping[str, str] = field(default_factory=dict)  # metrics without a value: "n/a", "no data", "", "nan"
    rules: tuple[Rule, ...] = ()

    def number_of(self, name: str) -> float | None:
        """The value of a numeric counter; None if the launch lacks it."""
        counter = self.counters.get(name)
        return counter.value if counter is not None and isinstance(counter.value, float) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One file of captured launches, in the order in which they ran."""

    path: str
    reader: str  # what read it: "ncu-report 2026.3.1", "ncu 2025.3.1 --import", "CSV, raw page"
    launches: tuple[Launch, ...]
    notes: tuple[str, ...] = ()  # what a reader should know: rounded values, scaled units, parts left out
