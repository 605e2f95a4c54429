"""Everything that is known of the present sources, joined and judged: the one input of the gate and the reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kernels.workspace import Workspace
from perf import compare, gate, roofline, stats
from perf.config import Suite
from perf.evidence import Evidence, Sources, gather, with_history
from perf.findings import (
    Assessment,
    CaseAssessment,
    Comparison,
    HistoryPoint,
    KernelAssessment,
    LayerStatus,
    NoiseFloor,
    PeerRatio,
)
from perf.model import OWN_IMPLEMENTATION, Capture, Device, Layer, Machine, Measurement, Problem, Run, Verdict
from perf.paired.judged import timed_changes
from perf.pins import Pins
from perf.proportion import proportion


def load_assessment(workspace: Workspace, sources: Sources | None = None, suite: str | None = None) -> Assessment:
    """Read and judge everything, history included, for the reports.

    Args:
        workspace: where results lie.
        sources: other configuration files than the repository's.
        suite: judge the newest run of this suite; the newest of any suite if None.

    Raises:
        RoofgateError: there is no git repository or commit. Everything else that is missing or broken becomes a problem
            of the assessment.
    """
    return assess(with_history(gather(workspace, sources or Sources(), suite), workspace))


def assess(evidence: Evidence) -> Assessment:
    """Join and judge (pure)."""
    paired_changes = timed_changes(evidence.paired) if evidence.paired else ()
    noise, between_runs = _judge_cases(evidence)
    cases = prefer_paired(between_runs, paired_changes)
    kernels = _kernels(evidence)
    measured = evidence.run or evidence.paired
    machine = measured.machine if measured else None
    findings = gate.Findings(
        cases=cases,
        kernels=kernels,
        instruction_sets=frozenset(machine.instruction_sets if machine else ()),
        suite=measured.suite if measured else "",
        failures=evidence.failures + _unmatched(evidence),
        paired=paired_changes,
    )
    return Assessment(
        commit=evidence.commit,
        machine=machine,
        run=evidence.run,
        baseline=evidence.baseline,
        noise=noise,
        layers=_layers(evidence, cases, machine),
        cases=cases,
        kernels=kernels,
        targets=evidence.targets,
        gate=gate.evaluate(evidence.thresholds, findings),
        steps=evidence.steps,
        problems=_problems(evidence),
        paired=evidence.paired,
        paired_changes=paired_changes,
    )


def _unmatched(evidence: Evidence) -> tuple[str, ...]:
    """Rules that cannot apply to anything; not asked where the suites themselves could not be read."""
    if not evidence.suites or not evidence.targets:
        return ()
    cases = {
        (case.name, target.name)
        for target in evidence.targets
        for suite in evidence.suites.values()
        for case in suite.cases(target.device)
    }
    if evidence.run:
        cases |= {(item.case.name, item.target) for item in evidence.run.measurements}
    if evidence.paired:
        cases |= {(item.case.name, item.target) for item in evidence.paired.cases}
    captures = [capture for found in evidence.captures for capture in found.captures]
    kernels = {(capture.kernel, capture.architecture) for capture in (*captures, *evidence.pins.captures)}
    return gate.unmatched_rules(evidence.thresholds, sorted(cases), sorted(kernels))


def _judge_cases(evidence: Evidence) -> tuple[NoiseFloor, tuple[CaseAssessment, ...]]:
    run = evidence.run
    if run is None:
        return NoiseFloor(value=None, controls=0, reason="nothing was measured"), ()
    compared = compare.compare_runs(run, evidence.baseline, evidence.thresholds.margin)
    history, full_masks = _history(evidence), compare.full_masks(run)
    cases = tuple(
        replace(
            _case(evidence, run, found, compared.cases[key], history.get(key, ())),
            proportion=proportion(found[OWN_IMPLEMENTATION], full_masks[key]) if key in full_masks else None,
        )
        for key, found in compare.by_case(run).items()
        if OWN_IMPLEMENTATION in found
    )
    return compared.noise, cases


def prefer_paired(
    cases: tuple[CaseAssessment, ...], paired_changes: tuple[Comparison, ...]
) -> tuple[CaseAssessment, ...]:
    """``cases``, each with its paired comparison in place of that with the baseline run, where it has one."""
    found = {(change.subject, change.target): change for change in paired_changes}
    return tuple(
        replace(case, comparison=found[key], between_runs=case.comparison)
        if (key := (case.case.name, case.target)) in found
        else case
        for case in cases
    )


def _case(
    evidence: Evidence,
    run: Run,
    found: Mapping[str, Measurement],
    comparison: Comparison,
    history: tuple[HistoryPoint, ...],
) -> CaseAssessment:
    own = found[OWN_IMPLEMENTATION]
    peers = tuple(item for name, item in found.items() if name != OWN_IMPLEMENTATION)
    return CaseAssessment(
        case=own.case,
        device=own.device,
        target=own.target,
        own=own,
        interval_s=stats.median_interval(own.samples_s),
        throughput_flop_per_s=roofline.throughput(own.case, own.median_s),
        peers=peers,
        ratios=tuple(_ratio(own, peer) for peer in peers),
        roofline=roofline.roofline_point(own, run.ceilings),
        comparison=comparison,
        floors=roofline.floors(own.case, evidence.targets),
        history=history,
    )


def _ratio(own: Measurement, peer: Measurement) -> PeerRatio:
    estimate = stats.exponential(stats.paired_log_ratio(peer.samples_s, own.samples_s))
    return PeerRatio(peer=peer.implementation, ratio=estimate.value, interval=estimate.interval)


def _history(evidence: Evidence) -> dict[compare.Key, tuple[HistoryPoint, ...]]:
    """Earlier results of each case, oldest first."""
    points: dict[compare.Key, list[HistoryPoint]] = {}
    for run in reversed(evidence.history):
        if evidence.run and run.started <= evidence.run.started:
            for key, found in compare.by_case(run).items():
                if OWN_IMPLEMENTATION in found:
                    points.setdefault(key, []).append(_point(run, found))
    return {key: tuple(found) for key, found in points.items()}


def _point(run: Run, found: Mapping[str, Measurement]) -> HistoryPoint:
    own = found[OWN_IMPLEMENTATION].median_s
    fastest = min((item.median_s for name, item in found.items() if name != OWN_IMPLEMENTATION), default=None)
    return HistoryPoint(
        run_id=run.id,
        commit=run.commit.short,
        started=run.started,
        median_s=own,
        peer_ratio=fastest / own if fastest else None,
    )


def _kernels(evidence: Evidence) -> tuple[KernelAssessment, ...]:
    captures: dict[str, list[Capture]] = {}
    for capture_set in evidence.captures:
        for capture in capture_set.captures:
            captures.setdefault(capture.kernel, []).append(capture)
    return tuple(_kernel(evidence.pins, kernel, captures[kernel]) for kernel in sorted(captures))


def _kernel(pins: Pins, kernel: str, captures: Iterable[Capture]) -> KernelAssessment:
    layers = list(Layer)
    ordered = tuple(sorted(captures, key=lambda capture: (layers.index(capture.layer), capture.architecture)))
    comparisons = tuple(
        comparison
        for capture in ordered
        for comparison in compare.compare_captures(capture, pins.find(kernel, capture.architecture, capture.layer))
    )
    return KernelAssessment(kernel=kernel, captures=ordered, comparisons=comparisons)


def _layers(evidence: Evidence, cases: tuple[CaseAssessment, ...], machine: Machine | None) -> tuple[LayerStatus, ...]:
    has_gpu = machine is not None and bool(machine.gpus)
    no_hardware = "no captures of the present sources; run: nox -s profile" if has_gpu else "no NVIDIA GPU here"
    no_captures = "no captures of the present sources; run: nox -s profile"
    return (
        _captured(evidence, Layer.STATIC, no_captures),
        _captured(evidence, Layer.SIMULATED, no_captures),
        _timed(evidence, cases),
        _captured(evidence, Layer.HARDWARE, no_hardware),
    )


def _captured(evidence: Evidence, layer: Layer, otherwise: str) -> LayerStatus:
    sets = [found for found in evidence.captures if found.layer is layer]
    captures = [capture for found in sets for capture in found.captures]
    if captures:
        kernels = {capture.kernel for capture in captures}
        architectures = {capture.architecture for capture in captures}
        text = f"{_count(len(kernels), 'kernel')} x {_count(len(architectures), 'architecture')}"
        return LayerStatus(layer=layer, ran=True, text=text)
    reasons = [problem.reason for found in sets for problem in found.problems]
    return LayerStatus(layer=layer, ran=False, text=f"not run: {(reasons or [otherwise])[0]}")


def _timed(evidence: Evidence, cases: tuple[CaseAssessment, ...]) -> LayerStatus:
    texts = []
    if cases:
        targets = sorted({case.target for case in cases})
        cut_short = "" if evidence.run and evidence.run.complete else ", cut short"
        texts.append(f"{_count(len(cases), 'case')} on {', '.join(targets)}{cut_short}")
    if compared := _count_compared(evidence):
        texts.append(f"{_count(compared, 'case')} compared in pairs")
    if texts:
        return LayerStatus(layer=Layer.TIMED, ran=True, text="; ".join(texts))
    reason = "no case was measured" if evidence.run else "no run of the present sources; run: nox -s bench"
    return LayerStatus(layer=Layer.TIMED, ran=False, text=f"not run: {reason}")


def _count_compared(evidence: Evidence) -> int:
    """Cases that the paired comparison concluded something of."""
    found = evidence.paired.cases if evidence.paired else ()
    return sum(case.finding.verdict is not Verdict.NOT_RUN for case in found)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _problems(evidence: Evidence) -> tuple[Problem, ...]:
    failed = tuple(
        Problem(subject=f"step {step.step}", reason=step.error or f"ended with exit code {step.exit_code}")
        for step in evidence.steps
        if step.exit_code != 0
    )
    captured = tuple(problem for found in evidence.captures for problem in found.problems)
    gpu_less = evidence.run is not None and not evidence.run.machine.gpus
    unmeasured = tuple(_unmeasured(suite) for suite in _gpu_suites(evidence)) if gpu_less else ()
    measured = [found.problems for found in (evidence.run, evidence.paired) if found]
    return (*failed, *evidence.problems, *(problem for found in measured for problem in found), *captured, *unmeasured)


def _gpu_suites(evidence: Evidence) -> list[Suite]:
    suite = evidence.suites.get(evidence.run.suite) if evidence.run else None
    return [suite] if suite and suite.cases(Device.CUDA) else []


def _unmeasured(suite: Suite) -> Problem:
    cases = _count(len(suite.cases(Device.CUDA)), "CUDA case")
    return Problem(subject=f"{cases} of suite {suite.name}", reason="no NVIDIA GPU here")
