"""``python -m profiles probe``: hold the simulator against a GPU, or against what it said before."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kernels.artifacts import write_atomically
from kernels.errors import EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.workspace import Workspace
from profiles.simulator.probes.catalogue import find_probes
from profiles.simulator.probes.compare import Row, Status, compare
from profiles.simulator.probes.expectations import (
    Expectation,
    against_expectation,
    read_expectations,
    write_expectations,
)
from profiles.simulator.probes.gpu_driver import Device, Driver
from profiles.simulator.probes.gpu_side import Outcome, gpu_process, reason_not_to_run, run_all
from profiles.simulator.probes.probe import Probe, Words
from profiles.simulator.probes.recordings import Recorded, kept_recordings, read_recording, write_recording
from profiles.simulator.probes.simulator_side import simulate

EXAMPLES = """\
examples:
  python -m profiles probe                          the simulator against the stored expectations
  python -m profiles probe --against h100           the simulator against what an H100 said
  python -m profiles probe --against gpu            the simulator against this machine's GPU
  python -m profiles probe --against gpu --filter 'wgmma-*'
  python -m profiles probe --against out/probes/gpu.npz    the simulator against what a GPU said before
  python -m profiles probe --update                 store what the simulator says now

The kernels are PTX text that the driver compiles: nvcc is not needed, nor PyTorch. Where the simulator cannot be built
(no C++ compiler), the GPU is held against the stored expectations instead. What the GPU said is written to
out/probes/gpu.npz, and can be compared again on another machine; copied to profiles/simulator/probes/recorded, it has a
name of its own. The exit code is 1 if a probe differs, and 2 if there
is no GPU. A probe that needs another architecture is "not run".
"""

_WIDTH = 160


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The command line."""

    against: str  # "expected", "gpu", or the name or path of recorded answers
    update: bool
    pattern: str
    output: Path
    recording: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    folder = Workspace().root
    parser.add_argument(
        "--against",
        default="expected",
        metavar="WHAT",
        help='"expected" (default), "gpu", or recorded answers: "h100", or a gpu.npz',
    )
    parser.add_argument("--update", action="store_true", help="store what the simulator says as the expectation")
    parser.add_argument("--filter", default="*", metavar="GLOB", help="shell pattern of probes (default: all)")
    parser.add_argument(
        "--output", type=Path, default=folder / "probes.json", metavar="FILE", help="the result (default: %(default)s)"
    )
    parser.add_argument(
        "--recording",
        type=Path,
        default=folder / "probes" / "gpu.npz",
        metavar="FILE",
        help="the GPU's answers (default: %(default)s)",
    )


def read_request(options: argparse.Namespace) -> ProbeRequest:
    """The options as a request."""
    return ProbeRequest(options.against, options.update, options.filter, options.output, options.recording)


def run_probes(request: ProbeRequest) -> int:
    """Compare, print a table and write the result; returns the exit code."""
    probes = find_probes(request.pattern)
    if request.update:
        return _update(probes)
    device: Device | None = None
    if request.against == "expected":
        rows = _hold_simulator(probes, read_expectations())
    elif request.against == "gpu":
        device, rows = _hold_gpu(probes, request.recording)
    else:
        recording = kept_recordings().get(request.against, Path(request.against))
        rows = hold_answers(probes, read_recording(recording))
    write_rows(request.output, rows, device)
    print_rows(rows)
    print(f"result: {request.output}")
    return EXIT_REGRESSION if any(row.status is Status.DIFFERS for row in rows) else EXIT_PASS


def _update(probes: Mapping[str, Probe]) -> int:
    changed = write_expectations({name: simulate(probe) for name, probe in probes.items()})
    print(f"{len(probes)} probes run in the simulator; {changed} expectations are new or changed")
    return EXIT_PASS


def _hold_simulator(probes: Mapping[str, Probe], expected: Mapping[str, Expectation]) -> list[Row]:
    return [against_expectation(probe, expected.get(name), simulate(probe)) for name, probe in probes.items()]


def _hold_gpu(probes: Mapping[str, Probe], recording: Path) -> tuple[Device, list[Row]]:
    device = Driver().describe()
    major, minor = device.compute_capability
    print(f"{device.name} (sm_{major}{minor}), driver for CUDA {device.driver // 1000}.{device.driver % 1000 // 10}")
    reasons = {name: reason_not_to_run(probe, device) for name, probe in probes.items()}
    names = [name for name, reason in reasons.items() if reason is None]
    answers: dict[str, Outcome] = run_all(names, gpu_process, lambda line: print(line, file=sys.stderr))
    write_recording(recording, answers)
    answers |= {name: reason for name, reason in reasons.items() if reason is not None}
    return device, hold_answers(probes, answers)


def hold_answers(
    probes: Mapping[str, Probe],
    answers: Recorded,
    run: Callable[[Probe], Words] = simulate,
    expected: Mapping[str, Expectation] | None = None,
) -> list[Row]:
    """Hold a GPU's answers against the simulator's, or, where it cannot be built, against the stored ones."""
    kept = read_expectations() if expected is None else expected
    rows = []
    for name, probe in probes.items():
        answer = answers.get(name, "not among the recorded answers")
        if isinstance(answer, str):
            rows.append(Row(name, Status.NOT_RUN, answer))
            continue
        try:
            reference = run(probe)
        except RoofgateError as error:
            row = _stored(probe, kept.get(name), answer)
            rows.append(Row(name, row.status, f"{row.detail} [stored; {_first_line(error)}]", row.differing, row.words))
        else:
            rows.append(_compared(probe, reference, answer))
    return rows


def _compared(probe: Probe, reference: Words, answer: Words | Expectation) -> Row:
    if isinstance(answer, Expectation):
        return against_expectation(probe, answer, reference)
    return compare(probe, reference, answer)


def _stored(probe: Probe, expectation: Expectation | None, answer: Words | Expectation) -> Row:
    """Without a simulator; of a digest it is only known whether it is the same."""
    if not isinstance(answer, Expectation):
        return against_expectation(probe, expectation, answer)
    same = expectation is not None and expectation.digest == answer.digest
    return Row(probe.name, Status.EQUAL if same else Status.DIFFERS, "" if same else "the digest", 0, answer.words)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def write_rows(path: Path, rows: list[Row], device: Device | None) -> None:
    """The result as JSON."""
    content = {
        "device": asdict(device) if device else None,
        "probes": [asdict(row) | {"status": row.status.value} for row in rows],
    }
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def print_rows(rows: list[Row]) -> None:
    """What differs or was not run, what a tolerance hid, and a count of all."""
    table = Table("probe", "outcome", "words that differ", "detail")
    for row in rows:
        if row.detail or row.status is not Status.EQUAL:
            apart = f"{row.differing} of {row.words}" if row.status is Status.DIFFERS and row.words else ""
            table.add_row(row.probe, row.status.value, apart, row.detail)
    if table.row_count:
        Console(width=_WIDTH, highlight=False, markup=False).print(table)
    counts = Counter(row.status for row in rows)
    print(", ".join(f"{counts[status]} {status.value}" for status in Status))
