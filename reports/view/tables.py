"""Tables of finished text: what a template places, and what the browser sorts by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.view.strips import IntervalStrip, Sparkline


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A conclusion that reads in black and white: a glyph and a word; ``tone`` names its colour."""

    glyph: str
    word: str
    tone: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. ``sort`` is the key that the browser sorts by; an empty key sorts last in either direction."""

    text: str
    sort: float | str = ""
    detail: str = ""  # secondary text: the interval, what it was before
    tone: str = ""
    href: str = ""
    hint: str = ""
    code: bool = False
    mark: Mark | None = None
    sparkline: Sparkline | None = None
    strip: IntervalStrip | None = None


MISSING = "\N{EN DASH}"


def missing(hint: str) -> Cell:
    """A cell without a value; ``hint`` says why."""
    return Cell(MISSING, hint=hint, tone="soft")


def marked(mark: Mark) -> Cell:
    """A cell that states a conclusion."""
    return Cell(mark.word, sort=mark.word, tone=mark.tone, mark=mark)


@dataclass(frozen=True, slots=True)
class Column:
    """A heading. ``hint`` explains the figure; numeric columns stand right-aligned."""

    title: str
    hint: str = ""
    numeric: bool = False
    strip: IntervalStrip | None = None  # the axis of a column of intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: the first cell is its heading. ``group`` is what the filter by verdict looks at."""

    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A captioned table. ``groups`` are the values offered to filter by; none means no filter."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    groups: tuple[Mark, ...] = ()
    sortable: bool = True


def rows_of(cells: Iterable[Iterable[Cell]]) -> tuple[Row, ...]:
    """Rows without groups."""
    return tuple(Row(cells=tuple(row)) for row in cells)
