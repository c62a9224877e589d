"""The page as HTML: template, style, script, libraries and data in one file that loads nothing from outside.

File names, tags and properties reach the page as JSON in which `<` is escaped, and the script shows them as text, never
as HTML. A content security policy forbids every request, and every script but those of this folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_LIBRARIES = ("dagre", "cytoscape")
# Joined in this order to one script: the parts share their names, and none is visible outside.
_PARTS = ("base", "lineage", "chart", "runs", "panel", "graph", "compare", "search", "start")


def render_lineage_page(data: Mapping[str, Any], title: str, made: str) -> str:
    """The page.

    Args:
        data: what `page_data` gave.
        title: the store as a person may see it; never with a password.
        made: when the data was read.
    """
    scripts = [library_script(name) for name in _LIBRARIES] + [page_script()]
    hashes = " ".join(_hash(script) for script in scripts)
    shown = {name: part for name, part in data.items() if name != "lineage"}
    page = _text("page.html")
    for mark, text in (
        ("@POLICY@", f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"),
        ("@STYLE@", _text("page.css")),
        ("@DATA@", _json({**shown, "title": title, "made": made})),
        ("@LINEAGE@", _json(data["lineage"])),
        ("@SCRIPTS@", "\n".join(f"<script>{script}</script>" for script in scripts)),
    ):
        # From the end: a name in the data may look like a mark.
        before, _, after = page.rpartition(mark)
        page = before + text + after
    return page


def library_script(name: str) -> str:
    """A vendored library with its licence, which every copy must carry."""
    return f"/*!\n{_text(f'vendor/{name}.LICENSE')}*/\n{_text(f'vendor/{name}.min.js')}"


def page_script() -> str:
    """The page's own script."""
    parts = "\n".join(_text(f"{name}.js") for name in _PARTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: they become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
