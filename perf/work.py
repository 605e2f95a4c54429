"""How much work a case is, counted from its shapes alone.

FLOPs and bytes follow the counting that attention benchmarks share (FlashAttention's ``bench_utils.py``; Dao, 2023,
"FlashAttention-2"): the two matrix products count, the softmax does not. Where those count half of a causal problem,
this module counts the visible (query, key) pairs exactly, as cuDNN does.
"""

from __future__ import annotations

from perf.model import Case

_LSE_BYTES = 4  # fp32, one per query row and head


def visible_pairs(case: Case) -> int:
    """(query, key) pairs that the mask leaves visible, for one head of one batch entry.

    Causal masks are bottom-right aligned: query i sees i + seqlen_k - seqlen_q + 1 keys, and none where that is
    negative. So the last ``min(seqlen_q, seqlen_k)`` rows see seqlen_k, seqlen_k - 1, ... keys.
    """
    if not case.causal:
        return case.seqlen_q * case.seqlen_k
    rows = min(case.seqlen_q, case.seqlen_k)
    return rows * (case.seqlen_k - rows) + rows * (rows + 1) // 2


def flop_count(case: Case) -> int:
    """FLOPs of the forward pass: 2 for the multiply and add, times QK^T and PV."""
    return 4 * case.batch * case.heads_q * visible_pairs(case) * case.head_dim


def exp_count(case: Case) -> int:
    """Exponentials of the softmax: one for each visible pair."""
    return case.batch * case.heads_q * visible_pairs(case)


def minimum_bytes(case: Case) -> int:
    """Bytes that any version must move: Q, K and V read once, O and the fp32 log-sum-exp written once."""
    query_elements = case.batch * case.heads_q * case.seqlen_q * case.head_dim
    key_elements = case.batch * case.heads_kv * case.seqlen_k * case.head_dim
    row_sums = case.batch * case.heads_q * case.seqlen_q
    return case.dtype.size_bytes * 2 * (query_elements + key_elements) + _LSE_BYTES * row_sums


def intensity(case: Case) -> float:
    """Arithmetic intensity in FLOP/B: FLOPs over minimum bytes."""
    return flop_count(case) / minimum_bytes(case)
