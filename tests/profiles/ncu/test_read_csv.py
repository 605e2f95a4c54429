"""CSV exports: what they hold is read to the last digit, what is damaged is refused, nothing missing is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ncu.model import Report, Rule
from profiles.ncu.read_csv import read_csv
from tests.profiles.ncu.csv_exports import (
    DETAILS,
    IDENTITY,
    KERNEL,
    NVTX,
    details_page,
    identity,
    line,
    raw_page,
    shape,
)

METRICS = {
    "device__attribute_display_name": ("", ("NVIDIA H100", "NVIDIA H100")),
    "dram__bytes.sum": ("Mbyte", ("99.63", "100.25")),
    "gpu__time_duration.sum": ("nsecond", ("4242", "4343")),
    "smsp__inst_executed.sum": ("inst", ("1345664", "1345664")),
}

WORDS = {"launch__func_cache_config": ("", ("CachePreferNone", "CachePreferNone"))}


def read(text: str) -> Report:
    """The report in an export of this text."""
    return read_csv(text.encode(), "a.csv")


def without_line(text: str, number: int) -> str:
    """The text without one of its lines."""
    lines = text.splitlines(keepends=True)
    return "".join(lines[:number] + lines[number + 1 :])


def test_a_raw_page_gives_launches_with_counters_in_base_units() -> None:
    """A raw page gives launches with counters in base units."""
    report = read(raw_page(METRICS))
    first, second = report.launches
    assert report.reader == "CSV, raw page"
    assert (first.number, second.number) == (0, 1)
    assert (first.kernel, first.function) == (KERNEL, "gemm")
    assert (first.block, first.grid) == ((128, 1, 1), (24, 4, 2))
    assert (first.device, first.compute_capability) == ("NVIDIA H100", "9.0")
    assert first.number_of("dram__bytes.sum") == 99.63e6
    assert second.number_of("gpu__time_duration.sum") == 4343e-9
    assert first.counters["gpu__time_duration.sum"].unit == "s"
    assert first.number_of("smsp__inst_executed.sum") == 1345664.0
    assert any("scaled" in note for note in report.notes)


@pytest.mark.parametrize("mark", ["n/a", "no data", "", "nan", "-nan", "inf", "NaN"])
def test_a_value_that_is_not_there_is_missing_and_never_a_number(mark: str) -> None:
    """A value that is not there is missing and never a number."""
    launch = read(raw_page({"a__b.sum": ("", (mark,)), "c__d.sum": ("", ("0",))})).launches[0]
    assert launch.missing == {"a__b.sum": mark}
    assert "a__b.sum" not in launch.counters
    assert launch.number_of("c__d.sum") == 0.0


def test_an_identifier_too_long_for_a_float_keeps_every_digit() -> None:
    """An identifier too long for a float keeps every digit."""
    launch = read(raw_page({"device__attribute_id": ("", ("9007199254740993",))})).launches[0]
    assert launch.counters["device__attribute_id"].value == "9007199254740993"


def test_the_parts_of_an_instanced_metric_do_not_hide_its_total() -> None:
    """The parts of an instanced metric do not hide its total."""
    report = read(raw_page({"sass__inst_executed_per_opcode": ("", ("638208 (110592; 63744)",))}))
    assert report.launches[0].number_of("sass__inst_executed_per_opcode") == 638208.0
    assert any("instanced" in note for note in report.notes)


def test_nvtx_columns_give_ranges() -> None:
    """NVTX columns give ranges."""
    header = line((*IDENTITY[:4], *NVTX, *IDENTITY[4:], "Block Size", "Grid Size", "Device", "CC", "a__b.sum"))
    start = identity(0)
    ranges = '4711  "<default domain>:roofgate:none:none:none:none:none:none" '
    row = line((*start[:4], ranges, "", *start[4:], *shape(), "5"))
    launch = read("\n".join([header, line(("",) * 14), row]) + "\n").launches[0]
    assert launch.ranges == ("roofgate",)
    assert set(launch.counters) == {"a__b.sum"}


def test_a_details_page_gives_metrics_by_name_and_rules() -> None:
    """A details page gives metrics by name and rules."""
    report = read(
        details_page(
            [
                ("GPU Speed Of Light Throughput", "Duration", "us", "12.5"),
                ("GPU Speed Of Light Throughput", "SM Frequency (gpc__cycles_elapsed.avg.per_second)", "Ghz", "1.25"),
                ("Memory Workload Analysis", "Memory Throughput", "Gbyte/s", "657.28"),
                ("Scheduler Statistics", "No Eligible", "%", "61.96"),
                ("Command line profiler metrics", "flop_count_sp.sum", "", "n/a"),
            ],
            [("SpeedOfLight", "SOLBottleneck", "OPT", 'Low, "very" low')],
        )
    )
    launch = report.launches[0]
    assert report.reader == "CSV, details page"
    assert launch.number_of("gpu__time_duration.sum") == 12.5e-6
    assert launch.number_of("gpc__cycles_elapsed.avg.per_second") == 1.25e9
    assert launch.number_of("dram__bytes.sum.per_second") == 657.28e9
    assert launch.number_of("Scheduler Statistics: No Eligible") == 61.96
    assert launch.missing == {"flop_count_sp.sum": "n/a"}
    assert launch.rules == (Rule("SpeedOfLight", "SOLBottleneck", "OPT", 'Low, "very" low'),)


def test_a_metric_that_stands_twice_with_two_values_has_none() -> None:
    """A metric that stands twice with two values has none."""
    rows = [
        ("A", "a__b.sum", "", "1.00"),
        ("B", "a__b.sum", "", "1.00"),
        ("A", "c__d.sum", "", "1"),
        ("B", "c__d.sum", "", "2"),
    ]
    launch = read(details_page(rows)).launches[0]
    assert launch.number_of("a__b.sum") == 1.0
    assert launch.missing == {"c__d.sum": "two different values"}


def test_the_header_of_2021_without_shapes_is_read() -> None:
    """The header of 2021 without shapes is read."""
    header = line((*IDENTITY[:5], "Kernel Time", *IDENTITY[5:], *DETAILS))
    start = (*identity(0)[:5], "2023-May-09 10:00:00", "1", "7")
    launch = read(f"{header}\n{line((*start, 'Occupancy', 'Achieved Occupancy', '%', '25.30'))},\n").launches[0]
    assert launch.number_of("sm__warps_active.avg.pct_of_peak_sustained_active") == 25.3
    assert (launch.grid, launch.block, launch.compute_capability) == (None, None, "")


def test_messages_and_the_programs_output_between_the_lines_are_no_records() -> None:
    """Messages and the program's output between the lines are no records."""
    lines = raw_page(METRICS).splitlines()
    mixed = [
        "==PROF== Connected to process 1",
        "loss 1,2,3",
        lines[0],
        lines[1],
        "==PROF== k: 0%..",
        lines[2],
        "done",
        "",
    ]
    mixed += [lines[3], "==WARNING== something"]
    report = read("\n".join(mixed) + "\n")
    assert report.launches == read(raw_page(METRICS)).launches
    assert "==WARNING== something" in report.notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_export_redirected_by_a_windows_shell_is_read(encoding: str) -> None:
    """An export redirected by a windows shell is read."""
    text = raw_page(METRICS).replace("\n", "\r\n")
    assert read_csv(text.encode(encoding), "a.csv").launches == read(raw_page(METRICS)).launches


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("==ERROR== The application returned an error code (2).\n", "failed capture.*error code"),
        (raw_page(METRICS).splitlines()[0] + "\n==WARNING== No kernels were profiled.\n", "no launch.*No kernels"),
        ("a,b\n1,2\n", "no table of Nsight Compute"),
        ('"Kernel Name","k"\n"Address","Source"\n"0x0","MOV"\n', "source page"),
        ("\n".join(raw_page(METRICS).splitlines()[:2]) + "\n", "expected the row of units and then a launch"),
        (raw_page(METRICS).replace("(24, 4, 2)", "(24, 4)", 1), "Grid Size is"),
        (raw_page(METRICS).replace('"9.0"', '"90"', 1), "CC is '90'"),
        (raw_page(METRICS).replace('"99.63"', '"99,63"'), "is no number of a locale"),
        (raw_page(METRICS).replace('"99.63",', ""), "14 fields, expected 15"),
        (raw_page(METRICS).replace('"99.63"', "99.63"), "not one whole record"),
        (raw_page(METRICS).replace('\n"1",', '\n"0",'), "launch 0 after launch 0"),
        (raw_page(METRICS).replace('\n"1",', '\n"x",'), "the launch's ID is 'x'"),
        (raw_page(METRICS).replace('\n"1",', '\nhello"1",'), "mixed with other output"),
        (without_line(raw_page(METRICS), 1), "expected the row of units"),
        (without_line(raw_page(METRICS), 1).replace('\n"0",', '\n"",'), "expected the row of units"),
        (without_line(raw_page(WORDS), 1).replace('\n"0",', '\n"",'), "expected the row of units"),
        (details_page([("A", "", "", "1")]), "expected a metric or a rule"),
        (details_page([], [("A", "", "OPT", "text")]), "expected a metric or a rule"),
        (raw_page(METRICS)[:-9], "not one whole record|14 fields"),
        (raw_page(METRICS).replace("dram__bytes.sum", "smsp__inst_executed.sum"), "stands twice"),
        (details_page([("A", "a__b.sum", "", "1")]).replace(',"a__b.sum"', ""), "fields, expected"),
        (
            details_page([("A", "a__b.sum", "", "1")]).replace("Metric Unit", "Metric Unix"),
            "lacks the columns Metric Unit",
        ),
        (details_page([("A", "a__b.sum", "", "1")]).replace("Rule Type", "Rule"), "lacks the columns Rule Type"),
    ],
)
def test_what_is_no_export_or_a_damaged_one_is_refused(text: str, said: str) -> None:
    """What is no export or a damaged one is refused."""
    with pytest.raises(RoofgateError, match=said):
        read(text)


def test_a_summary_is_refused_since_its_launches_are_merged() -> None:
    """A summary is refused since its launches are merged."""
    header = line(("Process ID", "Kernel Name", "Invocations", "Section Name", "Metric Name", "Metric Unit", "Average"))
    with pytest.raises(RoofgateError, match="print-summary"):
        read(f"{header}\n{line(('1', 'k', '1', 'S', 'M', '', '1'))}\n")


EXPORT = raw_page(METRICS).encode()
POSITIONS = st.integers(0, len(EXPORT) - 1)
EDITS = st.one_of(
    st.tuples(POSITIONS, st.just(1), st.binary(max_size=1)),  # one byte replaced or dropped
    st.tuples(
        POSITIONS, st.just(0), st.sampled_from([b'"', b",", b"\n", b".", b"==ERROR== x\n"])
    ),  # something inserted
    st.tuples(POSITIONS, st.just(len(EXPORT)), st.just(b"")),  # cut off
    st.tuples(POSITIONS, st.integers(1, 100), st.just(b"")),  # a stretch lost, shorter than a launch
)


@given(EDITS)
def test_one_damage_is_refused_or_changes_one_cell_or_one_column(edit: tuple[int, int, bytes]) -> None:
    """Structure that is lost never moves a value under another name: all other cells stay what they were."""
    position, length, inserted = edit
    damaged = EXPORT[:position] + inserted + EXPORT[position + length :]
    try:
        launches = read_csv(damaged, "a.csv").launches
    except RoofgateError:
        return
    whole = read_csv(EXPORT, "a.csv").launches
    changed = {
        name
        for launch, original in zip(launches, whole, strict=False)
        for name in {*launch.counters, *original.counters}
        if launch.counters.get(name) != original.counters.get(name)
    }
    assert len(changed & set(METRICS)) <= 1


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_message(content: bytes) -> None:
    """Any bytes are refused with a message."""
    with pytest.raises(RoofgateError, match=r"a\.csv"):
        read_csv(content, "a.csv")


@given(st.text(alphabet='"\n,.=1 aKernelNameID', max_size=200))
def test_any_text_below_a_header_is_refused_or_read(text: str) -> None:
    """Any text below a header is refused or read."""
    header = EXPORT.decode().partition("\n")[0]
    try:
        read(f"{header}\n{text}")
    except RoofgateError as refusal:
        assert "a.csv" in str(refusal)
