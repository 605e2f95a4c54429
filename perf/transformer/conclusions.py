"""What a run of the transformer says: shares, speed-ups, Amdahl's prediction against what was measured (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.errors import EXIT_NO_VERDICT, EXIT_PASS, EXIT_REGRESSION
from perf.model import Verdict
from perf.stats import Estimate, difference, exponential, paired_log_ratio
from perf.transformer.amdahl import median_estimate, predicted_log_speedup
from perf.transformer.curves import judge
from perf.transformer.results import Phase, PhaseTimings, Spans, Timing, TransformerRun

# Largest difference between the speed-up measured and the one predicted.
TOLERANCE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseConclusion:
    """What the kernel gives in one phase. Ratios above one are in our favour."""

    phase: Phase
    torch_step_s: float
    own_step_s: float
    share: Estimate  # of torch's step inside attention, by clocks in the step
    alone_share: float  # the same from attention timed by itself times the layers
    kernel_speedup: Estimate  # of attention by itself
    in_model_speedup: float  # of attention inside the step
    predicted: Estimate
    measured: Estimate
    measured_to_predicted: Estimate

    @property
    def verdict(self) -> Verdict:
        """UNCHANGED: the interval lies within the tolerance. REGRESSED: it lies outside. INCONCLUSIVE: neither."""
        bounds = self.measured_to_predicted.interval
        low, high = 1 - TOLERANCE, 1 + TOLERANCE
        if low <= bounds.low and bounds.high <= high:
            return Verdict.UNCHANGED
        return Verdict.REGRESSED if bounds.high < low or bounds.low > high else Verdict.INCONCLUSIVE


def conclude_phase(timings: PhaseTimings, layers: int) -> PhaseConclusion:
    """Amdahl's prediction from the share and the kernel's own speed-up, against the step's speed-up.

    Args:
        timings: both implementations in one phase.
        layers: how many attentions a step has; ``alone_s`` is of one.
    """
    torch, own = timings.torch, timings.own
    share = median_estimate(shares(torch.spans))
    kernel = paired_log_ratio(torch.alone_s, own.alone_s)
    predicted = predicted_log_speedup(share, kernel)
    measured = paired_log_ratio(torch.step_s, own.step_s)
    torch_step_s = _median(torch.step_s)
    return PhaseConclusion(
        phase=timings.phase,
        torch_step_s=torch_step_s,
        own_step_s=_median(own.step_s),
        share=share,
        alone_share=layers * _median(torch.alone_s) / torch_step_s,
        kernel_speedup=exponential(kernel),
        in_model_speedup=attention_s(torch) / attention_s(own),
        predicted=exponential(predicted),
        measured=exponential(measured),
        measured_to_predicted=exponential(difference(measured, predicted)),
    )


def shares(spans: Spans) -> tuple[float, ...]:
    """The fraction of each step inside attention."""
    return tuple(
        (forward + backward) / step
        for forward, backward, step in zip(spans.forward_s, spans.backward_s, spans.step_s, strict=True)
    )


def attention_s(timing: Timing) -> float:
    """Median seconds inside attention of one step, all layers together."""
    spans = timing.spans
    return _median([sum(pair) for pair in zip(spans.forward_s, spans.backward_s, strict=True)])


def conclude(run: TransformerRun) -> tuple[PhaseConclusion, ...]:
    """The conclusion of every phase."""
    return tuple(conclude_phase(phase, run.setting.model.layers) for phase in run.phases)


def exit_code(run: TransformerRun) -> int:
    """0: predictions hold and curves are equal, 1: one does not, 3: noise hides it. Of a quick run, curves alone."""
    if not all(judge(curves).is_equal for curves in run.curves):
        return EXIT_REGRESSION
    verdicts = set() if run.quick else {each.verdict for each in conclude(run)}
    if Verdict.REGRESSED in verdicts:
        return EXIT_REGRESSION
    return EXIT_NO_VERDICT if Verdict.INCONCLUSIVE in verdicts else EXIT_PASS


def _median(samples: Sequence[float]) -> float:
    return median_estimate(samples).value
