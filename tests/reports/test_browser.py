"""The report in a real browser: charts are drawn under the policy, and untrusted text is inert."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reports.render import render_site
from reports.view import build_pages
from tests.reports.conftest import Site
from tests.reports.test_render import hostile_assessment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on PATH: the pages are not looked at in a browser"
)

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
    "--enable-logging=stderr",
    "--dump-dom",
)


def open_in_browser(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's elements after its scripts ran, and what the console said."""
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def frame_pages(pages: list[Path], harness: Path) -> Path:
    """One page that shows all ``pages``, so that the browser starts once. Each keeps its own policy."""
    frames = "".join(f'<iframe src="{page.as_uri()}" width="900" height="600"></iframe>' for page in pages)
    harness.write_text(f"<!doctype html><title>all pages</title>{frames}")
    return harness


def test_charts_are_drawn(site: Site, tmp_path: Path) -> None:
    """plotly.js works under the policy, and offers nothing that would leave the machine."""
    elements, console = open_in_browser(site.root / "index.html", tmp_path)
    assert console == []
    assert elements.count("main-svg") >= elements.count('class="chart"') > 0
    assert "Share" not in elements, "plotly.js offers to send the chart to a server"


def test_no_kind_of_page_makes_the_console_speak(site: Site, tmp_path: Path) -> None:
    """No inline style, no evaluation, no missing file, no error in a script."""
    kinds = [next((site.root / folder).glob("*.html")) for folder in ("cases", "kernels")]
    pages = [site.root / "rooflines.html", *(site.root / "targets").glob("*.html"), *kinds]
    _, console = open_in_browser(frame_pages(pages, tmp_path / "all.html"), tmp_path / "profile")
    assert console == []


def test_a_breach_of_the_policy_would_be_noticed(site: Site, tmp_path: Path) -> None:
    """The check above catches what it is there for."""
    page = site.root / "index.html"
    planted = site.root / "planted.html"
    planted.write_text(page.read_text().replace("<main", "<script>document.title = 'run'</script><main", 1))
    try:
        elements, console = open_in_browser(planted, tmp_path)
    finally:
        planted.unlink()
    assert "<title>run" not in elements
    assert any("Content Security Policy" in line for line in console)


def test_untrusted_text_is_inert(tmp_path: Path) -> None:
    """Markup in a commit subject or a kernel name runs nothing and breaks no page."""
    index = render_site(build_pages(hostile_assessment()), tmp_path / "site")
    elements, console = open_in_browser(index, tmp_path / "profile")
    assert console == [] and "<img" not in elements and "onerror" in elements
