"""Why a kernel's time changed between two captures: causes ranked by how much of the change they can explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perf import units
from profiles.ncu.causes import GLOBAL_SECTORS, SHARED_WAVEFRONTS, Candidate, candidates
from profiles.ncu.launch_facts import DURATION, architecture
from profiles.ncu.layer_links import Figure, costliest_line
from profiles.ncu.model import Exactness, Launch
from profiles.ncu.side import Side, analyse
from profiles.ncu.spread import LEAST_CHANGE, CounterChange, changed, counter_changes
from profiles.ncu.stalls import MEANINGS
from profiles.source_counters import CountedKernel

MOST = 0.5  # share of the change from which a cause accounts for most of it
PART = 0.1  # below this a cause explains little
_SAME_RANK = 0.05  # shares that are closer are ranked by nearness to the source code

# Which figures of a source line belong to a cause, the most telling first.
_LINE_FIGURES: Mapping[str, Sequence[tuple[str, Figure]]] = {
    SHARED_WAVEFRONTS: (
        ("most of the bank conflicts", lambda counts: counts.shared_wavefronts - counts.shared_requests),
        ("most of them", lambda counts: counts.shared_wavefronts),
    ),
    GLOBAL_SECTORS: (("most of them", lambda counts: counts.global_sectors),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A counter that changed, and how much of the time's change it can explain."""

    name: str
    share: float  # of the change, at most; in [0, 1]
    surely: float  # of the change, at least; in [0, 1]
    sentence: str
    numbers: Mapping[str, float]  # "before" and "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two groups of launches of one kernel."""

    before: Side
    after: Side
    headline: str
    relative: float | None  # change of the time; None if it was not captured on both sides
    time_changed: bool
    causes: tuple[Cause, ...]  # that explain at least a part, the greatest share first
    little: tuple[Cause, ...]  # changed too, but explain little or nothing
    symptoms: tuple[str, ...]  # where warps spend the difference
    changes: tuple[CounterChange, ...]  # every counter beyond its noise
    notes: tuple[str, ...]  # what makes the two less comparable

    @property
    def explained(self) -> bool:
        """Whether any cause accounts for a part; also if there is nothing to explain."""
        return bool(self.causes) or not self.time_changed

    @property
    def unexplained(self) -> float:
        """Of the time's change, what no cause accounts for even if all their upper bounds add up."""
        return max(1.0 - sum(cause.share for cause in (*self.causes, *self.little)), 0.0) if self.time_changed else 0.0


def compare(before: Sequence[Launch], after: Sequence[Launch], *, lines: CountedKernel | None = None) -> Comparison:
    """Explain what changed from ``before`` to ``after``, launches of one kernel each.

    Args:
        before: the baseline's launches; several show their noise.
        after: the launches to explain.
        lines: the simulated figures of the kernel's source lines after the change, to name a line.

    Raises :class:`kernels.errors.RoofgateError` if one side has no launches.
    """
    old, new = analyse(before), analyse(after)
    relative = (new.seconds - old.seconds) / old.seconds if old.seconds and new.seconds else None
    moved = _time_changed(old, new)
    difference = new.seconds - old.seconds if moved and old.seconds and new.seconds else None
    causes = _unweighted(old, new, lines) if difference is None else _ranked(old, new, difference, lines)
    return Comparison(
        before=old,
        after=new,
        headline=_headline(old, new, moved, causes),
        relative=relative,
        time_changed=moved,
        causes=tuple(cause for cause in causes if moved and cause.share >= PART),
        little=tuple(cause for cause in causes if not moved or cause.share < PART),
        symptoms=() if difference is None else _symptoms(old, new, difference),
        changes=counter_changes(before, after),
        notes=_notes(old.launch, new.launch),
    )


def _time_changed(old: Side, new: Side) -> bool:
    if DURATION in old.spreads and DURATION in new.spreads:
        return changed(old.spreads[DURATION], new.spreads[DURATION])
    if old.seconds is None or new.seconds is None:
        return False
    return abs(new.seconds / old.seconds - 1) > LEAST_CHANGE[Exactness.STATISTICAL]


def _ranked(old: Side, new: Side, difference: float, lines: CountedKernel | None) -> tuple[Cause, ...]:
    seconds = old.seconds or 1.0  # candidates are empty where it is not known
    found = [_cause(candidate, difference, seconds, lines) for candidate in candidates(old, new)]
    order = {cause.name: position for position, cause in enumerate(found)}
    return tuple(sorted(found, key=lambda cause: (-round(cause.share / _SAME_RANK), order[cause.name])))


def _unweighted(old: Side, new: Side, lines: CountedKernel | None) -> tuple[Cause, ...]:
    """What changed while the time did not: named, with no share."""
    return tuple(
        Cause(
            name=one.name,
            share=0.0,
            surely=0.0,
            sentence=f"{one.statement}{_place(one, lines)}",
            numbers=one.numbers,
        )
        for one in candidates(old, new)
    )


def _cause(candidate: Candidate, difference: float, seconds: float, lines: CountedKernel | None) -> Cause:
    share = min(max(candidate.most_s / difference, 0.0), 1.0)
    surely = min(max(candidate.least_s / difference, 0.0), share)
    statement = f"{candidate.statement}{_place(candidate, lines)}"
    return Cause(
        name=candidate.name,
        share=share,
        surely=surely,
        sentence=f"{statement}: {_weight(share, surely, units.change(difference / seconds))}",
        numbers=candidate.numbers,
    )


def _weight(share: float, surely: float, change: str) -> str:
    at_least = f", surely for {units.percent(surely)} of it" if surely >= PART else ""
    if share >= MOST:
        portion = "all" if share == 1 else f"most ({units.percent(share)})"
        return f"can account for {portion} of the {change} time{at_least}"
    if share >= PART:
        return f"can account for a part ({units.percent(share)}) of the {change} time{at_least}"
    return f"explains little of the {change} time"


def _place(candidate: Candidate, lines: CountedKernel | None) -> str:
    """Where the simulated layer sees most of it; empty if it does not."""
    if lines is None:
        return ""
    places = ((what, costliest_line(lines, figure)) for what, figure in _LINE_FIGURES.get(candidate.name, ()))
    return next((f", {what} at {place} as simulated" for what, place in places if place), "")


def _headline(old: Side, new: Side, moved: bool, causes: Sequence[Cause]) -> str:
    if old.seconds is None or new.seconds is None:
        return "the time was not captured on both sides, so no change of it can be explained"
    times = f"{units.seconds(old.seconds)} to {units.seconds(new.seconds)}"
    change = units.change(new.seconds / old.seconds - 1)
    launches = f"{len(old.launches)} and {len(new.launches)} launches"
    if not moved:
        return f"time {times} ({change}, {launches}): no more than noise"
    if causes and causes[0].share >= PART:
        others = sum(cause.share >= PART for cause in causes) - 1
        more = f", and {others} more" if others else ""
        return f"time {times} ({change}, {launches}): {causes[0].name}{more}"
    return f"time {times} ({change}, {launches}): not explained by any counter of these captures"


def _symptoms(old: Side, new: Side, difference: float) -> tuple[str, ...]:
    """The states of warps whose time moved with the whole, the most first: at least a tenth of the change."""
    found = []
    for reason in sorted({state.reason for side in (old, new) for state in side.stalls.states}):
        before, after = old.waiting_s((reason,)), new.waiting_s((reason,))
        if before is not None and after is not None and (after - before) / difference >= PART:
            found.append((after - before, reason, before, after))
    found.sort(key=lambda one: -abs(one[0]))
    return tuple(
        f"{MEANINGS.get(reason, reason)} ({reason}): {units.seconds(before)} to {units.seconds(after)} of a warp's time"
        for _, reason, before, after in found
    )


def _notes(old: Launch, new: Launch) -> tuple[str, ...]:
    pairs = (
        ("kernel", old.kernel, new.kernel),
        ("grid", old.grid, new.grid),
        ("block", old.block, new.block),
        ("device", old.device, new.device),
        ("architecture", architecture(old), architecture(new)),
    )
    return tuple(
        f"the {name} differs: {_text(before)} and {_text(after)}"
        for name, before, after in pairs
        if before and after and before != after
    )


def _text(value: object) -> str:
    return "x".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
