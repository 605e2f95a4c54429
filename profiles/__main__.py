"""``python -m profiles capture|static|show``: what is known of each kernel without timing it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from kernels.build import current_record
from kernels.errors import EXIT_PASS, RoofgateError, run_command
from kernels.workspace import Workspace, run_step, source_tree
from perf.model import CaptureSet, Layer, Problem
from perf.store import read_captures, write_capture_set
from profiles.static import StaticLayer, capture_static
from profiles.table import print_static, select

EXAMPLES = """\
examples:
  python -m profiles capture                        every layer that can run here
  python -m profiles static                         the static layer alone: no GPU needed
  python -m profiles show                           what was captured, as a table
  python -m profiles show --architecture sm_80      one architecture
  python -m profiles show --kernel '*<bf16, 128*'   kernels whose name matches a pattern

A layer that cannot run here is recorded with its reason, and the exit code is 0. A damaged artefact is an error: the
exit code is 2, and what could be read is kept. Captures lie in out/captures, one file per layer.
"""

# Layers that this version cannot capture anywhere, said in the report rather than left out.
_NOT_IMPLEMENTED = {
    Layer.SIMULATED: "this version has no simulator for the CUDA kernels",
    Layer.HARDWARE: "this version reads no hardware counters",
}


def main(arguments: list[str]) -> int:
    """Parse ``arguments`` and run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    workspace = Workspace()
    commands: dict[str, Callable[[], int]] = {
        "capture": lambda: run_step(workspace, "profile", lambda: _capture(workspace)),
        "static": lambda: run_step(workspace, "profile", lambda: _static(workspace)),
        "show": lambda: run_command(lambda: _show(workspace, options.architecture, options.kernel)),
    }
    return commands[options.command]()


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m profiles", epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(dest="command", required=True, metavar="capture|static|show")
    commands.add_parser("capture", help="capture every layer that can run here")
    commands.add_parser("static", help="analyse the built CUDA kernels without a GPU")
    show = commands.add_parser(
        "show", help="print what the static layer captured", epilog=EXAMPLES, formatter_class=layout
    )
    show.add_argument("--architecture", metavar="NAME", help='one architecture, such as "sm_80" (default: all)')
    show.add_argument("--kernel", metavar="GLOB", default="*", help="shell pattern of kernel names (default: all)")
    return parser


def _capture(workspace: Workspace) -> int:
    for layer, reason in _NOT_IMPLEMENTED.items():
        problem = Problem(subject=f"{layer.value} layer", reason=reason)
        write_capture_set(
            workspace.captures, CaptureSet(layer=layer, tree=source_tree(), captures=(), problems=(problem,))
        )
        print(f"{layer.value} layer: not run: {reason}")
    return _static(workspace)


def _static(workspace: Workspace) -> int:
    started = time.monotonic()
    layer = capture_static(current_record(workspace), workspace.captures / "cache", print)
    path = write_capture_set(workspace.captures, layer.captures)
    for text in (f"{problem.subject}: {problem.reason}" for problem in layer.captures.problems):
        if text not in layer.errors:  # which are printed at the end
            print(text, file=sys.stderr)
    captures = layer.captures.captures
    kernels = len({capture.kernel for capture in captures})
    architectures = ", ".join(dict.fromkeys(capture.architecture for capture in captures))
    print(
        f"static layer: {kernels} kernels on {architectures or 'no architecture'}, "
        f"{time.monotonic() - started:.1f} s; captures: {path}"
    )
    _raise_errors(layer)
    return EXIT_PASS


def _raise_errors(layer: StaticLayer) -> None:
    if layer.errors:
        raise RoofgateError("the static layer is incomplete:\n  " + "\n  ".join(layer.errors))


def _show(workspace: Workspace, architecture: str | None, kernel: str) -> int:
    sets, problems = read_captures(workspace.captures)
    for unreadable in problems:
        print(f"{unreadable.subject}: {unreadable.reason}", file=sys.stderr)
    static = [captures for captures in sets if captures.layer is Layer.STATIC]
    if not static:
        raise RoofgateError(f"{workspace.captures}: no static captures yet; run: python -m profiles static")
    for problem in static[0].problems:
        print(f"{problem.subject}: {problem.reason}", file=sys.stderr)
    print_static(select(static[0].captures, architecture=architecture, kernel=kernel))
    return EXIT_PASS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
