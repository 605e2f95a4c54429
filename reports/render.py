"""Pages into files: templates that only loop and place, and the assets that they need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kernels.artifacts import write_atomically
from kernels.errors import RoofgateError
from reports.view.page import Page

# Nothing but the report's own files, and no inline code. Browsers apply it to pages opened from disk as well.
SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
)
STATIC_FILES = ("report.css", "tables.js", "charts.js")
CHART_LIBRARY = "plotly.min.js"
MANIFEST = "roofgate-report.json"

# plotly.js looks its style elements up by these ids before it makes them; charts.js says why the pages provide them.
_PLOTLY_STYLE_ID = "plotly.js-style-global"
_BUNDLED_STYLE_ID = re.compile(r'document\.getElementById\("([0-9a-f]{64})"\)')


def render_site(pages: Iterable[Page], site: Path) -> Path:
    """Write every page and asset below ``site`` and return the path of the first page.

    Pages of an earlier report that this one does not have are removed; other files are never touched. Raises
    :class:`RoofgateError` if ``site`` holds files but no report.
    """
    before = _earlier_files(site)
    library = (files("plotly") / "package_data" / CHART_LIBRARY).read_bytes()
    documents = _documents(pages, library)
    assets = {f"assets/{name}": (files("reports") / "static" / name).read_bytes() for name in STATIC_FILES}
    assets[f"assets/{CHART_LIBRARY}"] = library
    written = {**assets, **{path: text.encode() for path, text in documents.items()}}
    # The manifest comes first: a report cut short is then still known as one.
    write_atomically(site / MANIFEST, json.dumps({"files": sorted(before | written.keys())}, indent=1) + "\n")
    for path, content in written.items():
        _write_if_changed(site / path, content)
    for path in before - written.keys():
        (site / path).unlink(missing_ok=True)
    write_atomically(site / MANIFEST, json.dumps({"files": sorted(written)}, indent=1) + "\n")
    return site / next(iter(documents))


def build_environment() -> Environment:
    """Templates in which everything is escaped and a missing value is an error."""
    return Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _documents(pages: Iterable[Page], library: bytes) -> dict[str, str]:
    environment = build_environment()
    style_ids = (_PLOTLY_STYLE_ID, *_BUNDLED_STYLE_ID.findall(library.decode()))
    return {
        page.frame.path: environment.get_template(page.template).render(
            frame=page.frame,
            content=page.content,
            figures=page.figures,
            security_policy=SECURITY_POLICY,
            chart_style_ids=style_ids,
        )
        for page in pages
    }


def _earlier_files(site: Path) -> set[str]:
    manifest = site / MANIFEST
    if not manifest.exists():
        if site.exists() and any(site.iterdir()):
            raise RoofgateError(
                f"{site}: holds files but no report (no {MANIFEST}); choose an empty or new folder with --out"
            )
        return set()
    try:
        listed = json.loads(manifest.read_text())["files"]
        return {str(path) for path in listed if not Path(path).is_absolute() and ".." not in Path(path).parts}
    except (ValueError, KeyError, TypeError) as error:
        raise RoofgateError(
            f"{manifest}: not a report's list of files ({error!r}); remove {site} and render again"
        ) from error


def _write_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)
