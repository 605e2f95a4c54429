"""How much work a case is, counted from its shapes and its mask alone.

FLOPs and bytes follow the counting that attention benchmarks share (FlashAttention's ``bench_utils.py``; Dao, 2023,
"FlashAttention-2"): the matrix products count, the softmax does not. Where those count half of a causal problem, this
module counts the visible (query, key) pairs exactly, as cuDNN does.
"""

from __future__ import annotations

from perf.irregular import extent
from perf.model import Case, Operation

_LSE_BYTES = 4  # fp32, one per query row and head
# Matrix products of one pair and head: QK^T and PV forward; QK^T once more, dO V^T, P^T dO, dS^T Q and dS K backward.
_PRODUCTS = {Operation.ATTENTION_FWD: 2, Operation.ATTENTION_BWD: 5}
# Tensors as large as Q and tensors as large as K: Q, O; K, V. Backward Q, O, dO, dQ; K, V, dK, dV.
_TENSORS = {Operation.ATTENTION_FWD: 2, Operation.ATTENTION_BWD: 4}


def visible_pairs(case: Case) -> int:
    """(query, key) pairs that the mask leaves visible, for one head of the whole batch."""
    return extent(case).pairs


def share_of_tiles(case: Case) -> float:
    """Of the tiles of 64 x 64 pairs that the full mask has on these shapes, those with a visible pair: 0 to 1.

    A kernel that skips the others takes a time proportional to this, at best.
    """
    counts = extent(case)
    return counts.tiles / counts.all_tiles


def flop_count(case: Case) -> int:
    """FLOPs: 2 for the multiply and add, times the matrix products; the backward pass is 2.5 times the forward."""
    return 2 * _PRODUCTS[case.operation] * case.heads_q * visible_pairs(case) * case.head_dim


def exp_count(case: Case) -> int:
    """Exponentials of the softmax: one for each visible pair. The backward pass computes them once more."""
    return case.heads_q * visible_pairs(case)


def minimum_bytes(case: Case) -> int:
    """Bytes that any version must move: every tensor once, and the fp32 log-sum-exp, which the backward pass reads.

    Of K, V and their gradients, rows that nobody sees do not count; nor do masks, which need not lie in memory.
    """
    counts = extent(case)
    elements = (case.heads_q * counts.queries + case.heads_kv * counts.keys) * case.head_dim
    row_sums = case.heads_q * counts.queries
    return case.dtype.size_bytes * _TENSORS[case.operation] * elements + _LSE_BYTES * row_sums


def intensity(case: Case) -> float:
    """Arithmetic intensity in FLOP/B: FLOPs over minimum bytes."""
    return flop_count(case) / minimum_bytes(case)
