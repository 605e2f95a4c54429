"""The verdict in words: headline, reasons, how sure, layers of evidence, and the tiles of facts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from perf import units
from perf.findings import Assessment, Comparison, GateVerdict, RuleResult
from perf.model import Verdict
from perf.paired.model import ControlFinding, PairedComparison
from reports.view import quantities
from reports.view.changes import kernel_changes
from reports.view.compared import comparison_links, time_changes
from reports.view.failures import first_line
from reports.view.frame import case_path, kernel_path
from reports.view.quantities import plural
from reports.view.tables import Mark
from reports.view.wording import LAYER_MEANING, MARKS, RULE_MARKS, change_sentence, implementation_title

MAX_REASONS = 4
NOISY = 0.1  # a noise floor beyond which hardly any regression can be seen
Links = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One sentence of why, about one subject."""

    subject: str
    href: str
    text: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBadge:
    """Whether one layer of evidence ran."""

    name: str
    text: str
    meaning: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One tile: what, how much, and on what it rests."""

    name: str
    value: str
    detail: str
    tone: str = ""


def headline(assessment: Assessment) -> str:
    """The verdict's facts in one line: ``1 of 24 cases is slower, 1 faster; 2 of 31 rules fail``."""
    parts = [part for part in (_cases_headline(assessment), _kernels_headline(assessment)) if part]
    results = assessment.gate.results
    failed = sum(result.verdict is Verdict.REGRESSED for result in results)
    if failed:
        parts.append(f"{failed} of {plural(len(results), 'check')} fail{'s' if failed == 1 else ''}")
    broken = [f"{step.step} failed" for step in assessment.steps if step.exit_code != 0]
    return "; ".join([*broken, *parts]) or first_line(assessment.gate.reason)


def why(assessment: Assessment) -> str:
    """The gate's own sentence, where the headline and the list of reasons do not say it already."""
    sentence = first_line(assessment.gate.reason)
    listed = assessment.gate.verdict is GateVerdict.REGRESSION
    return "" if listed or sentence == headline(assessment) else sentence


def _cases_headline(assessment: Assessment) -> str:
    total = len(time_changes(assessment))
    if not total:
        return ""
    slower, faster = (count_cases(assessment, verdict) for verdict in (Verdict.REGRESSED, Verdict.IMPROVED))
    if slower:
        text = f"{slower} of {plural(total, 'case')} {'is' if slower == 1 else 'are'} slower"
        return text + (f", {faster} faster" if faster else "")
    if count_cases(assessment, Verdict.NOT_RUN) == total:
        return f"{plural(total, 'case')} timed, none compared with a baseline"
    if count_cases(assessment, Verdict.IDENTICAL) == total:
        before = assessment.paired.base.name if assessment.paired else "the baseline"
        return f"all {plural(total, 'case')} run the machine code of {before}"
    return f"{faster} of {plural(total, 'case')} faster, none slower" if faster else f"no case of {total} is slower"


def _kernels_headline(assessment: Assessment) -> str:
    worse = {
        kernel.kernel
        for kernel, comparison in kernel_changes(assessment.kernels)
        if comparison.verdict is Verdict.REGRESSED
    }
    if not worse:
        return ""
    return f"{plural(len(worse), 'CUDA kernel')} cost{'s' if len(worse) == 1 else ''} more"


def count_cases(assessment: Assessment, verdict: Verdict) -> int:
    """Cases whose comparison ended in ``verdict``."""
    return sum(change.verdict is verdict for change in time_changes(assessment))


def how_sure(assessment: Assessment) -> str:
    """Noise, what it rests on, and how wide the intervals are: of the paired comparison, where there is one."""
    if assessment.paired is not None:
        return _how_sure_paired(assessment.paired)
    noise = assessment.noise
    if noise.value is None:
        return f"Noise floor unknown: {noise.reason}."
    intervals = [case.comparison.interval for case in assessment.cases if case.comparison.interval is not None]
    floor, controls = units.percent(noise.value), plural(noise.controls, "A/A control")
    text = f"Noise floor {floor} from {controls}."
    if not intervals:
        return text
    half = median((interval.high - interval.low) / 2 for interval in intervals)
    level = quantities.confidence(intervals[0])
    return f"{text} Typical {level} interval of a change: ±{units.percent(half)}."


def _how_sure_paired(paired: PairedComparison) -> str:
    findings = [case.finding for case in paired.cases]
    intervals = [finding.interval for finding in findings if finding.interval is not None]
    effects = [finding.mde for finding in findings if finding.mde is not None]
    text = f"Measured in pairs; {paired.controls.reason.rstrip('.')}."
    if intervals:
        half = median((interval.high - interval.low) / 2 for interval in intervals)
        text += f" Typical {quantities.confidence(intervals[0])} interval of a change: ±{units.percent(half)}."
    return text + (f" Minimum detectable effect: {units.percent(median(effects))}." if effects else "")


def build_reasons(assessment: Assessment) -> tuple[Reason, ...]:
    """The checks that fail, then regressions that no check covers."""
    failed = [result for result in assessment.gate.results if result.verdict is Verdict.REGRESSED]
    links = subject_links(assessment)
    reasons = [_rule_reason(result, links) for result in failed]
    covered = {(result.subject, result.target, result.metric) for result in failed}
    reasons += [
        _change_reason(comparison, links)
        for comparison in regressions(assessment)
        if (comparison.subject, comparison.target, comparison.metric) not in covered
    ]
    return tuple(reasons[:MAX_REASONS])


def regressions(assessment: Assessment) -> list[Comparison]:
    """Every comparison that ended as a regression: cases by size, then kernels."""
    timed = [change for change in time_changes(assessment) if change.verdict is Verdict.REGRESSED]
    timed.sort(key=lambda comparison: -(comparison.change or 0.0))
    exact = [comparison for _, comparison in kernel_changes(assessment.kernels)]
    return [*timed, *(comparison for comparison in exact if comparison.verdict is Verdict.REGRESSED)]


def subject_links(assessment: Assessment) -> Links:
    """Pages of cases by name and target, and of kernels by name and architecture.

    A case that was only compared has no page but that of the comparison.
    """
    cases = {(case.case.name, case.target): case_path(case.case.name, case.target) for case in assessment.cases}
    kernels = {
        (kernel.kernel, capture.architecture): kernel_path(kernel.kernel)
        for kernel in assessment.kernels
        for capture in kernel.captures
    }
    return comparison_links(assessment) | cases | kernels


def _rule_reason(result: RuleResult, links: Links) -> Reason:
    text = f"{result.reason} (rule: {result.rule}; {result.layer.value}, {result.target})"
    return Reason(
        subject=result.subject,
        href=links.get((result.subject, result.target), ""),
        text=text,
        mark=RULE_MARKS[result.verdict],
    )


def _change_reason(comparison: Comparison, links: Links) -> Reason:
    text = f"{change_sentence(comparison)} ({comparison.metric.layer.value}, {comparison.target}): {comparison.reason}"
    return Reason(
        subject=comparison.subject,
        href=links.get((comparison.subject, comparison.target), ""),
        text=text,
        mark=MARKS[comparison.verdict],
    )


def build_layers(assessment: Assessment) -> tuple[LayerBadge, ...]:
    """One badge per layer of evidence, whether it ran or not."""
    ran = Mark(glyph="✓", word="ran", tone="improved")
    not_run = Mark(glyph="○", word="not run", tone="not-run")
    return tuple(
        LayerBadge(
            name=status.layer.value,
            text=status.text,
            meaning=LAYER_MEANING[status.layer],
            mark=ran if status.ran else not_run,
        )
        for status in assessment.layers
    )


def build_facts(assessment: Assessment) -> list[Fact]:
    """The tiles below the verdict."""
    facts = [_gate_fact(assessment), _change_fact(assessment), _noise_fact(assessment)]
    for build in (_roofline_fact, _peer_fact, _wall_fact):
        fact = build(assessment)
        if fact is not None:
            facts.append(fact)
    return facts


def _gate_fact(assessment: Assessment) -> Fact:
    results = assessment.gate.results
    failed = sum(result.verdict is Verdict.REGRESSED for result in results)
    silent = sum(result.verdict in (Verdict.NOT_RUN, Verdict.INCONCLUSIVE) for result in results)
    if not results:
        return Fact(name="gate", value="nothing judged", detail=first_line(assessment.gate.reason))
    value = f"{failed} of {units.count(len(results))} fail" if failed else f"{len(results) - silent} hold"
    detail = f"{plural(silent, 'check')} without a verdict" if silent else "every check has a verdict"
    return Fact(name="checks of threshold rules", value=value, detail=detail, tone="regressed" if failed else "")


def _change_fact(assessment: Assessment) -> Fact:
    slower, faster, unknown = (
        count_cases(assessment, verdict) for verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    )
    total = len(time_changes(assessment))
    if not total:
        return Fact(name="cases", value="none timed", detail="run: nox -s bench")
    if count_cases(assessment, Verdict.NOT_RUN) == total:
        return Fact(name="cases", value=f"{len(assessment.cases)} timed", detail="none compared")
    return Fact(
        name=f"of {plural(total, 'case')}",
        value=f"{slower} slower, {faster} faster",
        detail=f"{unknown} inconclusive",
        tone="regressed" if slower else "",
    )


def _noise_fact(assessment: Assessment) -> Fact:
    if assessment.paired is not None:
        return control_fact(assessment.paired.controls)
    noise = assessment.noise
    value = "unknown" if noise.value is None else units.percent(noise.value)
    detail = plural(noise.controls, "A/A control") if noise.controls else noise.reason
    blind = noise.value is not None and noise.value > NOISY
    if blind:
        detail += "; too noisy to see most changes"
    return Fact(name="noise floor", value=value, detail=detail, tone="inconclusive" if blind else "")


def control_fact(controls: ControlFinding) -> Fact:
    """What identical code seemed to do in the paired comparison."""
    if controls.noise is None:
        return Fact(name="A/A controls", value="none", detail=controls.reason)
    name = plural(controls.controls, "A/A control")
    if controls.is_disturbed:
        return Fact(name=name, value=f"{len(controls.moved)} moved", detail=controls.reason, tone="inconclusive")
    value = f"within {units.percent(controls.noise)}"
    return Fact(name=name, value=value, detail="identical code, measured all the same")


def _roofline_fact(assessment: Assessment) -> Fact | None:
    fractions = [case.roofline.fraction for case in assessment.cases if case.roofline is not None]
    if not fractions:
        return None
    return Fact(
        name="of the measured roofline",
        value=f"{units.percent(median(fractions))} median",
        detail=f"from {units.percent(min(fractions))} to {units.percent(max(fractions))}",
    )


def _peer_fact(assessment: Assessment) -> Fact | None:
    """Against the fastest peer of each case, not against an easy one."""
    best = [min(case.ratios, key=lambda ratio: ratio.ratio) for case in assessment.cases if case.ratios]
    if not best:
        return None
    ratios = [ratio.ratio for ratio in best]
    peers = ", ".join(sorted({implementation_title(ratio.peer) for ratio in best}))
    return Fact(
        name="times the fastest peer",
        value=f"{units.ratio(median(ratios))} median",
        detail=f"from {units.ratio(min(ratios))} to {units.ratio(max(ratios))} ({peers})",
    )


def _wall_fact(assessment: Assessment) -> Fact | None:
    run = assessment.run
    if run is None or run.wall_s <= 0:
        return None
    return Fact(
        name="measuring",
        value=quantities.elapsed(run.wall_s),
        detail=f"{units.percent(1 - run.measured_s / run.wall_s)} outside measured kernels",
    )
