"""A table that never cuts a figure: every command that prints one uses this."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2  # blanks that rich sets aside for each column


class FittedTable(Table):
    """As wide as its text if that fits; else columns wrap between words; else each row becomes a paragraph.

    rich itself shortens or splits words in columns that do not fit, so a count would lose digits.
    """

    def __init__(self) -> None:
        super().__init__(box=None, header_style="bold", pad_edge=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [self._texts(console, number) for number in range(len(self.columns))]
        natural = [max(text.cell_len for text in texts) for texts in columns]
        least = [
            max(cell_len(word) for text in texts for word in (text.plain.split() or [""]))
            for texts in columns
        ]
        room = options.max_width - _GAP * len(columns)
        if sum(natural) <= room:
            yield from super().__rich_console__(console, options)
        elif sum(least) <= room:
            for column, width in zip(self.columns, _widths(natural, least, room), strict=True):
                column.width, column.no_wrap, column.overflow = width, False, "fold"
            yield from super().__rich_console__(console, options)
        else:
            yield from self._paragraphs(columns)

    def _texts(self, console: Console, number: int) -> list[Text]:
        """A column's header and cells."""
        column = self.columns[number]
        cells = [column.header, *column.cells]
        return [cell if isinstance(cell, Text) else console.render_str(str(cell)) for cell in cells]

    def _paragraphs(self, columns: Sequence[Sequence[Text]]) -> RenderResult:
        """Each row as its first cell and, below it, the others with their columns' names."""
        names = [texts[0].plain for texts in columns]
        for cells in zip(*(texts[1:] for texts in columns), strict=True):
            yield Text.assemble((cells[0].plain, "bold"), overflow="fold")
            said = [
                f"{name} {cell.plain}" for name, cell in zip(names[1:], cells[1:], strict=True) if cell.plain
            ]
            yield Padding(Text(", ".join(said), overflow="fold"), (0, 0, 0, 2))


def _widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Column widths that fit: the widest columns that can wrap shrink, one character at a time."""
    widths = list(natural)
    while sum(widths) > room:
        able = [number for number, width in enumerate(widths) if width > least[number]]
        widths[max(able, key=lambda number: widths[number])] -= 1
    return widths
