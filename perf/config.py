"""Targets, suites and thresholds: the only reader of the repository's YAML files.

Everything is validated on reading and comes out as frozen objects of :mod:`perf.model` and :mod:`perf.rules`. Every
mistake is a :class:`kernels.errors.RoofgateError` that names file, line, key, what was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from kernels.errors import RoofgateError
from perf.case import parse_mask
from perf.model import Case, Device, DType, Layer, Mask, Metric, Operation, Target
from perf.rules import (
    DEFAULT_PAIRED_MARGIN,
    PEERS,
    Limit,
    Maximum,
    MaximumChange,
    Minimum,
    MinimumRatio,
    MinimumRooflineFraction,
    Rule,
    Thresholds,
)
from perf.yaml_document import Document, Location, Schema, one_of, read_document, validate

DEFAULT_TARGETS = Path("perf/targets.yml")
DEFAULT_SUITES = Path("perf/suites.yml")
DEFAULT_THRESHOLDS = Path("ci/thresholds.yml")

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePart:
    """What a suite measures on one kind of processor."""

    seconds_per_case: float  # time budget for each implementation of a case
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named set of cases, apart for each kind of processor."""

    name: str
    description: str
    parts: Mapping[Device, SuitePart]

    def cases(self, device: Device) -> tuple[Case, ...]:
        """The cases for ``device``; none if the suite has nothing for it."""
        part = self.parts.get(device)
        return part.cases if part else ()


def load_targets(path: Path = DEFAULT_TARGETS) -> tuple[Target, ...]:
    """The declared targets, in the order of the file; raises :class:`RoofgateError` for any mistake in it."""
    document = read_document(path)
    targets = tuple(_target(name, item) for name, item in validate(document, _TargetsFile).targets.items())
    seen: dict[str, str] = {}
    for target in targets:
        for device_name in target.device_names:
            if device_name in seen:
                place = document.place(("targets", target.name, "device_names"))
                raise RoofgateError(f"{place}: {device_name!r} already belongs to target {seen[device_name]!r}")
            seen[device_name] = target.name
    return targets


def match_target(targets: Iterable[Target], device_name: str) -> Target | None:
    """The target whose ``device_names`` has exactly ``device_name``, the driver's spelling; None if none has.

    Never a partial match: "NVIDIA H100 80GB HBM3" and "NVIDIA H100 PCIe" are different processors.
    """
    return next((target for target in targets if device_name in target.device_names), None)


def load_suites(path: Path = DEFAULT_SUITES) -> Mapping[str, Suite]:
    """Suites by name, in the order of the file; raises :class:`RoofgateError` for any mistake in it."""
    document = read_document(path)
    return {name: _suite(document, name, item) for name, item in validate(document, _SuitesFile).suites.items()}


def find_suite(suites: Mapping[str, Suite], name: str) -> Suite:
    """The suite with this name; raises :class:`RoofgateError` with the nearest name if there is none."""
    if name not in suites:
        raise RoofgateError(f"no suite {name!r}: {one_of(name, suites)}")
    return suites[name]


def find_target(targets: Iterable[Target], name: str) -> Target:
    """The target with this name; raises :class:`RoofgateError` with the nearest name if there is none."""
    by_name = {target.name: target for target in targets}
    if name not in by_name:
        raise RoofgateError(f"no target {name!r}: {one_of(name, by_name)}")
    return by_name[name]


def find_case(cases: Iterable[Case], name: str) -> Case:
    """The case with this name; raises :class:`RoofgateError` with the nearest names if there is none."""
    by_name = {case.name: case for case in cases}
    if name not in by_name:
        raise RoofgateError(f"no case {name!r}: {one_of(name, by_name)}")
    return by_name[name]


def load_thresholds(path: Path = DEFAULT_THRESHOLDS) -> Thresholds:
    """The gate's policy; raises :class:`RoofgateError` for any mistake in the file."""
    document = read_document(path)
    content = validate(document, _ThresholdsFile)
    rules = tuple(_rule(document, ("rules", index), item) for index, item in enumerate(content.rules))
    names = [rule.name for rule in rules]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise RoofgateError(f"{document.place(('rules', index, 'name'))}: two rules are named {name!r}; rename one")
    return Thresholds(margin=content.margin, rules=rules, paired_margin=content.paired_margin)


def _keyed(values: Mapping[str, ValueT]) -> BeforeValidator:
    """Turn a key of ``values`` into its value, or say which keys there are."""

    def convert(got: object) -> ValueT:
        if isinstance(got, str) and got in values:
            return values[got]
        raise ValueError(f"got {got!r}, {one_of(str(got), values)}")

    return BeforeValidator(convert)


def _filled(got: object) -> object:
    # Before validation: afterwards a list whose only item is wrong counts as empty too.
    if got in ([], {}):
        raise ValueError("is empty, expected at least one")
    return got


def _as_list(got: object) -> object:
    return _filled(got if isinstance(got, list) else [got])


def _as_fraction(got: object) -> object:
    """``10%`` as 0.1; anything else unchanged."""
    if not (isinstance(got, str) and got.endswith("%")):
        return got
    try:
        return float(got[:-1]) / 100
    except ValueError:
        raise ValueError(f"got {got!r}, expected a percentage such as '10%' or a number such as 0.1") from None


def _as_mask(got: object) -> Mask:
    return parse_mask(got if isinstance(got, str) else repr(got))


def _file_name(got: str) -> str:
    if not got or not all(character.isalnum() or character in "-_." for character in got) or got.startswith("."):
        raise ValueError(f"got {got!r}, expected letters, digits, '-', '_' and '.': it becomes part of file names")
    return got


_OneOrMore = BeforeValidator(_as_list)
_Filled = BeforeValidator(_filled)
_Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
_Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
_PositiveInt = Annotated[StrictInt, Field(gt=0)]
_Fraction = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False), BeforeValidator(_as_fraction)]
_PositiveFraction = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False), BeforeValidator(_as_fraction)]
_Name = Annotated[StrictStr, AfterValidator(_file_name)]
_Operation = Annotated[Operation, _keyed({operation.value: operation for operation in Operation})]
_DType = Annotated[DType, _keyed({dtype.key: dtype for dtype in DType})]
_Device = Annotated[Device, _keyed({device.value: device for device in Device})]
_Metric = Annotated[Metric, _keyed({metric.key: metric for metric in Metric})]
_Mask = Annotated[Mask, BeforeValidator(_as_mask)]
_NotNegative = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
_Sizes = Annotated[tuple[_PositiveInt, ...], _OneOrMore]
_Globs = Annotated[tuple[StrictStr, ...], _OneOrMore]


class _TargetEntry(Schema):
    title: StrictStr
    device: _Device
    architecture: StrictStr
    device_names: tuple[StrictStr, ...] = ()
    flop_per_s: dict[_DType, _Positive] = Field(default_factory=dict)
    exp_per_s: _Positive | None = None
    dram_bytes_per_s: _Positive | None = None
    dram_bytes: _Positive | None = None
    multiprocessors: _PositiveInt | None = None
    shared_memory_per_block_bytes: _PositiveInt | None = None
    source: Annotated[StrictStr, Field(min_length=1)]


class _TargetsFile(Schema):
    targets: Annotated[dict[_Name, _TargetEntry], _Filled]


def _target(name: str, entry: _TargetEntry) -> Target:
    return Target(name=name, **{key: getattr(entry, key) for key in _TargetEntry.model_fields})


class _CasesEntry(Schema):
    """Every key takes one value or a list; the entry stands for the product of the lists."""

    operation: Annotated[tuple[_Operation, ...], _OneOrMore]
    dtype: Annotated[tuple[_DType, ...], _OneOrMore]
    batch: _Sizes
    heads_q: _Sizes
    heads_kv: _Sizes | None = None
    seqlen_q: _Sizes
    seqlen_k: _Sizes | None = None
    head_dim: _Sizes
    mask: Annotated[tuple[_Mask, ...], _OneOrMore]
    varlen: Annotated[tuple[StrictBool, ...], _OneOrMore] = (False,)
    softcap: Annotated[tuple[_NotNegative, ...], _OneOrMore] = (0.0,)
    alibi: Annotated[tuple[StrictBool, ...], _OneOrMore] = (False,)


class _SuitePartEntry(Schema):
    seconds_per_case: _Positive
    cases: Annotated[tuple[_CasesEntry, ...], _Filled]


class _SuiteEntry(Schema):
    description: StrictStr
    cpu: _SuitePartEntry | None = None
    cuda: _SuitePartEntry | None = None


class _SuitesFile(Schema):
    suites: Annotated[dict[_Name, _SuiteEntry], _Filled]


def _suite(document: Document, name: str, entry: _SuiteEntry) -> Suite:
    entries = {device: part for device in Device if (part := getattr(entry, device.value)) is not None}
    if not entries:
        keys = ", ".join(device.value for device in Device)
        raise RoofgateError(f"{document.place(('suites', name))}: has no cases; expected at least one of {keys}")
    parts = {
        device: SuitePart(
            seconds_per_case=part.seconds_per_case,
            cases=_distinct_cases(document, ("suites", name, device.value, "cases"), part.cases),
        )
        for device, part in entries.items()
    }
    return Suite(name=name, description=entry.description, parts=parts)


def _distinct_cases(document: Document, location: Location, entries: tuple[_CasesEntry, ...]) -> tuple[Case, ...]:
    """All cases of one part; the same case twice would be measured twice under one name, so it is refused."""
    cases: dict[Case, Location] = {}
    for index, entry in enumerate(entries):
        place = (*location, index)
        for case in _expand(document, place, entry):
            if case in cases:
                first = document.lines[cases[case]]
                raise RoofgateError(f"{document.place(place)}: {case.name} is already in the suite, from line {first}")
            cases[case] = place
    return tuple(cases)


def _expand(document: Document, location: Location, entry: _CasesEntry) -> Iterable[Case]:
    """The product of the entry's lists; ``heads_kv`` follows ``heads_q`` and ``seqlen_k`` follows ``seqlen_q``."""
    fields = list(_CasesEntry.model_fields)
    for values in product(*(getattr(entry, key) or (None,) for key in fields)):
        shape = dict(zip(fields, values, strict=True))
        shape["heads_kv"] = shape["heads_kv"] or shape["heads_q"]
        shape["seqlen_k"] = shape["seqlen_k"] or shape["seqlen_q"]
        try:
            yield Case(**shape)
        except ValueError as error:
            raise RoofgateError(f"{document.place(location)}: {error}") from None


class _RatioEntry(Schema):
    peer: Annotated[str, _keyed({peer: peer for peer in PEERS})]
    at_least: _Positive = 1.0


class _RuleEntry(Schema):
    name: _Name
    metric: _Metric | None = None
    cases: _Globs | None = None
    kernels: _Globs | None = None
    targets: _Globs = ("*",)
    requires: _Globs = ()
    unless: _Globs = ()
    maximum: Annotated[_Number | None, Field(alias="max")] = None
    minimum: Annotated[_Number | None, Field(alias="min")] = None
    max_change: _Fraction | None = None
    max_change_in_pairs: _Fraction | None = None
    min_ratio_to: _RatioEntry | None = None
    min_roofline_fraction: _Fraction | None = None


class _ThresholdsFile(Schema):
    margin: _Fraction
    paired_margin: _PositiveFraction = DEFAULT_PAIRED_MARGIN
    rules: tuple[_RuleEntry, ...]


def _ratio(entry: _RatioEntry) -> Limit:
    return MinimumRatio(peer=entry.peer, at_least=entry.at_least)


_LIMITS: Mapping[str, tuple[str, Callable[..., Limit]]] = {
    "max": ("maximum", lambda value: Maximum(value=value)),
    "min": ("minimum", lambda value: Minimum(value=value)),
    "max_change": ("max_change", lambda fraction: MaximumChange(fraction=fraction)),
    "min_ratio_to": ("min_ratio_to", _ratio),
    "min_roofline_fraction": ("min_roofline_fraction", lambda fraction: MinimumRooflineFraction(fraction=fraction)),
}
_IMPLIED_METRIC: Mapping[type[Limit], Metric] = {
    MinimumRatio: Metric.PEER_RATIO,
    MinimumRooflineFraction: Metric.ROOFLINE_FRACTION,
}


def _rule(document: Document, location: Location, entry: _RuleEntry) -> Rule:
    limit = _limit(document, location, entry)
    metric = _metric(document, location, entry, limit)
    return Rule(
        name=entry.name,
        metric=metric,
        subjects=_subjects(document, location, entry, metric),
        targets=entry.targets,
        limit=limit,
        requires=entry.requires,
        unless=entry.unless,
        where=f"{document.path}:{document.lines[location]}",
    )


def _limit(document: Document, location: Location, entry: _RuleEntry) -> Limit:
    limits = {
        key: make(value) for key, (field, make) in _LIMITS.items() if (value := getattr(entry, field)) is not None
    }
    if len(limits) != 1:
        got = " and ".join(limits) or "none of them"
        raise RoofgateError(f"{document.place(location)}: expected exactly one of {', '.join(_LIMITS)}, got {got}")
    (limit,) = limits.values()
    return limit if entry.max_change_in_pairs is None else _in_pairs(document, location, entry, limit)


def _in_pairs(document: Document, location: Location, entry: _RuleEntry, limit: Limit) -> Limit:
    if not isinstance(limit, MaximumChange) or entry.metric is not Metric.TIME:
        place = document.place((*location, "max_change_in_pairs"))
        raise RoofgateError(f"{place}: expected beside max_change of 'time' alone, which is what pairs are timed for")
    return replace(limit, in_pairs=entry.max_change_in_pairs)


def _metric(document: Document, location: Location, entry: _RuleEntry, limit: Limit) -> Metric:
    implied = _IMPLIED_METRIC.get(type(limit))
    metric = entry.metric or implied
    if metric is None:
        raise RoofgateError(f"{document.place(location)}: key 'metric' is missing; say which figure the limit is for")
    if implied and metric is not implied:
        place = document.place((*location, "metric"))
        raise RoofgateError(f"{place}: got {metric.key!r}, but this limit is always of {implied.key!r}; drop the key")
    if isinstance(limit, MaximumChange) and metric.layer is Layer.TIMED and metric is not Metric.TIME:
        place = document.place((*location, "metric"))
        raise RoofgateError(f"{place}: got {metric.key!r}, but of timed figures max_change takes 'time' alone")
    if implied is None and metric is Metric.PEER_RATIO:
        place = document.place((*location, "metric"))
        raise RoofgateError(f"{place}: a limit of 'peer_ratio' needs a peer; write min_ratio_to: {{peer: torch_flash}}")
    return metric


def _subjects(document: Document, location: Location, entry: _RuleEntry, metric: Metric) -> tuple[str, ...]:
    key, wrong = ("cases", "kernels") if metric.layer is Layer.TIMED else ("kernels", "cases")
    if getattr(entry, wrong) is not None:
        place = document.place((*location, wrong))
        raise RoofgateError(f"{place}: metric {metric.key!r} belongs to {key}, not to {wrong}; write {key} instead")
    for condition in ("requires", "unless"):
        if metric.layer is not Layer.TIMED and getattr(entry, condition):
            place = document.place((*location, condition))
            raise RoofgateError(
                f"{place}: {metric.key!r} is the same on every machine; {condition} is for timed metrics alone"
            )
    globs: tuple[str, ...] | None = getattr(entry, key)
    return globs or ("*",)
