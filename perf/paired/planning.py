"""What a comparison has to measure, and what is known without measuring (pure but for opening the host library).

A case whose kernel has the same machine code on both sides is IDENTICAL and is not timed, except for a few that serve
as A/A controls. A case that cannot be timed here (a CUDA kernel without a GPU, a side that does not build) says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernels.build import HOST_LIBRARY, cuda_library_name
from kernels.case_code import has_same_code
from kernels.errors import RoofgateError
from kernels.interface import KernelDType, Library
from kernels.sources import CUDA_ARCHITECTURES
from perf.calibration import CacheState
from perf.case import case_fields
from perf.compare import compare_captures
from perf.findings import Comparison
from perf.model import Capture, Case, Device, Machine, Operation, Verdict
from perf.paired.model import Finding, Mode, PairedCase, Side
from perf.paired.restarts import Subject
from perf.paired.revision_builds import RevisionBuild
from perf.work import flop_count

BASE_REFERENCE = "the base"
_FACTORIES = {Device.CPU: "perf.paired.host_sides", Device.CUDA: "perf.paired.cuda_sides"}
_PROCESS_FACTORY = "perf.paired.process_sides"
_CONTROL_PREFIX = "control: "


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """One case before it is measured. Without a ``subject`` it is not, and its finding is final."""

    paired: PairedCase
    subject: Subject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a comparison is about: the two builds and the machine."""

    base: RevisionBuild
    candidate: RevisionBuild
    machine: Machine
    targets: Mapping[Device, str]  # name of the target on each device that is here
    mode: Mode
    cache: CacheState = CacheState.WARM  # what CUDA calls find in L2

    @property
    def sides(self) -> dict[Side, RevisionBuild]:
        """The build of either side."""
        return {Side.BASE: self.base, Side.CANDIDATE: self.candidate}


def plan_case(case: Case, device: Device, scope: Scope) -> PlannedCase:
    """How one case is to be compared."""
    if device not in scope.targets:
        return _without_processor(case, device, scope)
    try:
        isa = _isa(case, device, scope)
        libraries = _libraries(device, scope) if scope.mode is Mode.LIBRARIES else {}
    except RoofgateError as error:
        return _final(case, device, scope, Verdict.NOT_RUN, str(error))
    planned = PlannedCase(
        paired=PairedCase(
            case=case,
            device=device,
            target=scope.targets[device],
            isa=isa,
            finding=Finding(verdict=Verdict.INCONCLUSIVE, reason="not measured yet"),
        ),
        subject=_subject(case, device, scope, scope.sides, libraries),
    )
    if scope.mode is Mode.LIBRARIES and _is_identical(case, device, isa, scope):
        reason = "the same machine code on both sides"
        finding = Finding(verdict=Verdict.IDENTICAL, reason=reason)
        return replace(planned, paired=replace(planned.paired, finding=finding), subject=None)
    return planned


def control_subjects(
    planned: Sequence[PlannedCase], scope: Scope, count: int
) -> dict[str, tuple[PlannedCase, Subject]]:
    """A/A controls by name: cases with equal code, or else the base against itself.

    Of the candidates the cheapest and the dearest are taken first: noise differs between short and long calls. Where
    nothing is to be timed no control is needed.
    """
    timed = [each for each in planned if each.subject]
    identical = [each for each in planned if each.paired.finding.verdict is Verdict.IDENTICAL and _is_here(each, scope)]
    if not timed:
        return {}
    candidates = sorted(identical or timed, key=lambda each: flop_count(each.paired.case))
    chosen = [*candidates[:1], *candidates[:0:-1]][:count]
    return {f"{_CONTROL_PREFIX}{each.paired.case.name}": (each, _control(each, scope)) for each in chosen}


def _is_here(planned: PlannedCase, scope: Scope) -> bool:
    return planned.paired.device in scope.targets


def _control(planned: PlannedCase, scope: Scope) -> Subject:
    """The same code on both sides: equal code of both builds, or the base twice."""
    case, device = planned.paired.case, planned.paired.device
    twice = dict.fromkeys(Side, scope.base)
    sides = twice if planned.subject or scope.mode is Mode.PROCESSES else scope.sides
    libraries = {} if scope.mode is Mode.PROCESSES else _libraries(device, scope)
    if sides is twice and libraries:
        libraries = dict.fromkeys(Side, libraries[Side.BASE])
    return replace(_subject(case, device, scope, sides, libraries), name=f"{_CONTROL_PREFIX}{case.name}")


def _subject(
    case: Case, device: Device, scope: Scope, sides: Mapping[Side, RevisionBuild], libraries: Mapping[Side, Path]
) -> Subject:
    arguments: dict[str, Any] = {"case": case_fields(case), "threads": scope.machine.threads}
    if device is Device.CUDA:
        arguments["cache"] = scope.cache.value
    if scope.mode is Mode.LIBRARIES:
        return Subject(name=case.name, factory=_FACTORIES[device], arguments=arguments, libraries=libraries)
    roots = {side.value: str(build.revision.root) for side, build in sides.items()}
    return Subject(
        name=case.name, factory=_PROCESS_FACTORY, arguments={**arguments, "device": device.value, "roots": roots}
    )


def _libraries(device: Device, scope: Scope) -> dict[Side, Path]:
    """The library of either side; raises :class:`RoofgateError` with the compiler's words if one does not build."""
    name = _library_name(device, scope.machine)
    paths: dict[Side, Path] = {}
    for side, build in scope.sides.items():
        library = build.library(name)
        if library is None:
            raise RoofgateError(f"{side.value} has no library {name!r}: {build.reason(name)}")
        _check_interface(Path(library.library), side, build)
        paths[side] = Path(library.library)
    return paths


def _check_interface(path: Path, side: Side, build: RevisionBuild) -> None:
    try:
        Library(path)
    except RoofgateError as error:
        raise RoofgateError(
            f"{side.value} ({build.revision.short}) cannot share a process with today's program: {error}. "
            "Compare it by processes: nox -s compare -- BASE --mode processes"
        ) from error


def _library_name(device: Device, machine: Machine) -> str:
    if device is Device.CPU:
        return HOST_LIBRARY
    number = int(machine.gpus[0].architecture.removeprefix("sm_"))
    exact = [known for known in CUDA_ARCHITECTURES if known.number == number]
    general = [known for known in CUDA_ARCHITECTURES if known.keeps_ptx and known.number <= number]
    if not exact + general:
        raise RoofgateError(f"{machine.gpus[0].name} ({machine.gpus[0].architecture}) is too old for the CUDA kernels")
    return cuda_library_name((exact + general)[0].name)


def _isa(case: Case, device: Device, scope: Scope) -> str:
    if device is Device.CUDA:
        return scope.machine.gpus[0].architecture
    library = scope.candidate.library(HOST_LIBRARY)
    if library is None:
        raise RoofgateError(f"candidate has no library {HOST_LIBRARY!r}: {scope.candidate.reason(HOST_LIBRARY)}")
    return Library(Path(library.library)).best_isa().serving(KernelDType[case.dtype.name]).name.lower()


def _is_identical(case: Case, device: Device, isa: str, scope: Scope) -> bool:
    name = _library_name(device, scope.machine)
    base, candidate = scope.base.library(name), scope.candidate.library(name)
    if device is Device.CUDA:
        return _has_equal_kernel(case, scope, architectures=frozenset({name.removeprefix("cuda_")}))
    return base is not None and candidate is not None and has_same_code(base, candidate, case.operation.value, isa)


def _has_equal_kernel(case: Case, scope: Scope, architectures: frozenset[str] | None = None) -> bool:
    """Whether the CUDA kernels of ``case`` are known on both sides, with the same code on all these architectures."""
    kernels = cuda_kernel_names(case)
    codes = [
        {
            (capture.kernel, capture.architecture): capture.fingerprint
            for capture in (build.captures.captures if build.captures else ())
            if capture.kernel in kernels and (architectures is None or capture.architecture in architectures)
        }
        for build in (scope.base, scope.candidate)
    ]
    is_complete = {kernel for kernel, _ in codes[0]} == set(kernels)
    return is_complete and codes[0] == codes[1] and all(codes[0].values())


def cuda_kernel_names(case: Case) -> tuple[str, ...]:
    """The kernels that a case runs on CUDA, in their order, as captures name them: ``attention_fwd<bf16, 64, window>``.

    A backward pass is three: the row sums of dO * O, the gradients themselves, and dQ from its fp32 sums.
    """
    if case.softcap or case.alibi:
        instance = "any"
    elif case.mask.is_planned:
        instance = "plan"
    else:
        instance = "full" if case.mask.window == (-1, -1) else "window"
    arguments = f"{case.dtype.key}, {case.head_dim}"
    main = f"{case.operation.value}<{arguments}, {instance}>"
    if case.operation is Operation.ATTENTION_FWD:
        return (main,)
    return f"attention_bwd_delta<{arguments}>", main, f"attention_bwd_dq<{arguments}>"


def _without_processor(case: Case, device: Device, scope: Scope) -> PlannedCase:
    """A CUDA case on a machine without a GPU: its kernel's machine code still says whether anything changed."""
    if _has_equal_kernel(case, scope):
        names = cuda_kernel_names(case)
        has = "has" if len(names) == 1 else "have"
        reason = f"{' and '.join(names)} {has} the same machine code on both sides, on every architecture"
        return _final(case, device, scope, Verdict.IDENTICAL, reason)
    reason = "no NVIDIA GPU here to time it; its kernel is compared on the static layer"
    return _final(case, device, scope, Verdict.NOT_RUN, reason)


def _final(case: Case, device: Device, scope: Scope, verdict: Verdict, reason: str) -> PlannedCase:
    target = scope.targets.get(device, device.value)
    finding = Finding(verdict=verdict, reason=reason)
    return PlannedCase(paired=PairedCase(case=case, device=device, target=target, isa="", finding=finding))


def compare_static(base: RevisionBuild, candidate: RevisionBuild) -> tuple[Comparison, ...]:
    """Every counter of every CUDA kernel of the candidate, against the base; none if either was not captured."""
    if base.captures is None or candidate.captures is None:
        return ()
    known: dict[tuple[str, str], Capture] = {
        (capture.kernel, capture.architecture): capture for capture in base.captures.captures
    }
    return tuple(
        comparison
        for capture in candidate.captures.captures
        for comparison in compare_captures(capture, known.get((capture.kernel, capture.architecture)), BASE_REFERENCE)
    )
