"""The deterministic baseline: the static figures of every kernel, tracked in the repository.

One line for each kernel and architecture, so that a change of a register count is one changed line in a review.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import StrictFloat, StrictStr

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from perf.model import Capture, Layer, Metric
from perf.yaml_document import Document, Location, Schema, dump, one_of, read_document, validate

DEFAULT_PINS = Path("perf/baselines/pins.yml")
_FINGERPRINT = "fingerprint"
_HEADER = """\
# Deterministic figures of every CUDA kernel, one line for each architecture, and the compiler that gave them.
# Written by `nox -s promote`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The pinned figures, as captures, and the compiler of each architecture."""

    compilers: Mapping[str, str]
    captures: tuple[Capture, ...]

    def find(self, kernel: str, architecture: str) -> Capture | None:
        """The pin of one kernel on one architecture."""
        found = (pin for pin in self.captures if (pin.kernel, pin.architecture) == (kernel, architecture))
        return next(found, None)


class _PinsFile(Schema):
    compilers: dict[StrictStr, StrictStr]
    kernels: dict[StrictStr, dict[StrictStr, dict[StrictStr, StrictFloat | StrictStr]]]


def load_pins(path: Path = DEFAULT_PINS) -> Pins:
    """Read the pins; raises :class:`RoofgateError` for any mistake in the file."""
    document = read_document(path)
    content = validate(document, _PinsFile)
    captures = tuple(
        _pin(document, ("kernels", kernel, architecture), figures)
        for kernel, architectures in content.kernels.items()
        for architecture, figures in architectures.items()
    )
    return Pins(compilers=content.compilers, captures=captures)


def _pin(document: Document, location: Location, figures: Mapping[str, float | str]) -> Capture:
    counters = {
        _metric(document, (*location, key)): _number(document, (*location, key), value)
        for key, value in figures.items()
        if key != _FINGERPRINT
    }
    _, kernel, architecture = (str(part) for part in location)
    fingerprint = str(figures.get(_FINGERPRINT, ""))
    return Capture(
        kernel=kernel, architecture=architecture, layer=Layer.STATIC, counters=counters, fingerprint=fingerprint
    )


def _metric(document: Document, location: Location) -> Metric:
    known = {metric.key: metric for metric in Metric if metric.layer is Layer.STATIC}
    key = str(location[-1])
    if key not in known:
        raise RoofgateError(f"{document.place(location)}: unknown figure, {one_of(key, [*known, _FINGERPRINT])}")
    return known[key]


def _number(document: Document, location: Location, value: float | str) -> float:
    if isinstance(value, str):
        raise RoofgateError(f"{document.place(location)}: expected a number, got {value!r}")
    return value


def replace_pins(old: Pins, captures: tuple[Capture, ...], compilers: Mapping[str, str]) -> Pins:
    """``old`` with everything of the captured architectures replaced; other architectures keep their pins."""
    captured = {capture.architecture for capture in captures}
    kept = tuple(pin for pin in old.captures if pin.architecture not in captured)
    merged = {**old.compilers, **{name: compilers[name] for name in sorted(captured) if name in compilers}}
    return Pins(compilers=merged, captures=kept + captures)


def write_pins(pins: Pins, path: Path = DEFAULT_PINS) -> None:
    """Write the pins sorted by kernel and architecture."""
    kernels: dict[str, dict[str, dict[str, float | str]]] = {}
    for capture in sorted(pins.captures, key=lambda pin: (pin.kernel, pin.architecture)):
        kernels.setdefault(capture.kernel, {})[capture.architecture] = _figures(capture)
    compilers = {name: pins.compilers[name] for name in sorted(pins.compilers)}
    write_atomically(path, _HEADER + dump({"compilers": compilers, "kernels": kernels}))


def _figures(capture: Capture) -> dict[str, float | str]:
    figures: dict[str, float | str] = {}
    for metric in Metric:
        if metric in capture.counters:
            value = capture.counters[metric]
            figures[metric.key] = int(value) if value == int(value) else value
    return figures | {_FINGERPRINT: capture.fingerprint}
