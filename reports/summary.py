"""A compact summary in Markdown, for the summary of a CI step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from perf import units
from perf.findings import Assessment, CaseAssessment, RuleResult
from perf.model import Verdict
from perf.paired.model import Finding, PairedCase
from reports.view.changes import NOTABLE, by_urgency, change_text, kernel_changes
from reports.view.compared import compared_text, ranked
from reports.view.failures import all_problems, first_line
from reports.view.quantities import plural, span
from reports.view.rule_table import rule_figure
from reports.view.verdict import build_layers, headline, how_sure
from reports.view.wording import GATE_MARKS, MARKS, METRIC_TITLES, before_and_after, exact_mark

MAX_ROWS = 20
MAX_ERROR_LINES = 40


def summarise(assessment: Assessment) -> str:
    """Verdict and reason, failed steps and rules, what changed, layers and problems."""
    blocks = [
        *_verdict(assessment),
        *_failures(assessment),
        *_failed_rules(assessment),
        *_compared(assessment),
        *_changed_cases(assessment),
        *_changed_kernels(assessment),
        *_layers(assessment),
        *_problems(assessment),
    ]
    return "\n\n".join(blocks) + "\n"


def escape_markdown(text: str) -> str:
    """``text`` on one line with everything escaped that Markdown, its tables or HTML would read."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&@-])", r"\\\1", " ".join(text.split()))


def _verdict(assessment: Assessment) -> Iterable[str]:
    mark, commit = GATE_MARKS[assessment.gate.verdict], assessment.commit
    machine = assessment.machine.title if assessment.machine else "unknown machine"
    baseline = assessment.baseline.commit.short if assessment.baseline else "no baseline"
    yield f"## {mark.glyph} {mark.word}: {escape_markdown(headline(assessment))}"
    yield escape_markdown(first_line(assessment.gate.reason))
    yield (
        f"Commit `{commit.short}` {escape_markdown(commit.subject)} (branch {escape_markdown(commit.branch)}), against "
        f"{escape_markdown(baseline)}, on {escape_markdown(machine)}. {escape_markdown(how_sure(assessment))}"
    )


def _failures(assessment: Assessment) -> Iterable[str]:
    for step in assessment.steps:
        if step.error:
            lines = step.error.splitlines()
            shown = [f"    {line}" for line in lines[:MAX_ERROR_LINES]]
            if len(lines) > MAX_ERROR_LINES:
                shown.append(f"    ... {len(lines) - MAX_ERROR_LINES} more lines in the report")
            yield f"### {escape_markdown(step.step)} failed (exit code {step.exit_code})"
            yield "\n".join(shown)


def _failed_rules(assessment: Assessment) -> Iterable[str]:
    failed = [result for result in assessment.gate.results if result.verdict is Verdict.REGRESSED]
    if failed:
        yield "### Checks that fail"
        header = ("rule", "case or kernel", "target", "value", "limit", "layer", "reason")
        yield _table(header, [_rule_row(result) for result in failed])


def _rule_row(result: RuleResult) -> tuple[str, ...]:
    value = "none" if result.value is None else rule_figure(result, result.value)
    limit = rule_figure(result, result.limit)
    return result.rule, result.subject, result.target, value, limit, result.layer.value, result.reason


def _compared(assessment: Assessment) -> Iterable[str]:
    paired = assessment.paired
    if paired:
        base = f"{escape_markdown(paired.base.name)} (`{paired.base.short}` {escape_markdown(paired.base.subject)})"
        yield f"### Compared with {base}"
        yield f"{escape_markdown(compared_text(paired))}. {escape_markdown(paired.controls.reason)}."
        rows = [_compared_row(case, finding) for case, finding in ranked(paired) if finding.verdict in NOTABLE]
        if rows:
            yield _table(("case", "verdict", "change of time", "minimum detectable effect", "restarts"), rows)


def _compared_row(case: PairedCase, finding: Finding) -> tuple[str, ...]:
    mark = MARKS[finding.verdict]
    change = "unknown" if finding.change is None else units.change(finding.change)
    bounds = f" {span(finding.interval, units.change)}" if finding.interval else ""
    effect = "unknown" if finding.mde is None else units.percent(finding.mde)
    return case.case.name, f"{mark.glyph} {mark.word}", change + bounds, effect, str(len(case.restarts))


def _changed_cases(assessment: Assessment) -> Iterable[str]:
    """Those that the paired comparison does not list already."""
    found = [case for case in assessment.cases if case.comparison.verdict in NOTABLE and not case.between_runs]
    cases = sorted(found, key=lambda case: by_urgency(case.comparison))
    if cases:
        yield "### Cases that changed"
        header = ("case", "verdict", "change of time", "time", "of roofline")
        yield _table(header, [_case_row(case) for case in cases])


def _case_row(case: CaseAssessment) -> tuple[str, ...]:
    mark = MARKS[case.comparison.verdict]
    fraction = "unknown" if case.roofline is None else units.percent(case.roofline.fraction)
    time = units.seconds(case.own.median_s)
    return case.case.name, f"{mark.glyph} {mark.word}", change_text(case.comparison), time, fraction


def _changed_kernels(assessment: Assessment) -> Iterable[str]:
    changes = kernel_changes(assessment.kernels)
    if changes:
        yield "### Kernels that changed"
        header = ("kernel", "architecture", "figure", "change", "verdict")
        rows = [
            (kernel.kernel, one.target, METRIC_TITLES[one.metric], before_and_after(one), exact_mark(one).word)
            for kernel, one in changes
        ]
        yield _table(header, rows)


def _layers(assessment: Assessment) -> Iterable[str]:
    yield "### Layers of evidence"
    yield "\n".join(
        f"- {layer.mark.glyph} **{layer.name}**: {escape_markdown(layer.text)}" for layer in build_layers(assessment)
    )


def _problems(assessment: Assessment) -> Iterable[str]:
    problems = all_problems(assessment)
    if problems:
        yield f"### {plural(len(problems), 'file, case or step')} skipped or not run"
        shown = [
            f"- {escape_markdown(problem.subject)}: {escape_markdown(first_line(problem.reason))}"
            for problem in problems[:MAX_ROWS]
        ]
        hidden = len(problems) - MAX_ROWS
        yield "\n".join([*shown, f"- {hidden} more in the report"] if hidden > 0 else shown)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    text += [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        text.append(f"\n{len(rows) - MAX_ROWS} more in the report.")
    return "\n".join(text)
