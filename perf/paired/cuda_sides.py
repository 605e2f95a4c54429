"""Two CUDA libraries on the same attention problem, in one process, on the current device.

``arguments``: ``case`` (the fields of :class:`perf.model.Case`, the enumerations by key) and, optional, ``cache`` (a
:class:`perf.timer.CacheState` by value; warm by default).

Both sides read and write the same buffers and run on the same stream, and both are launched in the same way: as CUDA
graphs if either is launch-bound and both can be captured. The libraries are opened in random order, and every buffer
starts at a random offset into memory of its own. With every block stand the host's conditions and the GPU's around it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kernels.attention_inputs import check_attention_inputs, check_gradients
from kernels.attention_params import AttentionOptions, Gradients, backward_params, forward_params
from kernels.errors import RoofgateError
from kernels.interface import AttentionBwdParams, AttentionFwdParams, Library
from perf.calibration import CacheState, rotation_sets
from perf.case import case_from_fields
from perf.case_inputs import make_inputs
from perf.conditions import ConditionsProbe
from perf.gpu_conditions import around
from perf.model import Case, Device, DType
from perf.paired.model import Conditions, GpuConditions, Side
from perf.paired.sampling import Sides
from perf.peers import lse_shape
from perf.timer import CudaTimer, l2_cache_bytes, rotating

# Far above the rounding of two right answers, far below what a wrong tile or mask gives (as in perf.measure).
_TOLERANCE = {DType.BF16: 0.1, DType.FP16: 0.02, DType.FP32: 1e-3}
# Torch's allocator aligns to 512 B; up to 2 MiB, a large page, moves a buffer across the sets of the cache.
_OFFSET_STEP_BYTES, _OFFSET_STEPS = 512, 4096
_WORKSPACE_ALIGNMENT_BYTES = 256
_PLAN_TENSORS = ("tiles", "query_bits", "key_bits", "query_order", "key_order")


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The two sides.

    Raises:
        RoofgateError: there is no GPU, a library cannot be opened, refuses the case, or answers differently.
    """
    if not torch.cuda.is_available():
        raise RoofgateError("torch finds no usable NVIDIA GPU; compare CUDA kernels on a machine that has one")
    case, cache = case_from_fields(arguments["case"]), _cache_state(arguments.get("cache", CacheState.WARM.value))
    opened = {side: Library(libraries[side]) for side in generator.sample(list(Side), 2)}
    problems = _problems(case, cache, opened, generator)
    _check_answers(opened, problems[0], case)
    calls = {side: rotating([partial(_launch, opened[side], problem) for problem in problems]) for side in Side}
    for call in calls.values():
        for _ in problems:
            call()
    timer = CudaTimer(cache=cache, sets=len(problems))
    timer.choose_launch(list(calls.values()))
    observer = _BlockObserver(timer)
    return Sides(
        samplers={side: partial(timer.seconds, calls[side]) for side in Side},
        begin_block=observer.begin,
        end_block=observer.end,
        setting={**timer.describe(calls[Side.BASE]), "device": torch.cuda.get_device_name()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """One set of inputs and outputs. The structures hold addresses only, so ``tensors`` keeps what they point to."""

    params: AttentionFwdParams | AttentionBwdParams
    outputs: tuple[torch.Tensor, ...]
    tensors: Sequence[torch.Tensor]


class _BlockObserver:
    """The host's conditions during a block, and the GPU's around it."""

    def __init__(self, timer: CudaTimer) -> None:
        self._timer = timer
        self._host = ConditionsProbe()
        self._gpu_before: GpuConditions | None = None

    def begin(self) -> None:
        self._host.begin()
        self._gpu_before = self._timer.conditions()

    def end(self) -> Conditions:
        # The GPU first: its clocks fall as soon as it rests.
        gpu = around(self._gpu_before, self._timer.conditions())
        return replace(self._host.end(), gpu=gpu)


def _cache_state(value: object) -> CacheState:
    try:
        return CacheState(value)
    except ValueError:
        known = ", ".join(state.value for state in CacheState)
        raise RoofgateError(f"cache is {value!r}, expected one of {known}") from None


def _problems(
    case: Case, cache: CacheState, libraries: Mapping[Side, Library], generator: random.Random
) -> list[_Problem]:
    """One, or as many as outgrow the cache if inputs rotate."""
    problems = [_problem(case, libraries, generator)]
    if cache is CacheState.ROTATING:
        set_bytes = sum(tensor.numel() * tensor.element_size() for tensor in problems[0].tensors)
        missing = rotation_sets(set_bytes, l2_cache_bytes()) - 1
        problems += [_problem(case, libraries, generator) for _ in range(missing)]
    return problems


def _problem(case: Case, libraries: Mapping[Side, Library], generator: random.Random) -> _Problem:
    inputs = make_inputs(case, Device.CUDA, seed=generator.getrandbits(32))
    check_attention_inputs(inputs.q, inputs.k, inputs.v, inputs.options)
    lse = inputs.q.new_zeros(lse_shape(inputs.q), dtype=torch.float32)
    q, k, v, o, lse = (
        _placed(each, generator) for each in (inputs.q, inputs.k, inputs.v, torch.zeros_like(inputs.q), lse)
    )
    forward = forward_params(q, k, v, o, lse, inputs.options)
    masks = _mask_tensors(inputs.options)
    if inputs.d_o is None:
        return _Problem(params=forward, outputs=(o,), tensors=(q, k, v, o, lse, *masks))
    check_gradients(q)
    # O and its log-sum-exp are inputs of the backward pass: one library computes them for both.
    libraries[Side.BASE].attention_fwd(forward, _stream())
    d_o = _placed(inputs.d_o, generator)
    dq, dk, dv = (_placed(torch.zeros_like(tensor), generator) for tensor in (q, k, v))
    gradients = Gradients(o=o, d_o=d_o, lse=lse, dq=dq, dk=dk, dv=dv)
    params = backward_params(q, k, v, gradients, inputs.options, deterministic=False)
    workspace = _workspace(params, libraries, q.device)
    tensors = (q, k, v, o, lse, d_o, dq, dk, dv, workspace, *masks)
    return _Problem(params=params, outputs=(dq, dk, dv), tensors=tensors)


def _workspace(params: AttentionBwdParams, libraries: Mapping[Side, Library], device: torch.device) -> torch.Tensor:
    """Memory that is large enough for either library, and ``params`` pointing to it."""
    sizes = []
    for library in libraries.values():
        library.attention_bwd(params)  # no workspace yet: asks for its size
        sizes.append(params.workspace_bytes)
    memory = torch.empty(max(sizes) + _WORKSPACE_ALIGNMENT_BYTES, dtype=torch.uint8, device=device)
    params.workspace = memory.data_ptr() + -memory.data_ptr() % _WORKSPACE_ALIGNMENT_BYTES
    params.workspace_bytes = max(sizes)
    return memory


def _mask_tensors(options: AttentionOptions) -> list[torch.Tensor]:
    """Every tensor that the options point to."""
    plan, sequences = options.plan, (options.sequences_q, options.sequences_k)
    tensors = [] if plan is None else [getattr(plan, name) for name in _PLAN_TENSORS]
    tensors += [each.offsets for each in sequences if each is not None]
    return tensors if options.alibi_slopes is None else [*tensors, options.alibi_slopes]


def _placed(tensor: torch.Tensor, generator: random.Random) -> torch.Tensor:
    """A contiguous copy at a random offset into memory of its own."""
    offset = generator.randrange(_OFFSET_STEPS) * _OFFSET_STEP_BYTES // tensor.element_size()
    memory = torch.empty(offset + tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    return memory[offset:].view(tensor.shape).copy_(tensor)


def _stream() -> int:
    # Asked for in every call: while a graph is captured, it is the capturing one.
    return int(torch.cuda.current_stream().cuda_stream)


def _launch(library: Library, problem: _Problem) -> None:
    if isinstance(problem.params, AttentionBwdParams):
        library.attention_bwd(problem.params, _stream())
    else:
        library.attention_fwd(problem.params, _stream())


def _check_answers(libraries: Mapping[Side, Library], problem: _Problem, case: Case) -> None:
    """A revision that computes something else is not faster or slower: its time means nothing."""
    answers = {}
    for side in Side:
        for output in problem.outputs:
            output.fill_(torch.nan)  # so that what a kernel leaves out is not the other one's answer
        _launch(libraries[side], problem)
        torch.cuda.synchronize()
        answers[side] = [output.float() for output in problem.outputs]
    for base, candidate in zip(answers[Side.BASE], answers[Side.CANDIDATE], strict=True):
        # A gradient sums over all queries, so that its rounding grows with its size.
        size = 1.0 if len(problem.outputs) == 1 else max(1.0, float(base.abs().max()))
        difference = float((base - candidate).abs().max()) / size
        if not difference <= _TOLERANCE[case.dtype]:  # also where one is NaN
            raise RoofgateError(
                f"the answers of base and candidate differ by up to {difference:.3g}, expected at most "
                f"{_TOLERANCE[case.dtype]:g}; not timed. Run the correctness tests on both: "
                "nox -s tests -- tests/kernels"
            )
