"""A candidate against its baseline: one run against an earlier one, one capture against its pin (pure).

Two runs are two processes at two times, and the same code differs between them by far more than within one: a plain
threshold of 5 % on the means of two such runs gives false alarms for every fifth comparison. Four things are done
about it.

1. The peers are identical code in both runs as long as torch and its thread count are the same. A case is judged by its
   ratio to the peers of the same round, so that what slowed the whole machine cancels.
2. How far the peers moved against one another between the runs, be it in ratio or each from their common drift, shows
   what may be left when it has cancelled. These are the controls (:func:`perf.stats.noise_bound`).
3. The interval of a change is the two runs' own intervals and the controls' 95 % bound for one case, added in squares.
4. Many cases are judged at once. A change counts as better or worse only if its interval excludes zero and the change
   also exceeds the noise floor: the bound that, with 95 % confidence, none of all cases passes by noise alone. A change
   whose whole interval lies within the margin that the policy calls no change is unchanged.

The floor rests on the assumption that our kernel scatters between processes no more than the peers do. Base and
candidate measured alternately in one process (:mod:`perf.paired`) do not need it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from perf.findings import Comparison, NoiseFloor
from perf.hardware_tolerance import STATISTICAL, tolerance
from perf.model import (
    FULL_MASK_IMPLEMENTATION,
    OWN_IMPLEMENTATION,
    Capture,
    Case,
    Device,
    Direction,
    Interval,
    Layer,
    Measurement,
    Metric,
    Run,
    Verdict,
)
from perf.stats import MIN_CONFIDENCE, Estimate, as_change, difference, noise_bound, paired_log_ratio, widened
from perf.units import change as change_text
from perf.units import percent

# With fewer controls their root mean square says little, and Student's t grows the floor beyond use.
MIN_CONTROLS = 4
PROMOTE = "run: nox -s promote"
# torch's unfused backend is bound by memory where fused kernels are bound by arithmetic, so it cancels less of what
# slowed the machine. It serves as a control and, only where there is no other, as the peer to divide by.
_UNFUSED_PEER = "torch_math"

Key = tuple[Case, Device, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The measurements of one case in both runs, by implementation."""

    candidate: Mapping[str, Measurement]
    baseline: Mapping[str, Measurement]

    @property
    def peers(self) -> list[str]:
        """Peers of both runs, in the candidate's order, the one to divide by first."""
        peers = [name for name in self.candidate if name in self.baseline and name != OWN_IMPLEMENTATION]
        return sorted(peers, key=lambda name: name == _UNFUSED_PEER)

    @property
    def fused_peers(self) -> list[str]:
        """The peers that a case is divided by."""
        return [name for name in self.peers if name != _UNFUSED_PEER] or self.peers


def by_case(run: Run) -> dict[Key, dict[str, Measurement]]:
    """Measurements of ours and the peers by case, device and target, then by implementation."""
    grouped: dict[Key, dict[str, Measurement]] = {}
    for item in run.measurements:
        if item.implementation != FULL_MASK_IMPLEMENTATION:
            grouped.setdefault((item.case, item.device, item.target), {})[item.implementation] = item
    return grouped


def full_masks(run: Run) -> dict[Key, Measurement]:
    """Of masked cases, our kernel with the full mask on the same shapes."""
    return {
        (item.case, item.device, item.target): item
        for item in run.measurements
        if item.implementation == FULL_MASK_IMPLEMENTATION
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """How far a run can be told from its baseline, and the change of every case that our kernel was measured on."""

    noise: NoiseFloor
    cases: Mapping[Key, Comparison]


def compare_runs(candidate: Run, baseline: Run | None, margin: float) -> RunComparison:
    """Compare every case of ``candidate``.

    Args:
        candidate: the present run.
        baseline: the run to compare with, or None if there is none for this machine and suite.
        margin: relative changes within this are no change worth attention.
    """
    own = {key: found[OWN_IMPLEMENTATION] for key, found in by_case(candidate).items() if OWN_IMPLEMENTATION in found}
    if baseline is None or candidate.machine.fingerprint != baseline.machine.fingerprint:
        reason = _obstacle(candidate, baseline)
        cases = {key: _not_run(key, now, reason) for key, now in own.items()}
        return RunComparison(noise=NoiseFloor(value=None, controls=0, reason=reason), cases=cases)
    pairs = _pairs(candidate, baseline)
    noise = _noise(pairs, _obstacle(candidate, baseline))
    cases = {
        key: _compare_case(key, pairs[key], noise, margin)
        if key in pairs
        else _not_run(key, now, f"the baseline has no such case; {PROMOTE}")
        for key, now in own.items()
    }
    return RunComparison(noise=noise.floor, cases=cases)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    """What the controls say; bounds are of the natural logarithm of a ratio."""

    floor: NoiseFloor
    of_one: float | None = None  # no single case passes this by noise, 95 %
    of_all: float | None = None  # none of all cases does, 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class _Controls:
    """Differences between the two runs, in logarithms, of what is the same code in both."""

    differences: Sequence[float]
    kind: str


def _noise(pairs: Mapping[Key, _Pair], obstacle: str) -> _Noise:
    controls = _find_controls(list(pairs.values()))
    count = 0 if obstacle else len(controls.differences)
    if count < MIN_CONTROLS:
        reason = obstacle or f"only {count} controls ({controls.kind}), fewer than {MIN_CONTROLS}"
        return _Noise(floor=NoiseFloor(value=None, controls=count, reason=reason))
    of_all = noise_bound(controls.differences, comparisons=len(pairs))
    value = math.expm1(of_all)
    reason = (
        f"{percent(value)}: with 95 % confidence none of {len(pairs)} cases passes it by noise alone; "
        f"from {count} controls, {controls.kind}, which are the same code in both runs"
    )
    floor = NoiseFloor(value=value, controls=count, reason=reason)
    return _Noise(floor=floor, of_one=noise_bound(controls.differences, comparisons=1), of_all=of_all)


def _obstacle(candidate: Run, baseline: Run | None) -> str:
    """Why the peers of the two runs say nothing of each other; empty if they do."""
    if baseline is None:
        return f"no baseline for this machine and suite; {PROMOTE}"
    if baseline.id == candidate.id:
        return "the baseline is this very run"
    before, now = baseline.machine, candidate.machine
    if before.fingerprint != now.fingerprint:
        return f"the baseline is of another machine ({before.title}, {before.threads} threads); {PROMOTE} on this one"
    if before.torch != now.torch:
        return f"the baseline's peers are torch {before.torch} and this run's {now.torch}; {PROMOTE}"
    return ""


def _pairs(candidate: Run, baseline: Run) -> dict[Key, _Pair]:
    before = by_case(baseline)
    return {
        key: _Pair(candidate=now, baseline=before[key])
        for key, now in by_case(candidate).items()
        if OWN_IMPLEMENTATION in now and OWN_IMPLEMENTATION in before.get(key, {})
    }


def _find_controls(pairs: Sequence[_Pair]) -> _Controls:
    """The narrower of two kinds of controls, of those that there are enough of.

    Both hold noise that our ratio to a fused peer lacks, so each errs on the wide side: the ratios between peers what
    moves an unfused kernel alone, and the times of single peers what slowed the machine during one case, which cancels
    in a ratio within rounds.
    """
    ratios = [moved for pair in pairs for moved in _moved_ratios(pair)]
    moved = [_moved(pair, peer) for pair in pairs for peer in pair.fused_peers]
    common = median(moved) if moved else 0.0
    kinds = (
        _Controls(differences=ratios, kind="ratios between peers"),
        _Controls(differences=[each - common for each in moved], kind="times of peers less their common change"),
    )
    enough = [kind for kind in kinds if len(kind.differences) >= MIN_CONTROLS]
    if not enough:
        return max(kinds, key=lambda kind: len(kind.differences))
    return min(enough, key=lambda kind: noise_bound(kind.differences, comparisons=len(pairs)))


def _moved_ratios(pair: _Pair) -> Iterator[float]:
    """How far the log ratio of each other peer to the first moved between the runs."""
    first, *others = pair.peers or [""]
    for other in others:
        now = paired_log_ratio(pair.candidate[other].samples_s, pair.candidate[first].samples_s)
        before = paired_log_ratio(pair.baseline[other].samples_s, pair.baseline[first].samples_s)
        yield now.value - before.value


def _moved(pair: _Pair, peer: str) -> float:
    """How far the log time of a peer moved between the runs."""
    return math.log(pair.candidate[peer].median_s / pair.baseline[peer].median_s)


def _normalised(found: Mapping[str, Measurement], peers: Sequence[str]) -> Estimate:
    """ln(ours / geometric mean of the peers), round by round."""
    rounds = zip(*(found[peer].samples_s for peer in peers), strict=False)
    reference = [math.exp(fmean(math.log(sample) for sample in samples)) for samples in rounds]
    return paired_log_ratio(found[OWN_IMPLEMENTATION].samples_s, reference)


def _compare_case(key: Key, pair: _Pair, noise: _Noise, margin: float) -> Comparison:
    now, before = pair.candidate[OWN_IMPLEMENTATION], pair.baseline[OWN_IMPLEMENTATION]
    change = now.median_s / before.median_s - 1
    interval: Interval | None = None
    verdict, reason = Verdict.INCONCLUSIVE, noise.floor.reason
    if not pair.peers:
        reason = "no peer was measured in both runs"
    elif noise.of_one is not None and noise.of_all is not None:
        peers = pair.fused_peers
        moved = difference(_normalised(pair.candidate, peers), _normalised(pair.baseline, peers))
        of_one = as_change(widened(moved, noise.of_one))
        change, interval = of_one.value, of_one.interval
        verdict, reason = _judge(interval, as_change(widened(moved, noise.of_all)).interval, margin)
        reason = f"{reason}; relative to {', '.join(peers)}, noise floor {percent(noise.floor.value or 0)}"
    if _same_code(now, before):
        verdict, reason = Verdict.IDENTICAL, "the same machine code ran in both; a change shown is noise"
    return _timed(key, now, before, change=change, interval=interval, verdict=verdict, reason=reason)


def _same_code(now: Measurement, before: Measurement) -> bool:
    identity = (now.library_fingerprint, now.isa)
    return bool(now.library_fingerprint) and identity == (before.library_fingerprint, before.isa)


def _judge(interval: Interval, among_all: Interval, margin: float) -> tuple[Verdict, str]:
    """The verdict from the interval of one case, and from the wider one that allows for all cases together."""
    if interval.confidence < MIN_CONFIDENCE:
        return Verdict.INCONCLUSIVE, "too few rounds for an interval"
    if -margin <= interval.low and interval.high <= margin:
        return Verdict.UNCHANGED, f"the whole interval lies within the margin of {percent(margin)}"
    if among_all.low > 0:
        return Verdict.REGRESSED, f"slower by at least {change_text(interval.low)}"
    if among_all.high < 0:
        return Verdict.IMPROVED, f"faster: time changed by {change_text(interval.high)} or more"
    return Verdict.INCONCLUSIVE, "the change is too small to be told from noise, and too uncertain to be called none"


def _timed(
    key: Key,
    now: Measurement,
    before: Measurement | None,
    *,
    change: float | None,
    interval: Interval | None,
    verdict: Verdict,
    reason: str,
) -> Comparison:
    return Comparison(
        subject=key[0].name,
        target=key[2],
        metric=Metric.TIME,
        baseline=before.median_s if before else None,
        candidate=now.median_s,
        change=change,
        interval=interval,
        verdict=verdict,
        reason=reason,
    )


def _not_run(key: Key, now: Measurement, reason: str) -> Comparison:
    return _timed(key, now, None, change=None, interval=None, verdict=Verdict.NOT_RUN, reason=reason)


PINNED = "pinned"  # what a capture is held against by default: the figures that the repository keeps


def compare_captures(
    candidate: Capture, reference: Capture | None, reference_name: str = PINNED
) -> tuple[Comparison, ...]:
    """Every counter of ``candidate`` against the same kernel and architecture of a reference, exactly."""
    return tuple(
        _compare_counter(candidate, reference, reference_name, metric, value)
        for metric, value in candidate.counters.items()
    )


def _compare_counter(
    candidate: Capture, reference: Capture | None, reference_name: str, metric: Metric, value: float
) -> Comparison:
    before = reference.counters.get(metric) if reference else None
    verdict, reason = _judge_counter(candidate, reference, reference_name, metric, value)
    return Comparison(
        subject=candidate.kernel,
        target=candidate.architecture,
        metric=metric,
        baseline=before,
        candidate=value,
        # No finite change leads from zero to something; the two values say it.
        change=None if before is None or (before == 0 and value != 0) else value / before - 1 if before else 0.0,
        interval=None,
        verdict=verdict,
        reason=reason,
    )


def _judge_counter(
    candidate: Capture, reference: Capture | None, reference_name: str, metric: Metric, value: float
) -> tuple[Verdict, str]:
    if reference is None or metric not in reference.counters:
        remedy = f"not pinned for {candidate.architecture}; {PROMOTE}"
        return Verdict.NOT_RUN, remedy if reference_name == PINNED else f"{reference_name} has no such figure"
    before = reference.counters[metric]
    if metric.layer is Layer.HARDWARE:
        return _judge_hardware(candidate, reference, metric, value)
    if value == before:
        same = bool(candidate.fingerprint) and candidate.fingerprint == reference.fingerprint
        return (Verdict.IDENTICAL, "the same machine code") if same else (Verdict.UNCHANGED, "the same figure")
    if metric.direction is Direction.NEITHER:
        return Verdict.UNCHANGED, "differs; neither better nor worse"
    return _worse_or_better(metric, before, value, reference_name)


def _worse_or_better(metric: Metric, before: float, value: float, reference_name: str) -> tuple[Verdict, str]:
    worse = (value > before) == (metric.direction is Direction.LOWER_IS_BETTER)
    verdict = Verdict.REGRESSED if worse else Verdict.IMPROVED
    return verdict, f"{'worse' if worse else 'better'} than {reference_name}"


def _judge_hardware(candidate: Capture, reference: Capture, metric: Metric, value: float) -> tuple[Verdict, str]:
    """A hardware counter against the same launch on the same kind of GPU, by how exact the counter is."""
    if candidate.launch != reference.launch:
        return Verdict.NOT_RUN, f"the baseline is of another launch ({reference.launch}); {PROMOTE}"
    before, allowed = reference.counters[metric], tolerance(metric)
    if value == before:
        return Verdict.UNCHANGED, "the same figure"
    if abs(value - before) <= allowed * abs(before):
        return Verdict.UNCHANGED, f"within the {percent(allowed)} that identical launches differ by"
    if metric in STATISTICAL:
        return Verdict.INCONCLUSIVE, "one capture is no measurement of time; run: nox -s compare"
    if metric.direction is Direction.NEITHER:
        return Verdict.UNCHANGED, "differs; neither better nor worse"
    return _worse_or_better(metric, before, value, "the baseline")
