"""What a run of mutants says: the share that is noticed, by whom, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profiles.simulator.mutant_results import Fate, MutantResult
from profiles.simulator.mutant_survivors import Survivor, reason_for

LEAST_KILLED = 0.97  # of the mutants that are not equivalent


@dataclass(frozen=True, slots=True)
class Verdict:
    """Results with what the reasons make of them."""

    killed: tuple[MutantResult, ...]
    equivalent: tuple[tuple[MutantResult, Survivor], ...]
    missed: tuple[tuple[MutantResult, Survivor], ...]  # a reason says why nobody notices
    unexplained: tuple[MutantResult, ...]
    refuted: tuple[tuple[MutantResult, Survivor], ...]  # said to be equivalent, and yet killed
    discarded: int  # no mutants: the same program, or none

    @property
    def share(self) -> float:
        """Killed, of all that are not equivalent."""
        counted = len(self.killed) + len(self.missed) + len(self.unexplained)
        return len(self.killed) / counted if counted else 0.0

    @property
    def is_good(self) -> bool:
        """Every survivor has a reason that holds, and enough are killed."""
        return not self.unexplained and not self.refuted and self.share >= LEAST_KILLED


def judge(results: Sequence[MutantResult], survivors: Sequence[Survivor]) -> Verdict:
    """Hold results against the stored reasons."""
    killed = tuple(result for result in results if result.fate is Fate.KILLED)
    survived = [result for result in results if result.fate is Fate.SURVIVED]
    explained = [(result, reason) for result in survived if (reason := reason_for(result, survivors))]
    return Verdict(
        killed=killed,
        equivalent=tuple(pair for pair in explained if pair[1].verdict == "equivalent"),
        missed=tuple(pair for pair in explained if pair[1].verdict == "not found"),
        unexplained=tuple(result for result in survived if reason_for(result, survivors) is None),
        refuted=tuple(
            (result, reason)
            for result in killed
            if (reason := reason_for(result, survivors)) and reason.verdict == "equivalent"
        ),
        discarded=len(results) - len(killed) - len(survived),
    )


def report_lines(verdict: Verdict) -> Iterator[str]:
    """The report for a terminal."""
    for result in verdict.unexplained:
        yield f"survived, and no reason is stored: {_title(result)}"
        yield from (f"  {line}" for line in result.lines)
        executed = f"executed in {result.launches} launches" if result.launches else "executed in no launch"
        yield f"  {executed}; replay: site {result.site}"
    for result, reason in verdict.refuted:
        yield f"said to be equivalent, but {_killers(result)} noticed in {result.launch}: {_title(result)}"
        yield f"  the reason given: {reason.reason}"
    yield _summary(verdict)


def _title(result: MutantResult) -> str:
    return f"{result.kernel} on {result.architecture}: {result.instruction}: {result.change}"


def _killers(result: MutantResult) -> str:
    return " and ".join(result.killed_by)


def _summary(verdict: Verdict) -> str:
    survived = len(verdict.missed) + len(verdict.unexplained)
    counted = len(verdict.killed) + survived
    return (
        f"{counted} mutants, {len(verdict.killed)} killed ({verdict.share:.1%}, wanted {LEAST_KILLED:.0%}), {survived} "
        f"survived; {len(verdict.equivalent)} more are equivalent to their kernel, {verdict.discarded} were no mutants"
    )


def page_text(verdict: Verdict) -> str:
    """The page docs/simulator_mutants.md."""
    return "\n".join([*_introduction(verdict), *_by_kind(verdict), *_by_check(verdict), *_survivors(verdict)]) + "\n"


def _introduction(verdict: Verdict) -> Iterator[str]:
    yield from (
        "# Mutants: do the simulator's checks notice mistakes?",
        "",
        "Written by `nox -s mutants -- --page docs/simulator_mutants.md`.",
        "",
        "A mutant is a CUDA kernel of the build with one PTX instruction changed, the way a programmer or a compiler",
        "might get it wrong: a barrier left out, a comparison off by one, a fragment transposed. Each runs through the",
        "library's real host code on small launches until somebody notices: the answer is wrong against float64, a",
        "check finds something, the launch crashes, or it does not end. Kernels that several architectures share are",
        "tried once. What is left is listed below with the reason.",
        "",
        f"{_summary(verdict)}.",
        "",
    )


def _by_kind(verdict: Verdict) -> Iterator[str]:
    yield from ("## Which mistakes", "", "| mistake | killed | survived | equivalent |", "|---|---|---|---|")
    missed = [*(result for result, _ in verdict.missed), *verdict.unexplained]
    counts = [
        Counter(result.kind for result in results)
        for results in (verdict.killed, missed, [result for result, _ in verdict.equivalent])
    ]
    for kind in sorted(set().union(*counts)):
        yield f"| {kind} | " + " | ".join(str(count[kind]) for count in counts) + " |"
    yield ""


def _by_check(verdict: Verdict) -> Iterator[str]:
    noticed = Counter(name for result in verdict.killed for name in result.killed_by)
    alone = Counter(result.killed_by[0] for result in verdict.killed if len(result.killed_by) == 1)
    yield from (
        "## Who noticed",
        "",
        "A mutant is gone with the first launch in which anybody notices; several may notice in that one.",
        "",
        "| who | mutants | of these nobody else in that launch |",
        "|---|---|---|",
    )
    for name, count in sorted(noticed.items(), key=lambda item: (-item[1], item[0])):
        yield f"| {name} | {count} | {alone[name]} |"
    yield ""


def _survivors(verdict: Verdict) -> Iterator[str]:
    yield from ("## Not noticed", "")
    yield from _listed(verdict.missed) if verdict.missed else ("None.", "")
    yield from ("## Equivalent", "", "These compute the same in every launch that the kernel may get.", "")
    yield from _listed(verdict.equivalent) if verdict.equivalent else ("None.", "")
    if verdict.unexplained:
        yield from ("## Without a reason yet", "", *(f"- {_title(result)}" for result in verdict.unexplained), "")


def _listed(explained: Sequence[tuple[MutantResult, Survivor]]) -> Iterator[str]:
    """One paragraph per reason, with the mutants that it speaks of."""
    reasons: dict[Survivor, list[MutantResult]] = {}
    for result, reason in explained:
        reasons.setdefault(reason, []).append(result)
    for reason, results in reasons.items():
        yield from (f"`{reason.lines[0]}`", "", reason.reason, "")
        titles = Counter(f"`{result.instruction}` in {result.kernel}: {result.change}" for result in results)
        yield from (f"- {title}" + (f" ({count} times)" if count > 1 else "") for title, count in titles.items())
        yield ""
