"""Probes of shfl, vote, match, redux and their edge cases, one case for each warp."""

from __future__ import annotations

import numpy as np

from profiles.simulator.probes.per_thread import each, per_thread
from profiles.simulator.probes.probe import LANES, Output, Probe, Words
from profiles.simulator.probes.values import hashed

_ALL = "0xffffffff"
_DISTANCES = (0, 1, 5, 16, 31, 32, 40)
_CLAMPS = (0x1F, 0x00, 0x0F, 0x100F, 0x1C03, 0x181F, 0x1000, 0x1807)


def collective_probes() -> list[Probe]:
    """All of them."""
    return [_shuffles(), _shuffles_by_lane(), _votes(), _matches(), *_reductions(), _parts_of_a_warp(), _election()]


def _per_warp(values: list[int]) -> Words:
    return np.repeat(np.array(values, np.uint64), LANES)


def _shuffles() -> Probe:
    cases = [(distance, clamp) for distance in _DISTANCES for clamp in _CLAMPS]
    columns = [
        ("b32", hashed(len(cases) * LANES, 70, 32)),
        ("b32", _per_warp([distance for distance, _ in cases])),
        ("b32", _per_warp([clamp for _, clamp in cases])),
    ]
    instructions = each(f"b32 pred: shfl.sync.{{mode}}.b32 $0|$1, %a0, %a1, %a2, {_ALL}", mode="up down bfly idx")
    return per_thread("shuffles", "sm_80", columns, instructions)


def _shuffles_by_lane() -> Probe:
    """Every lane asks for another distance."""
    columns = [("b32", hashed(64, 71, 32)), ("b32", hashed(64, 72, 6)), ("b32", _per_warp([0x1F, 0x1807]))]
    instructions = each(f"b32 pred: shfl.sync.{{mode}}.b32 $0|$1, %a0, %a1, %a2, {_ALL}", mode="bfly idx")
    return per_thread("shuffles-with-distances-of-lanes", "sm_80", columns, instructions)


def _votes() -> Probe:
    lanes = np.concatenate([np.zeros(LANES), np.ones(LANES), hashed(LANES, 73, 1), np.arange(LANES) == 9])
    instructions = [
        *each(f"pred: vote.sync.{{how}}.pred $0, %a0, {_ALL}", how="all any uni"),
        f"pred: vote.sync.all.pred $0, !%a0, {_ALL}",
        f"b32: vote.sync.ballot.b32 $0, %a0, {_ALL}",
        f"b32: vote.sync.ballot.b32 $0, !%a0, {_ALL}",
        "b32: activemask.b32 $0",
    ]
    return per_thread("votes", "sm_80", [("pred", lanes.astype(np.uint64))], instructions)


def _matches() -> Probe:
    same = _per_warp([7])
    columns = [("b32", np.concatenate([hashed(LANES, 74, 2), same, hashed(LANES, 75, 32)]))]
    instructions = [
        f"b32: match.any.sync.b32 $0, %a0, {_ALL}",
        f"b32 pred: match.all.sync.b32 $0|$1, %a0, {_ALL}",
        f"b32: .reg .b64 %wide; cvt.u64.u32 %wide, %a0; shl.b64 %wide, %wide, 33; match.any.sync.b64 $0, %wide, {_ALL}",
    ]
    return per_thread("matches", "sm_80", columns, instructions)


def _reductions() -> list[Probe]:
    columns = [("b32", np.concatenate([hashed(LANES, 76, 32), hashed(LANES, 77, 4), hashed(LANES, 78, 31)]))]
    instructions = [
        *each(f"b32: redux.sync.{{op}}.{{kind}} $0, %a0, {_ALL}", op="add min max", kind="u32 s32"),
        *each(f"b32: redux.sync.{{op}}.b32 $0, %a0, {_ALL}", op="and or xor"),
    ]
    return [per_thread("reductions-of-a-warp", "sm_80", columns, instructions)]


def _parts_of_a_warp() -> Probe:
    """Collectives of the lanes of a mask while the others do not take part."""
    statements = """
    .reg .pred %member, %valid;
    .reg .b32 %members;
    mov.u32 %d0, 0; mov.u32 %d1, 0; mov.u32 %d2, 0; mov.u32 %d3, 0; mov.u32 %d4, 0;
    and.b32 %members, %lane, 3;
    setp.eq.u32 %member, %members, 1;
    mov.u32 %members, 0x22222222;
    @!%member bra skip;
    shfl.sync.idx.b32 %d0|%valid, %a0, 5, 0x1f, %members;
    vote.sync.ballot.b32 %d1, %valid, %members;
    redux.sync.add.u32 %d2, %a0, %members;
    match.any.sync.b32 %d3, %lane, %members;
    activemask.b32 %d4;
    skip:
    bar.warp.sync 0xffffffff;
    """
    outputs = tuple(Output(label, "b32") for label in ("shfl", "ballot", "redux", "match", "activemask"))
    return Probe(
        name="collectives-of-part-of-a-warp",
        target="sm_80",
        statements=statements,
        outputs=outputs,
        inputs=(("b32", hashed(LANES, 79, 16)),),
    )


def _election() -> Probe:
    instructions = [
        f"b32 pred: elect.sync $0|$1, {_ALL}",
    ]
    return per_thread("election", "sm_90", [("b32", hashed(LANES, 80, 32))], instructions)
