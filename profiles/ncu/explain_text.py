"""Explanations as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perf import units
from profiles.ncu.comparison import PART, Cause, Comparison
from profiles.ncu.explain import Explanation
from profiles.ncu.launch_facts import DURATION
from profiles.ncu.layer_links import Agreement
from profiles.ncu.spread import CounterChange, Spread

_STATES = 6
_CHANGES = 12
_RESOURCES = 5


def explanation_text(explanations: Sequence[Explanation]) -> str:
    """All ``explanations``, a paragraph for each topic, with nothing of what was not captured."""
    return "\n\n".join(_one(explanation) for explanation in explanations) + "\n"


def _one(explanation: Explanation) -> str:
    parts = [_title(explanation)]
    if explanation.comparison is not None:
        parts.append(comparison_text(explanation.comparison))
    elif explanation.baseline:
        parts.append(f"no comparison: {explanation.baseline}")
    parts += [
        _section("time", _time(explanation)),
        _section("roofline", _roofline(explanation)),
        _section("occupancy", _occupancy(explanation)),
        _section("warps", (state.sentence for state in explanation.stalls.states[:_STATES])),
        _section("memory", (flow.sentence for flow in explanation.memory)),
        _section("instructions", _instructions(explanation)),
        _section("other layers", agreement_sentences(explanation.agreements)),
    ]
    return "\n".join(part for part in parts if part)


def comparison_text(comparison: Comparison) -> str:
    """What changed since the baseline, the headline first."""
    parts = [
        comparison.headline,
        _section(_causes_title(comparison), [*_sentences(comparison.causes), *_remainder(comparison)]),
        _section("warps spend the difference", comparison.symptoms),
        _section("changed as well", _sentences(comparison.little)),
        _section("counters beyond their noise", _changes(comparison.changes)),
        _section("mind", comparison.notes),
    ]
    return "\n".join(part for part in parts if part)


def _causes_title(comparison: Comparison) -> str:
    return "causes (each at most, and together perhaps the same time)" if len(comparison.causes) > 1 else "cause"


def _remainder(comparison: Comparison) -> list[str]:
    if not comparison.causes or comparison.unexplained < PART:
        return []
    return [f"the other {units.percent(comparison.unexplained)} of the change is not explained"]


def agreement_sentences(found: Sequence[Agreement]) -> list[str]:
    """Disagreements first."""
    return [one.sentence for one in sorted(found, key=lambda one: one.agrees)]


def change_sentence(change: CounterChange) -> str:
    """``launch__registers_per_thread 128 to 168 (+31.3 %, exact)``."""
    unit = f" {change.unit}" if change.unit else ""
    relative = f"{units.change(change.relative)}, " if change.before else ""
    values = f"{units.count(change.before)} to {units.count(change.after)}{unit}"
    return f"{change.name} {values} ({relative}{change.exactness.value})"


def _title(explanation: Explanation) -> str:
    group, launch = explanation.group, explanation.launch
    where = ", ".join(part for part in (launch.device, group.shape) if part)
    return f"{group.kernel}\n  {where}, {_launches(len(group.launches))}"


def _launches(count: int) -> str:
    return "1 launch" if count == 1 else f"{count} launches"


def _time(explanation: Explanation) -> list[str]:
    if explanation.seconds is None:
        return ["not captured"]
    spread = explanation.spreads.get(DURATION)
    lines = [spread_sentence(spread)] if spread is not None and spread.launches > 1 else []
    if explanation.floor is None:
        return [*lines, units.seconds(explanation.seconds)]
    busiest = (busy.sentence for busy in explanation.floor.busy[:_RESOURCES])
    return [*lines, explanation.floor.sentence, *busiest]


def spread_sentence(spread: Spread) -> str:
    """``17.2 µs to 17.8 µs, median 17.4 µs over 105 launches (spread 3.3 %)``."""
    text = units.seconds if spread.unit == "s" else units.count
    bounds = f"{text(spread.low)} to {text(spread.high)}, median {text(spread.median)}"
    return f"{bounds} over {_launches(spread.launches)} (spread {units.percent(spread.relative)})"


def _roofline(explanation: Explanation) -> list[str]:
    roof = explanation.roofline
    rates = [level.sentence for level in roof.traffic] + [work.sentence for work in roof.work]
    return rates + [point.sentence for point in roof.points]


def _occupancy(explanation: Explanation) -> list[str]:
    occupancy = explanation.occupancy
    lines = [occupancy.sentence.removeprefix("occupancy: ")] if occupancy.sentence else []
    return lines + ([f"not computed: {occupancy.reason}"] if occupancy.reason else [])


def _instructions(explanation: Explanation) -> list[str]:
    mix = explanation.instructions
    return [sentence for sentence in (mix.sentence, mix.spill_sentence) if sentence]


def _sentences(causes: Iterable[Cause]) -> list[str]:
    return [cause.sentence for cause in causes]


def _changes(changes: Sequence[CounterChange]) -> list[str]:
    lines = [change_sentence(change) for change in changes[:_CHANGES]]
    more = len(changes) - _CHANGES
    return [*lines, f"and {more} more"] if more > 0 else lines


def _section(title: str, lines: Iterable[str]) -> str:
    texts = [f"    {line}" for line in lines]
    return "\n".join([f"  {title}:", *texts]) if texts else ""
