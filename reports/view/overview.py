"""The first page: pass or fail, what changed, how sure, why; then everything else at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from perf.config import match_target
from perf.findings import Assessment
from perf.model import Verdict
from reports.view import quantities
from reports.view.case_table import build_case_table
from reports.view.changes import Changes, build_changes
from reports.view.compared import compared_text
from reports.view.failures import Failure, build_failures, build_problem_table
from reports.view.frame import COMPARISON_PATH, OVERVIEW_PATH, Link, build_frame
from reports.view.kernel_page import build_kernel_table
from reports.view.measured_roofline import build_ceiling_table, measured_figures
from reports.view.page import Figure, Page
from reports.view.quantities import moment, plural
from reports.view.rule_table import build_rule_table
from reports.view.tables import Cell, Column, Mark, Table, rows_of
from reports.view.verdict import (
    Fact,
    LayerBadge,
    Reason,
    build_facts,
    build_layers,
    build_reasons,
    headline,
    how_sure,
    why,
)
from reports.view.wording import GATE_MARKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which commit, against which, on which machine."""

    subject: str
    commit: str
    branch: str
    dirty: str
    baseline: str
    baseline_subject: str
    machine: str
    undeclared: str  # a GPU that no declared target names
    measured: str
    compared: Link | None  # to the paired comparison
    compared_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The content of index.html."""

    identity: Identity
    mark: Mark
    headline: str
    why: str
    reasons: tuple[Reason, ...]
    how_sure: str
    layers: tuple[LayerBadge, ...]
    facts: tuple[Fact, ...]
    failures: tuple[Failure, ...]
    failed_rules: Table | None
    all_rules: Table | None
    rules_summary: str
    changes: Changes
    rooflines: tuple[Figure, ...]
    roofline_note: str
    cases: Table | None
    kernels: Table | None
    ceilings: Table | None
    steps: Table | None
    problems: Table | None


def build_overview(assessment: Assessment) -> Page:
    """The first page."""
    rooflines = measured_figures(assessment)
    results = assessment.gate.results
    failed = [result for result in results if result.verdict is Verdict.REGRESSED]
    content = Overview(
        identity=_identity(assessment),
        mark=GATE_MARKS[assessment.gate.verdict],
        headline=headline(assessment),
        why=why(assessment),
        reasons=build_reasons(assessment),
        how_sure=how_sure(assessment),
        layers=build_layers(assessment),
        facts=tuple(build_facts(assessment)),
        failures=build_failures(assessment),
        failed_rules=build_rule_table(
            "What was found, what was allowed, and why",
            failed,
            assessment,
        )
        if failed
        else None,
        all_rules=build_rule_table("Every check of every threshold rule", results, assessment) if results else None,
        rules_summary=f"All {plural(len(results), 'check')}",
        changes=build_changes(assessment),
        rooflines=rooflines,
        roofline_note="" if rooflines else "No ceiling was measured for this commit, so there is no roofline.",
        cases=build_case_table(assessment) if assessment.cases else None,
        kernels=build_kernel_table(assessment.kernels) if assessment.kernels else None,
        ceilings=build_ceiling_table(assessment),
        steps=_step_table(assessment),
        problems=build_problem_table(assessment),
    )
    frame = build_frame(assessment, OVERVIEW_PATH, headline(assessment))
    return Page(template="overview.html", frame=frame, content=content, figures=rooflines)


def _identity(assessment: Assessment) -> Identity:
    commit, paired = assessment.commit, assessment.paired
    against, subject = _against(assessment)
    return Identity(
        subject=commit.subject,
        commit=commit.short,
        branch=commit.branch,
        dirty="with uncommitted edits" if commit.dirty else "",
        baseline=against,
        baseline_subject=subject,
        machine=assessment.machine.title if assessment.machine else "machine unknown: nothing was measured",
        undeclared=_undeclared(assessment),
        measured=_measured(assessment),
        compared=Link(text=f"with {paired.base.name}", href=COMPARISON_PATH) if paired else None,
        compared_text=compared_text(paired) if paired else "",
    )


def _against(assessment: Assessment) -> tuple[str, str]:
    """Commit and subject of what the cases are held against: the base of the comparison, if it has them all."""
    baseline, paired = assessment.baseline, assessment.paired
    others = sum(case.between_runs is None for case in assessment.cases)
    if paired and not others:
        return paired.base.short, paired.base.subject
    rest = f"; between two runs, for {plural(others, 'case')} not compared in pairs" if paired else ""
    if baseline is None:
        return "", f"none ({assessment.noise.reason}){rest}"
    return baseline.commit.short, baseline.commit.subject + rest


def _measured(assessment: Assessment) -> str:
    found = assessment.run or assessment.paired
    return f"{moment(found.started)}, suite {found.suite}" if found else "not measured"


def _undeclared(assessment: Assessment) -> str:
    gpus = assessment.machine.gpus if assessment.machine else ()
    unknown = dict.fromkeys(gpu.name for gpu in gpus if match_target(assessment.targets, gpu.name) is None)
    if not unknown:
        return ""
    return f"{', '.join(unknown)}: not among the declared targets, so only the measured ceilings apply"


def _step_table(assessment: Assessment) -> Table | None:
    if not assessment.steps:
        return None
    cells = [
        (
            Cell(step.step),
            Cell("ended well" if step.exit_code == 0 else f"exit code {step.exit_code}"),
            Cell(quantities.elapsed(step.wall_s), sort=step.wall_s),
            Cell(moment(step.started), sort=step.started),
            Cell(step.tree, code=True),
        )
        for step in assessment.steps
    ]
    return Table(
        caption="How the steps of the pipeline ended",
        columns=(Column("step"), Column("ended"), Column("took", numeric=True), Column("started"), Column("sources")),
        rows=rows_of(cells),
        sortable=False,
    )
