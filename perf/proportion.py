"""Is the time of a mask proportional to the tiles that it leaves? Pure functions.

A kernel that skips tiles without a visible pair, and takes no longer for the others, takes the full mask's time times
the share of tiles that are left. Both are sampled in the same rounds of one run, for two cases that are measured one
after the other may meet a machine that differs by more than what is looked for.
"""

from __future__ import annotations

from dataclasses import replace

from perf import stats
from perf.findings import Proportion
from perf.model import FULL, Case, MaskKind, Measurement
from perf.work import share_of_tiles


def is_held_against_full(case: Case) -> bool:
    """Whether the full mask is measured beside the case: for all but causal masks, which every suite has many of."""
    return case.varlen or case.mask.kind not in {MaskKind.FULL, MaskKind.CAUSAL}


def full_case(case: Case) -> Case:
    """The same shapes with every pair visible, and the same softcap and ALiBi, which make a tile dearer."""
    return replace(case, mask=FULL, varlen=False)


def proportion(masked: Measurement, full: Measurement) -> Proportion:
    """Of two measurements of our kernel whose samples pair up."""
    share = share_of_tiles(masked.case)
    time = stats.exponential(stats.paired_log_ratio(masked.samples_s, full.samples_s))
    bounds = time.interval
    return Proportion(
        share=share,
        time=time.value,
        time_over_share=time.value / share,
        interval=replace(bounds, low=bounds.low / share, high=bounds.high / share),
    )
