"""The tiers ask only for what exists, and keep patched code out of the hardware's captures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from perf.config import load_targets
from perf.model import Device
from profiles.ncu.metric_tiers import Chip, MetricTiers, Source, Tier, load_tiers
from profiles.ncu.model import Exactness

TIERS = load_tiers()
CHIPS = list(TIERS.chips.values())
FIVE_CHIPS = {"GA102", "AD102", "GA100", "GH100", "GB100"}
# How Nsight Compute's documentation names what it collects by patching instructions.
PATCHED = re.compile(r"smp?s?p?__sass_|sass__|memory_|(thread_)?inst_executed|derived__")
BEGINNING = """\
chips:
  GA100: {architecture: sm_80, targets: [a100]}
  GH100: {architecture: sm_90a, targets: [h100]}
tiers:
  small:
    purpose: to test
"""


def read(tmp_path: Path, text: str) -> MetricTiers:
    """The tiers of a file that begins with :data:`BEGINNING`."""
    path = tmp_path / "tiers.yml"
    path.write_text(BEGINNING + text)
    return load_tiers(path)


def names(tier: Tier, architecture: str, source: Source) -> set[str]:
    """What one capture asks for."""
    return {metric.name for metric in tier.select(architecture, source)}


def test_every_declared_processor_has_a_chip() -> None:
    """Each CUDA target once, under its own architecture; and the five chips that matter are there."""
    declared = {target.name: target.architecture for target in load_targets() if target.device is Device.CUDA}

    assert [(name, chip.architecture) for chip in CHIPS for name in chip.targets if name not in declared] == []
    assert {name: chip.architecture for chip in CHIPS for name in chip.targets} == declared
    assert set(TIERS.chips) >= FIVE_CHIPS
    assert list(TIERS.tiers) == ["gate", "roofline", "diagnosis", "full"]


@pytest.mark.parametrize("tier", TIERS.tiers.values(), ids=lambda tier: tier.name)
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_patched_and_hardware_metrics_are_captured_apart(tier: Tier, chip: Chip) -> None:
    """Two captures, neither empty, each with its own kind of metric, and no metric twice."""
    counters, sass = tier.collections(chip.architecture)

    assert (counters.name, sass.name) == (f"{tier.name}-counters", f"{tier.name}-sass")
    assert [name for name in counters.metrics if PATCHED.match(name)] == []
    assert [name for name in sass.metrics if not PATCHED.match(name)] == []
    assert counters.metrics
    assert sass.metrics
    for collection in (counters, sass):
        assert len(set(collection.metrics)) == len(collection.metrics)


def test_the_gate_asks_for_what_repeats_exactly() -> None:
    """A tolerance of zero needs metrics that earn it. Only time and traffic, which cost nothing more, may vary."""
    varying = {metric.name for metric in TIERS.tier("gate").metrics if metric.exactness is not Exactness.EXACT}

    assert varying == {"gpu__time_duration.sum", "dram__bytes_read.sum", "dram__bytes_write.sum"}


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("source", Source)
def test_the_full_tier_holds_all_others(chip: Chip, source: Source) -> None:
    """And sections on top."""
    others = (TIERS.tier(name) for name in ("gate", "roofline", "diagnosis"))
    full = TIERS.tier("full")

    assert names(full, chip.architecture, source) == set().union(
        *(names(tier, chip.architecture, source) for tier in others)
    )
    assert full.sections[source]


def test_a_device_without_the_feature_letter_gets_the_same_names() -> None:
    """The driver says sm_90 of what is compiled for as sm_90a."""
    for tier in TIERS.tiers.values():
        assert tier.collections("sm_90") == tier.collections("sm_90a")


def test_tensor_instructions_have_the_name_of_each_architecture() -> None:
    """Warp groups on Hopper alone; Ada's counters are called otherwise; Blackwell splits by pipe."""
    gate = TIERS.tier("gate")
    found = {
        chip.architecture: sorted(
            name.removeprefix("sm__inst_executed_pipe_")
            for name in names(gate, chip.architecture, Source.COUNTERS)
            if "_pipe_t" in name
        )
        for chip in CHIPS
    }

    assert found == {
        "sm_80": ["tensor_op_hmma.sum"],
        "sm_86": ["tensor_op_hmma.sum"],
        "sm_89": ["tensor_op_hmma_v2.sum"],
        "sm_90a": ["tensor_op_gmma.sum", "tensor_op_hmma.sum", "tma.sum"],
        "sm_100": ["tc.sum", "tensor_subpipe_hmma.sum", "tma.sum"],
    }


def test_the_roofline_divides_by_dense_peaks() -> None:
    """The peak of a metric that mixes dense and sparse work is the sparse one, twice too high."""
    for chip in CHIPS:
        peaks = [
            name
            for name in names(TIERS.tier("roofline"), chip.architecture, Source.COUNTERS)
            if name.startswith("sm__ops_path_tensor") and name.endswith(".peak_sustained")
        ]
        assert peaks
        assert all("_sparsity_off." in name for name in peaks)


def test_an_older_nsight_compute_is_not_asked_for_what_it_does_not_know(tmp_path: Path) -> None:
    """One unknown name would fail the whole capture."""
    tiers = read(
        tmp_path,
        """\
    counters:
      - {metrics: old.sum, purpose: known for long}
      - {metrics: new, suffixes: [.sum, .max], purpose: came later, since: "2025.3"}
    sass:
      - {metrics: sass__x, purpose: other}
""",
    )
    tier = tiers.tier("small")

    assert tier.collections("sm_80", (2025, 2, 9))[0].metrics == ("old.sum",)
    assert tier.collections("sm_80", (2025, 3, 0))[0].metrics == ("old.sum", "new.sum", "new.max")
    assert tier.collections("sm_80", (2026, 1, 0)) == tier.collections("sm_80")


def test_the_same_name_may_serve_two_architectures(tmp_path: Path) -> None:
    """With a purpose for each."""
    tiers = read(
        tmp_path,
        """\
    counters:
      - {metrics: a.sum, purpose: one, architectures: [sm_80]}
      - {metrics: a.sum, purpose: other, architectures: [sm_90a]}
    sass:
      - {metrics: sass__x, purpose: other}
""",
    )

    assert [metric.purpose for metric in tiers.tier("small").select("sm_90", Source.COUNTERS)] == ["other"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("    counters: [{metrics: a.sum, purpose: p}]\n", "under 'sass'"),
        ("    sass: [{metrics: a.sum, purpose: p}]\n", "under 'counters'"),
        ("    counters: [{metrics: a.sum, purpose: p}, {metrics: a.sum, purpose: p}]\n", "a.sum is already asked for"),
        (
            "    counters: [{metrics: a.sum, purpose: p}, {metrics: [a.sum], purpose: p, architectures: [sm_80]}]\n",
            ":7",
        ),
        (
            "    counters: [{metrics: a, purpose: p, architectures: [sm_81]}]\n    sass: [{metrics: b, purpose: p}]\n",
            "'sm_81', expected one of",
        ),
        ("    counters: [{metrics: a.sum, purpose: p, since: 2025.3}]\n", "valid string"),
        ("    counters: [{metrics: a.sum, purpose: p, since: soon}]\n", "such as '2025.1'"),
        ("    counters: [{metrics: a.sum}]\n", "'purpose' is missing"),
        ("    counters: [{metrics: [], purpose: p}]\n", "at least 1 item"),
        ("    counter: []\n", "did you mean 'counters'?"),
        ("    includes: [later]\n", "a tier includes those above it"),
    ],
)
def test_mistakes_in_the_file_are_named_with_their_line(tmp_path: Path, text: str, mistake: str) -> None:
    """File, line, and what was expected."""
    with pytest.raises(RoofgateError, match=re.escape(mistake)) as error:
        read(tmp_path, text)
    assert re.match(re.escape(str(tmp_path / "tiers.yml")) + r":\d+: tiers\.small", str(error.value))


def test_unknown_names_get_the_nearest_known_one() -> None:
    """Tiers and chips."""
    with pytest.raises(RoofgateError, match="did you mean 'gate'"):
        TIERS.tier("gates")
    with pytest.raises(RoofgateError, match="did you mean 'GH100'"):
        TIERS.chip("GH10")
