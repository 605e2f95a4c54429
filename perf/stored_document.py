"""A JSON file of ours: read only if it is whole, ours, and of a schema that this version knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kernels.errors import RoofgateError


def read_document(path: Path, key: str, schema: int) -> dict[str, Any]:
    """The file's object, whose entry ``key`` says its ``schema``.

    Raises:
        RoofgateError: the file cannot be opened, is cut short, is none of ours, or has another schema; the message says
            which, and does not repeat the path.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RoofgateError(f"cannot be opened ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RoofgateError(f"truncated or no JSON ({error!r:.200})") from error
    if not isinstance(document, dict) or not isinstance(document.get(key), dict):
        raise RoofgateError(f"foreign: has no {key!r} entry, so it was not written by this program")
    found = document[key].get("schema")
    if isinstance(found, int) and found > schema:
        raise RoofgateError(f"schema {found} is newer than {schema}, the newest this version reads; update roofgate")
    if found != schema:
        raise RoofgateError(f"schema is {found!r}, expected {schema}")
    return document
