"""What is measured and what is not: equal code is not timed, and what cannot be timed says why."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.toolchain import find_cxx
from perf.model import CAUSAL, FULL, Case, Device, DType, Mask, MaskKind, Metric, Operation, Verdict
from perf.paired.model import Mode, Side
from perf.paired.planning import compare_static, control_subjects, cuda_kernel_names, plan_case
from tests.perf.paired.planned_builds import build_captures, build_library, build_scope, build_side

SLOWER_BF16 = {"attention_fwd_cpu_avx512bf16": "other code"}


def case(dtype: DType = DType.BF16, head_dim: int = 128, seqlen: int = 64) -> Case:
    """One small problem."""
    return Case(
        operation=Operation.ATTENTION_FWD,
        dtype=dtype,
        batch=1,
        heads_q=2,
        heads_kv=2,
        seqlen_q=seqlen,
        seqlen_k=seqlen,
        head_dim=head_dim,
        mask=FULL,
    )


@pytest.fixture
def best_isa(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with every instruction set, whatever this one has."""
    from kernels.interface import InstructionSet, Library

    monkeypatch.setattr(Library, "best_isa", lambda _self: InstructionSet.AVX512_BF16)


@pytest.mark.usefixtures("best_isa")
def test_only_the_case_whose_code_differs_is_timed() -> None:
    """The bf16 object changed: fp32 cases run other objects and are identical, though the library is not."""
    scope = build_scope(
        build_side("base", library=build_library()), build_side("candidate", library=build_library(SLOWER_BF16))
    )

    changed, same = (plan_case(case(dtype), Device.CPU, scope) for dtype in (DType.BF16, DType.FP32))

    assert changed.subject is not None
    assert changed.paired.isa == "avx512_bf16"
    assert same.subject is None
    assert same.paired.finding.verdict is Verdict.IDENTICAL


@pytest.mark.usefixtures("best_isa")
def test_what_all_cases_share_times_all() -> None:
    """The thread pool runs in every case."""
    scope = build_scope(
        build_side("base", library=build_library()),
        build_side("candidate", library=build_library({"cpu_thread_pool": "other code"})),
    )

    assert all(plan_case(case(dtype), Device.CPU, scope).subject for dtype in (DType.BF16, DType.FP32))


@pytest.mark.usefixtures("best_isa")
def test_of_fifty_cases_only_the_one_that_differs_and_its_controls_are_timed() -> None:
    """One of 50 cases has other code: one is timed, and as many controls as were asked for."""
    scope = build_scope(
        build_side("base", library=build_library()), build_side("candidate", library=build_library(SLOWER_BF16))
    )
    cases = [case(DType.BF16), *(case(DType.FP32, seqlen=16 * number) for number in range(1, 50))]

    planned = [plan_case(each, Device.CPU, scope) for each in cases]
    controls = control_subjects(planned, scope, 2)

    assert [each.paired.case for each in planned if each.subject] == [cases[0]]
    assert {each.paired.case for each, _ in controls.values()} == {cases[1], cases[-1]}  # the cheapest and the dearest


@pytest.mark.usefixtures("best_isa")
def test_controls_of_equal_code_use_both_builds(tmp_path: Path) -> None:
    """Equal code may lie at another address in the other library: that is what such a control shows."""
    base, candidate = build_library(), build_library(SLOWER_BF16)
    copy = tmp_path / "candidate.so"
    copy.write_bytes(Path(candidate.library).read_bytes())
    scope = build_scope(
        build_side("base", library=base), build_side("candidate", library=replace(candidate, library=str(copy)))
    )
    planned = [plan_case(case(dtype), Device.CPU, scope) for dtype in (DType.BF16, DType.FP32)]

    ((name, (control, subject)),) = control_subjects(planned, scope, 1).items()

    assert control.paired.finding.verdict is Verdict.IDENTICAL
    assert subject.name == name
    assert subject.libraries == {Side.BASE: Path(base.library), Side.CANDIDATE: copy}


@pytest.mark.usefixtures("best_isa")
def test_without_equal_code_the_base_is_its_own_control() -> None:
    """Every case changed: the base stands on both sides of the control."""
    scope = build_scope(
        build_side("base", library=build_library()), build_side("candidate", library=build_library(SLOWER_BF16))
    )
    planned = [plan_case(case(DType.BF16), Device.CPU, scope)]

    ((control, subject),) = control_subjects(planned, scope, 2).values()

    assert control is planned[0]
    assert subject.libraries[Side.BASE] == subject.libraries[Side.CANDIDATE]


@pytest.mark.usefixtures("best_isa")
def test_nothing_to_time_needs_no_controls() -> None:
    """Two equal revisions are compared without measuring anything."""
    scope = build_scope(build_side("base", library=build_library()), build_side("candidate", library=build_library()))
    planned = [plan_case(case(dtype), Device.CPU, scope) for dtype in (DType.BF16, DType.FP32)]

    assert control_subjects(planned, scope, 2) == {}


@pytest.mark.parametrize("broken", ["base", "candidate"])
def test_a_side_that_does_not_build_is_told_with_the_compilers_words(broken: str) -> None:
    """The case is not run; it is no exception, so that other cases are still compared."""
    words = "attention_fwd_cpu.cpp:7: error: expected ';'"
    sides = {
        name: build_side(name, library=None if name == broken else build_library(), reason=words)
        for name in ("base", "candidate")
    }

    planned = plan_case(case(), Device.CPU, build_scope(**sides))

    assert planned.subject is None
    assert planned.paired.finding.verdict is Verdict.NOT_RUN
    assert broken in planned.paired.finding.reason
    assert words in planned.paired.finding.reason


def test_another_interface_version_is_told_and_processes_are_offered(tmp_path: Path) -> None:
    """A library of before the C interface changed cannot share the process."""
    source, library = tmp_path / "old.cpp", tmp_path / "old.so"
    names = ("roofgate_attention_fwd", "roofgate_ceiling_copy", "roofgate_ceiling_flops")
    functions = "".join(f"int {name}(const void*, void*) {{ return 0; }}\n" for name in names)
    source.write_text(f'extern "C" {{ int roofgate_abi_version() {{ return 0; }}\n{functions}}}\n')
    subprocess.run([find_cxx(), "-shared", "-fPIC", source, "-o", library], check=True)
    old = replace(build_library({"cpu_thread_pool": "old code"}), library=str(library))
    scope = build_scope(build_side("base", library=old), build_side("candidate", library=build_library()))

    planned = plan_case(case(), Device.CPU, scope)

    assert planned.paired.finding.verdict is Verdict.NOT_RUN
    assert "interface version 0" in planned.paired.finding.reason
    assert "--mode processes" in planned.paired.finding.reason


def test_processes_do_not_need_the_interface_and_are_never_identical() -> None:
    """What lies outside the libraries may differ although their code does not."""
    scope = build_scope(
        build_side("base", library=build_library()),
        build_side("candidate", library=build_library()),
        mode=Mode.PROCESSES,
    )

    planned = plan_case(case(), Device.CPU, scope)

    assert planned.subject is not None
    assert set(planned.subject.arguments["roots"]) == {"base", "candidate"}


@pytest.mark.parametrize(("after", "verdict"), [("same", Verdict.IDENTICAL), ("other", Verdict.NOT_RUN)])
def test_a_cuda_case_without_gpu_is_compared_by_its_machine_code(after: str, verdict: Verdict) -> None:
    """Equal code on every architecture is a finding; other code says where it is compared."""
    scope = build_scope(
        build_side("base", library=build_library(), captures=build_captures("same")),
        build_side("candidate", library=build_library(), captures=build_captures(after)),
    )

    finding = plan_case(case(), Device.CUDA, scope).paired.finding

    assert finding.verdict is verdict


def test_a_kernel_that_was_not_captured_is_never_identical() -> None:
    """Two empty sets of fingerprints are no evidence."""
    scope = build_scope(
        build_side("base", library=build_library(), captures=build_captures("same")),
        build_side("candidate", library=build_library(), captures=build_captures("same")),
    )

    unknown = plan_case(case(head_dim=64), Device.CUDA, scope)

    assert cuda_kernel_names(case(head_dim=64)) == ("attention_fwd<bf16, 64, full>",)
    assert unknown.paired.finding.verdict is Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("changes", "instance"),
    [
        ({}, "full"),
        ({"mask": CAUSAL}, "window"),
        ({"mask": Mask(MaskKind.WINDOW, 8), "varlen": True}, "window"),
        ({"mask": Mask(MaskKind.DOCUMENT, 8)}, "plan"),
        ({"softcap": 30.0}, "any"),
        ({"mask": Mask(MaskKind.BLOCKS, 50), "alibi": True}, "any"),
    ],
)
def test_the_mask_chooses_the_instance(changes: dict[str, Any], instance: str) -> None:
    """As the host code of the kernels does."""
    assert cuda_kernel_names(replace(case(), **changes)) == (f"attention_fwd<bf16, 128, {instance}>",)


def test_a_backward_pass_is_three_kernels() -> None:
    """In the order of their launches; the first and the last know no mask."""
    assert cuda_kernel_names(replace(case(), operation=Operation.ATTENTION_BWD)) == (
        "attention_bwd_delta<bf16, 128>",
        "attention_bwd<bf16, 128, full>",
        "attention_bwd_dq<bf16, 128>",
    )


def test_static_figures_are_held_against_the_base_by_name() -> None:
    """More registers on one side is a regression of that counter, and says what it is worse than."""
    base = build_side("base", library=build_library(), captures=build_captures("a", registers=100))
    candidate = build_side("candidate", library=build_library(), captures=build_captures("b", registers=120))

    comparisons = compare_static(base, candidate)

    worse = [each for each in comparisons if each.metric is Metric.REGISTERS]
    assert {each.verdict for each in worse} == {Verdict.REGRESSED}
    assert worse[0].reason == "worse than the base"
    assert compare_static(build_side("base", library=build_library()), candidate) == ()
