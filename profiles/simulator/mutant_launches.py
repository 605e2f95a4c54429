"""The launches that have to tell a mutant from its kernel. Data only.

Sizes are small, so that a mutant that is wrong everywhere dies at once, and together they meet every case that the
kernels distinguish. For attention: query and key counts of every residue modulo 16; of the keys also those modulo 64
for which each column of a tile is the last visible one of some lane; rows that see no key; grouped heads; several
batches; more heads than a group holds; other strides; large scores; no keys at all.
"""

from __future__ import annotations

from dataclasses import replace

from perf.model import Case
from profiles.simulated_launches import LAUNCHES, AttentionLaunch, CopyLaunch, Launch, ProductLaunch
from profiles.simulator.mutant_attention import Special, SpecialAttention

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
_SPECIAL = (
    (Special.NO_KEYS, (1, 2, 1, 40, 1)),
    (Special.LARGE_SCORES, (1, 1, 1, 70, 200)),
    (Special.INTERLEAVED, (2, 4, 2, 140, 100)),
)
_COPIED_BYTES = (64, 64 * 1000, 132 * 3 * 512 * 5 * 16)


AnyLaunch = Launch | SpecialAttention


def launches(kernel: str, l2_bytes: int) -> tuple[AnyLaunch, ...]:
    """The launches for a kernel.

    Args:
        kernel: its name, such as ``attention_fwd<bf16, 64, full>``; there are none for an unknown one.
        l2_bytes: of the device, which decides how many heads the causal kernels take together.
    """
    match LAUNCHES.get(kernel):
        case AttentionLaunch(case=case):
            shapes = (*_CAUSAL, _two_groups(case.head_dim, l2_bytes)) if case.causal else _FULL
            special = [SpecialAttention(_shaped(case, *shape), what) for what, shape in _SPECIAL]
            return (*(AttentionLaunch(case=_shaped(case, *shape)) for shape in shapes), *special)
        case CopyLaunch():
            return tuple(CopyLaunch(bytes=size) for size in _COPIED_BYTES)
        case ProductLaunch(dtype=dtype):
            return tuple(ProductLaunch(dtype=dtype, iterations=iterations) for iterations in (1, 2, 0))
    return ()


def _two_groups(head_dim: int, l2_bytes: int) -> tuple[int, int, int, int, int]:
    """Three heads, of which two have keys and values that just fit into half of the L2."""
    bytes_per_key = 2 * 2 * head_dim
    return 1, 3, 3, 130, l2_bytes // 2 // bytes_per_key // 2 - 7


def _shaped(case: Case, batch: int, heads_q: int, heads_kv: int, seqlen_q: int, seqlen_k: int) -> Case:
    return replace(case, batch=batch, heads_q=heads_q, heads_kv=heads_kv, seqlen_q=seqlen_q, seqlen_k=seqlen_k)
