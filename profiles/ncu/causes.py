"""What can have changed a kernel's time: each candidate with the seconds that it can explain.

The model, for a time that went from T to T':

* A resource that is busy b' instead of b seconds can have moved the time by at most b' - b (as if nothing overlapped),
  and has surely moved it by b' - T where that is positive (the new floor lies above the old time).
* A warp's time divides into states; the seconds of all states add up to the time, so their changes add up to its
  change. A cause whose accesses end in some state can explain that state's change in proportion to how much the
  accesses grew, and all of it from a doubling on.
* By Little's law, time = instructions * latency / resident warps: fewer warps or more instructions can stretch the time
  in proportion, but only the part of it in which the busiest resource idles.

A candidate is put forward only if its own counter changed by more than noise, and explains only what has the sign of
the time's change. These are upper bounds: they may add up to more than the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from perf import units
from profiles.ncu.busy_time import DRAM, ISSUE, L1_DATA, L2, TCGEN05, TENSOR
from profiles.ncu.instructions import tensor_instructions
from profiles.ncu.launch_facts import clock_hz, sum_of
from profiles.ncu.memory_flow import excess_wavefronts, shared_requests, shared_wavefronts
from profiles.ncu.model import Exactness, Launch
from profiles.ncu.side import Side
from profiles.ncu.spread import LEAST_CHANGE, changed

_TINY = 1e-9  # relative; counts that differ by less are equal
_CLOCK_NOISE = 0.01
_GLOBAL = ("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum", "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum")
_GLOBAL_REQUESTS = (
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",
    "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum",
)
_GLOBAL_INSTRUCTIONS = ("smsp__sass_inst_executed_op_global_ld.sum", "smsp__sass_inst_executed_op_global_st.sum")
_DRAM_BYTES = ("dram__bytes_read.sum", "dram__bytes_write.sum")
_FROM_MEMORY = ("long_scoreboard", "lg_throttle")
_FROM_SHARED = ("short_scoreboard", "mio_throttle")
_PIPES = (TCGEN05, "FMA pipe", "ALU pipe", "FP64 pipe", "FP16 pipe", "special functions", "TMA unit")

# Which counter places the cause in the simulated layer's source lines.
SHARED_WAVEFRONTS = "shared-memory wavefronts"
GLOBAL_SECTORS = "global memory sectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A possible cause, before it is weighed against the time's change."""

    name: str
    statement: str  # what changed, with its numbers
    most_s: float  # signed seconds that it can explain at most
    least_s: float = 0.0  # signed seconds that it surely moved
    numbers: Mapping[str, float] = field(default_factory=dict)


def candidates(before: Side, after: Side) -> tuple[Candidate, ...]:
    """All candidates whose own counters changed, the ones nearest to the source code first.

    Empty if the time of one side is not known.
    """
    if before.seconds is None or after.seconds is None:
        return ()
    found = (candidate(before, after) for candidate in _CANDIDATES)
    return tuple(one for one in found if one is not None) + _pipes(before, after)


def _spills(before: Side, after: Side) -> Candidate | None:
    old, new = before.instructions.local, after.instructions.local
    if old is None or new is None or not _differ(old, new, _TINY):
        return None
    flow = sum_of(before.launch, _GLOBAL_REQUESTS) or sum_of(before.launch, _GLOBAL_INSTRUCTIONS)
    reference = (flow or before.instructions.executed or max(old, new)) + min(old, new)
    waiting = _waiting_change(before, after, _FROM_MEMORY, (new - old) / reference)
    most = _farthest(waiting, _issue_stretch(before, after, old, new))
    statement = f"instructions on local memory (spilled registers) {units.count(old)} to {units.count(new)}"
    return Candidate(name="spills", statement=statement, most_s=most, numbers={"before": old, "after": new})


def _shared(before: Side, after: Side) -> Candidate | None:
    old, new = shared_wavefronts(before.launch), shared_wavefronts(after.launch)
    names = ("memory_l1_wavefronts_shared", "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum")
    if old is None or new is None or not _moved(before, after, names, old, new):
        return None
    busy = _difference(before.cycles_s(1, old), after.cycles_s(1, new))
    if busy is None:
        busy = _busy_change(before, after, L1_DATA)
    waiting = _waiting_change(before, after, _FROM_SHARED, _growth(old, new))
    return Candidate(
        name=SHARED_WAVEFRONTS,
        statement=_shared_statement(before.launch, after.launch, old, new),
        most_s=_farthest(busy, waiting),
        least_s=_surely(before, after, before.cycles_s(1, old), after.cycles_s(1, new)),
        numbers={"before": old, "after": new},
    )


def _shared_statement(before: Launch, after: Launch, old: float, new: float) -> str:
    requests = shared_requests(before), shared_requests(after)
    amounts = f"{units.count(old)} to {units.count(new)} wavefronts"
    if requests[0] and requests[1]:
        text = f"shared-memory wavefronts per request {old / requests[0]:.1f} to {new / requests[1]:.1f} ({amounts})"
    else:
        text = f"shared memory: {amounts}"
    excess = excess_wavefronts(before), excess_wavefronts(after)
    if excess[0] is None or excess[1] is None or not _differ(excess[0], excess[1], LEAST_CHANGE[Exactness.STATISTICAL]):
        return text
    return f"{text}, of which bank conflicts {units.count(excess[0])} to {units.count(excess[1])}"


def _global(before: Side, after: Side) -> Candidate | None:
    old, new = sum_of(before.launch, _GLOBAL), sum_of(after.launch, _GLOBAL)
    if old is None or new is None or not _moved(before, after, _GLOBAL, old, new):
        return None
    requests = sum_of(before.launch, _GLOBAL_REQUESTS), sum_of(after.launch, _GLOBAL_REQUESTS)
    amounts = f"{units.count(old)} to {units.count(new)}"
    statement = f"global memory sectors {amounts}"
    if requests[0] and requests[1]:
        statement = f"global sectors per request {old / requests[0]:.1f} to {new / requests[1]:.1f} ({amounts} sectors)"
    return _memory_candidate(before, after, GLOBAL_SECTORS, statement, (old, new), L2)


def _l2(before: Side, after: Side) -> Candidate | None:
    name = "lts__t_sectors.sum"
    old, new = before.launch.number_of(name), after.launch.number_of(name)
    if old is None or new is None or not _moved(before, after, (name,), old, new):
        return None
    statement = f"L2 sectors {units.count(old)} to {units.count(new)}"
    return _memory_candidate(before, after, "L2 traffic", statement, (old, new), L2)


def _dram(before: Side, after: Side) -> Candidate | None:
    old, new = sum_of(before.launch, _DRAM_BYTES), sum_of(after.launch, _DRAM_BYTES)
    if old is None or new is None or not _moved(before, after, _DRAM_BYTES, old, new):
        return None
    statement = f"DRAM bytes {units.byte_total(old)} to {units.byte_total(new)}{_hit_rates(before, after)}"
    return _memory_candidate(before, after, "DRAM traffic", statement, (old, new), DRAM)


def _memory_candidate(
    before: Side, after: Side, name: str, statement: str, amounts: tuple[float, float], resource: str
) -> Candidate:
    busy = _busy_change(before, after, resource)
    waiting = _waiting_change(before, after, _FROM_MEMORY, _growth(*amounts))
    return Candidate(
        name=name,
        statement=statement,
        most_s=_farthest(busy, waiting),
        least_s=_surely(before, after, before.busy_s(resource), after.busy_s(resource)),
        numbers={"before": amounts[0], "after": amounts[1]},
    )


def _hit_rates(before: Side, after: Side) -> str:
    rates = [
        next((flow.hit_rate for flow in side.memory if (flow.level, flow.access) == ("L2", "all")), None)
        for side in (before, after)
    ]
    known = [units.percent(rate) for rate in rates if rate is not None]
    return f" (L2 hit rate {' to '.join(known)})" if len(known) == len(rates) else ""


def _occupancy(before: Side, after: Side) -> Candidate | None:
    possible = before.occupancy.theoretical, after.occupancy.theoretical
    reached = before.occupancy.achieved, after.occupancy.achieved
    least = LEAST_CHANGE[Exactness.STATISTICAL]
    fewer = possible if possible[0] and possible[1] and _differ(possible[0], possible[1], 1e-4) else None
    seen = reached if reached[0] and reached[1] and _differ(reached[0], reached[1], least) else None
    warps = seen or fewer
    if warps is None or before.seconds is None or warps[0] is None or warps[1] is None:
        return None
    stretched = before.seconds * (warps[0] / warps[1] - 1)
    what = "theoretical occupancy" if fewer else "achieved occupancy"
    shown = fewer or warps
    statement = f"{what} {units.percent(shown[0] or 0)} to {units.percent(shown[1] or 0)}{_limiter(before, after)}"
    most = _within_idle(before, after, stretched)
    return Candidate(
        name="occupancy", statement=statement, most_s=most, numbers={"before": warps[0], "after": warps[1]}
    )


def _limiter(before: Side, after: Side) -> str:
    parts = [f"limited by {after.occupancy.limiter}"] if after.occupancy.limiter else []
    for name, counter in (
        ("registers per thread", "launch__registers_per_thread"),
        ("dynamic shared memory per block", "launch__shared_mem_per_block_dynamic"),
    ):
        old, new = before.launch.number_of(counter), after.launch.number_of(counter)
        if old is not None and new is not None and old != new:
            parts.append(f"{name} {units.count(old)} to {units.count(new)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _instructions(before: Side, after: Side) -> Candidate | None:
    old, new = before.instructions.executed, after.instructions.executed
    names = ("smsp__inst_executed.sum", "sm__inst_executed.sum", "inst_executed")
    if not old or not new or not _moved(before, after, names, old, new):
        return None
    others = old - (before.instructions.local or 0), new - (after.instructions.local or 0)
    statement = f"executed instructions {units.count(old)} to {units.count(new)}"
    return Candidate(
        name="instructions",
        statement=statement,
        most_s=_issue_stretch(before, after, *others),
        least_s=_surely(before, after, before.busy_s(ISSUE), after.busy_s(ISSUE)),
        numbers={"before": old, "after": new},
    )


def _tensor(before: Side, after: Side) -> Candidate | None:
    old, new = tensor_instructions(before.launch), tensor_instructions(after.launch)
    if old is None or new is None or not _differ(old, new, _TINY):
        return None
    busy = _busy_change(before, after, TENSOR)
    waiting = _waiting_change(before, after, ("math_pipe_throttle", "gmma"), _growth(old, new))
    return Candidate(
        name="tensor instructions",
        statement=f"tensor instructions {units.count(old)} to {units.count(new)}",
        most_s=_farthest(busy, waiting),
        least_s=_surely(before, after, before.busy_s(TENSOR), after.busy_s(TENSOR)),
        numbers={"before": old, "after": new},
    )


def _clock(before: Side, after: Side) -> Candidate | None:
    old, new = clock_hz(before.launch), clock_hz(after.launch)
    if not old or not new or before.seconds is None or not _differ(old, new, _CLOCK_NOISE):
        return None
    statement = f"multiprocessor clock {old / 1e6:.0f} MHz to {new / 1e6:.0f} MHz, which is no change of the code"
    most = before.seconds * (old / new - 1)
    return Candidate(name="clock", statement=statement, most_s=most, numbers={"before": old, "after": new})


_CANDIDATES: Sequence[Callable[[Side, Side], Candidate | None]] = (
    _clock,
    _spills,
    _shared,
    _global,
    _occupancy,
    _instructions,
    _dram,
    _l2,
    _tensor,
)


def _pipes(before: Side, after: Side) -> tuple[Candidate, ...]:
    """Arithmetic units that were busy for another time, by more than a statistical counter may differ."""
    found = []
    for pipe in _PIPES:
        old, new = before.busy_s(pipe), after.busy_s(pipe)
        comparable = before.source_of(pipe) == after.source_of(pipe)
        if old is None or new is None or not comparable or not _differ(old, new, LEAST_CHANGE[Exactness.STATISTICAL]):
            continue
        statement = f"{pipe} busy {units.seconds(old)} to {units.seconds(new)}"
        numbers, surely = {"before": old, "after": new}, _surely(before, after, old, new)
        found.append(Candidate(name=pipe, statement=statement, most_s=new - old, least_s=surely, numbers=numbers))
    return tuple(found)


def _differ(old: float, new: float, relative: float) -> bool:
    return abs(new - old) > relative * max(abs(old), abs(new))


def _moved(before: Side, after: Side, names: Sequence[str], old: float, new: float) -> bool:
    """Whether an amount changed beyond the noise of the counters that it is made of."""
    shared = [name for name in names if name in before.spreads and name in after.spreads]
    if not shared:
        return _differ(old, new, LEAST_CHANGE[Exactness.TOLERANCE])
    return any(changed(before.spreads[name], after.spreads[name]) for name in shared)


def _growth(old: float, new: float) -> float:
    """Signed, relative to the smaller amount, so that halving undoes doubling; all of it if one is 0."""
    least = min(old, new)
    return (new - old) / least if least > 0 else float(new > old) - float(new < old)


def _busy_change(before: Side, after: Side, resource: str) -> float | None:
    if before.source_of(resource) != after.source_of(resource):
        return None  # shares by different counters are not comparable
    return _difference(before.busy_s(resource), after.busy_s(resource))


def _waiting_change(before: Side, after: Side, reasons: Sequence[str], growth: float) -> float | None:
    """The change of the time in some states, weighted by how much the accesses that end there grew or shrank."""
    difference = _difference(before.waiting_s(reasons), after.waiting_s(reasons))
    if difference is None or difference * growth <= 0:  # more accesses, yet less waiting: no explanation
        return None
    return difference * min(abs(growth), 1.0)


def _issue_stretch(before: Side, after: Side, old: float, new: float) -> float:
    """What more instructions can add: their share of the time, or the time that issuing them takes."""
    executed, seconds = before.instructions.executed, before.seconds
    stretched = seconds * (new - old) / executed if executed and seconds else 0.0
    issue = _difference(before.issue_s(old), after.issue_s(new))
    return _farthest(_within_idle(before, after, stretched), issue)


def _within_idle(before: Side, after: Side, stretched: float) -> float:
    """Latency only counts while even the busiest resource idles: after the change, or before it for a gain."""
    idle = after.idle_s if stretched > 0 else before.idle_s
    if idle is None:
        return stretched
    return min(stretched, idle) if stretched > 0 else max(stretched, -idle)


def _difference(old: float | None, new: float | None) -> float | None:
    return new - old if old is not None and new is not None else None


def _farthest(*seconds: float | None) -> float:
    return max((one for one in seconds if one is not None), key=abs, default=0.0)


def _surely(before: Side, after: Side, old: float | None, new: float | None) -> float:
    """What the floors prove: a resource needed longer than the whole launch took on the other side."""
    if old is None or new is None or before.seconds is None or after.seconds is None:
        return 0.0
    return max(new - before.seconds, 0.0) if new > old else min(after.seconds - old, 0.0)
