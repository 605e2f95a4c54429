"""Which launches the simulated layer counts for each CUDA kernel. Data only.

Launches are small, yet together every part of a kernel runs: several query tiles and a ragged one, full and ragged key
tiles, grouped heads, tiles that are skipped, rows that see no key and keys that no row sees, and the edges of masks;
sequences of different lengths; more tiles of a plan than are read at a time. A backward pass launches three kernels,
which share its launches. Changing a launch changes every figure that is pinned for its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from perf.case import parse_case
from perf.model import Case, DType


class Unusual(StrEnum):
    """What is unusual of the inputs of a launch."""

    INTERLEAVED = "heads interleaved"  # [batch, seqlen, heads, head_dim] in memory
    LARGE_SCORES = "large scores"
    NO_KEYS = "without keys"
    NO_QUERIES = "without queries"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLaunch:
    """``roofgate_attention_fwd`` or ``roofgate_attention_bwd`` on random inputs."""

    case: Case
    deterministic: bool = False  # of the backward pass
    unusual: Unusual | None = None

    def __str__(self) -> str:
        deterministic = "deterministic" if self.deterministic else ""
        return ", ".join(filter(None, (self.case.name, deterministic, self.unusual)))


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


# What the launches of each instance of a kernel compute (MaskKind of kernels/csrc/attention_mask.h), as parts of a
# case's name: shapes without head_dim, and scores. A block of queries sees no key where 160 more queries than keys are
# under a causal mask; a block of keys is seen by no query where a window ends or a document begins behind it. 2200 keys
# are more tiles than a warp reads at a time of a plan.
INSTANCES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "full": (("1x4kv2x300k140", "full"), ("3x4kv2x300k140", "full-varlen")),
    "window": (("1x4kv2x300k140", "causal"), ("1x4kv2x140k300", "window30"), ("3x4kv2x300k140", "causal-varlen")),
    "plan": (("1x4kv2x300k140", "document60"), ("1x4kv2x140k300", "document60"), ("1x2x64k2200", "sparse90")),
    "any": (
        ("1x4kv2x300k140", "full-softcap20"),
        ("3x4kv2x140k300", "window30-varlen-alibi"),
        ("1x4kv2x140k300", "document60-softcap20-alibi"),
        ("1x2x64k2200", "sparse90-alibi"),
    ),
}
_DETERMINISTIC = 2  # of the launches of an instance, the first ones; these run both ways backward
_OF_FP16 = 2  # the same: an fp16 kernel differs from its twin for bf16 in its products and conversions alone


def _forward(dtype: DType, head_dim: int, instance: str) -> tuple[Launch, ...]:
    return tuple(AttentionLaunch(case=case) for case in _cases("attention_fwd", dtype, head_dim, instance))


def _backward(dtype: DType, head_dim: int, instance: str) -> tuple[Launch, ...]:
    cases = _cases("attention_bwd", dtype, head_dim, instance)
    return (
        *(AttentionLaunch(case=case) for case in cases),
        *(AttentionLaunch(case=case, deterministic=True) for case in cases[:_DETERMINISTIC] if dtype is DType.BF16),
    )


def _without_queries(dtype: DType, head_dim: int, instance: str) -> tuple[Launch, ...]:
    """One in which the main kernel alone runs, to write zeros. A plan of no tiles is none."""
    if instance not in ("full", "window"):
        return ()
    case = _cases("attention_bwd", dtype, head_dim, instance)[0]
    return (AttentionLaunch(case=case, unusual=Unusual.NO_QUERIES),)


def _cases(operation: str, dtype: DType, head_dim: int, instance: str) -> list[Case]:
    chosen = INSTANCES[instance][: _OF_FP16 if dtype is DType.FP16 else None]
    return [parse_case(f"{operation}-{dtype.key}-{shape}x{head_dim}-{scores}") for shape, scores in chosen]


# The copy kernel has up to 132 * 3 * 512 threads, each of which moves 4 * 16 B per trip: a full trip and a rest.
_COPY_BYTES = 132 * 3 * 512 * 5 * 16
_DTYPES = (DType.BF16, DType.FP16)

LAUNCHES: Mapping[str, tuple[Launch, ...]] = {
    **{
        f"attention_fwd<{dtype.key}, {head_dim}, {instance}>": _forward(dtype, head_dim, instance)
        for dtype, head_dim, instance in product(_DTYPES, (64, 128, 256), INSTANCES)
    },
    **{
        f"attention_bwd<{dtype.key}, {head_dim}, {instance}>": (
            *_backward(dtype, head_dim, instance),
            *_without_queries(dtype, head_dim, instance),
        )
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
