"""What is wrong with a PTX text."""

from __future__ import annotations

from kernels.errors import RoofgateError

_TEXT_SHOWN = 160  # characters of a statement: enough to find it, and a message stays readable


class PtxError(RoofgateError):
    """A PTX text that cannot be read. ``line`` is 1-based, in the module's text."""

    def __init__(self, line: int, text: str, expectation: str) -> None:
        super().__init__(f"PTX line {line}: `{_shorten(text, _TEXT_SHOWN)}`: {_shorten(expectation, 2 * _TEXT_SHOWN)}")
        self.line = line
        self.text = text
        self.expectation = expectation


def _shorten(text: str, length: int) -> str:
    """The text on one line, and not much longer than that."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length] + "..."


class Malformed(Exception):  # noqa: N818 - becomes a PtxError as soon as the statement and its line are known
    """A part of a statement that cannot be read; the message is what was expected."""
