"""Calls of device functions: the kernel that results does what the call did, and says where it comes from."""

from __future__ import annotations

import pytest

from profiles.simulator.ptx import PtxError, parse_module
from profiles.simulator.ptx.syntax import (
    Address,
    Guard,
    Immediate,
    Instruction,
    Kernel,
    Operand,
    Register,
    SourceLine,
    Symbol,
)

HEADER = '.version 8.5\n.target sm_90a\n.address_size 64\n.file 1 "k.cu"\n.file 2 "f.h"\n'
TWICE = """.func (.param .b32 result) twice(.param .b32 value)
{
	.reg .b32 %r<3>;
	.loc 2 7 1
	ld.param.b32 %r1, [value];
	add.s32 %r2, %r1, %r1;
	st.param.b32 [result+0], %r2;
	ret;
}
"""


def kernel(functions: str, body: str) -> Kernel:
    """The kernel ``k`` of a module with these functions."""
    return parse_module(f"{HEADER}{functions}\n.entry k() {{ {body} }}").kernels["k"]


def registers(item: Instruction) -> list[str]:
    """Names of an instruction's register operands."""
    return [operand.name for operand in item.operands if isinstance(operand, Register)]


def base(operand: Operand) -> str:
    """The variable that an address starts at."""
    assert isinstance(operand, Address) and isinstance(operand.base, Symbol)
    return operand.base.name


CALL_TWICE = """
	.reg .b32 %r<3>;
	.loc 1 3 1
	{
	.param .b32 argument;
	st.param.b32 [argument+0], %r1;
	.param .b32 returned;
	call.uni (returned), twice, (argument);
	ld.param.b32 %r2, [returned+0];
	}
"""


def test_parameters_are_passed_through_local_memory_that_both_sides_name() -> None:
    """The caller's store and the callee's load go to one variable, and the results' likewise."""
    found = kernel(TWICE, CALL_TWICE + "ret;")
    opcodes = [item.opcode for item in found.instructions]
    assert opcodes == ["st.local.b32", "ld.local.b32", "add.s32", "st.local.b32", "bra", "ld.local.b32", "ret"]
    store, load, add, result_store, leave, result_load, _ = found.instructions
    assert base(store.operands[0]) == base(load.operands[1])
    assert base(result_store.operands[0]) == base(result_load.operands[1]) != base(store.operands[0])
    assert leave.operands == (Symbol(next(label for label, site in found.labels.items() if site == 5)),)
    assert not set(registers(add)) & {"%r1", "%r2"}, "the callee's registers are its own"
    assert {item.space for item in found.variables} == {"local"}


def test_each_call_has_registers_labels_and_parameters_of_its_own() -> None:
    """A function may be called with different values in flight."""
    functions = ".func f() { .reg .pred p; L: setp.eq.s32 p, 0, 0; @p bra L; ret; }"
    found = kernel(functions, "call f; call f; ret;")
    first, second = (registers(found.instructions[site]) for site in (0, 3))
    assert first != second
    loops = [item.operands[0] for item in found.instructions if item.guard]
    assert [found.labels[loop.name] for loop in loops if isinstance(loop, Symbol)] == [0, 3]
    twice = kernel(TWICE, CALL_TWICE + CALL_TWICE.replace(".reg .b32 %r<3>;", ""))
    assert len({item.name for item in twice.variables}) == 4


def test_locations_name_the_call_site_after_the_callees_line() -> None:
    """And go on after the call where they were before."""
    found = kernel(TWICE, CALL_TWICE + "ret;")
    locations = [(item.location.line, item.location.inlined_at) for item in found.instructions if item.location]
    here, there = (SourceLine("k.cu", 3), ()), (SourceLine("f.h", 7), (SourceLine("k.cu", 3),))
    assert locations == [here, there, there, there, there, here, here]


def test_calls_within_calls_are_inlined_with_all_their_sites() -> None:
    """From the inside out."""
    functions = ".func g() { .loc 2 2 1\n trap; ret; } .func f() { .loc 2 9 1\n call g; ret; }"
    found = kernel(functions, ".loc 1 5 1\n call f; ret;")
    trap = found.instructions[0]
    assert trap.location is not None and trap.opcode == "trap"
    assert trap.location.inlined_at == (SourceLine("f.h", 9), SourceLine("k.cu", 5))


def test_a_guarded_call_is_skipped_where_its_guard_does_not_hold() -> None:
    """All of what stands for the call."""
    found = kernel(".func f() { trap; ret; }", ".reg .pred p; @p call f; exit;")
    skip, trap, _, leave = found.instructions
    assert skip.guard == Guard(Register("p"), True)
    assert [item.opcode for item in (skip, trap, leave)] == ["bra", "trap", "exit"]
    (target,) = skip.operands
    assert isinstance(target, Symbol) and found.labels[target.name] == 3


def test_registers_and_numbers_as_parameters_are_moved() -> None:
    """Written by hand; the compiler uses .param variables."""
    functions = ".func (.reg .b32 out) f(.reg .b32 in, .param .b64 wide) { .reg .b64 d; ld.param.b64 d, [wide]; ret; }"
    found = kernel(functions, ".reg .b32 a; call (a), f, (7, 9); ret;")
    opcodes = [item.opcode for item in found.instructions]
    assert opcodes == ["mov.b32", "st.local.b64", "ld.local.b64", "bra", "mov.b32", "ret"]
    move, store, load, _, result, _ = found.instructions
    assert move.operands[1] == Immediate(7, "7") and store.operands[1] == Immediate(9, "9")
    assert base(store.operands[0]) == base(load.operands[1])
    assert result.operands[0] == Register("a") and registers(result)[1] != "a"


def test_a_shared_variable_of_a_callee_is_one_variable() -> None:
    """Shared memory belongs to the block: two calls of a function see the same array."""
    functions = ".func f() { .shared .b32 s; .local .b32 l; st.shared.b32 [s], 0; st.local.b32 [l], 0; ret; }"
    found = kernel(functions, "call f; call f; ret;")
    assert sorted(item.space for item in found.variables) == ["local", "local", "shared"]
    first, second = (base(found.instructions[site].operands[0]) for site in (0, 3))
    assert first == second


def test_a_callee_does_not_see_the_callers_names() -> None:
    """It stands in the module, not in the caller."""
    with pytest.raises(PtxError, match="`x` is not"):
        kernel(".func f() { mov.b32 x, 1; ret; }", ".reg .b32 x; call f; ret;")


@pytest.mark.parametrize(
    ("functions", "body", "expectation"),
    [
        (".func f() { call f; ret; }", "call f;", "no recursion"),
        (".func g(); .func f() { call g; ret; } .func g() { call f; ret; }", "call f;", "no recursion"),
        (".extern .func vprintf(.param .b64 a);", "call vprintf;", "__forceinline__"),
        ("", "call missing;", "__forceinline__"),
        (".func f() { ret; }", ".reg .b64 p; call p, (), T;", "indirect"),
        (".func f() { ret; }", ".reg .b64 p; mov.b64 p, f;", "indirect"),
        (".func f() { ret; }", ".reg .b64 p; call f, (p);", "expected 0 parameters, not 1"),
        (".func f(.param .b8 s[12]) { ret; }", ".reg .b64 p; call f, (p);", "12 bytes"),
        ("", "call (;", "expected a call"),
    ],
)
def test_calls_that_cannot_be_inlined_are_refused_with_a_next_step(functions: str, body: str, expectation: str) -> None:
    """At the line of the call."""
    with pytest.raises(PtxError) as caught:
        kernel(functions, body)
    assert expectation in str(caught.value)
    expected = 6 if "recursion" in expectation else 7  # recursion is found in the callee
    assert caught.value.line == expected


def test_calls_too_deep_to_inline_are_refused() -> None:
    """Rather than exhausting the stack."""
    chain = "".join(f".func f{depth}() {{ call f{depth + 1}; }} " for depth in range(100))
    with pytest.raises(PtxError, match="at most 64 deep"):
        kernel(chain, "call f0;")
