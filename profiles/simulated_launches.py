"""Which launches the simulated layer counts for each CUDA kernel. Data only.

Launches are small, yet together every part of a kernel runs: several query tiles and a ragged one, full and ragged key
tiles, grouped heads, rows that see no key, tiles that are skipped, and the edges of the mask; sequences of different
lengths, and two batches. A backward pass launches three kernels, which share its launches. Changing a launch changes
every figure that is pinned for its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from perf.case import parse_mask
from perf.model import Case, DType, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLaunch:
    """``roofgate_attention_fwd`` or ``roofgate_attention_bwd`` on random inputs."""

    case: Case
    deterministic: bool = False  # of the backward pass

    def __str__(self) -> str:
        return f"{self.case.name}{', deterministic' if self.deterministic else ''}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What decides the scores of a case, beside its shapes."""

    mask: str
    varlen: bool = False
    softcap: float = 0.0
    alibi: bool = False


# What the launches of each instance of a kernel compute: see MaskKind of kernels/csrc/attention_mask.h.
INSTANCES: Mapping[str, tuple[Scores, ...]] = {
    "full": (Scores(mask="full"), Scores(mask="full", varlen=True)),
    "window": (Scores(mask="causal"), Scores(mask="window70"), Scores(mask="causal", varlen=True)),
    "plan": (Scores(mask="document90"), Scores(mask="sparse50")),
    "any": (
        Scores(mask="full", softcap=20.0),
        Scores(mask="window70", alibi=True, varlen=True),
        Scores(mask="prefix100", softcap=20.0, alibi=True),
    ),
}


def attention_case(operation: Operation, dtype: DType, head_dim: int, scores: Scores) -> Case:
    """The shapes of all attention launches; only sequences make several batches of them."""
    return Case(
        operation=operation,
        dtype=dtype,
        batch=3 if scores.varlen else 1,
        heads_q=4,
        heads_kv=2,
        seqlen_q=330,
        seqlen_k=205,
        head_dim=head_dim,
        mask=parse_mask(scores.mask),
        varlen=scores.varlen,
        softcap=scores.softcap,
        alibi=scores.alibi,
    )


def _forward(dtype: DType, head_dim: int, instance: str) -> tuple[Launch, ...]:
    return tuple(
        AttentionLaunch(case=attention_case(Operation.ATTENTION_FWD, dtype, head_dim, scores))
        for scores in INSTANCES[instance]
    )


def _backward(dtype: DType, head_dim: int, instance: str) -> tuple[Launch, ...]:
    """The last of an instance's launches is repeated as a deterministic one."""
    cases = [attention_case(Operation.ATTENTION_BWD, dtype, head_dim, scores) for scores in INSTANCES[instance]]
    plain = tuple(AttentionLaunch(case=case) for case in cases)
    return (*plain, AttentionLaunch(case=cases[-1], deterministic=True))


# The copy kernel has up to 132 * 3 * 512 threads, each of which moves 4 * 16 B per trip: a full trip and a rest.
_COPY_BYTES = 132 * 3 * 512 * 5 * 16
_DTYPES = (DType.BF16, DType.FP16)

LAUNCHES: Mapping[str, tuple[Launch, ...]] = {
    **{
        f"attention_fwd<{dtype.key}, {head_dim}, {instance}>": _forward(dtype, head_dim, instance)
        for dtype, head_dim, instance in product(_DTYPES, (64, 128, 256), INSTANCES)
    },
    **{
        f"attention_bwd<{dtype.key}, {head_dim}, {instance}>": _backward(dtype, head_dim, instance)
        for dtype, head_dim, instance in product(_DTYPES, (64, 128), INSTANCES)
    },
    **{
        f"attention_bwd_{part}<{dtype.key}, {head_dim}>": _backward(dtype, head_dim, "full")
        for part, dtype, head_dim in product(("delta", "dq"), _DTYPES, (64, 128))
    },
    "ceiling_copy": (CopyLaunch(bytes=_COPY_BYTES),),
    "ceiling_fma": (ProductLaunch(dtype=DType.FP32, iterations=2),),
    **{
        f"{kernel}<{dtype.key}>": (ProductLaunch(dtype=dtype, iterations=2),)
        for kernel, dtype in product(("ceiling_mma_sync", "ceiling_wgmma"), _DTYPES)
    },
}
