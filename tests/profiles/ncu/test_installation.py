"""Which Nsight Compute is used, and what the driver says of permission."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.ncu import installation
from profiles.ncu.command_line import NsightCompute
from profiles.ncu.failures import Failure, FailureKind
from profiles.ncu.installation import find_ncu, restriction_note, unknown_ncu
from tests.profiles.ncu.fake_ncu import FakeNcu


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ncu, wherever the tests run."""
    monkeypatch.delenv(installation.NCU_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setattr(installation, "CUDA_FOLDER", tmp_path / "usual-cuda")


def found_in(folder: Path) -> NsightCompute:
    """The one that is found, which there must be."""
    found = find_ncu(folder / "opt")
    assert isinstance(found, NsightCompute)
    return found


def test_none_is_a_failure_that_says_where_was_looked(tmp_path: Path) -> None:
    """And how to name one."""
    found = find_ncu(tmp_path / "opt")

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.NCU_MISSING
    assert str(tmp_path / "opt") in found.cause
    assert "ROOFGATE_NCU" in found.remedy


def test_the_one_on_path_comes_first(tmp_path: Path) -> None:
    """Then the CUDA folder, then the installed ones from the newest."""
    FakeNcu(tmp_path / "opt" / "2024.1.1", {}, version="2024.1.1.0")
    FakeNcu(tmp_path / "opt" / "2025.10.0", {}, version="2025.10.0.0")
    FakeNcu(tmp_path / "opt" / "2025.3.1", {}, version="2025.3.1.0")
    assert found_in(tmp_path).version == (2025, 10, 0)
    FakeNcu(tmp_path / "cuda" / "bin", {}, version="2023.2.0.0")
    assert found_in(tmp_path).version == (2023, 2, 0)
    FakeNcu(tmp_path / "path", {}, version="2022.4.0.0")
    assert found_in(tmp_path).version == (2022, 4, 0)


def test_the_variable_is_obeyed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that cannot be run is an error, not a reason to take another."""
    chosen = FakeNcu(tmp_path / "chosen", {}, version="2026.2.1.0")
    FakeNcu(tmp_path / "path", {})
    monkeypatch.setenv(installation.NCU_VARIABLE, str(chosen.path))
    assert found_in(tmp_path).version == (2026, 2, 1)

    monkeypatch.setenv(installation.NCU_VARIABLE, str(tmp_path / "gone"))
    found = find_ncu(tmp_path / "opt")

    assert isinstance(found, Failure)
    assert "gone" in found.cause


def test_its_options_are_asked(tmp_path: Path) -> None:
    """Of the installed one, not of a table."""
    FakeNcu(tmp_path / "path", {}, help_text="  --clock-control arg\n  --new-option arg\n")

    assert found_in(tmp_path).options == {"--clock-control", "--new-option"}


@pytest.mark.parametrize(
    ("version", "kind"),
    [("2022.3.0.0", FailureKind.NCU_TOO_OLD), ("2019.5.0", FailureKind.NCU_TOO_OLD), ("?", FailureKind.NCU_MISSING)],
)
def test_an_old_or_broken_one_is_refused(version: str, kind: FailureKind, tmp_path: Path) -> None:
    """Its options and reports are not those that we know."""
    FakeNcu(tmp_path / "path", {}, version=version)

    found = find_ncu(tmp_path / "opt")

    assert isinstance(found, Failure)
    assert found.kind is kind


def test_the_unknown_one_has_no_options_of_its_own() -> None:
    """So a command printed for another machine runs with every supported version."""
    assert unknown_ncu().options == frozenset()


@pytest.mark.parametrize(
    ("text", "restricted"),
    [
        ('EnableMSI: 1\nRmProfilingAdminOnly: 1\nRegistryDwords: ""\n', True),
        ("RmProfilingAdminOnly: 0\n", False),
        ("OtherRmProfilingAdminOnly: 1\n", False),
        ("", False),
    ],
)
def test_the_drivers_restriction_is_read(text: str, restricted: bool, tmp_path: Path) -> None:
    """As a hint."""
    path = tmp_path / "params"
    path.write_text(text)

    assert bool(restriction_note(path)) is restricted


def test_without_a_driver_nothing_is_said_of_permission(tmp_path: Path) -> None:
    """There is no such file."""
    assert restriction_note(tmp_path / "params") == ""
