"""The compiler's line table: which CUDA line an instruction comes from, through all the calls that were inlined.

``.loc FILE LINE COLUMN, function_name LABEL, inlined_at FILE LINE COLUMN`` names only the innermost call site. But the
call is itself a position that an earlier ``.loc`` gave, with the site where its function was inlined; so the whole
chain is found by looking up each site among the positions seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from profiles.simulator.ptx.syntax import SourceLine, SourceLocation

LOC = (
    r"\.loc\s+[0-9]{1,9}\s+[0-9]{1,9}\s+[0-9]{1,9}(?:\s*,\s*function_name\s+[\w$]+(?:\s*\+\s*[0-9]{1,9})?"
    r"\s*,\s*inlined_at\s+[0-9]{1,9}\s+[0-9]{1,9}\s+[0-9]{1,9})?"
)
_POSITION = re.compile(r"(?:\.loc|inlined_at)\s+([0-9]{1,9})\s+([0-9]{1,9})\s+([0-9]{1,9})", re.ASCII)

Position = tuple[int, int, int]  # file, line, column


class LineTable:
    """Follows the ``.loc`` directives of a kernel. ``current`` is where the next instruction comes from.

    Line 0 is the compiler's word for an instruction that comes from no line of the file.
    """

    def __init__(self, files: Mapping[int, str]) -> None:
        self._files = files
        self._sites: dict[Position, tuple[Position, ...]] = {}
        self.current: SourceLocation | None = None

    def move(self, directive: str) -> None:
        """Take a ``.loc`` directive, in the form that :data:`LOC` matches."""
        positions = [tuple(map(int, groups)) for groups in _POSITION.findall(directive)]
        here, *site = [(file, line, column) for file, line, column in positions]
        chain = self._chain(here, site[0]) if site else ()
        self._sites[here] = chain
        self.current = SourceLocation(self._line(here), tuple(self._line(position) for position in chain))

    def _chain(self, here: Position, site: Position) -> tuple[Position, ...]:
        """The call sites from ``site`` outward; a site that repeats (recursive templates) ends the chain."""
        chain = [site]
        for outer in self._sites.get(site, ()):
            if outer == here or outer in chain:
                break
            chain.append(outer)
        return tuple(chain)

    def _line(self, position: Position) -> SourceLine:
        file, line, _ = position
        return SourceLine(self._files.get(file, f"file {file}"), line)
