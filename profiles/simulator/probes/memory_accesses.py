"""Probes of loads, stores and atomics: extension of narrow values, order in vectors, and edge cases of atomics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from profiles.simulator.probes.per_thread import each
from profiles.simulator.probes.probe import LANES, Output, Probe, Words
from profiles.simulator.probes.values import BF16_CODES, F16_CODES, F32_CODES, INTEGERS_32, all_tuples, hashed_bytes

_PLACES = 512  # bytes of a memory for 32 lanes


def access_probes() -> list[Probe]:
    """All of them."""
    return [*_loads(), *_stores(), *_atomics(), _special_registers()]


def _loads() -> Iterator[Probe]:
    for space, base in (("global", "%own_global"), ("shared", "%own_shared")):
        kinds = {"b16": "s8 u8 u16", "b32": "s8 u8 s16 u16 b32", "b64": "s8 u8 s16 u16 s32 u32 b64"}
        lines = _own_places(16)
        outputs: list[Output] = []
        for register, types in kinds.items():
            for type_name in types.split():
                lines.append(f"ld.{space}.{type_name} %d{len(outputs)}, [{base}];")
                outputs.append(Output(f"ld.{type_name} to {register}", register))
        for type_name in ("u8", "u16", "b32"):
            first = len(outputs)
            registers = ", ".join(f"%d{first + index}" for index in range(4))
            lines.append(f"ld.{space}.v4.{type_name} {{{registers}}}, [{base}];")
            outputs += [Output(f"ld.v4.{type_name}, element {index}", "b32") for index in range(4)]
        lines.append(f"ld.{space}.v2.b64 {{%d{len(outputs)}, %d{len(outputs) + 1}}}, [{base}];")
        outputs += [Output(f"ld.v2.b64, element {index}", "b64") for index in range(2)]
        yield Probe(
            name=f"loads-{space}",
            target="sm_80",
            statements="\n".join(lines),
            outputs=tuple(outputs),
            shared=hashed_bytes(_PLACES, 600),
            scratch=hashed_bytes(_PLACES, 601),
        )


def _own_places(stride: int) -> list[str]:
    return [
        ".reg .b64 %own_global;",
        ".reg .b32 %own_shared;",
        f"mad.wide.u32 %own_global, %lane, {stride}, %global;",
        f"mad.lo.u32 %own_shared, %lane, {stride}, %buffer;",
    ]


def _stores() -> Iterator[Probe]:
    words = (np.arange(LANES, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x0123456789ABCDEF)
    for space, base in (("global", "%own_global"), ("shared", "%own_shared")):
        lines = [
            *_own_places(16),
            ".reg .b32 %low, %high;",
            "mov.b64 {%low, %high}, %a0;",
            f"st.{space}.u8 [{base}+1], %low;",
            f"st.{space}.u16 [{base}+2], %high;",
            f"st.{space}.v2.u16 [{base}+4], {{%low, %high}};",
            f"st.{space}.v2.b32 [{base}+8], {{%high, %low}};",
        ]
        yield Probe(
            name=f"stores-{space}",
            target="sm_80",
            statements="\n".join(lines),
            inputs=(("b64", words),),
            shared=hashed_bytes(_PLACES, 602),
            dump=_PLACES,
            scratch=hashed_bytes(_PLACES, 603),
        )


def _atomics() -> Iterator[Probe]:
    pairs = all_tuples(INTEGERS_32, INTEGERS_32)
    integers = each("{op}.{kind}", op="add min max", kind="u32 s32") + each("{op}.u32", op="inc dec")
    integers += each("{op}.b32", op="and or xor exch")
    yield _atomic("integers", "sm_80", integers, pairs)
    floats = all_tuples(F32_CODES, F32_CODES)
    yield _atomic("f32", "sm_80", ["add.f32"], floats)
    yield _atomic("f16x2", "sm_80", ["add.noftz.f16x2"], _pairs_of_pairs(F16_CODES))
    yield _atomic("bf16x2", "sm_90", ["add.noftz.bf16x2"], _pairs_of_pairs(BF16_CODES))


def _pairs_of_pairs(codes: Sequence[int]) -> list[Words]:
    """All pairs of the codes in the low halves, and in the high halves in the opposite order."""
    return [words | words[::-1] << np.uint64(16) for words in all_tuples(codes, codes)]


def _atomic(name: str, target: str, operations: list[str], columns: list[Words]) -> Probe:
    """Every thread on a place of its own in global memory, then in shared memory: what was there, and what is."""
    size, threads = 4, len(columns[0])
    lines = [
        ".reg .b64 %own_global;",
        ".reg .b32 %own_shared;",
        f"mad.wide.u32 %own_global, %thread, {size}, %global;",
        f"mad.lo.u32 %own_shared, %lane, {size}, %buffer;",
    ]
    outputs: list[Output] = []
    for operation in operations:
        for space, place in (("global", "%own_global"), ("shared", "%own_shared")):
            if space == "shared" and "x2" in operation:
                continue
            first = len(outputs)
            lines += [
                f"st.{space}.b32 [{place}], %a0;",
                f"atom.{space}.{operation} %d{first}, [{place}], %a1;",
                f"ld.{space}.b32 %d{first + 1}, [{place}];",
            ]
            outputs += [Output(f"atom.{space}.{operation}: {what}", "b32") for what in ("before", "after")]
    return Probe(
        name=f"atomics-{name}",
        target=target,
        statements="\n".join(lines),
        outputs=tuple(outputs),
        inputs=tuple(("b32", words) for words in columns),
        blocks=threads // LANES,
        shared=bytes(LANES * size),
        scratch=bytes(threads * size),
    )


def _special_registers() -> Probe:
    names = (
        "tid.x",
        "ntid.x",
        "ctaid.x",
        "nctaid.x",
        "laneid",
        "lanemask_eq",
        "lanemask_le",
        "lanemask_lt",
        "lanemask_ge",
        "lanemask_gt",
    )
    lines = [f"mov.u32 %d{index}, %{name};" for index, name in enumerate(names)]
    return Probe(
        name="special-registers",
        target="sm_80",
        statements="\n".join(lines),
        outputs=tuple(Output(name, "b32") for name in names),
        block=96,
        blocks=2,
    )
