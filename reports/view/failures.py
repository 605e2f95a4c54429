"""What went wrong, in full: failed steps, what a compiler refused, and what was skipped."""

from __future__ import annotations

from dataclasses import dataclass

from perf.findings import Assessment, GateVerdict
from perf.model import Problem
from reports.view.quantities import plural
from reports.view.tables import Cell, Column, Table, rows_of

MAX_LINE = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A message too long for a sentence or a table, kept in full."""

    title: str
    message: str


def first_line(text: str) -> str:
    """The first line of ``text``, cut where it is too long for a sentence."""
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1].rstrip() + "…"


def is_long(text: str) -> bool:
    """Whether :func:`first_line` leaves anything out."""
    return first_line(text) != text.strip()


def build_failures(assessment: Assessment) -> tuple[Failure, ...]:
    """Failed steps first, then every other long message that these do not contain already."""
    found = [
        Failure(
            title=f"{step.step} failed (exit code {step.exit_code})",
            message=step.error or "It left no message; its own output says more.",
        )
        for step in assessment.steps
        if step.exit_code != 0
    ]
    others = [Failure(title=one.subject, message=one.reason) for one in all_problems(assessment)]
    if assessment.gate.verdict is GateVerdict.ERROR:
        others.append(Failure(title="Why the gate cannot judge", message=assessment.gate.reason))
    for other in others:
        if is_long(other.message) and not any(_tells(failure, other) for failure in found):
            found.append(other)
    return tuple(found)


def _tells(failure: Failure, other: Failure) -> bool:
    """Whether one message holds the other, so that a compiler's words stand on the page once."""
    return failure.message.strip() in other.message or other.message.strip() in failure.message


def all_problems(assessment: Assessment) -> tuple[Problem, ...]:
    """Everything that was skipped or did not run, each once."""
    problems = [*assessment.problems, *(assessment.run.problems if assessment.run else ())]
    return tuple(dict.fromkeys(problems))


def build_problem_table(assessment: Assessment) -> Table | None:
    """What was skipped or not run, with the first line of why; long reasons stand in full at the top of the page."""
    problems = all_problems(assessment)
    if not problems:
        return None
    return Table(
        caption=f"{plural(len(problems), 'file, case or step')} skipped or not run",
        columns=(Column("what"), Column("why")),
        rows=rows_of(
            (
                Cell(problem.subject, sort=problem.subject, code=True),
                Cell(
                    first_line(problem.reason),
                    sort=problem.reason[:MAX_LINE],
                    detail="(in full above)" if is_long(problem.reason) else "",
                ),
            )
            for problem in problems
        ),
    )
