"""``python -m profiles simulate``: what it prints, and its exit code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.build import cuda_library_name
from kernels.build_record import BuildRecord, DeviceCode
from kernels.errors import EXIT_ERROR, EXIT_PASS, EXIT_REGRESSION, RoofgateError
from profiles.__main__ import main
from profiles.simulator.simulate import Request, simulate

CASE = "attention_fwd-bf16-1x2x130x64-causal"


def edited(record: BuildRecord, folder: Path, edit: Callable[[str], str]) -> BuildRecord:
    """The record with the PTX of the attention kernels of sm_80 changed, and the objects as they were."""
    library = record.library(cuda_library_name("sm_80"))
    codes = tuple(_edited_code(code, folder, edit) for code in library.device_code)
    others = tuple(other for other in record.libraries if other is not library)
    return replace(record, libraries=(replace(library, device_code=codes), *others))


def _edited_code(code: DeviceCode, folder: Path, edit: Callable[[str], str]) -> DeviceCode:
    ptx = Path(code.ptx)
    if not ptx.stem.startswith("attention_fwd") or ".entry" not in ptx.read_text():
        return code  # a source of host code alone has no kernel to change
    (folder / ptx.with_suffix(".o").name).symlink_to(ptx.with_suffix(".o").resolve())
    changed = edit(ptx.read_text())
    assert changed != ptx.read_text()
    (folder / ptx.name).write_text(changed)
    return replace(code, ptx=str(folder / ptx.name))


def test_a_clean_case_prints_its_counts_and_passes(cuda_build: BuildRecord, capsys: pytest.CaptureFixture[str]) -> None:
    """Every seed is judged; the counts are equal for all, so they are printed once."""
    assert simulate(Request(case=CASE, seeds=range(2), threads=2), cuda_build) == EXIT_PASS
    printed = capsys.readouterr().out

    assert f"{CASE} on sm_80, simulated from PTX, races checked" in printed
    assert "attention_fwd<bf16, 64, window>: grid" in printed
    assert printed.count("warp-instructions") == 1
    assert re.search(r"tensor +[\d,]+ +\d+\.\d%", printed)
    assert re.search(r"shared wavefronts/request +1\.00 ", printed)
    assert re.findall(r"seed (\d): right; no findings", printed) == ["0", "1"]


def test_a_missing_barrier_is_shown_with_both_lines_and_how_to_replay(
    cuda_build: BuildRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names the kernel, both CUDA lines with their text, who and where; shown once for all seeds."""
    record = edited(cuda_build, tmp_path, lambda ptx: re.sub(r"bar\.sync[^;]*;", "", ptx))

    assert simulate(Request(case=CASE, seeds=(4, 5)), record) == EXIT_REGRESSION
    printed = capsys.readouterr().out
    block = printed[printed.index("    shared-race: ") :].split("\n\n")[0]
    assert "kernel    attention_fwd<bf16, 64, window>" in block
    assert len(re.findall(r"kernels/csrc/\S+:\d+ \| \S", block)) >= 2
    assert re.search(r"by        block \(\d+, 0, 0\), warp \d, lanes? ", block)
    assert re.search(r"address   shared 0x[0-9a-f]+, \d+ bytes", block)
    assert re.search(r"other     .* by block \(\d+, 0, 0\), warp \d", block)
    assert f"python -m profiles simulate --case {CASE} --architecture sm_80 --seed 4" in block
    blocks = [text for text in printed.split("\n\n") if text.startswith("    ")]
    places = [(text.split(":")[0], *re.findall(r"kernels/csrc/\S+:\d+(?= \|)", text)) for text in blocks]
    assert 1 < len(places) == len(set(places))


def test_a_wrong_answer_fails_without_any_finding(
    cuda_build: BuildRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exponentials of a wrong sign race with nobody; float64 knows."""
    record = edited(cuda_build, tmp_path, lambda ptx: ptx.replace("ex2.approx.ftz.f32", "neg.f32"))

    assert simulate(Request(case=CASE, check_races=False), record) == EXIT_REGRESSION
    assert re.search(r"seed 0: WRONG: .*; no findings", capsys.readouterr().out)


def test_an_unknown_instruction_names_its_lines(cuda_build: BuildRecord, tmp_path: Path) -> None:
    """Never skipped, never guessed: an error with the PTX line and the CUDA line."""
    record = edited(cuda_build, tmp_path, lambda ptx: ptx.replace("ex2.approx.ftz.f32", "fancy.approx.f32"))

    with pytest.raises(RoofgateError, match=r"PTX line \d+ \(.*\.cuh:\d+\).*fancy\.approx\.f32"):
        simulate(Request(case=CASE), record)


def test_kernels_are_chosen_by_pattern(cuda_build: BuildRecord, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs the small launch that the simulated layer counts."""
    request = Request(kernel="ceiling_mma*", architecture="sm_86", check_races=False, threads=2)

    assert simulate(request, cuda_build) == EXIT_PASS
    headings = re.findall(r"^(\S+), 2 iterations .* on sm_86, .* not checked$", capsys.readouterr().out, re.MULTILINE)
    assert headings == ["ceiling_mma_sync<bf16>", "ceiling_mma_sync<fp16>"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "attention-64"], "no case; expected OPERATION"),
        (["--case", "attention_fwd-bf16-1x3kv2x8x64-full"], "no multiple of heads_kv"),
        (["--case", "attention_fwd-fp32-1x1x8x64-full"], "no CUDA kernel takes fp32"),
        (["--case", "attention_fwd-bf16-1x1x8x32-full"], "unsupported head_dim"),
        (["--kernel", "nothing*"], "no kernel matches"),
        (["--case", CASE, "--architecture", "sm_70"], "no library 'cuda_sm_70'"),
    ],
)
@pytest.mark.usefixtures("cuda_build")
def test_mistakes_of_the_user_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback; the message says what would be taken."""
    assert main(["simulate", *arguments]) == EXIT_ERROR
    assert message in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Runnable lines, and what the exit codes mean."""
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    printed = capsys.readouterr().out

    assert f"python -m profiles simulate --case {CASE}" in printed
    assert "Exit code" in printed
