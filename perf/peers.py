"""The implementations that a case is measured with: ours, and torch's on the same numbers.

Forward, a call computes O. Backward, O is there already and a call computes dQ, dK and dV: for torch, its autograd
differentiates the same graph again and again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from kernels import ops
from kernels.attention_inputs import check_attention_inputs, check_gradients
from kernels.attention_params import Gradients, backward_params, forward_params, launch_backward, launch_forward
from perf.case_inputs import Inputs
from perf.flex_form import flex_form
from perf.model import FULL_MASK_IMPLEMENTATION, OWN_IMPLEMENTATION, Case, Device, Operation
from perf.proportion import is_held_against_full
from perf.timer import Contender
from perf.torch_forms import Form, Tensors, dense_form, eager_form
from perf.varlen_forms import loop_form, nested_form, padded_form

_BACKENDS = {
    Device.CPU: {"torch_flash": SDPBackend.FLASH_ATTENTION, "torch_math": SDPBackend.MATH},
    Device.CUDA: {
        "torch_flash": SDPBackend.FLASH_ATTENTION,
        "torch_cudnn": SDPBackend.CUDNN_ATTENTION,
        "torch_efficient": SDPBackend.EFFICIENT_ATTENTION,
        "torch_math": SDPBackend.MATH,
    },
}

MakeForm = Callable[[Case, Device, Inputs], Form]
Setting = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class _Peer:
    make_form: MakeForm
    setting: Setting = nullcontext  # while the graph is made and while the call runs


def _peers(case: Case, device: Device) -> Mapping[str, _Peer]:
    """By name; the first one whose answer ours is held against stands first."""
    flex = {"torch_flex": _Peer(flex_form)} if device is Device.CUDA else {}
    if case.varlen:
        loop = {"torch_loop": _Peer(loop_form)}
        if case.softcap or case.alibi:
            return {**loop, **flex}
        nested = {"torch_nested": _Peer(nested_form)} if device is Device.CUDA and not _needs_a_mask(case) else {}
        return {"torch_padded": _Peer(padded_form), **loop, **nested, **flex}
    if case.softcap:
        return {"torch_eager": _Peer(eager_form), **flex}
    backends = {name: _Peer(dense_form, partial(_forced, backend)) for name, backend in _BACKENDS[device].items()}
    return {**backends, **flex}


def _needs_a_mask(case: Case) -> bool:
    return case.seqlen_q != case.seqlen_k or case.mask.window[0] >= 0


def implementations(case: Case, device: Device) -> tuple[str, ...]:
    """Names of all implementations that a case is measured with on a device, ours first."""
    full_mask = (FULL_MASK_IMPLEMENTATION,) if is_held_against_full(case) else ()
    return (OWN_IMPLEMENTATION, *full_mask, *_peers(case, device))


def own_contender(case: Case, inputs: Inputs) -> Contender:
    """Our kernel with the outputs allocated in every call, as torch's ops allocate theirs.

    The call returns O or, backward, dQ, dK and dV: a tuple of tensors. Raises :class:`kernels.errors.RoofgateError` if
    no kernel takes the case.
    """
    check_attention_inputs(inputs.q, inputs.k, inputs.v, inputs.options)
    library, device = ops.library_for(inputs.q), inputs.q.device

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        o, lse = torch.empty_like(inputs.q), inputs.q.new_empty(lse_shape(inputs.q), dtype=torch.float32)
        launch_forward(library, forward_params(inputs.q, inputs.k, inputs.v, o, lse, inputs.options), device)
        return o, lse

    if case.operation is Operation.ATTENTION_FWD:
        return Contender(lambda: forward()[:1])
    assert inputs.d_o is not None  # noqa: S101 - make_inputs gives one to every backward case
    check_gradients(inputs.q)
    d_o, (o, lse) = inputs.d_o, forward()

    def backward() -> Tensors:
        dq, dk, dv = (torch.empty_like(tensor) for tensor in (inputs.q, inputs.k, inputs.v))
        gradients = Gradients(o=o, d_o=d_o, lse=lse, dq=dq, dk=dk, dv=dv)
        params = backward_params(inputs.q, inputs.k, inputs.v, gradients, inputs.options, deterministic=False)
        launch_backward(library, params, device)
        return dq, dk, dv

    return Contender(backward)


def lse_shape(q: torch.Tensor) -> tuple[int, ...]:
    """[batch, heads, seqlen_q], or of sequences end to end [heads, total]."""
    return tuple(q.shape[:3]) if q.dim() == 4 else (q.shape[1], q.shape[0])


def peer_contenders(
    case: Case, device: Device, inputs: Inputs
) -> tuple[dict[str, Contender], dict[str, str], Tensors | None]:
    """Torch's implementations that take this case, the reasons why the others do not, and the first one's answer.

    The answer is what our contender returns: O, or dQ, dK and dV.
    """
    taken: dict[str, Contender] = {}
    refused: dict[str, str] = {}
    answer: Tensors | None = None
    for name, peer in _peers(case, device).items():
        try:
            form = peer.make_form(case, device, inputs)
            contender = _contender(form, peer.setting, case.operation)
            with contender.setting():
                outputs = cast(Tensors, contender.call())
        except (RuntimeError, ValueError) as error:
            refused[name] = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        taken[name] = contender
        answer = _in_our_layout(form, outputs, case.operation) if answer is None else answer
    return taken, refused, answer


def _contender(form: Form, setting: Setting, operation: Operation) -> Contender:
    if operation is Operation.ATTENTION_FWD:
        return Contender(partial(form.outputs, form.leaves), setting)
    leaves = tuple(leaf.detach().requires_grad_() for leaf in form.leaves)
    with setting():
        outputs = form.outputs(leaves)
    return Contender(partial(torch.autograd.grad, outputs, leaves, form.d_o, retain_graph=True), setting)


def _in_our_layout(form: Form, tensors: Tensors, operation: Operation) -> Tensors:
    if operation is Operation.ATTENTION_FWD:
        return (form.like_q(tensors),)
    count = len(form.leaves) // 3
    return (
        form.like_q(tensors[:count]),
        form.like_k(tensors[count : 2 * count]),
        form.like_k(tensors[2 * count :]),
    )


@contextmanager
def _forced(backend: SDPBackend) -> Iterator[None]:
    """Allow one backend alone. torch warns why a backend refuses; the exception that follows says enough."""
    with warnings.catch_warnings(), sdpa_kernel([backend]):
        warnings.simplefilter("ignore", UserWarning)
        yield
