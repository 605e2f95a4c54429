"""Whether the metric tiers hold on every declared chip, and what they cost: no GPU and no driver needed.

NVIDIA's CUPTI answers, from its package on the registry. Metrics that Nsight Compute makes itself are unknown to it and
are listed as not checked. Passes are as CUPTI schedules them: Nsight Compute adds one of its own before patched
metrics, and what it makes itself may cost more.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kernels.errors import RoofgateError
from profiles.ncu.metric_tiers import Chip, Source, Tier

PACKAGE = "nvidia-cuda-cupti"
# Later versions crash (13.2) or ask for a driver (13.3 on).
VERSIONS = ("13.0.85", "13.1.115")
TIMEOUT_S = 120.0

_NSIGHT_COMPUTE_ONLY = re.compile(
    r"(launch__|device__|sass__|derived__|memory_|smsp__pcsamp_)\w+"
    r"|(thread_)?inst_executed\w*"
    r"|smp?s?p?__maximum_warps_\w+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Metrics that one capture asks for on one chip."""

    chip: str
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What CUPTI says of a question."""

    unknown: tuple[str, ...]  # which the chip does not have
    passes: int  # that the others take


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureCheck:
    """One capture of one tier on one chip."""

    chip: Chip
    tier: Tier
    source: Source
    metrics: int  # all that it asks for
    unchecked: tuple[str, ...]  # made by Nsight Compute itself
    sections: tuple[str, ...]  # which choose metrics and passes of their own
    answer: Answer

    @property
    def holds(self) -> bool:
        """Whether the chip has every metric that could be checked."""
        return not self.answer.unknown


def is_checkable(metric: str) -> bool:
    """Whether CUPTI knows metrics of this kind; the others are made by Nsight Compute itself."""
    return _NSIGHT_COMPUTE_ONLY.fullmatch(metric) is None


def check_tiers(chips: Iterable[Chip], tiers: Sequence[Tier]) -> tuple[CaptureCheck, ...]:
    """Check both captures of every tier on every chip.

    Raises :class:`RoofgateError` if CUPTI is not installed, has another version than one of :data:`VERSIONS`, or fails.
    """
    captures = [(chip, tier, source) for chip in chips for tier in tiers for source in Source]
    names = [tuple(metric.name for metric in tier.select(chip.architecture, source)) for chip, tier, source in captures]
    questions = [
        Question(chip=chip.name, metrics=tuple(filter(is_checkable, metrics)))
        for (chip, _, _), metrics in zip(captures, names, strict=True)
    ]
    answers = ask_cupti(find_cupti(), questions)
    return tuple(
        CaptureCheck(
            chip=chip,
            tier=tier,
            source=source,
            metrics=len(metrics),
            unchecked=tuple(metric for metric in metrics if not is_checkable(metric)),
            sections=tier.sections[source],
            answer=answer,
        )
        for (chip, tier, source), metrics, answer in zip(captures, names, answers, strict=True)
    )


def find_cupti() -> Path:
    """The folder of CUPTI's libraries in this Python; raises :class:`RoofgateError` if there are none that work."""
    advice = f"install it with: python -m pip install {PACKAGE}=={VERSIONS[0]}"
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise RoofgateError(
            f"{PACKAGE} is not in this Python, so metrics cannot be checked offline; {advice}"
        ) from None
    if package.version not in VERSIONS:
        raise RoofgateError(
            f"{PACKAGE} is {package.version}, expected {' or '.join(VERSIONS)}: others crash or need a driver; {advice}"
        )
    for file in package.files or ():
        if file.name == "libcupti.so.13":
            return Path(str(file.locate())).parent
    raise RoofgateError(f"{PACKAGE} {package.version} holds no libcupti.so.13; {advice}")


def ask_cupti(folder: Path, questions: Sequence[Question], timeout_s: float = TIMEOUT_S) -> tuple[Answer, ...]:
    """The answers of the libraries in ``folder``, from a child process: a crash there is an error here.

    Raises :class:`RoofgateError` if the child crashes, is not done after ``timeout_s``, or refuses a question.
    """
    asked = [{"chip": question.chip, "metrics": question.metrics} for question in questions]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "profiles.ncu.cupti_host"],
            input=json.dumps({"folder": str(folder), "questions": asked}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        raise RoofgateError(f"CUPTI in {folder} did not answer within {timeout_s:g} s; {_REINSTALL}") from None
    if done.returncode:
        raise RoofgateError(f"CUPTI in {folder} {_ending(done)}; {_REINSTALL}")
    try:
        return tuple(Answer(unknown=tuple(got["unknown"]), passes=got["passes"]) for got in json.loads(done.stdout))
    except ValueError:  # the library wrote among the answers
        raise RoofgateError(f"CUPTI in {folder} answered {done.stdout[:80]!r}, expected JSON; {_REINSTALL}") from None


_REINSTALL = f"the versions that work are {' and '.join(VERSIONS)} of {PACKAGE}"


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}"
    return "failed: " + (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
