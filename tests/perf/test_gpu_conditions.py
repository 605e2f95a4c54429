"""The GPU's conditions, on a stand-in for NVML with recorded answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.gpu_conditions import (
    HARMLESS_REASONS,
    SLOWING_REASONS,
    GpuProbe,
    around,
    is_throttled,
    keep_unthrottled,
    open_gpu_probe,
    slowing_reasons,
    summarize,
)
from perf.paired.model import GpuConditions

FAST = GpuConditions(sm_clock_hz=1.98e9)
SLOW = GpuConditions(sm_clock_hz=1.40e9)
CAPPED = GpuConditions(sm_clock_hz=1.90e9, throttle_reasons=("hardware slowdown",))


class FakeNvmlError(Exception):
    """As pynvml.NVMLError."""


@dataclass
class FakeNvml:
    """The functions of pynvml that are used, each with a recorded answer or an error."""

    answers: dict[str, Any] = field(default_factory=dict)
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2
    NVML_TEMPERATURE_GPU: int = 0
    NVMLError: type[Exception] = FakeNvmlError
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("nvml") or self.answers.get(name, "") is AttributeError:
            raise AttributeError(name)

        def function(*arguments: Any) -> Any:
            self.asked.append((name, *arguments))
            answer = self.answers.get((name, *arguments), self.answers.get(name, FakeNvmlError("Not Supported")))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function


def h100(**changes: Any) -> FakeNvml:
    """Answers of an H100 at work: MHz, milliwatts, degrees."""
    answers: dict[Any, Any] = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByPciBusId": "the GPU",
        ("nvmlDeviceGetClockInfo", "the GPU", 1): 1980,
        ("nvmlDeviceGetClockInfo", "the GPU", 2): 2619,
        "nvmlDeviceGetPowerUsage": 412_345,
        "nvmlDeviceGetTemperature": 55,
        "nvmlDeviceGetCurrentClocksEventReasons": 0x0,
    }
    return FakeNvml(answers | changes)


def pci_properties(**changes: Any) -> SimpleNamespace:
    """What torch says of a device."""
    known = {"pci_domain_id": 0, "pci_bus_id": 0x65, "pci_device_id": 0, "uuid": "11f3-aa"}
    return SimpleNamespace(**(known | changes))


def test_a_reading_is_in_si_units() -> None:
    """NVML answers in MHz and mW."""
    assert open_gpu_probe(pci_properties(), h100()).read() == GpuConditions(
        sm_clock_hz=1.98e9, memory_clock_hz=2.619e9, power_w=pytest.approx(412.345), temperature_c=55.0
    )


@pytest.mark.parametrize(
    ("function", "lost"),
    [
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        (("nvmlDeviceGetClockInfo", "the GPU", 1), "sm_clock_hz"),
        (("nvmlDeviceGetClockInfo", "the GPU", 2), "memory_clock_hz"),
    ],
)
def test_what_nvml_refuses_is_none_and_the_rest_is_read(function: Any, lost: str) -> None:
    """A vGPU tells no power, a MIG instance no clocks; that is no reason to lose the others."""
    nvml = h100()
    nvml.answers[function] = FakeNvmlError("Not Supported")
    read = open_gpu_probe(pci_properties(), nvml).read()
    fields = ("power_w", "temperature_c", "sm_clock_hz", "memory_clock_hz")

    assert [name for name in fields if getattr(read, name) is None] == [lost]


@pytest.mark.parametrize("missing", [FakeNvmlError("Function Not Found"), AttributeError])
def test_older_drivers_and_bindings_know_the_reasons_by_their_older_name(missing: Any) -> None:
    """The function was renamed in R535: the driver lacks the symbol, or the binding the attribute."""
    nvml = h100(nvmlDeviceGetCurrentClocksEventReasons=missing, nvmlDeviceGetCurrentClocksThrottleReasons=0x4 | 0x40)

    assert open_gpu_probe(pci_properties(), nvml).read().throttle_reasons == (
        "software power cap",
        "hardware thermal slowdown",
    )


def test_the_temperature_is_read_by_either_name() -> None:
    """The older one is to go with CUDA 14."""
    nvml = h100(nvmlDeviceGetTemperatureV=61, nvmlDeviceGetTemperature=AttributeError)

    assert open_gpu_probe(pci_properties(), nvml).read().temperature_c == 61.0


def test_reasons_that_nobody_tells_are_none_active() -> None:
    """Neither name works: the SM clock is all there is to judge by."""
    nvml = h100(nvmlDeviceGetCurrentClocksEventReasons=FakeNvmlError("Not Supported"))

    assert open_gpu_probe(pci_properties(), nvml).read().throttle_reasons == ()


def test_the_bits_are_those_of_the_binding() -> None:
    """Held against pynvml's own constants, every one of which is slowing, harmless, or a mask."""
    pynvml = pytest.importorskip("pynvml")
    prefix = "nvmlClocksThrottleReason"
    bits = {name.removeprefix(prefix): getattr(pynvml, name) for name in dir(pynvml) if name.startswith(prefix)}
    slowing = {
        "SwPowerCap",
        "HwSlowdown",
        "SyncBoost",
        "SwThermalSlowdown",
        "HwThermalSlowdown",
        "HwPowerBrakeSlowdown",
    }

    assert {bits[name] for name in slowing} == set(SLOWING_REASONS) - {1 << 63}
    known = set(SLOWING_REASONS) | set(HARMLESS_REASONS) | {bits["None"], bits["All"]}
    assert set(bits.values()) <= known


def test_harmless_and_unknown_bits_slow_nothing() -> None:
    """Idle, application and display clocks, board limit, reliability, and what comes in later drivers."""
    assert slowing_reasons(sum(HARMLESS_REASONS) | 1 << 20) == ()


@given(st.integers(0, (1 << 64) - 1))
def test_every_mask_is_decoded(mask: int) -> None:
    """As many names as slowing bits, in a fixed order."""
    names = slowing_reasons(mask)

    assert len(names) == sum(bool(mask & bit) for bit in SLOWING_REASONS)
    assert list(names) == [name for name in SLOWING_REASONS.values() if name in names]


def test_the_gpu_is_found_by_its_address_not_by_its_number() -> None:
    """CUDA_VISIBLE_DEVICES renumbers CUDA's devices and not NVML's."""
    nvml = h100()
    open_gpu_probe(pci_properties(pci_domain_id=1, pci_bus_id=0xC1), nvml)

    assert ("nvmlDeviceGetHandleByPciBusId", b"00000001:c1:00.0") in nvml.asked


@pytest.mark.parametrize("uuid", ["11f3-aa", "GPU-11f3-aa"])
def test_without_an_address_the_uuid_serves(uuid: str) -> None:
    """Older versions of torch tell the UUID alone."""
    nvml = h100(nvmlDeviceGetHandleByUUID="the GPU")
    probe = open_gpu_probe(SimpleNamespace(uuid=uuid), nvml)

    assert ("nvmlDeviceGetHandleByUUID", b"GPU-11f3-aa") in nvml.asked
    assert probe.read().sm_clock_hz == 1.98e9


def test_a_mig_instance_leads_to_its_whole_gpu() -> None:
    """Clocks and power belong to the GPU; NVML tells them of no instance."""
    nvml = h100(nvmlDeviceGetDeviceHandleFromMigDeviceHandle="the GPU")
    nvml.answers[("nvmlDeviceGetHandleByUUID", b"MIG-11f3-aa")] = "an instance"
    probe = open_gpu_probe(SimpleNamespace(uuid="MIG-11f3-aa"), nvml)

    assert ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", "an instance") in nvml.asked
    assert probe.read().power_w == pytest.approx(412.345)


def test_a_gpu_that_nvml_does_not_know_is_said_and_reads_as_nothing() -> None:
    """Passed-through devices may have another address inside a virtual machine."""
    nvml = h100(nvmlDeviceGetHandleByPciBusId=FakeNvmlError("Not Found"))
    probe = open_gpu_probe(pci_properties(uuid=""), nvml)

    assert "knows no GPU" in probe.reason
    assert probe.read() == GpuConditions()


def test_nvml_that_does_not_start_is_said_and_reads_as_nothing() -> None:
    """No driver, or no permission."""
    probe = open_gpu_probe(pci_properties(), FakeNvml({"nvmlInit": FakeNvmlError("Driver Not Loaded")}))

    assert "Driver Not Loaded" in probe.reason
    assert probe.read() == GpuConditions()


def test_a_missing_binding_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of packages for benchmarks has it; others do not."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    probe = open_gpu_probe(pci_properties())

    assert "install nvidia-ml-py" in probe.reason
    assert probe.read() == GpuConditions()


def test_the_real_binding_without_a_driver_is_no_crash() -> None:
    """The functions that are called exist under these names, whatever they answer here."""
    pytest.importorskip("pynvml")

    assert isinstance(open_gpu_probe(pci_properties()).read(), GpuConditions)


def test_a_slowing_reason_throttles_whatever_the_clock() -> None:
    """The driver knows best."""
    assert is_throttled(CAPPED, 1.9e9)


@pytest.mark.parametrize(("clock", "expected"), [(1.485e9, False), (1.484e9, True)])
def test_a_clock_under_three_quarters_of_the_greatest_throttles(clock: float, expected: bool) -> None:
    """NVBench's threshold, exclusive."""
    assert is_throttled(GpuConditions(sm_clock_hz=clock), 1.98e9) is expected


def test_an_unknown_clock_is_no_throttled_one() -> None:
    """Nothing is dropped for what NVML does not tell."""
    assert not is_throttled(GpuConditions(), 1.98e9)
    assert not is_throttled(FAST, None)


def test_a_throttled_sample_takes_its_whole_group_with_it() -> None:
    """So that what is left still pairs up."""
    kept = keep_unthrottled([(FAST, FAST), (FAST, CAPPED), (SLOW, FAST), (FAST, FAST)])

    assert (kept.indices, kept.dropped, kept.note) == ((0, 3), 2, "")


def test_dropping_everything_keeps_everything_and_says_so() -> None:
    """NVBench issue 231: throttle detection left benchmarks without a single sample."""
    kept = keep_unthrottled([(CAPPED,), (CAPPED,)])

    assert kept.indices == (0, 1)
    assert kept.dropped == 0
    assert kept.note == "throttled in 2 of 2 and kept, for fewer than 1 would be left"


def test_too_few_left_keeps_everything() -> None:
    """Two samples are not enough for an interval."""
    assert len(keep_unthrottled([(FAST,), (FAST,), (CAPPED,)], at_least=3).indices) == 3


def test_a_gpu_locked_far_below_its_default_is_not_throttled() -> None:
    """All clocks are equal, so the greatest seen is the locked one."""
    locked = GpuConditions(sm_clock_hz=0.6e9)

    assert keep_unthrottled([(locked,)] * 3).dropped == 0


def test_samples_without_a_gpu_are_never_dropped() -> None:
    """The host has no conditions of this kind."""
    assert keep_unthrottled([(None, None)] * 4).indices == (0, 1, 2, 3)


@given(st.lists(st.lists(st.sampled_from([None, FAST, SLOW, CAPPED]), min_size=1, max_size=3), min_size=1), st.data())
def test_kept_and_dropped_account_for_every_group(
    groups: list[list[GpuConditions | None]], data: st.DataObject
) -> None:
    """Never empty, and at least as many as were asked for if there are so many."""
    at_least = data.draw(st.integers(1, 5))
    kept = keep_unthrottled(groups, at_least=at_least)

    assert len(kept.indices) + kept.dropped == len(groups)
    assert len(kept.indices) >= min(at_least, len(groups))
    assert list(kept.indices) == sorted(set(kept.indices))


def test_around_takes_the_later_clock_and_the_reasons_of_both() -> None:
    """Before a sample the GPU may have rested; a reason that ended meanwhile was active during it."""
    rested = GpuConditions(sm_clock_hz=0.3e9, power_w=70.0, throttle_reasons=("software thermal slowdown",))
    merged = around(rested, GpuConditions(sm_clock_hz=1.98e9, throttle_reasons=("software power cap",)))

    assert merged == GpuConditions(
        sm_clock_hz=1.98e9, power_w=70.0, throttle_reasons=("software power cap", "software thermal slowdown")
    )
    assert around(None, FAST) == around(FAST, None) == FAST
    assert around(None, None) is None


def test_the_power_cap_alone_drops_nothing() -> None:
    """A GPU at full load is at its power cap as a matter of course; only a clock that has fallen far counts."""
    capped = GpuConditions(sm_clock_hz=1.90e9, throttle_reasons=("software power cap",))
    fallen = replace(capped, sm_clock_hz=1.2e9)

    kept = keep_unthrottled([(FAST,), (capped,), (fallen,)])

    assert (kept.indices, kept.dropped) == ((0, 1), 1)


def test_a_summary_has_medians_of_what_is_known() -> None:
    """A reading that failed once does not count as zero."""
    summary = summarize([FAST, SLOW, CAPPED, GpuConditions(power_w=300.0)])

    assert summary == GpuConditions(sm_clock_hz=1.9e9, power_w=300.0, throttle_reasons=("hardware slowdown",))
    assert summarize([]) is None


def test_a_probe_without_a_handle_asks_nothing() -> None:
    """There is nobody to ask about."""
    nvml = h100()

    assert GpuProbe(nvml, None, "not found").read() == GpuConditions()
    assert nvml.asked == []
