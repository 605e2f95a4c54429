"""The simulated layer: what it counts follows from the launch, what it finds is a figure, and nothing is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild, read_record
from kernels.errors import RoofgateError
from kernels.workspace import source_tree
from perf.model import Layer, Metric
from profiles import simulated
from profiles.launches import read_launches
from profiles.simulated import (
    CLASS_METRICS,
    PlannedKernel,
    SimulatedLaunch,
    capture_simulated,
    count_metrics,
    kernels_of,
    project_file,
    read_result,
    simulate_kernel,
    simulate_launch,
)
from profiles.simulated_launches import LAUNCHES, CopyLaunch
from profiles.simulator.counters import Counts, SiteCounters
from profiles.simulator.findings import Finding
from profiles.simulator.instruction_class import InstructionClass
from profiles.simulator.ptx.syntax import Instruction, Kernel, SourceLine, SourceLocation
from profiles.simulator.run import LaunchResult, Options, Outcome

UNCHECKED = Options(count=False)
LEFT_OUT = LibraryBuild(name="cuda_sm_86", architecture="sm_86", status=BuildStatus.NOT_RUN, reason="nvcc is not here")
HOST = LibraryBuild(name="cpu", architecture="cpu", status=BuildStatus.BUILT)
COPIED = CopyLaunch(bytes=64)
COPY = PlannedKernel(name="ceiling_copy", symbol="_Z4copy", architecture="sm_80", launches=(COPIED,))
PTX_HEADER = SourceLine("/elsewhere/kernels/csrc/ptx.cuh", 60)
FOREIGN = SourceLine("/usr/include/cuda_bf16.hpp", 7)


def instruction(opcode: str, line: SourceLine) -> Instruction:
    """An instruction without operands."""
    location = SourceLocation(line, (SourceLine("/elsewhere/kernels/csrc/ptx.cuh", 100),))
    return Instruction(opcode=opcode, operands=(), guard=None, ptx_line=1, location=location, text=f"{opcode};")


CODE = Kernel(
    name="_Z4copy",
    parameters=(),
    registers={},
    variables=(),
    instructions=(
        instruction("ld.shared.v4.u32", PTX_HEADER),
        instruction("cvt.rn.bf16.f32", FOREIGN),
        instruction("mov.b32", SourceLine(PTX_HEADER.file, 0)),
    ),
    labels={},
)
OTHER_CODE = replace(CODE, name="_Z5other")
LAUNCHED = LaunchResult(
    kernel=CODE,
    grid=(2, 1, 1),
    block=(32, 1, 1),
    cluster=(1, 1, 1),
    dynamic_shared=1024,
    executed=15,
    seconds=0.1,
    counters=(
        SiteCounters(executed=8, lanes=256, requests=32, wavefronts=64),
        SiteCounters(executed=4, lanes=128),
        SiteCounters(executed=3, lanes=96),
    ),
)
RACE = Finding(
    check="shared-race",
    message="write races with a read",
    kernel="_Z4copy",
    site=0,
    ptx_line=1,
    location=SourceLocation(PTX_HEADER),
    block=(1, 0, 0),
    warp=3,
    lanes=(0, 1),
    space="shared",
    address=16,
    bytes=4,
    count=12,
    other=None,
)


def simulated_copy(*launched: LaunchResult) -> SimulatedLaunch:
    """A call that found nothing and computed the right answer."""
    return SimulatedLaunch(launch=COPIED, outcome=Outcome((), launched))


def test_figures_of_several_launches_are_summed() -> None:
    """One figure per kernel, and the text says what was launched."""
    capture = read_result(COPY, [simulated_copy(LAUNCHED), simulated_copy(LAUNCHED)]).capture

    assert capture is not None
    assert capture.launch.count("copy of 64 B: grid 2x1x1") == 2
    assert capture.counters[Metric.SIMULATED_INSTRUCTIONS] == 30
    assert capture.counters[Metric.SIMULATED_WAVEFRONTS] == 2.0


def test_a_kernel_has_the_figures_of_its_launch() -> None:
    """Exact counts by class, what was launched, and nothing else."""
    capture = read_result(COPY, [simulated_copy(LAUNCHED)]).capture

    assert capture is not None
    assert (capture.kernel, capture.architecture, capture.layer) == ("ceiling_copy", "sm_80", Layer.SIMULATED)
    assert capture.launch == "copy of 64 B: grid 2x1x1, block 32x1x1, 1024 B dynamic shared memory"
    assert {metric: value for metric, value in capture.counters.items() if value} == {
        Metric.SIMULATED_INSTRUCTIONS: 15,
        Metric.SIMULATED_LOAD_STORE: 8,
        Metric.SIMULATED_CONVERT: 4,
        Metric.SIMULATED_MOVE: 3,
        Metric.SIMULATED_WAVEFRONTS: 2.0,
    }
    assert capture.counters[Metric.SIMULATED_FINDINGS] == 0
    assert Metric.SIMULATED_SECTORS not in capture.counters


def test_findings_and_a_wrong_answer_are_figures_and_keep_their_words() -> None:
    """A launch that races is captured, and the gate's rule on findings can fail. Races of others are theirs."""
    outcome = Outcome((RACE, replace(RACE, kernel="_Z5other")), (LAUNCHED, replace(LAUNCHED, kernel=OTHER_CODE)))
    found = SimulatedLaunch(launch=COPIED, outcome=outcome, wrong="the copy differs from its source")
    capture = read_result(COPY, [found]).capture

    assert capture is not None
    assert capture.counters[Metric.SIMULATED_FINDINGS] == 2
    assert capture.warnings == (
        "wrong-answer: the copy differs from its source",
        "shared-race: write races with a read (at kernels/csrc/ptx.cuh:60, block 1,0,0, warp 3; 12 times)",
    )


def test_a_call_that_launches_another_kernel_is_an_error() -> None:
    """Its figures would belong to nobody; what the checks found says why."""
    with pytest.raises(RoofgateError, match="copy of 64 B did not launch it: write races with a read"):
        read_result(COPY, [SimulatedLaunch(launch=COPIED, outcome=Outcome((RACE,), ()))])


def test_lines_of_the_project_are_told_from_those_of_headers() -> None:
    """Headers and instructions without a line are summed; what calls them has them inclusively."""
    lines = read_result(COPY, [simulated_copy(LAUNCHED, LAUNCHED)]).lines

    assert lines is not None
    assert [(line.file, line.line, line.own.executed, line.inclusive.executed) for line in lines.lines] == [
        ("kernels/csrc/ptx.cuh", 60, 16, 16),
        ("kernels/csrc/ptx.cuh", 100, 0, 30),
    ]
    assert lines.total.executed == 30
    assert lines.elsewhere == Counts(
        executed=14, by_class={InstructionClass.CONVERT: 8, InstructionClass.MOVE: 6}, lanes=448
    )


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("kernels/csrc/ptx.cuh", "kernels/csrc/ptx.cuh"),
        ("/home/somebody/out/revisions/0123/kernels/csrc/ptx.cuh", "kernels/csrc/ptx.cuh"),
        ("/home/somebody/kernels/csrc/gone.cuh", ""),
        ("/home/somebody/mykernels/csrc/ptx.cuh", ""),
        ("/usr/include/cuda_bf16.hpp", ""),
    ],
)
def test_a_source_is_known_wherever_it_was_compiled(file: str, expected: str) -> None:
    """Objects are shared between checkouts by content."""
    assert project_file(file) == expected


def test_every_class_of_instructions_has_its_metric() -> None:
    """A class without one would be missing from the sum."""
    assert set(CLASS_METRICS) == set(InstructionClass)
    counts = Counts(executed=9, by_class=dict.fromkeys(InstructionClass, 1))
    metrics = count_metrics(counts)
    assert sum(metrics[metric] for metric in CLASS_METRICS.values()) == metrics[Metric.SIMULATED_INSTRUCTIONS]


def test_libraries_that_were_not_built_are_problems_with_their_reason(record_of: Any) -> None:
    """They are no errors, and the host library has no CUDA kernel to miss."""
    layer = capture_simulated(record_of(HOST, LEFT_OUT), print)

    assert (layer.captures.layer, layer.captures.tree) == (Layer.SIMULATED, source_tree())
    assert layer.errors == () == layer.captures.captures
    assert [(problem.subject, problem.reason) for problem in layer.captures.problems] == [
        ("cuda_sm_86", "build not run: nvcc is not here")
    ]


def test_without_a_compiler_the_layer_is_not_run(record_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy; no failure."""

    def missing() -> Path:
        raise RoofgateError("no C++ compiler: neither g++, clang++ nor c++ is on PATH")

    monkeypatch.setattr(simulated, "find_cxx", missing)
    layer = capture_simulated(record_of(LEFT_OUT), print)

    assert layer.errors == ()
    assert [problem.reason[:15] for problem in layer.captures.problems] == ["no C++ compiler"]


def test_a_kernel_without_a_launch_is_named(compile_cuda: Any, record_of: Any) -> None:
    """It is never left out silently, and needs no simulator to say so."""
    layer = capture_simulated(record_of(compile_cuda("warnings")), print)

    assert layer.errors == () == layer.captures.captures
    assert "plain on sm_80" in {problem.subject for problem in layer.captures.problems}
    assert all("simulated_launches.py" in problem.reason for problem in layer.captures.problems)


@pytest.fixture(scope="module")
def build() -> BuildRecord:
    """The present build, of which at least one CUDA library is there."""
    record = read_record()
    if not any(library.device_code for library in record.libraries if library.status is BuildStatus.BUILT):
        pytest.skip("no CUDA library is built here: the build record says why")
    return record


def test_every_kernel_of_the_project_has_a_launch(build: BuildRecord) -> None:
    """As it has launch facts for the static layer; and no launch is for a kernel that is gone."""
    names = {
        name
        for library in build.libraries
        if library.device_code and library.status is BuildStatus.BUILT
        for name in read_launches(Path(library.library))
    }

    assert names <= set(LAUNCHES)
    built = {library.architecture for library in build.libraries if library.status is BuildStatus.BUILT}
    if {"sm_80", "sm_90a"} <= built:
        assert names == set(LAUNCHES)


@pytest.fixture(scope="module")
def kernels(build: BuildRecord) -> dict[str, PlannedKernel]:
    """The kernels of the first CUDA library."""
    library = next(one for one in build.libraries if one.device_code and one.status is BuildStatus.BUILT)
    names = kernels_of(library)
    return {
        name: PlannedKernel(name=name, symbol=symbol, architecture=library.architecture, launches=LAUNCHES[name])
        for symbol, name in names.items()
    }


# "attention_fwd<bf16, 64" stands for its four instances.
FAMILIES = sorted({", ".join(name.split(", ")[:2]) for name in LAUNCHES if "fp16" not in name})


@pytest.mark.parametrize("family", FAMILIES)
def test_launches_run_every_line_of_their_kernels(
    build: BuildRecord, kernels: dict[str, PlannedKernel], family: str
) -> None:
    """Otherwise the layer would be blind to a part of it: it is what the launches were chosen for.

    A line counts as run if an instance of its kernel runs it: plans know no sequences, but the instance without a mask
    does. What an instance does not run of its own instructions is little.
    """
    instances = [kernel for name, kernel in kernels.items() if name.startswith(family)]
    if not instances:
        pytest.skip(f"{family} is of another architecture")
    lines, run = set[SourceLine](), set[SourceLine]()
    for kernel in instances:
        code, executed = executed_sites(build, kernel)
        places = [item.location.line if item.location else None for item in code.instructions]
        lines |= {place for place in places if place and place.line}
        run |= {place for site, place in enumerate(places) if place and executed[site]}
        assert sum(bool(executed[site]) for site in range(len(places))) >= 0.95 * len(places), kernel.name

    assert sorted(f"{place.file}:{place.line}" for place in lines - run) == []


def executed_sites(build: BuildRecord, kernel: PlannedKernel) -> tuple[Kernel, Counter[int]]:
    """How often each instruction of the kernel was executed in its launches, all of which are right."""
    executed: Counter[int] = Counter()
    for launch in kernel.launches:
        simulated_launch = simulate_launch(build, kernel.architecture, launch, UNCHECKED)
        assert simulated_launch.wrong == ""
        (launched,) = (item for item in simulated_launch.outcome.launches if item.kernel.name == kernel.symbol)
        executed.update({site: counters.executed for site, counters in enumerate(launched.counters)})
    return launched.kernel, executed


def test_counters_do_not_depend_on_the_schedule(
    build: BuildRecord, kernels: dict[str, PlannedKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on its seed, nor on how many blocks run at a time, nor on whether races are checked."""
    backward = kernels["attention_bwd<fp16, 64, window>"]
    fixed = simulate_kernel(build, backward)
    monkeypatch.setattr(simulated, "OPTIONS", replace(simulated.OPTIONS, seed=7, threads=2, check_races=False))

    assert simulate_kernel(build, backward) == fixed
    assert fixed.error is None
