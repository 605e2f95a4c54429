"""The tables of the detector's page, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perf.detector.regimes import Regime
from perf.detector.scores import (
    CONFIDENCE,
    Durations,
    EstimateScore,
    Rate,
    estimate_score,
    measured_durations,
    rules,
    score,
    select,
    verdicts,
    wall_durations,
)
from perf.detector.targets import OURS, check_targets, rate_text, slowdown_text
from perf.detector.trials import Result
from perf.detector.workloads import WORKLOADS
from perf.model import Verdict

_SHOWN_VERDICTS = (Verdict.REGRESSED, Verdict.UNCHANGED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
_DASH = "-"


def all_tables(results: Sequence[Result]) -> str:
    """Every table with its heading. ``results`` are those that count."""
    sections = (
        ("Targets", _targets(results)),
        (f"False alarms on identical code ({100 * CONFIDENCE:g} % Wilson interval)", _false_alarms(results)),
        ("Alarms on slowed code, and the slowdown found with 80 % probability", _detections(results)),
        ("Our verdicts, intervals and estimates", _estimates(results)),
        ("Seconds per decision", _seconds(results)),
        ("Our verdicts by workload", _workloads(results)),
        ("False alarms by workload, all regimes", _false_alarms_by_workload(results)),
    )
    return "\n\n".join(f"### {heading}\n\n{table}" for heading, table in sections)


def _targets(results: Sequence[Result]) -> str:
    rows = ([check.what, check.target, check.reached, check.outcome.value] for check in check_targets(results))
    return _table(["what", "target", "reached", ""], rows)


def _false_alarms(results: Sequence[Result]) -> str:
    rows = []
    for rule in rules(results):
        scores = [score(select(results, regime=regime), rule) for regime in Regime]
        rows.append([rule.name, *(rate_text(each.false_alarms) for each in scores)])
        if rule == OURS:
            rows.append(['of these "improved"', *(rate_text(each.false_improvements) for each in scores)])
    return _table(["rule", *(regime.value for regime in Regime)], rows)


def _detections(results: Sequence[Result]) -> str:
    slowdowns = _slowdowns(results)
    rows = []
    for regime in Regime:
        here = select(results, regime=regime)
        for rule in rules(here):
            scored = score(here, rule)
            rates = [scored.detections.get(slowdown, Rate(count=0, total=0)) for slowdown in slowdowns]
            mde = f"above {slowdown_text(max(slowdowns))}" if scored.mde is None else f"{100 * scored.mde:.1f} %"
            rows.append([regime.value, rule.name, *(rate_text(rate) for rate in rates), mde])
    return _table(["regime", "rule", *(slowdown_text(slowdown) for slowdown in slowdowns), "MDE"], rows)


def _estimates(results: Sequence[Result]) -> str:
    ours = _ours(results)
    groups = [
        (regime.value, slowdown_text(slowdown), select(ours, regime=regime, slowdown=slowdown))
        for regime in Regime
        for slowdown in (0.0, *_slowdowns(ours))
    ]
    groups += [(regime.value, "all", select(ours, regime=regime)) for regime in Regime]
    groups.append(("all", "all", ours))
    rows = ([regime, slowdown, *_verdict_counts(here), *_estimate_cells(here)] for regime, slowdown, here in groups)
    heading = ["regime", "slowdown", *(verdict.value for verdict in _SHOWN_VERDICTS)]
    return _table([*heading, "interval covers", "bias", "deviation"], rows)


def _seconds(results: Sequence[Result]) -> str:
    rows = []
    for method in dict.fromkeys(rule.method for rule in rules(results)):
        for regime in Regime:
            here = [result for result in select(results, regime=regime) if result.trial.method == method]
            errors = sum(result.decision is None for result in here)
            durations = (_durations(wall_durations(here)), _durations(measured_durations(here)))
            rows.append([method, regime.value, str(len(here)), *durations, str(errors)])
    heading = ["method", "regime", "trials", "wall: median, 90 %, largest", "measured: median, 90 %, largest"]
    return _table([*heading, "no decision"], rows)


def _workloads(results: Sequence[Result]) -> str:
    ours, slowdowns = _ours(results), _slowdowns(results)
    rows = []
    for regime in Regime:
        for workload in WORKLOADS:
            here = select(ours, regime=regime, workload=workload)
            scored = score(here, OURS)
            counts = [_count(scored.detections.get(slowdown, Rate(count=0, total=0))) for slowdown in slowdowns]
            cells = [_count(scored.false_alarms), *counts, _count(scored.inconclusive)]
            rows.append([regime.value, workload, *cells, *_estimate_cells(here)])
    heading = ["regime", "workload", "false alarms", *(slowdown_text(slowdown) for slowdown in slowdowns)]
    return _table([*heading, "inconclusive", "interval covers", "bias", "deviation"], rows)


def _false_alarms_by_workload(results: Sequence[Result]) -> str:
    known = rules(results)
    rows = []
    for workload in WORKLOADS:
        here = select(results, workload=workload)
        rows.append([workload, *(_count(score(here, rule).false_alarms) for rule in known)])
    return _table(["workload", *(rule.name for rule in known)], rows)


def _ours(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.trial.method == OURS.method]


def _slowdowns(results: Iterable[Result]) -> list[float]:
    return sorted({result.trial.slowdown for result in results} - {0.0})


def _verdict_counts(results: Sequence[Result]) -> Iterator[str]:
    given = verdicts(results)
    return (str(given[verdict]) for verdict in _SHOWN_VERDICTS)


def _estimate_cells(results: Sequence[Result]) -> tuple[str, str, str]:
    scored: EstimateScore = estimate_score(results)
    return rate_text(scored.coverage), _points(scored.bias, "+"), _points(scored.deviation, "")


def _points(value: float, sign: str) -> str:
    """A fraction in percentage points; a dash for NaN."""
    return f"{100 * value:{sign}.2f}" if value == value else _DASH


def _count(rate: Rate) -> str:
    return f"{rate.count} of {rate.total}" if rate.total else _DASH


def _durations(taken: Durations | None) -> str:
    return f"{taken.median_s:.1f}, {taken.percentile_90_s:.1f}, {taken.largest_s:.1f}" if taken else _DASH


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
