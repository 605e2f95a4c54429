"""Synthetic assessments for tests. Every figure and name in here is invented, and the machine says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from perf.findings import (
    Assessment,
    CaseAssessment,
    Comparison,
    GateResult,
    GateVerdict,
    HistoryPoint,
    KernelAssessment,
    LayerStatus,
    NoiseFloor,
    PeerRatio,
    RooflinePoint,
    RuleResult,
)
from perf.model import (
    CAUSAL,
    FULL,
    OWN_IMPLEMENTATION,
    Capture,
    Case,
    Ceiling,
    CeilingKind,
    Commit,
    Device,
    DType,
    Interval,
    Layer,
    Machine,
    Measurement,
    Metric,
    Operation,
    Problem,
    Run,
    StepStatus,
    Target,
    Verdict,
)
from perf.roofline import floors
from perf.work import flop_count, minimum_bytes

COPY_B_PER_S = 34e9
PEAK_FLOP_PER_S = {DType.BF16: 980e9, DType.FP32: 410e9}
GEMM_FLOP_PER_S = {DType.BF16: 760e9, DType.FP32: 330e9}
PEER_SLOWDOWN = {"torch_flash": 3.9, "torch_math": 6.5}
PINNED = (Metric.REGISTERS, Metric.SPILL_BYTES, Metric.OCCUPANCY)
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a synthetic assessment is."""

    cases: int = 24
    history: int = 20
    samples: int = 60
    kernels: int = 6
    seed: int = 1


def build_commit(subject: str = "attention_fwd: simpler tile loads (invented)", **changes: object) -> Commit:
    """A clean commit on main."""
    commit = Commit(
        id="a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
        tree="5f3a9c0d11e2b4a7",
        subject=subject,
        branch="main",
        dirty=False,
        time="2026-01-05T10:12:00+00:00",
    )
    return replace(commit, **changes)  # type: ignore[arg-type]


def build_machine() -> Machine:
    """A machine without a GPU, plainly invented."""
    return Machine(
        cpu_model="Invented CPU 9000",
        cpu_count=2,
        instruction_sets=("avx2", "avx512f", "avx512_bf16"),
        memory_bytes=16 << 30,
        system="Linux 6.1 (invented)",
        python="3.11.9",
        torch="2.13.0",
        threads=2,
        compiler="c++ 12.2.0",
    )


def build_cases(count: int) -> tuple[Case, ...]:
    """``count`` different cases over both element types, both masks, two head sizes and many lengths."""
    cases = []
    for index in range(count):
        cases.append(
            Case(
                operation=Operation.ATTENTION_FWD,
                dtype=(DType.BF16, DType.FP32)[index % 2],
                batch=1 + index // 24,
                heads_q=8,
                heads_kv=8 if index % 3 else 2,
                seqlen_q=256 * (1 + index % 24),
                seqlen_k=256 * (1 + index % 24),
                head_dim=(64, 128)[index // 4 % 2],
                mask=(FULL, CAUSAL)[index // 2 % 2],
            )
        )
    return tuple(cases)


def _samples(generator: np.random.Generator, center_s: float, count: int) -> tuple[float, ...]:
    noise = generator.lognormal(0.0, 0.006, count)
    bursts = np.where(generator.random(count) < 0.03, 1.0 + 0.2 * generator.random(count), 1.0)
    return tuple(float(f"{value:.6g}") for value in center_s * noise * bursts)


def build_measurement(
    case: Case, *, center_s: float, implementation: str = OWN_IMPLEMENTATION, samples: int = 60, seed: int = 1
) -> Measurement:
    """A measurement on the host with slightly skewed noise and a few bursts."""
    own = implementation == OWN_IMPLEMENTATION
    return Measurement(
        case=case,
        device=Device.CPU,
        target="cpu",
        implementation=implementation,
        samples_s=_samples(np.random.default_rng(seed), center_s, samples),
        iterations=3,
        library_fingerprint="0f1e2d3c4b5a6978" if own else "",
        isa="avx512_bf16" if own else "",
        max_abs_difference=0.0039 if own else None,
    )


def build_targets() -> tuple[Target, ...]:
    """The host and three declared GPUs with round, invented peaks."""
    gpus = (("gpu_small", 100e12, 2e12, 0.5e12), ("gpu_middle", 300e12, 6e12, 2e12), ("gpu_large", 1000e12, 8e12, 3e12))
    declared = [
        Target(
            name=name,
            title=f"Invented {name.replace('_', ' ')}",
            device=Device.CUDA,
            architecture=architecture,
            device_names=(f"NVIDIA Invented {name}",),
            flop_per_s={DType.BF16: peak, DType.FP16: peak, DType.FP32: peak / 8},
            exp_per_s=exp,
            dram_bytes_per_s=bandwidth,
            dram_bytes=80e9,
            multiprocessors=100,
            shared_memory_per_block_bytes=99 * 1024,
            source="invented for tests",
        )
        for (name, peak, exp, bandwidth), architecture in zip(gpus, ("sm_86", "sm_80", "sm_90a"), strict=True)
    ]
    host = Target(name="cpu", title="this machine's processor", device=Device.CPU, architecture="cpu")
    return (host, *declared)


CHANGE_BY_INDEX = {0: 0.079, 1: -0.034, 2: 0.008}  # every other case moves by less than its interval


def build_comparison(case: Case, index: int, median_s: float) -> Comparison:
    """The first case regressed, the second improved, the third is inconclusive, the rest are unchanged."""
    verdict = {0: Verdict.REGRESSED, 1: Verdict.IMPROVED, 2: Verdict.INCONCLUSIVE}.get(index, Verdict.UNCHANGED)
    change = CHANGE_BY_INDEX.get(index, 0.001 * ((index % 5) - 2))
    half = 0.024 if verdict is Verdict.INCONCLUSIVE else 0.006
    return Comparison(
        subject=case.name,
        target="cpu",
        metric=Metric.TIME,
        baseline=median_s / (1.0 + change),
        candidate=median_s,
        change=change,
        interval=Interval(low=change - half, high=change + half),
        verdict=verdict,
        reason="the interval lies outside the noise floor" if index == 0 else "invented",
    )


def build_case_assessment(case: Case, index: int, targets: Sequence[Target], shape: Shape) -> CaseAssessment:
    """One measured case with two peers, a roofline position, floors and history."""
    flop, moved = flop_count(case), minimum_bytes(case)
    attainable = min(PEAK_FLOP_PER_S[case.dtype], flop / moved * COPY_B_PER_S)
    center_s = flop / (attainable * (0.55 + 0.3 * ((index * 7) % 10) / 10))
    seed = shape.seed * 1000 + index
    own = build_measurement(case, center_s=center_s, samples=shape.samples, seed=seed)
    peers = tuple(
        build_measurement(
            case, center_s=center_s * factor, implementation=peer, samples=shape.samples, seed=seed + 7 * order
        )
        for order, (peer, factor) in enumerate(PEER_SLOWDOWN.items(), start=1)
    )
    attained = flop / own.median_s
    return CaseAssessment(
        case=case,
        device=Device.CPU,
        target="cpu",
        own=own,
        interval_s=Interval(low=own.median_s * 0.997, high=own.median_s * 1.003),
        throughput_flop_per_s=attained,
        peers=peers,
        ratios=tuple(_ratio(own, peer) for peer in peers),
        roofline=RooflinePoint(
            intensity_flop_per_byte=flop / moved,
            attained_flop_per_s=attained,
            attainable_flop_per_s=attainable,
            fraction=attained / attainable,
            gemm_fraction=attained / GEMM_FLOP_PER_S[case.dtype],
            bound="bytes" if attainable < PEAK_FLOP_PER_S[case.dtype] else "tensor",
        ),
        comparison=build_comparison(case, index, own.median_s),
        floors=floors(case, targets),
        history=build_history(own.median_s, shape.history, seed),
    )


def _ratio(own: Measurement, peer: Measurement) -> PeerRatio:
    ratio = median(peer.samples_s) / median(own.samples_s)
    return PeerRatio(peer=peer.implementation, ratio=ratio, interval=Interval(low=ratio * 0.99, high=ratio * 1.01))


def build_history(median_s: float, points: int, seed: int) -> tuple[HistoryPoint, ...]:
    """Earlier medians that drift a little towards the present one."""
    generator = np.random.default_rng(seed)
    return tuple(
        HistoryPoint(
            run_id=f"run-{index:04d}",
            commit=f"{index:010x}",
            started=f"2025-{1 + index // 28 % 12:02d}-{1 + index % 28:02d}T12:00:00+00:00",
            median_s=median_s * (1.1 - 0.1 * index / max(points, 1)) * float(generator.normal(1.0, 0.004)),
            peer_ratio=3.5 + 0.4 * index / max(points, 1),
        )
        for index in range(points)
    )


def build_capture(kernel: str, architecture: str, **changes: object) -> Capture:
    """The static layer of one kernel on one architecture."""
    wide = "128" in kernel
    capture = Capture(
        kernel=kernel,
        architecture=architecture,
        layer=Layer.STATIC,
        counters={
            Metric.REGISTERS: 224.0 if wide else 168.0,
            Metric.SPILL_BYTES: 0.0,
            Metric.STACK_BYTES: 0.0,
            Metric.SHARED_MEMORY_BYTES: 81920.0 if wide else 49152.0,
            Metric.BARRIERS: 1.0,
            Metric.OCCUPANCY: 0.125 if wide else 0.25,
            Metric.COMPILER_WARNINGS: 0.0,
            Metric.SASS_INSTRUCTIONS: 2400.0 if wide else 1500.0,
            Metric.SASS_TENSOR: 256.0,
            Metric.SASS_SHARED_MATRIX_LOADS: 96.0,
            Metric.SASS_ASYNC_COPIES: 32.0,
            Metric.SASS_SPECIAL_FUNCTION: 64.0,
            Metric.SASS_LOCAL_MEMORY: 0.0,
        },
        fingerprint=f"{abs(len(kernel) * 7919 + len(architecture)):016x}",
        opcodes={"HMMA": 256, "FFMA": 420, "LDSM": 96, "MUFU": 64, "LDGSTS": 32, "IMAD": 210, "FMUL": 180, "MOV": 90},
        occupancy_limiter="shared memory" if wide else "registers",
        launch="128 threads, 81920 B dynamic shared memory",
        source="kernels/csrc/attention_fwd_sm80.cu",
    )
    return replace(capture, **changes)  # type: ignore[arg-type]


def build_kernels(count: int) -> tuple[KernelAssessment, ...]:
    """``count`` kernels on four architectures.

    The first uses more registers than its pin and spills on sm_86; the second is not pinned.
    """
    kernels = []
    for index in range(count):
        mask = "causal" if index % 2 else "full"
        name = f"attention_fwd<{('bf16', 'fp16')[index // 2 % 2]}, {(64, 128)[index // 4 % 2]}, {mask}>"
        captures = [build_capture(name, architecture) for architecture in ARCHITECTURES]
        verdict = Verdict.NOT_RUN if index == 1 else Verdict.UNCHANGED
        comparisons = tuple(build_pin_comparison(capture, metric, verdict) for capture in captures for metric in PINNED)
        if index == 0:
            captures[1] = build_capture(
                name, "sm_86", counters={**captures[1].counters, Metric.REGISTERS: 255.0, Metric.SPILL_BYTES: 48.0}
            )
            comparisons = (
                build_pin_difference(name, Metric.REGISTERS, 168.0, 255.0),
                build_pin_difference(name, Metric.SPILL_BYTES, 0.0, 48.0),
            )
        kernels.append(KernelAssessment(kernel=name, captures=tuple(captures), comparisons=comparisons))
    return tuple(kernels)


def build_pin_comparison(capture: Capture, metric: Metric, verdict: Verdict) -> Comparison:
    """A figure that is as pinned, or that has no pin."""
    pinned = verdict is not Verdict.NOT_RUN
    return Comparison(
        subject=capture.kernel,
        target=capture.architecture,
        metric=metric,
        baseline=capture.counters[metric] if pinned else None,
        candidate=capture.counters[metric],
        change=0.0 if pinned else None,
        interval=None,
        verdict=verdict,
        reason="as pinned" if pinned else "not pinned; run: nox -s promote",
    )


def build_pin_difference(kernel: str, metric: Metric, baseline: float, candidate: float) -> Comparison:
    """An exact metric that got worse on sm_86."""
    return Comparison(
        subject=kernel,
        target="sm_86",
        metric=metric,
        baseline=baseline,
        candidate=candidate,
        change=candidate / baseline - 1.0 if baseline else None,
        interval=None,
        verdict=Verdict.REGRESSED,
        reason=f"{baseline:g} in the pin file, {candidate:g} now",
    )


def build_rule(subject: str = "attention_fwd-bf16-1x8kv2x256x64-full", **changes: object) -> RuleResult:
    """A rule on time that holds."""
    rule = RuleResult(
        rule="time may grow by at most 3 %",
        subject=subject,
        target="cpu",
        metric=Metric.TIME,
        layer=Layer.TIMED,
        value=0.002,
        limit=0.03,
        verdict=Verdict.UNCHANGED,
        reason="+0.2 % keeps the allowed +3.0 %",
        relative=True,
    )
    return replace(rule, **changes)  # type: ignore[arg-type]


def build_gate(cases: Sequence[CaseAssessment], kernels: Sequence[KernelAssessment]) -> GateResult:
    """Breached by the first case and the first kernel; one rule could not run."""
    rules = [
        build_rule(item.case.name, value=item.comparison.change, verdict=Verdict.UNCHANGED) for item in cases[1:12]
    ]
    if cases:
        breach = build_rule(cases[0].case.name, value=0.079, verdict=Verdict.REGRESSED)
        rules.insert(0, replace(breach, reason="7.9 % slower, 95 % interval 7.3 to 8.5 %, against a limit of 3 %"))
    if kernels:
        spill = build_rule(
            kernels[0].kernel,
            rule="no spills",
            target="sm_86",
            metric=Metric.SPILL_BYTES,
            layer=Layer.STATIC,
            relative=False,
        )
        rules.append(replace(spill, value=48.0, limit=0.0, verdict=Verdict.REGRESSED, reason="48 B spilled, limit 0 B"))
    rules.append(build_rule("all", rule="dram", target="gpu_large", verdict=Verdict.NOT_RUN, reason="no GPU here"))
    failed = sum(rule.verdict is Verdict.REGRESSED for rule in rules)
    verdict = GateVerdict.REGRESSION if failed else GateVerdict.PASS
    return GateResult(verdict=verdict, results=tuple(rules), reason=f"{failed} of {len(rules)} rules fail")


def build_ceilings() -> tuple[Ceiling, ...]:
    """Copy bandwidth, and instruction peak and GEMM per element type."""
    copy = Ceiling(
        kind=CeilingKind.COPY,
        device=Device.CPU,
        dtype=None,
        value=COPY_B_PER_S,
        samples=(0.97 * COPY_B_PER_S, COPY_B_PER_S),
        detail="copy over 512 MiB, 2 threads",
    )
    rates = [
        (CeilingKind.INSTRUCTION_PEAK, PEAK_FLOP_PER_S, "register-only multiply-add, 2 threads"),
        (CeilingKind.GEMM, GEMM_FLOP_PER_S, "torch.matmul 2048 x 2048 x 2048"),
    ]
    return (
        copy,
        *(
            Ceiling(
                kind=kind, device=Device.CPU, dtype=dtype, value=value, samples=(0.98 * value, value), detail=detail
            )
            for kind, values, detail in rates
            for dtype, value in values.items()
        ),
    )


def build_run(cases: Sequence[CaseAssessment], commit: Commit) -> Run:
    """The run that ``cases`` come from."""
    return Run(
        id="20260105-101500-a1b2c3d4e5",
        started="2026-01-05T10:15:00+00:00",
        suite="default",
        commit=commit,
        machine=build_machine(),
        ceilings=build_ceilings(),
        measurements=tuple(item for case in cases for item in (case.own, *case.peers)),
        wall_s=192.0,
        measured_s=148.0,
        path="out/runs/20260105-101500-a1b2c3d4e5.json",
    )


def build_assessment(shape: Shape | None = None, **changes: object) -> Assessment:
    """A whole assessment: one slower case, one faster, one kernel that spills; hardware counters did not run."""
    shape = shape or Shape()
    targets = build_targets()
    cases = tuple(
        build_case_assessment(case, index, targets, shape) for index, case in enumerate(build_cases(shape.cases))
    )
    kernels = build_kernels(shape.kernels)
    commit = build_commit()
    run = build_run(cases, commit)
    before = build_commit("attention_fwd: the baseline (invented)", id="9f8e7d6c5b" + "0" * 30, tree="00ff00ff00ff00ff")
    tree = commit.tree
    assessment = Assessment(
        commit=commit,
        machine=run.machine,
        run=run,
        baseline=replace(run, commit=before, id="20260104-090000-9f8e7d6c5b", started="2026-01-04T09:00:00+00:00"),
        noise=NoiseFloor(value=0.004, controls=2 * shape.cases, reason="peers are the same code in both runs"),
        layers=(
            LayerStatus(layer=Layer.STATIC, ran=True, text=f"{shape.kernels} kernels x 4 architectures"),
            LayerStatus(layer=Layer.SIMULATED, ran=False, text="not run: no simulator yet"),
            LayerStatus(layer=Layer.TIMED, ran=True, text=f"{shape.cases} cases"),
            LayerStatus(layer=Layer.HARDWARE, ran=False, text="not run: no NVIDIA GPU here"),
        ),
        cases=cases,
        kernels=kernels,
        targets=targets,
        gate=build_gate(cases, kernels),
        steps=tuple(
            StepStatus(step=step, tree=tree, started=run.started, wall_s=wall_s, exit_code=0)
            for step, wall_s in (("build", 21.0), ("bench", 192.0), ("profile", 9.0))
        ),
        problems=(Problem(subject="out/runs/half-written.json", reason="truncated; skipped"),),
    )
    return replace(assessment, **changes)  # type: ignore[arg-type]


def build_empty_assessment(**changes: object) -> Assessment:
    """A clean clone in which nothing was built or measured yet."""
    reasons = {layer: f"not run: nothing {layer.value} for this commit; run: nox" for layer in Layer}
    assessment = Assessment(
        commit=build_commit(),
        machine=None,
        run=None,
        baseline=None,
        noise=NoiseFloor(value=None, controls=0, reason="no baseline on this machine"),
        layers=tuple(LayerStatus(layer=layer, ran=False, text=text) for layer, text in reasons.items()),
        cases=(),
        kernels=(),
        targets=build_targets(),
        gate=GateResult(verdict=GateVerdict.NO_VERDICT, results=(), reason="nothing was measured for this commit"),
        steps=(),
        problems=(),
    )
    return replace(assessment, **changes)  # type: ignore[arg-type]


COMPILER_ERROR = """kernels/csrc/attention_fwd_cpu.cpp:142:17: error: 'tile_rowz' was not declared in this scope
  142 |     for (int row = 0; row < tile_rowz; ++row) {
      |                             ^~~~~~~~~
kernels/csrc/attention_fwd_cpu.cpp:142:17: note: suggested alternative: 'tile_rows' <invented>"""


def build_failed_build_assessment() -> Assessment:
    """The compiler refused a source, so nothing was measured."""
    commit = build_commit()
    failed = StepStatus(
        step="build",
        tree=commit.tree,
        started="2026-01-05T10:15:00+00:00",
        wall_s=3.2,
        exit_code=2,
        error=f"cpu does not compile:\n{COMPILER_ERROR}",
    )
    gate = GateResult(verdict=GateVerdict.ERROR, results=(), reason="the build failed; nothing was measured")
    return build_empty_assessment(steps=(failed,), gate=gate)
