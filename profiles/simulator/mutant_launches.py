"""The launches that have to tell a mutant from its kernel. Data only.

Sizes are small, so that a mutant that is wrong everywhere dies at once, and together they meet every case that the
kernels distinguish. For attention: query and key counts of every residue modulo 16; of the keys also those modulo 64
for which each column of a tile is the last visible one of some lane; rows that see no key; grouped heads; several
batches; more heads than a group holds; every mask; sequences; other strides; large scores; no keys at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from perf.case import parse_mask
from perf.model import Case, Operation
from profiles.simulated_launches import LAUNCHES, AttentionLaunch, CopyLaunch, Launch, ProductLaunch, Unusual

# A lane's last visible keys are L, L - 2, L - 4 and L - 6 for a tile whose last key is L: the first key of each 8 is
# among them only for the L that is 6 more, and the second for the L that is 7 more.
_KEYS = tuple(64 * (place % 3) + 8 * (place // 2) + 7 + place % 2 for place in range(16))

# Batch, query heads, key heads, queries, keys.
_FULL = (
    *((1, 1, 1, 16 * (place % 5) + place + 1, keys) for place, keys in enumerate(_KEYS)),
    (1, 2, 1, 64, 64),
    (1, 3, 3, 129, 130),
    (2, 4, 2, 330, 200),
)
_CAUSAL = (
    (1, 1, 1, 1, 1),
    (1, 1, 1, 16, 16),
    *((1, 1, 1, 16 * (place % 9) + place + 1, keys) for place, keys in enumerate(_KEYS[::2])),
    (1, 2, 1, 64, 64),
    (1, 1, 1, 128, 128),
    (1, 1, 1, 72, 200),
    (1, 1, 1, 200, 72),
    (1, 1, 1, 300, 40),
    (1, 3, 3, 129, 130),
    (2, 4, 2, 330, 200),
)
# Under masks other than causal: what begins and ends within a tile of 16, 64 and 128, and beyond.
_MASKED = (
    (1, 1, 1, 16, 16),
    (1, 2, 1, 70, 90),
    (1, 1, 1, 129, 130),
    (2, 4, 2, 200, 330),
    (1, 2, 1, 330, 200),
)
_SEQUENCES = ((3, 2, 1, 60, 70), (4, 4, 2, 300, 200))  # the greatest lengths
_UNUSUAL = (
    (Unusual.NO_KEYS, (1, 2, 1, 40, 1)),
    (Unusual.NO_QUERIES, (1, 2, 1, 1, 140)),
    (Unusual.LARGE_SCORES, (1, 1, 1, 70, 200)),
    (Unusual.INTERLEAVED, (2, 4, 2, 140, 100)),
)
_EMPTY = (Unusual.NO_KEYS, Unusual.NO_QUERIES)
_WINDOWS = ("window1", "window20", "window70", "window150")
_PLANS = ("prefix40", "document30", "sparse50")
_COPIED_BYTES = (64, 64 * 1000, 132 * 3 * 512 * 5 * 16)
_SOFTCAP = 5.0  # scores of unit variance meet the bend of tanh

Shape = tuple[int, int, int, int, int]


def launches(kernel: str, l2_bytes: int) -> tuple[Launch, ...]:
    """The launches for a kernel.

    Args:
        kernel: its name, such as ``attention_fwd<bf16, 64, full>``; there are none for an unknown one.
        l2_bytes: of the device, which decides how many heads the causal kernels take together.
    """
    match LAUNCHES.get(kernel, ())[:1]:
        case (AttentionLaunch(case=case),):
            return tuple(_attention(case, _instance(kernel), l2_bytes))
        case (CopyLaunch(),):
            return tuple(CopyLaunch(bytes=size) for size in _COPIED_BYTES)
        case (ProductLaunch(dtype=dtype),):
            return tuple(ProductLaunch(dtype=dtype, iterations=iterations) for iterations in (1, 2, 0))
    return ()


def _instance(kernel: str) -> str:
    """``plan`` of ``attention_fwd<bf16, 64, plan>``; kernels that no mask concerns run without one."""
    last = kernel.rstrip(">").rpartition(" ")[2]
    return "full" if last.isdigit() else last


def _attention(case: Case, instance: str, l2_bytes: int) -> Iterator[Launch]:
    cases = list(_cases(_plain(case), instance, l2_bytes))
    yield from (AttentionLaunch(case=one) for one in cases)
    if case.operation is Operation.ATTENTION_BWD:
        yield from (AttentionLaunch(case=one, deterministic=True) for one in cases[-3:])
    for what, shape in _UNUSUAL:
        if not (what in _EMPTY and instance == "plan"):  # a plan of no tiles
            yield AttentionLaunch(case=_shaped(_characteristic(_plain(case), instance), shape), unusual=what)


def _plain(case: Case) -> Case:
    return replace(case, mask=parse_mask("full"), varlen=False, softcap=0.0, alibi=False)


def _characteristic(case: Case, instance: str) -> Case:
    """A case that the host code gives to this instance."""
    if instance == "any":
        return replace(case, softcap=_SOFTCAP)
    return replace(case, mask=parse_mask({"full": "full", "window": "causal", "plan": "prefix40"}[instance]))


def _cases(case: Case, instance: str, l2_bytes: int) -> Iterator[Case]:
    """Sequences come last: the deterministic launches are taken from the end."""
    match instance:
        case "full":
            yield from _of_shapes(case, _FULL)
            yield from _of_shapes(replace(case, varlen=True), _SEQUENCES)
        case "window":
            causal = replace(case, mask=parse_mask("causal"))
            yield from _of_shapes(causal, _CAUSAL)
            if case.operation is Operation.ATTENTION_FWD:  # which takes as many heads together as L2 holds keys of
                yield _shaped(causal, _two_groups(case.head_dim, l2_bytes))
            for mask in _WINDOWS:
                yield from _of_shapes(replace(case, mask=parse_mask(mask)), _MASKED)
            yield from _of_shapes(replace(causal, varlen=True), _SEQUENCES)
        case "plan":
            for mask in _PLANS:
                yield from _of_shapes(replace(case, mask=parse_mask(mask)), _MASKED)
        case "any":
            yield from _any_cases(case)


def _any_cases(case: Case) -> Iterator[Case]:
    """Softcap, ALiBi and both, with every mask."""
    for mask in ("full", "causal", "window20", "prefix40", "sparse50"):
        masked = replace(case, mask=parse_mask(mask))
        yield from _of_shapes(replace(masked, softcap=_SOFTCAP), _MASKED)
        yield from _of_shapes(replace(masked, alibi=True), _MASKED)
        yield from _of_shapes(replace(masked, softcap=_SOFTCAP, alibi=True), _MASKED[3:4])
    yield from _of_shapes(replace(case, softcap=_SOFTCAP, varlen=True), _SEQUENCES)
    yield from _of_shapes(replace(case, alibi=True, mask=parse_mask("window20"), varlen=True), _SEQUENCES)


def _of_shapes(case: Case, shapes: Sequence[Shape]) -> Iterator[Case]:
    return (_shaped(case, shape) for shape in shapes)


def _two_groups(head_dim: int, l2_bytes: int) -> Shape:
    """Three heads, of which two have keys and values that just fit into half of the L2."""
    bytes_per_key = 2 * 2 * head_dim
    return 1, 3, 3, 130, l2_bytes // 2 // bytes_per_key // 2 - 7


def _shaped(case: Case, shape: Shape) -> Case:
    batch, heads_q, heads_kv, seqlen_q, seqlen_k = shape
    return replace(case, batch=batch, heads_q=heads_q, heads_kv=heads_kv, seqlen_q=seqlen_q, seqlen_k=seqlen_k)
