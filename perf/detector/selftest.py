"""``python -m perf selftest``: does the alarm work on this machine?

A canary is a real kernel that does a known amount of work more on one side, which is counted before it is timed. It
must be found, and identical code must stay quiet.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kernels.build import HOST_LIBRARY, current_record
from kernels.errors import EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.interface import Library
from kernels.library import open_built
from kernels.workspace import Workspace
from perf.detector import workloads
from perf.detector.workloads import ATTENTION_CASE, ATTENTION_THREADS, Workload
from perf.model import Verdict
from perf.paired import engine
from perf.paired.host_problem import Problem
from perf.paired.model import Finding, Plan, Restart, Side, Stage
from perf.paired.restarts import Subject, run_restart
from perf.units import change, percent

EXAMPLES = """\
examples:
  python -m perf selftest                   every kernel, five times each; about four minutes
  python -m perf selftest --short           one kernel, once; some ten seconds, for CI
  python -m perf selftest --slowdown 3      is a slowdown of 3 % found here?

exit codes: 0 every canary was found and identical code stayed quiet, 1 a canary was missed or a false alarm given, 2 an
error, 3 this machine is too noisy for the slowdown asked for
"""
_REPEATS, _SHORT_REPEATS = 5, 1
# The short form is for shared CI machines, where it has to say something about the alarm and not about the neighbours.
_SLOWDOWN_PERCENT, _SHORT_SLOWDOWN_PERCENT = 5, 10
_FALSE_ALARMS = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one workload: findings with the canary, and on identical code."""

    workload: str
    canary: tuple[Finding, ...]
    identical: tuple[Finding, ...]

    @property
    def found(self) -> int:
        """Canaries that were called REGRESSED."""
        return sum(finding.verdict is Verdict.REGRESSED for finding in self.canary)

    @property
    def missed(self) -> int:
        """Canaries that were called something definite, and wrong."""
        wrong = {Verdict.UNCHANGED, Verdict.IMPROVED, Verdict.NOT_RUN}
        return sum(finding.verdict in wrong for finding in self.canary)

    @property
    def false_alarms(self) -> int:
        """Identical code that was called changed."""
        return sum(finding.verdict in _FALSE_ALARMS for finding in self.identical)

    @property
    def mde(self) -> float | None:
        """The median minimum detectable effect on identical code."""
        known = [finding.mde for finding in self.identical if finding.mde is not None]
        return statistics.median(known) if known else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--short", action="store_true", help="one kernel, once, with a larger canary")
    parser.add_argument("--slowdown", type=int, metavar="PERCENT", help="of the canary, a whole number from 1 to 100")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"of each test (default: {_REPEATS})")
    parser.add_argument("--seconds", type=float, default=Plan().seconds_per_case, help="time for each comparison")


def run(options: argparse.Namespace) -> int:
    """Plant, measure, say so; returns the exit code."""
    library = open_built(current_record(Workspace()), HOST_LIBRARY)
    default = _SHORT_SLOWDOWN_PERCENT if options.short else _SLOWDOWN_PERCENT
    slowdown = _slowdown(default if options.slowdown is None else options.slowdown)
    repeats = _repeats(options)
    names = [*ATTENTION_THREADS][: 1 if options.short else None]
    for name in names:
        print(_counted(workloads.find_workload(name), slowdown, library))
    console = Console()
    with Workspace().writing("roofgate selftest"):
        outcomes = [_test(name, slowdown, repeats, options.seconds, library.path) for name in names]
    console.print(_table(outcomes, slowdown))
    code, sentence = conclude(outcomes, slowdown)
    console.print(sentence, soft_wrap=True)
    return code


def _slowdown(percentage: int) -> float:
    if not 1 <= percentage <= 100:
        raise RoofgateError(f"--slowdown is {percentage}; expected a whole number of percent from 1 to 100")
    return percentage / 100


def _repeats(options: argparse.Namespace) -> int:
    default = _SHORT_REPEATS if options.short else _REPEATS
    repeats: int = default if options.repeats is None else options.repeats
    if repeats < 1:
        raise RoofgateError(f"--repeats is {repeats}; expected 1 or more")
    return repeats


def count_written_heads(workload: Workload, slowdown: float, library: Library) -> tuple[int, int]:
    """How many heads of the output the normal and the slowed call really write, of a buffer with room for more."""
    threads = ATTENTION_THREADS[workload.name]
    most = workload.slowed_units(slowdown)
    written = []
    for units in (workload.units, most):
        problem = Problem(replace(ATTENTION_CASE, batch=most + 1), threads, random.Random(0))  # noqa: S311
        head_bytes = len(problem.outputs[0]) // (most + 1)
        untouched = b"\xff" * head_bytes
        problem.outputs[0][:] = untouched * (most + 1)
        library.attention_fwd(problem.params_of_batch(units))
        heads = range(0, len(problem.outputs[0]), head_bytes)
        written.append(sum(problem.outputs[0][start : start + head_bytes] != untouched for start in heads))
    return written[0], written[1]


def _counted(workload: Workload, slowdown: float, library: Library) -> str:
    """Check the canary by count: the slowed call must really do that much more."""
    base, slowed = count_written_heads(workload, slowdown, library)
    if (base, slowed) != (workload.units, workload.slowed_units(slowdown)):
        raise RoofgateError(
            f"{workload.name}: the canary writes {slowed} heads where the normal call writes {base}, expected "
            f"{workload.slowed_units(slowdown)} and {workload.units}; a self-test would prove nothing: mend the kernel"
        )
    return f"{workload.name}: the canary computes {slowed} heads instead of {base}, by count"


def _test(name: str, slowdown: float, repeats: int, seconds: float, library: Path) -> Outcome:
    findings: dict[float, list[Finding]] = {slowdown: [], 0.0: []}
    for repeat in range(repeats):
        for planted in findings:
            plan = Plan(seconds_per_case=seconds, seed=repeat)
            finding = _compare(name, planted, plan, library)
            findings[planted].append(finding)
            what = f"canary of {change(planted)}" if planted else "identical code"
            print(f"{name}: {what}: {finding.verdict.value} {_shown(finding)}")
    return Outcome(workload=name, canary=tuple(findings[slowdown]), identical=tuple(findings[0.0]))


def _shown(finding: Finding) -> str:
    bounds = finding.interval
    return f"({change(bounds.low)} to {change(bounds.high)})" if bounds else f"({finding.reason})"


def _compare(name: str, slowdown: float, plan: Plan, library: Path) -> Finding:
    arguments = {"workload": name, "slowdown": slowdown, "start_blocks": workloads.DEFAULT_START_BLOCKS}
    subject = Subject(
        name=name, factory=workloads.__name__, arguments=arguments, libraries=dict.fromkeys(Side, library)
    )
    origin = time.monotonic()

    def measure(_: str, stage: Stage, seed: int) -> Restart:
        return run_restart(subject, plan, stage, seed, origin)

    return engine.findings(engine.compare([name], plan, measure), plan)[name]


def _table(outcomes: Sequence[Outcome], slowdown: float) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("kernel", f"canary of {change(slowdown)} found", "false alarms", "minimum detectable effect"):
        table.add_column(title)
    for outcome in outcomes:
        table.add_row(
            outcome.workload,
            f"{outcome.found} of {len(outcome.canary)}",
            f"{outcome.false_alarms} of {len(outcome.identical)}",
            "unknown" if outcome.mde is None else percent(outcome.mde),
        )
    return table


def conclude(outcomes: Sequence[Outcome], slowdown: float) -> tuple[int, str]:
    """The exit code and what it means."""
    false_alarms = sum(outcome.false_alarms for outcome in outcomes)
    missed = sum(outcome.missed for outcome in outcomes)
    open_ones = sum(len(outcome.canary) - outcome.found - outcome.missed for outcome in outcomes)
    if false_alarms or missed:
        return EXIT_REGRESSION, f"the alarm is broken: {missed} canaries missed, {false_alarms} false alarms"
    if open_ones:
        too_noisy = f"too noisy: {open_ones} canaries of {change(slowdown)} were neither found nor missed"
        return EXIT_NO_VERDICT, f"{too_noisy}; use a quieter machine, or --seconds for longer measurements"
    return EXIT_PASS, "every canary was found, and identical code stayed quiet"
