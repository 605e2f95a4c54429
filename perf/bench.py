"""``python -m perf bench``: run a suite through pytest-benchmark and keep the run."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kernels.build import HOST_LIBRARY, current_record
from kernels.errors import EXIT_INTERRUPTED, EXIT_PASS, RoofgateError
from kernels.library import open_built
from kernels.workspace import Workspace, run_step
from perf import repository, store
from perf.config import find_suite, load_suites
from perf.show import print_run

EXAMPLES = """\
examples:
  python -m perf bench                      the default suite, a few minutes
  python -m perf bench --suite smoke        under a minute
  python -m perf bench --suite smoke -k bf16-1x8x1024x64
                                            some cases; such a run cannot become the baseline

Every case is measured alternately with torch's own kernels, and the machine's ceilings are measured first. Ctrl-C
keeps the finished cases.
"""

_PYTEST_OPTIONS = (
    "-p",
    "perf.plugin",
    "-p",
    "no:terminal",  # perf.plugin prints a line per case, and the table at the end is ours
    "--capture=no",
    "--import-mode=importlib",
    "--override-ini=python_files=bench_*.py",
    "--override-ini=filterwarnings=default",
    "--benchmark-disable-gc",
)
_SUITE_FILES = ("perf/suites/bench_ceilings.py", "perf/suites/bench_attention.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--suite", default="default", help="suite of perf/suites.yml (default: %(default)s)")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only cases whose name matches, as in pytest")


def run(options: argparse.Namespace) -> int:
    """Run the step ``bench``; returns the exit code."""
    workspace = Workspace()
    return run_step(workspace, "bench", lambda: _bench(workspace, options.suite, options.keyword))


def _bench(workspace: Workspace, suite: str, keyword: str | None) -> int:
    find_suite(load_suites(), suite)
    repository.current_commit()  # a result without a commit could not be kept
    open_built(current_record(workspace), HOST_LIBRARY)  # nothing can be measured without it
    for path in _adopt(workspace):
        print(f"{path}: kept what an interrupted run had finished")
    arguments = [*_PYTEST_OPTIONS, f"--suite={suite}", f"--workspace={workspace.root}", *_SUITE_FILES]
    if keyword:
        # Ceilings are measured whatever the selection: without them no case has a roofline.
        arguments += [f"-k=({keyword}) or test_ceiling", f"--case-expression={keyword}"]
    before = store.run_files(workspace.runs)
    status = pytest.main(arguments)
    for path in store.run_files(workspace.runs)[:1]:
        if path not in before:
            print_run(store.read_run(path))
    return _exit_code(int(status), suite)


def _adopt(workspace: Workspace) -> list[Path]:
    # Imported here: the plugin imports torch, and an error above should not wait for that.
    from perf.plugin import adopt_unfinished

    return adopt_unfinished(workspace.runs)


def _exit_code(status: int, suite: str) -> int:
    if status == pytest.ExitCode.OK:
        return EXIT_PASS
    if status == pytest.ExitCode.INTERRUPTED:
        return EXIT_INTERRUPTED
    if status == pytest.ExitCode.TESTS_FAILED:
        raise RoofgateError(f"some cases of suite {suite!r} could not be measured; see the lines marked FAILED")
    raise RoofgateError("nothing was measured; see the message above")
