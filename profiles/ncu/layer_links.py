"""Where the hardware's counters and those of the static and simulated layers agree, and where they do not.

The layers count different things: the static one the machine code, the simulated one PTX of one small launch. Only
figures that do not depend on the size of the problem are compared: resources of a block, ratios per request, and
whether something occurs at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perf import units
from perf.model import Capture, Layer, Metric
from profiles.kernel_names import kernel_name
from profiles.ncu.instructions import instruction_mix, tensor_instructions
from profiles.ncu.launch_facts import architecture, sum_of
from profiles.ncu.launch_occupancy import launch_occupancy, shared_bytes
from profiles.ncu.memory_flow import shared_wavefronts
from profiles.ncu.model import Launch
from profiles.simulator.counters import Counts
from profiles.source_counters import CountedKernel, SourceCounters

_RATIO_TOLERANCE = 0.05  # relative; edges of the problem are another part of a small launch
_GLOBAL = tuple(f"l1tex__t_{{}}_pipe_lsu_mem_global_op_{operation}.sum" for operation in ("ld", "st"))

Figure = Callable[[Counts], int]  # of what the instructions of a line did


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One figure that two layers state."""

    figure: str
    layer: Layer  # beside the hardware
    hardware: float
    other: float
    agrees: bool
    sentence: str


def matching_captures(launch: Launch, captures: Sequence[Capture]) -> tuple[Capture, ...]:
    """Those of ``captures`` that are of the launch's kernel and architecture ("sm_90a" runs on 9.0)."""
    name, runs_on = kernel_name(launch.kernel), architecture(launch)
    return tuple(
        capture
        for capture in captures
        if capture.kernel == name and runs_on and capture.architecture.rstrip("af") == runs_on
    )


def matching_lines(launch: Launch, counters: SourceCounters | None) -> CountedKernel | None:
    """The simulated figures of the source lines of the launch's kernel; None if there are none."""
    if counters is None:
        return None
    name, runs_on = kernel_name(launch.kernel), architecture(launch)
    found = (one for one in counters.kernels if one.kernel == name and one.architecture.rstrip("af") == runs_on)
    return next(found, None)


def agreements(launch: Launch, captures: Sequence[Capture]) -> tuple[Agreement, ...]:
    """What ``captures`` of the launch's own kernel say, against what the hardware counted."""
    found: list[Agreement] = []
    for capture in captures:
        if capture.layer is Layer.STATIC:
            found += _static(launch, capture)
        elif capture.layer is Layer.SIMULATED:
            found += _simulated(launch, capture)
    return tuple(found)


def costliest_line(kernel: CountedKernel, figure: Figure) -> str:
    """``attention.cuh:142``: the line with the most of ``figure``; empty if there is none anywhere.

    An access is often one instruction in a function of its own; the line that calls it says more, so a line's own
    instructions count only where no function was inlined.
    """
    inlined = [(figure(line.direct) - figure(line.own), f"{line.file}:{line.line}") for line in kernel.lines]
    written = [(figure(line.own), f"{line.file}:{line.line}") for line in kernel.lines]
    for amounts in (inlined, written):
        most, place = max(amounts, default=(0, ""), key=lambda pair: pair[0])
        if most > 0:
            return place
    return ""


def _static(launch: Launch, capture: Capture) -> list[Agreement]:
    local = instruction_mix(launch).local
    pairs = (
        ("registers per thread", Metric.REGISTERS, launch.number_of("launch__registers_per_thread")),
        ("shared memory per block", Metric.SHARED_MEMORY_BYTES, shared_bytes(launch)),
        ("theoretical occupancy", Metric.OCCUPANCY, launch_occupancy(launch).theoretical),
    )
    found = [
        _equal(name, Layer.STATIC, hardware, capture.counters[metric])
        for name, metric, hardware in pairs
        if hardware is not None and metric in capture.counters
    ]
    spilled = capture.counters.get(Metric.SPILL_BYTES)
    if spilled is not None and local is not None:
        found.append(_both("access to local memory", Layer.STATIC, local, "instructions", spilled, "spilled bytes"))
    tensor, executed = capture.counters.get(Metric.SASS_TENSOR), tensor_instructions(launch)
    if tensor is not None and executed is not None:
        found.append(_both("tensor instructions", Layer.STATIC, executed, "executed", tensor, "in the machine code"))
    return found


def _simulated(launch: Launch, capture: Capture) -> list[Agreement]:
    found = []
    wavefronts = capture.counters.get(Metric.SIMULATED_WAVEFRONTS)
    conflicts = _wavefronts_over_ideal(launch)
    if wavefronts is not None and conflicts is not None:
        found.append(_close("shared wavefronts per conflict-free wavefront", conflicts, wavefronts))
    sectors, requests = (sum_of(launch, [name.format(kind) for name in _GLOBAL]) for kind in ("sectors", "requests"))
    simulated = capture.counters.get(Metric.SIMULATED_SECTORS)
    if simulated is not None and sectors is not None and requests:
        found.append(_close("global sectors per request", sectors / requests, simulated))
    tensor, executed = capture.counters.get(Metric.SIMULATED_TENSOR), tensor_instructions(launch)
    if tensor is not None and executed is not None:
        found.append(_both("tensor instructions", Layer.SIMULATED, executed, "executed", tensor, "in PTX"))
    return found


def _wavefronts_over_ideal(launch: Launch) -> float | None:
    """The simulated layer counts requests that need one wavefront at best, whatever their width; so does the ideal."""
    ideal, actual = launch.number_of("memory_l1_wavefronts_shared_ideal"), shared_wavefronts(launch)
    return actual / ideal if ideal and actual is not None else None


def _equal(figure: str, layer: Layer, hardware: float, other: float) -> Agreement:
    agrees = abs(hardware - other) <= 1e-9 + 1e-4 * abs(hardware)  # percentages in text have two decimals
    return _agreement(figure, layer, (hardware, other), agrees, (units.count(hardware), units.count(other)))


def _close(figure: str, hardware: float, other: float) -> Agreement:
    agrees = abs(hardware - other) <= _RATIO_TOLERANCE * abs(hardware)
    return _agreement(figure, Layer.SIMULATED, (hardware, other), agrees, (f"{hardware:.2f}", f"{other:.2f}"))


def _both(figure: str, layer: Layer, hardware: float, hardware_is: str, other: float, other_is: str) -> Agreement:
    """Whether it occurs: the amounts are of different things."""
    texts = f"{units.count(hardware)} {hardware_is}", f"{units.count(other)} {other_is}"
    return _agreement(figure, layer, (hardware, other), (hardware > 0) == (other > 0), texts)


def _agreement(
    figure: str, layer: Layer, values: tuple[float, float], agrees: bool, texts: tuple[str, str]
) -> Agreement:
    verdict = "agree" if agrees else "DISAGREE"
    sentence = f"{figure}: hardware {texts[0]}, {layer.value} {texts[1]}: they {verdict}"
    return Agreement(figure=figure, layer=layer, hardware=values[0], other=values[1], agrees=agrees, sentence=sentence)
