"""The errors that a user can mend, and the one place where they become an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

EXIT_PASS = 0
EXIT_REGRESSION = 1
EXIT_ERROR = 2
EXIT_NO_VERDICT = 3
EXIT_INTERRUPTED = 130


class RoofgateError(Exception):
    """A mistake or a lack that the user can mend: says the value, what was expected, and the next step."""


_SYSTEM_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EROFS: "the file system is read-only; run from a checkout that can be written",
    errno.EACCES: "permission denied; check who owns the file",
}


def run_command(command: Callable[[], int]) -> int:
    """Run one command line and return its exit code, turning expected failures into one message.

    A :class:`RoofgateError` or a full, read-only or forbidden disk exits with 2; Ctrl-C with 130. Any other exception
    is a bug of ours and keeps its traceback.
    """
    try:
        return command()
    except RoofgateError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in _SYSTEM_ADVICE:
            raise
        print(f"error: {error.filename or 'writing'}: {_SYSTEM_ADVICE[error.errno]}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_ERROR
