"""A run of the transformer as tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perf import units
from perf.model import Verdict
from perf.transformer.conclusions import PhaseConclusion, conclude
from perf.transformer.curves import judge, judge_controls
from perf.transformer.results import CurveSet, TransformerRun

VERDICT_WORDS = {
    Verdict.UNCHANGED: "as predicted",
    Verdict.REGRESSED: "not as predicted",
    Verdict.INCONCLUSIVE: "too noisy to say",
}


def print_run(run: TransformerRun, console: Console) -> None:
    """Print times, shares and predictions by phase, and what became of the loss curves."""
    size, setting = run.setting.model, run.setting
    console.print(
        f"{setting.name} on {run.device.value}: {setting.batch} x {setting.seqlen} tokens, {size.layers} layers of "
        f"width {size.width}, {size.heads_q}:{size.heads_kv} heads of {size.head_dim}, {run.dtype.key}",
        soft_wrap=True,
    )
    console.print(_phase_table(conclude(run)))
    if run.quick:
        console.print("quick: the model is too small for its times to mean anything", style="dim")
    for curves in run.curves:
        console.print(Text(curves_text(curves)), soft_wrap=True)


def _phase_table(phases: tuple[PhaseConclusion, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "",
        "torch",
        "roofgate",
        "attention",
        "alone",
        "kernel",
        "in step",
        "predicted",
        "measured",
        "agreement",
    ):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for phase in phases:
        table.add_row(
            phase.phase.value,
            units.seconds(phase.torch_step_s),
            units.seconds(phase.own_step_s),
            units.percent(phase.share.value),
            units.percent(phase.alone_share),
            units.ratio(phase.kernel_speedup.value),
            units.ratio(phase.in_model_speedup),
            units.ratio(phase.predicted.value),
            units.ratio(phase.measured.value),
            agreement_text(phase),
            VERDICT_WORDS[phase.verdict],
        )
    return table


def agreement_text(phase: PhaseConclusion) -> str:
    """Measured against predicted, with its interval."""
    bounds = phase.measured_to_predicted.interval
    value = units.change(phase.measured_to_predicted.value - 1)
    return f"{value} ({units.change(bounds.low - 1)} to {units.change(bounds.high - 1)})"


def curves_text(curves: CurveSet) -> str:
    """One sentence on the loss curves of a dtype."""
    agreement, controls = judge(curves), judge_controls(curves)
    word = "equal" if agreement.is_equal else "DIFFERENT"
    kept = sum(control.is_equal for control in controls)
    return (
        f"loss curves, {curves.dtype.key}, {len(curves.own.losses)} steps: {word}; torch ends at "
        f"{curves.reference.losses[-1]:.4f}, roofgate at {curves.own.losses[-1]:.4f} nats per byte; at most "
        f"{agreement.worst_ratio:.2f} of the allowed distance; {kept} of {len(controls)} controls pass the same rule"
    )
