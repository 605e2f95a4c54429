"""The static, the simulated and the hardware layer as tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernels.errors import RoofgateError
from perf.model import Capture, Layer, Metric
from perf.units import metric_value

PIPED_WIDTH = 180
_COUNTED = (
    ("registers", Metric.REGISTERS),
    ("spills B", Metric.SPILL_BYTES),
    ("shared B", Metric.SHARED_MEMORY_BYTES),
)
_CODE = (
    ("SASS", Metric.SASS_INSTRUCTIONS),
    ("tensor", Metric.SASS_TENSOR),
    ("local", Metric.SASS_LOCAL_MEMORY),
    ("warnings", Metric.COMPILER_WARNINGS),
)
_EXECUTED = (
    ("executed", Metric.SIMULATED_INSTRUCTIONS),
    ("tensor", Metric.SIMULATED_TENSOR),
    ("float", Metric.SIMULATED_FLOAT),
    ("special", Metric.SIMULATED_SPECIAL),
    ("integer", Metric.SIMULATED_INTEGER),
    ("memory", Metric.SIMULATED_LOAD_STORE),
    ("diverge", Metric.SIMULATED_DIVERGENT),
    ("barriers", Metric.SIMULATED_BARRIERS),
    ("copied B", Metric.SIMULATED_COPY_BYTES),
)
_PER_REQUEST = (
    ("wave/req", Metric.SIMULATED_WAVEFRONTS),
    ("sect/req", Metric.SIMULATED_SECTORS),
)


def select(captures: Iterable[Capture], *, architecture: str | None, kernel: str) -> list[Capture]:
    """Captures of one architecture, or of all if it is None, whose kernel matches the pattern ``kernel``.

    Raises :class:`RoofgateError` if there is none.
    """
    present = list(captures)
    chosen = [
        capture
        for capture in present
        if architecture in (None, capture.architecture) and fnmatchcase(capture.kernel, kernel)
    ]
    if not chosen:
        architectures = ", ".join(sorted({capture.architecture for capture in present})) or "none"
        kernels = ", ".join(sorted({capture.kernel for capture in present})) or "none"
        raise RoofgateError(
            f"no kernel matches {kernel!r} on {architecture or 'any architecture'}; "
            f"captured architectures: {architectures}; kernels: {kernels}"
        )
    return sorted(chosen, key=lambda capture: (capture.kernel, capture.architecture))


def static_table(captures: Iterable[Capture]) -> Table:
    """One row for each kernel and architecture. A dash means that the figure is not known."""
    table = Table(title="Static layer (exact, from the compiler and its machine code)", title_justify="left")
    for heading in ("kernel", "architecture"):
        table.add_column(heading, no_wrap=True)
    for heading in (*(name for name, _ in _COUNTED), "occupancy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("limited by")
    for heading, _ in _CODE:
        table.add_column(heading, justify="right", no_wrap=True)
    for capture in captures:
        table.add_row(*(Text(cell) for cell in _cells(capture)))
    return table


def _cells(capture: Capture) -> list[str]:
    occupancy = capture.counters.get(Metric.OCCUPANCY)
    return [
        capture.kernel,
        capture.architecture,
        *(_count(capture, metric) for _, metric in _COUNTED),
        "-" if occupancy is None else f"{occupancy:.1%}",
        capture.occupancy_limiter or "-",
        *(_count(capture, metric) for _, metric in _CODE),
    ]


def _count(capture: Capture, metric: Metric) -> str:
    value = capture.counters.get(metric)
    return "-" if value is None else f"{value:,.0f}"


def simulated_table(captures: Iterable[Capture]) -> Table:
    """One row for each kernel and architecture, of one fixed launch. A dash means that there was no such request."""
    table = Table(
        title="Simulated layer (exact: PTX warp-instructions of one small launch; neither SASS nor time). wave/req: "
        "shared-memory wavefronts per request, sect/req: global-memory sectors per request",
        title_justify="left",
    )
    for heading in ("kernel", "architecture"):
        table.add_column(heading, no_wrap=True)
    for heading, _ in (*_EXECUTED, *_PER_REQUEST, ("findings", Metric.SIMULATED_FINDINGS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for capture in captures:
        per_request = (capture.counters.get(metric) for _, metric in _PER_REQUEST)
        cells = (
            capture.kernel,
            capture.architecture,
            *(_count(capture, metric) for _, metric in _EXECUTED),
            *("-" if value is None else f"{value:.3g}" for value in per_request),
            _count(capture, Metric.SIMULATED_FINDINGS),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


_HARDWARE = (
    ("instr", Metric.HW_INSTRUCTIONS),
    ("tensor", Metric.HW_TENSOR),
    ("local", Metric.HW_LOCAL_INSTRUCTIONS),
    ("shared waves", Metric.HW_SHARED_WAVEFRONTS),
    ("sectors", Metric.HW_GLOBAL_SECTORS),
    ("L2 sectors", Metric.HW_L2_SECTORS),
    ("DRAM B", Metric.HW_DRAM_BYTES),
)


def hardware_table(captures: Iterable[Capture]) -> Table:
    """One row for each kernel and architecture, of one case. A dash means that the counter was not captured."""
    table = Table(
        title="Hardware layer (one launch of a case under Nsight Compute; medians over launches)", title_justify="left"
    )
    for heading in ("kernel", "launch"):
        table.add_column(heading)
    for heading in ("time", *(name for name, _ in _HARDWARE)):
        table.add_column(heading, justify="right", no_wrap=True)
    for capture in captures:
        time = capture.counters.get(Metric.HW_DURATION)
        cells = (
            capture.kernel,
            capture.launch,
            "-" if time is None else metric_value(Metric.HW_DURATION, time),
            *(_count(capture, metric) for _, metric in _HARDWARE),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


TABLES: Mapping[Layer, Callable[[Iterable[Capture]], Table]] = {
    Layer.STATIC: static_table,
    Layer.SIMULATED: simulated_table,
    Layer.HARDWARE: hardware_table,
}


def print_layer(layer: Layer, captures: Iterable[Capture]) -> None:
    """Print the layer's table and, below it, each warning of the compiler or finding of the simulator."""
    chosen = list(captures)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(TABLES[layer](chosen))
    for capture in chosen:
        for warning in capture.warnings:
            console.print(Text(f"{capture.kernel} on {capture.architecture}: {warning}"), soft_wrap=True)
