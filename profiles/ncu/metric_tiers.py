"""Which metrics are asked of Nsight Compute: the tiers of ``metric_tiers.yml``, for one architecture and version.

Names differ between chips and grow with the versions of Nsight Compute, and one unknown name fails a whole capture, so
a tier is only ever asked for through :meth:`Tier.collections`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

from kernels.errors import RoofgateError
from perf.yaml_document import Document, Schema, one_of, read_document, validate
from profiles.ncu.command_line import OLDEST_VERSION, Collection, Version
from profiles.ncu.exactness import classify
from profiles.ncu.model import Exactness

DEFAULT_TIERS = Path(__file__).with_name("metric_tiers.yml")


class Source(Enum):
    """What counts a metric. The two are never captured together."""

    COUNTERS = "counters"  # the hardware
    SASS = "sass"  # instructions patched into the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A chip, as NVIDIA's libraries call it."""

    name: str  # "GH100"
    architecture: str  # "sm_90a"
    targets: tuple[str, ...]  # the declared processors that have it


@dataclass(frozen=True, slots=True, kw_only=True)
class TierMetric:
    """One metric, and where it can be asked for."""

    name: str
    purpose: str
    source: Source
    architectures: frozenset[str]  # empty: all
    since: Version

    @property
    def exactness(self) -> Exactness:
        """How far it is expected to repeat."""
        return classify(self.name)

    def exists(self, architecture: str, version: Version | None) -> bool:
        """Whether it can be asked for; ``version`` is Nsight Compute's, and None takes the newest."""
        known = not self.architectures or architecture in self.architectures
        return known and (version is None or version >= self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named question."""

    name: str
    purpose: str
    metrics: tuple[TierMetric, ...]
    sections: Mapping[Source, tuple[str, ...]]

    def select(self, architecture: str, source: Source, version: Version | None = None) -> tuple[TierMetric, ...]:
        """The metrics that one capture of the tier holds, each once; see :meth:`collections`."""
        wanted = _plain(architecture)
        found = {
            metric.name: metric for metric in self.metrics if metric.source is source and metric.exists(wanted, version)
        }
        return tuple(found.values())

    def collections(self, architecture: str, version: Version | None = None) -> tuple[Collection, ...]:
        """The captures of the tier, hardware counters first: "gate-counters" and "gate-sass".

        Args:
            architecture: such as "sm_90a" or, as a device says, "sm_90".
            version: of Nsight Compute; metrics that it does not know are left out. None leaves out none.
        """
        return tuple(
            Collection(
                name=f"{self.name}-{source.value}",
                metrics=tuple(metric.name for metric in self.select(architecture, source, version)),
                sections=self.sections.get(source, ()),
            )
            for source in Source
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTiers:
    """All tiers, from the cheapest, and the chips that they are meant for."""

    tiers: Mapping[str, Tier]
    chips: Mapping[str, Chip]

    def tier(self, name: str) -> Tier:
        """The tier with this name; raises :class:`RoofgateError` with the nearest name if there is none."""
        if name not in self.tiers:
            raise RoofgateError(f"no metric tier {name!r}: {one_of(name, self.tiers)}")
        return self.tiers[name]

    def chip(self, name: str) -> Chip:
        """The chip with this name; raises :class:`RoofgateError` with the nearest name if there is none."""
        if name not in self.chips:
            raise RoofgateError(f"no chip {name!r}: {one_of(name, self.chips)}")
        return self.chips[name]


def load_tiers(path: Path = DEFAULT_TIERS) -> MetricTiers:
    """The declared tiers and chips; raises :class:`RoofgateError` for any mistake in the file."""
    document = read_document(path)
    content = validate(document, _File)
    chips = {name: Chip(name=name, **dict(entry)) for name, entry in content.chips.items()}
    architectures = frozenset(_plain(chip.architecture) for chip in chips.values())
    tiers: dict[str, Tier] = {}
    for name, entry in content.tiers.items():
        tiers[name] = _tier(document, name, entry, tiers)
        _refuse_unknown_architectures(document, tiers[name], architectures)
    return MetricTiers(tiers=tiers, chips=chips)


def _plain(architecture: str) -> str:
    """Without the letter of architecture-specific features, which a device does not report."""
    return re.sub(r"(?<=\d)[af]$", "", architecture)


def _as_list(got: object) -> object:
    return got if isinstance(got, list) else [got]


def _version(text: str) -> str:
    if not re.fullmatch(r"\d{4}\.\d+", text):
        raise ValueError(f"got {text!r}, expected year and number of Nsight Compute's version, such as '2025.1'")
    return text


_Names = Annotated[tuple[StrictStr, ...], BeforeValidator(_as_list), Field(min_length=1)]


class _ChipEntry(Schema):
    architecture: StrictStr
    targets: tuple[StrictStr, ...]


class _MetricsEntry(Schema):
    metrics: _Names
    suffixes: _Names = ("",)
    purpose: StrictStr
    architectures: tuple[StrictStr, ...] = ()
    since: Annotated[StrictStr, AfterValidator(_version)] = f"{OLDEST_VERSION[0]}.{OLDEST_VERSION[1]}"


class _SectionsEntry(Schema):
    counters: tuple[StrictStr, ...] = ()
    sass: tuple[StrictStr, ...] = ()


class _TierEntry(Schema):
    purpose: StrictStr
    includes: tuple[StrictStr, ...] = ()
    counters: tuple[_MetricsEntry, ...] = ()
    sass: tuple[_MetricsEntry, ...] = ()
    sections: _SectionsEntry = _SectionsEntry()


class _File(Schema):
    chips: dict[StrictStr, _ChipEntry]
    tiers: dict[StrictStr, _TierEntry]


def _tier(document: Document, name: str, entry: _TierEntry, earlier: Mapping[str, Tier]) -> Tier:
    """The tier, after the metrics of those that it includes."""
    included: list[TierMetric] = []
    for index, other in enumerate(entry.includes):
        if other not in earlier:
            place = document.place(("tiers", name, "includes", index))
            raise RoofgateError(f"{place}: got {other!r}, {one_of(other, earlier)}; a tier includes those above it")
        included += earlier[other].metrics
    own = [metric for source in Source for metric in _metrics(document, name, entry, source)]
    sections = {source: getattr(entry.sections, source.value) for source in Source}
    tier = Tier(name=name, purpose=entry.purpose, metrics=(*included, *own), sections=sections)
    _refuse_empty(document, tier)
    return tier


def _metrics(document: Document, tier: str, entry: _TierEntry, source: Source) -> list[TierMetric]:
    """Every metric that the tier itself names; a metric that is named twice for one architecture is refused."""
    metrics: list[TierMetric] = []
    groups: tuple[_MetricsEntry, ...] = getattr(entry, source.value)
    for index, group in enumerate(groups):
        for metric in _group_metrics(group, source):
            if any(_overlap(metric, other) for other in metrics):
                place = document.place(("tiers", tier, source.value, index, "metrics"))
                raise RoofgateError(f"{place}: {metric.name} is already asked for on the same architecture")
            metrics.append(metric)
    return metrics


def _group_metrics(group: _MetricsEntry, source: Source) -> Iterator[TierMetric]:
    year, number = map(int, group.since.split("."))
    for base in group.metrics:
        for suffix in group.suffixes:
            yield TierMetric(
                name=base + suffix,
                purpose=group.purpose,
                source=source,
                architectures=frozenset(map(_plain, group.architectures)),
                since=(year, number, 0),
            )


def _overlap(one: TierMetric, other: TierMetric) -> bool:
    everywhere = not one.architectures or not other.architectures
    return one.name == other.name and (everywhere or bool(one.architectures & other.architectures))


def _refuse_empty(document: Document, tier: Tier) -> None:
    for source in Source:
        if not tier.sections[source] and not any(metric.source is source for metric in tier.metrics):
            place = document.place(("tiers", tier.name))
            raise RoofgateError(f"{place}: asks for nothing under {source.value!r}; name a metric or a section there")


def _refuse_unknown_architectures(document: Document, tier: Tier, known: frozenset[str]) -> None:
    for metric in tier.metrics:
        for architecture in sorted(metric.architectures - known):
            place = document.place(("tiers", tier.name))
            advice = one_of(architecture, sorted(known))
            raise RoofgateError(f"{place}: {metric.name} is for architecture {architecture!r}, {advice}")
