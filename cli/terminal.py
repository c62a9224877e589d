"""Prints what commands say; the only way from a text to the terminal.

Names in a store, a report, a corpus or a cluster's answer may come from anyone. A control character in them could
retitle or clear the terminal, a line break could fake a line of ours, and rich would read `[red]` as markup. Here a
string is always text: control characters are shown as `\\x1b`, and nothing is markup. Style is given separately.
"""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console
from rich.status import Status
from rich.text import Text

from hares.files import shown

_PIPED_WIDTH = 160  # a pipe has no width; 80 would cut names


class Terminal(Console):
    """A console to which every string is plain text; `Text` carries style and line breaks of ours."""

    def __init__(self, width: int = _PIPED_WIDTH, **settings: Any):
        """
        Args:
            width: columns where the output is no terminal.
            settings: as `rich.console.Console` takes them.
        """
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **settings})
        if not self.is_terminal:
            self.width = width

    def render_str(self, text: str, **settings: Any) -> Text:
        """The string as text."""
        return super().render_str(shown(text), **{**settings, "markup": False, "emoji": False})

    def status(self, status: Any, **settings: Any) -> Status:
        """A spinner beside a text."""
        return super().status(styled("", status) if isinstance(status, str) else status, **settings)


def styled(style: str, text: object) -> Text:
    """A string in a style of rich's; "" for none."""
    return Text(shown(str(text)), style=style, end="")


def joined(*parts: str | Text) -> Text:
    """Strings and styled texts, joined."""
    return Text("").join(part if isinstance(part, Text) else styled("", part) for part in parts)


def lines(*parts: str | Text) -> Text:
    """Strings and styled texts, one on each line."""
    return Text("\n").join(part if isinstance(part, Text) else styled("", part) for part in parts)


def one_line(text: object) -> str:
    """A message as one line without control characters; its line breaks become spaces."""
    return shown(" ".join(part.strip() for part in str(text).splitlines()))


def say(*texts: str) -> None:
    """Prints each text on a line; "" is skipped."""
    for text in filter(None, texts):
        click.echo(shown(text))


def to_a_terminal() -> bool:
    """Whether a person reads stdout, not a program."""
    return sys.stdout.isatty()
