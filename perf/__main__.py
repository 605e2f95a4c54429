"""``python -m perf``: measure, judge and keep. Each command lives in its own module."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module

from kernels.errors import run_command


@dataclass(frozen=True, slots=True)
class Command:
    """A module with ``EXAMPLES``, ``add_arguments(parser)`` and ``run(options) -> exit code``, and what it is for."""

    module: str
    summary: str


COMMANDS = {
    "doctor": Command("perf.doctor", "what this machine can run, and what is missing"),
    "bench": Command("perf.bench", "measure a suite against torch and the machine's ceilings"),
    "compare": Command("perf.paired.compare", "measure two revisions alternately and say what changed"),
    "selftest": Command("perf.detector.selftest", "plant known slowdowns here and see whether they are found"),
    "transformer": Command("perf.transformer.command", "train and time a whole model with torch's attention and ours"),
    "show": Command("perf.show", "print a stored run as a table"),
    "gate": Command("perf.verdict", "judge the stored results against ci/thresholds.yml"),
    "promote": Command("perf.promote", "make the present results the baseline"),
}


def main(arguments: list[str]) -> int:
    """Parse ``arguments`` and run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf", description="Measure, judge and keep results.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # Only the module that will run is imported: the measuring ones load torch, which takes seconds.
        if arguments[:1] == [name]:
            module = import_module(command.module)
            subparser.epilog = module.EXAMPLES
            module.add_arguments(subparser)
    options = parser.parse_args(arguments)
    module = import_module(COMMANDS[options.command].module)
    return run_command(lambda: int(module.run(options)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
