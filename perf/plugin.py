"""The pytest plugin behind ``python -m perf bench``: which cases to measure, and the run file that keeps them.

Loaded with ``-p perf.plugin``. What is finished is written anew before every case, so a killed run loses one case at
most: :func:`adopt_unfinished` makes a run of what it left.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from perf import repository, store, units
from perf.ceilings import CeilingProbe, MeasuredCeiling, measure_ceiling, probes
from perf.config import Suite, find_suite, load_suites, load_targets, match_target
from perf.machine import observe_machine
from perf.measure import CaseResult, measure_case
from perf.model import FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, Case, Commit, Device, Machine, Problem, Run
from perf.peers import implementations
from perf.work import flop_count

UNFINISHED_SUFFIX = ".unfinished"
_STASH = pytest.StashKey["Recorder"]()


@dataclass(slots=True)
class Recorder:
    """What one benchmark process has measured so far, and the file that it is kept in."""

    config: pytest.Config
    suite: Suite
    commit: Commit
    machine: Machine
    targets: dict[Device, str]
    folder: Path
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock: float = field(default_factory=time.monotonic)
    ceilings: list[MeasuredCeiling] = field(default_factory=list)
    cases: dict[tuple[Device, Case], CaseResult | RoofgateError] = field(default_factory=dict)

    @property
    def case_count(self) -> int:
        """Cases of the suite that this machine can run."""
        return sum(len(self.suite.parts[device].cases) for device in self.targets if device in self.suite.parts)

    def ceiling(self, probe: CeilingProbe) -> MeasuredCeiling:
        """Measure one ceiling."""
        measured = measure_ceiling(probe)
        self.ceilings.append(measured)
        return measured

    def case(self, device: Device, case: Case) -> CaseResult:
        """Measure all implementations of one case; later calls for the same case return the same result.

        Raises the :class:`RoofgateError` of a case that cannot be measured, each time that it is asked for.
        """
        key = (device, case)
        if key not in self.cases:
            write_atomically(self._unfinished_path, json.dumps(self.document(complete=False)))
            self.cases[key] = self._measure(device, case)
        result = self.cases[key]
        if isinstance(result, RoofgateError):
            raise result
        return result

    def _measure(self, device: Device, case: Case) -> CaseResult | RoofgateError:
        seconds_each = self.suite.parts[device].seconds_per_case
        try:
            result = measure_case(case, device, self.targets[device], seconds_each=seconds_each)
        except RoofgateError as error:
            return error
        print(f"[{len(self.cases) + 1}/{self.case_count}] {case.name}: {_describe(case, result)}")
        return result

    def run(self, *, complete: bool) -> Run:
        """All that pytest-benchmark has been told so far, as the domain sees it."""
        told = {benchmark.name for benchmark in self._session.benchmarks}
        results = [result for result in self.cases.values() if isinstance(result, CaseResult)]
        measurements = [each for result in results for each in result.measurements.values()]
        problems = [problem for result in results for problem in result.problems.values()]
        problems += [
            Problem(subject=case.name, reason=str(result))
            for (_, case), result in self.cases.items()
            if isinstance(result, RoofgateError)
        ]
        return Run(
            id=store.run_id(self.started, self.commit, self.suite.name),
            started=self.started,
            suite=self.suite.name,
            commit=self.commit,
            machine=self.machine,
            ceilings=tuple(each.ceiling for each in self.ceilings if store.ceiling_name(each.ceiling) in told),
            measurements=tuple(each for each in measurements if store.benchmark_name(each) in told),
            problems=tuple(problems),
            complete=complete,
            selection=self.config.getoption("--case-expression"),
            wall_s=time.monotonic() - self.clock,
            measured_s=self.measured_s,
        )

    @property
    def measured_s(self) -> float:
        """Seconds inside measured calls so far, warm-up included."""
        in_cases = sum(result.spent_s for result in self.cases.values() if isinstance(result, CaseResult))
        return in_cases + sum(sum(measured.samples_s) for measured in self.ceilings)

    def document(self, *, complete: bool) -> dict[str, Any]:
        """The run as pytest-benchmark's JSON with our fields."""
        document = self.config.hook.pytest_benchmark_generate_json(
            config=self.config,
            benchmarks=self._session.benchmarks,
            include_data=True,
            machine_info=pytest_benchmark_generate_machine_info(self.config),
            commit_info=pytest_benchmark_generate_commit_info(self.config),
        )
        return store.annotate(document, self.run(complete=complete))

    def finish(self, *, complete: bool) -> Path:
        """Store the run for good."""
        path = store.write_run(self.folder, self.document(complete=complete))
        self._unfinished_path.unlink(missing_ok=True)
        return path

    @property
    def _session(self) -> Any:  # noqa: ANN401 - pytest-benchmark is untyped
        return self.config._benchmarksession  # type: ignore[attr-defined]

    @property
    def _unfinished_path(self) -> Path:
        return self.folder / f"{store.run_id(self.started, self.commit, self.suite.name)}{UNFINISHED_SUFFIX}"


def adopt_unfinished(folder: Path) -> list[Path]:
    """Make incomplete runs of what killed processes left in ``folder``; returns their files."""
    unfinished = sorted(folder.glob(f"*{UNFINISHED_SUFFIX}"))
    return [path.rename(path.with_name(path.name.removesuffix(UNFINISHED_SUFFIX) + ".json")) for path in unfinished]


def _describe(case: Case, result: CaseResult) -> str:
    own = result.measurements[OWN_IMPLEMENTATION]
    ratios = [
        f"{peer.median_s / own.median_s:.2f}x {name}"
        for name, peer in result.measurements.items()
        if name not in {OWN_IMPLEMENTATION, FULL_MASK_IMPLEMENTATION}
    ]
    rate = units.flop_rate(flop_count(case) / own.median_s)
    dropped = [f"{own.dropped} rounds dropped (GPU throttled)"] if own.dropped else []
    return ", ".join([units.seconds(own.median_s), rate, *ratios, *dropped])


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that ``python -m perf bench`` passes on."""
    group = parser.getgroup("roofgate")
    group.addoption("--suite", default="default", help="suite of perf/suites.yml to measure")
    group.addoption("--case-expression", default="", help="measure only the cases that match, as pytest's -k does")
    group.addoption("--workspace", default="out", help="folder that receives the run file")


def pytest_configure(config: pytest.Config) -> None:
    """Observe machine and commit once, before anything is measured."""
    try:
        config.stash[_STASH] = _make_recorder(config)
    except RoofgateError as error:
        raise pytest.UsageError(str(error)) from error


def _make_recorder(config: pytest.Config) -> Recorder:
    machine = observe_machine()
    return Recorder(
        config=config,
        suite=find_suite(load_suites(), config.getoption("--suite")),
        commit=repository.current_commit(),
        machine=machine,
        targets=_targets(machine),
        folder=Workspace(Path(config.getoption("--workspace"))).runs,
    )


def _targets(machine: Machine) -> dict[Device, str]:
    """The name of the declared target on each device here; an undeclared GPU goes by its own name."""
    targets = {Device.CPU: "cpu"}
    if machine.gpus:
        name = torch.cuda.get_device_name()
        declared = match_target(load_targets(), name)
        targets[Device.CUDA] = declared.name if declared else name
    return targets


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per ceiling, and one per case and implementation."""
    recorder = metafunc.config.stash[_STASH]
    if "probe" in metafunc.fixturenames:
        all_probes = [probe for device in recorder.targets for probe in probes(device)]
        metafunc.parametrize("probe", all_probes, ids=[probe.name for probe in all_probes])
    if "case" in metafunc.fixturenames:
        combinations = [
            (device, case, implementation)
            for device in recorder.targets
            if device in recorder.suite.parts
            for case in recorder.suite.parts[device].cases
            for implementation in implementations(case, device)
        ]
        names = [f"{case.name}-{implementation}" for _, case, implementation in combinations]
        metafunc.parametrize(("device", "case", "implementation"), combinations, ids=names)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A suite file that cannot be imported ends the run with its reason."""
    if report.failed:
        raise pytest.UsageError(report.longreprtext)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ceilings alone are no run."""
    if not any("case" in getattr(item, "fixturenames", ()) for item in session.items):
        suite = session.config.getoption("--suite")
        raise pytest.UsageError(f"no case of suite {suite!r} was selected; leave out -k or correct it")


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> Recorder:
    """The recorder of this process."""
    return request.config.stash[_STASH]


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """What pytest-benchmark keeps of a machine, without its slow look at the processor."""
    machine = config.stash[_STASH].machine
    return {
        "node": machine.fingerprint,
        "processor": machine.cpu_model,
        "machine": machine.cpu_model,
        "python_implementation": "CPython",
        "python_implementation_version": machine.python,
        "python_version": machine.python,
        "system": machine.system.split()[0],
        "release": machine.system.split()[-1],
        "cpu": {"brand_raw": machine.cpu_model, "count": machine.cpu_count},
    }


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, Any]:
    """The commit as pytest-benchmark keeps it."""
    commit = config.stash[_STASH].commit
    return {"id": commit.id, "time": commit.time, "dirty": commit.dirty, "branch": commit.branch, "project": "roofgate"}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Show what failed; cases that were measured have a line of their own."""
    if report.failed:
        print(f"FAILED {report.nodeid}: {report.longreprtext}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the run for good and say where the time went."""
    recorder = session.config.stash[_STASH]
    if not recorder.ceilings and not recorder.cases:
        return
    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    path = recorder.finish(complete=not interrupted)
    wall_s = time.monotonic() - recorder.clock
    share = recorder.measured_s / wall_s
    print(
        f"{path}: {wall_s:.1f} s, of which {recorder.measured_s:.1f} s ({share:.0%}) inside measured kernels"
        + (" (interrupted; finished cases are kept)" if interrupted else "")
    )
