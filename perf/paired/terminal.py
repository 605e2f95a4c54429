"""A comparison in the terminal: what is happening, and the table of findings."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perf.model import Verdict
from perf.paired import statistics
from perf.paired.decision import Outlook
from perf.paired.engine import Progress
from perf.paired.judged import relied_on
from perf.paired.model import Finding, PairedComparison, Plan, Stage
from perf.stats import as_change
from perf.units import change, count, percent

_STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.IMPROVED: "bold green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_RUN: "dim",
}
_WORST_FIRST = (
    Verdict.REGRESSED,
    Verdict.INCONCLUSIVE,
    Verdict.IMPROVED,
    Verdict.UNCHANGED,
    Verdict.IDENTICAL,
    Verdict.NOT_RUN,
)


class LiveTable:
    """What is measured so far, redrawn after every restart on a terminal, and a line per decision elsewhere."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self._console, self._plan = console, plan
        self._known: dict[str, Progress] = {}
        self._told: dict[str, str] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> LiveTable:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def note(self, name: str, progress: Progress) -> None:
        """A restart of ``name`` was measured, or failed."""
        self._known[name] = progress
        if self._live:
            self._live.update(_progress_table(self._known, self._plan), refresh=True)
        elif (state := _state(progress)) != self._told.get(name, _MEASURING):
            self._told[name] = state
            self._console.print(Text(f"{name}: {state}, {_so_far(progress, self._plan)}"), soft_wrap=True)


_MEASURING = "measuring"


def _progress_table(known: Mapping[str, Progress], plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("case", "so far", "restarts", "state"):
        table.add_column(title)
    for name, progress in known.items():
        table.add_row(Text(name), _so_far(progress, plan), str(len(progress.restarts)), _state(progress))
    return table


def _so_far(progress: Progress, plan: Plan) -> str:
    values = [statistics.restart_mean(restart) for restart in progress.restarts]
    if len(values) < 2:
        return "-"
    estimate = as_change(statistics.mean_interval(values, plan.confidence))
    return f"{change(estimate.value)} ({change(estimate.interval.low)} to {change(estimate.interval.high)})"


def _state(progress: Progress) -> str:
    if progress.failure:
        return "failed"
    if progress.wanted_confirmations:
        taken = progress.count(Stage.CONFIRMATION)
        return "measured again" if taken >= progress.wanted_confirmations else "measuring again to confirm"
    return {Outlook.OPEN: _MEASURING, Outlook.UNCHANGED: "unchanged", Outlook.SUSPECT: "seems to differ"}[
        progress.outlook
    ]


def print_comparison(comparison: PairedComparison, console: Console) -> None:
    """The table of findings, worst first, what rests on the static layer, and the controls."""
    cases = [(case, relied_on(case.finding, comparison.controls)) for case in comparison.cases]
    cases.sort(key=lambda pair: _WORST_FIRST.index(pair[1].verdict))
    table = Table(box=None, pad_edge=False, title=f"{comparison.candidate.short} against {comparison.base.short}")
    for title in ("case", "on", "time", "interval", "detects", "verdict"):
        table.add_column(title, overflow="fold")
    for case, finding in cases:
        verdict = Text(_words(finding.verdict), style=_STYLES.get(finding.verdict, ""))
        table.add_row(Text(case.case.name), Text(case.target), *_figures(finding), verdict)
    console.print(table)
    for case, finding in cases:
        if finding.verdict in _STYLES:
            console.print(Text(f"{case.case.name}: {_words(finding.verdict)}: {finding.reason}"), soft_wrap=True)
    _print_static(comparison, console)
    console.print(Text(f"controls: {comparison.controls.reason}", style="dim"), soft_wrap=True)


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")


def _figures(finding: Finding) -> tuple[str, str, str]:
    bounds = finding.interval
    return (
        change(finding.change) if finding.change is not None else "",
        f"{change(bounds.low)} to {change(bounds.high)}" if bounds else "",
        percent(finding.mde) if finding.mde is not None else "",
    )


def _print_static(comparison: PairedComparison, console: Console) -> None:
    kernels: dict[tuple[str, str], list[str]] = {}
    for each in comparison.static:
        changed = kernels.setdefault((each.subject, each.target), [])
        if each.baseline != each.candidate:
            before, now = ("none" if value is None else count(value) for value in (each.baseline, each.candidate))
            changed.append(f"{each.metric.key} {before} to {now}")
    identical = {(each.subject, each.target) for each in comparison.static if each.verdict is Verdict.IDENTICAL}
    if kernels:
        console.print(f"static: {len(identical)} of {len(kernels)} CUDA kernels have the same machine code")
    for (kernel, architecture), changed in kernels.items():
        if (kernel, architecture) not in identical:
            told = ", ".join(changed) or "other code, the same figures"
            console.print(Text(f"static: {kernel} on {architecture}: {told}"), soft_wrap=True)
