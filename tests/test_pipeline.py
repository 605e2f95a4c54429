"""The commands as a user runs them, in a checkout of their own that starts from the present build."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from kernels.workspace import source_tree

ROOT = Path(__file__).parent.parent
ONE_CASE = ("bench", "--suite", "smoke", "-k", "bf16-1x8x512x128-causal")
KERNEL = "kernels/csrc/attention_fwd_cpu.cpp"


class Checkout:
    """A clone with the sources at hand committed, and the present build beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, package: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """``python -m package arguments`` in the checkout."""
        return subprocess.run(
            [sys.executable, "-m", package, *arguments], cwd=self.root, capture_output=True, text=True, **options
        )

    def git(self, *arguments: str) -> None:
        """A git command as an author."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def verdict(self) -> dict[str, Any]:
        """The gate's verdict.json."""
        content: dict[str, Any] = json.loads((self.root / "out/verdict.json").read_text())
        return content

    def runs(self) -> list[dict[str, Any]]:
        """Every stored run, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.root / "out/runs").glob("*.json"))]

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text that must be there in a file."""
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every checkout starts from."""
    root = tmp_path_factory.mktemp("template") / "roofgate"
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "out/build", root / "out/build")
    checkout = Checkout(root)
    checkout.git("init", "-q", "-b", "main")
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "Everything")
    return root


@pytest.fixture
def checkout(template: Path, tmp_path: Path) -> Checkout:
    """A fresh checkout."""
    return Checkout(Path(shutil.copytree(template, tmp_path / "roofgate")))


@pytest.fixture(scope="module")
def measured(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which one case was measured and the CUDA kernels analysed. Tests that use it only read."""
    checkout = Checkout(Path(shutil.copytree(template, tmp_path_factory.mktemp("measured") / "roofgate")))
    simulator = "out/simulator/objects"
    if (ROOT / simulator).exists():  # spares compiling it once more
        shutil.copytree(ROOT / simulator, checkout.root / simulator)
    for package, *arguments in [("kernels", "build"), ("perf", *ONE_CASE), ("profiles", "capture")]:
        # On a machine with a GPU Nsight Compute would take minutes, and has tests of its own.
        result = checkout.run(package, *arguments, env={**os.environ, "ROOFGATE_NCU": "no-such-program"})
        assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def test_a_run_holds_our_samples_the_peers_and_the_ceilings(measured: Checkout) -> None:
    """One benchmark per implementation and ceiling, with raw samples."""
    (run,) = measured.runs()
    names = {benchmark["name"]: benchmark for benchmark in run["benchmarks"]}

    assert "attention_fwd-bf16-1x8x512x128-causal[roofgate]" in names
    assert "attention_fwd-bf16-1x8x512x128-causal[torch_flash]" in names
    assert "ceiling-gemm-cpu-bf16" in names
    assert all(len(benchmark["stats"]["data"]) >= 7 for benchmark in names.values())
    assert run["roofgate"]["complete"] is True
    assert run["roofgate"]["commit"]["tree"] == source_tree(measured.root)


def test_pytest_benchmarks_own_tool_reads_a_run(measured: Checkout) -> None:
    """The file is pytest-benchmark's format, not something like it."""
    (path,) = (measured.root / "out/runs").glob("*.json")
    tool = Path(sys.executable).with_name("pytest-benchmark")
    result = subprocess.run([tool, "compare", path], cwd=measured.root, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert "attention_fwd-bf16-1x8x512x128-causal[roofgate]" in result.stdout


def test_report_and_gate_work_from_stored_results(measured: Checkout) -> None:
    """The report renders, and the gate judges what was measured and says what was not."""
    report = measured.run("reports", "render")
    gate = measured.run("perf", "gate")
    verdict = measured.verdict()

    assert report.returncode == 0, report.stderr
    assert (measured.root / "out/site/index.html").exists()
    assert (measured.root / "out/summary.md").exists()
    assert (measured.root / "out/junit.xml").exists()
    assert gate.returncode == verdict["exit_code"]
    assert {"schema", "verdict", "exit_code", "commit", "machine", "rules"} <= set(verdict)
    wanted = {"case", "target", "metric", "value", "limit", "layer", "verdict", "reason"}
    assert all(wanted <= set(rule) for rule in verdict["rules"])
    assert {rule["verdict"] for rule in verdict["rules"]} - {"not_run"}


def test_gate_without_results_is_an_error(checkout: Checkout) -> None:
    """No result for the present sources is never a pass."""
    result = checkout.run("perf", "gate")

    assert result.returncode == 2
    assert checkout.verdict()["verdict"] == "error"


def test_a_layer_that_nobody_captured_is_no_pass(measured: Checkout, tmp_path: Path) -> None:
    """Rules over static figures need static captures; a layer that could not run has left its reason instead."""
    uncaptured = Checkout(Path(shutil.copytree(measured.root, tmp_path / "uncaptured")))
    shutil.rmtree(uncaptured.root / "out/captures")

    assert uncaptured.run("perf", "gate").returncode == 2
    assert "no static captures of the present sources" in uncaptured.verdict()["reason"]


def test_an_edit_after_the_measurement_makes_it_stale(measured: Checkout, tmp_path: Path) -> None:
    """Results count only for the sources that they were taken from."""
    edited = Checkout(Path(shutil.copytree(measured.root, tmp_path / "edited")))
    edited.edit(KERNEL, "namespace roofgate {", "namespace roofgate {  // edited")

    assert edited.run("perf", "gate").returncode == 2
    assert edited.verdict()["verdict"] == "error"


def test_a_kernel_that_does_not_compile_is_shown_in_the_report(checkout: Checkout) -> None:
    """The build fails with the compiler's words, the report still renders and shows them, the gate is an error."""
    checkout.edit(KERNEL, "namespace roofgate {", "namespace roofgate { int broken = no_such_name;")
    build = checkout.run("kernels", "build", "--architecture", "cpu")
    bench = checkout.run("perf", *ONE_CASE)
    report = checkout.run("reports", "render")
    gate = checkout.run("perf", "gate")
    pages = "".join(path.read_text() for path in (checkout.root / "out/site").rglob("*.html"))

    assert build.returncode == 2
    assert "no_such_name" in build.stdout + build.stderr
    assert bench.returncode == 2
    assert "Traceback" not in bench.stderr
    assert report.returncode == 0, report.stderr
    assert "no_such_name" in pages
    assert gate.returncode == 2
    assert checkout.verdict()["verdict"] == "error"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("perf", "bench", "--suite", "smok"), "smoke"),
        (("perf", "bench", "--suite", "smoke", "-k", "nothing-has-this-name"), "no case of suite 'smoke' was selected"),
        (("kernels", "build", "--architecture", "sm_42"), "'sm_42' is not known"),
        (("perf", "show", "out/runs/none.json"), "none.json"),
    ],
)
def test_a_wrong_name_is_answered_with_exit_code_2(checkout: Checkout, command: tuple[str, ...], message: str) -> None:
    """One message, no traceback."""
    result = checkout.run(*command)

    assert result.returncode == 2
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("file", ["perf/suites.yml", "perf/targets.yml", "ci/thresholds.yml"])
def test_an_unknown_key_names_file_line_and_key(checkout: Checkout, file: str) -> None:
    """Whoever mistypes a key learns where."""
    path = checkout.root / file
    lines = path.read_text().count("\n")
    path.write_text(path.read_text() + "sutes: {}\n")
    result = checkout.run("perf", "gate")

    assert result.returncode == 2
    assert f"{file}:{lines + 1}" in result.stdout + result.stderr
    assert "sutes" in result.stdout + result.stderr


def test_a_second_command_at_once_is_refused(checkout: Checkout) -> None:
    """Two writers in one checkout would mix their results."""
    with FileLock(checkout.root / "out/lock"):
        result = checkout.run("kernels", "build", "--architecture", "cpu")

    assert result.returncode == 2
    assert "is writing to out/" in result.stderr


def test_outside_a_git_repository_the_next_step_is_said(checkout: Checkout) -> None:
    """Results belong to commits."""
    shutil.rmtree(checkout.root / ".git")
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(checkout.root.parent)}
    result = checkout.run("perf", "gate", env=environment)

    assert result.returncode == 2
    assert "git" in result.stderr
    assert "Traceback" not in result.stderr


def test_foreign_truncated_and_newer_runs_are_named_and_skipped(measured: Checkout, tmp_path: Path) -> None:
    """They cost nothing but a line."""
    mixed = Checkout(Path(shutil.copytree(measured.root, tmp_path / "mixed")))
    folder = mixed.root / "out/runs"
    (path,) = folder.glob("*.json")
    newer = json.loads(path.read_text())
    newer["roofgate"]["schema"] = 999
    (folder / "29990101T000000Z-newer.json").write_text(json.dumps(newer))
    (folder / "29990101T000000Z-truncated.json").write_text(path.read_text()[:5000])
    (folder / "29990101T000000Z-foreign.json").write_text('{"benchmarks": [], "machine_info": {}}')
    report = mixed.run("reports", "render")
    pages = "".join(page.read_text() for page in (mixed.root / "out/site").rglob("*.html"))

    assert report.returncode == 0, report.stderr
    assert mixed.run("perf", "gate").returncode == measured_exit_code(mixed)
    assert all(f"29990101T000000Z-{kind}.json" in pages for kind in ("newer", "truncated", "foreign"))


def measured_exit_code(checkout: Checkout) -> int:
    """The exit code that verdict.json claims; never that of an error."""
    exit_code = int(checkout.verdict()["exit_code"])
    assert exit_code != 2
    return exit_code


def start_bench(checkout: Checkout) -> subprocess.Popen[str]:
    """Start the smoke suite and return once its first case is measured."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "perf", "bench", "--suite", "smoke"],
        cwd=checkout.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "[2/" in line:
            break
    return process


def test_ctrl_c_keeps_the_finished_cases(checkout: Checkout) -> None:
    """The run is stored as incomplete with what was measured."""
    process = start_bench(checkout)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    (run,) = checkout.runs()

    assert process.returncode == 130, output
    assert run["roofgate"]["complete"] is False
    assert any(benchmark["name"].endswith("[roofgate]") for benchmark in run["benchmarks"])


def test_a_killed_run_loses_one_case_at_most(checkout: Checkout) -> None:
    """What was finished becomes a run with the next benchmark command."""
    process = start_bench(checkout)
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=60)
    assert checkout.runs() == []
    after = checkout.run("perf", *ONE_CASE)
    runs = checkout.runs()

    assert "kept what an interrupted run had finished" in after.stdout
    assert [run["roofgate"]["complete"] for run in runs] == [False, True]
    assert any(benchmark["name"].endswith("[roofgate]") for benchmark in runs[0]["benchmarks"])
