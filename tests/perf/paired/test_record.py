"""What is written comes back; whatever else lies in the folder is named and skipped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf.findings import Comparison
from perf.model import (
    CAUSAL,
    FULL,
    Case,
    Device,
    DType,
    Gpu,
    Interval,
    Machine,
    Mask,
    MaskKind,
    Metric,
    Operation,
    Problem,
    Verdict,
)
from perf.paired.model import (
    Block,
    Conditions,
    ControlFinding,
    Finding,
    GpuConditions,
    Mode,
    PairedCase,
    PairedComparison,
    Plan,
    Restart,
    RevisionInfo,
    Stage,
)
from perf.paired.record import comparison_id, find_comparison, find_unfinished, read_comparison, write_comparison
from tests.comparison_builders import Extent, build_paired, build_revision

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
SIZE = st.integers(1, 1 << 40)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | NUMBER
SECONDS = st.floats(1e-9, 1e6)
INTERVALS = st.builds(Interval, low=NUMBER, high=NUMBER, confidence=NUMBER)
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
GPU_CONDITIONS = st.builds(
    GpuConditions,
    sm_clock_hz=MAYBE,
    memory_clock_hz=MAYBE,
    power_w=MAYBE,
    temperature_c=MAYBE,
    throttle_reasons=st.lists(TEXT, max_size=2).map(tuple),
)
CONDITIONS = st.builds(
    Conditions, load_average=MAYBE, steal_fraction=MAYBE, frequency_hz=MAYBE, gpu=st.none() | GPU_CONDITIONS
)
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=3)
BLOCKS = st.builds(
    lambda pairs, started_s, conditions: Block(
        base_s=tuple(pair[0] for pair in pairs),
        candidate_s=tuple(pair[1] for pair in pairs),
        started_s=started_s,
        conditions=conditions,
    ),
    PAIRS,
    NUMBER,
    CONDITIONS,
)
RESTARTS = st.builds(
    Restart,
    stage=st.sampled_from(Stage),
    seed=SIZE,
    iterations=SIZE,
    blocks=st.lists(BLOCKS, max_size=2).map(tuple),
    dropped=SIZE,
    measured_s=NUMBER,
    wall_s=NUMBER,
    setting=st.dictionaries(TEXT, TEXT, max_size=2),
)
FINDINGS = st.builds(
    Finding,
    verdict=st.sampled_from(Verdict),
    reason=TEXT,
    change=MAYBE,
    interval=st.none() | INTERVALS,
    mde=MAYBE,
    confirmed=st.booleans(),
    p_value=MAYBE,
)
PAIRED_CASES = st.builds(
    PairedCase,
    case=CASES,
    device=st.sampled_from(Device),
    target=TEXT,
    isa=TEXT,
    finding=FINDINGS,
    restarts=st.lists(RESTARTS, max_size=2).map(tuple),
    is_control=st.booleans(),
)
REVISIONS = st.builds(RevisionInfo, name=TEXT, commit_id=TEXT, subject=TEXT, tree=TEXT, dirty=st.booleans())
MACHINES = st.builds(
    Machine,
    cpu_model=TEXT,
    cpu_count=SIZE,
    instruction_sets=st.lists(TEXT, max_size=2).map(tuple),
    memory_bytes=SIZE,
    system=TEXT,
    python=TEXT,
    torch=TEXT,
    threads=SIZE,
    compiler=TEXT,
    gpus=st.lists(
        st.builds(Gpu, name=TEXT, architecture=TEXT, multiprocessors=SIZE, memory_bytes=SIZE, driver=TEXT), max_size=1
    ).map(tuple),
)
STATIC = st.builds(
    Comparison,
    subject=TEXT,
    target=TEXT,
    metric=st.sampled_from(Metric),
    baseline=MAYBE,
    candidate=MAYBE,
    change=MAYBE,
    interval=st.none() | INTERVALS,
    verdict=st.sampled_from(Verdict),
    reason=TEXT,
)
COMPARISONS = st.builds(
    PairedComparison,
    id=st.just("20260105T101500Z-0123456789-abcdef0123+"),
    started=TEXT,
    mode=st.sampled_from(Mode),
    base=REVISIONS,
    candidate=REVISIONS,
    machine=MACHINES,
    plan=st.builds(Plan, margin=NUMBER, looks=st.lists(SIZE, max_size=3).map(tuple), seed=SIZE),
    suite=TEXT,
    cases=st.lists(PAIRED_CASES, max_size=2).map(tuple),
    static=st.lists(STATIC, max_size=2).map(tuple),
    controls=st.builds(
        ControlFinding, controls=SIZE, moved=st.lists(TEXT, max_size=2).map(tuple), noise=MAYBE, reason=TEXT
    ),
    problems=st.lists(st.builds(Problem, subject=TEXT, reason=TEXT), max_size=2).map(tuple),
    complete=st.booleans(),
    wall_s=NUMBER,
    measured_s=NUMBER,
    path=st.just(""),
)
SMALL = build_paired(Extent(cases=3, restarts=2, blocks=2, samples=4))
TREE = SMALL.candidate.tree


@given(COMPARISONS)
def test_a_comparison_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, comparison: PairedComparison
) -> None:
    """Every field to the last bit, whatever text it holds, complete or not; and it is found by its sources."""
    workspace = Workspace(tmp_path_factory.mktemp("out"))
    path = write_comparison(workspace.comparisons, comparison)
    expected = replace(comparison, path=str(path))

    assert read_comparison(path) == expected
    found, problems = find_comparison(workspace, comparison.candidate.tree)
    assert found == (expected if comparison.complete else None)
    assert problems == ()


def test_a_complete_comparison_is_never_overwritten(tmp_path: Path) -> None:
    """The stored file stays as it is."""
    path = write_comparison(tmp_path, SMALL)
    before = path.read_bytes()
    with pytest.raises(RoofgateError, match="never overwritten"):
        write_comparison(tmp_path, replace(SMALL, suite="other"))

    assert path.read_bytes() == before


def test_an_unfinished_comparison_is_replaced_and_then_becomes_the_complete_one(tmp_path: Path) -> None:
    """After every restart round, under the same id; in the end one file is left."""
    workspace = Workspace(tmp_path)
    first = replace(SMALL, complete=False, cases=SMALL.cases[:1])
    second = replace(SMALL, complete=False)
    trees = (SMALL.base.tree, SMALL.candidate.tree)
    for state in (first, second):
        path = write_comparison(workspace.comparisons, state)
        found, _ = find_unfinished(workspace, *trees)
        assert path.name == f"{SMALL.id}.unfinished.json"
        assert found == replace(state, path=str(path))
        assert find_comparison(workspace, TREE) == (None, ())
    path = write_comparison(workspace.comparisons, SMALL)

    assert list(workspace.comparisons.iterdir()) == [path]
    assert find_unfinished(workspace, *trees) == (None, ())
    assert find_comparison(workspace, TREE)[0] == replace(SMALL, path=str(path))


def test_resuming_takes_only_what_has_the_sources_of_both_sides(tmp_path: Path) -> None:
    """A comparison of the same candidate with another base is another one."""
    workspace = Workspace(tmp_path)
    write_comparison(workspace.comparisons, replace(SMALL, complete=False))

    assert find_unfinished(workspace, "f" * 16, SMALL.candidate.tree) == (None, ())
    assert find_unfinished(workspace, SMALL.base.tree, "f" * 16) == (None, ())


def test_the_newest_comparison_of_the_sources_and_the_machine_is_found(tmp_path: Path) -> None:
    """Later ones of other sources do not count, and one of another machine is named."""
    workspace = Workspace(tmp_path)
    other_machine = replace(SMALL.machine, threads=64)
    for stamp, changes in {
        "20260101T000000Z": {},
        "20260102T000000Z": {},
        "20260103T000000Z": {"machine": other_machine},
        "20260104T000000Z": {"candidate": build_revision("HEAD", subject=f"mentions {TREE}", tree="d" * 16)},
    }.items():
        made: PairedComparison = replace(SMALL, id=f"{stamp}-a-b", **changes)  # type: ignore[arg-type]
        write_comparison(workspace.comparisons, made)
    found, problems = find_comparison(workspace, TREE, SMALL.machine.fingerprint)

    assert found is not None and found.id.startswith("20260102")
    assert [problem.reason for problem in problems] == [
        f"left out: it was measured on another machine ({other_machine.title})"
    ]
    anywhere, _ = find_comparison(workspace, TREE)
    assert anywhere is not None and anywhere.id.startswith("20260103")


def test_no_folder_is_no_comparison(tmp_path: Path) -> None:
    """Nothing was compared yet."""
    assert find_comparison(Workspace(tmp_path / "absent"), TREE) == (None, ())


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply ``change`` to the document in ``path``."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_schema(value: object) -> Callable[[Path], None]:
    """An edit of the schema."""
    return lambda path: edit(path, lambda document: document["roofgate_comparison"].update(schema=value))


def in_case(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """An edit of the first case."""
    return lambda path: edit(path, lambda document: change(document["comparison"]["cases"][0]))


def in_block(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """An edit of the first block."""
    return in_case(lambda case: change(case["restarts"][0]["blocks"][0]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_text(path.read_text()[:2000]), "truncated or no JSON"),
        (lambda path: path.write_bytes(b""), "truncated or no JSON"),
        (lambda path: path.write_text("[" * 100_000), "truncated or no JSON"),
        (lambda path: path.write_text('{"benchmarks": []}'), "foreign"),
        (lambda path: path.write_text("[]"), "foreign"),
        (set_schema(2), "schema 2 is newer than 1, the newest this version reads; update roofgate"),
        (set_schema("x"), "schema is 'x'"),
        (lambda path: edit(path, lambda document: document.pop("comparison")), "expected an object, got None"),
        (lambda path: edit(path, lambda document: document["comparison"].pop("plan")), "lacks plan"),
        (
            in_case(lambda case: case["finding"].update(verdict="wors")),
            "cases[0].finding.verdict: got 'wors', expected",
        ),
        (in_case(lambda case: case["case"].update(batch=0)), "cases[0].case: batch is 0"),
        (in_case(lambda case: case["case"].update(batch=True)), "cases[0].case.batch: expected a whole number"),
        (in_case(lambda case: case.update(extra=1)), "cases[0]: has the unknown key 'extra'"),
        (in_block(lambda block: block.update(base_s=[])), "equally many positive seconds"),
        (in_block(lambda block: block["base_s"].pop()), "equally many positive seconds"),
        (in_block(lambda block: block.update(base_s=[-1.0] * 4)), "equally many positive seconds"),
        (in_block(lambda block: block.update(base_s=["x"])), "blocks[0].base_s: expected numbers"),
        (in_block(lambda block: block.update(started_s=float("nan"))), "blocks[0].started_s: expected a number"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
    ],
)
def test_a_spoilt_file_is_named_and_skipped(tmp_path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    """The older good one beside it is still found."""
    workspace = Workspace(tmp_path)
    good = write_comparison(workspace.comparisons, SMALL)
    bad = write_comparison(workspace.comparisons, replace(SMALL, id="20270101T000000Z-a-b"))
    spoil(bad)
    found, problems = find_comparison(workspace, TREE)

    assert found is not None and found.path == str(good)
    assert [problem.subject for problem in problems] == [str(bad)]
    assert problems[0].reason.startswith("skipped: ") and reason in problems[0].reason


def keys_of(place: Any) -> list[Any]:
    """Keys of an object, or positions in a list."""
    return sorted(place) if isinstance(place, dict) else list(range(len(place)))


@given(st.data())
def test_no_damage_to_a_file_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any value anywhere replaced by any other: a comparison, or a reason."""
    path = write_comparison(tmp_path_factory.mktemp("out"), SMALL)
    document = json.loads(path.read_text())
    place: Any = document
    for _ in range(data.draw(st.integers(0, 7))):
        inner = [key for key in keys_of(place) if isinstance(place[key], (dict, list)) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    key = data.draw(st.sampled_from(keys_of(place)))
    place[key] = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just([]) | st.just({}))
    path.write_text(json.dumps(document))
    try:
        read_comparison(path)
    except RoofgateError as error:
        assert str(error)


def test_a_field_that_has_a_default_may_be_missing(tmp_path: Path) -> None:
    """So that files stay readable when the model gains one."""
    path = write_comparison(tmp_path, SMALL)
    edit(path, lambda document: document["comparison"].pop("measured_s"))

    assert read_comparison(path) == replace(SMALL, path=str(path), measured_s=0.0)


def test_names_sort_by_time_and_tell_both_revisions() -> None:
    """Edits in the working tree are marked."""
    base, candidate = build_revision("main"), build_revision("tree", commit_id="a" * 40, dirty=True)

    assert comparison_id("2026-01-05T10:15:00.5+00:00", base, candidate) == "20260105T101500Z-9f8e7d6c5b-aaaaaaaaaa+"


def test_fifty_cases_are_read_in_a_fraction_of_the_gates_second(tmp_path: Path) -> None:
    """12 restarts of 5 blocks of 16 samples of both sides: 96 000 samples."""
    one = build_paired(Extent(cases=1, restarts=12)).cases[0]
    path = write_comparison(tmp_path, replace(SMALL, cases=(one,) * 50))
    started = time.process_time()
    found = read_comparison(path)

    assert len(found.cases) == 50
    assert time.process_time() - started < 0.4  # of the processor, whatever else runs; measured 0.1 s
