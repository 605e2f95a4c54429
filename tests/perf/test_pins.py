"""The pin file reads back, reads well in a diff, and keeps what was not captured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from perf.model import Capture, Layer, Metric
from perf.pins import Pins, load_pins, replace_pins, write_pins

PIN = Capture(
    kernel="attention_fwd<bf16, 64, causal>",
    architecture="sm_80",
    layer=Layer.STATIC,
    counters={Metric.REGISTERS: 168.0, Metric.SPILL_BYTES: 0.0, Metric.OCCUPANCY: 0.1875},
    fingerprint="12e345",  # a number, if it were not quoted
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30)
STATIC = [metric for metric in Metric if metric.layer is Layer.STATIC]
CAPTURES = st.builds(
    Capture,
    kernel=NAMES,
    architecture=NAMES,
    layer=st.just(Layer.STATIC),
    counters=st.dictionaries(st.sampled_from(STATIC), st.floats(0, 1e9)),
    fingerprint=NAMES,
)


@given(st.lists(CAPTURES, max_size=4, unique_by=lambda pin: (pin.kernel, pin.architecture)))
def test_pins_come_back(tmp_path_factory: pytest.TempPathFactory, captures: list[Capture]) -> None:
    """Every figure and name, whatever YAML would make of it unquoted."""
    path = tmp_path_factory.mktemp("pins") / "pins.yml"
    write_pins(Pins(compilers={"sm_80": "nvcc: 13"}, captures=tuple(captures)), path)
    pins = load_pins(path)

    assert pins.compilers == {"sm_80": "nvcc: 13"}
    assert sorted(pins.captures, key=repr) == sorted(captures, key=repr) or {
        (pin.kernel, pin.architecture): pin for pin in pins.captures
    } == {(pin.kernel, pin.architecture): pin for pin in captures}


def test_the_file_has_one_line_for_each_kernel_and_architecture(tmp_path: Path) -> None:
    """Sorted, integers without decimals, the compiler at the top."""
    path = tmp_path / "pins.yml"
    others = (replace(PIN, architecture="sm_90a"), replace(PIN, kernel="attention_fwd<bf16, 128, full>"))
    write_pins(Pins(compilers={"sm_90a": "nvcc 13", "sm_80": "nvcc 13"}, captures=(PIN, *others)), path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    figures = "{registers: 168, spill_bytes: 0, occupancy: 0.1875, fingerprint: '12e345'}"

    assert lines == [
        "compilers: {sm_80: nvcc 13, sm_90a: nvcc 13}",
        "kernels:",
        "  attention_fwd<bf16, 128, full>:",
        f"    sm_80: {figures}",
        "  attention_fwd<bf16, 64, causal>:",
        f"    sm_80: {figures}",
        f"    sm_90a: {figures}",
    ]


def test_only_captured_architectures_are_replaced() -> None:
    """A machine that built one architecture keeps the pins of the others, and drops kernels that are gone."""
    old = Pins(
        compilers={"sm_80": "old", "sm_90a": "old"},
        captures=(PIN, replace(PIN, kernel="gone"), replace(PIN, architecture="sm_90a")),
    )
    new = replace_pins(old, (replace(PIN, fingerprint="new"),), {"sm_80": "new", "sm_86": "new"})

    assert new.compilers == {"sm_80": "new", "sm_90a": "old"}
    assert {(pin.kernel, pin.architecture, pin.fingerprint) for pin in new.captures} == {
        (PIN.kernel, "sm_80", "new"),
        (PIN.kernel, "sm_90a", "12e345"),
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("registers: 168", "regsters: 168", "did you mean 'registers'?"),
        (
            "registers: 168",
            "registers: many",
            "kernels.attention_fwd<bf16, 64, causal>.sm_80.registers: expected a number",
        ),
        ("kernels:", "kernel:", "did you mean 'kernels'?"),
    ],
)
def test_a_hand_edit_gone_wrong_is_located(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """Like every other YAML file."""
    path = tmp_path / "pins.yml"
    write_pins(Pins(compilers={}, captures=(PIN,)), path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RoofgateError) as caught:
        load_pins(path)

    assert expected in str(caught.value)


def test_the_shipped_pins_are_valid() -> None:
    """perf/baselines/pins.yml."""
    assert load_pins() is not None
