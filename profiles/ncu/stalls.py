"""What warps wait for between two instructions.

Nsight Compute states, for each state of a warp, how many warps are in it per cycle in which a scheduler issues. These
add up to the cycles that a warp takes per instruction (Little's law), so their shares are those of a warp's own time.
They say where warps wait, which is a symptom and not yet a cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from perf import units
from profiles.ncu.model import Launch

ISSUING = "selected"
_RATIO = re.compile(r"smsp__average_warps_issue_stalled_(\w+?)_per_issue_active\.ratio$")
_SAMPLED = re.compile(r"smsp__pcsamp_warps_issue_stalled_(\w+?)$")
_NOT_ISSUED = "_not_issued"  # the same states again, of schedulers that issued nothing

# Kernel Profiling Guide, "Metrics Reference", warp stall reasons; in our words.
MEANINGS: Mapping[str, str] = {
    "barrier": "waiting for other warps at a barrier",
    "branch_resolving": "waiting for a branch target",
    "dispatch_stall": "the dispatcher held the instruction back",
    "drain": "waiting for stores to drain before exit",
    "gmma": "waiting for wgmma",
    "imc_miss": "waiting for a constant that is not in its cache",
    "lg_throttle": "the queue for global and local memory is full",
    "long_scoreboard": "waiting for data from global or local memory, or L2",
    "math_pipe_throttle": "the math pipe is taken",
    "membar": "waiting for a memory barrier",
    "mio_throttle": "the queue for shared memory and special instructions is full",
    "misc": "other",
    "no_instruction": "waiting for instructions to be fetched",
    "not_selected": "ready, but another warp was chosen",
    "selected": "issuing",
    "short_scoreboard": "waiting for shared memory or special functions",
    "sleeping": "asleep",
    "tex_throttle": "the queue for textures is full",
    "wait": "waiting the fixed time of the instruction before",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One state of warps."""

    reason: str  # as in MEANINGS
    share: float  # of a warp's time
    cycles: float | None  # of a warp, per instruction issued; None if states were sampled

    @property
    def meaning(self) -> str:
        """In words; of a state that is not known here, its name."""
        return MEANINGS.get(self.reason, self.reason.replace("_", " "))

    @property
    def sentence(self) -> str:
        """For people."""
        cycles = "" if self.cycles is None else f", {self.cycles:.2f} cycles per instruction"
        return f"{units.percent(self.share)} {self.meaning} ({self.reason}{cycles})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalls:
    """All states, the longest first; empty if none was captured."""

    states: tuple[Stall, ...]
    cycles_per_instruction: float | None  # of a warp: the sum over all states
    source: str  # "counted", "sampled" or ""

    def of(self, reason: str) -> Stall | None:
        """The state with this name."""
        return next((state for state in self.states if state.reason == reason), None)

    @property
    def waiting(self) -> tuple[Stall, ...]:
        """The states that are no issuing, the longest first."""
        return tuple(state for state in self.states if state.reason != ISSUING)


def stall_breakdown(launch: Launch) -> Stalls:
    """The states of the warps of ``launch``: counted by hardware, or else sampled."""
    counted = _matching(launch, _RATIO)
    total = sum(counted.values())
    if total > 0:
        states = [Stall(reason=name, share=value / total, cycles=value) for name, value in counted.items()]
        return Stalls(states=_ranked(states), cycles_per_instruction=total, source="counted")
    sampled = {name: value for name, value in _matching(launch, _SAMPLED).items() if not name.endswith(_NOT_ISSUED)}
    total = sum(sampled.values())
    states = [Stall(reason=name, share=value / total, cycles=None) for name, value in sampled.items() if total > 0]
    return Stalls(states=_ranked(states), cycles_per_instruction=None, source="sampled" if states else "")


def _matching(launch: Launch, pattern: re.Pattern[str]) -> Mapping[str, float]:
    found = {match[1]: launch.number_of(name) for name in launch.counters if (match := pattern.match(name))}
    # Samples spell one state in the plural.
    return {name.replace("no_instructions", "no_instruction"): value for name, value in found.items() if value}


def _ranked(states: list[Stall]) -> tuple[Stall, ...]:
    return tuple(sorted(states, key=lambda state: (-state.share, state.reason)))
