"""Run probes on this machine's GPU, so that one that fails or hangs costs no other's result."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kernels.errors import RoofgateError
from profiles.simulator.probes.gpu_driver import Device
from profiles.simulator.probes.probe import Probe, Words

_GROUP = 32  # probes of one process
_TIMEOUT_S = 90.0  # of one process
_LAST_WORDS = 300  # of a process that died, in characters
_MOST_EMPTY = 4  # processes without a result, after which it is not the probes' fault

# Runs one process on a folder and these probes: says how it ended, "" if well.
Worker = Callable[[Path, Sequence[str]], str]
Outcome = Words | str  # or why there are none


def reason_not_to_run(probe: Probe, device: Device) -> str | None:
    """Why this GPU cannot run the probe: its architecture."""
    needed, present = probe.compute_capability, device.compute_capability
    fits = present == needed if probe.target.endswith("a") else present >= needed
    return None if fits else f"needs {probe.target}; this GPU is sm_{present[0]}{present[1]}"


def run_all(names: Sequence[str], worker: Worker, report: Callable[[str], None]) -> dict[str, Outcome]:
    """Results, or reasons, of all the probes.

    Probes that a process did not come to, since an earlier one ended it, get another process; that earlier one is not
    tried again.

    Raises:
        RoofgateError: several processes one after the other ended without a result.
    """
    found: dict[str, Outcome] = {}
    pending = list(names)
    empty = 0
    while pending:
        group = pending[:_GROUP]
        with tempfile.TemporaryDirectory() as folder:
            ending = worker(Path(folder), group)
            results = {name: _outcome(Path(folder), name) for name in group}
        found |= {name: outcome for name, outcome in results.items() if outcome is not None}
        missing = [name for name in group if name not in found]
        empty = empty + 1 if len(missing) == len(group) else 0
        if empty > _MOST_EMPTY:
            raise RoofgateError(f"{empty} processes gave no result on the GPU; the last one ended with: {ending}")
        if missing and not _explained(results):
            found[missing[0]] = f"its process ended: {ending or 'without a result'}"
        pending = [name for name in pending if name not in found]
        report(f"{len(found)} of {len(names)} probes run on the GPU")
    return found


def _explained(results: dict[str, Outcome | None]) -> bool:
    """Whether the last probe that left anything left the reason for the end."""
    left = [outcome for outcome in results.values() if outcome is not None]
    return bool(left) and isinstance(left[-1], str)


def _outcome(folder: Path, name: str) -> Outcome | None:
    result, reason = folder / f"{name}.npy", folder / f"{name}.txt"
    if reason.exists():
        return reason.read_text()
    if not result.exists():
        return None
    try:
        words: Words = np.load(result)
    except (OSError, ValueError, EOFError):  # the process died while it wrote
        return None
    return words


def gpu_process(folder: Path, names: Sequence[str]) -> str:
    """The worker: one process with a context of its own."""
    command = [sys.executable, "-m", "profiles.simulator.probes.gpu_worker", str(folder)]
    try:
        done = subprocess.run(
            command, input="\n".join(names), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer for {_TIMEOUT_S:.0f} s"
    return f"exit code {done.returncode}: {done.stderr.strip()[-_LAST_WORDS:]}" if done.returncode else ""
