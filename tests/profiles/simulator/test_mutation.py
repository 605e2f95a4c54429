"""Mutants: what the mutations are, and that the checks notice them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.build import cuda_library_name
from kernels.build_record import BuildRecord
from kernels.errors import EXIT_PASS, EXIT_REGRESSION, RoofgateError
from perf.model import DType
from profiles.kernel_names import kernel_names
from profiles.simulated_launches import AttentionLaunch, ProductLaunch
from profiles.simulator.attention_case import parse_case
from profiles.simulator.ceiling_case import expected_sum, run_products
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.mutant_report import judge, page_text, report_lines
from profiles.simulator.mutant_results import Fate, MutantResult, read_results, write_results
from profiles.simulator.mutant_survivors import Survivor
from profiles.simulator.mutant_trial import Subject, prepare, try_mutant
from profiles.simulator.mutants import Request, run_mutants
from profiles.simulator.mutation import KINDS, Mutation, mutate, mutations, shape, spread
from profiles.simulator.ptx import parse_module
from profiles.simulator.ptx.syntax import Kernel
from profiles.simulator.run import Options
from profiles.simulator.simulated_library import SimulatedLibrary

PTX = """
.version 8.8
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 pointer)
{
    .reg .pred %p<2>; .reg .b32 %r<20>; .reg .f32 %f<9>; .reg .b64 %rd<4>;
    .shared .align 16 .b8 tile[1024];
    ld.param.u64 %rd1, [pointer];
    mov.u32 %r1, %tid.x;
    setp.lt.s32 %p1, %r1, 7;
    add.s32 %r2, %r1, 1;
    shl.b32 %r3, %r2, 4;
    @%p1 bra DONE;
    cp.async.cg.shared.global [%r3], [%rd1], 16, %r2;
    cp.async.cg.shared.global [%r3], [%rd1], 16;
    cp.async.commit_group;
    cp.async.wait_group 0;
    bar.sync 0;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r3];
    ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r8, %r9, %r10, %r11}, [%r3];
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4},
        {%r4, %r5, %r6, %r7}, {%r8, %r9}, {%f1, %f2, %f3, %f4};
    shfl.sync.bfly.b32 %r12, %r4, 1, 31, -1;
    selp.f32 %f5, 0f40000000, %f1, %p1;
    st.global.v2.f32 [%rd1], {%f5, %f2};
DONE:
    ret;
}
"""


def build_kernel() -> Kernel:
    """A kernel with something for every kind of mutation that sm_80 has."""
    return parse_module(PTX).kernels["k"]


def test_a_mutation_changes_exactly_one_instruction() -> None:
    """All others stay, in their places, and so do labels and everything else."""
    kernel = build_kernel()
    for mutation in mutations(kernel):
        mutant = mutate(kernel, mutation)
        pairs = zip(kernel.instructions, mutant.instructions, strict=True)
        changed = [site for site, (before, after) in enumerate(pairs) if before != after]

        assert changed == [mutation.site], mutation
        assert replace(mutant, instructions=kernel.instructions) == kernel


def test_mutations_differ_from_each_other() -> None:
    """No instruction results twice at one site."""
    made = mutations(build_kernel())

    assert len({(mutation.site, mutation.change) for mutation in made}) == len(made)
    for first, second in pairwise(made):
        assert (first.site, first.instruction) != (second.site, second.instruction)


def test_every_kind_of_mutation_is_made() -> None:
    """But those of wgmma, which this kernel does not have."""
    assert {mutation.kind for mutation in mutations(build_kernel())} == set(KINDS) - {"factor"}


@pytest.mark.parametrize(
    ("opcode", "change", "becomes"),
    [
        ("bar.sync", "deleted", "pmevent"),
        ("setp.lt.s32", "lt -> le", "setp.le.s32"),
        ("add.s32", "add -> sub", "sub.s32"),
        ("shfl.sync.bfly.b32", "bfly -> down", "shfl.sync.down.b32"),
        (
            "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
            ".trans removed",
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16",
        ),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16", ".trans added", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"),
        ("st.global.v2.f32", "half of the vector", "st.global.f32"),
    ],
)
def test_opcodes_change_as_described(opcode: str, change: str, becomes: str) -> None:
    """The words in a report say what was done."""
    kernel = build_kernel()
    (found,) = [
        mutation
        for mutation in mutations(kernel)
        if kernel.instructions[mutation.site].opcode == opcode and mutation.change == change
    ]

    assert found.instruction.opcode == becomes


def test_equal_seeds_choose_equally_and_a_larger_count_adds() -> None:
    """So a run can be repeated, and enlarged."""
    made = mutations(build_kernel())
    chosen = spread(made, lambda mutation: mutation.kind, 20, 3)

    assert chosen == spread(made, lambda mutation: mutation.kind, 20, 3)
    assert chosen != spread(made, lambda mutation: mutation.kind, 20, 4)
    assert spread(made, lambda mutation: mutation.kind, 30, 3)[:20] == chosen


@given(st.lists(st.integers(0, 50), unique=True), st.integers(0, 60), st.integers(0, 5))
def test_every_group_is_met_before_any_a_second_time(items: list[int], count: int, seed: int) -> None:
    """Rare instructions get their share: how often groups occur differs by 1 at most while all have items left."""
    chosen = spread(items, lambda item: item % 7, count, seed)

    assert len(chosen) == min(count, len(items)) == len(set(chosen))
    taken = {group: sum(item % 7 == group for item in chosen) for group in range(7)}
    most = max(taken.values())
    for group, number in taken.items():
        assert number >= most - 1 or number == sum(item % 7 == group for item in items)


def test_a_shape_has_no_register_numbers_and_no_mangled_names() -> None:
    """Those change from one compilation to the next."""
    instruction = replace(build_kernel().instructions[0], text="ld.param.u32 %r80, [_ZN8roofgate3fooE_param_0+8]")

    assert shape(instruction) == "ld.param.u32 %r, [SYMBOL+8]"


# --- the checks, on a real kernel ---

SMALL = ("attention_fwd-bf16-1x1x16x64-causal", "attention_fwd-bf16-1x2kv1x130k100x64-causal")
# What every line of defence is for: mistakes in synchronisation, in fragments, in bounds, in arithmetic.
PLANTED = (
    ("bar.sync", "deleted"),
    ("cp.async.wait_group", "deleted"),
    ("cp.async.wait_group", "0 -> 1"),
    ("cp.async.cg.shared.global", "deleted"),
    ("cp.async.cg.shared.global", "address +16 in operand 0"),
    ("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", ".trans removed"),
    ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "A 1 and 2 swapped"),
    ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", ".bf16.bf16 -> .f16.f16"),
    ("cvt.rn.bf16x2.f32", "operands 1 and 2 swapped"),
    ("ex2.approx.ftz.f32", "ex2.approx.ftz.f32 -> mov.f32"),
    ("st.shared.b32", "address +16"),
    ("st.global.v4.b32", "address -16"),
    ("st.global.f32", "deleted"),
)


@pytest.fixture(scope="session")
def subject(cuda_build: BuildRecord) -> Subject:
    """The causal attention kernel of sm_80."""
    library = cuda_build.library(cuda_library_name("sm_80"))
    texts = [Path(code.ptx).read_text() for code in library.device_code]
    for module in map(parse_module, texts):
        for symbol, name in kernel_names(list(module.kernels)).items():
            if name == "attention_fwd<bf16, 64, window>":
                return Subject(name, symbol, "sm_80", module)
    raise AssertionError("the build lacks the kernel")


def test_planted_mistakes_are_noticed(cuda_build: BuildRecord, subject: Subject) -> None:
    """A dozen of them, by two small launches."""
    launches = [AttentionLaunch(case=parse_case(name)) for name in SMALL]
    trials = [prepare(cuda_build, subject, launch) for launch in launches]
    for opcode, change in PLANTED:
        result = try_mutant(cuda_build, subject, trials, planted(subject, opcode, change))

        assert result.fate is Fate.KILLED, f"{opcode}: {change}: {result.fate}"
        assert result.killed_by, f"{opcode}: {change}"


def planted(subject: Subject, opcode: str, change: str) -> Mutation:
    """The mutation of the first instruction with that opcode; of barriers the last one.

    The first barrier is for what the block notes down for itself. Under a window nobody reads it before the second.
    """
    instructions = subject.kernel.instructions
    found = [item for item in mutations(subject.kernel) if instructions[item.site].opcode == opcode]
    chosen = [item for item in found if item.change == change]
    return chosen[-1] if opcode == "bar.sync" else chosen[0]


def test_a_missing_barrier_is_killed_by_the_race_check(cuda_build: BuildRecord, subject: Subject) -> None:
    """It is recorded who noticed, and where."""
    trials = [prepare(cuda_build, subject, AttentionLaunch(case=parse_case(SMALL[1])))]
    result = try_mutant(cuda_build, subject, trials, planted(subject, "bar.sync", "deleted"))

    assert "shared-race" in result.killed_by
    assert result.launch == SMALL[1]
    assert any("attention_fwd_sm80" in line for line in result.lines)


def test_a_change_that_leaves_the_program_as_it_is_is_no_mutant(cuda_build: BuildRecord, subject: Subject) -> None:
    """It would look like a survivor."""
    site = next(i for i, item in enumerate(subject.kernel.instructions) if item.opcode == "mov.b32")
    renamed = replace(subject.kernel.instructions[site], opcode="mov.u32")

    result = try_mutant(cuda_build, subject, [], Mutation(site, "operation", "b32 -> u32", renamed))
    assert result.fate is Fate.UNCHANGED


def test_a_launch_that_does_not_execute_the_instruction_is_left_out(cuda_build: BuildRecord, subject: Subject) -> None:
    """It cannot tell, and the mutant survives it."""
    trials = [prepare(cuda_build, subject, AttentionLaunch(case=parse_case(SMALL[0])))]
    site = next(site for site in range(len(subject.kernel.instructions)) if site not in trials[0].sites)
    trap = replace(subject.kernel.instructions[site], opcode="trap", operands=(), guard=None)

    result = try_mutant(cuda_build, subject, trials, Mutation(site, "operation", "-> trap", trap))
    assert (result.fate, result.launches) == (Fate.SURVIVED, 0)


# --- ceilings ---


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16, DType.FP16])
def test_the_ceilings_compute_what_they_claim(cuda_build: BuildRecord, dtype: DType) -> None:
    """FLOP as the host code says, and the sum that follows from the operands."""
    with DeviceMemory() as memory:
        library = SimulatedLibrary("sm_80", memory, Options(), cuda_build)

        assert run_products(library, ProductLaunch(dtype=dtype, iterations=2)) == ""


def test_the_chains_swing_about_half_of_their_operand() -> None:
    """After very many steps x <- b - 0.999 x stands still."""
    total, magnitude = expected_sum("fma", ProductLaunch(dtype=DType.FP32, iterations=20_000))
    b = expected_sum("fma", ProductLaunch(dtype=DType.FP32, iterations=20_001))[0]

    assert magnitude == pytest.approx(abs(total))
    assert b == pytest.approx(total)


# --- results and reasons ---


def build_result(**changes: object) -> MutantResult:
    """A survivor."""
    values: dict[str, object] = {
        "kernel": "attention_fwd<bf16, 64, full>",
        "architecture": "sm_80",
        "site": 12,
        "kind": "operation",
        "change": "sub -> add",
        "instruction": "sub.f32 %f, %f, %f",
        "lines": ("a.cuh:3 | x = y - z;", "a.cu:9 | run();"),
        "fate": Fate.SURVIVED,
        "launches": 2,
    }
    return MutantResult(**{**values, **changes})  # type: ignore[arg-type] # each has its field's type


def build_reason(**changes: object) -> Survivor:
    """A reason that speaks of the survivor."""
    values: dict[str, object] = {
        "kernel": "attention_fwd<*, full>",
        "lines": ("x = y - z;",),
        "instruction": "sub.f32 *",
        "change": "sub -> add",
        "verdict": "equivalent",
        "reason": "z is 0",
    }
    return Survivor.model_validate({**values, **changes})


KILLED = build_result(site=1, fate=Fate.KILLED, killed_by=("shared-race",), lines=(), launch="small")


def test_a_survivor_without_a_reason_fails_the_run() -> None:
    """It is listed with its instruction and its CUDA lines."""
    verdict = judge([KILLED, build_result()], [])

    assert not verdict.is_good
    report = "\n".join(report_lines(verdict))
    assert "sub.f32 %f, %f, %f: sub -> add" in report
    assert "a.cuh:3 | x = y - z;" in report


def test_an_equivalent_mutant_does_not_count() -> None:
    """Nobody can notice it."""
    verdict = judge([KILLED, build_result()], [build_reason()])

    assert verdict.is_good
    assert verdict.share == 1.0
    assert "z is 0" in page_text(verdict)


def test_a_missed_mutant_counts_though_a_reason_is_known() -> None:
    """Explaining is not noticing: 1 of 2 is less than 97 %."""
    verdict = judge([KILLED, build_result()], [build_reason(verdict="not found")])

    assert verdict.share == 0.5
    assert not verdict.is_good


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": "*plan>"},
        {"lines": ("x = y",)},
        {"lines": ("x = y - z;", "elsewhere();")},
        {"instruction": "add.f32 *"},
        {"change": "add -> sub"},
        {"executed": False},
    ],
)
def test_a_reason_speaks_only_of_what_it_names(changes: dict[str, object]) -> None:
    """All parts have to fit."""
    assert not build_reason(**changes).speaks_of(build_result())


def test_brackets_of_an_address_are_no_pattern() -> None:
    """An instruction's text is full of them."""
    mutant = build_result(instruction="ld.shared.b32 %r, [%r]")

    assert build_reason(instruction="ld.shared.b32 %r, [%r]").speaks_of(mutant)


def test_a_reason_that_is_refuted_fails_the_run() -> None:
    """A mutant that was noticed is not equivalent."""
    verdict = judge([build_result(fate=Fate.KILLED, killed_by=("wrong-answer",))], [build_reason()])

    assert not verdict.is_good
    assert "said to be equivalent, but wrong-answer noticed" in "\n".join(report_lines(verdict))


def test_results_come_back_only_for_equal_inputs(tmp_path: Path) -> None:
    """Results of another simulator or kernel say nothing."""
    path = tmp_path / "mutants.json"
    results = {result.key: result for result in (KILLED, build_result())}
    write_results(path, "abc", results)

    assert read_results(path, "abc") == results
    assert read_results(path, "abd") == {}
    path.write_text("{")
    assert read_results(path, "abc") == {}


# --- the command ---


def request(folder: Path, **changes: object) -> Request:
    """A small run that stores everything in ``folder``."""
    (folder / "survivors.yml").write_text("survivors: []\n")
    values: dict[str, object] = {
        "count": 6,
        "kernel": "ceiling_fma",
        "seed": 1,
        "workers": 2,
        "results": folder / "mutants.json",
        "survivors": folder / "survivors.yml",
        "page": folder / "page.md",
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type] # each has its field's type


def test_a_run_goes_on_where_it_was(
    cuda_build: BuildRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run executes nothing and says the same."""
    verdicts = [run_mutants(request(tmp_path), cuda_build) for _ in range(2)]
    printed = capsys.readouterr().out

    assert verdicts[0] == verdicts[1] in (EXIT_PASS, EXIT_REGRESSION)
    assert "6 mutants are known already" in printed
    assert (tmp_path / "page.md").read_text().startswith("# Mutants")


def test_a_pattern_without_kernels_is_an_error(cuda_build: BuildRecord, tmp_path: Path) -> None:
    """And not a run with nothing to complain about."""
    with pytest.raises(RoofgateError, match="no built CUDA kernel matches 'none'"):
        run_mutants(request(tmp_path, kernel="none"), cuda_build)
