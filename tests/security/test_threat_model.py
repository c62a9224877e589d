"""docs/security.md names a test for every promise; each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_page_names_is_there() -> None:
    page = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert len(named) == len(re.findall(r"`tests/[^`]*\.py[^`]*`", page)) > 30
    for file, test in named:
        path = PROJECT / file
        assert path.is_file(), file
        functions = {n.name for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.FunctionDef)}
        assert not test or test in functions, f"{file} has no {test}"


def test_every_row_of_its_tables_names_one() -> None:
    page = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    model = page[page.index("## Who may be hostile") : page.index("## New code")]
    rows = [line for line in model.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert rows and not [row for row in rows if not NAMED.search(row)]
