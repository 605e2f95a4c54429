"""Probes of integer arithmetic, bit operations and their edge cases."""

from __future__ import annotations

from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import Probe
from profiles.simulator.probes.values import INTEGERS_32, INTEGERS_64, all_tuples, hashed, words_of

_COUNTS = (0, 1, 7, 31, 32, 33, 63, 64, 65, 255, 256, 0x80000000, 0xFFFFFFFF)


def integer_probes() -> list[Probe]:
    """All of them."""
    return [*_arithmetic(), *_other_arithmetic(), *_shifts(), *_fields(), *_bytes(), *_bits(), *_carries()]


def _arithmetic() -> list[Probe]:
    pairs = [("b32", words) for words in all_tuples(INTEGERS_32, INTEGERS_32)]
    long = [("b64", words) for words in all_tuples(INTEGERS_64, INTEGERS_64)]
    instructions = [
        *each("b32: {op}.s32 $0, %a0, %a1", op="add.sat sub.sat min max mul.hi mul24.lo mul24.hi"),
        *each("b32: {op}.u32 $0, %a0, %a1", op="min max mul.hi mul24.lo mul24.hi"),
        *each("b64: mul.wide.{kind} $0, %a0, %a1", kind="s32 u32"),
        *each("b32: {op}.s32 $0, %a0", op="abs neg"),
        *each("b32: {op}.{kind} $0, %a0, %a1, %a0", op="sad mad.hi mad24.lo mad24.hi", kind="s32 u32"),
        "b32: mad.hi.sat.s32 $0, %a0, %a1, %a0",
        "b32: mad24.hi.sat.s32 $0, %a0, %a1, %a0",
        "b32: slct.b32.s32 $0, %a0, %a1, %a0",
    ]
    long_instructions = [
        *each("b64: {op}.{kind} $0, %a0, %a1", op="mul.hi mul.lo min max", kind="s64 u64"),
        "b64: abs.s64 $0, %a0",
    ]
    return [
        per_thread("integer-arithmetic-32", "sm_80", pairs, instructions),
        per_thread("integer-arithmetic-64", "sm_80", long, long_instructions),
    ]


def _other_arithmetic() -> list[Probe]:
    pairs = [("b32", words) for words in all_tuples(INTEGERS_32, INTEGERS_32)]
    divisors = tuple(value for value in INTEGERS_32 if value)
    quotients = [("b32", words) for words in all_tuples(INTEGERS_32, divisors)]
    halves = [("b16", words) for words in all_tuples((0, 1, 0x7FFF, 0x8000, 0xFFFF), (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF))]
    return [
        per_thread(
            "integer-quotients", "sm_80", quotients, each("b32: {op}.{kind} $0, %a0, %a1", op="div rem", kind="s32 u32")
        ),
        *_quotients_by_zero(),
        per_thread(
            "integer-arithmetic-16",
            "sm_80",
            halves,
            [
                *each("b16: {op}.s16 $0, %a0, %a1", op="mul.hi min max div rem"),
                *each("b16: {op}.u16 $0, %a0, %a1", op="mul.lo mul.hi min max"),
                *each("b32: mul.wide.{kind} $0, %a0, %a1", kind="s16 u16"),
            ],
        ),
        per_thread(
            "integer-comparisons",
            "sm_80",
            pairs,
            [
                *each("pred: setp.{relation}.s32 $0, %a0, %a1", relation="eq ne lt le gt ge"),
                *each("pred: setp.{relation}.u32 $0, %a0, %a1", relation="lo ls hi hs lt ge"),
            ],
        ),
    ]


def _quotients_by_zero() -> list[Probe]:
    """Which PTX leaves open, like the most negative number divided by -1."""
    dividends = {16: (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0xA5), 32: INTEGERS_32, 64: INTEGERS_64}
    return [
        per_thread(
            f"integer-quotients-{bits}-by-zero",
            "sm_80",
            [(f"b{bits}", column) for column in all_tuples(codes, (0, (1 << bits) - 1))],
            each(f"b{bits}: {{op}}.{{kind}} $0, %a0, %a1", op="div rem", kind=f"s{bits} u{bits}"),
        )
        for bits, codes in dividends.items()
    ]


def _shifts() -> list[Probe]:
    words = [("b32", column) for column in all_tuples((0x89ABCDEF, 0x7FFFFFFF, 1), _COUNTS)]
    long_values, counts = all_tuples((0x89ABCDEF01234567, 0x7FFFFFFFFFFFFFFF, 1), _COUNTS)
    shorts, short_counts = all_tuples((0x89AB, 0x7FFF, 1), (*_COUNTS, 15, 16, 17))
    return [
        per_thread(
            "shifts-32",
            "sm_80",
            words,
            [
                *each("b32: {op} $0, %a0, %a1", op="shl.b32 shr.u32 shr.s32 shr.b32"),
                *each("b32: shf.{way}.{mode}.b32 $0, %a0, 0x13579bdf, %a1", way="l r", mode="clamp wrap"),
            ],
        ),
        per_thread(
            "shifts-64",
            "sm_80",
            [("b64", long_values), ("b32", counts)],
            each("b64: {op} $0, %a0, %a1", op="shl.b64 shr.u64 shr.s64"),
        ),
        per_thread(
            "shifts-16",
            "sm_80",
            [("b16", shorts), ("b32", short_counts)],
            each("b16: {op} $0, %a0, %a1", op="shl.b16 shr.u16 shr.s16"),
        ),
    ]


def _fields() -> list[Probe]:
    """Positions and lengths beyond the word, and beyond the 8 bits that count."""
    places = (0, 1, 15, 31, 32, 33, 255, 256, 257)
    words = [("b32", column) for column in all_tuples((0x89ABCDEF, 0x76543210), places, places)]
    values, first, length = all_tuples((0x89ABCDEF01234567, 0x7654321012345678), (*places, 63, 64), (*places, 63, 64))
    return [
        per_thread(
            "bit-fields-32",
            "sm_80",
            words,
            [
                *each("b32: bfe.{kind} $0, %a0, %a1, %a2", kind="u32 s32"),
                "b32: bfi.b32 $0, 0xa5a5a5a5, %a0, %a1, %a2",
                *each("b32: bmsk.{mode}.b32 $0, %a1, %a2", mode="clamp wrap"),
                *each("b32: szext.{mode}.{kind} $0, %a0, %a1", mode="clamp wrap", kind="u32 s32"),
            ],
        ),
        per_thread(
            "bit-fields-64",
            "sm_80",
            [("b64", values), ("b32", first), ("b32", length)],
            [
                *each("b64: bfe.{kind} $0, %a0, %a1, %a2", kind="u64 s64"),
                "b64: bfi.b64 $0, %a0, 0x1234, %a1, %a2",
            ],
        ),
    ]


def _bytes() -> list[Probe]:
    selectors = (*range(16), 0x7654, 0x3210, 0xFEDC, 0x8888, 0x4567, 0xFFFF0123, 0x0F1E, 0x73B2)
    words = [("b32", column) for column in all_tuples((0x80FF7F01,), (0x12E45689,), selectors)]
    dots = [("b32", hashed(64, 60 + index, 32)) for index in range(3)]
    tables = ("0x00", "0x80", "0xe8", "0x96", "0xca", "0x1b", "0xff")
    return [
        per_thread(
            "byte-permutations",
            "sm_80",
            words,
            each("b32: prmt.b32{mode} $0, %a0, %a1, %a2", mode="- .f4e .b4e .rc8 .ecl .ecr .rc16"),
        ),
        per_thread("logic-tables", "sm_80", dots, [f"b32: lop3.b32 $0, %a0, %a1, %a2, {table}" for table in tables]),
        per_thread(
            "byte-products",
            "sm_80",
            dots,
            [
                *each("b32: dp4a.{a}.{b} $0, %a0, %a1, %a2", a="u32 s32", b="u32 s32"),
                *each("b32: dp2a.{half}.{a}.{b} $0, %a0, %a1, %a2", half="lo hi", a="u32 s32", b="u32 s32"),
            ],
        ),
    ]


def _bits() -> list[Probe]:
    codes = words_of((*INTEGERS_32, *(int(code) for code in hashed(21, 65, 32))))
    long = words_of((*INTEGERS_64, *(int(code) for code in hashed(25, 66))))
    nth = [("b32", column) for column in all_tuples((0x89ABCDEF, 0, 0xFFFFFFFF), (0, 7, 31), (-3 % 2**32, 0, 1, 4, 40))]
    return [
        per_thread(
            "bit-counts-32",
            "sm_80",
            [("b32", codes)],
            [
                *each("b32: {op}.b32 $0, %a0", op="popc clz brev not cnot"),
                *each("b32: bfind{how}.{kind} $0, %a0", how="- .shiftamt", kind="u32 s32"),
            ],
        ),
        per_thread(
            "bit-counts-64",
            "sm_80",
            [("b64", long)],
            [
                *each("b32: {op}.b64 $0, %a0", op="popc clz"),
                "b64: brev.b64 $0, %a0",
                *each("b32: bfind{how}.{kind} $0, %a0", how="- .shiftamt", kind="u64 s64"),
            ],
        ),
        per_thread("nth-set-bit", "sm_80", nth, ["b32: fns.b32 $0, %a0, %a1, %a2"]),
    ]


def _carries() -> list[Probe]:
    pairs = [("b32", words) for words in all_tuples(INTEGERS_32, INTEGERS_32)]
    rest = ".reg .b32 %low; "
    return [
        per_thread(
            "carries",
            "sm_80",
            pairs,
            [
                "b32 b32: add.cc.u32 $0, %a0, %a1; addc.u32 $1, %a1, 0",
                "b32 b32: sub.cc.u32 $0, %a0, %a1; subc.u32 $1, %a1, 0",
                "b32 b32: mad.lo.cc.u32 $0, %a0, %a1, %a0; madc.hi.u32 $1, %a0, %a1, 0",
                f"b32: {rest}add.cc.u32 %low, %a0, %a1; addc.cc.u32 %low, %a0, %a0; addc.u32 $0, %a1, %a1",
            ],
        )
    ]
