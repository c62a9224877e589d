"""A study as one self-contained HTML page: no script, no network, all text escaped (see `hares/report/page.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hares.report.page import page_template
from hares.task import DOMAINS

DATA_FILES = ("hares/report/study.html.j2", "hares/report/parts.html.j2", "hares/report/style.css.j2")
_TITLES = {name: name.capitalize() for name in DOMAINS} | {"hares": "HARES", "audioset": "AudioSet"}


def render_study(study: Mapping[str, Any]) -> str:
    """The page of a study.

    Args:
        study: made by `hares.report.study.build_study`.

    Returns:
        HTML.
    """
    return page_template("study.html.j2").render(study=study, titles=_TITLES, title=study["name"])
