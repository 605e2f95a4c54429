"""What the GPU was like around samples, by NVML, and which samples a throttled GPU spoilt.

NVML is imported when a probe is opened, torch never. Everything but :class:`GpuProbe` is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

from perf.paired.model import GpuConditions

# The bits of nvmlDeviceGetCurrentClocksEventReasons. Names and meanings: NVML API reference, "NvmlClocksEventReasons"
# (docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html). Slowing are those by which, in its words, clocks
# are reduced below what was asked for. Sync boost is among them: the group runs at "the minimum possible clocks across
# the entire group", held back by whatever throttles another GPU. So is the "unspecified factor" of older drivers.
POWER_CAP = "software power cap"
SLOWING_REASONS = {
    0x4: POWER_CAP,
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    1 << 63: "unspecified",
}
# An idle GPU runs no kernel that could be slow; clocks that a user set are the same for every sample; and the reference
# says of the last two only their names. What any of these costs, the rule on the SM clock sees.
HARMLESS_REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
# NVML's functions, the present name first: drivers before R535 know the reasons, and bindings of CUDA 13 and before the
# temperature, by the other.
_CLOCK = ("nvmlDeviceGetClockInfo",)
_POWER = ("nvmlDeviceGetPowerUsage",)
_TEMPERATURE = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
# NVBench's default (--throttle-threshold, docs/cli_help.md).
THROTTLED_CLOCK_FRACTION = 0.75


def slowing_reasons(mask: int) -> tuple[str, ...]:
    """The names of those reasons in an NVML mask that slow kernels down, lowest bit first.

    Bits that are unknown here do not count: what they cost shows in the SM clock.
    """
    return tuple(name for bit, name in SLOWING_REASONS.items() if mask & bit)


def is_throttled(conditions: GpuConditions, greatest_sm_clock_hz: float | None) -> bool:
    """Whether a sample under these conditions says more about the GPU's limits than about the kernel.

    It does if a slowing reason other than the power cap was active before or after it, or if the SM clock was below
    75 % of ``greatest_sm_clock_hz``, the greatest seen in the same measurement. A GPU at full load is at its power cap
    as a matter of course (an H100 in every round of attention forward, at 1.86 to 1.95 of 1.98 GHz): that is recorded,
    and samples would be dropped by it for keeping the GPU busy. NVBench discards a trial by the latter rule
    against the device's default clock (nvbench/detail/measure_cold.cu, record_measurements; threshold 0.75); the
    greatest clock seen serves GPUs whose clocks are locked below the default, on which NVBench's rule left benchmarks
    without a sample (NVBench issue 231).
    """
    if set(conditions.throttle_reasons) - {POWER_CAP}:
        return True
    if conditions.sm_clock_hz is None or greatest_sm_clock_hz is None:
        return False
    return conditions.sm_clock_hz < THROTTLED_CLOCK_FRACTION * greatest_sm_clock_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is left of some samples without the throttled ones.

    Attributes:
        indices: of those that are left, ascending; never empty unless there were none.
        dropped: how many are not left.
        note: why throttled ones were kept all the same; empty if none was.
    """

    indices: tuple[int, ...]
    dropped: int = 0
    note: str = ""


def keep_unthrottled(groups: Sequence[Sequence[GpuConditions | None]], *, at_least: int = 1) -> Kept:
    """Which groups of samples to keep: those in which no sample :func:`is_throttled`.

    Args:
        groups: the conditions around the samples that stand or fall together: all contenders' samples of a round, or
            the one figure of a block. None where they are not known, as on the host: such a sample is never throttled.
        at_least: if fewer groups than this would be left, all are kept, and the note says so: a GPU that is throttled
            all the time is what there is to measure on, and an empty result would hide it.
    """
    clocks = [each.sm_clock_hz for group in groups for each in group if each and each.sm_clock_hz is not None]
    greatest = max(clocks, default=None)
    indices = tuple(
        index
        for index, group in enumerate(groups)
        if not any(each is not None and is_throttled(each, greatest) for each in group)
    )
    throttled = len(groups) - len(indices)
    if throttled and len(indices) < at_least:
        note = f"throttled in {throttled} of {len(groups)} and kept, for fewer than {at_least} would be left"
        return Kept(indices=tuple(range(len(groups))), note=note)
    return Kept(indices=indices, dropped=throttled)


def around(before: GpuConditions | None, after: GpuConditions | None) -> GpuConditions | None:
    """One figure for a sample from the readings before and after it: the later one, with the reasons of both.

    The later one was read when the kernels had just ended, so that its clocks and power are theirs; before, the GPU may
    have rested.
    """
    if before is None or after is None:
        return after or before
    return GpuConditions(
        sm_clock_hz=_first(after.sm_clock_hz, before.sm_clock_hz),
        memory_clock_hz=_first(after.memory_clock_hz, before.memory_clock_hz),
        power_w=_first(after.power_w, before.power_w),
        temperature_c=_first(after.temperature_c, before.temperature_c),
        throttle_reasons=_union((before, after)),
    )


def summarize(conditions: Sequence[GpuConditions]) -> GpuConditions | None:
    """The median of every figure that is known, and all reasons; None if there are no conditions."""
    if not conditions:
        return None
    return GpuConditions(
        sm_clock_hz=_median([each.sm_clock_hz for each in conditions]),
        memory_clock_hz=_median([each.memory_clock_hz for each in conditions]),
        power_w=_median([each.power_w for each in conditions]),
        temperature_c=_median([each.temperature_c for each in conditions]),
        throttle_reasons=_union(conditions),
    )


def _first(preferred: float | None, other: float | None) -> float | None:
    return other if preferred is None else preferred


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _union(conditions: Sequence[GpuConditions]) -> tuple[str, ...]:
    present = {reason for each in conditions for reason in each.throttle_reasons}
    return tuple(name for name in SLOWING_REASONS.values() if name in present)


class GpuProbe:
    """Reads the state of one GPU. What NVML does not tell is None; it never raises.

    Args:
        nvml: the module ``pynvml``, or what stands for it; None if there is none.
        handle: NVML's of the physical GPU; None if it was not found.
        reason: why nothing can be read; empty if something can.
    """

    def __init__(self, nvml: Any, handle: Any, reason: str = "") -> None:  # noqa: ANN401 - pynvml is untyped
        self._nvml = nvml
        self._handle = handle
        self.reason = reason

    def read(self) -> GpuConditions:
        """The GPU as it is now: clocks in Hz, watts, degrees Celsius, and the slowing reasons that are active."""
        nvml = self._nvml
        if nvml is None or self._handle is None:
            return GpuConditions()
        return GpuConditions(
            sm_clock_hz=_scaled(self._asked(_CLOCK, nvml.NVML_CLOCK_SM), 1e6),
            memory_clock_hz=_scaled(self._asked(_CLOCK, nvml.NVML_CLOCK_MEM), 1e6),
            power_w=_scaled(self._asked(_POWER), 1e-3),
            temperature_c=_scaled(self._asked(_TEMPERATURE, nvml.NVML_TEMPERATURE_GPU), 1.0),
            throttle_reasons=slowing_reasons(self._asked(_REASONS) or 0),
        )

    def _asked(self, names: Sequence[str], *arguments: int) -> int | None:
        """The answer of the first function of these names that gives one."""
        for name in names:
            # A version of pynvml without the function answers with AttributeError, a driver without it with NVMLError.
            try:
                return int(getattr(self._nvml, name)(self._handle, *arguments))
            except (self._nvml.NVMLError, AttributeError):
                continue
        return None


def _scaled(answer: int | None, scale: float) -> float | None:
    return None if answer is None else answer * scale


def open_gpu_probe(properties: Any, nvml: Any = None) -> GpuProbe:  # noqa: ANN401 - neither module is imported here
    """A probe of the GPU that torch calls the current device.

    NVML numbers all GPUs of the machine, CUDA those that CUDA_VISIBLE_DEVICES leaves, in another order; so the GPU is
    found by its PCI address, or else by its UUID. On a MIG instance these lead to the whole GPU: NVML tells clocks,
    power and temperature of nothing smaller.

    Args:
        properties: ``torch.cuda.get_device_properties(device)``: of it, ``pci_domain_id``, ``pci_bus_id``,
            ``pci_device_id`` and ``uuid``, as far as this version of torch has them.
        nvml: stands for the module ``pynvml``, which is imported by default.

    Returns:
        A probe in any case; its ``reason`` says why it can read nothing.
    """
    try:
        nvml = import_module("pynvml") if nvml is None else nvml
    except ImportError as error:
        return GpuProbe(None, None, f"NVML cannot be used ({error}); install nvidia-ml-py")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return GpuProbe(None, None, f"NVML does not start ({error})")
    handle = _find_gpu(properties, nvml)
    reason = "" if handle is not None else "NVML knows no GPU with the PCI address or UUID of torch's device"
    return GpuProbe(nvml, handle, reason)


def _find_gpu(properties: Any, nvml: Any) -> Any:  # noqa: ANN401
    address, uuid = _pci_address(properties), _bare_uuid(properties)
    attempts: list[Callable[[], Any]] = []
    if address:
        attempts.append(lambda: nvml.nvmlDeviceGetHandleByPciBusId(address.encode()))
    if uuid:
        attempts.append(lambda: nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode()))
        attempts.append(lambda: _whole_gpu(nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}".encode()), nvml))
    for attempt in attempts:
        try:
            return attempt()
        except nvml.NVMLError:
            continue
    return None


def _whole_gpu(instance: Any, nvml: Any) -> Any:  # noqa: ANN401
    return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)


def _pci_address(properties: Any) -> str:  # noqa: ANN401
    """``00000000:65:00.0``, as NVML writes it; empty if torch does not tell."""
    try:
        domain, bus, device = (int(getattr(properties, f"pci_{part}_id")) for part in ("domain", "bus", "device"))
    except AttributeError:
        return ""
    return f"{domain:08x}:{bus:02x}:{device:02x}.0"


def _bare_uuid(properties: Any) -> str:  # noqa: ANN401
    text = str(getattr(properties, "uuid", ""))
    return text.removeprefix("GPU-").removeprefix("MIG-")
