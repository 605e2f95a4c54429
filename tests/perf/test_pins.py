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
SIMULATED_PIN = Capture(
    kernel=PIN.kernel,
    architecture="sm_80",
    layer=Layer.SIMULATED,
    counters={Metric.SIMULATED_TENSOR: 49152.0, Metric.SIMULATED_SECTORS: 14.5},
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30)
CAPTURES = st.sampled_from([Layer.STATIC, Layer.SIMULATED]).flatmap(
    lambda layer: st.builds(
        Capture,
        kernel=NAMES,
        architecture=NAMES,
        layer=st.just(layer),
        counters=st.dictionaries(
            st.sampled_from([metric for metric in Metric if metric.layer is layer]), st.floats(0, 1e9)
        ),
        fingerprint=NAMES,
    )
)


def key_of(pin: Capture) -> tuple[str, str, Layer]:
    """What a pin is found by."""
    return pin.kernel, pin.architecture, pin.layer


@given(st.lists(CAPTURES, max_size=4, unique_by=key_of))
def test_pins_come_back(tmp_path_factory: pytest.TempPathFactory, captures: list[Capture]) -> None:
    """Every figure and name, whatever YAML would make of it unquoted."""
    path = tmp_path_factory.mktemp("pins") / "pins.yml"
    write_pins(Pins(compilers={"sm_80": "nvcc: 13"}, captures=tuple(captures)), path)
    pins = load_pins(path)

    assert pins.compilers == {"sm_80": "nvcc: 13"}
    assert {key_of(pin): pin for pin in pins.captures} == {key_of(pin): pin for pin in captures}
    assert all(pins.find(*key_of(pin)) == pin for pin in captures)


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


def test_simulated_figures_stand_apart(tmp_path: Path) -> None:
    """In a section of their own; they belong to no machine code, so they have no fingerprint."""
    path = tmp_path / "pins.yml"
    write_pins(Pins(compilers={}, captures=(SIMULATED_PIN, PIN)), path)
    lines = path.read_text().splitlines()

    assert lines[lines.index("simulated:") :] == [
        "simulated:",
        "  attention_fwd<bf16, 64, causal>:",
        "    sm_80: {simulated_tensor: 49152, simulated_global_sectors_per_request: 14.5}",
    ]


def test_a_layer_that_was_not_captured_keeps_its_pins() -> None:
    """A machine without a compiler of the simulator promotes static figures alone."""
    old = Pins(compilers={}, captures=(PIN, SIMULATED_PIN))
    new = replace_pins(old, (replace(PIN, fingerprint="new"),), {})

    assert set(map(key_of, new.captures)) == set(map(key_of, old.captures))
    assert new.find(*key_of(SIMULATED_PIN)) == SIMULATED_PIN
    assert new.find(*key_of(PIN)) == replace(PIN, fingerprint="new")


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
        ("registers: 168", "simulated_tensor: 168", "unknown figure"),
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
