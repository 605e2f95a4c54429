"""``python -m profiles capture|static|show|simulate|mutants|probe``: what is known of each kernel without timing it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kernels.build import current_record
from kernels.build_record import BuildRecord
from kernels.errors import EXIT_PASS, RoofgateError, run_command
from kernels.workspace import Workspace, run_step, source_tree
from perf.model import CaptureSet, Layer, Problem
from perf.store import read_captures, write_capture_set
from profiles.simulated import capture_simulated
from profiles.simulator import mutants, simulate
from profiles.simulator.probes import command as probe_command
from profiles.source_counters import lines_path, write_source_counters
from profiles.static import capture_static
from profiles.table import TABLES, print_layer, select

EXAMPLES = """\
examples:
  python -m profiles capture                        every layer that can run here
  python -m profiles static                         the static layer alone: no GPU needed
  python -m profiles show                           what was captured, as a table
  python -m profiles show --layer simulated         the counts of the simulated launches
  python -m profiles show --architecture sm_80      one architecture
  python -m profiles show --kernel '*<bf16, 128*'   kernels whose name matches a pattern

A layer that cannot run here is recorded with its reason, and the exit code is 0. A damaged artefact is an error: the
exit code is 2, and what could be read is kept. Captures lie in out/captures, one file per layer.
"""

# What this version cannot capture anywhere, said in the report rather than left out.
_NOT_IMPLEMENTED = {
    Layer.HARDWARE: "this version reads no hardware counters",
}
# What captures a layer that can be shown.
_COMMANDS = {Layer.STATIC: "static", Layer.SIMULATED: "capture"}


def main(arguments: list[str]) -> int:
    """Parse ``arguments`` and run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    workspace = Workspace()
    commands: dict[str, Callable[[], int]] = {
        "capture": lambda: run_step(workspace, "profile", lambda: _capture(workspace)),
        "static": lambda: run_step(workspace, "profile", lambda: _static(workspace)),
        "show": lambda: run_command(
            lambda: _show(workspace, Layer(options.layer), options.architecture, options.kernel)
        ),
        "simulate": lambda: run_command(
            lambda: simulate.simulate(simulate.read_request(options), current_record(workspace))
        ),
        "mutants": lambda: run_command(
            lambda: mutants.run_mutants(mutants.read_request(options), current_record(workspace))
        ),
        "probe": lambda: run_command(lambda: probe_command.run_probes(probe_command.read_request(options))),
    }
    return commands[options.command]()


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m profiles", epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="capture|static|show|simulate|mutants|probe"
    )
    commands.add_parser("capture", help="capture every layer that can run here")
    commands.add_parser("static", help="analyse the built CUDA kernels without a GPU")
    show = commands.add_parser("show", help="print what a layer captured", epilog=EXAMPLES, formatter_class=layout)
    layers = [layer.value for layer in TABLES]
    show.add_argument("--layer", choices=layers, default=Layer.STATIC.value, help="which layer (default: static)")
    show.add_argument("--architecture", metavar="NAME", help='one architecture, such as "sm_80" (default: all)')
    show.add_argument("--kernel", metavar="GLOB", default="*", help="shell pattern of kernel names (default: all)")
    by_hand = commands.add_parser(
        "simulate",
        help="run kernels without a GPU, check and count them",
        epilog=simulate.EXAMPLES,
        formatter_class=layout,
    )
    simulate.add_arguments(by_hand)
    mistakes = commands.add_parser(
        "mutants",
        help="run kernels with one instruction changed, and see whether anybody notices",
        epilog=mutants.EXAMPLES,
        formatter_class=layout,
    )
    mutants.add_arguments(mistakes)
    probes = commands.add_parser(
        "probe",
        help="hold the simulated instructions against a GPU",
        epilog=probe_command.EXAMPLES,
        formatter_class=layout,
    )
    probe_command.add_arguments(probes)
    return parser


def _capture(workspace: Workspace) -> int:
    for layer, reason in _NOT_IMPLEMENTED.items():
        problem = Problem(subject=f"{layer.value} layer", reason=reason)
        write_capture_set(
            workspace.captures, CaptureSet(layer=layer, tree=source_tree(), captures=(), problems=(problem,))
        )
        print(f"{layer.value} layer: not run: {reason}")
    record = current_record(workspace)
    _raise_errors(
        {Layer.STATIC: _write_static(workspace, record), Layer.SIMULATED: _write_simulated(workspace, record)}
    )
    return EXIT_PASS


def _static(workspace: Workspace) -> int:
    _raise_errors({Layer.STATIC: _write_static(workspace, current_record(workspace))})
    return EXIT_PASS


def _write_static(workspace: Workspace, record: BuildRecord) -> tuple[str, ...]:
    """Capture the static layer; returns its errors."""
    started = time.monotonic()
    layer = capture_static(record, workspace.captures / "cache", print)
    path = write_capture_set(workspace.captures, layer.captures)
    _report(layer.captures, layer.errors, time.monotonic() - started, path)
    return layer.errors


def _write_simulated(workspace: Workspace, record: BuildRecord) -> tuple[str, ...]:
    """Capture the simulated layer, and what it says of source lines; returns its errors."""
    started = time.monotonic()
    layer = capture_simulated(record, print)
    path = write_capture_set(workspace.captures, layer.captures)
    write_source_counters(lines_path(workspace.captures), layer.lines)
    for capture in layer.captures.captures:
        for finding in capture.warnings:
            print(f"{capture.kernel} on {capture.architecture}: {finding}", file=sys.stderr)
    _report(layer.captures, layer.errors, time.monotonic() - started, path)
    return layer.errors


def _report(found: CaptureSet, errors: tuple[str, ...], seconds: float, path: Path) -> None:
    for text in (f"{problem.subject}: {problem.reason}" for problem in found.problems):
        if text not in errors:  # which are printed at the end
            print(text, file=sys.stderr)
    kernels = len({capture.kernel for capture in found.captures})
    architectures = ", ".join(dict.fromkeys(capture.architecture for capture in found.captures))
    print(
        f"{found.layer.value} layer: {kernels} kernels on {architectures or 'no architecture'}, "
        f"{seconds:.1f} s; captures: {path}"
    )


def _raise_errors(errors: Mapping[Layer, tuple[str, ...]]) -> None:
    incomplete = [
        f"the {layer.value} layer is incomplete:\n  " + "\n  ".join(texts) for layer, texts in errors.items() if texts
    ]
    if incomplete:
        raise RoofgateError("\n".join(incomplete))


def _show(workspace: Workspace, layer: Layer, architecture: str | None, kernel: str) -> int:
    sets, problems = read_captures(workspace.captures)
    for unreadable in problems:
        print(f"{unreadable.subject}: {unreadable.reason}", file=sys.stderr)
    found = [captures for captures in sets if captures.layer is layer]
    if not found:
        raise RoofgateError(
            f"{workspace.captures}: no {layer.value} captures yet; run: python -m profiles {_COMMANDS[layer]}"
        )
    for problem in found[0].problems:
        print(f"{problem.subject}: {problem.reason}", file=sys.stderr)
    print_layer(layer, select(found[0].captures, architecture=architecture, kernel=kernel))
    return EXIT_PASS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
