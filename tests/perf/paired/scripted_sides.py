"""Sides for a worker process that behaves as a test wants: the factory of the tests of workers and restarts.

``arguments``: ``behaviour``, the name of a function below. Samples are told, not measured: 1 ms of base, 1.1 ms of
candidate.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError
from perf.conditions import ConditionsProbe
from perf.paired import host_sides
from perf.paired.model import Conditions, GpuConditions, Side
from perf.paired.sampling import Sampler, Sides

PER_CALL_S = {Side.BASE: 1.0e-3, Side.CANDIDATE: 1.1e-3}


def make(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The sides of the behaviour that is asked for."""
    behave: Callable[..., Sides] = globals()[arguments["behaviour"]]
    return behave(arguments, libraries, generator)


def _sampler(side: Side, per_sample_s: float = 0.0) -> Sampler:
    def sample(iterations: int) -> float:
        time.sleep(per_sample_s)
        return iterations * PER_CALL_S[side]

    return sample


def steady(*_: Any) -> Sides:
    """A candidate that is 10 % slower."""
    return Sides(samplers={side: _sampler(side) for side in Side}, setting={"clock": "told"})


def noisy(*_: Any) -> Sides:
    """Much is printed, from Python and past it."""
    print("a library greets the user")
    os.write(1, b"and so does its C code\n")
    return steady()


def observed(_: Any, libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The setting says what the process was given."""
    seen = {
        "padding": len(os.environ["ROOFGATE_PADDING"]),
        "libraries": {side.value: str(path) for side, path in libraries.items()},
        "contents": {side.value: path.read_text() for side, path in libraries.items()},
        "draw": generator.random(),
    }
    return Sides(samplers=steady().samplers, setting={"seen": json.dumps(seen)})


def throttled(*_: Any) -> Sides:
    """A GPU whose power is capped in the first block."""
    reasons = iter([("hardware slowdown",)])
    return Sides(
        samplers={side: _sampler(side, per_sample_s=2e-4) for side in Side},
        end_block=lambda: Conditions(
            load_average=0.5, gpu=GpuConditions(sm_clock_hz=1.5e9, throttle_reasons=next(reasons, ()))
        ),
    )


def refused(*_: Any) -> Sides:
    """What a user can mend."""
    raise RoofgateError("head_dim is 7, expected a multiple of 8; choose another case")


def broken(*_: Any) -> Sides:
    """A mistake of the program."""
    raise KeyError("no_such_field")


def killed(*_: Any) -> Sides:
    """By a signal, as the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return steady()


def exits(arguments: Mapping[str, Any], *_: Any) -> Sides:
    """At once, with ``code``."""
    os._exit(arguments["code"])


def hangs(*_: Any) -> Sides:
    """Longer than anybody waits."""
    time.sleep(60)
    return steady()


def stopped_clock(*_: Any) -> Sides:
    """Every sample takes no time at all."""
    return Sides(samplers=dict.fromkeys(Side, lambda _: 0.0))


def not_a_number(*_: Any) -> Sides:
    """No sample is a time."""
    return Sides(samplers={Side.BASE: _sampler(Side.BASE), Side.CANDIDATE: _nan_later()})


def _nan_later() -> Sampler:
    calls = iter(range(10))
    return lambda iterations: iterations * PER_CALL_S[Side.BASE] if next(calls, 10) < 3 else float("nan")


def host_threads(arguments: Mapping[str, Any], libraries: Mapping[Side, Path], generator: random.Random) -> Sides:
    """The host's sides; the setting says to which processors each thread was bound, and which are looked at."""
    probed: list[int] = []

    class WatchedProbe(ConditionsProbe):
        def __init__(self, processors: Collection[int]) -> None:
            super().__init__(processors=processors)
            probed.extend(sorted(processors))

    host_sides.ConditionsProbe = WatchedProbe  # type: ignore[attr-defined, misc, assignment]
    usable, before = sorted(os.sched_getaffinity(0)), _thread_processors()
    sides = host_sides.make(arguments, libraries, generator)
    workers = [found for thread, found in _thread_processors().items() if thread not in before]
    seen = {"usable": usable, "main": sorted(os.sched_getaffinity(0)), "workers": workers, "probed": probed}
    return replace(sides, setting={**sides.setting, "seen": json.dumps(seen)})


def _thread_processors() -> dict[str, list[int]]:
    return {task.name: sorted(os.sched_getaffinity(int(task.name))) for task in Path("/proc/self/task").iterdir()}
