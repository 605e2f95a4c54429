"""Without the package, an installed ncu reads report files; what it refuses, it refuses with its own words."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from profiles.ncu import read_import, read_report_file
from profiles.ncu.read import read_report
from tests.profiles.ncu.csv_exports import raw_page
from tests.profiles.ncu.report_files import launch, number, report

PROGRAM = """#!{python}
import os, sys, time
if "--version" in sys.argv:
    print("NVIDIA (R) Nsight Compute Command Line Profiler\\nVersion 2025.3.1.0 (build 36398880)")
    sys.exit()
assert sys.argv[1:3] == ["--config-file", "off"] and os.environ["LC_ALL"] == "C"
assert sys.argv[sys.argv.index("--page") + 1] == "raw" and sys.argv[sys.argv.index("--print-units") + 1] == "base"
{body}
"""
Install = Callable[[str], None]
EXPORT = raw_page({"gpu__time_duration.sum": ("nsecond", ("4242",))})


@pytest.fixture
def install_ncu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put an ``ncu`` on PATH that does ``body`` with a report, and hide the package."""
    empty = tmp_path / "child.py"
    empty.write_text("print('{\"absent\": true}')")
    monkeypatch.setattr(read_report_file.read_child, "__file__", str(empty))

    def install(body: str) -> None:
        program = tmp_path / "bin" / "ncu"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable, body=body))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return install


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A report of one launch."""
    path = tmp_path / "a.ncu-rep"
    path.write_bytes(report([launch({"gpu__time_duration.sum": number(4242.0, "ns")})]))
    return path


def is_gone(process: int) -> bool:
    """Whether the process ends within five seconds; a zombie that nobody reaps has ended."""
    status = Path(f"/proc/{process}/stat")
    for _ in range(50):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_ncu_reads_what_the_package_would(install_ncu: Install, path: Path) -> None:
    """Nsight Compute reads what the package would."""
    install_ncu(f"print({EXPORT!r}, end='')")
    found = read_report(path)
    assert found.reader == "ncu 2025.3.1 --import"
    assert found.launches[0].number_of("gpu__time_duration.sum") == 4242e-9
    assert any("pip install ncu-report" in note for note in found.notes)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print(\"==ERROR== Failed to load report file 'a.ncu-rep'.\"); sys.exit(1)", "Failed to load report file"),
        ("os.abort()", r"crashed \(Aborted\)"),
        ("print('nothing of use')", "no table of Nsight Compute"),
    ],
)
def test_what_ncu_cannot_read_is_told_in_its_words(install_ncu: Install, path: Path, body: str, said: str) -> None:
    """What ncu cannot read is told in its words."""
    install_ncu(body)
    with pytest.raises(RoofgateError, match=said):
        read_report(path)


def test_an_ncu_that_hangs_is_stopped_with_what_it_started(
    install_ncu: Install,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An ncu that hangs is stopped with what it started."""
    told = path.with_name("pid")
    sleeper = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(read_import, "TIMEOUT", 3.0)
    install_ncu(f"import subprocess; subprocess.run([sys.executable, '-c', {sleeper!r}])")
    with pytest.raises(RoofgateError, match="no answer within 3 s"):
        read_report(path)
    assert is_gone(int(told.read_text()))


@pytest.mark.usefixtures("install_ncu")
def test_without_any_reader_the_remedy_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any reader the remedy is told."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RoofgateError, match=r"pip install ncu-report, or put the ncu of Nsight Compute on PATH"):
        read_report(path)
