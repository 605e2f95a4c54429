"""One measured case: which operation, on which shapes, in which type, under which mask. Standard library only.

A case has a name, which every file and command knows it by, and :func:`parse_case` takes a name apart again. What is
random of a case (lengths of sequences and documents, empty blocks) follows from it: :mod:`perf.irregular`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class DType(Enum):
    """Element type of Q, K, V, O and their gradients."""

    BF16 = ("bf16", 2)
    FP16 = ("fp16", 2)
    FP32 = ("fp32", 4)

    def __init__(self, key: str, size_bytes: int) -> None:
        self.key = key
        self.size_bytes = size_bytes

    @classmethod
    def from_key(cls, key: str) -> DType:
        """The type with this key; raises KeyError for any other."""
        return {dtype.key: dtype for dtype in cls}[key]


class Operation(Enum):
    """The operation that a case measures."""

    ATTENTION_FWD = "attention_fwd"
    ATTENTION_BWD = "attention_bwd"  # the backward pass alone: O and its log-sum-exp are there already


class MaskKind(Enum):
    """Which (query, key) pairs are visible; p is the query's position among the keys, i + seqlen_k - seqlen_q."""

    FULL = "full"  # all
    CAUSAL = "causal"  # keys up to p: aligned to the bottom right
    WINDOW = "window"  # keys from p - size up to p
    PREFIX = "prefix"  # the first ``size`` keys, and keys up to p: a prefix language model
    DOCUMENT = "document"  # keys up to p of the same document; documents of ``size`` keys on average fill every row
    BLOCKS = "sparse"  # all but ``size`` percent of the blocks of 128 queries by 128 keys; the diagonal stays


_SIZED = frozenset({MaskKind.WINDOW, MaskKind.PREFIX, MaskKind.DOCUMENT, MaskKind.BLOCKS})
_PLANNED = frozenset({MaskKind.PREFIX, MaskKind.DOCUMENT, MaskKind.BLOCKS})
_MASK_NAME = re.compile(r"(?P<kind>[a-z]+)(?P<size>[1-9]\d*)?")


@dataclass(frozen=True, slots=True, order=True)
class Mask:
    """A mask of one size; 0 where the kind has none."""

    kind: MaskKind
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _SIZED and self.size:
            raise ValueError(f"mask {self.kind.value} has no size, got {self.size}")
        if self.kind in _SIZED and self.size < 1:
            raise ValueError(f"mask {self.kind.value} needs a size of at least 1, got {self.size}")
        if self.kind is MaskKind.BLOCKS and self.size > 100:
            raise ValueError(f"mask sparse takes a percentage, got {self.size}")

    @property
    def name(self) -> str:
        """``full``, ``causal``, ``window256``, ``prefix128``, ``document512``, ``sparse90``."""
        return f"{self.kind.value}{self.size or ''}"

    @property
    def window(self) -> tuple[int, int]:
        """Visible keys to the left and to the right of p; -1 is no bound, and so are both where this is no window."""
        left = self.size if self.kind is MaskKind.WINDOW else -1
        return left, 0 if self.kind in {MaskKind.CAUSAL, MaskKind.WINDOW} else -1

    @property
    def is_planned(self) -> bool:
        """Whether no window describes it, so that the kernels take it as a plan of tiles."""
        return self.kind in _PLANNED


FULL = Mask(MaskKind.FULL)
CAUSAL = Mask(MaskKind.CAUSAL)


def parse_mask(name: str) -> Mask:
    """The mask with this name; raises ValueError that says which names there are."""
    found = _MASK_NAME.fullmatch(name)
    kinds = {kind.value: kind for kind in MaskKind}
    if found is None or found["kind"] not in kinds:
        raise ValueError(f"{name!r} is no mask; expected full, causal, windowN, prefixN, documentN or sparseN")
    return Mask(kinds[found["kind"]], int(found["size"] or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One attention problem: shapes, element type, and what decides the scores.

    With ``varlen`` the batch holds sequences of different lengths, ``seqlen_q`` and ``seqlen_k`` at most, end to end.
    """

    operation: Operation
    dtype: DType
    batch: int
    heads_q: int
    heads_kv: int
    seqlen_q: int
    seqlen_k: int
    head_dim: int
    mask: Mask
    varlen: bool = False
    softcap: float = 0.0  # 0: scores are not capped
    alibi: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "heads_q", "heads_kv", "seqlen_q", "seqlen_k", "head_dim"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; a case needs at least 1")
        if self.heads_q % self.heads_kv:
            raise ValueError(f"heads_q is {self.heads_q}, which is no multiple of heads_kv {self.heads_kv}")
        if not 0 <= self.softcap < math.inf:
            raise ValueError(f"softcap is {self.softcap}; expected a finite number that is not negative")
        if self.varlen and self.mask.is_planned:
            raise ValueError(f"varlen and mask {self.mask.name} exclude each other; expected full, causal or windowN")

    @property
    def name(self) -> str:
        """Stable identifier, fit for a file name: ``attention_fwd-bf16-1x8x4096x64-causal-varlen-softcap30-alibi``."""
        heads = str(self.heads_q) if self.heads_kv == self.heads_q else f"{self.heads_q}kv{self.heads_kv}"
        seqlen = str(self.seqlen_q) if self.seqlen_k == self.seqlen_q else f"{self.seqlen_q}k{self.seqlen_k}"
        shape = f"{self.batch}x{heads}x{seqlen}x{self.head_dim}"
        parts = [self.operation.value, self.dtype.key, shape, self.mask.name]
        parts += ["varlen"] if self.varlen else []
        parts += [f"softcap{float(self.softcap)!r}".removesuffix(".0")] if self.softcap else []
        parts += ["alibi"] if self.alibi else []
        return "-".join(parts)


EXAMPLE_NAME = "attention_fwd-bf16-1x8x4096x64-causal"
_CASE_NAME = re.compile(
    r"(?P<operation>[a-z_]+)-(?P<dtype>[a-z0-9]+)-(?P<batch>\d+)x(?P<heads_q>\d+)(?:kv(?P<heads_kv>\d+))?"
    r"x(?P<seqlen_q>\d+)(?:k(?P<seqlen_k>\d+))?x(?P<head_dim>\d+)-(?P<mask>[a-z]+\d*)"
    r"(?P<varlen>-varlen)?(?:-softcap(?P<softcap>[0-9.]+(?:e[-+]?\d+)?))?(?P<alibi>-alibi)?"
)


def parse_case(name: str) -> Case:
    """The case that a name describes, whether or not a suite has it: ``attention_fwd-bf16-1x8kv2x128k300x64-full``.

    Raises ValueError for a name that describes none.
    """
    found = _CASE_NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name!r} is no case; expected OPERATION-DTYPE-BATCHxHEADSxSEQLENxHEAD_DIM-MASK and, as they apply, "
            f"-varlen, -softcapN and -alibi, such as {EXAMPLE_NAME!r}; HEADS may be 8kv2, SEQLEN 128k300, and MASK "
            "full, causal, windowN, prefixN, documentN or sparseN"
        )
    sizes = {size: int(found[size]) for size in ("batch", "heads_q", "seqlen_q", "head_dim")}
    try:
        return Case(
            operation=Operation(found["operation"]),
            dtype=DType.from_key(found["dtype"]),
            heads_kv=int(found["heads_kv"] or sizes["heads_q"]),
            seqlen_k=int(found["seqlen_k"] or sizes["seqlen_q"]),
            mask=parse_mask(found["mask"]),
            varlen=found["varlen"] is not None,
            softcap=float(found["softcap"] or 0),
            alibi=found["alibi"] is not None,
            **sizes,
        )
    except KeyError as error:
        raise ValueError(f"{name!r} is no case: {error} is no type of its elements") from None
    except ValueError as error:
        raise ValueError(f"{name!r} is no case: {error}") from None


def case_fields(case: Case) -> dict[str, Any]:
    """The fields of a case as plain JSON values, enumerations and the mask by name."""
    return asdict(case) | {"operation": case.operation.value, "dtype": case.dtype.key, "mask": case.mask.name}


def upgraded_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` as of today. Until 2026-11-24 there were two masks, and ``causal`` told which."""
    if "causal" not in fields:
        return dict(fields)
    kept = {name: value for name, value in fields.items() if name != "causal"}
    return {**kept, "mask": (CAUSAL if fields["causal"] else FULL).name}


def case_from_fields(fields: Mapping[str, Any]) -> Case:
    """The case with these fields, as :func:`case_fields` gives them or gave them.

    Raises ValueError, KeyError or TypeError for fields that are none of a case.
    """
    known = upgraded_fields(fields)
    return Case(
        **{
            **known,
            "operation": Operation(known["operation"]),
            "dtype": DType.from_key(known["dtype"]),
            "mask": parse_mask(known["mask"]),
        }
    )
