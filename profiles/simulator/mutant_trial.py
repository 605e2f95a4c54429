"""Whether anybody notices that a kernel is not what it should be: one mutant at a time."""

from __future__ import annotations

import linecache
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kernels.build_record import BuildRecord
from kernels.errors import RoofgateError
from kernels.interface import KernelError
from profiles.simulated import run_launch
from profiles.simulated_launches import Launch
from profiles.simulator.device_memory import DeviceMemory
from profiles.simulator.findings import source_path
from profiles.simulator.lowering.context import LoweringError
from profiles.simulator.lowering.lower import lower_kernel
from profiles.simulator.lowering.program import program_text
from profiles.simulator.mutant_results import WRONG_ANSWER, Fate, MutantResult
from profiles.simulator.mutation import Mutation, mutate, shape
from profiles.simulator.ptx.syntax import Instruction, Kernel, Module
from profiles.simulator.run import LoadedKernel, Options, Outcome
from profiles.simulator.simulated_library import SimulatedLibrary

# A mutant that executes this many times what the kernel does will not end.
_PATIENCE = 8
_PATIENCE_AT_LEAST = 100_000  # warp-instructions
_TIMEOUT_S = 30.0
_OPTIONS = Options(check_races=True, count=False, timeout_s=_TIMEOUT_S)


@dataclass(frozen=True)
class Subject:
    """A kernel whose mutants are tried, where it runs, and the program that it is."""

    name: str  # "attention_fwd<bf16, 64, full>"
    symbol: str
    architecture: str
    module: Module

    @property
    def kernel(self) -> Kernel:
        """The kernel without a mistake."""
        return self.module.kernels[self.symbol]

    @cached_property
    def program(self) -> str:
        """What the run-time reads of it."""
        return _program(self.module, self.kernel)


@dataclass(frozen=True)
class Trial:
    """A launch, and what the kernel without a mistake executes in it."""

    launch: Launch
    executed: int  # warp-instructions
    sites: frozenset[int]  # a mutation of any other instruction makes no difference here


def prepare(record: BuildRecord, subject: Subject, launch: Launch) -> Trial:
    """Run the kernel as it is. Raises :class:`RoofgateError` if that is not clean: then no mutant can be judged."""
    outcome, killers = _run(record, subject, launch, _OPTIONS, {})
    if killers:
        messages = "; ".join(finding.message for finding in outcome.findings) or "see python -m profiles simulate"
        raise RoofgateError(
            f"{subject.name} on {subject.architecture}, {launch}: the kernel itself is not clean "
            f"({', '.join(killers)}: {messages}); mend that before testing mutants"
        )
    launched = [found for found in outcome.launches if found.kernel.name == subject.symbol]
    sites = {site for found in launched for site, counters in enumerate(found.counters) if counters.executed}
    return Trial(launch, sum(found.executed for found in launched), frozenset(sites))


def try_mutant(record: BuildRecord, subject: Subject, trials: Sequence[Trial], mutation: Mutation) -> MutantResult:
    """Run a mutant until somebody notices, in the cheapest launch first.

    Args:
        record: the build whose host code launches the mutant.
        subject: the kernel.
        trials: of the kernel.
        mutation: the mistake.
    """
    result = _describe(subject, mutation)
    mutant = mutate(subject.kernel, mutation)
    try:
        program = _program(subject.module, mutant)
    except LoweringError:
        return replace(result, fate=Fate.REFUSED)
    if program == subject.program:
        return replace(result, fate=Fate.UNCHANGED)
    with tempfile.NamedTemporaryFile("w", suffix=".program") as file:
        file.write(program)
        file.flush()
        loaded = LoadedKernel(mutant, subject.module.target, Path(file.name))
        return _first_death(record, subject, _telling(trials, mutation.site), loaded, result)


def _program(module: Module, kernel: Kernel) -> str:
    return program_text(lower_kernel(replace(module, kernels={kernel.name: kernel}), kernel.name))


def _telling(trials: Sequence[Trial], site: int) -> list[Trial]:
    return sorted((trial for trial in trials if site in trial.sites), key=lambda trial: trial.executed)


def _first_death(
    record: BuildRecord, subject: Subject, trials: Sequence[Trial], mutant: LoadedKernel, result: MutantResult
) -> MutantResult:
    for count, trial in enumerate(trials, start=1):
        limit = max(_PATIENCE * trial.executed, _PATIENCE_AT_LEAST)
        options = replace(_OPTIONS, instruction_limit=limit)
        _, killers = _run(record, subject, trial.launch, options, {subject.symbol: mutant})
        if killers:
            return replace(result, fate=Fate.KILLED, killed_by=killers, launch=str(trial.launch), launches=count)
    return replace(result, launches=len(trials))


def _run(
    record: BuildRecord, subject: Subject, launch: Launch, options: Options, kernels: Mapping[str, LoadedKernel]
) -> tuple[Outcome, tuple[str, ...]]:
    """What was found, and who noticed."""
    with DeviceMemory() as memory:
        library = SimulatedLibrary(subject.architecture, memory, options, record, kernels)
        try:
            wrong = bool(run_launch(library, launch))
        except KernelError:
            if not library.outcome.findings:
                raise  # the host code refused: nothing ran
            wrong = False  # and nobody looks at the answer of a launch that failed
        checks = [finding.check for finding in library.outcome.findings]
        return library.outcome, tuple(dict.fromkeys([*checks, WRONG_ANSWER] if wrong else checks))


def _describe(subject: Subject, mutation: Mutation) -> MutantResult:
    instruction = subject.kernel.instructions[mutation.site]
    return MutantResult(
        kernel=subject.name,
        architecture=subject.architecture,
        site=mutation.site,
        kind=mutation.kind,
        change=mutation.change,
        instruction=shape(instruction),
        lines=tuple(_lines(instruction)),
        fate=Fate.SURVIVED,
    )


def _lines(instruction: Instruction) -> Iterator[str]:
    location = instruction.location
    for line in (location.line, *location.inlined_at) if location else ():
        path = source_path(line.file)
        yield f"{path}:{line.line} | {linecache.getline(str(path), line.line).strip()}"
