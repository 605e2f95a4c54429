"""Invented counters per source line, for tests of the simulated layer and of its pages."""

from __future__ import annotations

from dataclasses import replace

from perf.findings import Assessment, KernelAssessment
from perf.model import Capture, Layer, Metric
from profiles.simulator.counters import Counts, total
from profiles.simulator.instruction_class import InstructionClass
from profiles.source_counters import CountedKernel, CountedLine, SourceCounters

MEMORY, KERNEL = "kernels/csrc/invented_memory.cuh", "kernels/csrc/invented_kernel.cuh"
TEXTS = {
    MEMORY: tuple(f"// invented line {number}" for number in range(1, 61)),
    KERNEL: (*(f"// invented line {number}" for number in range(1, 40)), "  load(k); // <script>alert(1)</script>"),
}


def build_loads(wavefronts: int) -> Counts:
    """A thousand requests to shared memory that take so many wavefronts each."""
    return Counts(
        executed=1000,
        by_class={InstructionClass.LOAD_STORE: 1000},
        lanes=32000,
        shared_requests=1000,
        shared_wavefronts=1000 * wavefronts,
    )


def build_counted_kernel(kernel: str, architecture: str, wavefronts: int = 1) -> CountedKernel:
    """A line of loads, inlined at a line that also multiplies, which is inlined at a third."""
    loads = build_loads(wavefronts)
    products = Counts(executed=16, by_class={InstructionClass.TENSOR: 16}, lanes=512)
    elsewhere = Counts(executed=4, by_class={InstructionClass.CONVERT: 4}, lanes=128)
    inner = total((loads, products))
    return CountedKernel(
        kernel=kernel,
        architecture=architecture,
        launch="an invented launch",
        total=total((loads, products, elsewhere)),
        lines=(
            CountedLine(file=KERNEL, line=30, own=Counts(), direct=products, inclusive=inner),
            CountedLine(file=KERNEL, line=40, own=products, direct=inner, inclusive=total((inner, elsewhere))),
            CountedLine(file=MEMORY, line=20, own=loads, direct=loads, inclusive=loads),
        ),
        elsewhere=elsewhere,
    )


def build_source_counters(tree: str, *kernels: CountedKernel) -> SourceCounters:
    """Those kernels with the invented sources."""
    return SourceCounters(tree=tree, texts=TEXTS, kernels=kernels)


def build_simulated_capture(kernel: str, architecture: str, **changes: object) -> Capture:
    """The simulated layer of one kernel on one architecture, without findings."""
    capture = Capture(
        kernel=kernel,
        architecture=architecture,
        layer=Layer.SIMULATED,
        counters={
            Metric.SIMULATED_FINDINGS: 0.0,
            Metric.SIMULATED_INSTRUCTIONS: 93664.0,
            Metric.SIMULATED_TENSOR: 8192.0,
            Metric.SIMULATED_WAVEFRONTS: 1.0,
            Metric.SIMULATED_SECTORS: 15.5,
        },
        launch="an invented launch",
    )
    return replace(capture, **changes)  # type: ignore[arg-type]


def with_simulated(assessment: Assessment, **changes: object) -> Assessment:
    """``assessment`` whose kernels have been simulated on every architecture too."""
    return replace(assessment, kernels=tuple(_with_simulated(kernel, **changes) for kernel in assessment.kernels))


def _with_simulated(kernel: KernelAssessment, **changes: object) -> KernelAssessment:
    simulated = tuple(
        build_simulated_capture(kernel.kernel, capture.architecture, **changes) for capture in kernel.captures
    )
    return replace(kernel, captures=kernel.captures + simulated)
