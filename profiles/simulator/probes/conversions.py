"""Probes of cvt: every rounding, saturation and special value."""

from __future__ import annotations

from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import Probe, Words
from profiles.simulator.probes.values import (
    BF16_CODES,
    F16_CODES,
    F32_CONVERTED,
    F64_CODES,
    INTEGERS_32,
    INTEGERS_64,
    all_tuples,
    hashed,
    words_of,
)

_F32 = ("b32", words_of(F32_CONVERTED))
_F64 = ("b64", words_of((*F64_CODES, *(int(code) for code in hashed(34, 2)))))
_F16 = ("b16", words_of((*F16_CODES, *(int(code) for code in hashed(48, 3, 16)))))
_BF16 = ("b16", words_of((*BF16_CODES, *(int(code) for code in hashed(48, 4, 16)))))
_WHOLE = "rni rzi rmi rpi"


def conversion_probes() -> list[Probe]:
    """All of them."""
    return [*_of_f32(), *_of_f64(), *_of_halves(), *_of_pairs(), *_of_bytes(), *_of_integers()]


def _to_integers(source: str) -> list[str]:
    return [
        *each("b32: cvt.{how}.{result}.{source} $0, %a0", how=_WHOLE, result="s32 u32", source=source),
        *each("b64: cvt.{how}.{result}.{source} $0, %a0", how=_WHOLE, result="s64 u64", source=source),
        *each("b16: cvt.{how}.{result}.{source} $0, %a0", how=_WHOLE, result="s16 u16", source=source),
    ]


def _of_f32() -> list[Probe]:
    to_halves = [
        *each("b16: cvt.{rounding}.f16.f32 $0, %a0", rounding="rn rz rn.ftz rn.sat rn.relu rz.relu"),
        *each("b16: cvt.{rounding}.bf16.f32 $0, %a0", rounding="rn rz rn.relu rz.relu"),
    ]
    to_itself = each("b32: cvt.{how}.f32.f32 $0, %a0", how=f"{_WHOLE} rni.ftz sat ftz.sat ftz")
    return [
        per_thread("convert-f32-to-halves", "sm_80", [_F32], to_halves),
        per_thread("convert-f32-to-f16-directed", "sm_80", [_F32], each("b16: cvt.{how}.f16.f32 $0, %a0", how="rm rp")),
        per_thread("convert-f32-to-tf32-away", "sm_80", [_F32], ["b32: cvt.rna.tf32.f32 $0, %a0"]),
        per_thread(
            "convert-f32-to-tf32",
            "sm_90",
            [_F32],
            each("b32: cvt.{how}.tf32.f32 $0, %a0", how="rn rz rn.relu rz.relu"),
        ),
        per_thread("convert-f32-to-integers", "sm_80", [_F32], _to_integers("f32")),
        per_thread(
            "convert-f32-to-integers-flushed",
            "sm_80",
            [_F32],
            each("b32: cvt.{how}.ftz.s32.f32 $0, %a0", how=_WHOLE),
        ),
        per_thread("convert-f32-to-whole-f32", "sm_80", [_F32], to_itself),
        per_thread("convert-f32-to-f64", "sm_80", [_F32], ["b64: cvt.f64.f32 $0, %a0", "b64: cvt.ftz.f64.f32 $0, %a0"]),
    ]


def _of_f64() -> list[Probe]:
    to_floats = each("b32: cvt.{how}.f32.f64 $0, %a0", how="rn rz rm rp rn.ftz rn.sat")
    to_itself = each("b64: cvt.{how}.f64.f64 $0, %a0", how=f"{_WHOLE} sat")
    return [
        per_thread("convert-f64-to-f32", "sm_80", [_F64], to_floats),
        per_thread("convert-f64-to-f16", "sm_80", [_F64], each("b16: cvt.{how}.f16.f64 $0, %a0", how="rn rz")),
        per_thread("convert-f64-to-bf16", "sm_90", [_F64], each("b16: cvt.{how}.bf16.f64 $0, %a0", how="rn rz")),
        per_thread("convert-f64-to-integers", "sm_80", [_F64], _to_integers("f64")),
        per_thread("convert-f64-to-whole-f64", "sm_80", [_F64], to_itself),
    ]


def _of_halves() -> list[Probe]:
    return [
        per_thread("convert-f16-to-floats", "sm_80", [_F16], ["b32: cvt.f32.f16 $0, %a0", "b64: cvt.f64.f16 $0, %a0"]),
        per_thread("convert-f16-to-integers", "sm_80", [_F16], _to_integers("f16")),
        per_thread("convert-f16-to-whole-f16", "sm_80", [_F16], each("b16: cvt.{how}.f16.f16 $0, %a0", how=_WHOLE)),
        per_thread("convert-bf16-to-f32", "sm_90", [_BF16], ["b32: cvt.f32.bf16 $0, %a0"]),
        per_thread("convert-bf16-to-f64", "sm_90", [_BF16], ["b64: cvt.f64.bf16 $0, %a0"]),
        per_thread("convert-bf16-to-integers", "sm_90", [_BF16], _to_integers("bf16")),
        per_thread(
            "convert-integers-to-halves",
            "sm_80",
            [("b32", words_of(INTEGERS_32))],
            each("b16: cvt.{how}.f16.{source} $0, %a0", how="rn rz", source="s32 u32"),
        ),
    ]


def _pairs() -> list[tuple[str, Words]]:
    first = words_of(F32_CONVERTED)
    return [("b32", first), ("b32", first[::-1].copy())]


def _of_pairs() -> list[Probe]:
    how = "rn rz rn.relu rz.relu"
    return [
        per_thread(
            "convert-f32-to-half-pairs",
            "sm_80",
            _pairs(),
            each("b32: cvt.{how}.{result}.f32 $0, %a0, %a1", how=how, result="f16x2 bf16x2"),
        ),
        per_thread(
            "convert-f32-to-byte-pairs",
            "sm_89",
            _pairs(),
            each("b16: cvt.rn.satfinite{relu}.{result}.f32 $0, %a0, %a1", relu="- .relu", result="e4m3x2 e5m2x2"),
        ),
    ]


def _of_bytes() -> list[Probe]:
    pairs = words_of([low | high << 16 for low, high in zip(F16_CODES, reversed(F16_CODES), strict=True)])
    halves = [int(code) for code in hashed(80, 5, 32)] + [int(code) for code in pairs[:16]]
    every_byte = words_of([code | (255 - code) << 8 for code in range(256)])
    return [
        per_thread(
            "convert-f16-to-byte-pairs",
            "sm_89",
            [("b32", words_of(halves))],
            each("b16: cvt.rn.satfinite{relu}.{result}.f16x2 $0, %a0", relu="- .relu", result="e4m3x2 e5m2x2"),
        ),
        per_thread(
            "convert-byte-pairs-to-f16",
            "sm_89",
            [("b16", every_byte)],
            each("b32: cvt.rn{relu}.f16x2.{source} $0, %a0", relu="- .relu", source="e4m3x2 e5m2x2"),
        ),
    ]


def _of_integers() -> list[Probe]:
    of_32 = each("b32: cvt.{how}.f32.{source} $0, %a0", how="rn rz rm rp rn.sat", source="s32 u32")
    of_64 = each("b32: cvt.{how}.f32.{source} $0, %a0", how="rn rz rm rp", source="s64 u64")
    between = [
        *each("b16: cvt{sat}.{result}.{source} $0, %a0", sat="- .sat", result="s16 u16", source="s32 u32"),
        *each("b16: cvt{sat}.{result}.{source} $0, %a0", sat="- .sat", result="s8 u8", source="s32 u32"),
        *each("b32: cvt{sat}.{result}.{source} $0, %a0", sat="- .sat", result="s8 u8", source="s32 u32"),
        *each("b64: cvt.{result}.{source} $0, %a0", result="s64 u64", source="s32 u32"),
        "b64: cvt.sat.u64.s32 $0, %a0",
        "b32: cvt.sat.u32.s32 $0, %a0",
        "b32: cvt.sat.s32.u32 $0, %a0",
        *each("b32: cvt.u32.{source} $0, %a0", source="s8 u8 s16 u16"),
    ]
    packed = each("b32: cvt.pack.sat.{result}.s32 $0, %a0, %a1", result="u16 s16")
    packed += each("b32: cvt.pack.sat.{result}.s32.b32 $0, %a0, %a1, %a2", result="u8 s8 u4 s4 u2 s2")
    triples = [("b32", words) for words in all_tuples(INTEGERS_32, INTEGERS_32[:8], (0, 0xA5A5A5A5))]
    narrowed = each("b32: cvt{sat}.{result}.{source} $0, %a0", sat="- .sat", result="s32 u32", source="s64 u64")
    codes = words_of((*INTEGERS_32, *(int(code) for code in hashed(21, 6, 32))))
    long = words_of((*INTEGERS_64, *INTEGERS_32, *(int(code) for code in hashed(14, 7))))
    return [
        per_thread("convert-32-bit-integers-to-f32", "sm_80", [("b32", codes)], of_32),
        per_thread(
            "convert-32-bit-integers-to-f64",
            "sm_80",
            [("b32", codes)],
            each("b64: cvt.rn.f64.{source} $0, %a0", source="s32 u32"),
        ),
        per_thread("convert-64-bit-integers-to-f32", "sm_80", [("b64", long)], of_64),
        per_thread(
            "convert-64-bit-integers-to-f64",
            "sm_80",
            [("b64", long)],
            each("b64: cvt.{how}.f64.{source} $0, %a0", how="rn rz rm rp", source="s64 u64"),
        ),
        per_thread("convert-between-integers", "sm_80", [("b32", codes)], between),
        per_thread("convert-64-bit-integers", "sm_80", [("b64", long)], narrowed),
        per_thread("convert-packed-integers", "sm_80", triples, packed),
    ]
