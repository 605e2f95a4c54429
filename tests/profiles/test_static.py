"""The static layer as a whole: planted bugs are seen, and nothing that fails is left out silently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.build_record import BuildStatus, LibraryBuild
from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import Capture, Layer, Metric
from profiles import static
from profiles.ptxas import parse_log
from profiles.static import StaticLayer, capture_static

ATTENTION = "attention_fwd<bf16, 64, window>"
LEFT_OUT = LibraryBuild(name="cuda_sm_86", architecture="sm_86", status=BuildStatus.NOT_RUN, reason="nvcc is not here")
REFUSED = LibraryBuild(name="cuda_sm_89", architecture="sm_89", status=BuildStatus.FAILED, reason="error: expected ;")
HOST = LibraryBuild(name="cpu", architecture="cpu", status=BuildStatus.BUILT)


@pytest.fixture
def capture(record_of: Any, nvdisasm: Path, tmp_path: Path) -> Any:  # noqa: ARG001 (skips where it is missing)
    """A function that runs the static layer over libraries."""
    return lambda *libraries: capture_static(record_of(*libraries), tmp_path / "cache", lambda _: None)


def of_kernel(layer: StaticLayer, kernel: str) -> Capture:
    """The one capture of a kernel."""
    (found,) = [capture for capture in layer.captures.captures if capture.kernel == kernel]
    return found


def test_every_static_metric_is_captured(compile_cuda: Any, capture: Any) -> None:
    """Each kernel has a value for each metric of the layer, its launch, its source and its code."""
    layer = capture(compile_cuda("tensor", "-lineinfo"))
    assert layer.errors == () == layer.captures.problems
    assert (layer.captures.layer, layer.captures.tree) == (Layer.STATIC, source_tree())
    assert [found.kernel for found in layer.captures.captures] == [ATTENTION, "scale"]
    for found in layer.captures.captures:
        assert set(found.counters) == {metric for metric in Metric if metric.layer is Layer.STATIC}
    found = of_kernel(layer, ATTENTION)
    assert (found.architecture, found.source) == ("sm_80", "tensor.cu")
    assert found.launch == "128 threads, 2048 B dynamic shared memory"
    assert found.opcodes["HMMA"] == 1
    assert found.counters[Metric.OCCUPANCY] == 1.0
    assert found.occupancy_limiter == "warps"
    assert len(found.fingerprint) == 64


def test_shared_memory_is_static_plus_dynamic(compile_cuda: Any, capture: Any) -> None:
    """The launch's part comes from the library, the kernel's own part from the compiler."""
    layer = capture(compile_cuda("tensor", "-lineinfo"))
    assert of_kernel(layer, ATTENTION).counters[Metric.SHARED_MEMORY_BYTES] == 2048
    assert of_kernel(layer, "scale").counters[Metric.SHARED_MEMORY_BYTES] == 64 * 4


def test_a_kernel_that_lost_its_tensor_instructions_is_seen(compile_cuda: Any, capture: Any) -> None:
    """Scalar arithmetic in place of mma gives right answers and no tensor instruction."""
    before = of_kernel(capture(compile_cuda("tensor", "-lineinfo")), ATTENTION)
    after = of_kernel(capture(compile_cuda("tensor", "-DLOST_TENSOR")), ATTENTION)
    assert before.counters[Metric.SASS_TENSOR] == 1
    assert after.counters[Metric.SASS_TENSOR] == 0
    assert before.fingerprint != after.fingerprint


def test_a_spilling_kernel_is_seen_with_its_warning(compile_cuda: Any, capture: Any) -> None:
    """Spills show as bytes, as local-memory instructions and as the compiler's warning, in the kernel's own name."""
    layer = capture(compile_cuda("warnings"))
    spilling, plain = of_kernel(layer, "spilling"), of_kernel(layer, "plain")
    (log,) = (Path(code.compiler_log).read_text() for code in compile_cuda("warnings").device_code)
    (report,) = (report for entry, report in parse_log(log, "sm_80").items() if entry.startswith("_Z8spilling"))
    assert spilling.counters[Metric.SPILL_BYTES] == report.spill_store_bytes + report.spill_load_bytes
    assert min(report.spill_store_bytes, report.spill_load_bytes) > 100
    assert spilling.counters[Metric.SASS_LOCAL_MEMORY] > 100
    assert spilling.counters[Metric.STACK_BYTES] > 100
    assert spilling.counters[Metric.COMPILER_WARNINGS] == len(spilling.warnings) == 2
    assert any("spilled to local memory in function 'spilling'" in text for text in spilling.warnings)
    assert plain.counters[Metric.SPILL_BYTES] == plain.counters[Metric.SASS_LOCAL_MEMORY] == 0
    assert plain.warnings == ()


def test_fewer_registers_for_equal_code_are_another_fingerprint(
    compile_cuda: Any, capture: Any, tmp_path: Path
) -> None:
    """Resources decide how many blocks are resident, so code compiled for others is not the same."""
    library = compile_cuda("tensor", "-lineinfo")
    (code,) = library.device_code
    other_log = tmp_path / "log.txt"
    other_log.write_text(Path(code.compiler_log).read_text().replace("used 1 barriers", "used 2 barriers"))
    other = replace(library, device_code=(replace(code, compiler_log=str(other_log)),))
    assert of_kernel(capture(library), "scale").fingerprint != of_kernel(capture(other), "scale").fingerprint


def test_a_source_without_kernels_adds_nothing(compile_cuda: Any, capture: Any) -> None:
    """Host code in a CUDA source has an empty cubin, and that is no error."""
    library = compile_cuda("tensor", "-lineinfo")
    both = replace(library, device_code=library.device_code + compile_cuda("no_kernel").device_code)
    layer = capture(both)
    assert (len(layer.captures.captures), layer.errors) == (2, ())


def test_a_library_that_does_not_describe_its_launches_has_no_occupancy(compile_cuda: Any, capture: Any) -> None:
    """What is not known is left open and said, never guessed; the rest is captured."""
    layer = capture(compile_cuda("tensor", "-DLOST_FACTS"))
    found = of_kernel(layer, ATTENTION)
    assert not {Metric.OCCUPANCY, Metric.SHARED_MEMORY_BYTES} & set(found.counters)
    assert (found.launch, found.occupancy_limiter) == ("", "")
    assert found.counters[Metric.SASS_TENSOR] == 1
    (problem,) = layer.captures.problems
    assert problem.subject == "cuda_sm_80"
    assert "no occupancy: " in problem.reason
    assert "roofgate_kernel_launch" in problem.reason


def test_kernels_and_launches_that_do_not_match_are_named(compile_cuda: Any, capture: Any) -> None:
    """A kernel that was added without its launch, and a launch whose kernel is gone."""
    library = compile_cuda("tensor", "-lineinfo")
    other = replace(compile_cuda("warnings"), library=library.library)
    reasons = {problem.subject: problem.reason for problem in capture(other).captures.problems}
    assert "does not know this kernel" in reasons["spilling on sm_80"]
    assert "names a kernel that no cubin holds" in reasons["scale on sm_80"]


def test_libraries_that_were_not_built_are_problems_with_their_reason(compile_cuda: Any, capture: Any) -> None:
    """They are no errors of this step, and the host library has no static layer to miss."""
    layer = capture(HOST, LEFT_OUT, REFUSED, compile_cuda("tensor", "-lineinfo"))
    assert layer.errors == ()
    assert len(layer.captures.captures) == 2
    assert {problem.subject: problem.reason for problem in layer.captures.problems} == {
        "cuda_sm_86": "build not run: nvcc is not here",
        "cuda_sm_89": "build failed: error: expected ;",
    }


def test_a_damaged_cubin_costs_its_own_library_only(compile_cuda: Any, capture: Any, tmp_path: Path) -> None:
    """The error names the file; the other libraries are captured all the same."""
    library = compile_cuda("tensor", "-lineinfo")
    (code,) = library.device_code
    damaged = tmp_path / "damaged.cubin"
    damaged.write_bytes(Path(code.cubin).read_bytes()[:500])
    broken = replace(library, name="broken", device_code=(replace(code, cubin=str(damaged)),))
    layer = capture(broken, library)
    assert len(layer.captures.captures) == 2
    (error,) = layer.errors
    assert error.startswith(f"broken: {damaged}: not a usable cubin")
    assert [problem.subject for problem in layer.captures.problems] == ["broken"]


def test_a_cubin_for_another_architecture_is_refused(compile_cuda: Any, capture: Any) -> None:
    """sm_80 code in the place of sm_86 code is a broken build."""
    layer = capture(replace(compile_cuda("tensor", "-lineinfo"), architecture="sm_86"))
    assert "it holds code for sm_80, expected sm_86" in layer.errors[0]


def test_a_log_of_other_kernels_is_refused(compile_cuda: Any, capture: Any, tmp_path: Path) -> None:
    """Figures of one build are never shown beside the code of another; nor is a missing log."""
    library = compile_cuda("tensor", "-lineinfo")
    (code,) = library.device_code
    other = compile_cuda("warnings").device_code[0].compiler_log
    layer = capture(replace(library, device_code=(replace(code, compiler_log=other),)))
    assert "do not belong together" in layer.errors[0]
    absent = str(tmp_path / "absent.txt")
    layer = capture(replace(library, device_code=(replace(code, compiler_log=absent),)))
    assert "absent.txt: cannot be read" in layer.errors[0]


def test_without_a_disassembler_the_layer_is_not_run(record_of: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A machine that lacks the tool reports that, with the remedy, and is no failure."""

    def missing(name: str) -> Path:
        raise RoofgateError(f"{name} is not here; run the command through nox")

    monkeypatch.setattr(static, "find_cuda_tool", missing)
    layer = capture_static(record_of(LEFT_OUT), tmp_path, print)
    assert layer.errors == () == layer.captures.captures
    (problem,) = layer.captures.problems
    assert (problem.subject, problem.reason[:20]) == ("static layer", "nvdisasm is not here")
