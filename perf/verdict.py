"""``python -m perf gate``: judge the stored results, write ``out/verdict.json``, say why and return the exit code."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.assess import assess
from perf.evidence import Sources, gather
from perf.findings import Assessment, GateResult, GateVerdict, RuleResult
from perf.model import Commit, Machine, Verdict
from perf.paired.model import PairedComparison, RevisionInfo

SCHEMA = 1
FILE_NAME = "verdict.json"
EXAMPLES = """\
examples:
  python -m perf gate                   judge the newest run of the present sources
  python -m perf gate --suite default   judge the newest run of that suite

exit codes: 0 pass, 1 a threshold is breached, 2 an error (also: nothing was measured for these sources), 3 no verdict
"""

_STYLES = {
    GateVerdict.PASS: "bold green",
    GateVerdict.REGRESSION: "bold red",
    GateVerdict.ERROR: "bold red",
    GateVerdict.NO_VERDICT: "bold yellow",
}
_SHOWN = 10
# What is shown of the checks that are not simply kept, worst first.
_NOTEWORTHY = {Verdict.REGRESSED: ("breach", "red"), Verdict.INCONCLUSIVE: ("inconclusive", "yellow")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--suite", help="judge the newest run of this suite (default: of any suite)")


def run(options: argparse.Namespace) -> int:
    """Judge and say so; returns the exit code. A verdict file is written whatever happens."""
    workspace = Workspace()
    path = workspace.root / FILE_NAME
    try:
        assessment = assess(gather(workspace, Sources(), options.suite))
    except RoofgateError as error:
        failed = GateResult(verdict=GateVerdict.ERROR, results=(), reason=str(error))
        write_verdict(path, failed, None, None)
        raise
    write_verdict(path, assessment.gate, assessment.commit, assessment.machine, assessment.paired)
    print_verdict(assessment, Console())
    return assessment.gate.verdict.exit_code


def write_verdict(
    path: Path,
    gate: GateResult,
    commit: Commit | None,
    machine: Machine | None,
    paired: PairedComparison | None = None,
) -> None:
    """Write the verdict for programs; ``schema`` counts incompatible changes of its shape."""
    content = {
        "schema": SCHEMA,
        "verdict": gate.verdict.key,
        "exit_code": gate.verdict.exit_code,
        "reason": gate.reason,
        "commit": commit and {"id": commit.id, "dirty": commit.dirty, "tree": commit.tree, "branch": commit.branch},
        "machine": machine and {"fingerprint": machine.fingerprint, "title": machine.title},
        "comparison": paired and _comparison_json(paired),
        "rules": [_rule_json(result) for result in gate.results],
    }
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _comparison_json(paired: PairedComparison) -> dict[str, object]:
    controls = paired.controls
    return {
        "id": paired.id,
        "base": _revision_json(paired.base),
        "candidate": _revision_json(paired.candidate),
        "controls": {"count": controls.controls, "moved": list(controls.moved), "noise": controls.noise},
    }


def _revision_json(revision: RevisionInfo) -> dict[str, object]:
    return {"name": revision.name, "id": revision.commit_id, "dirty": revision.dirty, "tree": revision.tree}


def _rule_json(result: RuleResult) -> dict[str, str | float | None]:
    return {
        "rule": result.rule,
        "case": result.subject,
        "target": result.target,
        "metric": result.metric.key,
        "value": result.value,
        "limit": result.limit,
        "relative": result.relative,
        "layer": result.layer.value,
        "verdict": result.verdict.value,
        "reason": result.reason,
    }


def print_verdict(assessment: Assessment, console: Console) -> None:
    """The checks that are not simply kept, what it all rests on, and the verdict with its reason."""
    results, verdict = assessment.gate.results, assessment.gate.verdict
    for kind, (word, style) in _NOTEWORTHY.items():
        found = [result for result in results if result.verdict is kind]
        for result in found[:_SHOWN]:
            _print(console, f"{word}: {result.rule}: {result.subject} on {result.target}: {result.reason}", style)
        if len(found) > _SHOWN:
            _print(console, f"{word}: {len(found) - _SHOWN} more, all in {FILE_NAME}", style)
    for reason, rules in _not_run(results).items():
        _print(console, f"not run: {', '.join(rules)}: {reason}", "dim")
    for layer in assessment.layers:
        _print(console, f"{layer.layer.value}: {layer.text}", "dim")
    if paired := assessment.paired:
        _print(
            console, f"compared in pairs with {paired.base.name} ({paired.base.short}): {_counts(assessment)}", "dim"
        )
        _print(console, f"controls of the comparison: {paired.controls.reason}", "dim")
    _print(console, f"noise floor: {assessment.noise.reason}", "dim")
    _print(console, f"{verdict.key.replace('_', ' ')}: {assessment.gate.reason}", _STYLES[verdict])


def _counts(assessment: Assessment) -> str:
    """``1 regressed, 20 identical`` over the cases of the paired comparison."""
    counts = Counter(change.verdict for change in assessment.paired_changes)
    return ", ".join(f"{counts[verdict]} {verdict.value.replace('_', ' ')}" for verdict in Verdict if counts[verdict])


def _not_run(results: Iterable[RuleResult]) -> dict[str, list[str]]:
    """Names of the rules that were not run, by reason."""
    rules: dict[str, list[str]] = {}
    for result in results:
        if result.verdict is Verdict.NOT_RUN and result.rule not in rules.setdefault(result.reason, []):
            rules[result.reason].append(result.rule)
    return rules


def _print(console: Console, line: str, style: str) -> None:
    # As Text, for names may hold what rich takes for markup; unwrapped, for logs are searched by line.
    console.print(Text(line, style=style), soft_wrap=True)
