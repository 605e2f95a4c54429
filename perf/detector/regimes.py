"""The load of the machine during a trial: none, one busy processor, or bursts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

# Seconds for which a burst and the pause after it last, drawn evenly.
_SHORTEST_S, _LONGEST_S = 0.3, 3.0
# One or two busy processes at a time, one twice as often.
_BURST_SIZES = (1, 1, 2)
# Ends with the process whose number it is given, so that a killed run leaves no load behind. It does not ask for its
# parent's number itself: where the parent ends first, that would be the number of whoever adopts it.
_SPIN = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    pass
"""
_BURSTS = f"""
import os, random, subprocess, sys, time
parent, generator = int(sys.argv[1]), random.Random(int(sys.argv[2]))
while os.getppid() == parent:
    spinning = [
        subprocess.Popen([sys.executable, "-S", "-c", {_SPIN!r}, str(os.getpid())])
        for _ in range(generator.choice({_BURST_SIZES}))
    ]
    time.sleep(generator.uniform({_SHORTEST_S}, {_LONGEST_S}))
    for process in spinning:
        process.kill()
        process.wait()
    time.sleep(generator.uniform({_SHORTEST_S}, {_LONGEST_S}))
"""


class Regime(Enum):
    """What else runs on the machine."""

    QUIET = "quiet"  # nothing of ours
    LOADED = "loaded"  # one process that never stops
    BURSTS = "bursts"  # one or two such processes, on for 0.3 to 3 s and off for 0.3 to 3 s


@contextmanager
def loaded(regime: Regime, seed: int) -> Iterator[None]:
    """Have the machine loaded like this inside the ``with`` block."""
    if regime is Regime.QUIET:
        yield
        return
    program = _SPIN if regime is Regime.LOADED else _BURSTS
    arguments = [str(os.getpid()), str(seed)]
    process = subprocess.Popen([sys.executable, "-S", "-c", program, *arguments], stderr=subprocess.DEVNULL)
    try:
        # Bursts begin somewhere in their cycle, as a neighbour's would.
        time.sleep(0.1 if regime is Regime.LOADED else random.Random(seed).uniform(0.1, _SHORTEST_S + 0.1))  # noqa: S311
        yield
    finally:
        process.kill()  # those that it started end with it
        process.wait()
