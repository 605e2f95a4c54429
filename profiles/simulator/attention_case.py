"""One attention problem on the simulated device: inputs, the kernel's parameters, and whether the answer is right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.errors import RoofgateError
from kernels.interface import AttentionFwdParams, KernelDType
from perf.model import Case, DType, Operation
from profiles.simulator.device_memory import DeviceArray, DeviceMemory

Floats = npt.NDArray[np.float64]

# Half a unit in the last place: what rounding to the type costs, relative to the value.
_ROUNDING = {DType.BF16: 2.0**-8, DType.FP16: 2.0**-11}  # unit roundoff
_KERNEL_DTYPES = {DType.BF16: KernelDType.BF16, DType.FP16: KernelDType.FP16}
_LSE_TOLERANCE = 1e-5
_SCORE_TOLERANCE = 2.0**-20  # of the largest score: a float32 sum of head_dim products
_NAN_BYTE = 0xFF  # all bytes of it: a NaN in bf16, fp16 and fp32

_CASE_NAME = re.compile(
    r"(?P<operation>[a-z_]+)-(?P<dtype>[a-z0-9]+)-(?P<batch>\d+)x(?P<heads_q>\d+)(?:kv(?P<heads_kv>\d+))?"
    r"x(?P<seqlen_q>\d+)(?:k(?P<seqlen_k>\d+))?x(?P<head_dim>\d+)-(?P<mask>causal|full)"
)
EXAMPLE_CASE = "attention_fwd-bf16-1x2x130x64-causal"


def parse_case(name: str) -> Case:
    """The case that a name describes, whether or not a suite has it: ``attention_fwd-bf16-1x8kv2x128k300x64-full``.

    Raises :class:`RoofgateError` for a name that describes none.
    """
    found = _CASE_NAME.fullmatch(name)
    if found is None:
        raise RoofgateError(
            f"{name!r} is no case; expected OPERATION-DTYPE-BATCHxHEADSxSEQLENxHEAD_DIM-causal|full, such as "
            f"{EXAMPLE_CASE!r}; HEADS may be 8kv2 and SEQLEN 128k300"
        )
    sizes = {size: int(found[size]) for size in ("batch", "heads_q", "seqlen_q", "head_dim")}
    try:
        return Case(
            operation=Operation(found["operation"]),
            dtype=DType.from_key(found["dtype"]),
            heads_kv=int(found["heads_kv"] or sizes["heads_q"]),
            seqlen_k=int(found["seqlen_k"] or sizes["seqlen_q"]),
            causal=found["mask"] == "causal",
            **sizes,
        )
    except (ValueError, KeyError) as error:
        raise RoofgateError(f"{name!r} is no case: {error}") from None


@dataclass(frozen=True, slots=True)
class PlacedAttention:
    """Arrays of a case in device memory. Two-byte types are held as their bits; o and lse begin as NaN."""

    case: Case
    q: DeviceArray  # [batch, heads_q, seqlen_q, head_dim]
    k: DeviceArray  # [batch, heads_kv, seqlen_k, head_dim]
    v: DeviceArray  # like k
    o: DeviceArray  # like q
    lse: DeviceArray  # [batch, heads_q, seqlen_q], float32

    @property
    def scale(self) -> float:
        """Of the scores."""
        return float(self.case.head_dim**-0.5)

    def params(self) -> AttentionFwdParams:
        """The C structure for these arrays."""
        case = self.case
        params = AttentionFwdParams(
            batch=case.batch,
            heads_q=case.heads_q,
            heads_kv=case.heads_kv,
            seqlen_q=case.seqlen_q,
            seqlen_k=case.seqlen_k,
            head_dim=case.head_dim,
            dtype=_KERNEL_DTYPES[case.dtype],
            causal=case.causal,
            scale=self.scale,
            lse=self.lse.address,
        )
        for name in ("q", "k", "v", "o"):
            placed: DeviceArray = getattr(self, name)
            strides = (stride // placed.array.itemsize for stride in placed.array.strides[:3])
            setattr(params, name, placed.address)
            setattr(params, f"{name}_stride", type(params.q_stride)(*strides))
        return params


def place_attention(case: Case, memory: DeviceMemory, seed: int = 0) -> PlacedAttention:
    """Put normal random inputs of unit variance, equal for equal seeds, and poisoned outputs into ``memory``.

    Raises :class:`RoofgateError` for a type that no CUDA kernel takes.
    """
    if case.dtype not in _KERNEL_DTYPES:
        raise RoofgateError(f"{case.name}: no CUDA kernel takes {case.dtype.key}; expected bf16 or fp16")
    random = np.random.default_rng(seed)
    q_shape = (case.batch, case.heads_q, case.seqlen_q, case.head_dim)
    kv_shape = (case.batch, case.heads_kv, case.seqlen_k, case.head_dim)
    inputs = {
        name: memory.place(_to_bits(random.standard_normal(shape, dtype=np.float32), case.dtype), name=name)
        for name, shape in (("q", q_shape), ("k", kv_shape), ("v", kv_shape))
    }
    o = memory.place(np.full(q_shape, _NAN_BYTE * 0x101, dtype=np.uint16), name="o")
    lse = memory.place(np.full(q_shape[:3], np.nan, dtype=np.float32), name="lse")
    return PlacedAttention(case, **inputs, o=o, lse=lse)


def _to_bits(values: npt.NDArray[np.float32], dtype: DType) -> npt.NDArray[np.uint16]:
    """Finite values rounded to nearest even, as the bits of the type."""
    if dtype is DType.FP16:
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _to_float(bits: npt.NDArray[Any], dtype: DType) -> Floats:
    if dtype is DType.FP16:
        return bits.view(np.float16).astype(np.float64)
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The largest errors against float64, and whether rounding alone can explain each single one."""

    o_error: float
    lse_error: float
    is_right: bool


def check_attention(placed: PlacedAttention) -> Accuracy:
    """Hold O and LSE to float64.

    Allowed for an element of O are a rounding of the weights to the type, which moves it by at most
    ``rounding * sum_j p_j |v_j|``, twice that for what float32 adds, and the rounding of O itself.
    """
    case = placed.case
    o_error = lse_error = 0.0
    is_right = True
    for batch in range(case.batch):
        for head in range(case.heads_q):
            errors = _head_errors(placed, batch, head)
            o_error = np.maximum(o_error, errors.o_error)  # unlike max, keeps a NaN
            lse_error = np.maximum(lse_error, errors.lse_error)
            is_right = is_right and errors.is_right
    return Accuracy(float(o_error), float(lse_error), is_right)


def _head_errors(placed: PlacedAttention, batch: int, head: int) -> Accuracy:
    case, kv_head = placed.case, head // (placed.case.heads_q // placed.case.heads_kv)
    q, o = (_to_float(placed_array.array[batch, head], case.dtype) for placed_array in (placed.q, placed.o))
    k, v = (_to_float(placed_array.array[batch, kv_head], case.dtype) for placed_array in (placed.k, placed.v))
    lse = placed.lse.array[batch, head].astype(np.float64)
    scores = placed.scale * (q @ k.T)
    weights, expected_lse = _softmax(scores, causal=case.causal)
    expected = weights @ v
    rounding = _ROUNDING[case.dtype]
    allowed = rounding * (2 * (weights @ np.abs(v)) + np.abs(expected))
    lse_allowed = _LSE_TOLERANCE * (1 + np.abs(expected_lse)) + _SCORE_TOLERANCE * np.abs(scores).max(initial=0)
    o_difference = np.abs(o - expected)
    lse_difference = _difference(lse, expected_lse)
    is_right = bool((o_difference <= allowed).all() and (lse_difference <= lse_allowed).all())
    # An element that nobody wrote is a NaN, which np.max passes on.
    return Accuracy(float(o_difference.max(initial=0)), float(lse_difference.max(initial=0)), is_right)


def _softmax(scores: Floats, *, causal: bool) -> tuple[Floats, Floats]:
    """Weights and log-sum-exp of each row; a row without a visible key has weights 0 and -inf."""
    seqlen_q, seqlen_k = scores.shape
    if causal:
        hidden = np.triu(np.ones(scores.shape, dtype=bool), seqlen_k - seqlen_q + 1)
        scores = np.where(hidden, -np.inf, scores)
    largest = scores.max(axis=1, initial=-np.inf, keepdims=True)
    exponentials = np.exp(scores - np.where(np.isfinite(largest), largest, 0.0))
    sums = exponentials.sum(axis=1, keepdims=True)
    is_empty = sums == 0
    weights = np.where(is_empty, 0.0, exponentials / np.where(is_empty, 1.0, sums))
    lse = np.where(is_empty, -np.inf, largest + np.log(np.where(is_empty, 1.0, sums)))
    return weights, lse[:, 0]


def _difference(values: Floats, expected: Floats) -> Floats:
    """Absolute differences; equal infinities do not differ."""
    same = values == expected
    return np.where(same, 0.0, np.abs(np.where(same, 0.0, values) - np.where(same, 0.0, expected)))
