"""The statistics of paired comparisons: from blocks to one number per restart, and from restarts to intervals (pure).

Two levels, after Kalibera and Jones (2013, "Rigorous benchmarking in reasonable time", ISMM): samples of one process
share its address-space layout, its processors and its moment, so their scatter understates what a new process would
give. Every restart is therefore reduced to one number, and intervals and tests are Student's over the restarts, which
are independent. Within a restart, what disturbs is handled where it arises:

* Disturbances longer than a quadruple (another tenant, a clock change) fall on both sides alike: base and candidate
  alternate in ABBA order, in which a linear drift cancels.
* Disturbances shorter than a sample or a few of them (preemption, interrupts) only ever make samples slower. A block
  compares the lower quartiles of the two sides, which a quarter of undisturbed samples suffices to fix. In a pilot on a
  two-core machine with one core loaded by another process, the standard deviation between restarts was 0.1 to 0.4 %
  with quartiles, against 0.3 to 2 % with means and 0.2 to 0.9 % with medians.
* Disturbances of some blocks are trimmed: the value of a restart is the mean of its blocks without the highest and the
  lowest fifth (scipy.stats.trim_mean).

The price of quartiles: a slow path that leaves a quarter of the samples as they were is not seen, nor is a fast path
that reaches fewer than a quarter. The report therefore shows both distributions whole.

scipy is imported inside the functions: the report and the gate read findings without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from perf.model import Interval
from perf.paired.model import Block, Restart
from perf.stats import Estimate

TRIMMED_FRACTION = 0.2
POWER = 0.8  # of the minimum detectable effect


def lower_quartile(samples: Sequence[float]) -> float:
    """The quantile of order 1/4 by linear interpolation, numpy's default; ``samples`` must not be empty."""
    ordered = sorted(samples)
    position = (len(ordered) - 1) / 4
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def block_log_ratio(block: Block) -> float:
    """ln(candidate / base) of the lower quartiles of the two sides."""
    return math.log(lower_quartile(block.candidate_s) / lower_quartile(block.base_s))


def restart_mean(restart: Restart) -> float:
    """The trimmed mean of the log ratios of the blocks of one process: its one independent value."""
    from scipy.stats import trim_mean

    return float(trim_mean([block_log_ratio(block) for block in restart.blocks], TRIMMED_FRACTION))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def mean_interval(values: Sequence[float], confidence: float) -> Estimate:
    """Student's interval of the mean of independent ``values``, one per restart; at least two."""
    from scipy.stats import t

    middle = mean(values)
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * _standard_error(values)
    return Estimate(value=middle, interval=Interval(low=middle - half, high=middle + half, confidence=confidence))


def p_value(values: Sequence[float], reference: float, alternative: Literal["greater", "less"]) -> float:
    """Student's one-sided test that the mean of ``values`` is greater (or less) than ``reference``.

    The smaller, the stronger the evidence for the alternative. Written out rather than ``scipy.stats.ttest_1samp``,
    which warns and answers NaN where all values are equal.
    """
    from scipy.stats import t

    error = _standard_error(values)
    distance = (mean(values) - reference) * (1 if alternative == "greater" else -1)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(t.sf(distance / error, len(values) - 1))


def equivalence_p_value(values: Sequence[float], margin: float) -> float:
    """The p-value of "the mean lies within +-``margin``" by two one-sided tests.

    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15(6).
    """
    return max(p_value(values, -margin, "greater"), p_value(values, margin, "less"))


def adjusted_p_values(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the number of cases, to be compared with the false-discovery rate.

    Benjamini and Hochberg (1995), by ``scipy.stats.false_discovery_control``. Where no case has changed, the rate is
    the probability of any false verdict among all of them.
    """
    from scipy.stats import false_discovery_control

    return [float(value) for value in false_discovery_control(p_values)] if p_values else []


def detectable_change(deviation: float, restarts: int, error: float, power: float = POWER) -> float:
    """The true log ratio that a one-sided test at level ``error`` finds with probability ``power``.

    (t(1 - error) + t(power)) * deviation / sqrt(restarts), the usual approximation to the non-central t distribution
    (Bloom, 1995, "Minimum detectable effects", Evaluation Review 19(5)).

    Args:
        deviation: standard deviation between restarts.
        restarts: how many there will be; at least two.
        error: level of the test.
        power: probability of finding it.
    """
    from scipy.stats import t

    quantiles = float(t.ppf(1 - error, restarts - 1)) + float(t.ppf(power, restarts - 1))
    return quantiles * deviation / math.sqrt(restarts)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation between restarts; at least two values."""
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def _standard_error(values: Sequence[float]) -> float:
    return deviation(values) / math.sqrt(len(values))
