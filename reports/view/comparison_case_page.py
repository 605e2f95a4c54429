"""The page of one case of the paired comparison: what was concluded, and every block that it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment
from perf.model import Verdict
from perf.paired.judged import relied_on, typical_seconds
from perf.paired.model import (
    Finding,
    PairedCase,
    PairedComparison,
    Side,
    Stage,
)
from reports.view import quantities
from reports.view.case_page import Detail, describe
from reports.view.comparison_figures import difference_figure, distribution_figure, timeline_figure
from reports.view.frame import build_frame, case_path, comparison_case_path
from reports.view.page import Figure, Page
from reports.view.quantities import plural, span
from reports.view.tables import MISSING, Mark
from reports.view.verdict import Fact
from reports.view.wording import MARKS


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonCasePage:
    """The content of the page of one compared case."""

    name: str
    description: str
    mark: Mark
    verdict_text: str
    verdict_reason: str
    measured_href: str  # the case's page in the bench run; empty if it was only compared
    facts: tuple[Fact, ...]
    differences: Figure
    timeline: Figure
    distributions: Figure
    details: tuple[Detail, ...]


def build_comparison_case_page(assessment: Assessment, paired: PairedComparison, case: PairedCase) -> Page:
    """The page of ``case``, which must have been timed."""
    finding = relied_on(case.finding, paired.controls)
    figures = (difference_figure(paired, case), timeline_figure(case), distribution_figure(case))
    measured = {(one.case.name, one.target) for one in assessment.cases}
    key = (case.case.name, case.target)
    content = ComparisonCasePage(
        name=case.case.name,
        description=describe(case.case, case.target),
        mark=MARKS[finding.verdict],
        verdict_text=_verdict_text(finding),
        verdict_reason=finding.reason,
        measured_href=case_path(*key) if key in measured else "",
        facts=tuple(_facts(paired, case, finding)),
        differences=figures[0],
        timeline=figures[1],
        distributions=figures[2],
        details=tuple(_details(case)),
    )
    frame = build_frame(assessment, comparison_case_path(*key), f"{case.case.name} against {paired.base.name}")
    return Page(template="comparison_case.html", frame=frame, content=content, figures=figures)


def _verdict_text(finding: Finding) -> str:
    """What changed; of identical machine code nothing did, whatever the clock says."""
    if finding.change is None or finding.interval is None or finding.verdict is Verdict.IDENTICAL:
        return ""
    slower = "slower" if finding.change > 0 else "faster"
    level = quantities.confidence(finding.interval)
    return f"{units.percent(abs(finding.change))} {slower}, {level} interval {span(finding.interval, units.change)}"


def _facts(paired: PairedComparison, case: PairedCase, finding: Finding) -> list[Fact]:
    base_s, candidate_s = (typical_seconds(case, side) for side in (Side.BASE, Side.CANDIDATE))
    blocks = [block for restart in case.restarts for block in restart.blocks]
    dropped = sum(restart.dropped for restart in case.restarts)
    return [
        _change_fact(paired, finding),
        Fact(
            name="time per call",
            value=MISSING if candidate_s is None else units.seconds(candidate_s),
            detail=f"base {units.seconds(base_s)}; medians of lower quartiles" if base_s is not None else "",
        ),
        Fact(
            name="minimum detectable effect",
            value=MISSING if finding.mde is None else units.percent(finding.mde),
            detail=f"found in 80 % of trials; the margin is {units.percent(paired.plan.margin)}",
        ),
        _confirmation_fact(case, finding),
        Fact(
            name="evidence",
            value=plural(len(case.restarts), "restart"),
            detail=f"{plural(len(blocks), 'block')}, {plural(sum(len(block.base_s) for block in blocks), 'pair')}; "
            + (f"{plural(dropped, 'throttled block')} dropped" if dropped else "none dropped"),
        ),
    ]


def _change_fact(paired: PairedComparison, finding: Finding) -> Fact:
    return Fact(
        name=f"change from {paired.base.name}",
        value=MISSING if finding.change is None else units.change(finding.change),
        detail=f"{quantities.confidence(finding.interval)} interval {span(finding.interval, units.change)}"
        if finding.interval
        else "no interval",
        tone="soft" if finding.verdict is Verdict.IDENTICAL else MARKS[finding.verdict].tone,
    )


def _confirmation_fact(case: PairedCase, finding: Finding) -> Fact:
    again = sum(restart.stage is Stage.CONFIRMATION for restart in case.restarts)
    if finding.p_value is None and again:
        return Fact(name="confirmation", value="does not count", detail=f"{plural(again, 'restart')} measured again")
    if finding.p_value is None:
        why = "an A/A control" if case.is_control else "no change was suspected"
        return Fact(name="confirmation", value="not needed", detail=why)
    value = "confirmed" if finding.confirmed else "not confirmed"
    return Fact(
        name="confirmation", value=value, detail=f"p = {finding.p_value:.2g} from {plural(again, 'restart')} more"
    )


def _details(case: PairedCase) -> Iterable[Detail]:
    yield Detail("target", f"{case.target} ({case.device.value})")
    yield Detail("instruction set", case.isa or "not recorded")
    settings = {name: {restart.setting.get(name, "") for restart in case.restarts} for name in _setting_names(case)}
    for name, values in settings.items():
        yield Detail(name, ", ".join(sorted(value or "not set" for value in values)))


def _setting_names(case: PairedCase) -> list[str]:
    return sorted({name for restart in case.restarts for name in restart.setting})
