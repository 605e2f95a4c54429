"""The torch ops: semantics of SDPA, clean custom ops, and clear refusals."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kernels import ops

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(dtype: torch.dtype = torch.float32, heads_kv: int = 2, seqlen_k: int = 24, head_dim: int = 32) -> Inputs:
    """Q with 4 heads and 24 positions, K and V to match."""
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 4, 24, head_dim, generator=generator).to(dtype)
    k, v = (torch.randn(2, heads_kv, seqlen_k, head_dim, generator=generator).to(dtype) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_means_what_sdpa_means(causal: bool, scale: float | None) -> None:
    """Same layout, same answer."""
    q, k, v = inputs()
    expected = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)

    torch.testing.assert_close(ops.attention(q, k, v, causal=causal, scale=scale), expected, rtol=1e-4, atol=1e-5)


def test_opcheck_is_clean() -> None:
    """Schema, fake kernel, autograd registration and AOT dispatch agree with the real op."""
    q, k, v = inputs()
    torch.library.opcheck(torch.ops.roofgate.attention_fwd.default, (q, k, v, True, 0.2))


def test_the_fake_kernel_keeps_the_strides_of_q() -> None:
    """O lies in memory as Q does, so a transposed layout costs no copy behind the op."""
    q, k, v = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in inputs())

    assert ops.attention(q, k, v).stride() == q.stride()


def test_attention_compiles_into_one_graph() -> None:
    """The op is opaque to tracing, so a model around it has no graph break."""
    q, k, v = inputs()
    compiled = torch.compile(lambda *tensors: ops.attention(*tensors) * 2, backend="aot_eager", fullgraph=True)

    torch.testing.assert_close(compiled(q, k, v), ops.attention(q, k, v) * 2)


def test_backward_is_refused_clearly() -> None:
    """There is no backward kernel yet, and the error says what to do."""
    q, k, v = inputs()
    output = ops.attention(q.requires_grad_(), k, v)
    with pytest.raises(NotImplementedError, match="no backward yet"):
        output.sum().backward()


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values with head_dim not contiguous."""
    return tensor.transpose(2, 3).contiguous().transpose(2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), r"q has shape \(4, 24, 32\); expected \[batch, heads, seqlen, head_dim\]"),
        (lambda q, k, v: (q, k[..., :16], v), "shapes do not fit together"),
        (lambda q, k, v: (q[:, :3], k, v), "3 heads, which is no multiple of the 2 heads"),
        (lambda q, k, v: (q.half(), k.half(), v.half()), "torch.float16 has no kernel on cpu; expected torch.bfloat16"),
        (lambda q, k, v: (q, k.bfloat16(), v), "must share one dtype and one device"),
        (lambda q, k, v: (q[..., :24], k[..., :24], v[..., :24]), "head_dim 24 has no host kernel"),
        (lambda q, k, v: (strided(q), k, v), r"head_dim must be contiguous: call q.contiguous\(\)"),
        (lambda q, k, v: (q.to("meta"), k.to("meta"), v.to("meta")), "device 'meta' has no kernel"),
    ],
)
def test_what_no_kernel_takes_is_refused_by_name(change, message: str) -> None:  # noqa: ANN001
    """The error names the tensor, its value, and what would be taken."""
    with pytest.raises(ops.UnsupportedInputError, match=message):
        ops.check_attention_inputs(*change(*inputs()))


def test_a_negative_scale_is_refused() -> None:
    """The online softmax takes its maximum before scaling, which a negative scale would turn round."""
    with pytest.raises(ops.UnsupportedInputError, match=r"scale is -1\.0"):
        ops.attention(*inputs(), scale=-1.0)
