"""The commands around reports: import, explain, and the commands of a capture to paste."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from kernels.workspace import Workspace
from profiles.__main__ import main
from profiles.ncu.import_command import import_files, open_capture
from profiles.ncu.stored_report import hardware_folder, imports_folder, read_stored_reports, write_report
from tests.captured_launches import build_launch, build_report

ROOT = Path(__file__).parents[3]
_COLUMNS = (
    ("ID", "", "0"),
    ("Process ID", "", "1"),
    ("Process Name", "", "python"),
    ("Host Name", "", "127.0.0.1"),
    ("Kernel Name", "", "copy(float *)"),
    ("Context", "", "1"),
    ("Stream", "", "7"),
    ("Block Size", "", "(256, 1, 1)"),
    ("Grid Size", "", "(128, 1, 1)"),
    ("Device", "", "0"),
    ("CC", "", "9.0"),
    ("gpu__time_duration.sum", "ns", "2048"),
    ("smsp__inst_executed.sum", "inst", "1000"),
)
CSV = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in zip(*_COLUMNS, strict=True))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_imported_is_kept_and_what_cannot_be_read_is_named(checkout: Path) -> None:
    """One damaged file does not lose the others, and the error names it."""
    (checkout / "raw.csv").write_text(CSV)
    (checkout / "empty.csv").write_text("")
    said: list[str] = []
    with pytest.raises(RoofgateError, match=r"empty\.csv"):
        import_files([Path("empty.csv"), Path("raw.csv")], checkout, said.append)
    (stored,), problems = read_stored_reports(imports_folder(checkout))
    report = stored.report

    assert problems == ()
    assert stored.baseline is None
    assert report.path == "raw.csv"
    assert report.launches[0].number_of("gpu__time_duration.sum") == pytest.approx(2.048e-6, rel=1e-15)
    assert said[0].startswith("raw.csv: 1 launch of 1 kernel, read by CSV, raw page")


def test_importing_again_replaces(checkout: Path) -> None:
    """The same file is one report of the site."""
    (checkout / "raw.csv").write_text(CSV)

    assert main(["import", "raw.csv"]) == main(["import", "raw.csv"]) == 0
    assert len(read_stored_reports(imports_folder(Workspace().captures))[0]) == 1


def test_a_baseline_is_kept_beside_what_is_compared_with_it(checkout: Path) -> None:
    """The pages compare the new report with the old one, and the old one with nothing."""
    (checkout / "new.csv").write_text(CSV)
    (checkout / "old.csv").write_text(CSV)

    assert main(["import", "new.csv", "--against", "old.csv"]) == 0
    stored = {one.report.path: one for one in read_stored_reports(imports_folder(Workspace().captures))[0]}
    assert stored["new.csv"].baseline == stored["old.csv"].report
    assert stored["old.csv"].baseline is None


def test_a_capture_is_a_file_of_either_kind_or_a_case(checkout: Path) -> None:
    """A case that was captured here is called by its name."""
    (checkout / "raw.csv").write_text(CSV)
    write_report(hardware_folder(checkout) / "case.json", build_report(path="here"))

    assert open_capture("case", checkout).path == "here"
    assert open_capture(str(hardware_folder(checkout) / "case.json"), checkout).path == "here"
    assert open_capture("raw.csv", checkout).path == "raw.csv"
    with pytest.raises(RoofgateError, match="nothing"):
        open_capture("nothing", checkout)


def test_explain_says_what_changed_since_the_baseline(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the DRAM traffic and twice the time."""
    write_report(checkout / "before.json", build_report())
    slower = build_launch(gpu__time_duration_sum=4e-5, dram__bytes_read_sum=48e6, dram__bytes_write_sum=16e6)
    write_report(checkout / "after.json", build_report(slower))

    assert main(["explain", "after.json", "--against", "before.json"]) == 0
    text = capsys.readouterr().out
    assert "+100.0 %" in text
    assert "DRAM" in text


def test_explain_lists_the_kernels_if_none_matches(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the functions to choose from."""
    write_report(checkout / "a.json", build_report())

    assert main(["explain", "a.json", "--kernel", "atention*"]) == 2
    assert "it holds: copy" in capsys.readouterr().err
    assert main(["explain", "missing.ncu-rep"]) == 2
    assert "missing.ncu-rep" in capsys.readouterr().err


def test_the_commands_of_a_capture_can_be_printed_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a GPU for the architecture asked for; nothing runs and nothing is recorded."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ROOFGATE_NCU", str(tmp_path / "none"))
    case = "attention_fwd-bf16-1x8x512x128-causal"

    assert main(["hardware", "--print-command", "--tier", "gate", "--case", case, "--architecture", "sm_80"]) == 0
    text = capsys.readouterr().out
    assert f"profiles.ncu.workload --case {case}" in text
    assert "sm__inst_executed_pipe_tensor_op_hmma.sum" in text
    assert "--clock-control none" in text


def test_a_tier_that_does_not_exist_is_answered_with_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    monkeypatch.chdir(ROOT)

    assert main(["hardware", "--print-command", "--tier", "gat"]) == 2
    assert "gate" in capsys.readouterr().err
