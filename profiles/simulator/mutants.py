"""``python -m profiles mutants``: whether the simulator's checks notice small mistakes in the kernels."""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kernels.artifacts import write_atomically
from kernels.build_record import BuildRecord, BuildStatus, LibraryBuild
from kernels.errors import EXIT_PASS, EXIT_REGRESSION, RoofgateError
from kernels.workspace import Workspace
from profiles.kernel_names import kernel_names
from profiles.simulator.devices import Attribute, device_attributes
from profiles.simulator.lowering.program_cache import sources_digest
from profiles.simulator.mutant_launches import launches
from profiles.simulator.mutant_report import judge, page_text, report_lines
from profiles.simulator.mutant_results import Key, MutantResult, read_results, write_results
from profiles.simulator.mutant_survivors import read_survivors
from profiles.simulator.mutant_trial import Subject, prepare, try_mutant
from profiles.simulator.mutation import Mutation, mutations, spread
from profiles.simulator.ptx import kernel_names as entry_symbols
from profiles.simulator.ptx import parse_module
from profiles.simulator.run import simulator_program

EXAMPLES = """\
examples:
  python -m profiles mutants                                    the mutants that the stored reasons speak of
  python -m profiles mutants --count 1000 --seed 7              others, and more
  python -m profiles mutants --kernel 'ceiling_*'               of some kernels
  python -m profiles mutants --page docs/simulator_mutants.md   and write the page about them

Each mutant is one kernel of the build with one instruction changed. It is killed if its answer is wrong against
float64, if a check finds something, or if it crashes or does not end. profiles/simulator/mutant_survivors.yml says of
each survivor why. An interrupted run goes on where it was. Exit code: 0 all explained and enough killed, 1 not so,
2 an error.
"""
COUNT = 500
SEED = 0

_HOST_ARCHITECTURE = "cpu"
# Modules beside this one; changing any other leaves the results of a mutant what they are.
_DECIDING = (
    "attention_bounds",
    "attention_case",
    "attention_inputs",
    "ceiling_case",
    "device_tensors",
    "mutant_launches",
    "mutant_trial",
    "mutation",
)
_REPORT_EVERY = 25  # mutants


@dataclass(frozen=True, slots=True)
class _Mutant:
    subject: Subject
    mutation: Mutation

    @property
    def key(self) -> Key:
        return self.subject.name, self.subject.architecture, self.mutation.site, self.mutation.change


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which mutants to run, and where their results go."""

    count: int = COUNT
    seed: int = SEED  # of the choice
    kernel: str = "*"  # shell pattern of names
    workers: int = os.cpu_count() or 1  # mutants at a time
    results: Path = Workspace().root / "simulator" / "mutants.json"
    survivors: Path = Path("profiles/simulator/mutant_survivors.yml")
    page: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the options of the command."""
    parser.add_argument("--count", type=int, metavar="N", default=COUNT, help=f"how many mutants (default: {COUNT})")
    parser.add_argument("--seed", type=int, metavar="N", default=SEED, help=f"of the choice (default: {SEED})")
    parser.add_argument("--kernel", metavar="GLOB", default="*", help="kernels whose name matches (default: all)")
    parser.add_argument(
        "--workers", type=int, metavar="N", default=os.cpu_count() or 1, help="mutants at a time (default: all cores)"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the results as a page, too")


def read_request(options: argparse.Namespace) -> Request:
    """The request that the parsed options make; raises :class:`RoofgateError` for numbers below 1."""
    for name in ("count", "workers"):
        if getattr(options, name) < 1:
            raise RoofgateError(f"--{name} {getattr(options, name)}: expected at least 1")
    return Request(
        count=options.count, seed=options.seed, kernel=options.kernel, workers=options.workers, page=options.page
    )


def run_mutants(request: Request, record: BuildRecord) -> int:
    """Run the mutants of the kernels in ``record``, print what became of them, and judge.

    Returns:
        EXIT_PASS if enough mutants are killed and every survivor is explained, else EXIT_REGRESSION.

    Raises:
        RoofgateError: no kernel matches, one is not clean itself, or the file of survivors cannot be read.
    """
    survivors = read_survivors(request.survivors)
    started = time.monotonic()
    chosen = _choose(record, request)
    results = _run(record, chosen, request)
    verdict = judge([results[mutant.key] for mutant in chosen], survivors)
    print("\n".join(report_lines(verdict)))
    print(f"{time.monotonic() - started:.0f} s; results: {request.results}")
    if request.page:
        write_atomically(request.page, page_text(verdict))
    return EXIT_PASS if verdict.is_good else EXIT_REGRESSION


def _run(record: BuildRecord, chosen: Sequence[_Mutant], request: Request) -> Mapping[Key, MutantResult]:
    """Results of all chosen mutants; those of an earlier run that was interrupted are taken over."""
    inputs = _digest(record, request)
    results = dict(read_results(request.results, inputs))
    if results:
        print(f"{request.results}: {len(results)} mutants are known already")
    with ThreadPoolExecutor(request.workers) as pool:
        for result in _new_results(record, chosen, results.keys(), pool):
            results[result.key] = result
            write_results(request.results, inputs, results)
    return results


def _digest(record: BuildRecord, request: Request) -> str:
    """Of all that decides the results: simulator, kernels, mistakes, launches, choice."""
    sources = [Path(__file__).with_name(f"{module}.py").read_text() for module in _DECIDING]
    build = [library.fingerprint for library in record.libraries]
    choice = f"{request.count} {request.seed} {request.kernel}"
    parts = [simulator_program().name, sources_digest(), *sources, *build, choice]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _choose(record: BuildRecord, request: Request) -> list[_Mutant]:
    """The mutants, kernel by kernel: one of every kind of mistake in every opcode of every kernel before a second."""
    subjects = _subjects(record, request.kernel)
    if not subjects:
        raise RoofgateError(f"no built CUDA kernel matches {request.kernel!r}; try --kernel '*'")
    candidates = [_Mutant(subject, mutation) for subject in subjects for mutation in mutations(subject.kernel)]
    chosen = spread(candidates, _group, request.count, request.seed)
    return sorted(chosen, key=lambda mutant: mutant.key)


def _group(mutant: _Mutant) -> tuple[str, ...]:
    subject = mutant.subject
    opcode = subject.kernel.instructions[mutant.mutation.site].opcode
    return subject.name, subject.architecture, mutant.mutation.kind, opcode


def _subjects(record: BuildRecord, pattern: str) -> list[Subject]:
    """Every kernel of the build whose name matches, once: several architectures may have it in common.

    It then runs on the one with the smallest L2, which it takes the smallest problem to exceed.
    """
    built = [library for library in record.libraries if library.architecture != _HOST_ARCHITECTURE]
    built = [library for library in built if library.status is BuildStatus.BUILT]
    found: dict[tuple[str, ...], Subject] = {}
    for library in sorted(built, key=lambda library: _l2_bytes(library.architecture)):
        for subject in _kernels(library, pattern):
            text = (subject.symbol, *(instruction.text for instruction in subject.kernel.instructions))
            found.setdefault(text, subject)
    return sorted(found.values(), key=lambda subject: (subject.name, subject.architecture))


def _kernels(library: LibraryBuild, pattern: str) -> Iterator[Subject]:
    for code in library.device_code:
        text = Path(code.ptx).read_text()
        names = kernel_names(entry_symbols(text))
        wanted = [symbol for symbol, name in names.items() if fnmatchcase(name, pattern)]
        module = parse_module(text, wanted)
        for symbol in wanted:
            yield Subject(names[symbol], symbol, library.architecture, module)


def _l2_bytes(architecture: str) -> int:
    return device_attributes(architecture)[Attribute.L2_BYTES]


def _new_results(
    record: BuildRecord, chosen: Sequence[_Mutant], known: Collection[Key], pool: ThreadPoolExecutor
) -> Iterator[MutantResult]:
    """Results of the mutants that are not known yet, as they come."""
    tell = _progress(len(chosen), len(known))
    by_subject: dict[tuple[str, str], list[_Mutant]] = {}
    for mutant in chosen:
        if mutant.key not in known:
            by_subject.setdefault(mutant.key[:2], []).append(mutant)
    for mutants in by_subject.values():
        for result in _of_subject(record, mutants, pool):
            tell(result)
            yield result


def _of_subject(record: BuildRecord, mutants: Sequence[_Mutant], pool: ThreadPoolExecutor) -> Iterator[MutantResult]:
    subject = mutants[0].subject
    planned = launches(subject.name, _l2_bytes(subject.architecture))
    if not planned:
        raise RoofgateError(
            f"{subject.name}: no launches for its mutants; add some to profiles/simulator/mutant_launches.py"
        )
    trials = list(pool.map(lambda launch: prepare(record, subject, launch), planned))
    running = [pool.submit(try_mutant, record, subject, trials, mutant.mutation) for mutant in mutants]
    try:
        for future in as_completed(running):
            yield future.result()
    finally:
        for future in running:
            future.cancel()


def _progress(total: int, known: int) -> Callable[[MutantResult], None]:
    """Prints how far the run is, every now and then."""
    done, started = known, time.monotonic()

    def tell(result: MutantResult) -> None:
        nonlocal done
        done += 1
        if done % _REPORT_EVERY == 0 or done == total:
            print(f"{done} of {total} mutants, {time.monotonic() - started:.0f} s; at {result.kernel}")

    return tell
