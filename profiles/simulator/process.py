"""The simulator as a child process: its lines, its time limit, and what it says when it dies."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from kernels.errors import RoofgateError
from profiles.simulator.findings import NO_SITE

_GRACE_S = 5  # beyond the time limit, for the child to say where it is
_LAUNCH_FAILURE = 719  # cudaErrorLaunchFailure
_WORDS_OF_CRASH = 400  # characters kept of what a dying child wrote

# Answers "need NAME" with the line "kernel NAME ...".
FindKernel = Callable[[str], str]
Result = Mapping[str, Any]

_PLACE = r"(?P<site>-?\d+) (?P<x>\d+) (?P<y>\d+) (?P<z>\d+) (?P<warp>\d+) (?P<kernel>\S+)"
_CRASH = re.compile(rf"crash (?P<signal>\d+) (?P<address>-?\d+) {_PLACE}")
_BUSY = re.compile(rf"busy {_PLACE}")


@dataclass
class _Conversation:
    """What the child has said so far."""

    result: dict[str, Any] | None = None
    crash: re.Match[str] | None = None
    busy: list[re.Match[str]] = field(default_factory=list)
    timed_out: bool = False


def run_simulator(
    program: Path, lines: Iterable[str], find_kernel: FindKernel, *, descriptors: Sequence[int], timeout_s: float
) -> Result:
    """Run the simulator on ``lines`` (see runtime/main.cpp) and return its result.

    A child that crashes or does not end in time leaves a result too: a finding "crash" or "endless" that says where.

    Args:
        program: of :func:`profiles.simulator.runtime_build.runtime_program`.
        lines: commands without "timeout"; the last is "launch" or "call".
        find_kernel: gives the line that answers the child's request for a kernel's program.
        descriptors: files that the child inherits.
        timeout_s: wall time of the whole run.

    Raises:
        RoofgateError: the child could not begin; and whatever ``find_kernel`` raises.
    """
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            pass_fds=tuple(descriptors),
            text=True,
            bufsize=1,
        )
        said = _Conversation()
        with _killed_in_the_end(child, said, timeout_s + _GRACE_S):
            _talk(child, [f"timeout {timeout_s}", *lines], find_kernel, said)
        return said.result or _result_of_death(said, child.returncode, timeout_s, _last_words(complaints))


@contextmanager
def _killed_in_the_end(child: subprocess.Popen[str], said: _Conversation, after_s: float) -> Iterator[None]:
    """Leave no process behind: one that hangs is killed after a while, one that is still there on an error at once."""

    def give_up() -> None:
        said.timed_out = True
        child.kill()

    last_resort = threading.Timer(after_s, give_up)
    last_resort.start()
    try:
        yield
        child.wait()
    finally:
        last_resort.cancel()
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            _close(stream)


def _talk(child: subprocess.Popen[str], lines: Iterable[str], find_kernel: FindKernel, said: _Conversation) -> None:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - both are pipes
    _send(child.stdin, "\n".join(lines))
    for line in child.stdout:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "need":
            _send(child.stdin, find_kernel(rest))
        elif word == "error":
            raise RoofgateError(f"the simulator could not run: {rest}")
        else:
            _note(said, word, rest, line)


def _note(said: _Conversation, word: str, rest: str, line: str) -> None:
    if word == "result":
        said.result = json.loads(rest)
    elif word == "crash":
        said.crash = _CRASH.match(line)
    elif word == "busy" and (match := _BUSY.match(line)):
        said.busy.append(match)
    elif word == "timeout":
        said.timed_out = True


def _send(stream: IO[str], text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        return  # the child is dead: what it said last is read next


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        try:
            stream.close()
        except BrokenPipeError:
            return  # closing flushes what a dead child did not read


def _last_words(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read().decode(errors="replace").strip()[-_WORDS_OF_CRASH:]


def _result_of_death(said: _Conversation, status: int, timeout_s: float, words: str) -> Result:
    if said.timed_out:
        message = f"the run did not end within {timeout_s:g} s"
        places: list[re.Match[str] | None] = [*said.busy] or [None]
        findings = [_finding("endless", message, place) for place in places]
    elif said.crash is not None:
        address = int(said.crash["address"]) % 2**64
        name = signal.Signals(int(said.crash["signal"])).name
        inside = "a kernel" if int(said.crash["site"]) != NO_SITE else "host code"
        message = f"the simulator crashed in {inside} with {name}, address {address:#x}" + _quoted(words)
        findings = [_finding("crash", message, said.crash)]
    else:
        cause = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        findings = [_finding("crash", f"the simulator ended without a result ({cause})" + _quoted(words), None)]
    call = {"status": _LAUNCH_FAILURE, "text": "unspecified launch failure", "structure": ""}
    return {"findings": findings, "launches": [], "call": call}


def _quoted(words: str) -> str:
    return f"; it said: {words}" if words else ""


def _finding(check: str, message: str, place: re.Match[str] | None) -> dict[str, Any]:
    known = place is not None and int(place["site"]) != NO_SITE
    return {
        "check": check,
        "message": message,
        "kernel": place["kernel"] if place is not None and known else "",
        "site": int(place["site"]) if place is not None and known else NO_SITE,
        "block": [int(place[axis]) for axis in "xyz"] if place is not None else [0, 0, 0],
        "warp": int(place["warp"]) if place is not None else 0,
        "lanes": 0,
        "space": "",
        "address": 0,
        "bytes": 0,
        "count": 1,
        "other": None,
    }
