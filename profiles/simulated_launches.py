"""Which launch the simulated layer counts for each CUDA kernel. Data only.

A launch is small, yet every part of its kernel runs: several query tiles and a ragged one, full and ragged key tiles,
grouped heads, two batches; with a causal mask also rows that see no key, tiles that are skipped, and the diagonal.
Changing a launch changes every figure that is pinned for its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from perf.model import Case, DType, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLaunch:
    """``roofgate_attention_fwd`` on random inputs."""

    case: Case

    def __str__(self) -> str:
        return self.case.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLaunch:
    """``roofgate_ceiling_copy``."""

    bytes: int

    def __str__(self) -> str:
        return f"copy of {self.bytes} B"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLaunch:
    """``roofgate_ceiling_flops``."""

    dtype: DType
    iterations: int

    def __str__(self) -> str:
        return f"{self.iterations} iterations of {self.dtype.key} products"


Launch = AttentionLaunch | CopyLaunch | ProductLaunch


def _attention(dtype: DType, head_dim: int, *, causal: bool) -> AttentionLaunch:
    case = Case(
        operation=Operation.ATTENTION_FWD,
        dtype=dtype,
        batch=2,
        heads_q=4,
        heads_kv=2,
        seqlen_q=330,
        seqlen_k=205,
        head_dim=head_dim,
        causal=causal,
    )
    return AttentionLaunch(case=case)


# The copy kernel has up to 132 * 3 * 512 threads, each of which moves 4 * 16 B per trip: a full trip and a rest.
_COPY_BYTES = 132 * 3 * 512 * 5 * 16

LAUNCHES: Mapping[str, Launch] = {
    **{
        f"attention_fwd<{dtype.key}, {head_dim}, {mask}>": _attention(dtype, head_dim, causal=mask == "causal")
        for dtype, head_dim, mask in product((DType.BF16, DType.FP16), (64, 128), ("causal", "full"))
    },
    "ceiling_copy": CopyLaunch(bytes=_COPY_BYTES),
    "ceiling_fma": ProductLaunch(dtype=DType.FP32, iterations=2),
    **{
        f"{kernel}<{dtype.key}>": ProductLaunch(dtype=dtype, iterations=2)
        for kernel, dtype in product(("ceiling_mma_sync", "ceiling_wgmma"), (DType.BF16, DType.FP16))
    },
}
