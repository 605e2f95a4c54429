"""CUDA kernels without a GPU: one page each, architectures side by side, and the table of all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment, Comparison, KernelAssessment
from perf.model import Capture, Layer, Metric, Verdict
from profiles.source_counters import CountedKernel
from reports.charts import instruction_mix_chart
from reports.view.changes import has_moved, is_compared
from reports.view.frame import build_frame, kernel_path, source_path
from reports.view.page import Figure, Page
from reports.view.quantities import bare_value, plural
from reports.view.tables import Cell, Column, Mark, Row, Table, marked, missing, rows_of
from reports.view.wording import MARKS, METRIC_TITLES, VERDICT_ORDER, exact_mark

SHORT_FINGERPRINT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Warnings:
    """What the compiler warned of on one architecture."""

    architecture: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPart:
    """What the simulated layer says of the kernel, or why it says nothing."""

    counters: Table | None
    launches: Table | None
    findings: tuple[Warnings, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPage:
    """The content of a kernel's page."""

    name: str
    mark: Mark
    summary: str
    counters: Table | None
    builds: Table | None
    mix: Figure | None
    mix_note: str
    warnings: tuple[Warnings, ...]
    warnings_note: str
    simulated: SimulatedPart
    hardware: Table | None
    hardware_note: str
    differences: Table | None
    differences_note: str


def build_kernel_page(assessment: Assessment, kernel: KernelAssessment, counted: Sequence[CountedKernel] = ()) -> Page:
    """The page of ``kernel``; ``counted`` are the kernels that have a source page."""
    mix = _mix_figure(kernel)
    static, hardware = _of_layer(kernel, Layer.STATIC), _of_layer(kernel, Layer.HARDWARE)
    warnings = tuple(
        Warnings(architecture=capture.architecture, text="\n".join(capture.warnings))
        for capture in static
        if capture.warnings
    )
    moved = [comparison for comparison in kernel.comparisons if has_moved(comparison)]
    content = KernelPage(
        name=kernel.kernel,
        mark=MARKS[kernel_verdict(kernel)],
        summary=_summary(kernel, moved),
        counters=_counter_table(
            kernel, static, "Figures per architecture, all exact. A marked figure differs from the baseline's pin."
        )
        if static
        else None,
        builds=_build_table(static) if static else None,
        mix=mix,
        mix_note="" if mix else "The machine code was not disassembled.",
        warnings=warnings,
        warnings_note="" if warnings else "The compiler warned of nothing.",
        simulated=_simulated_part(assessment, kernel, counted),
        hardware=_counter_table(kernel, hardware, _HARDWARE_CAPTION) if hardware else None,
        hardware_note=_hardware_note(assessment, hardware),
        differences=_difference_table(moved) if moved else None,
        differences_note=_differences_note(kernel, moved),
    )
    frame = build_frame(assessment, kernel_path(kernel.kernel), kernel.kernel)
    return Page(template="kernel.html", frame=frame, content=content, figures=(mix,) if mix else ())


def _of_layer(kernel: KernelAssessment, layer: Layer) -> tuple[Capture, ...]:
    return tuple(capture for capture in kernel.captures if capture.layer is layer)


def _simulated_part(
    assessment: Assessment, kernel: KernelAssessment, counted: Sequence[CountedKernel]
) -> SimulatedPart:
    captures = _of_layer(kernel, Layer.SIMULATED)
    findings = tuple(
        Warnings(architecture=capture.architecture, text="\n".join(capture.warnings))
        for capture in captures
        if capture.warnings
    )
    if not captures:
        status = next((one.text for one in assessment.layers if one.layer is Layer.SIMULATED), "not run")
        note = f"The simulated layer has no figures of this kernel ({status})."
    else:
        note = "" if findings else "The checks (races, bounds, barriers, copies, the answer itself) found nothing."
    return SimulatedPart(
        counters=_counter_table(kernel, captures, _SIMULATED_CAPTION) if captures else None,
        launches=_launch_table(captures, counted) if captures else None,
        findings=findings,
        note=note,
    )


_SIMULATED_CAPTION = (
    "Simulated layer: what one small launch executes, counted in PTX by warps. Exact, neither machine instructions nor "
    "time. A marked figure differs from the baseline's pin."
)


_HARDWARE_CAPTION = (
    "Hardware layer: counted by the GPU during one launch of a case; medians where several launches were captured. "
    "Instructions, wavefronts and sectors of global memory are exact, the rest differs between identical launches."
)


def _hardware_note(assessment: Assessment, captures: Sequence[Capture]) -> str:
    """What was launched, or why nothing was captured."""
    if captures:
        return " ".join(f"{capture.architecture}: {capture.launch}." for capture in captures)
    status = next((one.text for one in assessment.layers if one.layer is Layer.HARDWARE), "not run")
    return f"The hardware layer has no figures of this kernel ({status})."


def _launch_table(captures: Sequence[Capture], counted: Sequence[CountedKernel]) -> Table:
    pages = {(one.kernel, one.architecture) for one in counted}
    return Table(
        caption="What was launched, and its sources with what each line executes.",
        columns=(Column("architecture"), Column("launch"), Column("source")),
        rows=rows_of(
            (Cell(capture.architecture), Cell(capture.launch), _source_cell(capture, pages)) for capture in captures
        ),
        sortable=False,
    )


def _source_cell(capture: Capture, pages: Collection[tuple[str, str]]) -> Cell:
    if (capture.kernel, capture.architecture) not in pages:
        return missing("no line of a source was counted")
    return Cell("line by line", href=source_path(capture.kernel, capture.architecture))


def kernel_verdict(kernel: KernelAssessment) -> Verdict:
    """The most urgent verdict among the kernel's comparisons."""
    verdicts = {comparison.verdict for comparison in kernel.comparisons}
    return next((verdict for verdict in VERDICT_ORDER if verdict in verdicts), Verdict.NOT_RUN)


def build_kernel_table(kernels: tuple[KernelAssessment, ...]) -> Table:
    """One row per kernel and one column per architecture."""
    architectures = architectures_of(kernels)
    present = {kernel_verdict(kernel) for kernel in kernels}
    return Table(
        caption="CUDA kernels as the compiler sees them (static layer, exact): registers per thread, spilled bytes, "
        "theoretical occupancy and what limits it.",
        columns=(Column("kernel"), Column("against the pins"), *(Column(name) for name in architectures)),
        rows=tuple(_kernel_row(kernel, architectures) for kernel in kernels),
        groups=tuple(MARKS[verdict] for verdict in VERDICT_ORDER if verdict in present),
    )


def architectures_of(kernels: tuple[KernelAssessment, ...]) -> tuple[str, ...]:
    """Every architecture that some kernel was built for, in order of appearance."""
    return tuple(dict.fromkeys(capture.architecture for kernel in kernels for capture in kernel.captures))


def _kernel_row(kernel: KernelAssessment, architectures: tuple[str, ...]) -> Row:
    static = {capture.architecture: capture for capture in kernel.captures if capture.layer is Layer.STATIC}
    mark = MARKS[kernel_verdict(kernel)]
    worse = {comparison.target for comparison in kernel.comparisons if comparison.verdict is Verdict.REGRESSED}
    return Row(
        cells=(
            Cell(kernel.kernel, sort=kernel.kernel, href=kernel_path(kernel.kernel), code=True),
            marked(mark),
            *(_architecture_cell(static.get(name), "regressed" if name in worse else "") for name in architectures),
        ),
        group=mark.word,
    )


def _architecture_cell(capture: Capture | None, tone: str) -> Cell:
    if capture is None:
        return missing("not built for this architecture")
    counters = capture.counters
    registers, spilled = counters.get(Metric.REGISTERS), counters.get(Metric.SPILL_BYTES)
    occupancy = counters.get(Metric.OCCUPANCY)
    parts = [
        f"{units.count(registers)} registers" if registers is not None else "",
        f"{units.byte_total(spilled)} spilled" if spilled else "",
    ]
    detail = f"{units.percent(occupancy)} occupancy" if occupancy is not None else ""
    if detail and capture.occupancy_limiter:
        detail += f", by {capture.occupancy_limiter}"
    return Cell(", ".join(filter(None, parts)), sort=registers or "", detail=detail, tone=tone)


def _summary(kernel: KernelAssessment, moved: list[Comparison]) -> str:
    built = plural(len({capture.architecture for capture in kernel.captures}), "architecture")
    if not is_compared(kernel):
        return f"Built for {built}. No pinned figure to compare with."
    if not moved:
        return f"Built for {built}. Every pinned figure is as it was."
    differ = "differs" if len(moved) == 1 else "differ"
    return f"Built for {built}. {plural(len(moved), 'figure')} {differ} from the pins."


def _counter_table(kernel: KernelAssessment, captures: Sequence[Capture], caption: str) -> Table:
    """Metrics down, architectures across; a cell that differs from its pin says what it was."""
    comparisons = {(comparison.target, comparison.metric): comparison for comparison in kernel.comparisons}
    metrics = [metric for metric in Metric if any(metric in capture.counters for capture in captures)]
    rows = [
        (
            Cell(METRIC_TITLES[metric]),
            Cell(metric.layer.value),
            *(_counter_cell(one, metric, comparisons.get((one.architecture, metric))) for one in captures),
        )
        for metric in metrics
    ]
    return Table(
        caption=caption,
        columns=(Column("figure"), Column("layer"), *(Column(one.architecture, numeric=True) for one in captures)),
        rows=rows_of(rows),
        sortable=False,
    )


def _build_table(captures: Sequence[Capture]) -> Table:
    texts = (
        (capture.architecture, capture.launch, capture.fingerprint[:SHORT_FINGERPRINT], capture.source)
        for capture in captures
    )
    return Table(
        caption="How it is launched, and a fingerprint of its machine code: equal fingerprints are equal code.",
        columns=(Column("architecture"), Column("launch"), Column("machine code"), Column("source")),
        rows=rows_of((Cell(text) if text else missing("not recorded") for text in row) for row in texts),
        sortable=False,
    )


def _counter_cell(capture: Capture, metric: Metric, comparison: Comparison | None) -> Cell:
    value = capture.counters.get(metric)
    if value is None:
        return missing("not counted on this architecture")
    text = bare_value(metric, value)
    if comparison is None or not has_moved(comparison):
        limiter = capture.occupancy_limiter if metric is Metric.OCCUPANCY else ""
        return Cell(text, sort=value, detail=f"limited by {limiter}" if limiter else "")
    mark = exact_mark(comparison)
    before = "new" if comparison.baseline is None else f"was {bare_value(metric, comparison.baseline)}"
    return Cell(text, sort=value, detail=before, tone=f"{mark.tone} changed", hint=comparison.reason, mark=mark)


def _mix_figure(kernel: KernelAssessment) -> Figure | None:
    mixes = {capture.architecture: capture.opcodes for capture in kernel.captures if capture.opcodes}
    if not mixes:
        return None
    return Figure(
        id="mix",
        title="Instruction mix",
        description="Instructions in the machine code by opcode: how often each stands there, not how often it runs.",
        spec=instruction_mix_chart(mixes),
        table=_mix_table(mixes),
    )


def _mix_table(mixes: Mapping[str, Mapping[str, int]]) -> Table:
    total = {opcode: 0 for opcodes in mixes.values() for opcode in opcodes}
    for opcodes in mixes.values():
        for opcode, count in opcodes.items():
            total[opcode] += count
    return Table(
        caption="Instructions in the machine code by opcode (static layer, exact)",
        columns=(Column("opcode"), *(Column(name, numeric=True) for name in mixes)),
        rows=rows_of(
            (
                Cell(opcode, sort=opcode, code=True),
                *(Cell(units.count(one.get(opcode, 0)), sort=one.get(opcode, 0)) for one in mixes.values()),
            )
            for opcode in sorted(total, key=lambda opcode: (-total[opcode], opcode))
        ),
    )


def _difference_table(moved: list[Comparison]) -> Table:
    rows = (
        (
            Cell(comparison.target),
            Cell(METRIC_TITLES[comparison.metric]),
            *(
                missing("absent") if value is None else Cell(bare_value(comparison.metric, value), sort=value)
                for value in (comparison.baseline, comparison.candidate)
            ),
            marked(exact_mark(comparison)),
            Cell(comparison.reason),
        )
        for comparison in moved
    )
    return Table(
        caption="Figures that differ from the baseline's pins",
        columns=(
            Column("architecture"),
            Column("figure"),
            Column("before", numeric=True),
            Column("now", numeric=True),
            Column("verdict"),
            Column("reason"),
        ),
        rows=rows_of(rows),
    )


def _differences_note(kernel: KernelAssessment, moved: list[Comparison]) -> str:
    if not is_compared(kernel):
        return "There is no pin of this kernel yet; make one with: nox -s promote"
    return "" if moved else "None: every pinned figure is as it was."
