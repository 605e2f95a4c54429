"""Reports rendered once for all tests that only read them."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from perf.findings import Assessment
from reports.render import render_site
from reports.view import build_pages
from tests.builders import build_assessment

Attributes = dict[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A rendered report and what it was rendered from."""

    root: Path
    assessment: Assessment


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The report of the usual synthetic assessment."""
    root, assessment = tmp_path_factory.mktemp("site"), build_assessment()
    render_site(build_pages(assessment), root)
    return Site(root=root, assessment=assessment)


class Tags(HTMLParser):
    """Every start tag of a page with its attributes, and the names of tags left open or closed twice."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "circle", "line", "polyline", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Attributes]] = []
        self.unbalanced: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag, and that it is open if it can be."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself, as in SVG."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Note a tag that closes anything but the innermost open one."""
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(tag)

    def named(self, name: str) -> list[Attributes]:
        """Attributes of every tag with this name."""
        return [attributes for tag, attributes in self.tags if tag == name]
