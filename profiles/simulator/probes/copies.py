"""Probes of copies without a tensor map: cp.async, bulk copies and reductions, and clusters' shared memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from profiles.simulator.probes.async_statements import barrier_setup, copy_wait, first_thread, load_barrier_wait
from profiles.simulator.probes.probe import LANES, Output, Probe
from profiles.simulator.probes.values import hashed, hashed_bytes

_UNTOUCHED = b"\xa5"
_DONE = (Output("the barrier's phase is complete", "pred"),)


def copy_probes() -> list[Probe]:
    """All of them."""
    return [
        *_small_copies(),
        _bulk_load(),
        _bulk_store(),
        *_bulk_reductions(),
        _between_blocks(),
        *_reductions_between_blocks(),
        _neighbour_access(),
    ]


def _small_copies() -> Iterator[Probe]:
    """cp.async of every size; lanes read fewer bytes, or none, and the rest is zero."""
    for cache, size in (("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)):
        for name, operand in (("", ""), ("-shortened", ", %a0"), ("-ignored", ", %ignored")):
            if name == "-ignored" and cache == "cg":
                continue
            statements = f"""
            .reg .b64 %source;
            .reg .b32 %target;
            .reg .pred %ignored;
            setp.gt.u32 %ignored, %a0, 2;
            mad.wide.u32 %source, %lane, {size}, %global;
            mad.lo.u32 %target, %lane, {size}, %buffer;
            cp.async.{cache}.shared.global [%target], [%source], {size}{operand};
            cp.async.commit_group;
            cp.async.wait_group 0;
            """
            yield Probe(
                name=f"cp-async-{cache}-{size}{name}",
                target="sm_80",
                statements=statements,
                inputs=(("b32", np.arange(LANES, dtype=np.uint64) % np.uint64(size + 1)),),
                shared=_UNTOUCHED * (LANES * 16),
                dump=LANES * 16,
                scratch=hashed_bytes(LANES * 16, 500 + size),
            )


_BULK_BYTES = 256


def _bulk_load() -> Probe:
    opcode = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
    lines = [
        *barrier_setup(2 * _BULK_BYTES, _BULK_BYTES + 16),
        ".reg .b64 %source;",
        "add.u64 %source, %global, 48;",
        "add.u32 %place, %buffer, 32;",
        f"@%first {opcode} [%place], [%source], {_BULK_BYTES}, [%barrier];",
        f"@%first {opcode} [%buffer], [%global], 16, [%barrier];",
        *load_barrier_wait(),
    ]
    return Probe(
        name="bulk-load",
        target="sm_90",
        statements="\n".join(lines),
        outputs=_DONE,
        shared=_UNTOUCHED * (2 * _BULK_BYTES) + bytes(8),
        dump=2 * _BULK_BYTES,
        scratch=hashed_bytes(512, 510),
    )


def _bulk_store() -> Probe:
    lines = [
        *first_thread(),
        ".reg .b64 %target_place;",
        "add.u64 %target_place, %global, 32;",
        "add.u32 %place, %buffer, 16;",
        f"@%first cp.async.bulk.global.shared::cta.bulk_group [%target_place], [%place], {_BULK_BYTES};",
        *copy_wait(),
    ]
    return Probe(
        name="bulk-store",
        target="sm_90",
        statements="\n".join(lines),
        shared=hashed_bytes(512, 511),
        scratch=_UNTOUCHED * 512,
    )


def _packed(type_name: str, seed: int) -> bytes:
    """256 bytes of numbers of a type; of floats, whole numbers and the special values."""
    if type_name not in ("f16", "bf16", "f32", "f64"):
        return hashed_bytes(_BULK_BYTES, seed)
    if type_name == "bf16":
        codes = (hashed(_BULK_BYTES // 2, seed, 4).astype(np.float32) - 8).view(np.uint32) >> np.uint32(16)
        return codes.astype("<u2").tobytes()
    dtype = {"f16": "<f2", "f32": "<f4", "f64": "<f8"}[type_name]
    count = _BULK_BYTES // np.dtype(dtype).itemsize
    numbers = (hashed(count, seed, 5).astype(np.float64) - 16) / 4
    numbers[:4] = (np.inf, -0.0, 2.0**-24, 1.0)
    return numbers.astype(dtype).tobytes()


def _bulk_reductions() -> Iterator[Probe]:
    cases = [(operation, "u32") for operation in ("add", "min", "max", "inc", "dec")]
    cases += [(operation, "b32") for operation in ("and", "or", "xor")]
    cases += [(operation, kind) for operation in ("min", "max") for kind in ("s32", "s64", "u64", "f16", "bf16")]
    cases += [("add", kind) for kind in ("u64", "f32", "f64", "f16", "bf16")]
    cases += [(operation, "b64") for operation in ("and", "or", "xor")]
    for operation, kind in cases:
        exact = ".noftz" if operation == "add" and kind in ("f16", "bf16") else ""
        opcode = f"cp.reduce.async.bulk.global.shared::cta.bulk_group.{operation}{exact}.{kind}"
        lines = [
            *first_thread(),
            f"@%first {opcode} [%global], [%buffer], {_BULK_BYTES};",
            *copy_wait(),
        ]
        yield Probe(
            name=f"bulk-reduce-{operation}-{kind}",
            target="sm_90",
            statements="\n".join(lines),
            shared=_packed(kind, 520),
            scratch=_packed(kind, 521),
        )


def _to_the_other(instruction: str, name: str, block_size: int = _BULK_BYTES) -> Probe:
    """Each of two blocks copies its second half over the first half of the other."""
    lines = [
        *barrier_setup(2 * block_size, block_size, cluster=True),
        ".reg .b32 %other, %remote, %remote_barrier;",
        "mov.u32 %other, %cluster_ctarank;",
        "xor.b32 %other, %other, 1;",
        "mapa.shared::cluster.u32 %remote, %buffer, %other;",
        "mapa.shared::cluster.u32 %remote_barrier, %barrier, %other;",
        f"add.u32 %place, %buffer, {block_size};",
        f"@%first {instruction} [%remote], [%place], {block_size}, [%remote_barrier];",
        *load_barrier_wait(),
        "barrier.cluster.arrive;",
        "barrier.cluster.wait;",
    ]
    content = struct.pack(f"<{2 * block_size // 4}I", *hashed(2 * block_size // 4, 530, 31))
    return Probe(
        name=name,
        target="sm_90",
        statements="\n".join(lines),
        outputs=_DONE,
        blocks=2,
        cluster=2,
        shared=content + bytes(8),
        dump=2 * block_size,
    )


def _between_blocks() -> Probe:
    opcode = "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes"
    return _to_the_other(opcode, "bulk-copy-between-blocks")


def _reductions_between_blocks() -> Iterator[Probe]:
    for operation, kind in (
        *((operation, "u32") for operation in ("add", "min", "max", "inc", "dec")),
        *((operation, "s32") for operation in ("min", "max")),
        *((operation, "b32") for operation in ("and", "or", "xor")),
        ("add", "u64"),
    ):
        opcode = f"cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.{operation}.{kind}"
        yield _to_the_other(opcode, f"bulk-reduce-between-blocks-{operation}-{kind}")


def _neighbour_access() -> Probe:
    """Loads, stores and atomics on the other block's shared memory, and what says which block an address is of."""
    statements = """
    .reg .b32 %other, %remote, %value;
    .reg .b64 %generic;
    mov.u32 %other, %cluster_ctarank;
    xor.b32 %other, %other, 1;
    mad.lo.u32 %value, %lane, 4, %buffer;
    mapa.shared::cluster.u32 %remote, %value, %other;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    ld.shared::cluster.u32 %d0, [%remote];
    atom.shared::cluster.add.u32 %d1, [%remote+128], %lane;
    st.shared::cluster.u32 [%remote+256], %thread;
    getctarank.shared::cluster.u32 %d2, %remote;
    mov.u32 %d3, %cluster_ctarank;
    mov.u32 %d4, %cluster_nctarank;
    mov.u32 %d5, %clusterid.x;
    mov.u32 %d6, %nclusterid.x;
    mov.u32 %d7, %cluster_ctaid.x;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    """
    labels = ("ld", "atom", "getctarank", "cluster_ctarank", "cluster_nctarank", "clusterid", "nclusterid", "ctaid")
    return Probe(
        name="cluster-neighbour",
        target="sm_90",
        statements=statements,
        outputs=tuple(Output(label, "b32") for label in labels),
        blocks=4,
        cluster=2,
        shared=hashed_bytes(384, 540),
        dump=384,
    )
