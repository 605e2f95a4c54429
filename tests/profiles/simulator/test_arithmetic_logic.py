"""Bit operations against the PTX ISA's own definitions, written out here over Python's integers."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.simulator.device_memory import DeviceMemory
from tests.profiles.simulator.instruction_runs import execute, integers, pairs

WORDS = {16: "uint16", 32: "uint32", 64: "uint64"}


def signed(value: int, bits: int) -> int:
    """The number that the bits stand for in two's complement."""
    return value - 2**bits if value >> (bits - 1) & 1 else value


@pytest.mark.parametrize("bits", WORDS)
def test_bitwise_operations(memory: DeviceMemory, bits: int) -> None:
    """``and`` or xor not, and cnot: 1 for zero, else 0."""
    a, b = pairs(integers(WORDS[bits]))
    operations = [f"{name}.b{bits} %d, %a, %b;" for name in ("and", "or", "xor")]
    operations += [f"{name}.b{bits} %d, %a;" for name in ("not", "cnot")]
    for found, expected in zip(
        execute(memory, operations, WORDS[bits], a=a, b=b), (a & b, a | b, a ^ b, ~a, a == 0), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bits", WORDS)
def test_shifts_clamp_their_amount(memory: DeviceMemory, bits: int) -> None:
    """A shift by the width or more leaves zero, or the sign."""
    amounts = np.array([0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 2**32 - 1], np.uint32)
    a = np.repeat(integers(WORDS[bits]), len(amounts))
    b = np.resize(amounts, len(a))
    left, right, sign = execute(
        memory, [f"{name} %d, %a, %b;" for name in (f"shl.b{bits}", f"shr.u{bits}", f"shr.s{bits}")], WORDS[bits],
        a=a, b=b,
    )  # fmt: skip
    for x, y, found_left, found_right, found_sign in zip(a.tolist(), b.tolist(), left, right, sign, strict=True):
        count = min(y, bits)
        assert int(found_left) == (x << count) % 2**bits
        assert int(found_right) == x >> count
        assert int(found_sign) == (signed(x, bits) >> count) % 2**bits


def test_funnel_shifts(memory: DeviceMemory) -> None:
    """``shf``: of 64 bits, the amount clamped to 32 or taken modulo 32."""
    a, b = pairs(integers("uint32"))
    c = np.resize(np.array([0, 1, 5, 31, 32, 33, 40, 2**32 - 1], np.uint32), len(a))
    modes = [(way, mode) for way in "lr" for mode in ("clamp", "wrap")]
    results = execute(memory, [f"shf.{way}.{mode}.b32 %d, %a, %b, %c;" for way, mode in modes], "uint32", a=a, b=b, c=c)
    for (way, mode), result in zip(modes, results, strict=True):
        for x, y, z, found in zip(a.tolist(), b.tolist(), c.tolist(), result.tolist(), strict=True):
            count = min(z, 32) if mode == "clamp" else z % 32
            both = y << 32 | x
            assert found == (both << count >> 32 if way == "l" else both >> count) % 2**32


def test_lop3_is_its_table(memory: DeviceMemory) -> None:
    """Bit 4a + 2b + c of the table, for each bit; 0xE8 is the majority."""
    values = np.random.default_rng(1).integers(0, 2**32, (3, 32), dtype=np.uint32)
    tables = (0x00, 0xFF, 0xE8, 0x96, 0xCA, 0x1B, 0x80, 0x01)
    results = execute(
        memory, [f"lop3.b32 %d, %a, %b, %c, {table};" for table in tables], "uint32",
        a=values[0], b=values[1], c=values[2],
    )  # fmt: skip
    bits = [np.unpackbits(row.view(np.uint8)) for row in values]
    for table, result in zip(tables, results, strict=True):
        index = 4 * bits[0] + 2 * bits[1] + bits[2]
        np.testing.assert_array_equal(np.unpackbits(result.view(np.uint8)), table >> index & 1)


def field_cases(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with all pairs of positions and lengths at, around and beyond the width."""
    edges = np.array([0, 1, 5, bits - 1, bits, bits + 1, 200, 255, 256, 259], np.uint32)
    position, length = pairs(edges)
    values = integers(WORDS[bits])
    return np.repeat(values, len(position)), np.tile(position, len(values)), np.tile(length, len(values))


@pytest.mark.parametrize("bits", [32, 64])
def test_bit_fields(memory: DeviceMemory, bits: int) -> None:
    """``bfe`` and bfi as the ISA's loops over bits have them; position and length are bytes, but of 64 bits not.

    There the ISA says so too, but an H100 (driver 580, CUDA 13.0) takes all their bits.
    """
    a, b, c = field_cases(bits)
    f = np.random.default_rng(1).permutation(a)
    results = execute(
        memory,
        [f"bfe.u{bits} %d, %a, %b, %c;", f"bfe.s{bits} %d, %a, %b, %c;", f"bfi.b{bits} %d, %a, %f, %b, %c;"],
        WORDS[bits], a=a, b=b, c=c, f=f,
    )  # fmt: skip
    unsigned, with_sign, inserted = (result.tolist() for result in results)
    for case, (x, position, length, into) in enumerate(
        zip(a.tolist(), b.tolist(), c.tolist(), f.tolist(), strict=True)
    ):
        if bits == 32:
            position, length = position & 255, length & 255
        sign = x >> min(position + length - 1, bits - 1) & 1 if length else 0
        inside = [i < length and position + i < bits for i in range(bits)]
        assert unsigned[case] == sum((x >> (position + i) & 1) << i for i in range(bits) if inside[i])
        assert with_sign[case] == sum(
            (x >> (position + i) & 1 if inside[i] else sign) << i for i in range(bits)
        )  # fmt: skip
        for i in range(bits):
            if inside[i]:
                into = into & ~(1 << (position + i)) | (x >> i & 1) << (position + i)
        assert inserted[case] == into


def test_masks_and_extensions(memory: DeviceMemory) -> None:
    """``bmsk``: `b` ones from bit `a` on; szext: bits from `b` on are filled; .wrap takes the numbers modulo 32."""
    a, b = pairs(np.array([0, 1, 7, 30, 31, 32, 33, 255, 0xDEADBEEF], np.uint32))
    names = [
        "bmsk.clamp.b32",
        "bmsk.wrap.b32",
        "szext.clamp.u32",
        "szext.wrap.u32",
        "szext.clamp.s32",
        "szext.wrap.s32",
    ]
    results = dict(zip(names, execute(memory, [f"{n} %d, %a, %b;" for n in names], "uint32", a=a, b=b), strict=True))
    for case, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        for mode in ("clamp", "wrap"):
            start, width = (min(x, 32), min(y, 32)) if mode == "clamp" else (x % 32, y % 32)
            assert results[f"bmsk.{mode}.b32"][case] == ((2**width - 1) << start) % 2**32
            low = x % 2**width
            assert results[f"szext.{mode}.u32"][case] == low
            assert results[f"szext.{mode}.s32"][case] == (signed(low, width) if width else 0) % 2**32


@pytest.mark.parametrize("bits", [32, 64])
def test_counts(memory: DeviceMemory, bits: int) -> None:
    """``popc``, clz, bfind (of a negative number: the highest zero) and its shift; all ones where there is no bit."""
    a = np.concatenate([integers(WORDS[bits]), np.array([2**bits - 1, 2**bits - 2, 2 ** (bits - 1)], WORDS[bits])])
    names = [f"popc.b{bits}", f"clz.b{bits}", f"bfind.u{bits}", f"bfind.s{bits}", f"bfind.shiftamt.u{bits}"]
    count, zeros, highest, other, shift = execute(memory, [f"{n} %d, %a;" for n in names], "uint32", a=a)
    (turned,) = execute(memory, [f"brev.b{bits} %d, %a;"], WORDS[bits], a=a)
    for case, x in enumerate(a.tolist()):
        assert count[case] == x.bit_count()
        assert zeros[case] == bits - x.bit_length()
        assert highest[case] == (x.bit_length() - 1) % 2**32
        number = signed(x, bits)
        assert other[case] == ((~number if number < 0 else number).bit_length() - 1) % 2**32
        assert shift[case] == (bits - x.bit_length() if x else 2**32 - 1)
        assert int(turned[case]) == int(f"{x:0{bits}b}"[::-1], 2)


def test_fns_finds_the_nth_set_bit(memory: DeviceMemory) -> None:
    """Counted from `base` up or down, itself included; offset 0 asks for the bit itself."""
    mask = np.full(8, 0b1011_0100, np.uint32)
    base = np.array([0, 2, 3, 2, 7, 7, 4, 0], np.uint32)
    offset = np.array([1, 1, 2, 0, -1, -4, -2, 5], np.int32)
    (found,) = execute(memory, ["fns.b32 %d, %a, %b, %c;"], "uint32", a=mask, b=base, c=offset)
    assert found.tolist() == [2, 2, 5, 2, 7, 2, 2, 2**32 - 1]


def test_prmt_selects_bytes(memory: DeviceMemory) -> None:
    """Each nibble chooses a byte of b:a, or with its highest bit that byte's sign."""
    a = np.full(4, 0x83828180, np.uint32)
    b = np.full(4, 0x07060504, np.uint32)
    c = np.array([0x3210, 0x7654, 0x0527, 0x8C3F], np.uint32)
    (found,) = execute(memory, ["prmt.b32 %d, %a, %b, %c;"], "uint32", a=a, b=b, c=c)
    assert [hex(value) for value in found] == ["0x83828180", "0x7060504", "0x80058207", "0xff008300"]


# Bytes of the result, lowest first, for the selectors 0 to 3: the ISA's table.
PRMT_MODES = {
    "f4e": ((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6)),
    "b4e": ((0, 7, 6, 5), (1, 0, 7, 6), (2, 1, 0, 7), (3, 2, 1, 0)),
    "rc8": ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)),
    "ecl": ((0, 1, 2, 3), (1, 1, 2, 3), (2, 2, 2, 3), (3, 3, 3, 3)),
    "ecr": ((0, 0, 0, 0), (0, 1, 1, 1), (0, 1, 2, 2), (0, 1, 2, 3)),
    "rc16": ((0, 1, 0, 1), (2, 3, 2, 3), (0, 1, 0, 1), (2, 3, 2, 3)),
}


def test_prmt_modes(memory: DeviceMemory) -> None:
    """The special modes give the bytes of the ISA's table."""
    a, b = np.full(4, 0x03020100, np.uint32), np.full(4, 0x07060504, np.uint32)
    results = execute(
        memory, [f"prmt.b32.{mode} %d, %a, %b, %c;" for mode in PRMT_MODES], "uint32",
        a=a, b=b, c=np.arange(4, dtype=np.uint32),
    )  # fmt: skip
    for rows, result in zip(PRMT_MODES.values(), results, strict=True):
        assert [tuple(row) for row in result.view(np.uint8).reshape(4, 4).tolist()] == list(rows)


def test_packing(memory: DeviceMemory) -> None:
    """``mov`` puts the first element of a vector into the lowest bits, and takes it from there."""
    a = np.array([0x8877665544332211], np.uint64)
    turn = """
        .reg .b16 %h0, %h1, %h2, %h3; .reg .b32 %w0, %w1;
        mov.b64 {%h0, %h1, %h2, %h3}, %a;
        mov.b32 %w0, {%h3, %h2}; mov.b32 %w1, {%h1, %h0};
        mov.b64 %d, {%w0, %w1};
    """
    halves = ".reg .b32 %lo, %hi; mov.b64 {%lo, %hi}, %a; mov.b64 %d, {%hi, %lo};"
    long = ".reg .b128 %l; .reg .b64 %x, %y; mov.b128 %l, {%a, 5}; mov.b128 {%x, %y}, %l; add.u64 %d, %x, %y;"
    turned, swapped, summed = execute(memory, [turn, halves, long], "uint64", a=a)
    assert [hex(value[0]) for value in (turned, swapped, summed)] == [
        "0x2211443366558877", "0x4433221188776655", "0x8877665544332216",
    ]  # fmt: skip


def test_predicate_logic(memory: DeviceMemory) -> None:
    """``and`` or xor not mov of predicates, with operands that are negated."""
    a, b = (np.array(column, np.uint32) for column in zip((0, 0), (0, 1), (1, 0), (1, 1), strict=True))
    begin = "setp.ne.u32 %p, %a, 0; setp.ne.u32 %q, %b, 0;"
    end = "selp.u32 %d, 1, 0, %t;"
    operations = ["and.pred %t, %p, %q;", "or.pred %t, %p, %q;", "xor.pred %t, %p, %q;", "not.pred %t, %p;"]
    operations += ["mov.pred %t, %q;", "and.pred %t, %p, !%q;", "or.pred %t, !%p, %q;"]
    results = execute(memory, [begin + operation + end for operation in operations], "uint32", a=a, b=b)
    expected = [a & b, a | b, a ^ b, 1 - a, b, a & (1 - b), (1 - a) | b]
    for operation, found, wanted in zip(operations, results, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=operation)
