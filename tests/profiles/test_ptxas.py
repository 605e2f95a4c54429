"""Reading the compiler's log: recorded logs of the pinned compiler, and logs made up by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import RoofgateError
from profiles.ptxas import CompilerReport, parse_log

LOGS = Path(__file__).parent / "logs"

SPILLING = "_Z8spillingPfi"
CALLS_SPILLING = "_Z14calls_spillingPfi"
TOO_MANY_BLOCKS = "_Z15too_many_blocksPf"
PLAIN = "_Z5plainPf"
SETMAXNREG = "_Z18ignored_setmaxnregPf"
WGMMA = "_Z16serialised_wgmmaPfmm"


def recorded(name: str, architecture: str) -> Mapping[str, CompilerReport]:
    """The reports in the log of ``cuda/<name>.cu``."""
    return parse_log((LOGS / f"{name}_{architecture}.txt").read_text(), architecture)


@pytest.mark.parametrize(
    ("architecture", "registers", "stack", "stores", "loads"),
    [("sm_80", 32, 416, 808, 832), ("sm_86", 64, 272, 536, 560), ("sm_90a", 32, 416, 804, 824)],
)
def test_a_spilling_kernel_is_caught(architecture: str, registers: int, stack: int, stores: int, loads: int) -> None:
    """Spills, stack and registers are read on each architecture; sm_90a prints no cmem, which must not matter."""
    report = recorded("warnings", architecture)[SPILLING]
    found = (report.registers, report.stack_bytes, report.spill_store_bytes, report.spill_load_bytes)
    assert found == (registers, stack, stores, loads)
    assert [text.partition(" in ")[0] for text in report.warnings if "spilled" in text] == [
        "Registers are spilled to local memory"
    ]


def test_spills_of_a_called_function_count_for_the_kernel() -> None:
    """The kernel's own lines say zero spills; the function that it calls spills 428 + 796 B."""
    report = recorded("warnings", "sm_90a")[CALLS_SPILLING]
    assert (report.spill_store_bytes, report.spill_load_bytes) == (428, 796)
    assert sum("spilled" in text for text in report.warnings) == 1


def test_shared_memory_and_barriers_are_read() -> None:
    """Static shared memory is what the kernel declares, on sm_90a too, where other tools add the driver's reserve."""
    for architecture in ("sm_80", "sm_86", "sm_90a"):
        report = recorded("warnings", architecture)[TOO_MANY_BLOCKS]
        assert (report.shared_bytes, report.barriers) == (4096, 1)


def test_an_ignored_launch_bound_is_the_warning_of_its_kernel_alone() -> None:
    """``.minnctapersm will be ignored`` appears on sm_86, which holds fewer threads, and on that kernel only."""
    assert [
        (architecture, entry)
        for architecture in ("sm_80", "sm_86", "sm_90a")
        for entry, report in recorded("warnings", architecture).items()
        if any(".minnctapersm will be ignored" in text for text in report.warnings)
    ] == [("sm_86", TOO_MANY_BLOCKS)]


def test_a_kernel_without_fault_has_no_warning() -> None:
    """Warnings of other kernels, and the front end's about an unused variable, do not count."""
    assert recorded("warnings", "sm_80")[PLAIN].warnings == ()


def test_a_coded_remark_is_a_warning() -> None:
    """Ptxas calls C75xx mere information; it means lost performance."""
    warnings = recorded("hopper", "sm_90a")[WGMMA].warnings
    assert sorted(text[:7] for text in warnings) == ["(C7508)", "(C7511)", "(C7517)", "(C7517)", "(C7519)"]


def test_a_warning_that_names_no_kernel_counts_for_every_kernel() -> None:
    """C7508 does not say which kernel's setmaxnreg it ignores."""
    for report in recorded("hopper", "sm_90a").values():
        assert any("'setmaxnreg' ignored" in text for text in report.warnings)
    assert len(recorded("hopper", "sm_90a")[SETMAXNREG].warnings) == 1


def test_kernels_of_another_architecture_are_left_out() -> None:
    """A log of several architectures gives each its own figures."""
    both = (LOGS / "warnings_sm_80.txt").read_text() + (LOGS / "warnings_sm_86.txt").read_text()
    assert parse_log(both, "sm_86")[SPILLING].registers == 64
    assert parse_log(both, "sm_75") == {}


def test_a_log_without_resource_usage_is_refused_with_the_remedy() -> None:
    """A kernel without figures is an error, never zeros."""
    with pytest.raises(RoofgateError, match=r"kernel 'k'; compile with -Xptxas -v"):
        parse_log("ptxas info    : Compiling entry function 'k' for 'sm_80'\n", "sm_80")


counts = st.integers(0, 100_000)
reports = st.builds(
    CompilerReport,
    registers=st.integers(1, 255),
    barriers=st.integers(0, 16),
    stack_bytes=counts,
    spill_store_bytes=counts,
    spill_load_bytes=counts,
    shared_bytes=counts,
)


def written(entry: str, report: CompilerReport) -> str:
    """The lines that ptxas 13.0 writes for a kernel with these figures: zeros are left out."""
    optional = [
        (report.stack_bytes, "bytes cumulative stack size"),
        (report.shared_bytes, "bytes smem"),
        (380, "bytes cmem[0]"),
    ]
    used = [f"Used {report.registers} registers", f"used {report.barriers} barriers"]
    used += [f"{count} {what}" for count, what in optional if count]
    return (
        f"ptxas info    : Compiling entry function '{entry}' for 'sm_80'\n"
        f"ptxas info    : Function properties for {entry}\n"
        f"    {report.stack_bytes} bytes stack frame, {report.spill_store_bytes} bytes spill stores, "
        f"{report.spill_load_bytes} bytes spill loads\n"
        f"ptxas info    : {', '.join(used)}\n"
        "ptxas info    : Compile time = 1.636 ms\n"
    )


@given(st.dictionaries(st.from_regex(r"_Z\w{1,30}", fullmatch=True), reports, max_size=5))
def test_what_ptxas_writes_is_read_back(expected: dict[str, CompilerReport]) -> None:
    """Any number of kernels, any figures."""
    log = "ptxas info    : 0 bytes gmem\n" + "".join(written(entry, report) for entry, report in expected.items())
    assert parse_log(log, "sm_80") == expected


@given(st.text(), st.text())
def test_any_text_is_read_or_refused(before: str, after: str) -> None:
    """Garbage in a log never ends in another exception than RoofgateError."""
    try:
        parse_log(f"{before}\nptxas info    : Compiling entry function 'k' for 'sm_80'\n{after}", "sm_80")
    except RoofgateError as error:
        assert "kernel 'k'" in str(error)
