"""Comparisons find what was planted, and little else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from perf.compare import compare_captures, compare_runs
from perf.model import Capture, Direction, Layer, Metric, Run, Verdict
from tests.perf.simulated_runs import Noise, simulated_run, without_peer

MARGIN = 0.03
QUIET = Noise(between_runs=0.1, wander=0.02, process=0.001, jitter=0.003, spikes=0.0)


def count_verdicts(*, pairs: int, slower: float, noise: Noise | None = None) -> Counter[Verdict]:
    """Verdicts over many pairs of simulated runs of 8 cases."""
    generator, verdicts = np.random.default_rng(11), Counter[Verdict]()
    for _ in range(pairs):
        baseline = simulated_run(generator, fingerprint="baseline", noise=noise)
        candidate = simulated_run(generator, slower=slower, noise=noise)
        verdicts.update(found.verdict for found in compare_runs(candidate, baseline, MARGIN).cases.values())
    return verdicts


def pair(slower: float = 1.0, noise: Noise | None = None) -> tuple[Run, Run]:
    """A candidate and a baseline of different code."""
    generator = np.random.default_rng(2)
    baseline = simulated_run(generator, fingerprint="baseline", noise=noise)
    return simulated_run(generator, slower=slower, noise=noise), baseline


def test_identical_speed_is_rarely_called_a_regression() -> None:
    """Machine-wide drift of 15 %, wandering clocks and 1.5 % process noise: under 1 % of cases get a finding."""
    verdicts = count_verdicts(pairs=60, slower=1.0)

    assert verdicts[Verdict.REGRESSED] + verdicts[Verdict.IMPROVED] <= 0.01 * verdicts.total()


@pytest.mark.parametrize(("slower", "expected"), [(1.2, Verdict.REGRESSED), (1 / 1.2, Verdict.IMPROVED)])
def test_a_planted_change_of_a_fifth_is_found(slower: float, expected: Verdict) -> None:
    """The same noise does not hide 20 %."""
    verdicts = count_verdicts(pairs=20, slower=slower)

    assert verdicts[expected] >= 0.85 * verdicts.total()


def test_equal_speed_on_a_quiet_machine_is_unchanged() -> None:
    """Where the noise is well below the margin, no change is a finding of its own."""
    verdicts = count_verdicts(pairs=5, slower=1.0, noise=QUIET)

    assert verdicts[Verdict.UNCHANGED] == verdicts.total()


def test_a_small_change_on_a_noisy_machine_is_inconclusive() -> None:
    """5 % in 3 % of process noise is neither a regression nor no change."""
    verdicts = count_verdicts(pairs=5, slower=1.05, noise=Noise(process=0.03))

    assert verdicts[Verdict.INCONCLUSIVE] >= 0.9 * verdicts.total()


def test_equal_machine_code_is_identical_however_far_the_times_moved() -> None:
    """There is nothing to judge; the change stays visible."""
    candidate, baseline = pair(slower=1.5)
    same = replace(
        baseline,
        measurements=tuple(
            replace(item, library_fingerprint="candidate" if item.library_fingerprint else "")
            for item in baseline.measurements
        ),
    )
    found = list(compare_runs(candidate, same, MARGIN).cases.values())

    assert {each.verdict for each in found} == {Verdict.IDENTICAL}
    assert all(each.change is not None and each.change > 0.3 for each in found)


def test_measurements_without_a_fingerprint_are_never_identical() -> None:
    """Two unknown codes are not the same code."""
    generator = np.random.default_rng(2)
    runs = [replace(simulated_run(generator, fingerprint=""), id=name) for name in ("candidate", "baseline")]

    assert Verdict.IDENTICAL not in {found.verdict for found in compare_runs(*runs, MARGIN).cases.values()}


def test_without_a_baseline_nothing_is_compared() -> None:
    """The reason names the command that makes one."""
    candidate, _ = pair()
    compared = compare_runs(candidate, None, MARGIN)

    assert {found.verdict for found in compared.cases.values()} == {Verdict.NOT_RUN}
    assert all("nox -s promote" in found.reason for found in compared.cases.values())
    assert compared.noise.value is None


def test_a_run_shows_no_noise_against_itself() -> None:
    """Straight after promoting, the present run is its own baseline: identical, and a floor of zero would be a lie."""
    candidate, _ = pair()
    compared = compare_runs(candidate, candidate, MARGIN)

    assert (compared.noise.value, compared.noise.reason) == (None, "the baseline is this very run")
    assert {found.verdict for found in compared.cases.values()} == {Verdict.IDENTICAL}


def test_another_machine_is_no_baseline() -> None:
    """Timings never cross machines."""
    candidate, baseline = pair()
    moved = replace(baseline, machine=replace(baseline.machine, cpu_model="Other CPU"))
    found = list(compare_runs(candidate, moved, MARGIN).cases.values())

    assert {each.verdict for each in found} == {Verdict.NOT_RUN}
    assert all("another machine" in each.reason and each.baseline is None for each in found)


def without_peers(run: Run, *, keep: int) -> Run:
    """``run`` with peers on its first ``keep`` cases alone."""
    kept = [item.case for item in run.measurements if item.implementation == "torch_flash"][:keep]
    measurements = [item for item in run.measurements if item.implementation == "roofgate" or item.case in kept]
    return replace(run, measurements=tuple(measurements))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: replace(run, machine=replace(run.machine, torch="2.9.0")), "torch 2.9.0"),
        (
            lambda run: without_peers(run, keep=2),
            "only 2 controls",
        ),
        (lambda run: without_peers(run, keep=0), "no peer was measured in both runs"),
    ],
)
def test_without_controls_a_change_is_shown_but_not_judged(spoil: object, reason: str) -> None:
    """Peers of another torch, or too few of them, tell nothing of the noise."""
    candidate, baseline = pair(slower=2.0)
    compared = compare_runs(candidate, spoil(baseline), MARGIN)  # type: ignore[operator]

    assert compared.noise.value is None
    for found in compared.cases.values():
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.change is not None
        assert found.interval is None
    assert any(reason in found.reason for found in compared.cases.values())


def test_single_peers_are_controls_of_their_own() -> None:
    """Less what all moved together: the floor is no narrower than from ratios, and a doubling is still found."""
    candidate, baseline = pair(slower=2.0)
    ratios = compare_runs(candidate, baseline, MARGIN).noise
    compared = compare_runs(without_peer(candidate, "torch_math"), without_peer(baseline, "torch_math"), MARGIN)

    assert compared.noise.controls == 8
    assert "times of peers less their common change" in compared.noise.reason
    assert compared.noise.value is not None
    assert ratios.value is not None
    assert compared.noise.value >= ratios.value
    assert {found.verdict for found in compared.cases.values()} == {Verdict.REGRESSED}


def test_what_slowed_the_whole_machine_is_no_noise_of_single_peers() -> None:
    """With a drift of 50 % between the runs and quiet otherwise, the floor stays low."""
    candidate, baseline = (without_peer(run, "torch_math") for run in pair(noise=QUIET))
    drifted = [replace(item, samples_s=tuple(1.5 * each for each in item.samples_s)) for item in candidate.measurements]
    noise = compare_runs(replace(candidate, measurements=tuple(drifted)), baseline, MARGIN).noise

    assert noise.value is not None
    assert noise.value < 0.3


def test_absurd_times_are_inconclusive_and_no_crash() -> None:
    """Peers that differ by 15 orders of magnitude between the runs."""
    candidate, baseline = pair()
    wild = [
        replace(item, samples_s=tuple(each * (1e8 if index % 2 else 1e-7) for each in item.samples_s))
        for index, item in enumerate(candidate.measurements)
    ]
    compared = compare_runs(replace(candidate, measurements=tuple(wild)), baseline, MARGIN)

    assert {found.verdict for found in compared.cases.values()} == {Verdict.INCONCLUSIVE}


def test_a_new_case_is_not_run() -> None:
    """A case that the baseline lacks is named, not dropped."""
    candidate, baseline = pair()
    first = baseline.measurements[0].case
    shorter = replace(baseline, measurements=tuple(item for item in baseline.measurements if item.case != first))
    compared = compare_runs(candidate, shorter, MARGIN)

    assert [found.subject for found in compared.cases.values() if found.verdict is Verdict.NOT_RUN] == [first.name]


def test_too_few_rounds_are_inconclusive() -> None:
    """Three samples cannot make a 95 % interval, however large the change."""
    generator = np.random.default_rng(2)
    baseline = simulated_run(generator, rounds=3, fingerprint="baseline", noise=QUIET)
    candidate = simulated_run(generator, rounds=3, slower=3.0, noise=QUIET)

    assert {found.verdict for found in compare_runs(candidate, baseline, MARGIN).cases.values()} == {
        Verdict.INCONCLUSIVE
    }


def test_the_reason_names_noise_floor_and_controls() -> None:
    """A reader can see what the verdict rests on."""
    candidate, baseline = pair(slower=1.5)
    compared = compare_runs(candidate, baseline, MARGIN)

    assert "8 controls, ratios between peers" in compared.noise.reason
    assert all("noise floor" in found.reason and "torch_flash" in found.reason for found in compared.cases.values())


def capture(fingerprint: str = "new", **counters: float) -> Capture:
    """A capture with these counters."""
    values = {Metric.from_key(key): value for key, value in counters.items()}
    return Capture(kernel="k", architecture="sm_80", layer=Layer.STATIC, counters=values, fingerprint=fingerprint)


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric.layer is Layer.STATIC])
@pytest.mark.parametrize(("before", "now"), [(10.0, 11.0), (11.0, 10.0)])
def test_a_counter_is_judged_by_its_direction(metric: Metric, before: float, now: float) -> None:
    """Every static metric, one unit up and one down."""
    (found,) = compare_captures(capture(**{metric.key: now}), capture("old", **{metric.key: before}))
    if metric.direction is Direction.NEITHER:
        assert (found.verdict, found.reason) == (Verdict.UNCHANGED, "differs; neither better nor worse")
    else:
        worse = (now > before) == (metric.direction is Direction.LOWER_IS_BETTER)
        assert found.verdict is (Verdict.REGRESSED if worse else Verdict.IMPROVED)
    assert found.change == pytest.approx(now / before - 1)


def test_a_counter_that_appears_from_zero_is_a_regression_without_a_percentage() -> None:
    """The first spill has no finite relative change."""
    (found,) = compare_captures(capture(spill_bytes=16.0), capture("old", spill_bytes=0.0))

    assert (found.verdict, found.change, found.baseline, found.candidate) == (Verdict.REGRESSED, None, 0.0, 16.0)


def test_equal_counters() -> None:
    """Equal figures are identical for equal machine code and unchanged for another; zero to zero is no change."""
    (same,) = compare_captures(capture("x", spill_bytes=0.0), capture("x", spill_bytes=0.0))
    (other,) = compare_captures(capture("x", registers=5.0), capture("y", registers=5.0))

    assert (same.verdict, same.change) == (Verdict.IDENTICAL, 0.0)
    assert (other.verdict, other.change) == (Verdict.UNCHANGED, 0.0)


def test_a_differing_counter_of_equal_code_is_still_judged() -> None:
    """A fingerprint never hides a difference."""
    (found,) = compare_captures(capture("x", compiler_warnings=1.0), capture("x", compiler_warnings=0.0))

    assert found.verdict is Verdict.REGRESSED


def test_an_unpinned_counter_is_not_run() -> None:
    """Neither a missing pin nor a metric that the pin lacks is taken for zero."""
    (unpinned,) = compare_captures(capture(registers=5.0), None)
    (partial,) = compare_captures(capture(registers=5.0), capture(occupancy=0.5))

    assert {unpinned.verdict, partial.verdict} == {Verdict.NOT_RUN}
    assert "nox -s promote" in unpinned.reason


def hardware(launch: str = "case on a GPU", **counters: float) -> Capture:
    """A capture of hardware counters."""
    values = {Metric.from_key(key): value for key, value in counters.items()}
    return Capture(kernel="k", architecture="sm_90", layer=Layer.HARDWARE, counters=values, launch=launch)


@pytest.mark.parametrize(
    ("key", "before", "now", "verdict"),
    [
        ("hw_instructions", 1000.0, 1001.0, Verdict.REGRESSED),  # exact
        ("hw_instructions", 1000.0, 999.0, Verdict.IMPROVED),
        ("hw_dram_bytes", 1000.0, 1020.0, Verdict.UNCHANGED),  # within what identical launches differ by
        ("hw_dram_bytes", 1000.0, 1021.0, Verdict.REGRESSED),
        ("hw_dram_bytes", 0.0, 1.0, Verdict.REGRESSED),
        ("hw_duration", 1.0, 1.04, Verdict.UNCHANGED),
        ("hw_duration", 1.0, 2.0, Verdict.INCONCLUSIVE),  # statistical: one capture does not tell
        ("hw_tensor_instructions", 10.0, 11.0, Verdict.UNCHANGED),  # neither better nor worse
    ],
)
def test_a_hardware_counter_is_judged_by_how_exact_it_is(key: str, before: float, now: float, verdict: Verdict) -> None:
    """Exact ones to the last digit, some within a tolerance, and times not by one capture."""
    (found,) = compare_captures(hardware(**{key: now}), hardware(**{key: before}))

    assert found.verdict is verdict


def test_hardware_counters_of_another_launch_are_not_compared() -> None:
    """Another case or another GPU counts something else."""
    (found,) = compare_captures(hardware(hw_instructions=1.0), hardware("another", hw_instructions=2.0))

    assert found.verdict is Verdict.NOT_RUN
    assert "another launch (another)" in found.reason
