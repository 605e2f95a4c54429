"""How far each output of an attention kernel may be from float64: what rounding explains, element by element.

With u the unit roundoff of the type, P the weights, dP = dO V^T, delta = rowsum(dO * O) and dS = P * (dP - delta):

* O: P is rounded before P V, which moves an element by at most u P |V|; twice that for what float32 adds; and O itself.
* dV: P is rounded before P^T dO: as for O, with |dO|.
* dQ, dK: dS is rounded before dS K and dS^T Q. Before, delta comes from the O that was rounded, which is off by at most
  u rowsum(|dO| * |O|), and enters dS times P. Both twice, for float32, and the result itself. A softcap only makes dS
  smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from kernels.reference import Item, attend, distances, items, weights
from profiles.simulator.attention_inputs import AttentionInputs

_ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # unit roundoff
# What rounding costs near 0: half of the smallest step of fp16; of bf16 the numbers that float32 flushes to 0.
_SMALLEST = {torch.bfloat16: 2.0**-126, torch.float16: 2.0**-25}
_LSE_TOLERANCE = 1e-5
_SCORE_TOLERANCE = 2.0**-20  # of the largest score: a float32 sum of head_dim products


@dataclass(frozen=True, slots=True)
class Bound:
    """What an output should be and by how much each element may differ, in float64 and in the shape of the output."""

    expected: torch.Tensor
    allowed: torch.Tensor

    def allows(self, found: torch.Tensor) -> bool:
        """Whether no element differs by more than is allowed; a NaN does."""
        return bool((self._difference(found) <= self.allowed).all())

    def error_of(self, found: torch.Tensor) -> float:
        """The largest difference; NaN if any is."""
        return float(self._difference(found).max()) if found.numel() else 0.0

    def _difference(self, found: torch.Tensor) -> torch.Tensor:
        """Absolute; equal infinities do not differ."""
        values = found.double()
        return torch.where(values == self.expected, 0.0, (values - self.expected).abs())


Part = tuple[torch.Tensor, torch.Tensor]  # of a bound: expected, allowed


@lru_cache(maxsize=32)
def forward_bounds(inputs: AttentionInputs) -> Mapping[str, Bound]:
    """O and LSE."""
    o, lse = _empty_like(inputs.q), _empty_like(inputs.answer[1])
    for place_o, place_lse, problem in zip(_rows(inputs, o), _rows(inputs, lse), _problems(inputs), strict=True):
        for head in range(len(problem.k)):
            rows, one = _of_kv_head(problem, head)
            _fill(place_o, rows, _output(one, inputs.q.dtype))
            _fill(place_lse, rows, _sums(one))
    return {"O": o, "LSE": lse}


@lru_cache(maxsize=32)
def backward_bounds(inputs: AttentionInputs) -> Mapping[str, Bound]:
    """dQ, dK and dV."""
    dq, dk, dv = _empty_like(inputs.q), _empty_like(inputs.k), _empty_like(inputs.v)
    places = (
        items(dq.expected, dk.expected, dv.expected, inputs.options),
        items(dq.allowed, dk.allowed, dv.allowed, inputs.options),
    )
    upstream = items(inputs.d_o.double(), inputs.k, inputs.v, inputs.options)
    for expected, allowed, above, problem in zip(*places, upstream, _problems(inputs), strict=True):
        for head in range(len(problem.k)):
            rows, one = _of_kv_head(problem, head)
            parts = _gradients(one, above.q[rows], inputs.q.dtype)
            slices = (rows, slice(head, head + 1), slice(head, head + 1))
            for place in zip(expected[:3], allowed[:3], slices, parts, strict=True):
                _fill(place[:2], *place[2:])
    return {"dQ": dq, "dK": dk, "dV": dv}


def _empty_like(tensor: torch.Tensor) -> Bound:
    return Bound(*(torch.empty(tensor.shape, dtype=torch.float64) for _ in Bound.__slots__))


def _fill(place: Part, rows: slice, part: Part) -> None:
    for view, values in zip(place, part, strict=True):
        view[rows].copy_(values)


def _rows(inputs: AttentionInputs, bound: Bound) -> list[Part]:
    """Views of a bound of O or LSE: for each entry of the batch [heads, seqlen, ...]."""
    views = []
    for tensor in (bound.expected, bound.allowed):
        is_lse = tensor.shape != inputs.q.shape
        # LSE in the shape of Q with a head_dim of 1; that of sequences is [heads, total].
        like_q = (tensor if tensor.dim() == 3 else tensor.T)[..., None] if is_lse else tensor
        entries = items(like_q, inputs.k, inputs.v, inputs.options)
        views.append([entry.q[..., 0] if is_lse else entry.q for entry in entries])
    return list(zip(*views, strict=True))


def _problems(inputs: AttentionInputs) -> list[Item]:
    return items(inputs.q.double(), inputs.k.double(), inputs.v.double(), inputs.options)


def _of_kv_head(problem: Item, head: int) -> tuple[slice, Item]:
    """The query heads that share a KV head, and the problem of these alone."""
    group = len(problem.q) // len(problem.k)
    rows = slice(head * group, (head + 1) * group)
    return rows, problem._replace(
        q=problem.q[rows],
        k=problem.k[head : head + 1],
        v=problem.v[head : head + 1],
        visible=problem.visible[rows],
        slopes=None if problem.slopes is None else problem.slopes[rows],
    )


def _output(problem: Item, dtype: torch.dtype) -> Part:
    expected, _ = attend(problem)
    moved, _ = attend(problem._replace(v=problem.v.abs()))
    allowed = _ROUNDING[dtype] * (2 * moved + expected.abs()) + _SMALLEST[dtype]
    return expected, allowed


def _sums(problem: Item) -> Part:
    _, expected = attend(problem)
    tolerance = _LSE_TOLERANCE * (1 + expected.abs()) + _SCORE_TOLERANCE * _largest_score(problem)
    return expected, torch.where(expected.isfinite(), tolerance, 0.0)


def _largest_score(problem: Item) -> float:
    """An upper bound of what is summed for a score: by Cauchy and Schwarz, and the largest ALiBi term."""
    if not problem.visible.numel():
        return 0.0
    product = float(problem.q.norm(dim=-1).max() * problem.k.norm(dim=-1).max())
    slope = 0.0 if problem.slopes is None else float(problem.slopes.max())
    return problem.options.scale * product + slope * float(distances(*problem.visible.shape[1:]).abs().max())


def _gradients(problem: Item, d_o: torch.Tensor, dtype: torch.dtype) -> list[Part]:
    rounding, smallest, scale = _ROUNDING[dtype], _SMALLEST[dtype], problem.options.scale
    leaves = [tensor.detach().requires_grad_() for tensor in (problem.q, problem.k, problem.v)]
    o, _ = attend(problem._replace(q=leaves[0], k=leaves[1], v=leaves[2]))
    expected = torch.autograd.grad(o, leaves, d_o, allow_unused=True, materialize_grads=True)
    o, probabilities = o.detach(), weights(problem)
    delta, delta_error = ((one * other).sum(-1, keepdim=True) for one, other in ((d_o, o), (d_o.abs(), o.abs())))
    d_scores = probabilities * (d_o @ problem.v.transpose(-1, -2) - delta)
    moved = 2 * rounding * (d_scores.abs() + probabilities * delta_error) + smallest
    moved_weights = 2 * rounding * probabilities + smallest
    allowed = (
        scale * moved @ problem.k.abs(),
        scale * (moved.transpose(-1, -2) @ problem.q.abs()).sum(0, keepdim=True),
        (moved_weights.transpose(-1, -2) @ d_o.abs()).sum(0, keepdim=True),
    )
    limits = [limit + rounding * right.abs() + smallest for right, limit in zip(expected, allowed, strict=True)]
    return list(zip(expected, limits, strict=True))
