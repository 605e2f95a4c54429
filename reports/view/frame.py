"""What every page shares: its place in the site, its title, the way to the others, and how it was produced."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from perf import units
from perf.findings import Assessment
from reports.view import quantities
from reports.view.quantities import moment
from reports.view.wording import GATE_MARKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to another page of the report, relative to its root."""

    text: str
    href: str
    current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The frame of one page. ``root`` leads from the page to the report's root: empty or ``../``."""

    path: str
    title: str
    root: str
    navigation: tuple[Link, ...]
    produced: tuple[str, ...]
    described_by: str


OVERVIEW_PATH = "index.html"
ROOFLINES_PATH = "rooflines.html"
COMPARISON_PATH = "comparison.html"


def slug(text: str) -> str:
    """A file name for ``text``: readable, safe on every file system, and different for different texts."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80]
    if readable and readable == text:
        return readable
    return f"{readable or 'page'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def case_path(case_name: str, target: str) -> str:
    """The page of a case on a target."""
    return f"cases/{slug(f'{case_name}-{target}')}.html"


def comparison_case_path(case_name: str, target: str) -> str:
    """The page of a case in the paired comparison."""
    return f"comparisons/{slug(f'{case_name}-{target}')}.html"


def kernel_path(kernel: str) -> str:
    """The page of a CUDA kernel."""
    return f"kernels/{slug(kernel)}.html"


def source_path(kernel: str, architecture: str) -> str:
    """The source page of a CUDA kernel on one architecture."""
    return f"sources/{slug(f'{kernel}-{architecture}')}.html"


def target_path(target: str) -> str:
    """The roofline page of a declared target."""
    return f"targets/{slug(target)}.html"


def build_frame(assessment: Assessment, path: str, title: str) -> Frame:
    """The frame of the page at ``path``."""
    verdict = GATE_MARKS[assessment.gate.verdict]
    entries = [("Overview", OVERVIEW_PATH)]
    if assessment.paired:
        entries.append(("Comparison", COMPARISON_PATH))
    entries += [("Cases", "index.html#cases"), ("Rooflines", ROOFLINES_PATH)]
    if assessment.kernels:
        entries.append(("Kernels", "index.html#kernels"))
    return Frame(
        path=path,
        title=f"{verdict.word}: {title}",
        root="../" * path.count("/"),
        navigation=tuple(Link(text=text, href=href, current=href == path) for text, href in entries),
        produced=_produced(assessment),
        described_by=f"roofgate report of commit {assessment.commit.short}",
    )


def _produced(assessment: Assessment) -> tuple[str, ...]:
    """How the figures came about: one sentence per item of the footer."""
    how = "Rendered from stored results by: python -m reports render (nox -s report)."
    run = assessment.run
    if run is None:
        return (how, "No benchmark run for this commit.", *_compared(assessment))
    overhead = f" ({units.percent(1 - run.measured_s / run.wall_s)} overhead)" if run.wall_s > 0 else ""
    return (
        how,
        f"Run {run.id}, suite {run.suite}, started {moment(run.started)}" + ("." if run.complete else ", cut short."),
        f"{quantities.elapsed(run.measured_s)} inside measured kernels of {quantities.elapsed(run.wall_s)}{overhead}.",
        f"Machine fingerprint {run.machine.fingerprint}, source tree {run.commit.tree}.",
        *_compared(assessment),
    )


def _compared(assessment: Assessment) -> tuple[str, ...]:
    paired = assessment.paired
    return (f"Comparison {paired.id}, suite {paired.suite}, started {moment(paired.started)}.",) if paired else ()
