"""What lies in the workspace is joined into one assessment, and nothing that is missing stops it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild, write_record
from kernels.errors import EXIT_ERROR, EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.workspace import Workspace
from perf import evidence as evidence_module
from perf import promote as promote_module
from perf import repository, store, verdict
from perf.__main__ import main
from perf.assess import assess, load_assessment
from perf.evidence import Evidence, Sources, baseline_path, gather
from perf.findings import GateVerdict
from perf.model import (
    CaptureSet,
    Ceiling,
    CeilingKind,
    Commit,
    Device,
    DType,
    Gpu,
    Layer,
    Metric,
    Problem,
    Run,
    Verdict,
)
from perf.paired.model import PairedCase, PairedComparison
from perf.paired.record import write_comparison
from perf.pins import Pins, load_pins, write_pins
from perf.promote import promote
from tests.builders import build_capture
from tests.comparison_builders import DISTURBED, TIMED, Extent, build_paired, build_paired_case, build_revision
from tests.perf.simulated_runs import simulated_case, simulated_commit, simulated_run
from tests.perf.stored_runs import save

TREE = "cccccccccccccccc"
COMMIT = replace(simulated_commit(TREE), dirty=False)
KERNEL = "attention_fwd<bf16, 64, causal>"
RULES = """\
margin: 3%
rules:
  - {name: no-slower, metric: time, max_change: 10%}
  - {name: beats-torch, cases: attention_fwd-*, min_ratio_to: {peer: torch_flash, at_least: 2}}
  - {name: no-spills, metric: spill_bytes, max: 0}
  - {name: as-pinned, metric: registers, max_change: 0}
"""
CEILINGS = tuple(
    Ceiling(kind=kind, device=Device.CPU, dtype=dtype, value=value, samples=(value,), detail="invented")
    for kind, dtype, value in (
        (CeilingKind.COPY, None, 3e10),
        (CeilingKind.INSTRUCTION_PEAK, DType.BF16, 1e12),
        (CeilingKind.INSTRUCTION_PEAK, DType.FP32, 5e11),
    )
)


def present_run(started: str = "2026-01-05T10:15:00+00:00", seed: int = 1, **changes: object) -> Run:
    """A run of the present sources."""
    slower = float(str(changes.pop("slower", 1.0)))
    run = simulated_run(np.random.default_rng(seed), cases=6, rounds=12, slower=slower)
    commit = changes.pop("commit", COMMIT)
    assert isinstance(commit, Commit)
    made = replace(run, started=started, commit=commit, ceilings=CEILINGS, id=store.run_id(started, commit, "smoke"))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A checkout of COMMIT in which nothing was done yet, with the shipped targets and suites."""
    root = Path.cwd()
    for name in ("perf/targets.yml", "perf/suites.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((root / name).read_text())
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "thresholds.yml").write_text(RULES)
    write_pins(Pins(compilers={}, captures=()), tmp_path / "perf" / "baselines" / "pins.yml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repository, "current_commit", lambda: COMMIT)
    return Workspace()


def add_build(workspace: Workspace, status: BuildStatus = BuildStatus.BUILT) -> None:
    """A build record with one library."""
    library = LibraryBuild(name="cpu", architecture="cpu", status=status, reason="a.cpp:1: error", compiler="c++ 12")
    cuda = LibraryBuild(name="cuda_sm_80", architecture="sm_80", status=BuildStatus.BUILT, compiler="nvcc 13.0.88")
    write_record(BuildRecord(sources_digest="x", libraries=(library, cuda)), workspace.build_record)


def add_captures(workspace: Workspace, tree: str = TREE, **counters: float) -> None:
    """One static capture of the present sources."""
    values = {Metric.REGISTERS: 168.0, Metric.SPILL_BYTES: 0.0}
    values |= {Metric.from_key(key): value for key, value in counters.items()}
    capture = build_capture(KERNEL, "sm_80", counters=values, fingerprint=str(values))
    store.write_capture_set(workspace.captures, CaptureSet(layer=Layer.STATIC, tree=tree, captures=(capture,)))


def add_step(workspace: Workspace, step: str, exit_code: int, error: str = "", tree: str = TREE) -> None:
    """How a step ended."""
    workspace.steps.mkdir(parents=True, exist_ok=True)
    content = {"step": step, "tree": tree, "started": "2026", "wall_s": 1.0, "exit_code": exit_code, "error": error}
    (workspace.steps / f"{step}.json").write_text(json.dumps(content))


def add_everything(workspace: Workspace) -> Run:
    """Build, captures and a run."""
    add_build(workspace)
    add_captures(workspace)
    run = present_run()
    return replace(run, path=str(save(workspace.runs, run)))


def layer_texts(workspace: Workspace) -> dict[Layer, str]:
    """What the assessment says of each layer."""
    return {layer.layer: layer.text for layer in load_assessment(workspace).layers}


def test_an_empty_checkout_still_has_an_assessment(workspace: Workspace) -> None:
    """Every layer says why it did not run, and the gate is an error, never a pass."""
    found = load_assessment(workspace)

    assert (found.run, found.machine, found.cases, found.kernels) == (None, None, (), ())
    assert found.gate.verdict is GateVerdict.ERROR
    assert f"no timed result of any suite for the present sources ({TREE})" in found.gate.reason
    assert all(not layer.ran and layer.text.startswith("not run: ") for layer in found.layers)
    assert any(problem.subject == "build" and "nothing is built yet" in problem.reason for problem in found.problems)


def test_everything_is_joined(workspace: Workspace) -> None:
    """Cases with peers, ratios, roofline and floors; kernels; layers."""
    run = add_everything(workspace)
    found = load_assessment(workspace)

    assert found.run == run
    assert len(found.cases) == 6
    for case in found.cases:
        assert [peer.implementation for peer in case.peers] == ["torch_flash", "torch_math"]
        assert case.ratios[0].interval.low <= case.ratios[0].ratio <= case.ratios[0].interval.high
        assert case.roofline is not None
        assert len(case.floors) == (10 if case.case.dtype is DType.BF16 else 9)  # no fp32 peak is declared for the B200
        assert case.comparison.verdict is Verdict.NOT_RUN
    assert [kernel.kernel for kernel in found.kernels] == [KERNEL]
    assert layer_texts(workspace) == {
        Layer.STATIC: "1 kernel x 1 architecture",
        Layer.SIMULATED: "not run: no captures of the present sources; run: nox -s profile",
        Layer.TIMED: "6 cases on cpu",
        Layer.HARDWARE: "not run: no NVIDIA GPU here",
    }
    assert found.gate.verdict is GateVerdict.PASS


def test_hardware_is_not_run_for_another_reason_where_there_is_a_gpu(workspace: Workspace) -> None:
    """The reason is the true one."""
    gpu = Gpu(name="NVIDIA H200", architecture="sm_90", multiprocessors=132, memory_bytes=1, driver="1")
    run = present_run()
    save(workspace.runs, replace(run, machine=replace(run.machine, gpus=(gpu,))))

    assert layer_texts(workspace)[Layer.HARDWARE] == "not run: no captures of the present sources; run: nox -s profile"


def test_results_of_other_sources_are_not_the_present_ones(workspace: Workspace) -> None:
    """A run, captures and failed steps of an earlier tree neither pass nor fail this one."""
    save(workspace.runs, present_run(commit=simulated_commit("d" * 16)))
    add_captures(workspace, tree="d" * 16)
    add_step(workspace, "bench", 2, "old failure", tree="d" * 16)
    found = load_assessment(workspace)

    assert (found.run, found.kernels, found.steps) == (None, (), ())
    assert "old failure" not in found.gate.reason
    assert any("they are of other sources" in problem.reason for problem in found.problems)


def test_a_run_that_only_mentions_the_tree_is_not_of_it(workspace: Workspace) -> None:
    """As a commit message might."""
    save(workspace.runs, present_run(commit=replace(simulated_commit("d" * 16), subject=f"as in {TREE}")))

    assert load_assessment(workspace).run is None


def test_the_newest_run_is_judged_or_that_of_the_suite_asked_for(workspace: Workspace) -> None:
    """Two suites, two runs."""
    save(workspace.runs, replace(present_run(), suite="default", id="20260105T101400Z-0123456789-default"))
    save(workspace.runs, present_run())

    for suite, expected in ((None, "smoke"), ("default", "default")):
        run = load_assessment(workspace, suite=suite).run
        assert run is not None
        assert run.suite == expected


def test_spoilt_files_are_problems_and_nothing_more(workspace: Workspace) -> None:
    """Each once, with its reason."""
    run = add_everything(workspace)
    newest = workspace.runs / "20990101T000000Z-broken-smoke.json"
    newest.write_text(Path(run.path).read_text()[:-200])
    (workspace.runs / "20000101T000000Z-foreign.json").write_text("{}")
    (workspace.captures / "simulated.json").write_text("{")
    (workspace.steps).mkdir()
    (workspace.steps / "bench.json").write_text("[]")
    found = load_assessment(workspace)

    assert found.run == run
    subjects = [problem.subject for problem in found.problems]
    for name in (newest.name, "20000101T000000Z-foreign.json", "simulated.json", "bench.json"):
        assert sum(name in subject for subject in subjects) == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda workspace: add_step(workspace, "build", 2, "no compiler"),
            "step build failed with exit code 2: no compiler",
        ),
        (lambda workspace: add_step(workspace, "bench", 130, "interrupted"), "step bench failed with exit code 130"),
        (lambda workspace: add_step(workspace, "profile", 2), "step profile failed with exit code 2"),
        (lambda workspace: add_build(workspace, BuildStatus.FAILED), "cpu did not compile"),
        (lambda _: Path("ci/thresholds.yml").write_text("margin: x\nrules: []\n"), "ci/thresholds.yml:1: margin"),
        (lambda _: Path("ci/thresholds.yml").unlink(), "ci/thresholds.yml: no such file"),
        (lambda _: Path("perf/suites.yml").write_text("suites: {}\n"), "perf/suites.yml:1: suites: is empty"),
        (lambda _: Path("perf/targets.yml").write_text("x: 1\n"), "perf/targets.yml:1: x: unknown key"),
        (lambda _: Path("perf/baselines/pins.yml").write_text("7\n"), "pins.yml:1: expected a mapping"),
        (
            lambda _: Path("ci/thresholds.yml").write_text(RULES.replace("attention_fwd-*", "atention*")),
            "ci/thresholds.yml:4: rule 'beats-torch' matches no case of any suite",
        ),
        (
            lambda _: Path("ci/thresholds.yml").write_text(
                RULES.replace("metric: spill_bytes", "metric: spill_bytes, kernels: x")
            ),
            "ci/thresholds.yml:5: rule 'no-spills' matches no kernel",
        ),
    ],
)
def test_a_failure_makes_the_gate_an_error_and_keeps_the_report(
    workspace: Workspace, spoil: Callable[[Workspace], object], reason: str
) -> None:
    """Failed steps of these sources, a refused source, a mistake in any configuration file."""
    add_everything(workspace)
    spoil(workspace)
    found = load_assessment(workspace)

    assert found.gate.verdict is GateVerdict.ERROR
    assert reason in found.gate.reason
    assert len(found.cases) == 6


def test_a_failed_report_or_gate_step_is_no_failure_of_the_evidence(workspace: Workspace) -> None:
    """Otherwise one failing gate would fail the next."""
    add_everything(workspace)
    add_step(workspace, "report", 2)

    assert load_assessment(workspace).gate.verdict is GateVerdict.PASS


def test_a_run_that_was_cut_short_is_no_pass(workspace: Workspace) -> None:
    """Its cases are shown."""
    save(workspace.runs, present_run(complete=False))
    found = load_assessment(workspace)

    assert found.gate.verdict is GateVerdict.ERROR
    assert "was cut short" in found.gate.reason
    assert len(found.cases) == 6
    assert any(layer.text.endswith("cut short") for layer in found.layers)


def test_history_is_of_this_machine_oldest_first_and_without_the_present(workspace: Workspace) -> None:
    """Earlier runs only; another machine's do not appear."""
    add_everything(workspace)
    earlier = simulated_commit("e" * 16)
    for day in ("03", "01", "02"):
        save(workspace.runs, present_run(started=f"2026-01-{day}T00:00:00+00:00", commit=earlier))
    other = present_run(started="2026-01-04T00:00:00+00:00", commit=earlier)
    save(workspace.runs, replace(other, machine=replace(other.machine, threads=64)))
    save(workspace.runs, present_run(started="2026-02-01T00:00:00+00:00", commit=earlier))

    for case in load_assessment(workspace).cases:
        assert [point.started[8:10] for point in case.history] == ["01", "02", "03"]
        assert all(point.peer_ratio is not None and point.peer_ratio > 2 for point in case.history)


def test_history_is_held_against_the_fastest_peer_whatever_stands_first(workspace: Workspace) -> None:
    """A slow backend listed first must not flatter an earlier run."""
    add_everything(workspace)
    earlier = present_run(started="2026-01-01T00:00:00+00:00", commit=simulated_commit("e" * 16))
    save(workspace.runs, replace(earlier, measurements=tuple(reversed(earlier.measurements))))
    medians = {(item.case, item.implementation): item.median_s for item in earlier.measurements}

    for case in load_assessment(workspace).cases:
        peers = [median for (one, name), median in medians.items() if one == case.case and name != "roofgate"]
        assert len(peers) > 1
        assert case.history[0].peer_ratio == pytest.approx(min(peers) / medians[case.case, "roofgate"])


def run_promote(workspace: Workspace) -> list[str]:
    """Promote, and what it said."""
    said: list[str] = []
    promote(workspace, COMMIT, Path("perf/baselines/pins.yml"), said.append)
    return said


def test_promoting_makes_run_and_captures_the_baseline(workspace: Workspace) -> None:
    """The run is copied byte for byte under machine and suite; the pins hold the figures and the compiler."""
    run = add_everything(workspace)
    said = run_promote(workspace)
    path = baseline_path(workspace, run)
    pins = load_pins(Path("perf/baselines/pins.yml"))

    assert path.read_bytes() == Path(run.path).read_bytes()
    assert path == workspace.baselines / run.machine.fingerprint / "smoke.json"
    assert pins.compilers == {"sm_80": "nvcc 13.0.88"}
    assert [pin.counters[Metric.REGISTERS] for pin in pins.captures] == [168.0]
    assert str(path) in said[0]
    assert "pins.yml" in said[1]


def test_after_promoting_the_same_results_are_identical_and_pass(workspace: Workspace) -> None:
    """Nothing changed."""
    add_everything(workspace)
    run_promote(workspace)
    found = load_assessment(workspace)

    assert {case.comparison.verdict for case in found.cases} == {Verdict.IDENTICAL}
    assert {each.verdict for kernel in found.kernels for each in kernel.comparisons} == {Verdict.IDENTICAL}
    assert found.gate.verdict is GateVerdict.PASS
    assert not [result for result in found.gate.results if result.verdict is Verdict.NOT_RUN]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda workspace: add_build(workspace, BuildStatus.FAILED), "cpu did not compile"),
        (lambda workspace: workspace.build_record.unlink(), "nothing is built yet"),
        (
            lambda workspace: [path.unlink() for path in workspace.runs.iterdir()],
            "no complete run of the present sources",
        ),
    ],
)
def test_incomplete_results_are_not_promoted(
    workspace: Workspace, spoil: Callable[[Workspace], object], reason: str
) -> None:
    """And nothing is written."""
    add_everything(workspace)
    spoil(workspace)
    with pytest.raises(RoofgateError, match=reason):
        run_promote(workspace)

    assert not workspace.baselines.exists()
    assert load_pins(Path("perf/baselines/pins.yml")).captures == ()


def test_promoting_without_captures_leaves_the_pins(workspace: Workspace) -> None:
    """And says so; an interrupted newer run does not replace a complete one."""
    add_build(workspace)
    run = present_run()
    path = save(workspace.runs, run)
    save(workspace.runs, present_run(started="2026-01-06T00:00:00+00:00", complete=False))
    said = run_promote(workspace)

    assert baseline_path(workspace, run).read_bytes() == path.read_bytes()
    assert "static figures are left as they are" in said[1]


@pytest.mark.parametrize(
    ("change", "exit_code"),
    [
        (lambda _: None, EXIT_PASS),
        (lambda workspace: add_captures(workspace, spill_bytes=16.0), EXIT_REGRESSION),
        (lambda workspace: add_captures(workspace, registers=169.0), EXIT_REGRESSION),
        (lambda workspace: add_captures(workspace, registers=160.0), EXIT_PASS),
        (lambda workspace: save(workspace.runs, slower_run()), EXIT_REGRESSION),
        (lambda workspace: save(workspace.runs, unsure_run()), EXIT_NO_VERDICT),
        (lambda workspace: add_step(workspace, "build", 2, "why"), EXIT_ERROR),
    ],
)
def test_the_gate_command(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Workspace], object],
    exit_code: int,
) -> None:
    """Exit code, verdict file and terminal agree on each planted change."""
    add_everything(workspace)
    run_promote(workspace)
    change(workspace)

    assert main(["gate"]) == exit_code
    content = json.loads((workspace.root / "verdict.json").read_text())
    assert content["exit_code"] == exit_code
    assert content["schema"] == 1
    assert (content["commit"]["tree"], content["machine"]["title"]) == (
        TREE,
        "Invented CPU 9000, 2 cores, no NVIDIA GPU",
    )
    keys = {"rule", "case", "target", "metric", "value", "limit", "relative", "layer", "verdict", "reason"}
    assert all(rule.keys() == keys for rule in content["rules"])
    assert content["reason"] in capsys.readouterr().out


def slower_run() -> Run:
    """Twice as slow as the baseline, by other machine code."""
    return other_code(present_run(started="2026-01-06T00:00:00+00:00", seed=2, slower=2.0))


def unsure_run() -> Run:
    """A tenth slower in noise that cannot tell whether that is too much."""
    return other_code(present_run(started="2026-01-06T00:00:00+00:00", seed=2, slower=1.1))


def other_code(run: Run) -> Run:
    """``run`` with another fingerprint."""
    changed = [replace(item, library_fingerprint=item.library_fingerprint and "other") for item in run.measurements]
    return replace(run, measurements=tuple(changed))


def test_the_gate_writes_a_verdict_even_without_a_repository(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that no stale pass lies there."""
    (workspace.root).mkdir()
    (workspace.root / "verdict.json").write_text('{"verdict": "pass"}')

    def no_repository() -> Commit:
        raise RoofgateError("is no git repository; run: git init")

    monkeypatch.setattr(repository, "current_commit", no_repository)

    assert main(["gate"]) == EXIT_ERROR
    content = json.loads((workspace.root / "verdict.json").read_text())
    assert (content["verdict"], content["commit"], content["machine"]) == ("error", None, None)
    assert "git init" in capsys.readouterr().err


def test_names_in_the_terminal_are_never_markup(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """What looks like rich's markup is printed as it is."""
    add_everything(workspace)
    add_step(workspace, "build", 2, "[bold]untrusted[/bold] [link=x]")
    main(["gate"])

    assert "[bold]untrusted[/bold] [link=x]" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse does: exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(["gaet"])

    assert caught.value.code == EXIT_ERROR
    assert "gate" in capsys.readouterr().err


def test_the_gate_reads_the_present_run_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty older runs of other sources are never parsed."""
    run = add_everything(workspace)
    for index in range(50):
        started = f"2026-01-01T00:00:{index:02d}+00:00"
        save(workspace.runs, present_run(started=started, commit=simulated_commit("e" * 16)))
    parsed: list[Path] = []
    read = store.read_run
    monkeypatch.setattr(store, "read_run", lambda path: parsed.append(path) or read(path))
    gather(workspace, Sources())

    assert parsed == [Path(run.path)]


def test_assessing_is_fast() -> None:
    """200 cases with two peers, judged against a baseline, in well under the gate's second."""
    generator = np.random.default_rng(1)
    runs = [simulated_run(generator, cases=200, rounds=30, fingerprint=name) for name in ("old", "new")]
    evidence = Evidence(commit=COMMIT, run=runs[1], baseline=runs[0])
    started = time.process_time()
    found = assess(evidence)

    assert len(found.cases) == 200
    assert time.process_time() - started < 1  # of the processor, whatever else runs; measured 0.3 s


def test_problems_of_run_and_captures_are_kept(workspace: Workspace) -> None:
    """What the measuring side could not do reaches the report."""
    lack = Problem(subject="attention_fwd-x", reason="torch refused")
    save(workspace.runs, present_run(problems=(lack,)))
    store.write_capture_set(
        workspace.captures,
        CaptureSet(layer=Layer.STATIC, tree=TREE, captures=(), problems=(Problem(subject="sm_80", reason="no nvcc"),)),
    )
    found = load_assessment(workspace)

    assert lack in found.problems
    assert any(problem.reason == "no nvcc" for problem in found.problems)
    assert layer_texts(workspace)[Layer.STATIC] == "not run: no nvcc"
    assert any(problem.subject == "6 CUDA cases of suite smoke" for problem in found.problems)


def test_commands_offer_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the judging core explains itself."""
    for name, module in (("gate", verdict), ("promote", promote_module)):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert module.EXAMPLES.splitlines()[1].strip() in capsys.readouterr().out
    assert evidence_module.EVIDENCE_STEPS == ("build", "bench", "profile")


def add_paired(workspace: Workspace, tree: str = TREE, **changes: object) -> PairedComparison:
    """A comparison of the present sources: the first of the run's cases is slower, the second faster, and so on."""
    extent = Extent(restarts=4, blocks=2, samples=4)
    cases = tuple(build_paired_case(simulated_case(index), index, extent) for index in range(len(TIMED)))
    made = build_paired(extent, candidate=build_revision("HEAD", tree=tree), cases=cases)
    made = replace(made, machine=present_run().machine, suite="smoke", **changes)  # type: ignore[arg-type]
    return replace(made, path=str(write_comparison(workspace.comparisons, made)))


def rule_verdicts(workspace: Workspace, rule: str) -> dict[str, Verdict]:
    """What one rule said of each subject."""
    results = load_assessment(workspace).gate.results
    return {result.subject: result.verdict for result in results if result.rule == rule}


def test_a_paired_comparison_takes_the_place_of_the_baseline(workspace: Workspace) -> None:
    """Case by case: the one that it lacks keeps the comparison between two runs, which for the others is kept too."""
    add_everything(workspace)
    paired = add_paired(workspace)
    found = load_assessment(workspace)

    assert found.paired == paired
    for index, (case, one) in enumerate(zip(found.cases, paired.cases, strict=False)):
        assert case.case == simulated_case(index)
        assert case.comparison.verdict is one.finding.verdict is TIMED[index][1]
        assert case.comparison.interval == one.finding.interval
        assert case.between_runs is not None and case.between_runs.verdict is Verdict.NOT_RUN
    last = found.cases[len(TIMED)]
    assert (last.comparison.verdict, last.between_runs) == (Verdict.NOT_RUN, None)
    assert layer_texts(workspace)[Layer.TIMED] == "6 cases on cpu; 5 cases compared in pairs"
    assert set(paired.problems) <= set(found.problems)


def test_the_gate_works_with_a_comparison_and_no_run(workspace: Workspace) -> None:
    """As in a CI job that only compares: rules on changes are judged, the others say what they lack."""
    add_build(workspace)
    add_captures(workspace)
    add_paired(workspace)
    found = load_assessment(workspace)

    assert found.run is None
    assert found.machine == present_run().machine
    assert found.gate.verdict is GateVerdict.PASS
    assert set(rule_verdicts(workspace, "no-slower").values()) == {Verdict.UNCHANGED}
    assert set(rule_verdicts(workspace, "beats-torch").values()) == {Verdict.NOT_RUN}


def test_a_comparison_that_concluded_nothing_is_no_result(workspace: Workspace) -> None:
    """Every case was refused, so there is still no timed result of these sources."""
    add_build(workspace)
    add_captures(workspace)
    paired = build_paired()
    refused = tuple(one for one in paired.cases if one.finding.verdict is Verdict.NOT_RUN)
    assert refused
    write_comparison(workspace.comparisons, replace(paired, cases=refused, candidate=build_revision("HEAD", tree=TREE)))

    assert "no timed result of any suite" in load_assessment(workspace).gate.reason


def test_a_suite_that_was_asked_for_is_not_replaced_by_a_comparison_of_another(workspace: Workspace) -> None:
    """``--suite default`` with a comparison of smoke alone."""
    add_build(workspace)
    add_captures(workspace)
    add_paired(workspace)

    assert "no timed result of suite 'default'" in load_assessment(workspace, suite="default").gate.reason
    assert load_assessment(workspace, suite="smoke").gate.verdict is GateVerdict.PASS


@pytest.mark.parametrize(
    ("limit", "expected"), [("2%", EXIT_REGRESSION), ("7.9%", EXIT_NO_VERDICT), ("10%", EXIT_PASS)]
)
def test_the_gate_command_judges_the_comparison(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    expected: int,
) -> None:
    """A confirmed change of 7.9 % against three limits; all of it stands in verdict.json, and scipy is not needed."""
    Path("ci/thresholds.yml").write_text(f"margin: 3%\nrules:\n  - {{name: n, metric: time, max_change: {limit}}}\n")
    add_everything(workspace)
    paired = add_paired(workspace, cases=the_slower_case_alone())
    for module in ("scipy", "scipy.stats", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    code = main(["gate"])
    content = json.loads((workspace.root / "verdict.json").read_text())

    assert code == content["exit_code"] == expected
    assert content["comparison"] == {
        "id": paired.id,
        "base": {"name": "main", "id": paired.base.commit_id, "dirty": False, "tree": paired.base.tree},
        "candidate": {"name": "HEAD", "id": paired.candidate.commit_id, "dirty": False, "tree": TREE},
        "controls": {"count": 2, "moved": [], "noise": 0.004},
    }
    assert "compared in pairs with main (9f8e7d6c5b): 1 regressed" in capsys.readouterr().out


def the_slower_case_alone() -> tuple[PairedCase, ...]:
    """The slower case alone, with a narrow interval around its change."""
    return (build_paired_case(simulated_case(0), 0, Extent(restarts=12)),)


def test_without_a_comparison_the_verdict_says_null(workspace: Workspace) -> None:
    """Programs can rely on the key."""
    add_everything(workspace)
    main(["gate"])

    assert json.loads((workspace.root / "verdict.json").read_text())["comparison"] is None


def test_moved_controls_make_every_timed_finding_of_the_comparison_inconclusive(workspace: Workspace) -> None:
    """Identical machine code stays identical; and wide limits do not turn distrust into a pass."""
    add_everything(workspace)
    paired = add_paired(workspace, controls=DISTURBED)
    verdicts = rule_verdicts(workspace, "no-slower")
    found = load_assessment(workspace)

    assert found.gate.verdict is GateVerdict.NO_VERDICT
    for index, case in enumerate(found.cases[: len(TIMED)]):
        identical = TIMED[index][1] is Verdict.IDENTICAL
        assert case.comparison.verdict is (Verdict.IDENTICAL if identical else Verdict.INCONCLUSIVE)
        assert verdicts[case.case.name] is (Verdict.UNCHANGED if identical else Verdict.INCONCLUSIVE)
        assert identical or "identical code seemed to change" in case.comparison.reason
    assert paired.cases[0].finding.verdict is Verdict.REGRESSED


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": replace(present_run().machine, threads=64)},
        {"candidate": build_revision("HEAD", tree="d" * 16)},
        {"complete": False},
    ],
)
def test_a_comparison_of_another_machine_or_other_sources_or_cut_short_judges_nothing(
    workspace: Workspace, changes: dict[str, object]
) -> None:
    """The run and its baseline do."""
    add_everything(workspace)
    write_comparison(
        workspace.comparisons,
        replace(
            build_paired(candidate=build_revision("HEAD", tree=TREE), machine=present_run().machine),
            **changes,  # type: ignore[arg-type]
        ),
    )

    assert load_assessment(workspace).paired is None


def test_the_gate_loads_neither_scipy_nor_torch() -> None:
    """Each takes longer to load than the gate may run."""
    script = "import sys, perf.verdict; sys.exit(bool({'scipy', 'torch'} & sys.modules.keys()))"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
