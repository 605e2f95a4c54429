"""What is written comes back; whatever else lies in the folder is named and skipped."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from kernels.workspace import Workspace, run_step
from perf import store
from perf.model import (
    CAUSAL,
    FULL,
    Capture,
    CaptureSet,
    Case,
    Ceiling,
    CeilingKind,
    Commit,
    Device,
    DType,
    Gpu,
    Layer,
    Machine,
    Mask,
    MaskKind,
    Measurement,
    Metric,
    Operation,
    Problem,
    Run,
    StepStatus,
)
from tests.perf.stored_runs import as_document, save

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
SIZE = st.integers(1, 1 << 20)
SECONDS = st.floats(1e-9, 1e6)
MASKS = [Mask(MaskKind.WINDOW, 256), Mask(MaskKind.PREFIX, 128), Mask(MaskKind.BLOCKS, 90)]
CASES = st.builds(
    Case,
    operation=st.sampled_from(Operation),
    dtype=st.sampled_from(DType),
    batch=SIZE,
    heads_q=st.just(8),
    heads_kv=st.sampled_from([1, 2, 4, 8]),
    seqlen_q=SIZE,
    seqlen_k=SIZE,
    head_dim=SIZE,
    mask=st.sampled_from([FULL, CAUSAL, *MASKS]),
    softcap=st.sampled_from([0.0, 0.5, 30.0, 1e-07]),
    alibi=st.booleans(),
)
MEASUREMENTS = st.builds(
    Measurement,
    case=CASES,
    device=st.sampled_from(Device),
    target=TEXT,
    implementation=st.sampled_from(["roofgate", "torch_flash", "torch_math"]),
    samples_s=st.lists(SECONDS, min_size=1, max_size=5).map(tuple),
    iterations=SIZE,
    library_fingerprint=TEXT,
    isa=TEXT,
    max_abs_difference=st.none() | st.floats(0, 1),
)
CEILINGS = st.builds(
    Ceiling,
    kind=st.sampled_from(CeilingKind),
    device=st.sampled_from(Device),
    dtype=st.none() | st.sampled_from(DType),
    value=SECONDS,
    samples=st.lists(SECONDS, max_size=4).map(tuple),
    detail=TEXT,
)
GPUS = st.builds(Gpu, name=TEXT, architecture=TEXT, multiprocessors=SIZE, memory_bytes=SIZE, driver=TEXT)
MACHINES = st.builds(
    Machine,
    cpu_model=TEXT,
    cpu_count=SIZE,
    instruction_sets=st.lists(TEXT, max_size=3).map(tuple),
    memory_bytes=SIZE,
    system=TEXT,
    python=TEXT,
    torch=TEXT,
    threads=SIZE,
    compiler=TEXT,
    gpus=st.lists(GPUS, max_size=2).map(tuple),
)
RUNS = st.builds(
    Run,
    id=st.just("20260105T101500Z-0123456789-smoke"),
    started=TEXT,
    suite=TEXT,
    commit=st.builds(Commit, id=TEXT, tree=TEXT, subject=TEXT, branch=TEXT, dirty=st.booleans(), time=TEXT),
    machine=MACHINES,
    ceilings=st.lists(CEILINGS, max_size=3, unique_by=store.ceiling_name).map(tuple),
    measurements=st.lists(MEASUREMENTS, max_size=4, unique_by=store.benchmark_name).map(tuple),
    problems=st.lists(st.builds(Problem, subject=TEXT, reason=TEXT), max_size=2).map(tuple),
    complete=st.booleans(),
    wall_s=SECONDS,
    measured_s=SECONDS,
    path=st.just(""),
)


@given(RUNS)
def test_a_run_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    """Every field, whatever text it holds."""
    path = save(tmp_path_factory.mktemp("runs"), run)

    assert store.read_run(path) == replace(run, path=str(path))


def as_of_two_masks(document: dict[str, Any]) -> None:
    """The document as it was written before there were other masks than full and causal."""
    for benchmark in document["benchmarks"]:
        case = benchmark["extra_info"]["roofgate"].get("case")
        if case is not None:
            case["causal"] = case.pop("mask") == "causal"
            for name in ("varlen", "softcap", "alibi"):
                del case[name]


def test_a_run_with_two_masks_alone_is_still_read(tmp_path: Path, small_run: Run) -> None:
    """Baselines and histories outlive a change of the model."""
    path = save(tmp_path, small_run)
    edit(path, as_of_two_masks)

    assert '"causal"' in path.read_text()
    assert store.read_run(path).measurements == small_run.measurements


def test_pytest_benchmark_itself_reads_our_file(tmp_path: Path, small_run: Run) -> None:
    """``pytest-benchmark compare`` prints our benchmarks by name."""
    path = save(tmp_path, small_run)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns=median"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)

    assert store.benchmark_name(small_run.measurements[0]) in done.stdout


def test_a_run_is_never_overwritten(tmp_path: Path, small_run: Run) -> None:
    """The stored file stays as it is."""
    path = save(tmp_path, small_run)
    before = path.read_bytes()
    with pytest.raises(RoofgateError, match="never overwritten"):
        save(tmp_path, replace(small_run, suite="other"))

    assert path.read_bytes() == before


def test_what_was_measured_but_not_recorded_becomes_a_problem(small_run: Run) -> None:
    """Samples live in pytest-benchmark's part, so a measurement without one cannot be kept, nor be lost silently."""
    document = as_document(small_run)
    lost = document["benchmarks"].pop()
    annotated = store.annotate(document, small_run)

    assert {"subject": lost["name"], "reason": "measured, but not recorded"} in annotated["roofgate"]["problems"]


def test_foreign_benchmarks_in_our_file_are_left_alone(tmp_path: Path, small_run: Run) -> None:
    """Another plugin's benchmark in the same session is no measurement of ours."""
    document = as_document(small_run)
    document["benchmarks"].append({"name": "theirs", "extra_info": {}, "stats": {"data": [1.0]}})
    path = store.write_run(tmp_path, store.annotate(document, small_run))

    assert store.read_run(path).measurements == small_run.measurements


def edit(path: Path, change: Any) -> None:
    """Apply ``change`` to the document in ``path``."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_schema(value: object) -> Any:
    """An edit of the schema."""
    return lambda document: document["roofgate"].update(schema=value)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_text(path.read_text()[:500]), "truncated or no JSON"),
        (lambda path: path.write_bytes(b""), "truncated or no JSON"),
        (lambda path: path.write_bytes(b"\xff\x00"), "truncated or no JSON"),
        (lambda path: path.write_text("[" * 100_000), "truncated or no JSON"),
        (lambda path: path.write_text('{"benchmarks": []}'), "foreign"),
        (lambda path: path.write_text("[]"), "foreign"),
        (lambda path: edit(path, set_schema(2)), "schema 2 is newer than 1"),
        (lambda path: edit(path, set_schema("x")), "schema is 'x'"),
        (lambda path: edit(path, lambda document: document.pop("benchmarks")), "not the content of a run"),
        (lambda path: edit(path, lambda document: document["benchmarks"][0]["stats"].update(data=[])), "positive"),
        (lambda path: edit(path, lambda document: document["benchmarks"][0]["stats"].update(data=["x"])), "content"),
        (lambda path: edit(path, lambda document: document["benchmarks"][0]["stats"].update(data=[-1.0])), "positive"),
        (lambda path: edit(path, lambda document: document["roofgate"]["machine"].pop("threads")), "content"),
        (lambda path: edit(path, lambda document: document["roofgate"]["commit"].update(extra=1)), "content"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
    ],
)
def test_a_spoilt_file_is_named_skipped_and_counted(tmp_path: Path, small_run: Run, spoil: Any, reason: str) -> None:
    """The good run beside it is still read."""
    good = save(tmp_path, small_run)
    bad = save(tmp_path, replace(small_run, id="20260105T101501Z-0123456789-smoke"))
    spoil(bad)
    runs, problems = store.load_runs(tmp_path)

    assert [run.path for run in runs] == [str(good)]
    assert [problem.subject for problem in problems] == [str(bad)]
    assert reason in problems[0].reason


@given(st.data())
def test_no_damage_to_a_run_file_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any value anywhere replaced by any other: a run, or a reason."""
    run = simulated()
    document = store.annotate(as_document(run), run)
    node: Any = document
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        parent, node = node, node[key]
        if data.draw(st.integers(0, 3)) == 0:
            break
    parent[key] = data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({}))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "run.json").write_text(json.dumps(document))
    runs, problems = store.load_runs(folder)

    assert len(runs) + len(problems) == 1


def simulated() -> Run:
    """A run of one case."""
    import numpy as np

    from tests.perf.simulated_runs import simulated_run

    return simulated_run(np.random.default_rng(1), cases=1, rounds=3)


def test_runs_come_newest_first_and_hidden_files_are_no_runs(tmp_path: Path, small_run: Run) -> None:
    """By their start; a file still being written is hidden or has another name."""
    for second in (1, 3, 2):
        started = f"2026-01-05T10:15:0{second}+00:00"
        save(tmp_path, replace(small_run, started=started, id=store.run_id(started, small_run.commit, "smoke")))
    (tmp_path / ".half.json").write_text("{")
    (tmp_path / "half.json.tmp").write_text("{")
    runs, problems = store.load_runs(tmp_path)

    assert [run.started[18] for run in runs] == ["3", "2", "1"]
    assert problems == ()
    assert store.load_runs(tmp_path / "absent") == ((), ())


@pytest.mark.parametrize(
    "started", ["2026-11-23T13:59:47+00:00", "2026-11-23T13:59:47.269338+00:00", "2026-11-23T13:59:47Z"]
)
def test_run_ids_sort_by_time(started: str, small_run: Run) -> None:
    """UTC, to the second; a plus sign marks uncommitted edits."""
    dirty = replace(small_run.commit, dirty=True)

    assert store.run_id(started, dirty, "smoke") == f"20261123T135947Z-{small_run.commit.id[:10]}+-smoke"


CAPTURE = Capture(
    kernel="attention_fwd<bf16, 64, causal>",
    architecture="sm_80",
    layer=Layer.STATIC,
    counters={Metric.REGISTERS: 168.0, Metric.OCCUPANCY: 0.25},
    fingerprint="abc",
    opcodes={"HMMA": 64},
    occupancy_limiter="registers",
    launch="128 threads",
    source="a.cu",
    warnings=("C7510: something",),
)


def test_captures_come_back_and_replace_older_ones(tmp_path: Path) -> None:
    """One file for each layer."""
    problem = Problem(subject="sm_90a", reason="not built")
    old = CaptureSet(layer=Layer.STATIC, tree="old", captures=())
    new = CaptureSet(layer=Layer.STATIC, tree="new", captures=(CAPTURE,), problems=(problem,))
    store.write_capture_set(tmp_path, old)
    store.write_capture_set(tmp_path, new)

    assert store.read_captures(tmp_path) == ((new,), ())


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "layer": "guessed"}'])
def test_a_spoilt_capture_file_is_a_problem(tmp_path: Path, text: str) -> None:
    """Named, with the step that makes it anew."""
    (tmp_path / "static.json").write_text(text)
    sets, problems = store.read_captures(tmp_path)

    assert sets == ()
    assert "nox -s profile" in problems[0].reason


def test_steps_are_read_as_they_were_recorded(tmp_path: Path) -> None:
    """What run_step writes, and a spoilt file as a problem."""
    workspace = Workspace(tmp_path)

    def fail() -> int:
        raise RoofgateError("no compiler; install one")

    run_step(workspace, "build", fail)
    (workspace.steps / "bench.json").write_text("{")
    steps, problems = store.read_steps(workspace)

    assert [(step.step, step.exit_code, step.error) for step in steps] == [("build", 2, "no compiler; install one")]
    assert isinstance(steps[0], StepStatus)
    assert len(problems) == 1
