"""Every mistake in a YAML file is named with file, line, key, expectation and finding; the shipped files are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from perf.config import (
    find_case,
    find_suite,
    find_target,
    load_suites,
    load_targets,
    load_thresholds,
    match_target,
)
from perf.model import Device, DType, Layer, Metric
from perf.rules import Maximum, MaximumChange, MinimumRatio

SUITE = """\
suites:
  tiny:
    description: for tests
    cpu:
      seconds_per_case: 1
      cases:
      - {operation: attention_fwd, dtype: [bf16, fp32], batch: 1, heads_q: 8, seqlen_q: [16, 32]
         , head_dim: 8, mask: causal}
"""
TARGET = """\
targets:
  one:
    title: One
    device: cuda
    architecture: sm_80
    device_names: [NVIDIA One]
    flop_per_s: {bf16: 312e12}
    source: a datasheet
"""
RULES = """\
margin: 3%
rules:
  - {name: spills, metric: spill_bytes, max: 0}
  - name: fast
    cases: attention_*
    min_ratio_to: {peer: torch_flash, at_least: 3}
    requires: avx512_bf16
"""


def refusal(load: Callable[[Path], object], path: Path, text: str) -> str:
    """What reading ``text`` is refused with."""
    path.write_text(dedent(text))
    with pytest.raises(RoofgateError) as caught:
        load(path)
    return str(caught.value)


def test_lists_expand_to_their_product(tmp_path: Path) -> None:
    """Two types times two lengths; heads_kv and seqlen_k follow."""
    path = tmp_path / "suites.yml"
    path.write_text(SUITE)
    cases = load_suites(path)["tiny"].cases(Device.CPU)

    assert [(case.dtype, case.seqlen_q) for case in cases] == [
        (DType.BF16, 16),
        (DType.BF16, 32),
        (DType.FP32, 16),
        (DType.FP32, 32),
    ]
    assert all(case.heads_kv == 8 and case.seqlen_k == case.seqlen_q for case in cases)
    assert load_suites(path)["tiny"].cases(Device.CUDA) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "dtype: [bf16, fp32]",
            "dtype: [bf16, fp23]",
            ":7: suites.tiny.cpu.cases[0].dtype[1]: got 'fp23', expected one",
        ),
        ("dtype: [bf16, fp32]", "dtype: [bf16, fp23]", "did you mean 'fp32'?"),
        ("heads_q: 8", "heads_Q: 8", ":7: suites.tiny.cpu.cases[0].heads_Q: unknown key, expected one of operation"),
        ("heads_q: 8", "heads_Q: 8", "did you mean 'heads_q'?"),
        ("heads_q: 8", "heads_q: eight", ":7: suites.tiny.cpu.cases[0].heads_q: expected a valid integer, got 'eight'"),
        ("heads_q: 8", "heads_q: true", "expected a valid integer, got True"),
        ("heads_q: 8", "heads_q: 0", "expected greater than 0, got 0"),
        ("heads_q: 8", "heads_q: []", ":7: suites.tiny.cpu.cases[0].heads_q: is empty, expected at least one"),
        ("heads_q: 8", "heads_q: {a: 1}", "heads_q: expected a valid integer, got {'a': 1}"),
        (
            "    description: for tests",
            "    description: x\n    cuda: 7",
            ":4: suites.tiny.cuda: expected a mapping of keys",
        ),
        ("heads_q: 8", "heads_q: 8, heads_kv: 3", ":7: suites.tiny.cpu.cases[0]: heads_q is 8, which is no multiple"),
        ("batch: 1, ", "", ":7: suites.tiny.cpu.cases[0]: key 'batch' is missing"),
        ("mask: causal", "mask: window", ":8: suites.tiny.cpu.cases[0].mask: mask window needs a size of at least 1"),
        ("mask: causal", "mask: window-3", "mask: 'window-3' is no mask; expected full, causal, windowN"),
        ("mask: causal", "mask: true", "mask: 'True' is no mask"),
        ("mask: causal", "mask: causal, softcap: -1", "softcap: expected greater than or equal to 0, got -1"),
        (
            "mask: causal",
            "mask: prefix4, varlen: true",
            ":7: suites.tiny.cpu.cases[0]: varlen and mask prefix4",
        ),
        (
            "seqlen_q: [16, 32]",
            "seqlen_q: [16, 16]",
            ":7: suites.tiny.cpu.cases[0]: attention_fwd-bf16-1x8x16x8-causal",
        ),
        (
            "seconds_per_case: 1",
            "seconds_per_case: -1",
            ":5: suites.tiny.cpu.seconds_per_case: expected greater than 0",
        ),
        ("seconds_per_case: 1", "seconds_per_case: .nan", ":5: suites.tiny.cpu.seconds_per_case: expected a finite"),
        ("description: for tests", "description: 7", ":3: suites.tiny.description: expected a valid string, got 7"),
        (
            "description: for tests",
            "description: a\n    description: b",
            ":4: key 'description' is already given on line 3",
        ),
        ("  tiny:", "  a/b:", ":2: suites.a/b"),
        ("    cpu:", "    gpu:", ":4: suites.tiny.gpu: unknown key, expected one of description, cpu, cuda"),
        ("suites:", "suits:", ":1: suits: unknown key, expected one of suites; did you mean 'suites'?"),
        ("description: for tests", "description: [", "malformed YAML"),
        ("description: for tests", "description: &x y\n    cpu: *x", ":4: malformed YAML: aliases"),
        ("description: for tests", "description: !!python/object:os.system {}", "malformed YAML: tag"),
    ],
)
def test_mistakes_in_suites_are_located(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """One planted mistake each."""
    assert old in SUITE
    path = tmp_path / "suites.yml"
    message = refusal(load_suites, path, SUITE.replace(old, new, 1))

    assert expected in message
    assert message.startswith(str(path))


def test_all_mistakes_are_reported_in_the_order_of_lines(tmp_path: Path) -> None:
    """A user mends them in one go."""
    text = SUITE.replace("description: for tests", "description: 7").replace("batch: 1", "batch: x")
    lines = refusal(load_suites, tmp_path / "s.yml", text).splitlines()

    assert [line.split(":")[1] for line in lines] == ["3", "7"]


@pytest.mark.parametrize(
    ("text", "expected"), [("", "is empty"), ("# nothing\n", "is empty"), ("7", "expected"), ("[]", "expected")]
)
def test_a_file_without_content_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Empty, or not a mapping at all."""
    assert expected in refusal(load_suites, tmp_path / "s.yml", text)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    """Named, with the next step."""
    binary = tmp_path / "s.yml"
    binary.write_bytes(b"suites: \xff\xfe")
    with pytest.raises(RoofgateError, match="no such file; run from the root"):
        load_suites(tmp_path / "absent.yml")
    with pytest.raises(RoofgateError, match="not UTF-8"):
        load_suites(binary)


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_crash(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever is in the file: an object, or one clear error."""
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(RoofgateError, match=r"fuzz\.yml"):
        load_suites(path)


def test_targets_read_numbers_as_people_write_them(tmp_path: Path) -> None:
    """312e12 is a number here, though not in YAML 1.1."""
    path = tmp_path / "targets.yml"
    path.write_text(TARGET)

    assert load_targets(path)[0].flop_per_s == {DType.BF16: 312e12}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "bf16: 312e12",
            "bf61: 312e12",
            ":7: targets.one.flop_per_s.bf61: got 'bf61', expected one of bf16, fp16, fp32",
        ),
        ("bf16: 312e12", "bf16: 312 TFLOP/s", "expected a valid number, got '312 TFLOP/s'"),
        ("bf16: 312e12", "bf16: 0", "expected greater than 0, got 0"),
        ("source: a datasheet", "", ":2: targets.one: key 'source' is missing"),
        ("device: cuda", "device: tpu", ":4: targets.one.device: got 'tpu', expected one of cpu, cuda"),
        ("[NVIDIA One]", "[NVIDIA One, NVIDIA One]", ":6: targets.one.device_names: 'NVIDIA One' already belongs"),
    ],
)
def test_mistakes_in_targets_are_located(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """One planted mistake each."""
    assert old in TARGET
    assert expected in refusal(load_targets, tmp_path / "targets.yml", TARGET.replace(old, new, 1))


@pytest.mark.parametrize(
    ("device_name", "target"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm_80gb"),
        ("NVIDIA A100-PCIE-40GB", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA H100", None),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A4000 Laptop GPU", None),
    ],
)
def test_a_gpu_matches_only_the_variant_whose_figures_these_are(device_name: str, target: str | None) -> None:
    """A near name with other bandwidth or clocks is no match."""
    found = match_target(load_targets(), device_name)

    assert (found.name if found else None) == target


# FLOP per clock and multiprocessor of the tensor cores with fp32 accumulation, and the clock of the datasheet's peak.
RATES = {
    "rtx_a4000": (1024, 1.56e9),
    "rtx_a6000": (1024, 1.80e9),
    "rtx_4090": (512, 2.52e9),
    "l4": (1024, 2.04e9),
    "l40s": (1024, 2.52e9),
    "a100_sxm_80gb": (2048, 1.41e9),
    "h100_sxm": (4096, 1.83e9),
    "h100_pcie": (4096, 1.62e9),
    "h200": (4096, 1.83e9),
    "b200": (8192, 1.856e9),
}


def test_declared_peaks_follow_from_multiprocessors_and_clocks() -> None:
    """No sparse figure and no fp16-accumulation figure has slipped in: each would be off by a factor of two."""
    targets = {target.name: target for target in load_targets() if target.device is Device.CUDA}

    assert targets.keys() == RATES.keys()
    for name, target in targets.items():
        rate, clock = RATES[name]
        assert target.multiprocessors is not None
        assert target.flop_per_s[DType.BF16] == pytest.approx(target.multiprocessors * rate * clock, rel=0.005)
        assert target.flop_per_s[DType.FP16] == target.flop_per_s[DType.BF16]
        # The special function units run at the highest clock, which is at least the tensor cores'.
        assert target.exp_per_s is not None
        assert 0.999 <= target.exp_per_s / (16 * target.multiprocessors * clock) < 1.09


def test_rules_come_out_typed(tmp_path: Path) -> None:
    """Percentages become fractions, single values tuples, and the place of the rule is kept."""
    path = tmp_path / "thresholds.yml"
    path.write_text(RULES)
    thresholds = load_thresholds(path)
    spills, fast = thresholds.rules

    assert thresholds.margin == pytest.approx(0.03)
    assert thresholds.paired_margin == pytest.approx(0.01)  # if the file does not say
    assert (spills.metric, spills.limit, spills.subjects) == (Metric.SPILL_BYTES, Maximum(value=0), ("*",))
    assert (fast.metric, fast.limit) == (Metric.PEER_RATIO, MinimumRatio(peer="torch_flash", at_least=3))
    assert (fast.requires, fast.where) == (("avx512_bf16",), f"{path}:4")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("max: 0", "max_chnage: 0", "unknown key, expected one of name, metric"),
        ("max: 0", "max_chnage: 0", "did you mean 'max_change'?"),
        ("metric: spill_bytes", "metric: spil_bytes", "did you mean 'spill_bytes'?"),
        ("max: 0", "max: 0, min: 0", ":3: rules[0]: expected exactly one of max, min, max_change"),
        (
            ", max: 0",
            "",
            ":3: rules[0]: expected exactly one of max, min, max_change, min_ratio_to, min_roofline_fraction",
        ),
        ("metric: spill_bytes, ", "", ":3: rules[0]: key 'metric' is missing"),
        ("metric: spill_bytes", "metric: spill_bytes, cases: x", "belongs to kernels, not to cases"),
        ("metric: spill_bytes", "metric: spill_bytes, requires: avx2", "requires is for timed metrics"),
        ("metric: spill_bytes, max: 0", "metric: throughput, max_change: 0", "max_change takes 'time' alone"),
        ("metric: spill_bytes, max: 0", "metric: peer_ratio, min: 2", "needs a peer"),
        ("max: 0", "max_change: 5 percent", "expected a valid number, got '5 percent'"),
        ("max: 0", "max_change: x%", "got 'x%', expected a percentage such as '10%'"),
        ("max: 0", "max: 0, max_change_in_pairs: 2%", "beside max_change of 'time' alone"),
        ("max: 0", "max_change: 0, max_change_in_pairs: 2%", "beside max_change of 'time' alone"),
        ("max: 0", "max_change: -5%", "rules[0].max_change: expected greater than or equal to 0"),
        ("peer: torch_flash", "peer: torch_flsh", "did you mean 'torch_flash'?"),
        ("    cases: attention_*", "    metric: time", "this limit is always of 'peer_ratio'"),
        ("name: fast", "name: spills", ":4: rules[1].name: two rules are named 'spills'"),
        ("margin: 3%", "", ":2: key 'margin' is missing"),
        # Within a margin of nothing no change can ever be shown to lie.
        ("margin: 3%", "margin: 3%\npaired_margin: 0", ":2: paired_margin: expected greater than 0"),
    ],
)
def test_mistakes_in_thresholds_are_located(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """One planted mistake each."""
    assert old in RULES
    assert expected in refusal(load_thresholds, tmp_path / "t.yml", RULES.replace(old, new, 1))


def test_the_margin_of_paired_comparisons_is_policy(tmp_path: Path) -> None:
    """A fraction or a percentage, as the other margin."""
    path = tmp_path / "thresholds.yml"
    path.write_text(RULES.replace("margin: 3%", "margin: 3%\npaired_margin: 2%"))

    assert load_thresholds(path).paired_margin == pytest.approx(0.02)
    assert load_thresholds(path).margin == pytest.approx(0.03)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    """Suites, targets and cases alike."""
    suites = load_suites()
    with pytest.raises(RoofgateError, match=r"no suite 'smok'.*did you mean 'smoke'"):
        find_suite(suites, "smok")
    with pytest.raises(RoofgateError, match=r"no target 'h100_sxn'.*did you mean 'h100_sxm'"):
        find_target(load_targets(), "h100_sxn")
    cases = suites["smoke"].cases(Device.CPU)
    with pytest.raises(RoofgateError, match="did you mean"):
        find_case(cases, cases[0].name + "x")
    assert find_case(cases, cases[0].name) == cases[0]


def test_the_shipped_files_are_valid_and_fit_together() -> None:
    """The smoke cases are in the default suite, so that its rules speak of both."""
    suites, thresholds = load_suites(), load_thresholds()

    assert list(suites) == ["smoke", "default", "full", "irregular"]
    assert set(suites["smoke"].cases(Device.CPU)) <= set(suites["default"].cases(Device.CPU))
    assert any(isinstance(rule.limit, MaximumChange) and rule.metric is Metric.TIME for rule in thresholds.rules)
    assert {rule.metric.layer for rule in thresholds.rules} == set(Layer)
