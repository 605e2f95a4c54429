"""What the paired comparison says, in the few words that other pages take from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from perf import units
from perf.findings import Assessment, Comparison
from perf.model import Verdict
from perf.paired.judged import relied_on
from perf.paired.model import Finding, PairedCase, PairedComparison
from reports.view.frame import comparison_case_path
from reports.view.wording import MARKS, VERDICT_ORDER

Key = tuple[str, str]  # case and target


def was_timed(case: PairedCase) -> bool:
    """Whether there is any block of it to show."""
    return any(restart.blocks for restart in case.restarts)


def time_changes(assessment: Assessment) -> list[Comparison]:
    """One change of time for every case that was measured or compared: in pairs where there is that, else two runs."""
    changes = {(case.case.name, case.target): case.comparison for case in assessment.cases}
    return list((changes | {(change.subject, change.target): change for change in assessment.paired_changes}).values())


def comparison_links(assessment: Assessment) -> dict[Key, str]:
    """The comparison page of every case that was timed in pairs."""
    cases = assessment.paired.cases if assessment.paired else ()
    return {
        (case.case.name, case.target): comparison_case_path(case.case.name, case.target)
        for case in cases
        if was_timed(case)
    }


def ranked(paired: PairedComparison) -> list[tuple[PairedCase, Finding]]:
    """The cases with what can be relied on, worst first."""
    found = [(case, relied_on(case.finding, paired.controls)) for case in paired.cases]
    return sorted(found, key=_by_urgency)


def _by_urgency(pair: tuple[PairedCase, Finding]) -> tuple[int, bool, float, str]:
    case, finding = pair
    return VERDICT_ORDER.index(finding.verdict), not was_timed(case), -abs(finding.change or 0.0), case.case.name


def counts_text(verdicts: Iterable[Verdict]) -> str:
    """``1 regressed, 20 identical``, worst first."""
    counts = Counter(verdicts)
    parts = [f"{units.count(counts[verdict])} {MARKS[verdict].word}" for verdict in VERDICT_ORDER if counts[verdict]]
    return ", ".join(parts) or "no case"


def compared_text(paired: PairedComparison) -> str:
    """The counts over all cases, and whether they can be relied on."""
    text = counts_text(finding.verdict for _, finding in ranked(paired))
    return text + ("; the controls moved, so no timed verdict can be relied on" if paired.controls.is_disturbed else "")
