"""One run of the transformer: curves first, then times, so that no time is taken of a model that learns wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from kernels.errors import RoofgateError
from perf.machine import observe_machine
from perf.model import Device, DType
from perf.repository import current_commit
from perf.transformer.attentions import own_attention, torch_attention, torch_math_attention
from perf.transformer.decoder import Attend
from perf.transformer.results import Curve, CurveSet, TransformerRun
from perf.transformer.settings import CURVE_SETTING, QUICK_SETTING, Setting
from perf.transformer.timing import time_phases
from perf.transformer.training import train_curve

Progress = Callable[[str], None]

_TIMED_DTYPE = DType.BF16
# Our CUDA kernels take 16-bit types alone.
_CURVE_DTYPES = {Device.CPU: (DType.BF16, DType.FP32), Device.CUDA: (DType.BF16,)}
_ORDER_SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for."""

    device: Device
    setting: Setting
    steps: int  # of each loss curve; 0 for none
    seconds_each: float  # of each contender in each phase
    quick: bool
    threads: int | None = None  # of the host; torch's choice if None


def check_device(device: Device) -> None:
    """Raise :class:`RoofgateError` if torch cannot use ``device``."""
    if device is Device.CUDA and not torch.cuda.is_available():
        raise RoofgateError("--device is cuda, and torch sees no CUDA device here; leave it out or use --device cpu")


def run_transformer(plan: Plan, progress: Progress) -> TransformerRun:
    """Train, time, and return what was found; nothing is written."""
    check_device(plan.device)
    started, commit = datetime.now(UTC).isoformat(timespec="seconds"), current_commit()
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    curve_setting = replace(CURVE_SETTING, batch=2) if plan.quick else CURVE_SETTING
    setting = QUICK_SETTING if plan.quick else plan.setting
    curves = _curves(curve_setting, plan, progress) if plan.steps else ()
    phases = time_phases(setting, plan.device, _TIMED_DTYPE, seconds_each=plan.seconds_each, progress=progress)
    return TransformerRun(
        started=started,
        commit=commit,
        machine=observe_machine(),
        device=plan.device,
        dtype=_TIMED_DTYPE,
        setting=setting,
        curve_setting=curve_setting,
        phases=phases,
        curves=curves,
        quick=plan.quick,
    )


def _curves(setting: Setting, plan: Plan, progress: Progress) -> tuple[CurveSet, ...]:
    with _one_thread():
        return tuple(
            curve_set(setting, own_attention, plan.device, dtype, steps=plan.steps, progress=progress)
            for dtype in _CURVE_DTYPES[plan.device]
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """The model is too small for threads to help, and one thread rounds alike on machines of any size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def curve_set(
    setting: Setting, attend: Attend, device: Device, dtype: DType, *, steps: int, progress: Progress = lambda _: None
) -> CurveSet:
    """Losses with ``attend`` and with torch's attention, and with torch's once more for each control.

    Every run has the same weights and text. Controls: the sequences of each batch in another order, three times, and
    torch's attention spelt out.
    """

    def curve(title: str, attention: Attend, order_seed: int | None = None) -> Curve:
        progress(f"loss curve, {dtype.key}: {title}")
        place = torch.device(device.value)
        losses = train_curve(setting, attention, place, dtype, steps=steps, order_seed=order_seed)
        return Curve(title=title, losses=losses)

    return CurveSet(
        dtype=dtype,
        reference=curve("torch", torch_attention),
        own=curve("roofgate", attend),
        controls=(
            curve("torch, spelt out", torch_math_attention),
            *(curve(f"torch, batch order {seed}", torch_attention, seed) for seed in _ORDER_SEEDS),
        ),
    )
