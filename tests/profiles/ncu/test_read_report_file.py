"""Report files: what NVIDIA's package says is kept to the last digit; its crashes and silences are clear errors."""

from __future__ import annotations

import shutil
import time
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ncu import read_report_file
from profiles.ncu.model import Report, Rule
from profiles.ncu.read import read_report
from profiles.ncu.read_frame import count_results
from tests.profiles.ncu.report_files import install_package, integer, launch, number, report, word

SIZES = {"grid": (24, 4, 2), "block": (128, 1, 1)}
DIMENSIONS = {
    f"launch__{what}_dim_{axis}": number(size)
    for what, sizes in SIZES.items()
    for axis, size in zip("xyz", sizes, strict=True)
}
WHOLE = launch(
    {
        **DIMENSIONS,
        "device__attribute_display_name": word("NVIDIA H100"),
        "device__attribute_compute_capability_major": integer(9),
        "device__attribute_compute_capability_minor": integer(0),
        "device__attribute_id": integer(2**53 + 1),
        "launch__function_pcs": number(4096.0),
        "gpu__time_duration.sum": number(4243.0, "ns"),
        "dram__cycles_elapsed.avg.per_second": number(1.5e9, "hz"),
        "smsp__inst_executed.sum": number(1345664.0, "inst"),
        "sass__inst_executed_per_opcode": number(30.0, "", [("HMMA", 20.0), ("LDSM", 10.0), ("NaN", float("nan"))]),
        "inst_executed": integer(9, [(4096, 3), (4112, 4), (4128, 2)]),
        "gpu__time_active.sum": number(4243.0, ""),
        "broken__a.sum": number(float("nan"), "byte"),
        "broken__b.sum": number(float("inf"), "byte"),
        "broken__c.sum": {"kind": 4, "value": 0.0, "has_value": False},
        "broken__d": {"kind": 0, "value": None},
        "group:memory__chart": word("a,b"),
    },
    lines={"4096": 142, "4112": 142},
    domains=[["<default domain>", ["roofgate"]], ["other", ["inner"]]],
    rules=[{"section_identifier": "Occupancy", "rule_identifier": "Limit",
            "rule_message": {"type": 2, "message": "See @section:LaunchStats:Launch Statistics@."}}],
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the stand-in for the package."""
    return install_package(tmp_path_factory.mktemp("site"))


def read(folder: Path, content: bytes, site: Path) -> Report:
    """The report in a file of this content."""
    path = folder / "a.ncu-rep"
    path.write_bytes(content)
    return read_report(path, site=site)


def test_a_launch_is_what_the_package_says_in_base_units(tmp_path: Path, site: Path) -> None:
    """A launch is what the package says in base units."""
    found = read(tmp_path, report([WHOLE, WHOLE]), site)
    first = found.launches[1]
    assert found.reader == "ncu-report 2099.1.0"
    assert (first.number, first.function, first.kernel) == (1, "gemm", "void gemm<4>(T1::Params)")
    assert (first.grid, first.block) == ((24, 4, 2), (128, 1, 1))
    assert (first.device, first.compute_capability) == ("NVIDIA H100", "9.0")
    assert first.number_of("gpu__time_duration.sum") == 4243e-9
    assert first.counters["dram__cycles_elapsed.avg.per_second"].unit == "Hz"
    assert first.number_of("smsp__inst_executed.sum") == 1345664.0
    assert first.counters["device__attribute_id"].value == "9007199254740993"
    assert first.ranges == ("roofgate", "other@inner")
    assert first.rules == (Rule("Occupancy", "Limit", "OPT", "See Launch Statistics."),)


def test_instances_are_named_by_opcode_and_by_source_line(tmp_path: Path, site: Path) -> None:
    """Instances are named by opcode and by source line."""
    counters = read(tmp_path, report([WHOLE]), site).launches[0].counters
    assert counters["sass__inst_executed_per_opcode"].instances == {"HMMA": 20.0, "LDSM": 10.0}
    assert counters["inst_executed"].instances == {"kernel.cu:142": 7.0, "+0x0020": 2.0}


def test_a_value_that_is_not_there_is_missing_and_never_a_number(tmp_path: Path, site: Path) -> None:
    """A value that is not there is missing and never a number."""
    found = read(tmp_path, report([WHOLE]), site).launches[0]
    assert found.missing == {
        "gpu__time_active.sum": "no unit",
        "broken__a.sum": "nan",
        "broken__b.sum": "inf",
        "broken__c.sum": "no value",
        "broken__d": "no value",
    }
    assert not set(found.missing) & set(found.counters)
    assert "group:memory__chart" not in found.counters


def with_shorter_message(content: bytes) -> bytes:
    """The report with its last message announced 40 bytes shorter: what follows it is no message."""
    start = content.index(b"\x1f") - 4
    size = int.from_bytes(content[start : start + 4], "little")
    rest = b"\x50\0\0\0" + content[start + 4 + size - 40 + 4 :]  # announces more than is left of the block
    return (
        content[:start]
        + (size - 40).to_bytes(4, "little")
        + content[start + 4 : start + 4 + size - 40]
        + rest
        + b"x" * 99
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; the capture did not finish"),
        (b"garbage of any kind", "does not begin with NVR"),
        (report([WHOLE])[:-1], "cut off or damaged"),
        (report([WHOLE])[:40], "cut off or damaged"),
        (report([WHOLE]) + b"\0", "cut off or damaged"),
        (with_shorter_message(report([WHOLE])), "a message ends at byte"),
        (report([]), "holds no launch"),
        (report([WHOLE | {"lost": True}]), "reads nothing from it.*pip install --upgrade ncu-report"),
        (report([WHOLE, WHOLE | {"lost": True}]), "reads 1 of the 2 launches"),
        (report([WHOLE | {"lost": True}], version=8), "reads nothing from it"),
        (report([WHOLE | {"crash": True}]), r"the reader crashed \(Segmentation fault\)"),
        (report([WHOLE | {"fail": True}]), "ncu-report failed .RuntimeError: no such block"),
    ],
)
def test_every_way_to_be_broken_is_told(tmp_path: Path, site: Path, content: bytes, said: str) -> None:
    """Every way to be broken is told."""
    with pytest.raises(RoofgateError, match=said):
        read(tmp_path, content, site)


def test_a_reader_that_hangs_is_stopped(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that hangs is stopped."""
    monkeypatch.setattr(read_report_file, "TIMEOUT", 1.0)
    start = time.perf_counter()
    with pytest.raises(RoofgateError, match="no answer within 1 s"):
        read(tmp_path, report([WHOLE | {"hang": True}]), site)
    assert time.perf_counter() - start < 20


def test_the_package_of_an_installed_ncu_says_no_version(tmp_path: Path) -> None:
    """The package of an installed ncu says no version."""
    package = install_package(tmp_path / "site")
    shutil.rmtree(package / "ncu_report-2099.1.0.dist-info")
    assert read(tmp_path, report([WHOLE]), package).reader in (
        "ncu-report of an installed Nsight Compute",
        f"ncu-report {installed_version()}",
    )


def installed_version() -> str:
    """Of the real package, if the environment has it."""
    try:
        return metadata.version("ncu-report")
    except metadata.PackageNotFoundError:
        return ""


def test_a_file_of_a_newer_version_is_left_to_the_package(tmp_path: Path, site: Path) -> None:
    """A file of a newer version is left to the package."""
    assert len(read(tmp_path, report([WHOLE], version=8), site).launches) == 1


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A file that is not there is told."""
    with pytest.raises(RoofgateError, match="cannot be read"):
        read_report(tmp_path / "a.ncu-rep")


FRAME = report([WHOLE, WHOLE])


@given(st.integers(0, len(FRAME) - 1))
def test_no_cut_off_report_passes_as_whole(length: int) -> None:
    """A report that is cut between two blocks has fewer results; any other cut is refused."""
    try:
        results = count_results(FRAME[:length], "a.ncu-rep")
    except RoofgateError:
        return
    assert results in (0, 1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"\x0a\x03abc\x0a\x03def", ""),
        (b"\x0a\x03abc\x1a\x03def", "holds something else"),
        (b"\x0a\x03abc\x08\x03", "holds something else"),
        (b"\x0a\x08abc\x0a\x03def", "holds what cannot be a name"),
        (b"\x0a\x02abc\x0a\x03def", "kind|ends inside|something else"),
        (b"\x0a\x03ab\xff", "holds what cannot be a name"),
    ],
)
def test_a_lost_name_is_refused_since_it_would_move_values_under_other_names(table: bytes, said: str) -> None:
    """Metrics are named by their place in the table of strings."""
    content = report([WHOLE], table=table)
    if not said:
        assert count_results(content, "a.ncu-rep") == 1
        return
    with pytest.raises(RoofgateError, match=said):
        count_results(content, "a.ncu-rep")


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic_end_in_a_count_or_a_message(content: bytes) -> None:
    """Any bytes behind the magic end in a count or a message."""
    try:
        results = count_results(b"NVR\0" + content, "a.ncu-rep")
    except RoofgateError as refusal:
        assert "a.ncu-rep" in str(refusal)
    else:
        assert results is None or results >= 0
