"""The page of the paired comparison: what was compared, by which rules, how sure, and every case, worst first."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from perf import units
from perf.findings import Assessment, Comparison
from perf.model import Interval, Verdict
from perf.paired.model import Finding, Mode, PairedCase, PairedComparison, Plan, RevisionInfo
from reports.view import quantities
from reports.view.case_page import Detail
from reports.view.changes import build_exact_table, differs
from reports.view.compared import compared_text, comparison_links, counts_text, ranked, was_timed
from reports.view.failures import first_line
from reports.view.frame import COMPARISON_PATH, build_frame
from reports.view.page import Page
from reports.view.quantities import moment, plural, span
from reports.view.strips import ChangeAxis, change_axis
from reports.view.tables import Cell, Column, Mark, Row, Table, missing, rows_of
from reports.view.verdict import Fact, control_fact
from reports.view.wording import MARKS, VERDICT_ORDER, case_sort_key

MODE_TEXT = {
    Mode.LIBRARIES: "both kernel libraries open in one process, called alternately",
    Mode.PROCESSES: "one process for each revision, sampled in turn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One of the two revisions; name and subject are untrusted text."""

    role: str
    name: str
    commit: str
    subject: str
    dirty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPage:
    """The content of comparison.html."""

    title: str
    mark: Mark
    counts: str
    warning: str
    revisions: tuple[Revision, ...]
    facts: tuple[Fact, ...]
    cases: Table | None
    same: Table | None
    same_summary: str
    static: Table | None
    static_note: str
    problems: Table | None
    details: tuple[Detail, ...]


def build_comparison_page(assessment: Assessment, paired: PairedComparison) -> Page:
    """The page of the comparison ``paired``."""
    findings = ranked(paired)
    same = [case for case, finding in findings if finding.verdict is Verdict.IDENTICAL and not was_timed(case)]
    shown = [(case, finding) for case, finding in findings if case not in same]
    moved = [comparison for comparison in paired.static if differs(comparison)]
    kernels = {kernel.kernel for kernel in assessment.kernels}
    content = ComparisonPage(
        title=f"{paired.candidate.name} against {paired.base.name}",
        mark=worst_mark([finding for _, finding in findings]),
        counts=counts_text(finding.verdict for _, finding in findings),
        warning=f"Identical code seemed to change: {paired.controls.reason}." if paired.controls.is_disturbed else "",
        revisions=(_revision("base", paired.base), _revision("candidate", paired.candidate)),
        facts=tuple(_facts(paired, findings)),
        cases=_case_table(paired, shown, assessment) if shown else None,
        same=_same_table(same) if same else None,
        same_summary=f"{plural(len(same), 'case')} with the same machine code on both sides, not timed",
        static=build_exact_table(moved, kernels, "Exact figures of CUDA kernels that differ from the base.")
        if moved
        else None,
        static_note=_static_note(paired.static, moved),
        problems=_problem_table(paired),
        details=_details(paired),
    )
    frame = build_frame(assessment, COMPARISON_PATH, f"compared with {paired.base.name}: {compared_text(paired)}")
    return Page(template="comparison.html", frame=frame, content=content)


def worst_mark(findings: list[Finding]) -> Mark:
    """The mark of the most urgent verdict."""
    verdicts = {finding.verdict for finding in findings} or {Verdict.NOT_RUN}
    return MARKS[min(verdicts, key=VERDICT_ORDER.index)]


def _revision(role: str, revision: RevisionInfo) -> Revision:
    return Revision(
        role=role,
        name=revision.name,
        commit=revision.short,
        subject=revision.subject,
        dirty="with uncommitted edits" if revision.dirty else "",
    )


def _facts(paired: PairedComparison, findings: list[tuple[PairedCase, Finding]]) -> list[Fact]:
    verdicts = [finding.verdict for _, finding in findings]
    slower, faster = verdicts.count(Verdict.REGRESSED), verdicts.count(Verdict.IMPROVED)
    timed = [case for case, _ in findings if was_timed(case)]
    facts = [
        Fact(
            name=f"of {plural(len(findings), 'case')}",
            value=f"{slower} slower, {faster} faster",
            detail=f"{verdicts.count(Verdict.INCONCLUSIVE)} inconclusive, {len(timed)} timed",
            tone="regressed" if slower else "",
        ),
        control_fact(paired.controls),
    ]
    effects = [finding.mde for _, finding in findings if finding.mde is not None]
    if effects:
        facts.append(
            Fact(
                name="minimum detectable effect",
                value=f"{units.percent(median(effects))} median",
                detail=f"{units.percent(min(effects))} to {units.percent(max(effects))}, found in 80 % of trials",
            )
        )
    restarts = sum(len(case.restarts) for case in timed)
    facts.append(
        Fact(
            name="measuring",
            value=quantities.elapsed(paired.wall_s),
            detail=f"{plural(restarts, 'restart')}, {quantities.elapsed(paired.measured_s)} in timed calls",
        )
    )
    return facts


def _case_table(paired: PairedComparison, findings: list[tuple[PairedCase, Finding]], assessment: Assessment) -> Table:
    axis = comparison_axis(paired)
    links = comparison_links(assessment)
    ticks = [(value, units.change(value)) for value in (-axis.limit, axis.limit)]
    present = {finding.verdict for _, finding in findings}
    return Table(
        caption="Change of time per case, candidate against base, worst first. Right of zero is slower; the shaded "
        f"band is the margin of {units.percent(paired.plan.margin)} within which a change is none worth attention.",
        columns=(
            Column("case"),
            Column("verdict"),
            Column("change", hint="candidate / base - 1, over all restarts", numeric=True),
            Column("interval", strip=axis.header([*ticks, (0.0, "0")])),
            Column(
                "MDE",
                hint="minimum detectable effect: the least true slowdown that this budget finds in 80 % of trials",
                numeric=True,
            ),
            Column("confirmed", hint="by a second, independent measurement; with its adjusted p-value"),
            Column("restarts", hint="processes that measured both sides", numeric=True),
            Column("why"),
        ),
        rows=tuple(_case_row(case, finding, axis, links) for case, finding in findings),
        groups=tuple(MARKS[verdict] for verdict in VERDICT_ORDER if verdict in present),
    )


def _same_table(cases: list[PairedCase]) -> Table:
    return Table(
        caption="Cases that run the same machine code on both sides: there is nothing to time",
        columns=(Column("case"), Column("target"), Column("why")),
        rows=rows_of(
            (
                Cell(case.case.name, sort=case_sort_key(case.case), code=True),
                Cell(case.target, sort=case.target),
                Cell(case.finding.reason, sort=case.finding.reason),
            )
            for case in cases
        ),
    )


def comparison_axis(paired: PairedComparison) -> ChangeAxis:
    """The axis on which the changes of all cases are drawn; its band is the margin."""
    intervals = [case.finding.interval for case in paired.cases if case.finding.interval is not None]
    return change_axis(intervals, paired.plan.margin)


def _case_row(case: PairedCase, finding: Finding, axis: ChangeAxis, links: dict[tuple[str, str], str]) -> Row:
    mark = MARKS[finding.verdict]
    name = Cell(
        case.case.name,
        sort=case_sort_key(case.case),
        href=links.get((case.case.name, case.target), ""),
        code=True,
        detail=f"on {case.target}" + (", A/A control" if case.is_control else ""),
    )
    cells = (
        name,
        Cell(mark.word, sort=VERDICT_ORDER.index(finding.verdict), tone=mark.tone, mark=mark),
        finding_cell(finding),
        _strip_cell(finding, axis),
        missing("not timed") if finding.mde is None else Cell(units.percent(finding.mde), sort=finding.mde),
        confirmed_cell(finding),
        Cell(units.count(len(case.restarts)), sort=len(case.restarts)) if was_timed(case) else missing("not timed"),
        Cell(first_line(finding.reason), sort=first_line(finding.reason)),
    )
    return Row(cells=cells, group=mark.word)


def finding_cell(finding: Finding) -> Cell:
    """The change with its interval; sorts by the change."""
    if finding.change is None:
        return missing(finding.reason)
    tone = "soft" if finding.verdict is Verdict.IDENTICAL else MARKS[finding.verdict].tone
    return Cell(units.change(finding.change), sort=finding.change, detail=_bounds(finding.interval), tone=tone)


def _bounds(interval: Interval | None) -> str:
    return span(interval, units.change) if interval else ""


def _strip_cell(finding: Finding, axis: ChangeAxis) -> Cell:
    if finding.interval is None or finding.change is None:
        return missing("not timed")
    mark = MARKS[finding.verdict]
    label = f"{mark.word}: {units.change(finding.change)}, {_bounds(finding.interval)}"
    return Cell(
        "", sort=finding.change, strip=axis.strip(finding.change, finding.interval, tone=mark.tone, label=label)
    )


def confirmed_cell(finding: Finding) -> Cell:
    """Whether a second measurement confirmed the change."""
    if finding.p_value is None:
        return missing("no second measurement, or none that counts")
    word = "yes" if finding.confirmed else "no"
    return Cell(word, sort=word, detail=f"p = {finding.p_value:.2g}")


def _static_note(static: tuple[Comparison, ...], moved: list[Comparison]) -> str:
    kernels = {(comparison.subject, comparison.target) for comparison in static}
    if not kernels:
        return "No CUDA kernel was compared."
    same = len(kernels) - len({(comparison.subject, comparison.target) for comparison in moved})
    if not same:
        return ""
    return f"{same} of {plural(len(kernels), 'kernel')}, counted per architecture: the same figures on both sides."


def _problem_table(paired: PairedComparison) -> Table | None:
    if not paired.problems:
        return None
    return Table(
        caption=f"{plural(len(paired.problems), 'item')} left out of the comparison",
        columns=(Column("what"), Column("why")),
        rows=rows_of(
            (
                Cell(problem.subject, sort=problem.subject, code=True),
                Cell(first_line(problem.reason), sort=first_line(problem.reason)),
            )
            for problem in paired.problems
        ),
    )


def _details(paired: PairedComparison) -> tuple[Detail, ...]:
    return (
        Detail("measured", f"{moment(paired.started)}, suite {paired.suite}, on {paired.machine.title}"),
        Detail("how", MODE_TEXT[paired.mode]),
        Detail("rules", plan_text(paired.plan)),
        Detail("budget", _budget_text(paired.plan)),
        Detail("controls", paired.controls.reason),
        Detail("machine", f"fingerprint {paired.machine.fingerprint}"),
        Detail("file", paired.path or paired.id),
    )


def plan_text(plan: Plan) -> str:
    """What was fixed before anything was measured."""
    return (
        f"margin {units.percent(plan.margin)}; {plan.confidence * 100:.0f} % intervals; at most "
        f"{units.percent(plan.false_alarm_rate)} false alarms over all cases; looks after "
        f"{', '.join(map(str, plan.looks))} restarts; at least {plan.min_confirmation_restarts} restarts to confirm"
    )


def _budget_text(plan: Plan) -> str:
    return (
        f"{quantities.elapsed(plan.seconds_per_case)} per case, {quantities.elapsed(plan.restart_s)} of blocks per "
        f"restart, samples of {units.seconds(plan.sample_s)} or more; seed {plan.seed}"
    )
