"""``python -m perf compare``: two revisions of the kernels, measured alternately, and a verdict on each case."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from kernels.errors import EXIT_ERROR, EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.workspace import Workspace
from perf.calibration import CacheState
from perf.config import Suite, find_suite, load_suites, load_targets, load_thresholds, match_target
from perf.model import Case, Device, Machine, Verdict
from perf.paired.decision import looks_within
from perf.paired.judged import relied_on
from perf.paired.model import Mode, PairedComparison, Plan
from perf.paired.planning import Scope, control_subjects, plan_case
from perf.paired.record import find_unfinished
from perf.paired.revision_builds import RevisionBuild, build_revision
from perf.paired.revisions import WORKING_TREE, Revision, resolve, revision_info
from perf.paired.session import Session
from perf.paired.terminal import LiveTable, print_comparison

DEFAULT_SUITE = "smoke"
DEFAULT_CONTROLS = 2
# A pair of processes that load torch takes seconds to start, so that a case needs more of them than its budget has.
_PROCESS_SECONDS = 60.0
_LOG_WIDTH = 140
EXAMPLES = """\
examples:
  python -m perf compare main                    the working tree against main
  python -m perf compare merge-base              against where this branch left the default branch
  python -m perf compare v1.0 HEAD               two commits
  python -m perf compare main -k bf16 --seconds 30
                                                 some cases, longer: smaller changes are found
  python -m perf compare main --mode processes   what lies outside the libraries: Python code, torch ops
  python -m perf compare main --resume           go on with an interrupted comparison

Kernels with equal machine code are IDENTICAL and are not timed, except for some that show what noise looks like.

exit codes: 0 nothing got slower, 1 a case regressed, 2 an error (a side does not build, too), 3 no verdict on some case
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("base", metavar="BASE", help="commit, tag, branch, or merge-base")
    parser.add_argument(
        "candidate", metavar="CANDIDATE", nargs="?", default=WORKING_TREE, help="the same (default: %(default)s)"
    )
    parser.add_argument("--suite", default=DEFAULT_SUITE, help="suite of perf/suites.yml (default: %(default)s)")
    parser.add_argument("-k", dest="keyword", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--seconds", type=float, help=f"time for each case (default: {Plan().seconds_per_case:g})")
    parser.add_argument("--margin", help="changes within this are none (default: paired_margin of ci/thresholds.yml)")
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.LIBRARIES.value,
        help="both libraries in one process, or a process for each (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of host kernels (default: all; 1 is less sensitive to load)"
    )
    parser.add_argument(
        "--controls",
        type=int,
        metavar="N",
        default=DEFAULT_CONTROLS,
        help="cases with equal code to time as A/A controls (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        choices=[state.value for state in CacheState],
        default=CacheState.WARM.value,
        help="what CUDA calls find in L2: what the call before left, nothing, or other inputs (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the last interrupted comparison of these two")


def run(options: argparse.Namespace) -> int:
    """Compare, say so, and store the result; returns the exit code."""
    console = _console()
    plan = make_plan(options)
    suite = find_suite(load_suites(), options.suite)
    selected = select_cases(suite, options.keyword)
    revisions = [resolve(name) for name in (options.base, options.candidate)]
    base, candidate = (build_revision(revision, progress=print) for revision in revisions)
    scope = replace(make_scope(base, candidate, Mode(options.mode), options.threads), cache=CacheState(options.cache))
    planned = [plan_case(case, device, scope) for device, case in selected]
    workspace = Workspace()
    with workspace.writing("roofgate compare"):
        session = Session(
            scope=scope,
            plan=plan,
            suite=suite.name,
            planned=planned,
            controls=control_subjects(planned, scope, options.controls),
            folder=workspace.comparisons,
        )
        if options.resume:
            session.earlier = _interrupted(workspace, session, revisions)
        console.print(describe(session), soft_wrap=True)
        with LiveTable(console, plan) as table:
            comparison = session.run(table.note)
    print_comparison(comparison, console)
    console.print(f"{comparison.path}; the report shows it: nox -s report", soft_wrap=True)
    return exit_code(comparison, base, candidate)


def _console() -> Console:
    """As wide as the terminal; in a log, wide enough that no name is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def make_plan(options: argparse.Namespace) -> Plan:
    """The rules that the options ask for; raises :class:`RoofgateError` for a value out of range."""
    default = _PROCESS_SECONDS if options.mode == Mode.PROCESSES.value else Plan().seconds_per_case
    seconds = default if options.seconds is None else options.seconds
    if not (math.isfinite(seconds) and seconds > 0):
        raise RoofgateError(f"--seconds is {seconds:g}; expected a positive number of seconds")
    if options.threads is not None and options.threads < 1:
        raise RoofgateError(f"--threads is {options.threads}; expected 1 or more")
    if options.controls < 0:
        raise RoofgateError(f"--controls is {options.controls}; expected 0 or more")
    margin = load_thresholds().paired_margin if options.margin is None else _fraction(options.margin)
    return Plan(seconds_per_case=seconds, margin=margin, looks=looks_within(seconds))


def _fraction(text: str) -> float:
    """``1%`` or ``0.01``."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", text.strip())
    value = float(found[1]) / (100 if found[2] else 1) if found else math.nan
    if not 0 < value < 1:
        raise RoofgateError(f"--margin is {text!r}; expected a fraction such as 1% or 0.01")
    return value


def make_scope(base: RevisionBuild, candidate: RevisionBuild, mode: Mode, threads: int | None) -> Scope:
    """The two builds on this machine."""
    # Imported here: it loads torch, which takes seconds that a mistake in the options should not wait for.
    from perf.machine import observe_machine

    machine = observe_machine()
    machine = machine if threads is None else replace(machine, threads=threads)
    return Scope(base=base, candidate=candidate, machine=machine, targets=_targets(machine), mode=mode)


def _targets(machine: Machine) -> dict[Device, str]:
    targets = {Device.CPU: "cpu"}
    if machine.gpus:
        declared = match_target(load_targets(), machine.gpus[0].name)
        targets[Device.CUDA] = declared.name if declared else machine.gpus[0].name
    return targets


def select_cases(suite: Suite, keyword: str) -> list[tuple[Device, Case]]:
    """The cases of the suite whose name has ``keyword``; raises :class:`RoofgateError` if there is none."""
    selected = [(device, case) for device in Device for case in suite.cases(device) if keyword in case.name]
    if not selected:
        raise RoofgateError(f"no case of suite {suite.name!r} has {keyword!r} in its name; leave out -k or correct it")
    return selected


def _interrupted(workspace: Workspace, session: Session, revisions: Sequence[Revision]) -> PairedComparison:
    base, candidate = (revision_info(revision) for revision in revisions)
    found, problems = find_unfinished(workspace, base.tree, candidate.tree)
    for problem in problems:
        print(f"{problem.subject}: {problem.reason}")
    if found is None:
        raise RoofgateError(
            f"--resume: no interrupted comparison of {base.short} and {candidate.short} in "
            f"{workspace.comparisons}; leave --resume out to start one"
        )
    scope = session.scope
    wanted = (session.plan, session.suite, scope.mode, scope.cache.value, scope.machine.fingerprint)
    if (found.plan, found.suite, found.mode, found.cache, found.machine.fingerprint) != wanted:
        raise RoofgateError(
            f"--resume: {Path(found.path).name} was measured with other options or on another machine; give the same "
            "ones, or leave --resume out to start anew"
        )
    return found


def describe(session: Session) -> str:
    """What is about to happen, in one line."""
    timed = sum(each.subject is not None for each in session.planned)
    identical = sum(each.paired.finding.verdict is Verdict.IDENTICAL for each in session.planned)
    seconds = session.plan.seconds_per_case * (timed + len(session.controls))
    return (
        f"{len(session.planned)} cases: {identical} identical, {timed} to time with {len(session.controls)} controls, "
        f"at most {seconds:.0f} s"
    )


def exit_code(comparison: PairedComparison, base: RevisionBuild, candidate: RevisionBuild) -> int:
    """What the findings say to a script."""
    verdicts = {relied_on(case.finding, comparison.controls).verdict for case in comparison.cases}
    here = {case.finding.verdict for case in comparison.cases if case.isa}  # of those that this machine could time
    if Verdict.REGRESSED in verdicts:
        return EXIT_REGRESSION
    if base.failure or candidate.failure or Verdict.NOT_RUN in here:
        return EXIT_ERROR
    return EXIT_NO_VERDICT if Verdict.INCONCLUSIVE in verdicts or verdicts == {Verdict.NOT_RUN} else EXIT_PASS
