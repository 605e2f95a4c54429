"""The page of the transformer: what the kernels give in a whole model, and that it learns the same with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perf import units
from perf.findings import Assessment
from perf.model import Interval, Verdict
from perf.transformer.conclusions import TOLERANCE, PhaseConclusion, conclude
from perf.transformer.curves import FACTOR, judge, window_edges
from perf.transformer.results import CurveSet, TransformerRun
from reports.transformer_charts import DistanceLine, LossLine, loss_chart
from reports.view.case_page import Detail
from reports.view.frame import Link, build_frame, slug
from reports.view.page import Figure, Page
from reports.view.quantities import moment, plural, span
from reports.view.tables import Cell, Column, Mark, Table, marked, rows_of

TRANSFORMER_PATH = "transformer.html"

_MARKS = {
    Verdict.UNCHANGED: Mark(glyph="●", word="as predicted", tone="unchanged"),
    Verdict.REGRESSED: Mark(glyph="▲", word="not as predicted", tone="regressed"),
    Verdict.INCONCLUSIVE: Mark(glyph="?", word="too noisy to say", tone="inconclusive"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingSection:
    """One model: its size, its times and its loss curves."""

    id: str
    title: str
    stale: str
    phases: Table
    curves: tuple[Figure, ...]
    details: tuple[Detail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerPage:
    """The content of transformer.html."""

    sections: tuple[SettingSection, ...]


def with_transformer_page(
    assessment: Assessment, pages: Sequence[Page], runs: Sequence[TransformerRun]
) -> tuple[Page, ...]:
    """``pages`` and the page of ``runs``, with a link to it in the navigation of each; as they are without runs."""
    if not runs:
        return tuple(pages)
    return tuple(_linked(page) for page in (*pages, build_transformer_page(assessment, runs)))


def _linked(page: Page) -> Page:
    link = Link(text="Transformer", href=TRANSFORMER_PATH, current=page.frame.path == TRANSFORMER_PATH)
    return replace(page, frame=replace(page.frame, navigation=(*page.frame.navigation, link)))


def build_transformer_page(assessment: Assessment, runs: Sequence[TransformerRun]) -> Page:
    """The page of the stored ``runs``, at least one."""
    sections = tuple(_section(run, assessment.commit.tree) for run in runs)
    return Page(
        template="transformer.html",
        frame=build_frame(assessment, TRANSFORMER_PATH, "A whole transformer"),
        content=TransformerPage(sections=sections),
        figures=tuple(figure for section in sections for figure in section.curves),
    )


def _section(run: TransformerRun, tree: str) -> SettingSection:
    setting, size, name = run.setting, run.setting.model, f"{run.setting.name}-{run.device.value}"
    note = " Quick: too small for its times to mean anything." if run.quick else ""
    return SettingSection(
        id=slug(name),
        title=f"{setting.name} on {run.device.value}: {setting.description}",
        stale=""
        if run.commit.tree == tree
        else f"Of other sources: commit {run.commit.short}, tree {run.commit.tree}.",
        phases=_phase_table(conclude(run), f"{setting.name}, {run.dtype.key}.{note}"),
        curves=tuple(_curve_figure(curves, f"{slug(name)}-{curves.dtype.key}") for curves in run.curves),
        details=(
            Detail(
                "model",
                f"{size.layers} layers of width {size.width}, {size.heads_q}:{size.heads_kv} heads of {size.head_dim}, "
                f"feed-forward {size.hidden}; {setting.batch} x {setting.seqlen} tokens a step",
            ),
            Detail(
                "measured", f"{moment(run.started)} on {run.machine.title}, {plural(run.machine.threads, 'thread')}"
            ),
            Detail("file", run.path),
        ),
    )


def _phase_table(phases: Sequence[PhaseConclusion], caption: str) -> Table:
    return Table(
        caption=f"{caption} Amdahl: 1 / ((1 - share) + share / kernel). Above one is in our favour; measured and "
        f"predicted must agree within {units.percent(TOLERANCE)}.",
        columns=(
            Column("phase"),
            Column("verdict"),
            Column("with torch", numeric=True),
            Column("with roofgate", numeric=True),
            Column("share", hint="of torch's step inside attention, by clocks in the step", numeric=True),
            Column("share, alone", hint="the same from attention timed by itself, times the layers", numeric=True),
            Column("kernel", hint="speed-up of attention by itself", numeric=True),
            Column("in step", hint="speed-up of attention inside the step", numeric=True),
            Column("predicted", hint="speed-up of the step by Amdahl's law", numeric=True),
            Column("measured", hint="speed-up of the step", numeric=True),
            Column("measured / predicted - 1", numeric=True),
        ),
        rows=rows_of(_phase_cells(phase) for phase in phases),
    )


def _phase_cells(phase: PhaseConclusion) -> tuple[Cell, ...]:
    agreement, bounds = phase.measured_to_predicted, phase.measured_to_predicted.interval
    around = Interval(low=bounds.low - 1, high=bounds.high - 1, confidence=bounds.confidence)
    return (
        Cell(phase.phase.value, sort=phase.phase.value),
        marked(_MARKS[phase.verdict]),
        Cell(units.seconds(phase.torch_step_s), sort=phase.torch_step_s),
        Cell(units.seconds(phase.own_step_s), sort=phase.own_step_s, tone="strong"),
        Cell(units.percent(phase.share.value), sort=phase.share.value),
        Cell(units.percent(phase.alone_share), sort=phase.alone_share),
        *(
            Cell(units.ratio(value), sort=value)
            for value in (
                phase.kernel_speedup.value,
                phase.in_model_speedup,
                phase.predicted.value,
                phase.measured.value,
            )
        ),
        Cell(units.change(agreement.value - 1), sort=agreement.value, detail=span(around, units.change)),
    )


def _curve_figure(curves: CurveSet, identity: str) -> Figure:
    agreement = judge(curves)
    steps = len(curves.own.losses)
    edges = window_edges(steps)
    windows = [(start + stop + 1) / 2 for start, stop in edges]
    others = [
        LossLine(title=control.title, losses=control.losses, colour="var(--soft)", dash="dot", width=1)
        for control in curves.controls
    ]
    torch, own = (
        LossLine(title="torch", losses=curves.reference.losses, colour="var(--series-1)", dash="dash", width=2),
        LossLine(title="roofgate", losses=curves.own.losses, colour="var(--own)", dash="solid", width=2),
    )
    distances = (
        DistanceLine(
            title="roofgate from torch", distances=agreement.distances, colour="var(--own)", dash="solid", symbol="star"
        ),
        DistanceLine(
            title="allowed", distances=agreement.allowed, colour="var(--ink)", dash="dash", symbol="line-ew-open"
        ),
    )
    word = "equal" if agreement.is_equal else "different"
    return Figure(
        id=f"loss-{identity}",
        title=f"Loss curves, {curves.dtype.key}: {word}",
        description=f"Loss over {steps} training steps in {curves.dtype.key}, from the same weights over the same "
        f"text: the curves of torch and roofgate are {word}. Below: the root mean square of their difference in each "
        f"window of steps, and what is allowed, {FACTOR:g} times the most by which torch's variants had differed.",
        spec=loss_chart([*others, torch, own], distances, windows),
        table=_distance_table(agreement.distances, agreement.allowed, edges),
    )


def _distance_table(distances: Sequence[float], allowed: Sequence[float], edges: Sequence[tuple[int, int]]) -> Table:
    return Table(
        caption="Distance of the losses from torch's in each window of steps, nats per byte.",
        columns=(Column("steps"), Column("roofgate from torch", numeric=True), Column("allowed", numeric=True)),
        rows=rows_of(
            (
                Cell(f"{start + 1} to {stop}", sort=start),
                Cell(f"{distance:.2e}", sort=distance),
                Cell(f"{most:.2e}", sort=most),
            )
            for (start, stop), distance, most in zip(edges, distances, allowed, strict=True)
        ),
    )
