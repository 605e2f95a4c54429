"""What is wrong with a PTX text."""

from __future__ import annotations

from kernels.errors import RoofgateError

_TEXT_SHOWN = 160  # characters of a statement: enough to find it, and a message stays readable


class PtxError(RoofgateError):
    """A PTX text that cannot be read. ``line`` is 1-based, in the module's text."""

    def __init__(self, line: int, text: str, expectation: str) -> None:
        shown = " ".join(text.split())
        if len(shown) > _TEXT_SHOWN:
            shown = shown[:_TEXT_SHOWN] + "..."
        super().__init__(f"PTX line {line}: `{shown}`: {expectation}")
        self.line = line
        self.text = text
        self.expectation = expectation


class Malformed(Exception):  # noqa: N818 - becomes a PtxError as soon as the statement and its line are known
    """A part of a statement that cannot be read; the message is what was expected."""
