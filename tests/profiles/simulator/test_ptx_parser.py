"""Reading PTX: statements, operands, scopes and the line table, against what the PTX ISA says they mean."""

from __future__ import annotations

import struct

import pytest

from kernels.errors import RoofgateError
from profiles.simulator.ptx import PtxError, kernel_names, kernel_text, parse_module
from profiles.simulator.ptx.syntax import (
    Address,
    Guard,
    Immediate,
    Instruction,
    Kernel,
    Negated,
    Operand,
    Pair,
    Register,
    Sink,
    SourceLine,
    SpecialRegister,
    Symbol,
    Vector,
)

HEADER = ".version 8.5\n.target sm_90a, debug\n.address_size 64\n"
REGISTERS = ".reg .b32 %r<9>; .reg .pred %p<3>; .reg .b64 %rd<4>; .reg .f32 %f<4>;\n"


def kernel(body: str, *, head: str = "k()", before: str = "") -> Kernel:
    """The kernel of a module with one entry."""
    (found,) = parse_module(f"{HEADER}{before}\n.visible .entry {head}\n{{ {body} }}\n").kernels.values()
    return found


def instruction(text: str) -> Instruction:
    """One instruction that may use the registers above, the parameter ``a`` and the array ``s``."""
    (found,) = kernel(f"{REGISTERS}.shared .b8 s[64]; {text}", head="k(.param .u64 a)").instructions
    return found


def operand(text: str) -> Operand:
    """The only operand of an instruction."""
    (found,) = instruction(f"op {text};").operands
    return found


def test_a_module_says_what_it_was_made_for() -> None:
    """Version, target without options, and the files of the line table."""
    module = parse_module(HEADER + '.file 3 "/a b/x.cu"\n.file 4 "y.h", 12, 99\n')
    assert (module.version, module.target) == ("8.5", "sm_90a")
    assert module.files == {3: "/a b/x.cu", 4: "y.h"}
    assert module.kernels == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%r1", Register("%r1")),
        ("%tid.x", SpecialRegister("%tid.x")),
        ("%lanemask_lt", SpecialRegister("%lanemask_lt")),
        ("_", Sink()),
        ("s", Symbol("s")),
        ("s+8", Symbol("s", 8)),
        ("!%p1", Negated(Register("%p1"))),
        ("-%r2", Negated(Register("%r2"))),
        ("%p1|%p2", Pair(Register("%p1"), Register("%p2"))),
        ("_ | %p2", Pair(Sink(), Register("%p2"))),
        ("{%r1, _, 4}", Vector((Register("%r1"), Sink(), Immediate(4, "4")))),
        ("[%rd1]", Address(Register("%rd1"))),
        ("[ %rd1 + 8 ]", Address(Register("%rd1"), 8)),
        ("[%rd1+-120]", Address(Register("%rd1"), -120)),
        ("[%rd1-120]", Address(Register("%rd1"), -120)),
        ("[s+0x10+4]", Address(Symbol("s"), 20)),
        ("[a+4]", Address(Symbol("a"), 4)),
        ("[16]", Address(Immediate(16, "16"))),
        ("[%rd1, {%r1, 5}]", Address(Register("%rd1"), 0, (Register("%r1"), Immediate(5, "5")))),
    ],
)
def test_operands_are_read_as_the_isa_writes_them(text: str, expected: Operand) -> None:
    """One row for each form of the ISA's "Instruction Operands"."""
    assert operand(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-5", -5),
        ("42U", 42),
        ("0xFFu", None),
        ("0xff", 255),
        ("0XFFU", 255),
        ("0b101", 5),
        ("017", 15),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("WARP_SZ", 32),
        ("0f3F800000", 1.0),
        ("0F80000000", -0.0),
        ("0d3FF8000000000000", 1.5),
        ("1.25", 1.25),
        ("-2.5e-3", -0.0025),
        ("1e3", 1000.0),
        ("0f7F800000", float("inf")),
        ("08", None),
        ("18446744073709551616", None),
        ("0f3F80000", None),
        ("1_0", None),
        ("\u0661", None),
    ],
)
def test_literals_have_the_value_that_the_isa_gives_them(text: str, value: float | None) -> None:
    """Bit for bit; None stands for text that is no literal of PTX."""
    if value is None:
        with pytest.raises(PtxError):
            operand(text)
        return
    found = operand(text)
    assert isinstance(found, Immediate)
    assert (type(found.value), struct.pack("d", found.value)) == (type(value), struct.pack("d", value))
    assert found.text == text


def test_guards_opcodes_and_text_are_kept() -> None:
    """Modifiers with colons, odd spaces and line breaks included."""
    found = instruction("@!%p1 ld.shared::cluster.b32\n\t%r1 ,\n [%rd1];")
    assert found.guard == Guard(Register("%p1"), True)
    assert found.opcode == "ld.shared::cluster.b32"
    assert (found.root, found.parts) == ("ld", ("ld", "shared::cluster", "b32"))
    assert found.operands == (Register("%r1"), Address(Register("%rd1")))
    assert found.text == "@!%p1 ld.shared::cluster.b32 %r1 , [%rd1]"


def test_ptx_lines_are_those_of_the_module_with_comments_and_blocks_in_it() -> None:
    """Braces in comments are no braces, and lines in comments are lines."""
    text = HEADER + "/* two\nlines */ .entry k ( ) // head }\n{\nret; ret; /* {\n*/ { ret;\n}\n\nL: ret; }"
    (found,) = parse_module(text).kernels.values()
    expected = [line for line, written in enumerate(text.splitlines(), 1) for _ in range(written.count("ret"))]
    assert [item.ptx_line for item in found.instructions] == expected
    assert expected == [7, 7, 8, 11]


def test_labels_are_visible_before_they_stand_and_may_stand_at_the_end() -> None:
    """A label at the end names the number of instructions."""
    found = kernel(REGISTERS + "bra $end; top: @%p1 bra top; ret; $end:")
    assert found.labels == {"top": 1, "$end": 3}
    assert [item.operands for item in found.instructions[:2]] == [(Symbol("$end"),), (Symbol("top"),)]


def test_blocks_have_registers_and_labels_of_their_own() -> None:
    """The compiler copies inline assembly, and with it names that are declared in each copy."""
    block = "{ .reg .pred p; L: setp.eq.s32 p, %r1, 0; @p bra L; }"
    found = kernel(REGISTERS + ".reg .b32 p;" + block + block + "mov.b32 p, %r1;")
    setp1, bra1, setp2, bra2, move = found.instructions
    first, second, outer = setp1.operands[0], setp2.operands[0], move.operands[0]
    assert isinstance(first, Register) and isinstance(second, Register) and isinstance(outer, Register)
    assert len({first, second, outer}) == 3
    assert [found.registers[item.name] for item in (first, second, outer)] == ["pred", "pred", "b32"]
    assert bra1.guard == Guard(first, False) and bra2.guard == Guard(second, False)
    targets = [item.operands[0] for item in (bra1, bra2)]
    assert [found.labels[target.name] for target in targets if isinstance(target, Symbol)] == [0, 2]


def test_a_block_sees_the_names_around_it() -> None:
    """Also through blocks that declare nothing."""
    outer, inner = kernel(REGISTERS + "mov.b32 %r1, 0; {{ mov.b32 %r1, 0; }}").instructions
    assert outer.operands == inner.operands == (Register("%r1"), Immediate(0, "0"))


def test_branch_tables_list_labels() -> None:
    """A table is no label: it stands before no instruction."""
    found = kernel(REGISTERS + "T: .branchtargets A, B, A; brx.idx %r1, T; A: ret; B: ret;")
    assert found.branch_tables == {"T": ("A", "B", "A")}
    assert found.instructions[0].operands == (Register("%r1"), Symbol("T"))
    assert found.labels == {"A": 1, "B": 2}


def test_kernel_directives_and_parameters_are_placed() -> None:
    """Each parameter at the next multiple of its alignment."""
    found = kernel(
        '.pragma "nounroll"; ret;',
        head="k(.param .u8 a, .param .align 64 .b8 map[128], .param .u64 .ptr .global .align 16 p, .param .f32 x)\n"
        ".maxntid 128, 1, 1\n.minnctapersm 2 .explicitcluster .reqnctapercluster 2, 1, 1",
    )
    placed = [(item.name, item.offset, item.size) for item in found.parameters]
    assert placed == [("a", 0, 1), ("map", 64, 128), ("p", 192, 8), ("x", 200, 4)]
    assert found.parameter_bytes == 204
    assert found.directives == {
        "maxntid": (128, 1, 1),
        "minnctapersm": (2,),
        "explicitcluster": (),
        "reqnctapercluster": (2, 1, 1),
    }


def test_call_sites_are_followed_through_the_line_table() -> None:
    """``inlined_at`` names one call site; that site's own ``.loc`` says where it was inlined in turn."""
    body = """
	.loc	1 10 1
	.loc	2 20 2, function_name $L__info_string0, inlined_at 1 10 1
	ret;
	.loc	3 30 3, function_name $L__info_string1, inlined_at 2 20 2
	ret;
	.loc	1 11 1
	ret;
	"""
    found = kernel(body, before='.file 1 "k.cu"\n.file 2 "a.h"\n.file 3 "b.h"')
    k, a, b = SourceLine("k.cu", 10), SourceLine("a.h", 20), SourceLine("b.h", 30)
    locations = [(item.location.line, item.location.inlined_at) for item in found.instructions if item.location]
    assert locations == [(a, (k,)), (b, (a, k)), (SourceLine("k.cu", 11), ())]


def test_call_sites_of_recursive_templates_end() -> None:
    """A function that is inlined into another instance of itself has one position at all depths."""
    locs = ".loc 1 1 1\n" + ".loc 1 5 1, function_name f, inlined_at 1 1 1\n"
    again = ".loc 1 5 1, function_name f, inlined_at 1 5 1\nret;\n" * 40
    found = kernel(locs + again)
    assert {len(item.location.inlined_at) for item in found.instructions if item.location} <= {1, 2}


@pytest.mark.parametrize(
    ("body", "line", "expectation"),
    [
        ("\nmov.u32 %r1, %r77;", 7, "`%r77` is not"),
        ("\n\nmov.u32 %r1 %r2;", 8, "expected an operand"),
        ("\nmov.u32 %r1, ;", 7, "expected an operand"),
        ("\nmov.u32 %r1, [%rd1;", 7, "expected"),
        ("\nbra nowhere;", 7, "`nowhere` is not"),
        ("\n.reg .b32 %r1;", 7, "declared in this block already"),
        ("\n.reg .v4 .f32 x;", 7, "not supported"),
        ("\n.reg .b33 x;", 7, "`.b33`"),
        ("\n.reg .b32 x<99999999>;", 7, "at most"),
        ("\n.frobnicate 3;", 7, "expected the declaration of a variable"),
        ("\n.global .b32 g;", 7, "outside of functions"),
        ("\nL: ret; L: ret;", 7, "already"),
        ("\n7up %r1;", 7, "expected an instruction"),
        ("\nret", 7, "ends with `;`"),
        ("\nmov.u32 %r1, %r2+4;", 7, "brackets"),
        ("\n@%r0x ret;", 7, "`%r0x` is not"),
        ("\n@s ret;", 7, "expected a register"),
    ],
)
def test_errors_name_line_text_and_expectation(body: str, line: int, expectation: str) -> None:
    """The statement at fault is the one named."""
    with pytest.raises(PtxError) as caught:
        kernel(f".shared .b8 s[4]; {REGISTERS.strip()}{body}")
    assert isinstance(caught.value, RoofgateError)
    assert caught.value.line == line
    assert expectation in str(caught.value)
    assert f"PTX line {line}: `" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "expectation"),
    [
        ("", 1, ".version"),
        (".version 8.0\n", 1, ".target"),
        (HEADER + "\n.bogus 1;\n", 5, "expected a directive of a PTX module"),
        (HEADER + ".entry k() {\nret;\n", 4, "expected a directive of a PTX module"),
        (HEADER + ".entry k() { ret; }\n.entry k() { ret; }", 5, "expected one definition"),
        (HEADER + ".entry k(.param .texref t) { ret; }", 4, "textures"),
        (HEADER + ".entry k() .bogus 3 { ret; }", 4, "directive of a kernel"),
        (HEADER + ".address_size 32\n", 4, "expected"),
    ],
)
def test_errors_of_modules_name_the_line(text: str, line: int, expectation: str) -> None:
    """Outside of functions as well."""
    with pytest.raises(PtxError) as caught:
        parse_module(text)
    assert (caught.value.line, expectation in str(caught.value)) == (line, True), str(caught.value)


def test_only_the_named_kernels_are_read() -> None:
    """A kernel that cannot be read does no harm to another."""
    text = HEADER + ".entry good() { ret; }\n.entry bad() { nonsense nonsense; }\n"
    assert kernel_names(text) == ("good", "bad")
    assert list(parse_module(text, ["good"]).kernels) == ["good"]
    with pytest.raises(PtxError, match="its kernels: good, bad"):
        parse_module(text, ["missing"])


def test_the_text_of_a_kernel_depends_on_what_it_uses_and_on_nothing_else() -> None:
    """It is the key of a cache: too little gives stale programs, too much gives none."""

    def module(*, other: str = "ret;", callee: str = "ret;", comment: str = "") -> str:
        return (
            f"{HEADER}{comment}\n.global .b32 g;\n.func f() {{ {callee} }}\n.func unused() {{ {other} }}\n"
            f".entry a() {{ {other} }}\n.entry b() {{ call f; ret; }}\n"
        )

    text = kernel_text(module(), "b")
    assert kernel_text(module(other="trap; ret;", comment="// or other words"), "b") == text
    assert kernel_text(module(callee="trap;"), "b") != text
    assert [item.opcode for item in parse_module(text).kernels["b"].instructions] == ["bra", "ret"]
    with pytest.raises(PtxError, match="its kernels: a, b"):
        kernel_text(module(), "f")


def test_debug_sections_are_skipped() -> None:
    """They hold data directives that mean nothing elsewhere."""
    text = (
        HEADER + ".entry k() { ret; }\n.section .debug_str {\n$L__x:\n.b8 1,2\n.b64 .debug_abbrev\n}\n.global .b32 g;"
    )
    module = parse_module(text)
    assert [item.name for item in module.variables] == ["g"]


def test_long_wrong_statements_are_refused_at_once_and_briefly() -> None:
    """Without trying the ways to read the spaces between terms, of which there are 2 to the power of their number."""
    with pytest.raises(PtxError) as caught:
        operand("[s" + " + 1" * 1000 + "$]")
    assert len(str(caught.value)) < 1000
