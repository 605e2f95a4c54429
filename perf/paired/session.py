"""One comparison from the plan to the stored file: measures, keeps what there is, and concludes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from perf.model import Verdict
from perf.paired import engine
from perf.paired.engine import Progress
from perf.paired.model import (
    ControlFinding,
    Finding,
    PairedCase,
    PairedComparison,
    Plan,
    Restart,
    Stage,
)
from perf.paired.planning import PlannedCase, Scope, compare_static
from perf.paired.record import comparison_id, write_comparison
from perf.paired.restarts import Subject, run_restart
from perf.paired.revisions import revision_info
from perf.units import percent

# An interrupted comparison loses no more than the restarts of this long.
_KEEP_EVERY_S = 5.0
_MOVED = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})

Listener = Callable[[str, Progress], None]
Controls = Mapping[str, tuple[PlannedCase, Subject]]


@dataclass(slots=True, kw_only=True)
class Session:
    """A comparison in the making. ``earlier`` is an interrupted one with the same plan, to go on from."""

    scope: Scope
    plan: Plan
    suite: str
    planned: Sequence[PlannedCase]
    controls: Controls
    folder: Path
    earlier: PairedComparison | None = None

    def run(self, listener: Listener) -> PairedComparison:
        """Measure everything and store the result.

        Raises :class:`KeyboardInterrupt` again after Ctrl-C, once what there is has been stored as unfinished.
        """
        subjects = self._subjects()
        keeper = _Keeper(self, self._earlier_restarts())

        def measure(name: str, stage: Stage, seed: int) -> Restart:
            return run_restart(subjects[name], self.plan, stage, seed, keeper.origin)

        def listen(name: str, progress: Progress) -> None:
            keeper.note(name, progress)
            listener(name, progress)

        try:
            known = engine.compare(list(subjects), self.plan, measure, earlier=keeper.restarts, listener=listen)
        except KeyboardInterrupt:
            keeper.keep()
            raise
        comparison = self.comparison(known, keeper, complete=True)
        return replace(comparison, path=str(write_comparison(self.folder, comparison)))

    def comparison(self, known: Mapping[str, Progress], keeper: _Keeper, *, complete: bool) -> PairedComparison:
        """All that is known, concluded."""
        of_cases = {name: progress for name, progress in known.items() if name not in self.controls}
        of_controls = {name: progress for name, progress in known.items() if name in self.controls}
        # Apart, so that a control that moves does not use up part of the cases' error rate, nor hide behind theirs.
        findings = engine.findings(of_cases, self.plan) | engine.findings(of_controls, self.plan)
        base, candidate = (revision_info(build.revision) for build in (self.scope.base, self.scope.candidate))
        return PairedComparison(
            id=comparison_id(keeper.started, base, candidate),
            started=keeper.started,
            mode=self.scope.mode,
            base=base,
            candidate=candidate,
            machine=self.scope.machine,
            plan=self.plan,
            suite=self.suite,
            cases=tuple(self._case(planned, known, findings) for planned in self.planned),
            static=compare_static(self.scope.base, self.scope.candidate),
            controls=judge_controls({name: findings[name] for name in of_controls}),
            self_controls=tuple(
                _measured(planned.paired, known[name], findings[name], is_control=True)
                for name, (planned, _) in self.controls.items()
                if planned.subject and name in known
            ),
            cache=self.scope.cache.value,
            problems=(*self.scope.base.problems, *self.scope.candidate.problems),
            complete=complete,
            wall_s=keeper.wall_s,
            measured_s=sum(restart.measured_s for progress in known.values() for restart in progress.restarts),
        )

    def _case(self, planned: PlannedCase, known: Mapping[str, Progress], findings: Mapping[str, Finding]) -> PairedCase:
        if planned.subject:
            name = planned.subject.name
            return (
                _measured(planned.paired, known[name], findings[name], is_control=False)
                if name in known
                else planned.paired
            )
        control = next((name for name, (each, _) in self.controls.items() if each is planned), None)
        if control is None or control not in known:
            return planned.paired
        # Its code is the same whatever the clock said; what the clock said is what the control is for.
        told = replace(findings[control], verdict=planned.paired.finding.verdict, confirmed=False, p_value=None)
        reason = f"{planned.paired.finding.reason}; timed as a control: {findings[control].reason}"
        return _measured(planned.paired, known[control], replace(told, reason=reason), is_control=True)

    def _subjects(self) -> dict[str, Subject]:
        timed = {each.subject.name: each.subject for each in self.planned if each.subject}
        return timed | {name: subject for name, (_, subject) in self.controls.items()}

    def _earlier_restarts(self) -> dict[str, Sequence[Restart]]:
        if self.earlier is None:
            return {}
        controls = (*(case for case in self.earlier.cases if case.is_control), *self.earlier.self_controls)
        of_controls = {case.case.name: case.restarts for case in controls}
        timed = {case.case.name: case.restarts for case in self.earlier.cases if not case.is_control}
        named = {name: of_controls.get(planned.paired.case.name, ()) for name, (planned, _) in self.controls.items()}
        return {**timed, **named}


class _Keeper:
    """Remembers when the comparison began and what has been measured, and keeps it on disk now and then."""

    def __init__(self, session: Session, restarts: Mapping[str, Sequence[Restart]]) -> None:
        earlier = session.earlier
        self._session = session
        self.restarts = restarts
        self.started = earlier.started if earlier else datetime.now(UTC).isoformat(timespec="seconds")
        self._clock = time.monotonic()
        self._spent_before_s = earlier.wall_s if earlier else 0.0
        # Blocks of a comparison that goes on are dated as if it had never stopped.
        self.origin = self._clock - self._spent_before_s
        self._known = engine.resumed(list(restarts), session.plan, restarts)
        self._kept_at = self._clock

    @property
    def wall_s(self) -> float:
        """Seconds spent so far, those before an interruption included."""
        return self._spent_before_s + time.monotonic() - self._clock

    def note(self, name: str, progress: Progress) -> None:
        self._known[name] = progress
        if time.monotonic() - self._kept_at > _KEEP_EVERY_S:
            self.keep()

    def keep(self) -> None:
        write_comparison(self._session.folder, self._session.comparison(self._known, self, complete=False))
        self._kept_at = time.monotonic()


def _measured(paired: PairedCase, progress: Progress, finding: Finding, *, is_control: bool) -> PairedCase:
    return replace(paired, finding=finding, restarts=tuple(progress.restarts), is_control=is_control)


def judge_controls(findings: Mapping[str, Finding]) -> ControlFinding:
    """What the A/A controls say: whether identical code seemed to change, and how far it could have."""
    timed = {name: finding for name, finding in findings.items() if finding.interval}
    moved = tuple(name.partition(": ")[2] for name, finding in timed.items() if finding.verdict in _MOVED)
    if not timed:
        return ControlFinding(controls=0, moved=(), noise=None, reason="no A/A control was measured")
    bounds = [
        abs(bound) for found in timed.values() if found.interval for bound in (found.interval.low, found.interval.high)
    ]
    noise = max(bounds)
    told = f"identical code differed by at most {percent(noise)} ({len(timed)} A/A controls, bound of the interval)"
    if moved:
        told = f"{', '.join(moved)} moved with the same code on both sides, so no timed verdict can be relied on"
    return ControlFinding(controls=len(timed), moved=moved, noise=noise, reason=told)
