"""``cvt`` between integers: extension, truncation, clamping with .sat, and registers wider than their types."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.instruction_runs import Array, execute, integers

TYPES = [f"{kind}{bits}" for kind in "us" for bits in (8, 16, 32, 64)]


def numpy_type(type_name: str) -> str:
    """The numpy type of a PTX integer."""
    return ("uint" if type_name.startswith("u") else "int") + type_name[1:]


def register(type_name: str) -> str:
    """The numpy type of the register that holds it."""
    return f"uint{max(16, int(type_name[1:]))}"


def limits(type_name: str) -> tuple[int, int]:
    """Least and greatest number."""
    info = np.iinfo(numpy_type(type_name))
    return int(info.min), int(info.max)


def held(values: list[int], type_name: str, word: str) -> Array:
    """The values truncated to the type, and extended by its sign to the register."""
    narrow = np.array([value % 2 ** int(type_name[1:]) for value in values], f"uint{type_name[1:]}")
    return narrow.view(numpy_type(type_name)).astype(word)


@pytest.mark.parametrize("source", TYPES)
def test_every_integer_to_every_other(memory: DeviceMemory, source: str) -> None:
    """Without .sat modulo the width; with it the nearest number of the type. Bits above the source do not count."""
    numbers = integers(numpy_type(source))
    a = numbers.astype(register(source))
    if source.endswith("8"):
        a = (a & 0xFF) | np.uint16(0x5A00)
    for target in TYPES:
        plain, clamped = execute(
            memory, [f"cvt.{target}.{source} %d, %a;", f"cvt.sat.{target}.{source} %d, %a;"], register(target), a=a
        )
        least, greatest = limits(target)
        nearest = [min(max(value, least), greatest) for value in numbers.tolist()]
        np.testing.assert_array_equal(plain, held(numbers.tolist(), target, register(target)), err_msg=target)
        np.testing.assert_array_equal(clamped, held(nearest, target, register(target)), err_msg=target)


@pytest.mark.parametrize(("target", "source"), [("s8", "s32"), ("u8", "u64"), ("u16", "s64"), ("s16", "u16")])
def test_registers_wider_than_the_types(memory: DeviceMemory, target: str, source: str) -> None:
    """A wider source is cut; a wider destination is filled with the sign or with zeros."""
    a = integers("uint64")
    (found,) = execute(memory, [f"cvt.{target}.{source} %d, %a;"], "uint64", a=a)
    low = [value % 2 ** int(source[1:]) for value in a.tolist()]
    np.testing.assert_array_equal(found, held(low, target, "uint64"))


def test_pack_clamps_and_shifts_the_third_operand_in(memory: DeviceMemory) -> None:
    """``cvt.pack``: b and a, clamped, in the lowest bits, then c; without c two 16-bit numbers."""
    a = np.array([-5, 300, 7, 100_000], np.int32)
    b = np.array([3, -200, 9, -100_000], np.int32)
    c = np.array([0x1234, 0xFFFFFFFF, 0, 0xABCD], np.uint32)
    shorts, unsigned, signed_bytes, nibbles = execute(
        memory,
        ["cvt.pack.sat.s16.s32 %d, %a, %b;", "cvt.pack.sat.u16.s32 %d, %a, %b;",
         "cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;", "cvt.pack.sat.u4.s32.b32 %d, %a, %b, %c;"],
        "uint32", a=a, b=b, c=c,
    )  # fmt: skip
    assert [hex(x) for x in shorts] == ["0xfffb0003", "0x12cff38", "0x70009", "0x7fff8000"]
    assert [hex(x) for x in unsigned] == ["0x3", "0x12c0000", "0x70009", "0xffff0000"]
    assert [hex(x) for x in signed_bytes] == ["0x1234fb03", "0xffff7f80", "0x709", "0xabcd7f80"]
    assert [hex(x) for x in nibbles] == ["0x123403", "0xfffffff0", "0x79", "0xabcdf0"]
