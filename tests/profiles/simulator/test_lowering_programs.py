"""From PTX text to the program file: what every line of it says, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernels.build_record import BuildStatus, read_record
from kernels.errors import RoofgateError
from profiles.simulator.lowering import program_cache
from profiles.simulator.lowering.context import LoweringError, lowers
from profiles.simulator.lowering.control_flow import basic_blocks
from profiles.simulator.lowering.lower import lower_kernel
from profiles.simulator.lowering.program import program_text
from profiles.simulator.lowering.program_cache import cached_program
from profiles.simulator.ptx import kernel_names, parse_module

HEADER = ".version 8.0\n.target sm_90a\n.address_size 64\n"
REGISTERS = ".reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<9>; .reg .f32 %f<4>; .reg .b64 %rd<9>; .reg .b128 %q<2>;\n"


def module_text(body: str, variables: str = "", own: str = "", directives: str = "") -> str:
    """A module whose kernel ``k`` has the given body."""
    parameters = "(.param .u64 out, .param .u32 n)"
    return f"{HEADER}{variables}\n.visible .entry k{parameters} {directives}\n{{\n{REGISTERS}{own}\n{body}\n}}\n"


def lowered(body: str, variables: str = "", own: str = "", directives: str = "") -> list[str]:
    """Lines of the program of a kernel."""
    module = parse_module(module_text(body, variables, own, directives))
    return program_text(lower_kernel(module, "k")).splitlines()


def constants(lines: list[str]) -> dict[str, str]:
    """What each constant's place holds, by its offset."""
    found = (line.split(maxsplit=3) for line in lines if line.startswith("constant "))
    return {offset: f"{width} {what}" for _, offset, width, what in found}


def sources(lines: list[str]) -> list[str]:
    """Of each ``mov`` the constant that it reads."""
    known = constants(lines)
    return [known[line.split()[-1]] for line in lines if line.startswith("op mov")]


def test_the_head_says_what_the_kernel_needs() -> None:
    """Sizes and launch bounds, of a kernel that states all of them."""
    lines = lowered(
        "ret;",
        own=".local .align 16 .b8 depot[48]; .shared .align 8 .b8 own[24];",
        directives=".maxntid 64, 2, 1 .reqnctapercluster 2, 1, 1",
    )
    assert lines == [
        "roofgate-program 1",
        "kernel k",
        "parameters 12",
        "shared 24 16",
        "local 48",
        "registers 0",
        "cluster 2 1 1",
        "threads 128 0 0 0",
        "op exit - 0",
        "end",
    ]


def test_a_required_block_is_stated_apart_from_the_largest_one() -> None:
    """``.reqntid`` gives all three extents; missing ones are 1."""
    assert "threads 0 64 1 1" in lowered("ret;", directives=".reqntid 64")


def test_shared_variables_lie_in_the_order_of_their_declaration() -> None:
    """At their alignment, those of the module that the kernel names first; the dynamic array behind all."""
    lines = lowered(
        "mov.u32 %r1, first; mov.u32 %r2, own; mov.u32 %r3, dynamic; mov.u32 %r4, dynamic+4; ret;",
        variables=".shared .align 16 .b8 unused[64]; .shared .align 16 .b8 first[20];\n"
        ".extern .shared .align 128 .b8 dynamic[];",
        own=".shared .align 8 .b8 own[10];",
    )
    assert sources(lines) == ["4 value 0", "4 value 18", "4 value 80", "4 value 84"]
    assert "shared 34 128" in lines


def test_symbols_of_other_spaces_are_offsets_or_addresses() -> None:
    """Parameters and local variables are offsets; global ones are addresses that only the run-time knows."""
    lines = lowered(
        "mov.b64 %rd1, n; mov.u64 %rd2, b; mov.u64 %rd3, pointer+8; ret;",
        variables=".global .align 8 .u64 pointer = table;\n.global .align 4 .u32 table[2] = {1, 258};\n"
        ".global .u32 not_reached;",
        own=".local .align 4 .b8 a[4]; .local .align 16 .b8 b[4];",
    )
    assert sources(lines) == ["8 value 8", "8 value 10", "8 address pointer 8"]
    variables = [line for line in lines if line.startswith(("variable", "relocation"))]
    assert [line for line in variables if "table" in line] == [
        "variable table global 8 4 0100000002010000",
        "relocation pointer 0 table 0",
    ]
    assert not any("not_reached" in line for line in variables)


def test_constants_are_made_once_for_each_width_and_value() -> None:
    """Two of 32 bits here, whatever they are used as, and one of 64 bits."""
    lines = lowered(
        "mov.u32 %r1, 7; mov.b32 %r2, 0x7; mov.f32 %f1, 0f3F800000; mov.u64 %rd1, 7; mov.u32 %r3, %tid.x; ret;"
    )
    assert sources(lines) == ["4 value 7", "4 value 7", "4 value 3f800000", "8 value 7", "4 special tid.x"]
    assert len(constants(lines)) == 4


def test_guards_and_labels() -> None:
    """A guard is the place of its predicate; a label is the number of the instruction behind it, or of all."""
    lines = lowered("setp.eq.s32 %p1, %r1, 0; @%p1 bra MIDDLE; @!%p1 bra END; MIDDLE: mov.u32 %r2, %r1; END:")
    operations = [line.split()[1:] for line in lines if line.startswith("op ")]
    predicate = operations[0][3]
    assert operations[1] == ["bra", predicate, "1", "3"]
    assert operations[2] == ["bra", f"!{predicate}", "1", "4"]


def test_a_guarded_write_leaves_the_old_value_in_its_place() -> None:
    """``%r1`` is needed by the lanes without ``%p1`` after all, so ``%r2`` may not take its place in between."""
    lines = lowered("mov.u32 %r1, 1; mov.u32 %r2, 2; mov.u32 %r3, %r2; @%p1 mov.u32 %r1, %r3; mov.u32 %r4, %r1; ret;")
    places = [line.split()[4] for line in lines if line.startswith("op mov")]
    assert places[0] == places[3]
    assert places[0] not in places[1:3]


def test_blocks_end_at_jumps_and_begin_at_labels() -> None:
    """A jump under a guard may go on behind it, a table may lead to each of its labels, an exit leads nowhere."""
    body = """@%p1 bra B;
    A: brx.idx %r1, TABLE; TABLE: .branchtargets B, C;
    B: mov.u32 %r1, 1;
    C: @%p2 exit;
    bra.uni A;
    D: ret;"""
    blocks = basic_blocks(parse_module(module_text(body)).kernels["k"])
    assert [(block.first, block.end, set(block.successors)) for block in blocks] == [
        (0, 1, {1, 2}),
        (1, 2, {2, 3}),
        (2, 3, {3}),
        (3, 4, {4}),
        (4, 5, {1}),
        (5, 6, set()),
    ]


def test_the_clock_counts_instructions() -> None:
    """It changes while a warp runs, so it is an operation and no constant."""
    lines = lowered("mov.u32 %r1, %clock; mov.u64 %rd1, %clock64; ret;")
    assert [line.split()[1] for line in lines if line.startswith("op ")] == ["clock.b32", "clock.b64", "exit"]
    assert not constants(lines)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("frobnicate.u32 %r1, %r2;", "'frobnicate.u32' is unknown"),
        ("bra NOWHERE;", "NOWHERE"),
        ("mov.u32 %r1, %globaltimer_lo;", "the simulator has none"),
        ("add.u32 %r1, %clock, 1;", "only mov of"),
        ("mov.u32 %r1, %envreg3;", "%envreg3"),
        ("mov.u32 %r1, %rd1;", "%rd1 is declared as .b64 but used as"),
        ("mov.u64 %rd1, nothing;", "nothing"),
        ("add.u32 7, %r1, %r2;", "destination"),
        ("add.f32 %f1, %f2, 1;", "integer 1"),
        ("mov.b128 %q1, 1;", "at most 64 bits"),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(body: str, words: str) -> None:
    """The message names kernel, PTX line and instruction, and where to read on."""
    text = module_text(f"mov.u32 %r1, 1;\n{body}\nret;")
    line = text[: text.index(body)].count("\n") + 1
    with pytest.raises(RoofgateError) as raised:
        lower_kernel(parse_module(text), "k")
    message = str(raised.value)
    assert words in message
    assert f"PTX line {line}" in message
    assert body.rstrip(";") in message


def test_the_cuda_line_of_an_unknown_instruction_is_named() -> None:
    """As the line table gives it."""
    text = module_text(".loc 1 42 7\nfrobnicate.u32 %r1;") + '.file 1 "kernel.cu"\n'
    with pytest.raises(LoweringError, match=r"kernel\.cu:42.*\n.*unknown.*\n.*docs/simulator\.md"):
        lower_kernel(parse_module(text), "k")


def test_a_kernel_that_is_not_there_is_an_error() -> None:
    """It names those that are."""
    with pytest.raises(RoofgateError, match=r"'other'.*it has: k"):
        lower_kernel(parse_module(module_text("ret;")), "other")


def test_two_functions_for_one_opcode_are_a_mistake() -> None:
    """A family cannot take another's instruction silently."""
    with pytest.raises(ValueError, match="'bra'"):
        lowers("bra")(lambda _instruction, _context: None)  # type: ignore[arg-type,return-value]


def test_registers_of_asynchronous_products_keep_their_places() -> None:
    """A product that is under way may still use its registers after the program's last word about them."""
    body = (
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %rd1, %rd2, 1, 1, 1, 0, 0;\n"
        "wgmma.commit_group.sync.aligned; mov.f32 %f4, 0f00000000; mov.f32 %f5, %f4; ret;"
    )
    lines = lowered(body, own=".reg .f32 %f4; .reg .f32 %f5;")
    later = {place for line in lines if line.startswith("op mov") for place in line.split()[4:]}
    product = next(line for line in lines if line.startswith("op wgmma.f32"))
    sums = product.split()[-4:]
    assert len(set(sums)) == 4
    assert not later & set(sums)


def kernels_of_the_build() -> list[tuple[str, str]]:
    """Texts and names of all kernels of the present build, each PTX file once."""
    libraries = [library for library in read_record().libraries if library.status is BuildStatus.BUILT]
    texts = sorted({Path(code.ptx).read_text() for library in libraries for code in library.device_code})
    return [(text, name) for text in texts for name in kernel_names(text)]


def test_every_kernel_of_the_build_is_lowered_into_a_small_file() -> None:
    """One operation per instruction; the registers of a warp, without its constants, fit 48 KiB, and stay the same.

    Constants are as many as the kernel has: up to 18 KiB, of a backward pass.
    """
    kernels = kernels_of_the_build()
    if not kernels:
        pytest.skip("no CUDA library is built here: the build record says why")
    for text, name in kernels:
        module = parse_module(text, [name])
        program = lower_kernel(module, name)
        assert len(program.operations) == len(module.kernels[name].instructions)
        constants = sum(32 * size if size > 1 else 4 for _, size, _ in program.constants)  # 1: a predicate
        assert program.register_bytes - constants <= 48 * 1024, name
    assert program_text(program) == program_text(lower_kernel(parse_module(text, [name]), name))


def test_a_program_is_made_once(tmp_path: Path) -> None:
    """What another kernel of the module says does not matter; what this kernel says does."""
    text = module_text("mov.u32 %r1, 1; ret;")
    path = cached_program(text, "k", tmp_path)
    assert path.read_text() == "\n".join(lowered("mov.u32 %r1, 1; ret;")) + "\n"
    path.write_text("kept")
    other = ".visible .entry other()\n{\nret;\n}\n"
    assert cached_program(text, "k", tmp_path) == cached_program(text + other, "k", tmp_path) == path
    assert path.read_text() == "kept"
    assert cached_program(module_text("mov.u32 %r1, 2; ret;"), "k", tmp_path) != path


def test_other_sources_make_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of an older version of the lowering is not used."""
    text = module_text("ret;")
    path = cached_program(text, "k", tmp_path)
    monkeypatch.setattr(program_cache, "sources_digest", lambda: "another")
    assert cached_program(text, "k", tmp_path) != path


def test_a_kernel_that_cannot_be_lowered_leaves_no_program(tmp_path: Path) -> None:
    """The next call says the same again."""
    text = module_text("frobnicate.u32 %r1;")
    for _ in range(2):
        with pytest.raises(LoweringError, match=re.escape("'frobnicate.u32' is unknown")):
            cached_program(text, "k", tmp_path)
    assert not list(tmp_path.iterdir())
