"""How far each output of an attention kernel may be from float64: what rounding explains, element by element.

With u the unit roundoff of the type, P the weights, dP = dO V^T, delta = rowsum(dO * O) and dS = P * (dP - delta):

* O: P is rounded before P V, which moves an element by at most u P |V|; twice that for what float32 adds; and O itself.
* dV: P is rounded before P^T dO: as for O, with |dO|.
* dQ, dK: dS is rounded before dS K and dS^T Q. Before, delta comes from the O that was rounded, which is off by at most
  u rowsum(|dO| * |O|), and enters dS times P. Both twice, for float32, and the result itself. A softcap only makes dS
  smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from kernels.attention_params import Gradients
from kernels.reference import Item, attend, distances, items
from profiles.simulator.attention_inputs import AttentionInputs

_ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # unit roundoff
_SMALLEST = {torch.bfloat16: 0.0, torch.float16: 2.0**-25}  # half of the smallest step: what rounding costs near 0
_LSE_TOLERANCE = 1e-5
_SCORE_TOLERANCE = 2.0**-20  # of the largest score: a float32 sum of head_dim products


@dataclass(frozen=True, slots=True)
class Bounded:
    """A part of an output, what it should be, and by how much each element may differ; all of one shape."""

    found: torch.Tensor
    expected: torch.Tensor
    allowed: torch.Tensor

    @property
    def difference(self) -> torch.Tensor:
        """Absolute; equal infinities do not differ."""
        found = self.found.double()
        return torch.where(found == self.expected, 0.0, (found - self.expected).abs())

    @property
    def is_right(self) -> bool:
        """Whether no element differs by more than is allowed; a NaN does."""
        return bool((self.difference <= self.allowed).all())

    @property
    def error(self) -> float:
        """The largest difference; NaN if any is."""
        return float(self.difference.max()) if self.difference.numel() else 0.0


Bounds = Mapping[str, Sequence[Bounded]]  # of each output


def forward_bounds(inputs: AttentionInputs, o: torch.Tensor, lse: torch.Tensor) -> Bounds:
    """O and LSE, entry by entry of the batch and KV head by KV head."""
    bounds: dict[str, list[Bounded]] = {"O": [], "LSE": []}
    outputs = items(o, inputs.k, inputs.v, inputs.options)
    sums = items(_like_rows(lse), inputs.k, inputs.v, inputs.options)
    for problem, output, output_lse in zip(_problems(inputs), outputs, sums, strict=True):
        for head in range(len(problem.k)):
            rows, one = _of_kv_head(problem, head)
            bounds["O"].append(_bounded_output(one, output.q[rows], inputs.q.dtype))
            bounds["LSE"].append(_bounded_sums(one, output_lse.q[rows, :, 0]))
    return bounds


def backward_bounds(inputs: AttentionInputs, gradients: Gradients) -> Bounds:
    """dQ, dK and dV, entry by entry of the batch and KV head by KV head."""
    bounds: dict[str, list[Bounded]] = {"dQ": [], "dK": [], "dV": []}
    outputs = items(gradients.dq, gradients.dk, gradients.dv, inputs.options)
    upstream = items(inputs.d_o.double(), inputs.k, inputs.v, inputs.options)
    for problem, output, above in zip(_problems(inputs), outputs, upstream, strict=True):
        for head in range(len(problem.k)):
            rows, one = _of_kv_head(problem, head)
            found = (output.q[rows], output.k[head : head + 1], output.v[head : head + 1])
            parts = _bounded_gradients(one, above.q[rows], found, inputs.q.dtype)
            for name, part in zip(bounds, parts, strict=True):
                bounds[name].append(part)
    return bounds


def _like_rows(lse: torch.Tensor) -> torch.Tensor:
    """LSE in the shape of Q with a head_dim of 1: [batch, heads, seqlen, 1], or of sequences [total, heads, 1]."""
    return (lse if lse.dim() == 3 else lse.T)[..., None]


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


def _bounded_output(problem: Item, found: torch.Tensor, dtype: torch.dtype) -> Bounded:
    expected, _ = attend(*problem)
    moved, _ = attend(*problem._replace(v=problem.v.abs()))
    allowed = _ROUNDING[dtype] * (2 * moved + expected.abs()) + _SMALLEST[dtype]
    return Bounded(found, expected, allowed)


def _bounded_sums(problem: Item, found: torch.Tensor) -> Bounded:
    _, expected = attend(*problem)
    tolerance = _LSE_TOLERANCE * (1 + expected.abs()) + _SCORE_TOLERANCE * _largest_score(problem)
    return Bounded(found, expected, torch.where(expected.isfinite(), tolerance, 0.0))


def _largest_score(problem: Item) -> float:
    """An upper bound of what is summed for a score: by Cauchy and Schwarz, and the largest ALiBi term."""
    if not problem.visible.numel():
        return 0.0
    product = float(problem.q.norm(dim=-1).max() * problem.k.norm(dim=-1).max())
    slope = 0.0 if problem.slopes is None else float(problem.slopes.max())
    return problem.options.scale * product + slope * float(distances(*problem.visible.shape[1:]).abs().max())


def _bounded_gradients(
    problem: Item, d_o: torch.Tensor, found: Sequence[torch.Tensor], dtype: torch.dtype
) -> tuple[Bounded, Bounded, Bounded]:
    rounding, smallest, scale = _ROUNDING[dtype], _SMALLEST[dtype], problem.options.scale
    leaves = [tensor.detach().requires_grad_() for tensor in (problem.q, problem.k, problem.v)]
    o, _ = attend(*problem._replace(q=leaves[0], k=leaves[1], v=leaves[2]))
    expected = torch.autograd.grad(o, leaves, d_o, allow_unused=True, materialize_grads=True)
    o, one_hot = o.detach(), torch.eye(problem.k.shape[1], dtype=torch.float64)[None]
    weights, _ = attend(*problem._replace(v=one_hot))
    delta, delta_error = ((one * other).sum(-1, keepdim=True) for one, other in ((d_o, o), (d_o.abs(), o.abs())))
    d_scores = weights * (d_o @ problem.v.transpose(-1, -2) - delta)
    moved = 2 * rounding * (d_scores.abs() + weights * delta_error) + smallest
    moved_weights = 2 * rounding * weights + smallest
    allowed = (
        scale * moved @ problem.k.abs(),
        scale * (moved.transpose(-1, -2) @ problem.q.abs()).sum(0, keepdim=True),
        (moved_weights.transpose(-1, -2) @ d_o.abs()).sum(0, keepdim=True),
    )
    dq, dk, dv = (
        Bounded(one, right, limit + rounding * right.abs() + smallest)
        for one, right, limit in zip(found, expected, allowed, strict=True)
    )
    return dq, dk, dv
