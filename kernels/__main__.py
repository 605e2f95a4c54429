"""``python -m kernels build``: compile what has changed."""

from __future__ import annotations

import argparse
import sys
import time

from kernels import build
from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild
from kernels.errors import EXIT_PASS, RoofgateError
from kernels.workspace import Workspace, run_step

EXAMPLES = """\
examples:
  python -m kernels build                            everything
  python -m kernels build --architecture cpu         the host kernels alone
  python -m kernels build --architecture sm_80 sm_86 the CUDA kernels for two GPUs

A source that does not compile fails its own library only; the exit code is then 2, and the compiler's words are kept
for the report. Without nvcc the CUDA libraries are left out, and the record says so.
"""


def main(arguments: list[str]) -> int:
    """Parse ``arguments`` and run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kernels", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser(
        "build", help="compile the kernels", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(build.known_architectures())
    building.add_argument("--architecture", nargs="+", metavar="NAME", help=f"any of: {names} (default: all)")
    options = parser.parse_args(arguments)
    architectures = options.architecture or build.known_architectures()
    workspace = Workspace()
    return run_step(workspace, "build", lambda: _build(workspace, tuple(architectures)))


def _build(workspace: Workspace, architectures: tuple[str, ...]) -> int:
    started = time.monotonic()
    record = build.build(workspace, architectures)
    fresh = sum(not library.cached for library in record.libraries if library.status is BuildStatus.BUILT)
    print(
        f"{_summary(record)}: {fresh or 'nothing'} newly built, {time.monotonic() - started:.1f} s; "
        f"record: {workspace.build_record}"
    )
    unusable = [library.name for library in record.libraries if _is_unusable(library)]
    if unusable:
        raise RoofgateError(
            f"{', '.join(unusable)} could not be built; the compiler's words are above and in the report"
        )
    return EXIT_PASS


def _summary(record: BuildRecord) -> str:
    counts = {status: sum(library.status is status for library in record.libraries) for status in BuildStatus}
    return ", ".join(f"{count} {status.value.replace('_', ' ')}" for status, count in counts.items() if count)


def _is_unusable(library: LibraryBuild) -> bool:
    """A refused source, or no host library: the pipeline needs at least the host's."""
    return library.status is BuildStatus.FAILED or (
        library.status is BuildStatus.NOT_RUN and library.name == build.HOST_LIBRARY
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
