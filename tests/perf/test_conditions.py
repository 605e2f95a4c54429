"""The host's conditions, from files as Linux writes them and from files as it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.conditions import (
    ConditionsProbe,
    cpuinfo_tells_frequency,
    parse_cpuinfo_frequencies,
    parse_load_average,
    parse_processor_times,
    steal_fraction,
)
from perf.paired.model import Conditions

STAT = """\
cpu  1000 0 500 8000 10 5 5 100 0 0
cpu0 400 0 300 4000 10 5 5 80 0 0
cpu1 600 0 200 4000 0 0 0 20 300 0
intr 12345 0 0 9
ctxt 99
"""
CPUINFO = """\
processor\t: 0
model name\t: Some Processor
cpu MHz\t\t: 3100.500
flags\t\t: fpu aperfmperf avx2

processor\t: 1
cpu MHz\t\t: 2900.500
flags\t\t: fpu aperfmperf avx2
"""


def write_machine(
    root: Path, *, stat: str = STAT, load: str = "1.50 0.70 0.40 2/84 19199\n", cpuinfo: str = ""
) -> None:
    """The files under ``/proc`` of a machine of two processors."""
    proc = root / "proc"
    proc.mkdir(exist_ok=True)
    (proc / "stat").write_text(stat)
    (proc / "loadavg").write_text(load)
    (proc / "cpuinfo").write_text(cpuinfo)


def write_frequency(root: Path, processor: int, kilohertz: str) -> None:
    """What the frequency driver of one processor says."""
    folder = root / f"sys/devices/system/cpu/cpu{processor}/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text(f"{kilohertz}\n")


def test_stolen_time_is_a_fraction_of_the_time_of_the_processors_that_matter(tmp_path: Path) -> None:
    """20 of 100 ticks were stolen from processor 0; what happened to processor 1 is not this process's affair."""
    write_machine(tmp_path)
    probe = ConditionsProbe(tmp_path, processors={0})
    probe.begin()
    later = STAT.replace("cpu0 400 0 300 4000 10 5 5 80", "cpu0 470 0 310 4000 10 5 5 100")
    write_machine(tmp_path, stat=later.replace("0 20 300", "0 900 300"))

    assert probe.end() == Conditions(load_average=1.5, steal_fraction=pytest.approx(0.2))


def test_guest_time_is_not_counted_twice() -> None:
    """proc(5): guest time is part of user time already."""
    assert parse_processor_times(STAT, None)[1] == (20, 4820)


def test_a_block_shorter_than_a_tick_has_no_stolen_fraction(tmp_path: Path) -> None:
    """Nothing over nothing is unknown, not zero."""
    write_machine(tmp_path)
    probe = ConditionsProbe(tmp_path, processors={0, 1})
    probe.begin()

    assert probe.end().steal_fraction is None


def test_counters_that_run_backwards_count_as_standing_still() -> None:
    """Linux corrects its books by a tick now and then; a fraction stays within 0 and 1 all the same."""
    assert steal_fraction({0: (10, 100)}, {0: (9, 150)}) == 0
    assert steal_fraction({0: (10, 100)}, {0: (9, 99)}) is None
    assert steal_fraction({0: (10, 100), 1: (0, 90)}, {0: (30, 110), 1: (0, 80)}) == 1


def test_a_processor_that_came_or_went_is_left_out() -> None:
    """Only what both readings know can be compared."""
    assert steal_fraction({0: (0, 100), 1: (0, 100)}, {1: (5, 110), 2: (70, 900)}) == pytest.approx(0.5)


def test_the_mean_frequency_is_that_of_the_chosen_processors_in_hertz(tmp_path: Path) -> None:
    """The driver tells kilohertz, and a processor outside the mask may idle at a low frequency."""
    write_machine(tmp_path)
    write_frequency(tmp_path, 0, "3000000")
    write_frequency(tmp_path, 1, "800000")
    probe = ConditionsProbe(tmp_path, processors={0})
    probe.begin()

    assert probe.end().frequency_hz == 3.0e9


def test_of_many_processors_some_stand_for_all(tmp_path: Path) -> None:
    """Spread over the whole mask, so that the reading stays cheap and no socket is left out."""
    stat = "cpu 1\n" + "".join(f"cpu{number} 1 0 1 1 0 0 0 0 0 0\n" for number in range(32))
    write_machine(tmp_path, stat=stat)
    for number in range(32):
        write_frequency(tmp_path, number, "2000000" if number < 16 else "3000000")
    probe = ConditionsProbe(tmp_path, processors=range(32))
    probe.begin()

    assert probe.end().frequency_hz == 2.5e9


def test_a_measured_cpuinfo_frequency_stands_in_for_a_missing_driver(tmp_path: Path) -> None:
    """Bare metal without cpufreq, with the counters that measure."""
    write_machine(tmp_path, cpuinfo=CPUINFO)
    probe = ConditionsProbe(tmp_path, processors={0, 1})
    probe.begin()

    assert probe.end().frequency_hz == pytest.approx(3000.5e6)


@pytest.mark.parametrize(
    "cpuinfo",
    [
        CPUINFO.replace("aperfmperf", "hypervisor"),
        CPUINFO.replace("aperfmperf", "hypervisor aperfmperf"),
        CPUINFO.replace("aperfmperf ", ""),
        CPUINFO + "x" * (1 << 20),
        "",
    ],
)
def test_a_nominal_cpuinfo_frequency_is_not_believed(tmp_path: Path, cpuinfo: str) -> None:
    """Under a hypervisor, or without the counters, the figure is a constant; a huge file is too dear to read."""
    write_machine(tmp_path, cpuinfo=cpuinfo)
    probe = ConditionsProbe(tmp_path, processors={0, 1})
    probe.begin()

    assert not cpuinfo_tells_frequency(cpuinfo)
    assert probe.end().frequency_hz is None


def test_a_system_without_these_files_tells_nothing(tmp_path: Path) -> None:
    """Other systems measure too; what they do not tell is None, and nothing raises."""
    probe = ConditionsProbe(tmp_path)
    probe.begin()

    assert probe.end() == Conditions()


def test_ending_what_never_began_tells_the_load_alone(tmp_path: Path) -> None:
    """There is no earlier reading to subtract."""
    write_machine(tmp_path)

    assert ConditionsProbe(tmp_path).end() == Conditions(load_average=1.5)


def test_this_machine_can_be_read() -> None:
    """Whatever it tells lies within its range."""
    probe = ConditionsProbe()
    probe.begin()
    found = probe.end()

    assert found.load_average is None or found.load_average >= 0
    assert found.steal_fraction is None or 0 <= found.steal_fraction <= 1
    assert found.frequency_hz is None or 1e8 < found.frequency_hz < 1e10


def test_a_block_pays_less_than_a_third_of_a_millisecond() -> None:
    """The least of many readings: what it costs when nobody disturbs. The kernel writes a line for every processor."""
    probe = ConditionsProbe()
    costs = []
    for _ in range(50):
        started = time.perf_counter()
        probe.begin()
        probe.end()
        costs.append(time.perf_counter() - started)

    assert min(costs) < 0.3e-3 + 10e-6 * (os.cpu_count() or 0)


def test_the_lean_process_loads_neither_torch_nor_numpy_nor_scipy() -> None:
    """Their import would take longer than a restart measures."""
    heavy = "import sys, perf.conditions, perf.calibration, perf.gpu_conditions\n"
    heavy += "print([name for name in ('torch', 'numpy', 'scipy', 'pynvml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@given(st.text())
def test_no_text_makes_a_parser_raise(text: str) -> None:
    """Containers and emulators write strange files."""
    load = parse_load_average(text)
    times = parse_processor_times(text, None)

    assert load is None or isinstance(load, float)
    assert all(stolen <= total for stolen, total in times.values())
    assert isinstance(parse_cpuinfo_frequencies(text, {0}), list)


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 8), min_size=1, max_size=5))
def test_processor_lines_are_read_exactly(ticks: list[tuple[int, ...]]) -> None:
    """Stolen and total ticks of every processor, whatever their number."""
    lines = [f"cpu{number} {' '.join(map(str, values))} 7 7" for number, values in enumerate(ticks)]
    times = parse_processor_times("\n".join(["cpu 1 2 3", *lines]), None)

    assert times == {number: (values[7], sum(values)) for number, values in enumerate(ticks)}
