"""Variables of PTX: sizes, alignments, initial bytes and the addresses stored in them."""

from __future__ import annotations

import struct

import pytest

from profiles.simulator.ptx import PtxError, parse_module
from profiles.simulator.ptx.syntax import Symbol, Variable

HEADER = ".version 8.5\n.target sm_90a\n.address_size 64\n"


def variable(text: str) -> Variable:
    """The last variable of a module."""
    return parse_module(HEADER + text).variables[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".extern .shared .align 256 .b8 buffer[];", Variable("buffer", "shared", 256, 0)),
        (".visible .global .u32 x;", Variable("x", "global", 4, 4)),
        (".global .align 16 .v4 .f32 x[3];", Variable("x", "global", 16, 48)),
        (".global .v2 .f32 x;", Variable("x", "global", 8, 8)),
        (".shared .b16 x[4][8];", Variable("x", "shared", 2, 64)),
        (".const .s32 x[2] = {1, -2};", Variable("x", "const", 4, 8, struct.pack("<ii", 1, -2))),
        (".global .b8 x[4] = {255, 0x7F};", Variable("x", "global", 1, 4, b"\xff\x7f")),
        (".global .b16 x[] = {1, 2, 3};", Variable("x", "global", 2, 6, b"\1\0\2\0\3\0")),
        (".global .b8 x[2][2] = {{1, 2}, {3, 4}};", Variable("x", "global", 1, 4, b"\1\2\3\4")),
        (".global .f32 x = 0f3FC00000;", Variable("x", "global", 4, 4, struct.pack("<f", 1.5))),
        (".global .f64 x[2] = {2, -0.5};", Variable("x", "global", 8, 16, struct.pack("<dd", 2.0, -0.5))),
        (".global .u32 x = 5, y = 6;", Variable("y", "global", 4, 4, struct.pack("<I", 6))),
        (".global .attribute(.managed) .u32 x;", Variable("x", "global", 4, 4)),
    ],
)
def test_variables_have_the_bytes_that_are_written(text: str, expected: Variable) -> None:
    """Sizes are element, vector width and extents multiplied; values are little-endian."""
    assert variable(text) == expected


def test_addresses_in_initialisers_become_relocations() -> None:
    """Where variables lie is known only when memory is placed."""
    found = variable(".global .b8 t[64];\n.global .u64 x[3] = {t+8, 7, generic(t)-16};")
    assert found.relocations == ((0, Symbol("t", 8)), (16, Symbol("t", -16)))
    assert found.initial == struct.pack("<QQQ", 0, 7, 0)


def test_variables_of_a_kernel_are_its_own() -> None:
    """Shared and local variables inside of an entry are not the module's."""
    text = HEADER + ".entry k() { .shared .align 128 .b8 a[64]; .local .b32 b[2]; ret; }"
    module = parse_module(text)
    assert module.variables == ()
    assert module.kernels["k"].variables == (Variable("a", "shared", 128, 64), Variable("b", "local", 4, 8))


def test_a_definition_is_preferred_to_its_declaration() -> None:
    """Separate compilation declares a variable and defines it, in either order."""
    declared, defined = ".extern .global .u32 x;", ".global .u32 x = 3;"
    for text in (declared + defined, defined + declared):
        assert parse_module(HEADER + text).variables == (Variable("x", "global", 4, 4, struct.pack("<I", 3)),)


@pytest.mark.parametrize(
    ("text", "expectation"),
    [
        (".global .align 3 .b32 x;", "power of two"),
        (".global .b32 x[2] = {1, 2, 3};", "at most 8 bytes"),
        (".global .b32 x[2] = {y};\n.global .b32 y;", "64 bits"),
        (".global .texref t;", "textures"),
        (".global .b32 x[99999999999];", "at most"),
        (".global .s32 x = 1.5;", "integer"),
        (".global .f32 x = 1e99;", "value"),
        (".global .f64 x = 1e999;", "double"),
        (".global .b32 = 4;", "expected"),
        (".global .b8 x = 256;", "value"),
        (".global .b8 x = -129;", "value"),
    ],
)
def test_wrong_declarations_are_refused(text: str, expectation: str) -> None:
    """Each with its line, rather than with a wrong size."""
    with pytest.raises(PtxError, match=expectation) as caught:
        variable(text)
    assert caught.value.line == 4
