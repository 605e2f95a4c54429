"""The deterministic baseline: the static and simulated figures of every kernel, tracked in the repository.

One line for each kernel, architecture and layer, so that a change of a register count is one changed line in a review.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, StrictFloat, StrictStr

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from perf.model import Capture, Layer, Metric
from perf.yaml_document import Document, Location, Schema, dump, one_of, read_document, validate

DEFAULT_PINS = Path("perf/baselines/pins.yml")
_FINGERPRINT = "fingerprint"
_HEADER = """\
# Deterministic figures of every CUDA kernel, one line for each architecture, and the compiler that gave them.
# "kernels" are those of its machine code, "simulated" those of one launch on the simulator.
# Written by `nox -s promote`.
"""
# The sections of the file, by layer; that of a layer which was never captured is left out.
_SECTIONS = {Layer.STATIC: "kernels", Layer.SIMULATED: "simulated"}

_Figures = dict[StrictStr, dict[StrictStr, dict[StrictStr, StrictFloat | StrictStr]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The pinned figures, as captures, and the compiler of each architecture."""

    compilers: Mapping[str, str]
    captures: tuple[Capture, ...]

    def find(self, kernel: str, architecture: str, layer: Layer = Layer.STATIC) -> Capture | None:
        """The pin of one kernel on one architecture, in one layer."""
        wanted = (kernel, architecture, layer)
        return next((pin for pin in self.captures if (pin.kernel, pin.architecture, pin.layer) == wanted), None)


class _PinsFile(Schema):
    compilers: dict[StrictStr, StrictStr]
    kernels: _Figures
    simulated: _Figures = Field(default_factory=dict)


def load_pins(path: Path = DEFAULT_PINS) -> Pins:
    """Read the pins; raises :class:`RoofgateError` for any mistake in the file."""
    document = read_document(path)
    content = validate(document, _PinsFile)
    captures = tuple(
        _pin(document, (section, kernel, architecture), layer, figures)
        for layer, section in _SECTIONS.items()
        for kernel, architectures in getattr(content, section).items()
        for architecture, figures in architectures.items()
    )
    return Pins(compilers=content.compilers, captures=captures)


def _pin(document: Document, location: Location, layer: Layer, figures: Mapping[str, float | str]) -> Capture:
    counters = {
        _metric(document, (*location, key), layer): _number(document, (*location, key), value)
        for key, value in figures.items()
        if key != _FINGERPRINT
    }
    _, kernel, architecture = (str(part) for part in location)
    fingerprint = str(figures.get(_FINGERPRINT, ""))
    return Capture(kernel=kernel, architecture=architecture, layer=layer, counters=counters, fingerprint=fingerprint)


def _metric(document: Document, location: Location, layer: Layer) -> Metric:
    known = {metric.key: metric for metric in Metric if metric.layer is layer}
    key = str(location[-1])
    if key not in known:
        raise RoofgateError(f"{document.place(location)}: unknown figure, {one_of(key, [*known, _FINGERPRINT])}")
    return known[key]


def _number(document: Document, location: Location, value: float | str) -> float:
    if isinstance(value, str):
        raise RoofgateError(f"{document.place(location)}: expected a number, got {value!r}")
    return value


def replace_pins(old: Pins, captures: tuple[Capture, ...], compilers: Mapping[str, str]) -> Pins:
    """``old`` with all replaced of each layer and architecture that was captured; the others keep their pins."""
    captured = {(capture.layer, capture.architecture) for capture in captures}
    kept = tuple(pin for pin in old.captures if (pin.layer, pin.architecture) not in captured)
    architectures = sorted({architecture for _, architecture in captured})
    merged = {**old.compilers, **{name: compilers[name] for name in architectures if name in compilers}}
    return Pins(compilers=merged, captures=kept + captures)


def write_pins(pins: Pins, path: Path = DEFAULT_PINS) -> None:
    """Write the pins sorted by kernel and architecture."""
    compilers = {name: pins.compilers[name] for name in sorted(pins.compilers)}
    content: dict[str, object] = {"compilers": compilers, "kernels": _section(pins, Layer.STATIC)}
    if simulated := _section(pins, Layer.SIMULATED):
        content["simulated"] = simulated
    write_atomically(path, _HEADER + dump(content))


def _section(pins: Pins, layer: Layer) -> dict[str, dict[str, dict[str, float | str]]]:
    kernels: dict[str, dict[str, dict[str, float | str]]] = {}
    for capture in sorted(pins.captures, key=lambda pin: (pin.kernel, pin.architecture)):
        if capture.layer is layer:
            kernels.setdefault(capture.kernel, {})[capture.architecture] = _figures(capture)
    return kernels


def _figures(capture: Capture) -> dict[str, float | str]:
    figures: dict[str, float | str] = {}
    for metric in Metric:
        if metric in capture.counters:
            value = capture.counters[metric]
            figures[metric.key] = int(value) if value == int(value) else value
    return figures | ({_FINGERPRINT: capture.fingerprint} if capture.fingerprint else {})
