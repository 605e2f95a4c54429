"""Opcode counts and fingerprints, on made-up listings and on code of the pinned compiler."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from kernels.build_record import LibraryBuild
from kernels.errors import RoofgateError
from perf.model import Metric
from profiles.sass import Disassembler, MachineCode, code_fingerprint, count_metrics, parse_listing


def listing(opcodes: list[str], *, version: tuple[int, int] = (8, 0)) -> str:
    """What ``nvdisasm -json`` prints for one function; every field that is not read is left out but one."""
    header = {"SM": {"version": {"major": version[0], "minor": version[1]}}, "Producer": "nvdisasm"}
    function = {"function-name": "k", "sass-instructions": [{"opcode": opcode, "operands": "R1"} for opcode in opcodes]}
    return json.dumps([header, [function]])


def test_opcodes_are_counted_without_modifiers_the_most_frequent_first() -> None:
    """HFMA2.MMA is half-precision arithmetic in spite of its name; only HMMA counts as tensor."""
    counts = parse_listing(listing(["HFMA2.MMA", "HMMA.16816.F32", "LDSM.16.M88.4", "HMMA.16816.F32"]), "sm_80")["k"]
    assert list(counts.items()) == [("HMMA", 2), ("HFMA2", 1), ("LDSM", 1)]
    assert count_metrics(counts)[Metric.SASS_TENSOR] == 2


@pytest.mark.parametrize(
    ("opcode", "metric"),
    [
        ("HMMA", Metric.SASS_TENSOR),
        ("HGMMA", Metric.SASS_TENSOR),
        ("QGMMA", Metric.SASS_TENSOR),
        ("IMMA", Metric.SASS_TENSOR),
        ("LDSM", Metric.SASS_SHARED_MATRIX_LOADS),
        ("LDGSTS", Metric.SASS_ASYNC_COPIES),
        ("UTMALDG", Metric.SASS_ASYNC_COPIES),
        ("MUFU", Metric.SASS_SPECIAL_FUNCTION),
        ("LDL", Metric.SASS_LOCAL_MEMORY),
        ("STL", Metric.SASS_LOCAL_MEMORY),
    ],
)
def test_each_opcode_counts_in_its_class_and_no_other(opcode: str, metric: Metric) -> None:
    """A class that loses an opcode would hide a change."""
    counted = {found for found, value in count_metrics({opcode: 3}).items() if value}
    assert counted == {metric, Metric.SASS_INSTRUCTIONS}


opcodes = st.lists(st.sampled_from(["HMMA.16816.F32", "NOP", "MUFU.EX2", "BRA", "LDL.LU"]))


@given(opcodes, st.integers(0, 9))
def test_padding_does_not_count(body: list[str], padding: int) -> None:
    """How far the code is from the next boundary changes nothing; a NOP between instructions counts."""
    plain = parse_listing(listing([*body, "EXIT"]), "sm_80")["k"]
    assert parse_listing(listing([*body, "EXIT", *["NOP"] * padding]), "sm_80")["k"] == plain
    assert plain == Counter(opcode.split(".")[0] for opcode in [*body, "EXIT"])
    assert count_metrics(plain)[Metric.SASS_INSTRUCTIONS] == len(body) + 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"SM": {}}, []]', listing(["EXIT"])[:-9], "[{}, [{}], 3]"])
def test_another_format_is_refused(text: str) -> None:
    """A disassembler that answers otherwise is an error, never zero instructions."""
    with pytest.raises(ValueError, match="unknown nvdisasm output"):
        parse_listing(text, "sm_80")


def test_code_for_another_architecture_is_refused() -> None:
    """A cubin that was put in the wrong place does not pass for the right one."""
    with pytest.raises(ValueError, match="sm_90, expected sm_80"):
        parse_listing(listing(["EXIT"], version=(9, 0)), "sm_80")
    assert parse_listing(listing(["EXIT"], version=(9, 0)), "sm_90a") == {"k": {"EXIT": 1}}


def only(functions: Any, part: str) -> MachineCode:
    """The one function whose symbol contains ``part``."""
    (code,) = [code for name, code in functions.items() if part in name]
    assert isinstance(code, MachineCode)
    return code


def cubin_of(library: LibraryBuild) -> Path:
    """The cubin of a library of one source."""
    return Path(library.device_code[0].cubin)


def test_each_kind_of_instruction_is_found_in_compiled_code(compile_cuda: Any, disassembler: Disassembler) -> None:
    """One of each, as written in cuda/tensor.cu."""
    code = only(disassembler.read(cubin_of(compile_cuda("tensor", "-lineinfo")), "sm_80"), "attention_fwd")
    counts = count_metrics(code.opcodes)
    assert counts.pop(Metric.SASS_INSTRUCTIONS) == sum(code.opcodes.values()) > 20
    assert counts == {
        Metric.SASS_TENSOR: 1,
        Metric.SASS_SHARED_MATRIX_LOADS: 1,
        Metric.SASS_ASYNC_COPIES: 1,
        Metric.SASS_SPECIAL_FUNCTION: 1,
        Metric.SASS_LOCAL_MEMORY: 0,
    }


@pytest.mark.parametrize("kernel", ["attention_fwd", "scale"])
def test_identical_code_compiled_elsewhere_has_an_equal_fingerprint(
    compile_cuda: Any, disassembler: Disassembler, kernel: str
) -> None:
    """Neither the folder, nor line tables, nor the path hash in an anonymous namespace's symbols matter."""
    here = only(disassembler.read(cubin_of(compile_cuda("tensor", "-lineinfo")), "sm_80"), kernel)
    elsewhere = only(disassembler.read(cubin_of(compile_cuda("tensor")), "sm_80"), kernel)
    assert here == elsewhere


def test_an_edited_kernel_has_another_fingerprint_and_its_neighbour_has_not(
    compile_cuda: Any, disassembler: Disassembler
) -> None:
    """The fingerprint tells which kernel of a file changed."""
    before = disassembler.read(cubin_of(compile_cuda("tensor", "-lineinfo")), "sm_80")
    after = disassembler.read(cubin_of(compile_cuda("tensor", "-DEDITED")), "sm_80")
    assert only(before, "attention_fwd").fingerprint != only(after, "attention_fwd").fingerprint
    assert only(before, "scale").fingerprint == only(after, "scale").fingerprint


def test_another_schedule_of_equal_instructions_is_another_fingerprint(
    compile_cuda: Any, nvdisasm: Path, tmp_path: Path
) -> None:
    """Stall counts are not in the listing, yet they decide the time: bit 105 of an instruction, on sm_80."""
    original = cubin_of(compile_cuda("tensor", "-lineinfo"))
    symbol = next(name for name in Disassembler(nvdisasm, tmp_path).read(original, "sm_80") if "attention_fwd" in name)
    content = bytearray(original.read_bytes())
    section = ELFFile(io.BytesIO(content)).get_section_by_name(f".text.{symbol}")
    content[section["sh_offset"] + 13] ^= 0b10
    edited = tmp_path / "edited.cubin"
    edited.write_bytes(content)
    texts = [
        subprocess.run([nvdisasm, "-json", path], capture_output=True, text=True, check=True).stdout
        for path in (original, edited)
    ]
    assert texts[0] == texts[1]
    assert code_fingerprint(original.read_bytes(), symbol) != code_fingerprint(bytes(content), symbol)


def test_a_second_reading_comes_from_the_cache(
    compile_cuda: Any, nvdisasm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal content is disassembled once, whatever its name; a damaged cache entry is replaced."""
    original = cubin_of(compile_cuda("tensor", "-lineinfo"))
    moved = Path(shutil.copy(original, tmp_path / "moved.cubin"))
    first = Disassembler(nvdisasm, tmp_path / "cache").read(original, "sm_80")
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_text("{")
    assert Disassembler(nvdisasm, tmp_path / "cache").read(original, "sm_80") == first
    monkeypatch.setattr(subprocess, "run", None)
    assert Disassembler(nvdisasm, tmp_path / "cache").read(moved, "sm_80") == first


@pytest.mark.parametrize("content", [b"", b"\x7fELF garbage", b"not ELF at all" * 99])
def test_a_damaged_cubin_is_named(disassembler: Disassembler, tmp_path: Path, content: bytes) -> None:
    """The message gives the file and the way out."""
    cubin = tmp_path / "damaged.cubin"
    cubin.write_bytes(content)
    with pytest.raises(RoofgateError, match=r"damaged\.cubin: not a usable cubin .* nox -s build"):
        disassembler.read(cubin, "sm_80")


def test_a_truncated_or_foreign_cubin_is_named(compile_cuda: Any, disassembler: Disassembler, tmp_path: Path) -> None:
    """Half a cubin, a host program, and a file that is not there."""
    whole = cubin_of(compile_cuda("tensor", "-lineinfo")).read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("host", Path(shutil.which("sh") or "").read_bytes())):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RoofgateError, match=f"{name}: not a usable cubin"):
            disassembler.read(tmp_path / name, "sm_80")
    with pytest.raises(RoofgateError, match="absent: cannot be read"):
        disassembler.read(tmp_path / "absent", "sm_80")


def test_a_function_without_code_has_no_fingerprint(compile_cuda: Any) -> None:
    """An empty digest would make two unknown kernels look identical."""
    with pytest.raises(ValueError, match="no code of function 'absent'"):
        code_fingerprint(cubin_of(compile_cuda("tensor", "-lineinfo")).read_bytes(), "absent")


def test_a_subroutine_counts_for_the_kernel_that_contains_it() -> None:
    """Older disassemblers list it apart, as ``$kernel$callee``, though it lies in the kernel's own code."""
    header, functions = json.loads(listing(["EXIT"]))
    subroutine = {"function-name": "$k$callee", "sass-instructions": [{"opcode": "STL", "operands": ""}] * 2}

    assert parse_listing(json.dumps([header, [*functions, subroutine]]), "sm_80") == {"k": {"STL": 2, "EXIT": 1}}
