"""What several analyses ask of a launch: how long it took, at which clock, on how many multiprocessors."""

from __future__ import annotations

from collections.abc import Iterable

from profiles.ncu.model import Launch

DURATION = "gpu__time_duration.sum"
LEAST_DURATION_S = 1e-9  # no kernel is faster; what is stated below is no time
LEAST_CLOCK_HZ = 1e3
SCHEDULERS = 4  # of a multiprocessor, from compute capability 7 on; each issues one instruction a cycle


def first_number(launch: Launch, names: Iterable[str]) -> float | None:
    """The first of the counters ``names`` that the launch holds."""
    return next((value for name in names if (value := launch.number_of(name)) is not None), None)


def sum_of(launch: Launch, names: Iterable[str]) -> float | None:
    """The sum of those of the counters ``names`` that the launch holds; None if it holds none."""
    values = [value for name in names if (value := launch.number_of(name)) is not None]
    return sum(values) if values else None


def duration_s(launch: Launch) -> float | None:
    """Seconds on the GPU: measured, or else the elapsed cycles at their frequency; None if neither was captured."""
    measured = first_number(launch, (DURATION, "gpu__time_duration.avg", "gpu__time_duration.max"))
    if measured is not None:
        return measured if measured >= LEAST_DURATION_S else None
    clock = clock_hz(launch)
    cycles = first_number(launch, ("gpc__cycles_elapsed.max", "sm__cycles_elapsed.max", "sm__cycles_elapsed.avg"))
    return cycles / clock if clock and cycles else None


def clock_hz(launch: Launch) -> float | None:
    """Mean frequency of the multiprocessors during the launch, in Hz; derived from cycles and time if not captured."""
    names = ("sm__cycles_elapsed.avg.per_second", "smsp__cycles_elapsed.avg.per_second")
    clock = first_number(launch, (*names, "gpc__cycles_elapsed.avg.per_second"))
    measured = launch.number_of(DURATION)
    cycles = first_number(launch, ("sm__cycles_elapsed.avg", "sm__cycles_elapsed.max", "gpc__cycles_elapsed.max"))
    if not clock and cycles is not None and measured is not None and measured >= LEAST_DURATION_S:
        clock = cycles / measured
    return clock if clock is not None and clock >= LEAST_CLOCK_HZ else None


def multiprocessors(launch: Launch) -> int | None:
    """How many the device has, or a partition of it that the launch saw."""
    count = first_number(launch, ("launch__sm_count", "device__attribute_multiprocessor_count"))
    return round(count) if count else None


def compute_capability(launch: Launch) -> tuple[int, int] | None:
    """(9, 0); None if the file does not say."""
    major, _, minor = launch.compute_capability.partition(".")
    if major.isdecimal() and minor.isdecimal():
        return int(major), int(minor)
    attributes = [launch.number_of(f"device__attribute_compute_capability_{part}") for part in ("major", "minor")]
    return (round(attributes[0]), round(attributes[1])) if None not in attributes else None  # type: ignore[arg-type]


def architecture(launch: Launch) -> str:
    """``sm_90``; empty if the file does not say."""
    capability = compute_capability(launch)
    return f"sm_{capability[0]}{capability[1]}" if capability else ""


def active_fraction(launch: Launch) -> float | None:
    """Of the elapsed cycles, those in which a multiprocessor had work, on average."""
    active = launch.number_of("sm__cycles_active.avg")
    elapsed = first_number(launch, ("sm__cycles_elapsed.avg", "l1tex__cycles_elapsed.avg", "gpc__cycles_elapsed.avg"))
    if elapsed is None:
        clock, seconds = clock_hz(launch), launch.number_of(DURATION)
        elapsed = clock * seconds if clock and seconds else None
    return min(active / elapsed, 1.0) if active is not None and elapsed else None
