"""The paper's results, tables 2, 4 and 6 to 9, as fractions.

`paper_tables.json` holds the tables as printed, in percent. Table 4 repeats columns of tables 6 and 9 and
adds published systems; of table 2 there are the two rows that no other table repeats, of which the paper prints no
task but AudioSet; null is the paper's dash, or what it does not print.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA_FILES = ("hares/report/paper_tables.json",)

REFERENCES = {
    "sf_nfnet_f0_simclr": ("table9", "SF NFNet-F0"),
    "sf_nfnet_f0_classification": ("table8", "SF NFNet-F0"),
}
"""Columns that a report sets its scores beside: the paper's best encoder under its two objectives."""

REFERENCE_TITLES = {
    "sf_nfnet_f0_simclr": "Paper, SF NFNet-F0 SimCLR (table 9)",
    "sf_nfnet_f0_classification": "Paper, SF NFNet-F0 classification (table 8)",
}


@dataclass(frozen=True)
class PaperRow:
    """Where the paper prints the scores of one encoder under one objective.

    Attributes:
        table: the table that has most of them, as in `paper_tables`.
        system: its name there.
        also: other tables that print it.
    """

    table: str
    system: str
    also: tuple[str, ...] = ()

    @property
    def places(self) -> str:
        """All tables that print it, for people."""
        numbers = sorted(name.removeprefix("table") for name in (self.table, *self.also))
        return f"table{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"

    def scores(self) -> dict[str, Any]:
        """Its column, in percent. Raises ValueError as `paper_column` does."""
        return paper_column(self.table, self.system)


@cache
def paper_tables() -> dict[str, list[dict[str, Any]]]:
    """All columns of tables 4, 6, 7, 8 and 9, and two of table 2, in percent, as printed."""
    content = Path(__file__).with_name("paper_tables.json").read_text("utf-8")
    tables: dict[str, list[dict[str, Any]]] = json.loads(content)
    return tables


def paper_column(table: str, system: str) -> dict[str, Any]:
    """One column of one table, in percent.

    Raises:
        ValueError: there is no such table, or no such system in it; the message lists what there is.
    """
    tables = paper_tables()
    if table not in tables:
        raise ValueError(f"the paper's results are in {', '.join(sorted(tables))}; there is no {table!r}")
    for column in tables[table]:
        if column["system"] == system:
            return column
    found = ", ".join(column["system"] for column in tables[table])
    raise ValueError(f"{table} has no system {system!r}; there are {found}")


def paper_score(reference: str, task: str) -> float | None:
    """The score of a task in a column of `REFERENCES`, a fraction; None where the paper has none."""
    return _fraction(paper_column(*REFERENCES[reference])["tasks"].get(task))


def paper_averages(reference: str) -> dict[str, Any]:
    """`domains` and `hares` as printed in a column of `REFERENCES`, as fractions."""
    column = paper_column(*REFERENCES[reference])
    return {
        "title": REFERENCE_TITLES[reference],
        "domains": {domain: _fraction(value) for domain, value in column["domains"].items()},
        "hares": _fraction(column["hares"]),
    }


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 6)
