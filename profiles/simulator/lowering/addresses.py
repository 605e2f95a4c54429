"""Addresses as operands of the run-time's operations on shared memory, mbarriers and bulk copies.

A shared address is three numbers: the slot of a register, how it holds the address, and an offset in bytes; a global
address is two, a 64-bit slot and an offset.
"""

from __future__ import annotations

from profiles.simulator.lowering.context import Context, slot_bytes
from profiles.simulator.ptx.syntax import Address, Immediate, Operand, Register, Symbol

SHARED_SPACES = ("shared", "shared::cta", "shared::cluster")

# As SharedForm of the run-time's shared_operand.h.
_IN_32_BITS, _IN_64_BITS, _GENERIC = range(3)


def shared_address(operand: Operand, space: str | None, context: Context) -> tuple[int, int, int]:
    """``[base + offset]`` in a shared space, or generic if ``space`` is None."""
    address = _address(operand, context)
    if not isinstance(address.base, Register):
        return context.read(_place(address), "u32"), _IN_32_BITS, 0
    width = slot_bytes(context.register_type(address.base))
    if space is None:
        return context.read(address.base, "u64"), _GENERIC, address.offset
    if width == slot_bytes("u64"):
        return context.read(address.base, "u64"), _IN_64_BITS, address.offset
    return context.read(address.base, "u32"), _IN_32_BITS, address.offset


def global_address(operand: Operand, context: Context) -> tuple[int, int]:
    """``[base + offset]`` in global memory, or generic."""
    address = _address(operand, context)
    if not isinstance(address.base, Register):
        return context.read(_place(address), "u64"), 0
    return context.read(address.base, "u64"), address.offset


def _address(operand: Operand, context: Context) -> Address:
    if not isinstance(operand, Address):
        context.fail("an address in brackets is expected")
    return operand


def _place(address: Address) -> Symbol | Immediate:
    """The address as a symbol or literal that contains the offset."""
    match address.base:
        case Symbol(name, offset):
            return Symbol(name, offset + address.offset)
        case Immediate(int(value), _):
            return Immediate(value + address.offset, str(value + address.offset))
    raise ValueError(f"{address.base} is no place")
