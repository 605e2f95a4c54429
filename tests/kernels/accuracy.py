"""How right an attention kernel has to be: the rule that all kernel tests share.

The largest error of O, dQ, dK and dV against float64 is at most twice torch's own in the same dtype on the same inputs.
Torch's own is ``scaled_dot_product_attention`` with a boolean mask, or a float one for ALiBi. It has no softcap: there
it is the formula in torch operations of the inputs' dtype, which is what users write.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from kernels import reference
from kernels.attention_params import AttentionOptions

HALF_UNIT_IN_LAST_PLACE = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-24}  # at most, relative
POISON = 3e4  # finite in every dtype


@torch.no_grad()
def assert_forward_as_accurate_as_torch(
    o: torch.Tensor, lse: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions
) -> None:
    """The largest error of O against float64 is at most twice torch's, and the LSE is right to fp32."""
    expected, expected_lse = reference.attention(q, k, v, options)
    score = largest_score(q, k, options)
    # Rounding one score S moves its weight by |S| 2^-24 of it, and the weights of a row sum up to 1.
    _assert_close_enough("O", o, torch_answer(q, k, v, options), expected, 2**-24 * score * _largest(v))
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-5, atol=1e-5 + 2**-23 * score)


@torch.no_grad()
def assert_gradients_as_accurate_as_torch(
    dq: torch.Tensor,
    dk: torch.Tensor,
    dv: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    d_o: torch.Tensor,
    options: AttentionOptions,
) -> None:
    """The largest errors of dQ, dK and dV against float64 are at most twice those of torch's autograd."""
    expected = reference.gradients(q, k, v, d_o, options)
    floors = rounding_of_gradients(q, k, v, d_o, options)
    answers = torch_gradients(q, k, v, d_o, options)
    for name, *tensors, floor in zip(("dQ", "dK", "dV"), (dq, dk, dv), answers, expected, floors, strict=True):
        _assert_close_enough(name, *tensors, floor)


def torch_answer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: AttentionOptions) -> torch.Tensor:
    """Torch's own O in the inputs' dtype, laid out like Q, differentiable; a row that sees no key is zero."""
    outputs = [_torch_attend(item) for item in reference.items(q, k, v, options)]
    if not outputs:
        return torch.zeros_like(q)
    return torch.stack(outputs) if options.sequences_q is None else torch.cat(outputs, dim=1).transpose(0, 1)


def torch_gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_o: torch.Tensor, options: AttentionOptions
) -> tuple[torch.Tensor, ...]:
    """Torch's own dQ, dK and dV in the inputs' dtype."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (q, k, v)]
    with torch.enable_grad():
        o = torch_answer(leaves[0], leaves[1], leaves[2], options)
    if not o.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(o, leaves, d_o, allow_unused=True, materialize_grads=True)


def _torch_attend(item: reference.Item) -> torch.Tensor:
    q, k, v, visible, slopes, options = item
    if options.softcap > 0:
        return reference.attend(item)[0]
    # A row that sees nothing is computed without its mask and thrown away, for its derivative must not be NaN.
    sees_a_key = visible.any(-1, keepdim=True)
    mask = visible | ~sees_a_key
    if slopes is not None:
        distance = reference.distances(*visible.shape[-2:]).abs().to(q.device, torch.float32)
        bias = torch.where(mask, -slopes.float()[:, None, None] * distance, -torch.inf)
        mask = bias.to(q.dtype) if q.is_cuda else bias  # on CUDA, SDPA takes no mask but one of the dtype of Q
    answer = scaled_dot_product_attention(
        q[None], k[None], v[None], attn_mask=mask[None], scale=options.scale, enable_gqa=True
    )[0]
    return torch.where(sees_a_key, answer, 0.0)


def rounding_of_gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_o: torch.Tensor, options: AttentionOptions
) -> tuple[float, float, float]:
    """What rounding in fp32 alone may cost dQ, dK and dV, for cases so small that torch's error is zero by luck.

    To first order, element by element: a sum of terms is rounded by 2^-24 of the sum |.| of their sizes. So a score S
    and the LSE, which the passes hand over in fp32, move the weight P = exp(S - LSE) by P (|S| + |LSE| + 2), where 2 is
    for the exponential itself, or 1 - tanh^2 in its place, and for rounding P. dP = dO V^T moves by |dP|, and
    dS = P (dP - delta), where delta is the mean of dP in a row, by
    P ((|S| + |LSE| + 2) abs(dP - delta) + |dP| + |delta|).
    """
    floors: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]
    q, k, v, d_o = (tensor.double() for tensor in (q, k, v, d_o))
    for item, gradient in zip(reference.items(q, k, v, options), reference.items(d_o, k, v, options), strict=True):
        group = item.q.shape[0] // item.k.shape[0]
        keys, values = (tensor.repeat_interleave(group, dim=0) for tensor in (item.k, item.v))
        size = options.scale * (item.q.abs() @ keys.abs().mT)
        if item.slopes is not None:
            distance = reference.distances(*size.shape[-2:]).abs().to(size)
            size = size + item.slopes[:, None, None].to(size) * distance
        lse = reference.attend(item)[1]
        size = 2 * size + 3 * torch.where(lse.isinf(), 0.0, lse.abs())[..., None] + 2
        weights = reference.weights(item)
        d_weights, d_size = gradient.q @ values.mT, gradient.q.abs() @ values.abs().mT
        delta, delta_size = ((weights * tensor).sum(-1, keepdim=True) for tensor in (d_weights, d_size))
        d_score = 2**-24 * weights * (size * (d_weights - delta).abs() + d_size + delta_size) * options.scale
        d_keys, d_values = d_score.mT @ item.q.abs(), 2**-24 * (weights * size).mT @ gradient.q.abs()
        of_heads = (tensor.unflatten(0, (-1, group)).sum(1) for tensor in (d_keys, d_values))
        floors.append((_largest(d_score @ keys.abs()), *(_largest(tensor) for tensor in of_heads)))
    dq, dk, dv = (max(column) for column in zip(*floors, strict=True))
    return dq, dk, dv


def largest_score(q: torch.Tensor, k: torch.Tensor, options: AttentionOptions) -> float:
    """Cauchy's bound on a scaled score, plus the greatest bias: a bound on the terms that are summed for a score."""
    score = options.scale * _largest_row(q) * _largest_row(k)
    if options.alibi_slopes is not None:
        longest = max(tensor.shape[2 if tensor.dim() == 4 else 0] for tensor in (q, k))
        score += _largest(options.alibi_slopes) * longest
    return score


def _largest(tensor: torch.Tensor) -> float:
    return float(tensor.double().abs().max()) if tensor.numel() else 0.0


def _largest_row(tensor: torch.Tensor) -> float:
    return float(tensor.double().norm(dim=-1).max()) if tensor.numel() else 0.0


def _assert_close_enough(
    name: str, answer: torch.Tensor, torch_answer: torch.Tensor, expected: torch.Tensor, floor: float
) -> None:
    """``floor`` and half a unit in the last place are allowed in any case."""
    assert answer.shape == expected.shape, f"{name} has shape {tuple(answer.shape)}, not {tuple(expected.shape)}"
    if not answer.numel():
        return
    error = float((answer.double() - expected).abs().max())
    torch_error = float((torch_answer.double() - expected).abs().max())
    allowed = max(2 * torch_error, floor + HALF_UNIT_IN_LAST_PLACE[answer.dtype] * _largest(expected))
    assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g}, torch's {torch_error:.3g}"


def random_inputs(
    dtype: torch.dtype,
    batch: int,
    heads_q: int,
    heads_kv: int,
    seqlen_q: int,
    seqlen_k: int,
    head_dim: int,
    scale: float = 1,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normal inputs, equal for equal shapes."""
    generator = torch.Generator().manual_seed(seqlen_q * 1000 + seqlen_k)
    shapes = [(batch, heads_q, seqlen_q, head_dim), *[(batch, heads_kv, seqlen_k, head_dim)] * 2]
    q, k, v = ((scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes)
    return q, k, v


def random_sequences(
    dtype: torch.dtype, total_q: int, total_k: int, heads_q: int, heads_kv: int, head_dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normal inputs for batches of sequences, [total, heads, head_dim]."""
    q, k, v = random_inputs(dtype, 1, heads_q, heads_kv, total_q, total_k, head_dim)
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (q, k, v))
    return q, k, v


def random_gradient(o: torch.Tensor) -> torch.Tensor:
    """A normal gradient of O, equal for equal shapes."""
    generator = torch.Generator().manual_seed(o.numel())
    return torch.randn(o.shape, generator=generator).to(o.dtype)
