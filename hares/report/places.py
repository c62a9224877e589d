"""Texts without the folders of the machine they were written on, which may tell a user's name or a project's.

What is left of a path is its last name: `saved_model:/home/ann/models/sparrow` becomes `saved_model:sparrow`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

# What a data set calls its clips and classes is no path of this machine: AudioSet has a class "/m/09x0r".
_OF_THE_DATA = frozenset(
    {"classes", "class", "clip", "clip_id", "group", "label_counts", "matrix", "slot", "slots"}
)
_NAMED_BY_DATA = frozenset({"per_class", "confusion", "examples"})
_NAME = r"[^\s/'\"`,;:()<>|]+"
_HOME = re.compile(rf"(?<![\w.~/\\-])/(?:home|Users)/{_NAME}")
_ABSOLUTE = re.compile(rf"(?:file://|(?<![\w.~/\\-])(?:~[\w.-]*)?)/(?:{_NAME}/)*({_NAME})/?")
_WINDOWS = re.compile(r"(?<!\w)[A-Za-z]:\\(?:[^\\'\"`,;:()<>|]+\\)*([^\\'\"`,;:()<>|]*)")
# KIND:PATH and KIND:MODULE:PATH, of an absolute path or one that leads upwards; its names may hold spaces.
_SPEC = re.compile(r"([a-z_]+:(?:[\w.]+:)?)((?:/(?!/)|~|\.\./).*)")
_USER_OF_URL = re.compile(r"(?<=://)[^/\s@]+@")


def without_places(content: Any, places: Sequence[str]) -> Any:
    """Plain data in whose texts no absolute path, home or URL's user is left.

    Args:
        content: what JSON can hold.
        places: folders that the texts may name; with them even names with spaces are found.
    """
    home = os.path.expanduser("~")
    known = {place.rstrip("/"): os.path.basename(place.rstrip("/")) for place in (*places, os.getcwd())}
    known[home] = "~"
    usable = sorted((place for place in known if os.path.isabs(place)), key=len, reverse=True)
    return _cleaned(content, {place: known[place] for place in usable})


def _cleaned(content: Any, places: Mapping[str, str]) -> Any:
    if isinstance(content, dict):
        return {
            key: value if key in _OF_THE_DATA | _NAMED_BY_DATA else _cleaned(value, places)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_cleaned(value, places) for value in content]
    return _text(content, places) if isinstance(content, str) else content


def _text(text: str, places: Mapping[str, str]) -> str:
    if spec := _SPEC.fullmatch(text):
        return spec[1] + os.path.basename(spec[2].rstrip("/"))
    for place, name in places.items():
        found = rf"(?<![\w.~-]){re.escape(place)}(?=[/\s'\"`,;:()<>|]|$)"
        text = re.sub(found, name.replace("\\", r"\\"), text)
    text = _HOME.sub("~", _USER_OF_URL.sub("", text))
    return _WINDOWS.sub(r"\1", _ABSOLUTE.sub(r"\1", text))
