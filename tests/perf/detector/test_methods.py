"""What other tools print is read right: on outputs recorded from pytest-benchmark 5.3.1 and asv 0.6.6."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels.errors import RoofgateError
from perf.detector import asv_project, methods
from perf.detector.asv_project import AsvProject
from perf.detector.methods import METHODS, Setting, pytest_benchmark, workload_environment
from perf.detector.trials import COUNTS
from perf.detector.workloads import WORKLOADS

RECORDED = Path(__file__).parent / "recorded"
PYTHON = WORKLOADS["python"]
Replies = Callable[..., None]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Of workloads that need no library."""
    return Setting(library=tmp_path / "unused.so", start_blocks=1900, scratch=tmp_path)


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Replies:
    """Sets what programs answer: exit code and output, the last one for all further calls."""

    def answer(*planned: tuple[int, str]) -> None:
        waiting = list(planned)

        def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
            code, output = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            return subprocess.CompletedProcess(command, code, stdout=output, stderr="")

        for module in (methods, asv_project):
            monkeypatch.setattr(module.subprocess, "run", run)

    return answer


def recorded(name: str) -> str:
    """One output."""
    return (RECORDED / f"{name}.txt").read_text()


def test_every_method_has_its_trials() -> None:
    """None is forgotten in the plan."""
    assert list(METHODS) == list(COUNTS)


def test_pytest_benchmark_failing_by_three_rules(replies: Replies, setting: Setting) -> None:
    """Each failed field is an alarm of its rule."""
    replies((0, "1 passed"), (1, recorded("pytest-benchmark-failing")))

    decision = pytest_benchmark(PYTHON, 0.1, 0, setting)

    assert decision.alarms == {
        "pytest-benchmark min 5 %": True,
        "pytest-benchmark median 5 %": True,
        "pytest-benchmark mean 5 %": True,
    }


def test_pytest_benchmark_failing_by_one_rule(replies: Replies, setting: Setting) -> None:
    """The others stay quiet."""
    lines = recorded("pytest-benchmark-failing").splitlines(keepends=True)
    only_mean = "".join(line for line in lines if "'min'" not in line and "'median'" not in line)
    replies((0, "1 passed"), (1, only_mean))

    alarms = pytest_benchmark(PYTHON, 0.1, 0, setting).alarms

    assert [name for name, alarm in alarms.items() if alarm] == ["pytest-benchmark mean 5 %"]


def test_pytest_benchmark_passing(replies: Replies, setting: Setting) -> None:
    """A faster run is no alarm."""
    replies((0, recorded("pytest-benchmark-passing")))

    assert not any(pytest_benchmark(PYTHON, 0.0, 0, setting).alarms.values())


@pytest.mark.parametrize("answers", [[(1, "1 error")], [(0, "1 passed"), (1, "1 error")], [(0, "1 passed"), (2, "")]])
def test_pytest_benchmark_that_cannot_measure_is_no_verdict(
    replies: Replies, setting: Setting, answers: list[tuple[int, str]]
) -> None:
    """Neither the saved run nor the compared one may fail for another reason."""
    replies(*answers)

    with pytest.raises(RoofgateError, match="pytest-benchmark"):
        pytest_benchmark(PYTHON, 0.0, 0, setting)


def test_the_real_pytest_benchmark_applies_every_rule(monkeypatch: pytest.MonkeyPatch, setting: Setting) -> None:
    """Twice the work, briefly: minimum and median double whatever else runs (the mean may not, on a busy machine)."""
    monkeypatch.setattr(methods, "_PYTEST_BENCHMARK_S", 0.2)

    alarms = pytest_benchmark(PYTHON, 1.0, 0, setting).alarms

    assert alarms["pytest-benchmark min 5 %"]
    assert alarms["pytest-benchmark median 5 %"]


@pytest.mark.parametrize(
    ("name", "exit_code", "alarm"), [("asv-worse", 1, True), ("asv-better", 0, False), ("asv-same", 0, False)]
)
def test_asv_outputs(replies: Replies, tmp_path: Path, name: str, exit_code: int, alarm: bool) -> None:
    """Worse is an alarm; better and unchanged are none."""
    replies((exit_code, recorded(name)))

    assert AsvProject(tmp_path).continuous(0.1, 1.05, {})[0] is alarm


@pytest.mark.parametrize(("exit_code", "output"), [(2, ""), (1, "No environments selected"), (0, "")])
def test_asv_without_a_verdict_is_an_error(replies: Replies, tmp_path: Path, exit_code: int, output: str) -> None:
    """Asv ends with 1 for a worse commit and for other things."""
    replies((exit_code, output))

    with pytest.raises(RoofgateError, match="asv"):
        AsvProject(tmp_path).continuous(0.1, 1.05, {})


def test_asv_measures_again(replies: Replies, tmp_path: Path) -> None:
    """Its results of earlier trials are removed, but not what it knows of the machine and the benchmarks."""
    results = tmp_path / "results" / "machine"
    results.mkdir(parents=True)
    for name in ("1234abcd-virtualenv-py3.11.json", "machine.json"):
        (results / name).write_text("{}")
    replies((0, recorded("asv-same")))

    AsvProject(tmp_path).continuous(0.0, 1.05, {})

    assert [path.name for path in results.iterdir()] == ["machine.json"]


def test_other_tools_find_workload_and_library(setting: Setting) -> None:
    """By absolute paths, for they run in folders of their own."""
    environment = workload_environment(PYTHON, setting)

    assert environment["ROOFGATE_WORKLOAD"] == "python"
    assert Path(environment["ROOFGATE_LIBRARY"]).is_absolute()
    assert (Path(environment["ROOFGATE_ROOT"]) / "perf" / "detector").is_dir()
