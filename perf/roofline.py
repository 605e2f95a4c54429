"""The times that hardware allows: the floor of a case on a declared target, and the roofline of a measured one.

The roofline is that of Williams, Waterman and Patterson (2009), "Roofline: an insightful visual performance model",
CACM 52(4). Attention adds a third bound to it, the special function units that evaluate the softmax's exponentials
(16 ``ex2`` per clock and multiprocessor on every architecture from sm_80 to sm_100, CUDA programming guide,
"Arithmetic instructions").
"""

from __future__ import annotations

from collections.abc import Iterable

from perf.findings import Floor, RooflinePoint
from perf.model import Case, Ceiling, CeilingKind, Device, DType, Measurement, Target
from perf.work import exp_count, flop_count, intensity, minimum_bytes


def floor(case: Case, target: Target) -> Floor | None:
    """The time that no version of ``case`` can beat on ``target``, in seconds, and what sets it.

    The greatest of bytes / bandwidth, FLOPs / peak and exponentials / exponential rate: even perfect overlap hides
    only the shorter ones. None where the target declares no bandwidth or no peak for the case's element type.
    """
    peak = target.flop_per_s.get(case.dtype)
    if peak is None or target.dram_bytes_per_s is None:
        return None
    bytes_s = minimum_bytes(case) / target.dram_bytes_per_s
    tensor_s = flop_count(case) / peak
    exp_s = exp_count(case) / target.exp_per_s if target.exp_per_s else None
    seconds, bound = max((bytes_s, "bytes"), (tensor_s, "tensor"), (exp_s or 0.0, "exp"), key=lambda pair: pair[0])
    return Floor(target=target.name, seconds=seconds, bound=bound, bytes_s=bytes_s, tensor_s=tensor_s, exp_s=exp_s)


def floors(case: Case, targets: Iterable[Target]) -> tuple[Floor, ...]:
    """The floor of ``case`` on every target that has one."""
    return tuple(found for target in targets if (found := floor(case, target)) is not None)


def throughput(case: Case, seconds: float) -> float:
    """FLOP/s of a version that takes ``seconds`` per call."""
    return flop_count(case) / seconds


def find_ceiling(
    ceilings: Iterable[Ceiling], kind: CeilingKind, device: Device, dtype: DType | None = None
) -> float | None:
    """The measured ceiling in FLOP/s or B/s; the highest if several were measured, None if none was."""
    found = [
        ceiling.value
        for ceiling in ceilings
        if ceiling.kind is kind and ceiling.device is device and ceiling.dtype is dtype
    ]
    return max(found, default=None)


def roofline_point(measurement: Measurement, ceilings: Iterable[Ceiling]) -> RooflinePoint | None:
    """Where the median of ``measurement`` lies under the ceilings measured in the same run.

    None if that run measured no copy bandwidth or no instruction peak for the element type.
    """
    ceilings, case = tuple(ceilings), measurement.case
    peak = find_ceiling(ceilings, CeilingKind.INSTRUCTION_PEAK, measurement.device, case.dtype)
    bandwidth = find_ceiling(ceilings, CeilingKind.COPY, measurement.device)
    if peak is None or bandwidth is None:
        return None
    gemm = find_ceiling(ceilings, CeilingKind.GEMM, measurement.device, case.dtype)
    attained = throughput(case, measurement.median_s)
    slope = intensity(case) * bandwidth
    attainable = min(peak, slope)
    return RooflinePoint(
        intensity_flop_per_byte=intensity(case),
        attained_flop_per_s=attained,
        attainable_flop_per_s=attainable,
        fraction=attained / attainable,
        gemm_fraction=attained / gemm if gemm else None,
        bound="bytes" if slope < peak else "tensor",
    )
