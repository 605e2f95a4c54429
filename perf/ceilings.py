"""Measure what bounds every kernel on this machine: copy bandwidth, instruction peak, and torch's GEMM beside them.

The method is that of the Empirical Roofline Toolkit (Lo et al., PMBS 2014): microkernels, never a datasheet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from kernels.interface import CeilingCopyParams, CeilingFlopsParams, KernelDType, Library
from kernels.library import cuda_library, host_library
from perf.case_inputs import TORCH_DTYPES
from perf.model import Ceiling, CeilingKind, Device, DType
from perf.timer import CpuTimer, CudaTimer, Timer

SAMPLES = 7
_COPY_BYTES = {Device.CPU: 256 << 20, Device.CUDA: 1 << 30}  # far beyond the last-level cache
_GEMM_SIZES = {Device.CPU: (1024, 2048), Device.CUDA: (8192,)}
_FLOPS_ITERATIONS = {Device.CPU: 1 << 22, Device.CUDA: 1 << 12}
_DTYPES = {Device.CPU: (DType.BF16, DType.FP32), Device.CUDA: (DType.BF16, DType.FP16)}
_KERNEL_DTYPES = {DType.BF16: KernelDType.BF16, DType.FP16: KernelDType.FP16, DType.FP32: KernelDType.FP32}


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingProbe:
    """One ceiling to measure. ``work`` is what one call does, in FLOP or bytes."""

    kind: CeilingKind
    device: Device
    dtype: DType | None
    prepare: Callable[[], tuple[Callable[[], object], float, str]]  # call, work, what runs

    @property
    def name(self) -> str:
        """Name of its benchmark."""
        return f"ceiling-{self.kind.value}-{self.device.value}-{self.dtype.key if self.dtype else 'any'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCeiling:
    """A ceiling with the samples behind it, in seconds per call."""

    ceiling: Ceiling
    samples_s: tuple[float, ...]


def probes(device: Device) -> tuple[CeilingProbe, ...]:
    """All ceilings of a device."""
    copy = CeilingProbe(
        kind=CeilingKind.COPY, device=device, dtype=None, prepare=lambda: _copy(device, _COPY_BYTES[device])
    )
    by_dtype = [
        CeilingProbe(kind=kind, device=device, dtype=dtype, prepare=_preparation(kind, device, dtype))
        for kind in (CeilingKind.INSTRUCTION_PEAK, CeilingKind.GEMM)
        for dtype in _DTYPES[device]
    ]
    return (copy, *by_dtype)


def _preparation(
    kind: CeilingKind, device: Device, dtype: DType
) -> Callable[[], tuple[Callable[[], object], float, str]]:
    if kind is CeilingKind.GEMM:
        return lambda: _gemm(device, dtype)
    return lambda: _instruction_peak(device, dtype)


def measure_ceiling(probe: CeilingProbe) -> MeasuredCeiling:
    """Take SAMPLES samples after one warm-up call. The ceiling is the best one, for nothing can be too fast."""
    call, work, detail = probe.prepare()
    timer: Timer = CpuTimer() if probe.device is Device.CPU else CudaTimer()
    timer.seconds(call, 1)
    seconds = tuple(timer.seconds(call, 1) for _ in range(SAMPLES))
    rates = tuple(work / sample for sample in seconds)
    ceiling = Ceiling(
        kind=probe.kind, device=probe.device, dtype=probe.dtype, value=max(rates), samples=rates, detail=detail
    )
    return MeasuredCeiling(ceiling=ceiling, samples_s=seconds)


def _library(device: Device) -> Library:
    if device is Device.CUDA:
        return cuda_library(*torch.cuda.get_device_capability())
    return host_library()


def _stream(device: Device) -> int:
    return torch.cuda.current_stream().cuda_stream if device is Device.CUDA else 0


def _copy(device: Device, size_bytes: int) -> tuple[Callable[[], object], float, str]:
    source = torch.ones(size_bytes // 4, device=device.value)
    destination = torch.zeros_like(source)
    threads = torch.get_num_threads()
    params = CeilingCopyParams(dst=destination.data_ptr(), src=source.data_ptr(), bytes=size_bytes, threads=threads)
    library = _library(device)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        library.ceiling_copy(params, _stream(device))
        return source, destination  # so that the closure keeps both alive: the C side holds addresses only

    detail = f"copy of {size_bytes >> 20} MiB, bytes read plus bytes written"
    return call, 2.0 * size_bytes, _on(device, detail)


def _instruction_peak(device: Device, dtype: DType) -> tuple[Callable[[], object], float, str]:
    sink = torch.zeros(64, device=device.value)
    params = CeilingFlopsParams(
        iterations=_FLOPS_ITERATIONS[device],
        dtype=_KERNEL_DTYPES[dtype],
        threads=torch.get_num_threads(),
        sink=sink.data_ptr(),
    )
    library = _library(device)
    flop = library.ceiling_flops(params, _stream(device))

    def call() -> torch.Tensor:
        library.ceiling_flops(params, _stream(device))
        return sink

    return call, flop, _on(device, f"independent multiply-add chains in registers, {dtype.key}")


def _gemm(device: Device, dtype: DType) -> tuple[Callable[[], object], float, str]:
    """torch.matmul at the square size that gives the highest rate."""
    timer: Timer = CpuTimer() if device is Device.CPU else CudaTimer()
    rates: dict[int, float] = {}
    for size in _GEMM_SIZES[device]:
        call = _matmul(device, dtype, size)
        timer.seconds(call, 1)
        rates[size] = 2.0 * size**3 / min(timer.seconds(call, 1) for _ in range(3))
    best = max(rates, key=lambda size: rates[size])
    return (
        _matmul(device, dtype, best),
        2.0 * best**3,
        _on(device, f"torch.matmul {best} x {best} x {best}, {dtype.key}"),
    )


def _matmul(device: Device, dtype: DType, size: int) -> Callable[[], object]:
    a = torch.randn(size, size, device=device.value, dtype=TORCH_DTYPES[dtype])
    b = torch.randn(size, size, device=device.value, dtype=TORCH_DTYPES[dtype])
    return lambda: a @ b


def _on(device: Device, detail: str) -> str:
    if device is Device.CUDA:
        return f"{detail}, {torch.cuda.get_device_name()}"
    return f"{detail}, {torch.get_num_threads()} threads"
