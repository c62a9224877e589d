"""The page as HTML: template, style, script, libraries and data in one file that asks for nothing from outside.

Everything that came from a file name, a tag or a property reaches the page as JSON in which `<` is escaped, and the
script puts it there as text, never as HTML. A content security policy forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_SCRIPTS = ("vendor/dagre.min.js", "vendor/cytoscape.min.js", "page.js")


def render_lineage_page(data: Mapping[str, Any], title: str, made: str) -> str:
    """The page.

    Args:
        data: what `page_data` gave.
        title: the store as a person may see it; never with a password.
        made: when the data was read.
    """
    content = json.dumps({**data, "title": title, "made": made}, ensure_ascii=False, separators=(",", ":"))
    scripts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    hashes = " ".join(_hash(script) for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"
    page = (_FOLDER / "page.html").read_text(encoding="utf-8")
    for mark, text in (
        ("@POLICY@", policy),
        ("@STYLE@", style),
        ("@SCRIPTS@", "\n".join(f"<script>{script}</script>" for script in scripts)),
        ("@DATA@", content.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")),
    ):
        before, _, after = page.partition(mark)
        page = before + text + after
    return page


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
