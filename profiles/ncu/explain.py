"""Why a kernel takes the time it takes: everything that the counters of its launches say, as finished findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernels.errors import RoofgateError
from perf.model import Capture
from profiles.ncu.busy_time import TimeFloor
from profiles.ncu.comparison import Comparison, compare
from profiles.ncu.instructions import InstructionMix
from profiles.ncu.launch_occupancy import LaunchOccupancy
from profiles.ncu.layer_links import Agreement, agreements, matching_captures, matching_lines
from profiles.ncu.memory_flow import Flow
from profiles.ncu.model import Launch, Report, Rule
from profiles.ncu.roofline import Roofline
from profiles.ncu.side import Side, analyse
from profiles.ncu.spread import LaunchGroup, Spread, group_launches
from profiles.ncu.stalls import Stalls
from profiles.source_counters import SourceCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One kernel in one shape: the launch of median time, with the spread over all of them."""

    group: LaunchGroup
    side: Side
    agreements: tuple[Agreement, ...] = ()
    comparison: Comparison | None = None  # with a baseline
    baseline: str = ""  # why there is no comparison, though one was asked for

    @property
    def launch(self) -> Launch:
        """The launch of median time."""
        return self.side.launch

    @property
    def seconds(self) -> float | None:
        """Its time."""
        return self.side.seconds

    @property
    def roofline(self) -> Roofline:
        """Of :attr:`launch`."""
        return self.side.roofline

    @property
    def floor(self) -> TimeFloor | None:
        """Of :attr:`launch`."""
        return self.side.floor

    @property
    def occupancy(self) -> LaunchOccupancy:
        """Of :attr:`launch`."""
        return self.side.occupancy

    @property
    def stalls(self) -> Stalls:
        """Of :attr:`launch`."""
        return self.side.stalls

    @property
    def memory(self) -> tuple[Flow, ...]:
        """Of :attr:`launch`."""
        return self.side.memory

    @property
    def instructions(self) -> InstructionMix:
        """Of :attr:`launch`."""
        return self.side.instructions

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What Nsight Compute's own rules say of :attr:`launch`."""
        return self.launch.rules

    @property
    def spreads(self) -> Mapping[str, Spread]:
        """Of every numeric counter over the group's launches."""
        return self.side.spreads


def explain(
    launches: Sequence[Launch],
    *,
    captures: Sequence[Capture] = (),
    lines: SourceCounters | None = None,
    baseline: Sequence[Launch] | None = None,
) -> tuple[Explanation, ...]:
    """Explain every kernel of ``launches``, in order of first appearance.

    Args:
        launches: of one report; those of equal kernel and shape are one group.
        captures: of the static and simulated layers, of any kernels; the matching ones are compared.
        lines: the simulated layer's figures per source line, to name the line of a cause.
        baseline: launches of an earlier report. A group is compared with the group of the same kernel and shape, or
            else the only one of the same kernel, or else the only one of the same function.
    """
    older = group_launches(baseline) if baseline is not None else None
    return tuple(_explain_group(group, captures, lines, older) for group in group_launches(launches))


def explain_report(
    report: Report,
    *,
    captures: Sequence[Capture] = (),
    lines: SourceCounters | None = None,
    baseline: Report | None = None,
) -> tuple[Explanation, ...]:
    """:func:`explain` for whole reports.

    Raises :class:`RoofgateError` if the report holds no launches.
    """
    if not report.launches:
        raise RoofgateError(f"{report.path}: holds no launches; capture a kernel first")
    older = None if baseline is None else baseline.launches
    return explain(report.launches, captures=captures, lines=lines, baseline=older)


def _explain_group(
    group: LaunchGroup,
    captures: Sequence[Capture],
    lines: SourceCounters | None,
    older: Sequence[LaunchGroup] | None,
) -> Explanation:
    side = analyse(group.launches)
    partner = None if older is None else find_baseline(group, older)
    counted = matching_lines(side.launch, lines)
    comparison = None if partner is None else compare(partner.launches, group.launches, lines=counted)
    missing = older is not None and partner is None
    return Explanation(
        group=group,
        side=side,
        agreements=agreements(side.launch, matching_captures(side.launch, captures)),
        comparison=comparison,
        baseline=f"the baseline holds no launch of {group.function}, or several that may be meant" if missing else "",
    )


def find_baseline(group: LaunchGroup, older: Sequence[LaunchGroup]) -> LaunchGroup | None:
    """The group of the baseline that ``group`` is to be compared with; None if none, or no single one, can be meant."""
    choices = (
        [one for one in older if (one.kernel, one.shape) == (group.kernel, group.shape)],
        [one for one in older if one.kernel == group.kernel],
        [one for one in older if one.function == group.function],
    )
    return next((found[0] for found in choices if len(found) == 1), None)
