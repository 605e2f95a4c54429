"""Properties of reading PTX: what is printed is read back, and nothing but a PtxError comes of what is no PTX."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from profiles.simulator.ptx import PtxError, kernel_names, kernel_text, parse_module
from profiles.simulator.ptx.scopes import SPECIAL_REGISTERS
from profiles.simulator.ptx.syntax import (
    Address,
    Guard,
    Immediate,
    Instruction,
    Kernel,
    Negated,
    Operand,
    Pair,
    Parameter,
    Register,
    Sink,
    SourceLine,
    SourceLocation,
    SpecialRegister,
    Symbol,
    Variable,
    Vector,
)

SIZES = {"b8": 1, "u16": 2, "f32": 4, "b64": 8}
FILES = {1: "a.cu", 2: "include/b.cuh"}
VARIABLES = (Variable("buffer", "shared", 128, 0), Variable("table", "global", 4, 64))


def print_operand(operand: Operand) -> str:
    """An operand as PTX writes it."""
    match operand:
        case Register(name) | SpecialRegister(name):
            return name
        case Immediate(_, text):
            return text
        case Symbol(name, offset):
            return name if offset == 0 else f"{name}+{offset}"
        case Negated(register):
            return "!" + register.name
        case Pair(first, second):
            return f"{print_operand(first)}|{print_operand(second)}"
        case Sink():
            return "_"
        case Vector(elements):
            return "{" + ", ".join(map(print_operand, elements)) + "}"
        case Address(base, offset, coordinates):
            tail = "" if coordinates is None else ", " + print_operand(Vector(coordinates))
            return f"[{print_operand(base)}{f'+{offset}' if offset else ''}{tail}]"


def print_instruction(item: Instruction) -> str:
    """An instruction on one line, without its semicolon."""
    guard = f"@{'!' if item.guard.negated else ''}{item.guard.register.name} " if item.guard else ""
    return f"{guard}{item.opcode} {', '.join(map(print_operand, item.operands))}".rstrip()


def print_location(location: SourceLocation) -> str:
    """A line table entry of a location with at most one call site."""
    numbers = {name: index for index, name in FILES.items()}
    text = f".loc {numbers[location.line.file]} {location.line.line} 1"
    for site in location.inlined_at:
        text += f", function_name $L__info_string0, inlined_at {numbers[site.file]} {site.line} 2"
    return text


def print_kernel(kernel: Kernel, noise: Sequence[str]) -> tuple[str, Kernel]:
    """A module with that kernel, and the kernel with the lines and texts that its instructions got."""
    lines = [".version 8.7", ".target sm_90", ".address_size 64"]
    lines += [f'.file {index} "{path}"' for index, path in FILES.items()]
    lines += [".extern .shared .align 128 .b8 buffer[];", ".global .b32 table[16];"]
    parameters = (f".param .align {item.alignment} .b8 {item.name}[{item.size}]" for item in kernel.parameters)
    lines += [f".visible .entry {kernel.name}(", ",\n".join(parameters), ")"]
    lines += [f".{name} {', '.join(map(str, numbers))}" for name, numbers in kernel.directives.items()]
    lines += ["{", *(f".reg .{kind} {name};" for name, kind in kernel.registers.items())]
    lines = "\n".join(lines).split("\n")
    located = []
    for site, item in enumerate(kernel.instructions):
        lines += [f"{label}:" for label, target in kernel.labels.items() if target == site]
        lines += noise[site].split("\n")
        if item.location:
            lines.append(print_location(item.location))
        lines.append(print_instruction(item) + ";")
        located.append(replace(item, ptx_line=len(lines), text=print_instruction(item)))
    lines += [f"{label}:" for label, target in kernel.labels.items() if target == len(kernel.instructions)] + ["}"]
    return "\n".join(lines) + "\n", replace(kernel, instructions=tuple(located))


def integers() -> st.SearchStrategy[Immediate]:
    """Integer literals in all bases."""
    forms = st.sampled_from(["{}", "{:#x}", "0b{:b}", "0{:o}"])
    unsigned = st.builds(lambda value, form: Immediate(value, form.format(value)), st.integers(0, 2**64 - 1), forms)
    return unsigned | st.integers(-(2**63), -1).map(lambda value: Immediate(value, str(value)))


def floats() -> st.SearchStrategy[Immediate]:
    """Floats by their bits."""
    single = st.floats(width=32, allow_nan=False).map(lambda x: Immediate(x, "0f" + struct.pack(">f", x).hex().upper()))
    double = st.floats(allow_nan=False).map(lambda x: Immediate(x, "0d" + struct.pack(">d", x).hex().upper()))
    return single | double


NAMES = st.from_regex(r"[%$_]?[a-z][a-z0-9_$]{0,6}", fullmatch=True).filter(lambda name: name != "_")
OPCODES = st.from_regex(r"[a-z]{2,8}[0-9]?(\.[a-z][a-z0-9]{0,5}(::[a-z]{1,5})?){0,4}", fullmatch=True).filter(
    lambda opcode: not re.match(r"(call|ret)\b", opcode) and ".param" not in opcode
)


@st.composite
def operands(draw: st.DrawFn, registers: Sequence[str], symbols: Sequence[str]) -> Operand:
    """Any operand over these names."""
    register = st.sampled_from(registers).map(Register)
    symbol = st.builds(Symbol, st.sampled_from(symbols), st.integers(0, 4096))
    special = st.sampled_from(sorted(SPECIAL_REGISTERS)).map(SpecialRegister)
    scalar: st.SearchStrategy[Operand] = register | special | integers() | floats() | st.just(Sink())
    elements = st.lists(scalar, min_size=1, max_size=5).map(tuple)
    base = register | st.sampled_from(symbols).map(Symbol)
    addresses = st.builds(Address, base, st.integers(-(2**31), 2**31), st.none() | elements)
    pairs = st.builds(Pair, register | st.just(Sink()), register)
    return draw(scalar | symbol | elements.map(Vector) | addresses | register.map(Negated) | pairs)


@st.composite
def locations(draw: st.DrawFn) -> SourceLocation:
    """A line, and perhaps the call site of a function that was inlined."""
    lines = st.builds(SourceLine, st.sampled_from(sorted(FILES.values())), st.integers(0, 10**6))
    return SourceLocation(draw(lines), tuple(draw(st.lists(lines, max_size=1))))


@st.composite
def parameter_blocks(draw: st.DrawFn, names: Sequence[str]) -> tuple[Parameter, ...]:
    """Parameters at the offsets that the ABI gives them."""
    placed: list[Parameter] = []
    end = 0
    for name in names:
        alignment, size = draw(st.sampled_from([1, 2, 4, 8, 64])), draw(st.integers(1, 200))
        offset = next(offset for offset in range(end, end + 64) if offset % alignment == 0)
        placed.append(Parameter(name, offset, size, alignment))
        end = offset + size
    return tuple(placed)


@st.composite
def kernels(draw: st.DrawFn) -> tuple[str, Kernel]:
    """A kernel, and a module in which it is printed among blank lines and comments."""
    taken = {"buffer", "table", "kernel"}
    names = draw(st.lists(NAMES.filter(lambda name: name not in taken), unique=True, min_size=6, max_size=12))
    registers, labels, parameters = names[:3], names[3:5], names[5:]
    types = draw(st.lists(st.sampled_from(["pred", "b16", "b32", "f32", "b64"]), min_size=3, max_size=3))
    symbols = [*labels, *parameters, "buffer", "table"]
    guards = st.none() | st.builds(Guard, st.sampled_from(registers).map(Register), st.booleans())
    # The line table stands until it is changed: all instructions have a location, or none.
    location = draw(st.sampled_from([st.none(), locations()]))
    listed = st.lists(operands(registers, symbols), max_size=4).map(tuple)
    instruction = st.builds(Instruction, OPCODES, listed, guards, st.just(0), location, st.just(""))
    body = draw(st.lists(instruction, max_size=8))
    kernel = Kernel(
        name="kernel",
        parameters=draw(parameter_blocks(parameters)),
        registers=dict(zip(registers, types, strict=True)),
        variables=(),
        instructions=tuple(body),
        labels={label: draw(st.integers(0, len(body))) for label in labels},
        directives=draw(st.sampled_from([{}, {"maxntid": (32, 2, 1)}, {"reqntid": (7,), "maxnreg": (255,)}])),
    )
    comments = st.sampled_from(["", "\n\n", "// a } comment;", "/* { */", "/* over\n; two */", '\t// "quoted', " "])
    noise = draw(st.lists(comments, min_size=len(body), max_size=len(body)))
    return print_kernel(kernel, noise)


@given(kernels())
def test_what_is_printed_is_read_back(printed: tuple[str, Kernel]) -> None:
    """Every part of the syntax, with the line that each instruction stands on."""
    text, kernel = printed
    module = parse_module(text)
    assert module.kernels == {"kernel": kernel}
    assert (module.version, module.target, module.files, module.variables) == ("8.7", "sm_90", FILES, VARIABLES)


@given(kernels())
def test_the_text_of_a_kernel_is_a_module_with_that_kernel(printed: tuple[str, Kernel]) -> None:
    """What decides a kernel is enough to read it; only the lines differ."""
    text, kernel = printed
    (again,) = parse_module(kernel_text(text, "kernel")).kernels.values()
    unplaced = tuple(replace(item, ptx_line=0) for item in kernel.instructions)
    assert replace(again, instructions=tuple(replace(item, ptx_line=0) for item in again.instructions)) == replace(
        kernel, instructions=unplaced
    )
    assert kernel_text(kernel_text(text, "kernel"), "kernel") == kernel_text(text, "kernel")


def read_or_refuse(text: str) -> None:
    """Read a module; it may be refused."""
    try:
        for name in kernel_names(text):
            kernel_text(text, name)
        parse_module(text)
    except PtxError as error:
        assert 1 <= error.line <= text.count("\n") + 1


HEAD = ".version 8.0 .target sm_80 .address_size 64\n"
WORDS = st.sampled_from(
    (
        *(".entry", ".func", ".reg", ".b32", ".shared", ".param", ".loc 1 2 3", ".file", ".align", ".pragma"),
        *("k", "(", ")", "{", "}", "[", "]", ";", ",", ":", "=", "@", "!", "|", "+", "-", "<3>", "%r1", "x", "_", "$"),
        *("call", "ret", "mov.u32", "0x", "0f3F800000", "7", '"', "//", "/*", "*/", "\n", " ", "generic", "\u0661"),
    )
)


@given(st.text() | st.lists(WORDS, max_size=60).map("".join) | st.lists(WORDS, max_size=60).map(" ".join))
def test_garbage_gives_nothing_but_errors_of_ptx(garbage: str) -> None:
    """Outside of functions, in a body, and in the declaration of a variable."""
    read_or_refuse(garbage)
    read_or_refuse(HEAD + garbage)
    read_or_refuse(f"{HEAD}.entry k(.param .u64 x) {{ .reg .b32 %r<3>; {garbage} }}")
    read_or_refuse(f"{HEAD}.global .b32 {garbage};")


@given(kernels(), st.data())
def test_damaged_modules_give_nothing_but_errors_of_ptx(printed: tuple[str, Kernel], data: st.DataObject) -> None:
    """A piece cut out, doubled, or replaced by another."""
    text, _ = printed
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    piece = data.draw(st.sampled_from(["", text[start:end] * 2]) | WORDS)
    read_or_refuse(text[:start] + piece + text[end:])
