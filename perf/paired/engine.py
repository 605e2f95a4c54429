"""Drive the restarts of all subjects: screening in rounds, then the confirmation of what it suspects.

A round takes one restart of every subject that is still open, in a fresh random order: the restarts of one subject are
thereby spread over the whole comparison, so that a disturbance of some seconds touches one restart of many subjects and
not all restarts of one.

Nothing here touches a file or a process: the caller hands in how to measure, and is told after every restart. The tests
hand in simulated noise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kernels.errors import RoofgateError
from perf.model import Verdict
from perf.paired import decision, statistics
from perf.paired.decision import Outlook
from perf.paired.model import Finding, Plan, Restart, Stage

Measure = Callable[[str, Stage, int], Restart]  # subject, stage, seed


@dataclass(slots=True)
class Progress:
    """What is known of one subject so far."""

    restarts: list[Restart] = field(default_factory=list)
    outlook: Outlook = Outlook.OPEN
    wanted_confirmations: int = 0
    failure: str = ""

    def values(self, stage: Stage) -> list[float]:
        """One log ratio per restart of a stage."""
        return [statistics.restart_mean(restart) for restart in self.restarts if restart.stage is stage]

    def count(self, stage: Stage) -> int:
        """Restarts of a stage."""
        return sum(restart.stage is stage for restart in self.restarts)

    @property
    def spent_s(self) -> float:
        """Wall seconds of all restarts."""
        return sum(restart.wall_s for restart in self.restarts)

    @property
    def restart_s(self) -> float:
        """Mean wall seconds of one restart; there must be one."""
        return self.spent_s / len(self.restarts)


Listener = Callable[[str, Progress], None]


def compare(
    subjects: Sequence[str],
    plan: Plan,
    measure: Measure,
    *,
    earlier: Mapping[str, Sequence[Restart]] | None = None,
    listener: Listener = lambda _subject, _progress: None,
) -> dict[str, Progress]:
    """Measure until every subject is decided or its time is spent.

    Args:
        subjects: names, each once.
        plan: the rules.
        measure: takes one restart; a :class:`RoofgateError` of it ends that subject alone.
        earlier: restarts of an interrupted comparison with the same plan, to go on from.
        listener: told after each restart, and so may keep what there is.
    """
    known = resumed(subjects, plan, earlier or {})
    run = _Rounds(plan, measure, listener, known)
    run.until_none(lambda progress: progress.outlook is Outlook.OPEN and _can_screen(progress, plan), Stage.SCREENING)
    for progress in known.values():
        _plan_confirmation(progress, plan)
    run.until_none(_is_unconfirmed, Stage.CONFIRMATION)
    return known


def resumed(subjects: Sequence[str], plan: Plan, earlier: Mapping[str, Sequence[Restart]]) -> dict[str, Progress]:
    """What restarts of an interrupted comparison say, decided look by look as it was then."""
    known = {name: Progress(restarts=list(earlier.get(name, ()))) for name in subjects}
    for progress in known.values():
        _replay_screening(progress, plan)
    return known


class _Rounds:
    def __init__(self, plan: Plan, measure: Measure, listener: Listener, known: Mapping[str, Progress]) -> None:
        self._plan, self._measure, self._listener, self._known = plan, measure, listener, known
        self._generator = random.Random(plan.seed)  # noqa: S311 - an order, not a secret

    def until_none(self, needs_more: Callable[[Progress], bool], stage: Stage) -> None:
        while names := [name for name, found in self._known.items() if not found.failure and needs_more(found)]:
            self._generator.shuffle(names)
            for name in names:
                self._take(name, stage)

    def _take(self, name: str, stage: Stage) -> None:
        progress = self._known[name]
        try:
            progress.restarts.append(self._measure(name, stage, _seed(self._plan, name, len(progress.restarts))))
        except RoofgateError as error:
            progress.failure = str(error) or type(error).__name__  # an empty one would be no failure
        else:
            if stage is Stage.SCREENING and progress.count(stage) in self._plan.looks:
                progress.outlook = decision.screening_outlook(progress.values(stage), self._plan)
        self._listener(name, progress)


def _seed(plan: Plan, name: str, index: int) -> int:
    """A seed that is the same for the same plan, subject and restart, whatever was measured in between."""
    return random.Random(f"{plan.seed} {name} {index}").getrandbits(48)  # noqa: S311


def _replay_screening(progress: Progress, plan: Plan) -> None:
    """Bring the outlook of earlier restarts up to date, look by look, as it was decided then."""
    values = progress.values(Stage.SCREENING)
    for look in plan.looks:
        if progress.outlook is Outlook.OPEN and look <= len(values):
            progress.outlook = decision.screening_outlook(values[:look], plan)


def _can_screen(progress: Progress, plan: Plan) -> bool:
    """Whether the next look can still be reached within screening's share of the time."""
    taken = progress.count(Stage.SCREENING)
    next_look = next((look for look in plan.looks if look > taken), None)
    if next_look is None:
        return False
    if taken < plan.looks[0]:
        return True
    budget_s = plan.seconds_per_case * decision.SCREENING_SHARE
    # Decided when the look before was reached: a round that is slower than expected does not strand half a look.
    reached = max(look for look in plan.looks if look <= taken)
    return taken > reached or progress.restart_s * next_look <= budget_s


def _is_unconfirmed(progress: Progress) -> bool:
    return progress.count(Stage.CONFIRMATION) < progress.wanted_confirmations


def _plan_confirmation(progress: Progress, plan: Plan) -> None:
    if progress.outlook is not Outlook.SUSPECT or progress.failure:
        return
    screened = [restart for restart in progress.restarts if restart.stage is Stage.SCREENING]
    restart_s = sum(restart.wall_s for restart in screened) / len(screened)
    left_s = plan.seconds_per_case - restart_s * len(screened)
    values = progress.values(Stage.SCREENING)
    progress.wanted_confirmations = decision.confirmation_restarts(values, int(left_s / restart_s), plan)


def findings(known: Mapping[str, Progress], plan: Plan) -> dict[str, Finding]:
    """What follows for every subject, judged together: the confirmations share one false-discovery rate."""
    suspects = [name for name, progress in known.items() if _is_confirmed_or_not(progress)]
    p_values = [_confirmation_p_value(known[name]) for name in suspects]
    adjusted = dict(zip(suspects, statistics.adjusted_p_values(p_values), strict=True))
    return {name: _finding(progress, adjusted.get(name), plan) for name, progress in known.items()}


def _is_confirmed_or_not(progress: Progress) -> bool:
    """Whether a second measurement is complete, so that it can be judged."""
    return 0 < progress.wanted_confirmations <= progress.count(Stage.CONFIRMATION)


def _confirmation_p_value(progress: Progress) -> float:
    return decision.confirmation_p_value(progress.values(Stage.SCREENING), progress.values(Stage.CONFIRMATION))


def _finding(progress: Progress, adjusted_p: float | None, plan: Plan) -> Finding:
    if progress.failure:
        return Finding(verdict=Verdict.NOT_RUN, reason=progress.failure)
    values = [statistics.restart_mean(restart) for restart in progress.restarts]
    if len(values) < plan.looks[0]:
        return Finding(verdict=Verdict.INCONCLUSIVE, reason=_interrupted_after(values))
    budget = max(len(values), int(plan.seconds_per_case / progress.restart_s))
    mde = decision.minimum_detectable_change(values, budget, plan)
    screening = progress.values(Stage.SCREENING)
    if adjusted_p is not None:
        confirmation = progress.values(Stage.CONFIRMATION)
        return decision.conclude_confirmation(screening, confirmation, adjusted_p, mde, plan)
    if progress.outlook is Outlook.SUSPECT:
        reason = "a first measurement saw a change; interrupted before a second one could confirm it"
        return replace(decision.conclude_screening(values, Outlook.OPEN, mde, plan), reason=reason)
    finding = decision.conclude_screening(values, progress.outlook, mde, plan)
    is_interrupted = progress.outlook is Outlook.OPEN and _can_screen(progress, plan)
    return replace(finding, reason=_interrupted_after(values)) if is_interrupted else finding


def _interrupted_after(values: Sequence[float]) -> str:
    return f"interrupted after {len(values)} restarts"
