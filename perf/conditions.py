"""What the host was like around a block of samples: load, stolen time, frequency. Linux tells; elsewhere all is None.

Standard library only: it runs in the lean process that times one library against another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from io import FileIO
from pathlib import Path

from perf.paired.model import Conditions

# Of a large machine a few processors stand for all, so that reading their frequencies stays cheap.
_MAX_FREQUENCIES = 8
# Beyond this many bytes (about 40 processors) the kernel takes longer to write /proc/cpuinfo than a block may cost.
_MAX_CPUINFO_BYTES = 64 * 1024
# user, nice, system, idle, iowait, irq, softirq, steal: proc(5). Guest time, which follows, is part of user and nice.
_COUNTED_TIMES = 8
_STEAL = 7

ProcessorTimes = Mapping[int, tuple[int, int]]  # ticks stolen, and ticks of any kind, by number of the processor


class ConditionsProbe:
    """Looks at the host before and after a block.

    ``begin`` and ``end`` together took 0.04 ms on two cores of a virtual machine, which has no frequencies to read, and
    0.27 ms there with invented files of 64 processors in a folder: little beside a block of 10 ms or more, and outside
    its samples. Frequency drivers that are slow to read were not at hand.

    Args:
        root: of the file system that has ``proc`` and ``sys``.
        processors: those that matter; the affinity mask of this process at each ``begin`` by default, and all of them
            where there are no masks.
    """

    def __init__(self, root: Path = Path("/"), processors: Collection[int] | None = None) -> None:
        # Texts rather than paths: joining those would take longer than reading the files.
        self._proc, self._cpu_folder = str(root / "proc"), str(root / "sys/devices/system/cpu")
        self._given = processors
        self._processors: Collection[int] | None = None
        self._before: ProcessorTimes = {}
        self._has_cpuinfo_frequency = cpuinfo_tells_frequency(_read(f"{self._proc}/cpuinfo"))

    def begin(self) -> None:
        """Note the processors' times so far."""
        self._processors = _affinity() if self._given is None else self._given
        self._before = self._times()

    def end(self) -> Conditions:
        """The conditions since ``begin``; without one, only the load. Frequencies are those of this moment.

        They are read right after the block and not before it: a processor that has rested clocks down, and only what
        it ran at under load says something about the samples.
        """
        return Conditions(
            load_average=parse_load_average(_read(f"{self._proc}/loadavg")),
            steal_fraction=steal_fraction(self._before, self._times()),
            frequency_hz=self._frequency(),
        )

    def _times(self) -> ProcessorTimes:
        return parse_processor_times(_read(f"{self._proc}/stat"), self._processors)

    def _frequency(self) -> float | None:
        processors = sorted(self._before) if self._before else sorted(self._processors or ())
        chosen = processors[:: max(1, math.ceil(len(processors) / _MAX_FREQUENCIES))]
        texts = [_read(f"{self._cpu_folder}/cpu{number}/cpufreq/scaling_cur_freq") for number in chosen]
        found = [float(text) * 1e3 for text in texts if text.strip().isdecimal()]
        if not found and self._has_cpuinfo_frequency:
            found = parse_cpuinfo_frequencies(_read(f"{self._proc}/cpuinfo"), processors)
        return sum(found) / len(found) if found else None


def parse_load_average(text: str) -> float | None:
    """The load of the last minute from ``/proc/loadavg``; None if ``text`` is something else."""
    first = text.split(maxsplit=1)[:1]
    try:
        return float(first[0]) if first else None
    except ValueError:
        return None


def parse_processor_times(text: str, processors: Collection[int] | None) -> ProcessorTimes:
    """Ticks since boot from ``/proc/stat``: those of ``processors``, or of all for None.

    A processor whose line has no steal time (before Linux 2.6.11), or no numbers, is left out.
    """
    times: dict[int, tuple[int, int]] = {}
    for line in text.splitlines():
        if not line.startswith("cpu"):
            break  # the processors come first, and a very long line of interrupts next
        name, *values = line.split()[: 1 + _COUNTED_TIMES]
        number = name.removeprefix("cpu")
        if not number.isdecimal() or (processors is not None and int(number) not in processors):
            continue
        if len(values) == _COUNTED_TIMES and "".join(values).isdecimal():
            ticks = [int(value) for value in values]
            times[int(number)] = (ticks[_STEAL], sum(ticks))
    return times


def steal_fraction(before: ProcessorTimes, after: ProcessorTimes) -> float | None:
    """Time that the hypervisor ran others while a processor here wanted to run, as a fraction of all processor time.

    Both in ticks of usually 10 ms. None if no tick passed on a processor that both know; a hypervisor that does not
    tell its guests leaves 0. Counters that ran backwards, as those of Linux may by a tick, count as standing still.
    """
    both = before.keys() & after.keys()
    stolen = sum(max(0, after[number][0] - before[number][0]) for number in both)
    total = sum(max(0, after[number][1] - before[number][1]) for number in both)
    return min(1.0, stolen / total) if total else None


def cpuinfo_tells_frequency(text: str) -> bool:
    """Whether "cpu MHz" of this ``/proc/cpuinfo`` is measured.

    Linux on x86 measures it by the APERF and MPERF counters, which the flag ``aperfmperf`` announces, and otherwise
    repeats the frequency that it saw at boot. A hypervisor (flag ``hypervisor``) may pass on neither faithfully, and
    nothing in the file tells, so its figure is not believed.
    """
    if len(text) > _MAX_CPUINFO_BYTES:
        return False
    flags = next((line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), [])
    return "aperfmperf" in flags and "hypervisor" not in flags


def parse_cpuinfo_frequencies(text: str, processors: Collection[int]) -> list[float]:
    """Frequencies in Hz from ``/proc/cpuinfo``, of those ``processors`` that it lists."""
    found: list[float] = []
    number = -1
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdecimal():
            number = int(value)
        elif key == "cpu MHz" and number in processors and value.replace(".", "", 1).isdecimal():
            found.append(float(value) * 1e6)
    return found


def _affinity() -> Collection[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _read(path: str) -> str:
    """The text of a file; empty where the system has no such file or keeps it to itself."""
    try:
        with FileIO(path) as file:
            return (file.readall() or b"").decode("ascii", "replace")
    except OSError:
        return ""
