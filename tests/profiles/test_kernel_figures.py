"""The table of the attention kernels: each figure from what it is counted of."""

from __future__ import annotations

import pytest

from kernels.build_record import BuildRecord, BuildStatus, read_record
from kernels.errors import EXIT_ERROR, RoofgateError
from profiles.__main__ import main
from profiles.kernel_figures import (
    KernelFigures,
    Request,
    figure_case,
    kernel_figures,
    lane_bytes,
    markdown,
    sectors_over_least,
)
from profiles.simulator.counters import SiteCounters
from profiles.simulator.ptx.syntax import Instruction, Kernel
from profiles.simulator.run import LaunchResult


def instruction(opcode: str) -> Instruction:
    """An instruction without operands."""
    return Instruction(opcode=opcode, operands=(), guard=None, ptx_line=1, location=None, text=f"{opcode};")


def launched(*sites: tuple[str, SiteCounters]) -> LaunchResult:
    """A launch of a kernel of these instructions."""
    code = Kernel(
        name="k",
        parameters=(),
        registers={},
        variables=(),
        instructions=tuple(instruction(opcode) for opcode, _ in sites),
        labels={},
    )
    one = (1, 1, 1)
    return LaunchResult(
        kernel=code,
        grid=one,
        block=one,
        cluster=one,
        dynamic_shared=0,
        executed=1,
        seconds=0.0,
        counters=tuple(counters for _, counters in sites),
    )


@pytest.mark.parametrize(
    ("kernel", "case"),
    [
        ("attention_fwd<bf16, 64, full>", "attention_fwd-bf16-1x2x1024x64-full"),
        ("attention_bwd<fp16, 128, window>", "attention_bwd-fp16-1x2x1024x128-causal"),
        ("attention_fwd<bf16, 256, plan>", "attention_fwd-bf16-1x2x1024x256-sparse50"),
        ("attention_bwd<bf16, 64, any>", "attention_bwd-bf16-1x2x1024x64-causal-softcap30"),
        ("attention_bwd_delta<bf16, 64>", "attention_bwd-bf16-1x2x1024x64-full"),
    ],
)
def test_a_kernel_is_counted_in_a_case_of_its_own(kernel: str, case: str) -> None:
    """The host code chooses the instance by the case."""
    assert figure_case(kernel, 1024).name == case


def test_no_other_kernel_has_a_case() -> None:
    """An instance that nobody foresaw is not counted under another's mask."""
    with pytest.raises(RoofgateError, match="is no attention kernel"):
        figure_case("attention_fwd<bf16, 64, new>", 1024)


@pytest.mark.parametrize(
    ("opcode", "expected"),
    [
        ("ld.global.v4.f32", 16),
        ("ld.global.nc.v2.u32", 8),
        ("st.global.b16", 2),
        ("red.global.add.f32", 4),
        ("ld.global.f16x2", 4),
    ],
)
def test_a_lane_moves_what_the_type_says(opcode: str, expected: int) -> None:
    """Times the vector."""
    assert lane_bytes(instruction(opcode)) == expected


def test_an_access_of_unknown_width_is_an_error() -> None:
    """It would be counted as ideal, or as anything."""
    with pytest.raises(RoofgateError, match="the bytes of a lane are not known"):
        lane_bytes(instruction("ld.global.strange"))


def test_sectors_are_held_to_the_bytes_that_they_hold() -> None:
    """Full lanes of 16 bytes need 16 sectors; one lane needs one; every instruction is judged by itself."""
    ideal = ("ld.global.v4.f32", SiteCounters(executed=1, lanes=32, requests=1, sectors=16))
    one_lane = ("ld.global.f32", SiteCounters(executed=1, lanes=1, requests=1, sectors=1))
    broadcast = ("ld.global.f32", SiteCounters(executed=1, lanes=32, requests=1, sectors=1))
    copy = ("cp.async.cg.shared.global", SiteCounters(executed=1, lanes=32, requests=1, sectors=16, bytes=512))
    strided = ("st.global.f32", SiteCounters(executed=1, lanes=32, requests=1, sectors=32))

    assert sectors_over_least(launched(ideal, one_lane, broadcast, copy)) == 1.0
    assert sectors_over_least(launched(strided)) == 8.0
    assert sectors_over_least(launched(broadcast, strided)) == pytest.approx(33 / 5)
    assert sectors_over_least(launched(("add.f32", SiteCounters(executed=1, lanes=32)))) is None


def test_architectures_with_equal_figures_share_a_row() -> None:
    """A dash stands for what a kernel does not do."""

    def figures(architecture: str, registers: int) -> KernelFigures:
        return KernelFigures(
            kernel="attention_bwd_delta<bf16, 64>",
            architecture=architecture,
            registers=registers,
            spill_bytes=0,
            wavefronts=None,
            sectors=1.0,
            products=None,
            findings=0,
        )

    rows = list(markdown([figures("sm_80", 32), figures("sm_86", 40), figures("sm_89", 40)]))[2:]
    assert rows == [
        "| `attention_bwd_delta<bf16, 64>` | 32 | 0 | - | 1.000 | - | 0 | sm_80 |",
        "| `attention_bwd_delta<bf16, 64>` | 40 | 0 | - | 1.000 | - | 0 | sm_86, sm_89 |",
    ]


@pytest.fixture(scope="module")
def build() -> BuildRecord:
    """The present build, of which at least one CUDA library is there."""
    record = read_record()
    if not any(library.device_code for library in record.libraries if library.status is BuildStatus.BUILT):
        pytest.skip("no CUDA library is built here: the build record says why")
    return record


def test_products_of_whole_tiles_are_those_that_the_pairs_need(build: BuildRecord) -> None:
    """256 queries and keys without a mask: no tensor instruction is wasted, and none is missing."""
    library = next(one for one in build.libraries if one.device_code and one.status is BuildStatus.BUILT)
    request = Request(kernel="attention_?wd<bf16, 64, full>", architecture=library.architecture, seqlen=256)
    figures = kernel_figures(request, build)

    assert [one.kernel for one in figures] == ["attention_bwd<bf16, 64, full>", "attention_fwd<bf16, 64, full>"]
    assert [(one.products, one.wavefronts, one.findings) for one in figures] == [(1.0, 1.0, 0)] * 2


def test_no_kernel_that_matches_is_an_error(build: BuildRecord) -> None:
    """With what would match."""
    with pytest.raises(RoofgateError, match="no built attention kernel matches"):
        kernel_figures(Request(kernel="nothing*"), build)


def test_a_length_below_one_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback."""
    assert main(["figures", "--seqlen", "0"]) == EXIT_ERROR
    assert "expected at least 1" in capsys.readouterr().err
