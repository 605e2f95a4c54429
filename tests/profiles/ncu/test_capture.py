"""Captures with an ncu that plays recorded runs: what counts, what is recorded, what is left behind."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.errors import RoofgateError
from profiles.ncu import capture, installation
from profiles.ncu.attempts import FILE_NAME, read_attempt
from profiles.ncu.capture import (
    PROBE,
    PROBE_CASE,
    CaptureSite,
    capture_case,
    capture_collection,
    captured_report,
    commands_text,
    open_site,
    probe_counters,
    record_refusal,
)
from profiles.ncu.failures import Failure, FailureKind
from profiles.ncu.ladder import LAST_RUNG, RungState
from profiles.ncu.metric_tiers import load_tiers
from profiles.ncu.read_import import read_by_import
from profiles.simulator.attention_case import parse_case
from tests.profiles.ncu.fake_ncu import FakeNcu, Play
from tests.profiles.ncu.recorded_failures import RECORDED

CASE = parse_case("attention_fwd-bf16-1x2x256x64-causal")
TIERS = load_tiers()
TIMEOUT_S = 3.0  # of runs that hang; those that do not must end within it on a busy machine too
HANG = Play(hangs=True, log='==PROF== Profiling "attention_fwd" - 0: 0%\n')


def site_of(folder: Path, fake: FakeNcu, timeout_s: float = 60.0) -> CaptureSite:
    """A Hopper GPU with this ncu."""
    return CaptureSite(
        ncu=fake.installed, architecture="sm_90", folder=folder / "hardware", launches=2, timeout_s=timeout_s
    )


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_failure_is_told_apart_through_a_run(name: str, tmp_path: Path) -> None:
    """Exit code, log, output and report file are put together as they were recorded."""
    play, kind = RECORDED[name]
    site = site_of(tmp_path, FakeNcu(tmp_path / "bin", {"*": play}))

    result = capture_collection(PROBE, site=site, case=CASE)

    assert result.failure is not None
    assert result.failure.kind is kind
    assert not result.report


def test_a_capture_leaves_report_log_and_output(tmp_path: Path) -> None:
    """All that is needed to see what went on, and the report can be read."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play(output="the workload\n")})
    site = site_of(tmp_path, fake)

    result = capture_collection(PROBE, site=site, case=CASE)

    assert result.failure is None
    report = read_by_import(Path(result.report), site.ncu.path)
    assert [launch.number_of("smsp__inst_executed.sum") for launch in report.launches] == [1023.0, 1023.0]
    folder = site.folder / CASE.name
    assert (folder / "permission-probe.txt").read_text() == "the workload\n"
    assert "100%" in (folder / "permission-probe.log").read_text()


def test_a_run_has_its_own_temporary_folder_and_the_c_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's environment says; the folder is gone afterwards."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})

    for _ in range(2):
        capture_collection(PROBE, site=site_of(tmp_path, fake), case=CASE)

    environments = [call["environment"] for call in fake.captures]
    assert {environment["LC_ALL"] for environment in environments} == {"C"}
    folders = [environment["TMPDIR"] for environment in environments]
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)


def test_the_workload_is_our_program_with_the_case(tmp_path: Path) -> None:
    """As many launches as are expected in the report."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})

    capture_collection(PROBE, site=site_of(tmp_path, fake), case=CASE)

    (call,) = fake.captures
    assert call["argv"][-6:] == ["-m", "profiles.ncu.workload", "--case", CASE.name, "--launches", "2"]


def test_a_backward_pass_is_three_launches_a_call(tmp_path: Path) -> None:
    """A report that holds one for each call lacks two kernels."""
    backward = parse_case("attention_bwd-bf16-1x2x256x64-causal")
    site = site_of(tmp_path, FakeNcu(tmp_path / "bin", {"*": Play()}))

    result = capture_collection(PROBE, site=site, case=backward)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.WRONG_LAUNCHES
    assert result.failure.cause == "the report holds 2 launches, expected 6"


def test_the_report_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    """A run that leaves none has none."""
    site = site_of(tmp_path, FakeNcu(tmp_path / "bin", {"*": Play()}))
    capture_collection(PROBE, site=site, case=CASE)
    broken = FakeNcu(tmp_path / "broken", {"*": Play(report="absent")})

    result = capture_collection(PROBE, site=replace(site, ncu=broken.installed), case=CASE)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.NO_REPORT


def test_a_metric_without_a_value_is_no_capture(tmp_path: Path) -> None:
    """Its name and what the report says of it are kept."""
    play = Play(unavailable=("smsp__inst_executed.sum",))
    site = site_of(tmp_path, FakeNcu(tmp_path / "bin", {"*": play}))

    result = capture_collection(PROBE, site=site, case=CASE)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.MISSING_VALUES
    assert result.failure.details == ("smsp__inst_executed.sum: n/a",)


def is_running(process: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def ends_soon(process: int) -> bool:
    """Whether it ends within some seconds."""
    end = time.monotonic() + 10
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(process)


def test_a_hang_is_ended_with_all_its_children(tmp_path: Path) -> None:
    """The workload under ncu must not go on holding the GPU."""
    fake = FakeNcu(tmp_path / "bin", {"*": HANG})

    result = capture_collection(PROBE, site=site_of(tmp_path, fake, timeout_s=TIMEOUT_S), case=CASE)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.HANG
    assert 'at "attention_fwd" - 0: 0%' in result.failure.cause
    assert ends_soon(int(fake.child.read_text()))


def test_ctrl_c_ends_the_children_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in a group of their own, which the terminal's Ctrl-C does not reach."""
    fake = FakeNcu(tmp_path / "bin", {"*": HANG})
    real = capture.subprocess.Popen.wait

    def interrupted(child: object, timeout: float | None = None) -> int:
        if timeout is None:
            return real(child)  # type: ignore[arg-type]
        while not (fake.child.exists() and fake.child.read_text()):
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(capture.subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        capture_collection(PROBE, site=site_of(tmp_path, fake), case=CASE)

    assert ends_soon(int(fake.child.read_text()))


def test_counters_and_patched_instructions_are_captured_apart(tmp_path: Path) -> None:
    """The gate's tier takes two runs, and both reports are on record."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})
    site = site_of(tmp_path, fake)

    attempt = capture_case(CASE, TIERS.tier("gate"), site)

    assert fake.names == ["gate-counters", "gate-sass"]
    assert [Path(report).name for report in attempt.reports] == ["gate-counters.ncu-rep", "gate-sass.ncu-rep"]
    assert attempt.failure is None
    assert attempt.settings == "cache control all, clock control none, kernel replay"
    assert attempt.ncu == f"Nsight Compute 2025.3.1 ({fake.path})"


def test_the_reports_of_a_capture_are_read_as_one(tmp_path: Path) -> None:
    """Each launch with the counters of both runs."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})
    site = site_of(tmp_path, fake)
    counters, sass = TIERS.tier("gate").collections("sm_90", site.ncu.version)

    report = captured_report(capture_case(CASE, TIERS.tier("gate"), site), site.ncu)

    assert len(report.launches) == 2
    for launch in report.launches:
        assert set(launch.counters) >= {*counters.metrics, *sass.metrics}


def test_without_a_capture_there_is_no_report(tmp_path: Path) -> None:
    """Rather than an empty one."""
    fake = FakeNcu(tmp_path / "bin", {"*": RECORDED["no driver"][0]})
    site = site_of(tmp_path, fake)

    with pytest.raises(RoofgateError, match="no reports"):
        captured_report(capture_case(CASE, TIERS.tier("gate"), site), site.ncu)


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With failures and their words."""
    plays = {"*": Play(), "gate-sass": RECORDED["metric unknown"][0]}
    site = site_of(tmp_path, FakeNcu(tmp_path / "bin", plays))

    attempt = capture_case(CASE, TIERS.tier("gate"), site)

    assert read_attempt(site.folder / CASE.name / FILE_NAME) == attempt
    assert {rung.name: rung.state for rung in attempt.rungs} == {
        "targeted metrics": RungState.FAILED,
        "counters only": RungState.HELD,
    }
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.UNKNOWN_METRIC
    assert [Path(report).name for report in attempt.reports] == ["gate-counters.ncu-rep"]


def test_the_full_tier_goes_down_rung_by_rung(tmp_path: Path) -> None:
    """Sections are refused, patched instructions hang; hardware counters are left."""
    plays = {"*": Play(), "full-counters": RECORDED["section unknown"][0], "full-sass-metrics": HANG}
    fake = FakeNcu(tmp_path / "bin", plays)

    attempt = capture_case(CASE, TIERS.tier("full"), site_of(tmp_path, fake, timeout_s=TIMEOUT_S))

    assert fake.names == ["full-counters", "full-counters-metrics", "full-sass-metrics"]
    assert [(rung.name, rung.state) for rung in attempt.rungs] == [
        ("full sections", RungState.FAILED),
        ("targeted metrics", RungState.FAILED),
        ("counters only", RungState.HELD),
    ]
    assert [Path(report).name for report in attempt.reports] == ["full-counters-metrics.ncu-rep"]


def test_without_permission_nothing_else_is_tried(tmp_path: Path) -> None:
    """And the record says that the other layers are left."""
    fake = FakeNcu(tmp_path / "bin", {"*": RECORDED["no permission"][0]})

    attempt = capture_case(CASE, TIERS.tier("full"), site_of(tmp_path, fake))

    assert fake.names == ["full-counters"]
    assert attempt.reports == ()
    assert attempt.rungs[-1].name == LAST_RUNG
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.NO_PERMISSION


def test_the_probe_profiles_one_launch_of_a_real_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without kernels would succeed without any permission."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})
    monkeypatch.setattr(capture, "restriction_note", lambda: "")

    assert probe_counters(site_of(tmp_path, fake)) is None

    (call,) = fake.captures
    assert call["argv"][-4:] == ["--case", PROBE_CASE.name, "--launches", "1"]


def test_a_probe_that_is_refused_says_what_the_driver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's parameter stands beside the words of ncu."""
    fake = FakeNcu(tmp_path / "bin", {"*": RECORDED["no permission"][0]})
    monkeypatch.setattr(capture, "restriction_note", lambda: "RmProfilingAdminOnly: 1")

    failure = probe_counters(site_of(tmp_path, fake))

    assert failure is not None
    assert failure.kind is FailureKind.NO_PERMISSION
    assert failure.details[0] == "RmProfilingAdminOnly: 1"


def test_a_case_that_was_not_tried_is_on_record(tmp_path: Path) -> None:
    """With the reason, as one that was."""
    failure = Failure(kind=FailureKind.NCU_MISSING, cause="no ncu", remedy="install it")

    attempt = record_refusal(CASE, "gate", tmp_path, failure)

    assert read_attempt(tmp_path / "hardware" / CASE.name / FILE_NAME) == attempt
    assert attempt.failure == failure
    assert attempt.reports == ()


def test_a_machine_without_ncu_has_no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is a failure like any other, no exception."""
    monkeypatch.setenv(installation.NCU_VARIABLE, str(tmp_path / "nowhere"))

    found = open_site(tmp_path)

    assert isinstance(found, Failure)
    assert found.kind is FailureKind.NCU_MISSING


def test_the_commands_are_those_of_the_top_rung(tmp_path: Path) -> None:
    """One paragraph for each run; nothing is run."""
    fake = FakeNcu(tmp_path / "bin", {"*": Play()})

    text = commands_text(CASE, TIERS.tier("gate"), site_of(tmp_path, fake))

    assert [paragraph.count("--log-file") for paragraph in text.split("\n\n")] == [1, 1]
    assert f"--case {CASE.name} --launches 2" in text
    assert os.sep + "gate-sass.ncu-rep" in text
    assert fake.captures == []


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    """By name, with what to do."""
    path = record_path(tmp_path, '{"schema": 99}')

    with pytest.raises(RoofgateError, match="schema 99, expected 1"):
        read_attempt(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "rungs": 3, "refusal": null}'])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    """Whatever it holds."""
    with pytest.raises(RoofgateError, match="nox -s profile"):
        read_attempt(record_path(tmp_path, text))


def record_path(folder: Path, text: str) -> Path:
    """A file with this text."""
    path = folder / FILE_NAME
    path.write_text(text)
    return path
