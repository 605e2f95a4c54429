"""``python -m profiles capture|static|show|hardware|import|explain|...``: why each kernel takes the time it takes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kernels.build import current_record
from kernels.build_record import BuildRecord
from kernels.errors import EXIT_PASS, RoofgateError, run_command
from kernels.workspace import Workspace, run_step
from perf.model import CaptureSet, Layer
from perf.store import read_captures, write_capture_set
from profiles import hardware_command, kernel_figures
from profiles.hardware import HardwareRequest, capture_hardware
from profiles.ncu import explain_command, import_command, metrics_command
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
  python -m profiles show --layer hardware          what a GPU counted
  python -m profiles explain report.ncu-rep         any report of Nsight Compute, in words

A layer that cannot run here is recorded with its reason, and the exit code is 0. A damaged artefact is an error: the
exit code is 2, and what could be read is kept. Captures lie in out/captures, one file per layer.
"""

# What captures a layer that can be shown.
_COMMANDS = {Layer.STATIC: "static", Layer.SIMULATED: "capture", Layer.HARDWARE: "hardware"}
_LIST = "capture|static|show|figures|hardware|import|explain|metrics|simulate|mutants|probe"


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
        "figures": lambda: run_command(
            lambda: kernel_figures.print_figures(kernel_figures.read_request(options), current_record(workspace))
        ),
        "hardware": lambda: _hardware_command(workspace, options),
        "import": lambda: run_command(lambda: _import(workspace, options)),
        "explain": lambda: run_command(
            lambda: explain_command.run_explain(explain_command.read_request(options), workspace.captures)
        ),
        "metrics": lambda: run_command(lambda: metrics_command.run_metrics(metrics_command.read_request(options))),
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
    commands = parser.add_subparsers(dest="command", required=True, metavar=_LIST)
    commands.add_parser("capture", help="capture every layer that can run here")
    commands.add_parser("static", help="analyse the built CUDA kernels without a GPU")
    show = commands.add_parser("show", help="print what a layer captured", epilog=EXAMPLES, formatter_class=layout)
    layers = [layer.value for layer in TABLES]
    show.add_argument("--layer", choices=layers, default=Layer.STATIC.value, help="which layer (default: static)")
    show.add_argument("--architecture", metavar="NAME", help='one architecture, such as "sm_80" (default: all)')
    show.add_argument("--kernel", metavar="GLOB", default="*", help="shell pattern of kernel names (default: all)")
    table = commands.add_parser(
        "figures",
        help="what compiler and simulator say of the attention kernels, as a Markdown table",
        epilog=kernel_figures.EXAMPLES,
        formatter_class=layout,
    )
    kernel_figures.add_arguments(table)
    _add_hardware_parsers(commands)
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


def _add_hardware_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands around Nsight Compute."""
    described = (
        ("hardware", "capture cases on this machine's GPU with Nsight Compute", hardware_command),
        ("import", "keep reports of Nsight Compute, of anybody's kernels, for the site", import_command),
        ("explain", "say why a captured kernel takes its time, and what changed", explain_command),
        ("metrics", "hold the metrics against every declared chip, without a GPU", metrics_command),
    )
    for name, purpose, command in described:
        parser = commands.add_parser(
            name, help=purpose, epilog=command.EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(parser)


def _capture(workspace: Workspace) -> int:
    record = current_record(workspace)
    errors = {Layer.STATIC: _write_static(workspace, record), Layer.SIMULATED: _write_simulated(workspace, record)}
    _write_hardware(workspace, record, hardware_command.default_request())
    _raise_errors(errors)
    return EXIT_PASS


def _hardware_command(workspace: Workspace, options: argparse.Namespace) -> int:
    """Capture on this machine's GPU, or print the commands."""
    if options.print_command:
        return run_command(
            lambda: hardware_command.print_commands(hardware_command.read_request(options), workspace.captures)
        )
    return run_step(workspace, "profile", lambda: _hardware(workspace, options))


def _hardware(workspace: Workspace, options: argparse.Namespace) -> int:
    _write_hardware(workspace, current_record(workspace), hardware_command.read_request(options).hardware)
    return EXIT_PASS


def _write_hardware(workspace: Workspace, record: BuildRecord, request: HardwareRequest) -> None:
    """Capture the hardware layer, or record why it cannot be captured here, which is no error."""
    started = time.monotonic()
    captures = capture_hardware(request, record, workspace.captures, print)
    path = write_capture_set(workspace.captures, captures)
    if captures.captures:
        _report(captures, (), time.monotonic() - started, path)
        return
    print(f"hardware layer: not run: {captures.problems[0].reason}")


def _import(workspace: Workspace, options: argparse.Namespace) -> int:
    with workspace.writing("roofgate import"):
        return import_command.import_files(options.files, workspace.captures, print, options.against)


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
