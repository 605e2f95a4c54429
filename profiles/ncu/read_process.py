"""Run a program that may crash or hang on a file, and say what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernels.errors import RoofgateError


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program that ended by itself wrote."""

    exit_code: int
    output: bytes
    errors: str


def run_contained(command: Sequence[str], changes: Mapping[str, str], timeout: float, subject: str) -> Answer:
    """Run ``command`` in a process group of its own, killed whole after ``timeout`` seconds.

    Args:
        command: the argv.
        changes: environment variables set beside the inherited ones.
        timeout: how long it may take.
        subject: what is being read and by what, to begin the message of an error.

    Raises:
        RoofgateError: it hung, was killed by a signal such as a segmentation fault, or could not be started.
    """
    environment = {**os.environ, **changes}
    try:
        process = subprocess.Popen(
            list(command),
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise RoofgateError(f"{subject}: {command[0]} could not be started ({error.strerror})") from error
    with process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as expired:
            _kill_group(process)
            raise RoofgateError(f"{subject}: no answer within {timeout:g} s; the file is damaged") from expired
        except BaseException:
            _kill_group(process)
            raise
    if process.returncode < 0:
        name = signal.strsignal(-process.returncode)
        raise RoofgateError(f"{subject}: the reader crashed ({name}); the file is damaged, or too new for this reader")
    return Answer(process.returncode, output, errors.decode("utf-8", "replace"))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)  # the group exists: its leader has not been waited for
    process.wait()
