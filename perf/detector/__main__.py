"""``python -m perf.detector``: run the detector's benchmark and write its page."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.build import HOST_LIBRARY, current_record
from kernels.errors import EXIT_PASS, RoofgateError, run_command
from kernels.workspace import Workspace
from perf.detector.methods import METHODS, Setting
from perf.detector.trials import plan_trials, run_trials
from perf.detector.workloads import start_process

EXAMPLES = """\
examples:
  python -m perf.detector run                          all trials that are left: hours; Ctrl-C and go on at will
  python -m perf.detector run --minutes 20             for twenty minutes
  python -m perf.detector run --method roofgate        our trials alone
  python -m perf.detector run --share 1/4              the first quarter, beside others on other processors (taskset)
  python -m perf.detector page                         docs/detector.md and its curves from the trials so far
"""
_FOLDER = "detector"
_CALIBRATION = "calibration.json"
_STARTS = 400


def main(arguments: list[str]) -> int:
    """Parse ``arguments`` and run the command; returns the exit code."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m perf.detector", epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the trials that are left", epilog=EXAMPLES, formatter_class=layout)
    run.add_argument("--minutes", type=float, default=24 * 60, help="start no trial later (default: no limit)")
    run.add_argument("--method", choices=METHODS, help="only trials of this method")
    run.add_argument("--share", default="1/1", metavar="I/N", help="the I-th of N shares of the trials")
    page = commands.add_parser("page", help="write the page", epilog=EXAMPLES, formatter_class=layout)
    page.add_argument("--results", type=Path, nargs="+", help="files of trials (default: all in out/detector)")
    page.add_argument("--docs", type=Path, default=Path("docs"), help="folder of detector.md (default: docs)")
    options = parser.parse_args(arguments)
    folder = Workspace().root / _FOLDER
    command = _run if options.command == "run" else _page
    return run_command(lambda: command(options, folder))


def _run(options: argparse.Namespace, folder: Path) -> int:
    index, count = _share(options.share)
    library = Path(current_record(Workspace()).library(HOST_LIBRARY).library)
    setting = Setting(library=library, start_blocks=_start_blocks(folder), scratch=folder / f"scratch-{index}")
    trials = [trial for trial in plan_trials() if options.method in (None, trial.method)]
    share = trials[index - 1 :: count]
    results = folder / f"trials-{index}-of-{count}.jsonl"
    left = run_trials(share, setting, results, deadline_s=60 * options.minutes, progress=print)
    print(f"{len(share) - left} of {len(share)} trials are done; results: {results}")
    return EXIT_PASS


def _share(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise RoofgateError(f"--share is {text!r}; expected I/N with I from 1 to N, such as 1/4")
    return int(index), int(count)


def _start_blocks(folder: Path) -> int:
    """What starting a process costs, in blocks that it copies; measured once per machine and kept with the trials."""
    path = folder / _CALIBRATION
    if path.exists():
        return int(json.loads(path.read_text())["start_blocks"])
    empty, long = (_undisturbed_start_s(blocks) for blocks in (0, 4000))
    start_blocks = round(empty / ((long - empty) / 4000)) if long > empty else 0
    if start_blocks <= 0:
        raise RoofgateError("starting a process could not be timed: the machine is too busy; run again when quiet")
    write_atomically(path, json.dumps({"start_blocks": start_blocks, "start_s": empty}) + "\n")
    return start_blocks


def _undisturbed_start_s(blocks: int) -> float:
    """A low quantile: disturbances only ever make a start slower."""
    seconds = []
    for _ in range(_STARTS):
        started = time.perf_counter()
        start_process(blocks)
        seconds.append(time.perf_counter() - started)
    return statistics.quantiles(seconds, n=10)[0]


def _page(options: argparse.Namespace, folder: Path) -> int:
    # Imported here: drawing needs matplotlib, which running does not.
    from perf.detector.page import write_page

    return write_page(options.results or sorted(folder.glob("trials-*.jsonl")), options.docs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
