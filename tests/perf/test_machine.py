"""What is observed of a machine, and what makes two machines the same."""

from __future__ import annotations

from dataclasses import replace

from perf.machine import observe_machine
from perf.model import Gpu


def test_observing_twice_gives_the_same_fingerprint() -> None:
    """The fingerprint is of the machine, not of the moment."""
    assert observe_machine().fingerprint == observe_machine().fingerprint


def test_what_changes_timings_changes_the_fingerprint() -> None:
    """Another processor, thread count or GPU is another machine."""
    machine = observe_machine()
    gpu = Gpu(name="G", architecture="sm_80", multiprocessors=1, memory_bytes=1, driver="1")
    others = [
        replace(machine, cpu_model="another"),
        replace(machine, threads=machine.threads + 1),
        replace(machine, gpus=(gpu,)),
        replace(machine, gpus=(replace(gpu, driver="2"),)),
    ]

    assert len({machine.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_software_that_is_compared_on_purpose_keeps_the_fingerprint() -> None:
    """A new Python or kernel must not throw the history away."""
    machine = observe_machine()

    assert replace(machine, python="3.99", system="Linux 99").fingerprint == machine.fingerprint
