"""The torch ops: semantics of SDPA, clean custom ops, tracing, autocast. Gradients: ``test_autograd.py``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from kernels import masks, ops, reference
from kernels.attention_inputs import sequences_from_lengths
from kernels.attention_params import AttentionOptions

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

FORWARD = torch.ops.roofgate.attention_fwd.default
BACKWARD = torch.ops.roofgate.attention_bwd.default
SLOPES = torch.tensor([0.5, 0.25, 0.1, 0.0])
LENGTHS = (7, 0, 16, 1)
SEQUENCES = sequences_from_lengths(LENGTHS)


def inputs(dtype: torch.dtype = torch.float32, seqlen_k: int = 24) -> Inputs:
    """Q with 4 heads and 24 positions, K and V with 2 heads."""
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 4, 24, 32, generator=generator).to(dtype)
    k, v = (torch.randn(2, 2, seqlen_k, 32, generator=generator).to(dtype) for _ in range(2))
    return q, k, v


def sequence_inputs() -> Inputs:
    """For sequences of these lengths, as Q and as K."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(sum(LENGTHS), heads, 32, generator=generator) for heads in (4, 2, 2))
    return q, k, v


def plan() -> masks.MaskPlan:
    """A mask of every second key, and some rows without any."""
    visible = (torch.arange(24) % 2 == 0).repeat(24, 1)
    visible[3:5] = False
    return masks.from_tensor(visible)


def op_arguments(kind: str) -> tuple[Any, ...]:
    """Q, K, V and the other arguments of the forward op, for one kind of options."""
    no_sequences = ((), 0, 0, False)
    if kind == "sequences":
        offsets = (SEQUENCES.offsets, SEQUENCES.offsets)
        return (*sequence_inputs(), 0.2, -1, 0, 0.0, None, (), offsets, max(LENGTHS), max(LENGTHS), True)
    mask = plan()
    tensors = [mask.tiles, mask.query_bits, mask.key_bits, mask.query_order, mask.key_order]
    options = {
        "full": (0.2, -1, -1, 0.0, None, ()),
        "causal": (0.2, -1, 0, 0.0, None, ()),
        "plan": (0.2, -1, -1, 0.0, None, tensors),
        "softcap and ALiBi": (0.2, 5, 3, 2.0, SLOPES, ()),
    }
    return (*inputs(), *options[kind], *no_sequences)


KINDS = pytest.mark.parametrize("kind", ["full", "causal", "plan", "softcap and ALiBi", "sequences"])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_means_what_sdpa_means(causal: bool, scale: float | None) -> None:
    """Same layout, same answer."""
    q, k, v = inputs()
    expected = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)

    torch.testing.assert_close(ops.attention(q, k, v, causal=causal, scale=scale), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"window": (3, 2)}, {"window_left": 3, "window_right": 2}),
        ({"window": (3, None)}, {"window_left": 3}),
        ({"window": (3, 7), "causal": True}, {"window_left": 3, "window_right": 0}),
        ({"window": (10**12, 10**12)}, {}),
        ({"softcap": 1.5}, {"softcap": 1.5}),
        ({"alibi_slopes": SLOPES, "causal": True}, {"alibi_slopes": SLOPES, "window_right": 0}),
        ({"alibi_slopes": SLOPES.repeat(2, 1)}, {"alibi_slopes": SLOPES}),
        ({"mask": plan(), "softcap": 1.0}, {"plan": plan(), "softcap": 1.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("lengths", ["equal", "unequal"])
def test_every_option_reaches_the_kernel(arguments: dict[str, Any], options: dict[str, Any], lengths: str) -> None:
    """The public arguments mean what the structure's fields mean."""
    if lengths == "unequal" and "mask" in arguments:
        pytest.skip("the mask is of one shape")
    q, k, v = inputs(seqlen_k=24 if lengths == "equal" else 37)
    expected, _ = reference.attention(q, k, v, AttentionOptions(scale=32**-0.5, **options))

    torch.testing.assert_close(ops.attention(q, k, v, **arguments).double(), expected, rtol=1e-4, atol=1e-5)


def test_one_query_sees_every_key_of_a_causal_mask() -> None:
    """As decoding needs: the mask is aligned to the bottom right."""
    q, k, v = inputs()

    torch.testing.assert_close(ops.attention(q[:, :, :1], k, v, causal=True), ops.attention(q[:, :, :1], k, v))


@pytest.mark.parametrize("arguments", [{}, {"causal": True}, {"window": (2, 1)}, {"softcap": 2.0}], ids=str)
def test_sequences_are_attention_of_each(arguments: dict[str, Any]) -> None:
    """End to end, they give what each gives alone."""
    q, k, v = sequence_inputs()
    o = ops.attention_varlen(q, k, v, SEQUENCES, **arguments)
    begin = 0
    for length in LENGTHS:
        alone = (tensor[begin : begin + length].transpose(0, 1)[None] for tensor in (q, k, v))
        expected = ops.attention(*alone, **arguments)[0].transpose(0, 1)
        torch.testing.assert_close(o[begin : begin + length], expected, rtol=1e-4, atol=1e-5)
        begin += length


def test_keys_may_have_sequences_of_their_own() -> None:
    """Cross attention, and decoding against caches of different lengths."""
    q, k, v = sequence_inputs()
    sequences_q = sequences_from_lengths([1, 1, 2])
    sequences_k = sequences_from_lengths([9, 3, 12])
    options = AttentionOptions(scale=32**-0.5, window_right=0, sequences_q=sequences_q, sequences_k=sequences_k)
    expected, _ = reference.attention(q[:4], k, v, options)
    o = ops.attention_varlen(q[:4], k, v, sequences_q, sequences_k, causal=True)

    torch.testing.assert_close(o.double(), expected, rtol=1e-4, atol=1e-5)


@KINDS
def test_opcheck_of_the_forward_op_is_clean(kind: str) -> None:
    """Schema, fake kernel, autograd registration and AOT dispatch agree with the real op."""
    q, k, v, *rest = op_arguments(kind)
    leaves = [tensor.requires_grad_() for tensor in (q, k, v)]
    torch.library.opcheck(FORWARD, (*leaves, *rest))


@KINDS
def test_opcheck_of_the_backward_op_is_clean(kind: str) -> None:
    """The same for the op that the derivative of the first one is."""
    arguments = op_arguments(kind)
    o, lse = FORWARD(*arguments)
    torch.library.opcheck(BACKWARD, (torch.ones_like(o), *arguments[:3], o, lse, *arguments[3:]))


def test_the_output_lies_in_memory_as_q_does() -> None:
    """A transposed layout costs no copy behind the op."""
    q, k, v = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in inputs())

    assert ops.attention(q, k, v).stride() == q.stride()


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_attention_compiles_into_one_graph(backend: str) -> None:
    """Forward and backward: the ops are opaque to tracing, so a model around them has no graph break."""
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    compiled = torch.compile(lambda *qkv: ops.attention(*qkv, causal=True) * 2, backend=backend, fullgraph=True)
    expected, answer = ops.attention(*tensors, causal=True) * 2, compiled(*tensors)

    torch.testing.assert_close(answer, expected)
    torch.testing.assert_close(
        torch.autograd.grad(answer.sum(), tensors), torch.autograd.grad(expected.sum(), tensors), rtol=1e-4, atol=1e-5
    )


def test_a_compiled_model_takes_another_mask_with_each_call() -> None:
    """A plan is an argument like a tensor: no graph break, and after the second shape no rebuild."""
    q, k, v = inputs()
    compiled = torch.compile(lambda mask: ops.attention(q, k, v, mask=mask), backend="aot_eager", fullgraph=True)
    generator = torch.Generator().manual_seed(2)
    for heads in (4, 4, 4, 4):
        mask = masks.from_tensor(torch.rand(2, heads, 24, 24, generator=generator) < 0.5)
        torch.testing.assert_close(compiled(mask), ops.attention(q, k, v, mask=mask))


def test_sequences_compile_into_one_graph() -> None:
    """No value of the offsets is looked at in the graph."""
    q, k, v = sequence_inputs()
    compiled = torch.compile(
        lambda sequences: ops.attention_varlen(q, k, v, sequences), backend="aot_eager", fullgraph=True
    )
    for lengths in (LENGTHS, (24,), (8, 8, 8)):
        sequences = sequences_from_lengths(lengths)
        torch.testing.assert_close(compiled(sequences), ops.attention_varlen(q, k, v, sequences))


@pytest.mark.parametrize("compiles", [False, True])
def test_autocast_casts_as_it_does_for_torch(compiles: bool) -> None:
    """fp32 inputs become bf16 on the way in, and their gradients are fp32."""
    q, k, v = (tensor.requires_grad_() for tensor in inputs())
    function: Any = ops.attention
    if compiles:
        function = torch.compile(ops.attention, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        o = function(q, k, v, alibi_slopes=SLOPES)
        expected_type = scaled_dot_product_attention(q, k, v, enable_gqa=True).dtype
    o.float().sum().backward()
    halves = (tensor.detach().bfloat16() for tensor in (q, k, v))

    assert o.dtype == expected_type == torch.bfloat16
    assert q.grad is not None
    assert q.grad.dtype == torch.float32
    torch.testing.assert_close(o, ops.attention(*halves, alibi_slopes=SLOPES))


@pytest.mark.parametrize(("batch", "seqlen_q", "seqlen_k"), [(0, 8, 8), (1, 0, 8), (1, 8, 0), (1, 1, 1)])
def test_empty_and_single_are_no_special_case(batch: int, seqlen_q: int, seqlen_k: int) -> None:
    """An empty batch, no query, no key, one of each: shapes as ever, zeros where nothing is seen, gradients too."""
    q = torch.randn(batch, 4, seqlen_q, 32, requires_grad=True)
    k, v = (torch.randn(batch, 2, seqlen_k, 32, requires_grad=True) for _ in range(2))
    o = ops.attention(q, k, v, causal=True)
    o.sum().backward()

    assert o.shape == q.shape
    if seqlen_k == 0:
        assert (o == 0).all()
    for leaf in (q, k, v):
        assert leaf.grad is not None
        assert leaf.grad.shape == leaf.shape
        assert torch.isfinite(leaf.grad).all()
