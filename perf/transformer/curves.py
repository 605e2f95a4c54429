"""Whether two loss curves are equal, when even equal mathematics gives unequal curves (pure).

Training multiplies differences of rounding from step to step, so no fixed tolerance fits: one that the last steps can
keep would let a wrong attention pass in the first ones. Controls tell how far apart equal mathematics drifts here: runs
with torch's attention that differ from the reference by where sums are rounded (the order of the sequences in a batch,
torch's other backend). The steps are cut into windows. In each, the root mean square of the differences between two
curves is their distance, and a curve equals the reference if its distance is at most FACTOR times the largest that a
control had in this window or an earlier one: differences grow on average, but any one of them may shrink by chance.

The factor comes from a pilot of 200 steps in bf16 and fp32 with four controls. Each control judged by the other three
lay at up to 3.4 times their largest distance, so that a factor of one or two would raise false alarms. A scale wrong by
one percent lay at 5 times in bf16 and 3000 times in fp32, by ten percent at 35 and 30 000, a missing mask at 700 and
500 000. Fp32 is the sharper judge of what is computed; bf16 shows that training as it is done is unharmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from perf.transformer.results import CurveSet

WINDOWS = 10
FACTOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a curve is from the reference, window by window, in nats per byte; and how far it may be."""

    distances: tuple[float, ...]
    allowed: tuple[float, ...]

    @property
    def is_equal(self) -> bool:
        """Whether every distance is allowed; one that is no number is not."""
        return all(distance <= most for distance, most in zip(self.distances, self.allowed, strict=True))

    @property
    def worst_ratio(self) -> float:
        """The largest distance in terms of what is allowed; at most one for equal curves."""
        pairs = zip(self.distances, self.allowed, strict=True)
        return max(_ratio(distance, most) for distance, most in pairs)


def judge(curves: CurveSet) -> Agreement:
    """Hold our curve against the controls' spread; see the module."""
    return agreement(curves.own.losses, curves.reference.losses, [control.losses for control in curves.controls])


def judge_controls(curves: CurveSet) -> tuple[Agreement, ...]:
    """Each control judged by the others, as ours is by all: what the rule says where there is nothing to find."""
    losses = [control.losses for control in curves.controls]
    return tuple(
        agreement(one, curves.reference.losses, [*losses[:index], *losses[index + 1 :]])
        for index, one in enumerate(losses)
    )


def agreement(judged: Sequence[float], reference: Sequence[float], controls: Sequence[Sequence[float]]) -> Agreement:
    """Hold one curve against others; all have one loss a step."""
    spreads = zip(*(_distances(control, reference) for control in controls), strict=True)
    allowed, largest = [], 0.0
    for spread in spreads:
        largest = max(largest, *spread)
        allowed.append(FACTOR * largest)
    return Agreement(distances=_distances(judged, reference), allowed=tuple(allowed))


def window_edges(steps: int) -> tuple[tuple[int, int], ...]:
    """First step and the one behind the last of each window, from 0; as many windows as steps if there are few."""
    count = min(WINDOWS, steps)
    return tuple(pairwise(round(index * steps / count) for index in range(count + 1)))


def _distances(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    """Root mean square of the differences in each window."""
    squares = [(one - other) ** 2 for one, other in zip(first, second, strict=True)]
    windows = (squares[start:stop] for start, stop in window_edges(len(squares)))
    return tuple(math.sqrt(sum(window) / len(window)) for window in windows)


def _ratio(distance: float, most: float) -> float:
    if not distance <= most:
        return distance / most if most > 0 and math.isfinite(distance) else math.inf
    return distance / most if most else 0.0
