"""Which function is being read, and where in it."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.simulator.ptx.layout import Function
from profiles.simulator.ptx.syntax import SourceLine


@dataclass(frozen=True, slots=True)
class Frame:
    """The function whose body is being read: the entry, or a callee at one of its call sites."""

    function: Function
    call_sites: tuple[SourceLine, ...] = ()  # from the inside out
    end: str | None = None  # label after a callee's body, where ``ret`` goes
    callers: tuple[str, ...] = ()  # functions being inlined, to notice recursion


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instruction stands: PTX line, its text on one line, and the function."""

    line: int
    text: str
    frame: Frame
