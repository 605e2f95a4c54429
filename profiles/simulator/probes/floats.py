"""Probes of floating-point arithmetic: rounding, subnormal numbers, NaN, signed zeros, and the approximations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import Probe, Tolerance, Words
from profiles.simulator.probes.values import (
    BF16_CODES,
    F16_CODES,
    F32_CODES,
    F64_CODES,
    all_tuples,
    f32,
    hashed,
    words_of,
)

_FEW_F32 = (0, 0x80000000, 0x3F800001, 0xBF7FFFFF, 0x00000001, 0x7F7FFFFF, 0xFF800000, 0x7FC00000)
_NANS_F64 = (0x7FF8000000000011, 0xFFF4000000000123, 0x7FF2555500000000)  # quiet, signalling and negative, signalling
_EDGES_F64 = (*F64_CODES[:14], *_NANS_F64)
_COMPARISONS = "eq ne lt le gt ge equ neu ltu leu gtu geu num nan"


def float_probes() -> list[Probe]:
    """All of them."""
    return [*_single(), *_double(), *_halves(), *_comparisons(), *_approximations()]


def _columns(kind: str, *codes: Sequence[int]) -> list[tuple[str, Words]]:
    return [(kind, words) for words in all_tuples(*codes)]


def _with_random(kind: str, codes: Sequence[int], seed: int, count: int) -> list[tuple[str, Words]]:
    """All pairs of the codes, and pairs of random codes: [a, b]."""
    bits = int(kind[1:])
    return [
        (kind, words_of([*(int(word) for word in words), *(int(word) for word in hashed(count, seed + index, bits))]))
        for index, words in enumerate(all_tuples(codes, codes))
    ]


def _single() -> list[Probe]:
    pairs = _with_random("b32", F32_CODES, 20, 32)
    triples = _columns("b32", _FEW_F32, _FEW_F32, _FEW_F32)
    one = [("b32", words_of((*F32_CODES, *(int(code) for code in hashed(46, 23, 32)))))]
    sums = each("b32: {op}.{how}.f32 $0, %a0, %a1", op="add sub mul", how="rn rz rm rp rn.ftz rn.sat rn.ftz.sat rz.ftz")
    extrema = each("b32: {op}{how}.f32 $0, %a0, %a1", op="min max", how="- .NaN .ftz .ftz.NaN")
    xorsign = each("b32: {op}{how}.xorsign.abs.f32 $0, %a0, %a1", op="min max", how="- .NaN")
    fused = each("b32: fma.{how}.f32 $0, %a0, %a1, %a2", how="rn rz rm rp rn.ftz rn.sat rn.ftz.sat")
    unary = each("b32: {op}.{how}.f32 $0, %a0", op="rcp sqrt", how="rn rz rm rp rn.ftz")
    return [
        per_thread("f32-sums-and-products", "sm_80", pairs, sums),
        per_thread("f32-minimum-and-maximum", "sm_80", pairs, extrema),
        per_thread("f32-minimum-with-sign", "sm_86", pairs, xorsign),
        per_thread("f32-fused", "sm_80", triples, fused),
        per_thread("f32-quotients", "sm_80", pairs, each("b32: div.{how}.f32 $0, %a0, %a1", how="rn rz rm rp rn.ftz")),
        per_thread("f32-reciprocals-and-roots", "sm_80", one, unary),
        per_thread("f32-signs", "sm_80", one, each("b32: {op}.f32 $0, %a0", op="abs neg abs.ftz neg.ftz")),
        per_thread("f32-copysign", "sm_80", pairs, ["b32: copysign.f32 $0, %a0, %a1"]),
    ]


def _double() -> list[Probe]:
    pairs = _with_random("b64", _EDGES_F64, 30, 60)
    few = (0, 0x3FF0000000000001, 0xBFEFFFFFFFFFFFFF, 1, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000, *_NANS_F64)
    signs = [*each("b64: {op}.f64 $0, %a0", op="abs neg"), "b64: copysign.f64 $0, %a0, %a1"]
    return [
        per_thread(
            "f64-sums-and-products",
            "sm_80",
            pairs,
            each("b64: {op}.{how}.f64 $0, %a0, %a1", op="add sub mul", how="rn rz rm rp"),
        ),
        per_thread("f64-minimum-and-maximum", "sm_80", pairs, each("b64: {op}.f64 $0, %a0, %a1", op="min max")),
        per_thread("f64-signs", "sm_80", pairs, signs),
        per_thread(
            "f64-fused",
            "sm_80",
            _columns("b64", few, few, few),
            each("b64: fma.{how}.f64 $0, %a0, %a1, %a2", how="rn rz rm rp"),
        ),
        per_thread("f64-quotients", "sm_80", pairs, each("b64: div.{how}.f64 $0, %a0, %a1", how="rn rz rm rp")),
        per_thread(
            "f64-reciprocals-and-roots", "sm_80", pairs, each("b64: {op}.{how}.f64 $0, %a0", op="rcp sqrt", how="rn rz")
        ),
    ]


def _halves() -> list[Probe]:
    f16 = _with_random("b16", F16_CODES, 40, 64)
    bf16 = _with_random("b16", BF16_CODES, 42, 64)
    sums = [
        *each("b16: {op}{how}.f16 $0, %a0, %a1", op="add sub mul", how="- .rn .ftz .sat .ftz.sat"),
        *each("b16: fma.rn{how}.f16 $0, %a0, %a1, %a0", how="- .ftz .sat .relu"),
    ]
    f16_other = [
        *each("b16: {op}{how}.f16 $0, %a0, %a1", op="min max", how="- .NaN .ftz"),
        *each("b16: {op}.f16 $0, %a0", op="abs neg"),
    ]
    bf16_other = [
        *each("b16: {op}{how}.bf16 $0, %a0, %a1", op="min max", how="- .NaN"),
        *each("b16: {op}.bf16 $0, %a0", op="abs neg"),
        *each("b16: fma.rn{how}.bf16 $0, %a0, %a1, %a0", how="- .relu"),
    ]
    packed = [("b32", hashed(64, 44 + index, 32)) for index in range(3)]
    codes = (*F16_CODES, *BF16_CODES)
    both = [("b32", words_of([low | high << 16 for low, high in zip(codes, codes[7:] + codes[:7], strict=True)]))]
    pairs = [
        *each("b32: fma.rn{how}.{kind} $0, %a0, %a1, %a2", how="- .relu", kind="f16x2 bf16x2"),
        *each("b32: {op}.{kind} $0, %a0, %a1", op="min max min.NaN", kind="f16x2 bf16x2"),
        *each("b32: {op}.f16x2 $0, %a0, %a1", op="add sub mul"),
    ]
    return [
        per_thread("f16-sums-and-products", "sm_80", f16, sums),
        per_thread("f16-minimum-and-maximum", "sm_80", f16, f16_other),
        per_thread("bf16-arithmetic", "sm_80", bf16, bf16_other),
        per_thread("bf16-sums-and-products", "sm_90", bf16, each("b16: {op}.bf16 $0, %a0, %a1", op="add sub mul")),
        per_thread("half-pairs", "sm_80", packed, pairs),
        per_thread(
            "half-pair-signs", "sm_80", both, each("b32: {op}.{kind} $0, %a0", op="abs neg", kind="f16x2 bf16x2")
        ),
    ]


def _comparisons() -> list[Probe]:
    f32_pairs = _columns("b32", F32_CODES, F32_CODES)
    relations = each("pred: setp.{relation}{how}.f32 $0, %a0, %a1", relation=_COMPARISONS, how="- .ftz")
    f64_pairs = _columns("b64", _EDGES_F64, _EDGES_F64)
    halves = each("pred: setp.{relation}.f16 $0, %a0, %a1", relation=_COMPARISONS)
    properties = "finite infinite number notanumber normal subnormal"
    choices = [
        "b32: slct.b32.f32 $0, %a0, %a1, %a0",
        "b32: slct.ftz.b32.f32 $0, %a0, %a1, %a0",
        "b32: set.lt.f32.f32 $0, %a0, %a1",
        "b32: set.geu.u32.f32 $0, %a0, %a1",
    ]
    return [
        per_thread("f32-comparisons", "sm_80", f32_pairs, relations),
        per_thread("f64-comparisons", "sm_80", f64_pairs, each("pred: setp.{how}.f64 $0, %a0, %a1", how=_COMPARISONS)),
        per_thread("f16-comparisons", "sm_80", _columns("b16", F16_CODES, F16_CODES), halves),
        per_thread("f32-properties", "sm_80", f32_pairs[:1], each("pred: testp.{what}.f32 $0, %a0", what=properties)),
        per_thread("f64-properties", "sm_80", f64_pairs[:1], each("pred: testp.{what}.f64 $0, %a0", what=properties)),
        per_thread("f32-choices", "sm_80", f32_pairs, choices),
    ]


_ARGUMENTS = (
    *F32_CODES,
    *(
        f32(value * sign)
        for value in (0.1, 0.7, 1.3, 3.0, 9.5, 20.0, 100.0, 127.5, 149.0, 1e-3, 1e-20)
        for sign in (1, -1)
    ),
)
_SMALL_ANGLES = (0, 0x80000000, *(f32(math.pi * step / 15) for step in range(-15, 16) if step))


def _approximate(name: str, instructions: list[str], codes: Sequence[int] = _ARGUMENTS, **bounds: float) -> Probe:
    tolerance = Tolerance(
        type_name="f32",
        reason="PTX bounds the error of an approximation, not its bits",
        ulp=int(bounds.get("ulp", 0)),
        absolute=bounds.get("absolute", 0.0),
        relative=bounds.get("relative", 0.0),
    )
    return per_thread(f"approximate-{name}", "sm_80", [("b32", words_of(codes))], instructions, tolerance)


def _approximations() -> list[Probe]:
    """With twice the bound that the PTX ISA states, since both sides may use all of it."""
    positive = [code for code in _ARGUMENTS if code >> 31 == 0]
    halves = [("b16", words_of(F16_CODES))]
    half_reason = "PTX bounds the error of an approximation, not its bits"
    pairs = [("b32", words) for words in all_tuples(F32_CODES[:9], F32_CODES[2:4] + F32_CODES[16:])]
    return [
        _approximate("ex2", each("b32: ex2.approx{how}.f32 $0, %a0", how="- .ftz"), ulp=4),
        _approximate("lg2", each("b32: lg2.approx{how}.f32 $0, %a0", how="- .ftz"), ulp=4, absolute=2 * 2**-22),
        _approximate("sin", each("b32: {op}.approx.f32 $0, %a0", op="sin cos"), _SMALL_ANGLES, absolute=2 * 2**-20.5),
        _approximate("tanh", ["b32: tanh.approx.f32 $0, %a0"], relative=2 * 2**-11),
        _approximate("rcp", each("b32: rcp.approx{how}.f32 $0, %a0", how="- .ftz"), ulp=2),
        _approximate("sqrt", each("b32: sqrt.approx{how}.f32 $0, %a0", how="- .ftz"), positive, ulp=2),
        _approximate("rsqrt", each("b32: rsqrt.approx{how}.f32 $0, %a0", how="- .ftz"), relative=2 * 2**-22.9),
        per_thread(
            "approximate-quotients",
            "sm_80",
            pairs,
            each("b32: div.{how}.f32 $0, %a0, %a1", how="approx full approx.ftz full.ftz"),
            Tolerance(type_name="f32", reason=half_reason, ulp=4),
        ),
        per_thread(
            "approximate-f16",
            "sm_80",
            halves,
            each("b16: {op}.approx.f16 $0, %a0", op="ex2 tanh"),
            Tolerance(type_name="f16", reason=half_reason, relative=2 * 2**-9.9, absolute=2**-24),
        ),
    ]
