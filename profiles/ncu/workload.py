"""``python -m profiles.ncu.workload --case CASE --launches N``: the child process that Nsight Compute profiles."""

from __future__ import annotations

import argparse
import sys

from kernels.errors import EXIT_PASS, run_command
from perf.profiled_launches import launch_in_range
from profiles.ncu.command_line import NVTX_RANGE
from profiles.simulator.attention_case import EXAMPLE_CASE, parse_case


def main(arguments: list[str]) -> int:
    """Launch one case inside the range; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m profiles.ncu.workload", description=__doc__)
    parser.add_argument("--case", required=True, metavar="CASE", help=f"such as {EXAMPLE_CASE}")
    parser.add_argument("--launches", type=int, default=1, metavar="N", help="launches inside the range (default: 1)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _launch(options.case, options.launches))


def _launch(case: str, launches: int) -> int:
    launch_in_range(parse_case(case), launches, NVTX_RANGE)
    return EXIT_PASS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
