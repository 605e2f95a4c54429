"""What the renderer takes: pages, and the charts on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports.view.frame import Frame
from reports.view.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart, what it says in words, and the table that says the same without it."""

    id: str
    title: str
    description: str
    spec: dict[str, Any]
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One HTML page: ``content`` is the object that ``template`` places."""

    template: str
    frame: Frame
    content: object
    figures: tuple[Figure, ...] = ()
