"""The command line holds every switch that matters, only options that there are, and can be pasted."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from profiles.ncu.command_line import (
    CacheControl,
    CaptureFiles,
    ClockControl,
    Collection,
    NsightCompute,
    ReplayMode,
    Settings,
    capture_command,
    environment_changes,
    parse_options,
    parse_version,
    printable_command,
)
from tests.profiles.ncu.fake_ncu import HELP, FakeNcu, Play

FILES = CaptureFiles(report=Path("out/a b.ncu-rep"), log=Path("out/a b.log"), temporary=Path("/tmp/own"))  # noqa: S108
COLLECTION = Collection(name="gate", metrics=("smsp__inst_executed.sum", "dram__bytes.sum"))
WORKLOAD = ("python", "-m", "profiles.ncu.workload", "--case", "x")
OLD = NsightCompute(path="ncu", version=(2022, 4, 0), options=parse_options("--clock-control arg --nvtx"))
NEW = NsightCompute(path="ncu", version=(2025, 3, 1), options=parse_options(HELP))


def command(
    ncu: NsightCompute = NEW, settings: Settings | None = None, collection: Collection = COLLECTION
) -> list[str]:
    """The argv of a capture."""
    return list(capture_command(ncu, collection, settings or Settings(), FILES, WORKLOAD))


def value(argv: list[str], option: str) -> str:
    """What an option is given."""
    assert argv.count(option) == 1
    return argv[argv.index(option) + 1]


def test_every_switch_that_changes_figures_is_passed() -> None:
    """Defaults differ from version to version, and a configuration file may change them."""
    argv = command()

    assert value(argv, "--config-file") == "off"
    assert value(argv, "--cache-control") == "all"
    assert value(argv, "--replay-mode") == "kernel"
    assert value(argv, "--target-processes") == "all"
    assert value(argv, "--metrics") == "smsp__inst_executed.sum,dram__bytes.sum"


def test_by_default_the_card_is_left_alone() -> None:
    """Neither clocks nor the boost state of the tensor cores are set; who asks for it gets both."""
    chosen = command(settings=Settings(clocks=ClockControl.BASE))

    assert value(command(), "--clock-control") == "none"
    assert value(command(), "--pipeline-boost-state") == "dynamic"
    assert value(chosen, "--clock-control") == "base"
    assert value(chosen, "--pipeline-boost-state") == "stable"


def test_other_settings_are_passed_on() -> None:
    """Cache and replay."""
    argv = command(settings=Settings(cache=CacheControl.KEEP, replay=ReplayMode.APPLICATION))

    assert value(argv, "--cache-control") == "none"
    assert value(argv, "--replay-mode") == "application"


def test_the_range_is_a_push_pop_range_of_the_default_domain() -> None:
    """Which ncu is told by the slash."""
    assert value(command(), "--nvtx-include") == "roofgate/"
    assert "--nvtx" in command()


def test_options_that_a_version_lacks_are_not_passed() -> None:
    """An unknown option ends ncu before the program begins."""
    known = {"--pipeline-boost-state", "--check-exit-code"}

    assert not known & set(command(OLD))
    assert known <= set(command(NEW))


def test_the_workload_comes_last_and_whole() -> None:
    """What follows the program's name is its own."""
    assert command()[-len(WORKLOAD) :] == list(WORKLOAD)


def test_sections_are_passed_one_by_one() -> None:
    """Beside metrics or alone."""
    argv = command(collection=Collection(name="full", sections=("SpeedOfLight", "Occupancy")))

    assert [argv[index + 1] for index, word in enumerate(argv) if word == "--section"] == ["SpeedOfLight", "Occupancy"]
    assert "--metrics" not in argv


def test_an_empty_collection_is_refused() -> None:
    """Without metrics and sections ncu would collect its default set."""
    with pytest.raises(ValueError, match="is empty"):
        Collection(name="nothing")


def test_the_environment_has_a_locale_and_a_folder_of_its_own() -> None:
    """Numbers are written as the locale says; the lock file lies in TMPDIR."""
    assert environment_changes(FILES) == {
        "LC_ALL": "C",
        "TMPDIR": "/tmp/own",  # noqa: S108
        "NV_COMPUTE_PROFILER_DISABLE_STOCK_FILE_DEPLOYMENT": "1",
    }


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVIDIA (R) Nsight Compute Command Line Profiler\nVersion 2025.3.1.0 (build 36398880) (public-release)",
            (2025, 3, 1),
        ),
        ("Version 2022.4.0.0 (build 32060144)", (2022, 4, 0)),
        ("bash: ncu: not found", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int, int] | None) -> None:
    """As every release writes them."""
    assert parse_version(text) == version


def test_options_are_read_from_the_help() -> None:
    """Long ones, also beside a short one; words with dashes are none."""
    assert parse_options("  -o [ --export ] arg   x\n  --nvtx   a--b\n  --import-source arg") == {
        "--export",
        "--nvtx",
        "--import-source",
    }


def test_the_printed_command_can_be_pasted(tmp_path: Path) -> None:
    """A shell runs the same argv as the capture, in the same environment, and then reads the report."""
    fake = FakeNcu(tmp_path / "a b", {"*": Play()})
    files = CaptureFiles(
        report=tmp_path / "it's" / "gate.ncu-rep", log=tmp_path / "it's" / "gate.log", temporary=tmp_path / "own"
    )
    workload = (*WORKLOAD, "--launches", "2", "$HOME; `false`")

    text = printable_command(fake.installed, COLLECTION, Settings(), files, workload)
    done = subprocess.run(["sh", "-ec", text], capture_output=True, text=True, check=True, timeout=60)

    (call,) = fake.captures
    assert tuple(call["argv"]) == capture_command(fake.installed, COLLECTION, Settings(), files, workload)
    assert environment_changes(files).items() <= call["environment"].items()
    assert len(done.stdout.splitlines()) == 4  # names, units and two launches
    assert shlex.split(text.splitlines()[0])[:2] == ["mkdir", "-p"]
