"""The leaderboard in a real browser: filters and sorting by hand and by key, and hostile names that stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hares.benchmark import CorpusSummary
from hares.protocol import load_protocol
from hares.report.board import build_board, render_board
from kits.chromium import CHROMIUM, Page
from kits.scored_tasks import scored_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
DO = "document.title='reached'"
EVIL = (
    f'x--></script><script>{DO}</script><img src=x onerror="{DO}">"\' onmouseover="{DO}" '
    f'x=\'</style><svg onload="{DO}">'
)
NAMES = "[...document.querySelectorAll('tbody')].map(t => [...t.rows].filter(r => !r.hidden).map(r => r.dataset.name))"
HEADERS = "[...document.querySelector('thead').rows[0].cells]"
CONTROLS = "document.forms[0].elements"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> str:
    ours = {"tut18": CorpusSummary(60, {EVIL: 1}, False, (EVIL,), 60, 60)}
    runs = [
        scored_run("wren", 0.9), scored_run("finch", 0.4), scored_run("owl", 0.8, corpora=ours),
        scored_run("part", 1.0, tasks=["esc50"]), scored_run("fast", 0.7, load_protocol("quick")),
        scored_run(EVIL, 0.1, load_protocol("quick"), corpora=ours),
    ]  # fmt: skip
    return render_board(build_board(runs))


@pytest.fixture
def page(board: str, tmp_path: Path) -> Iterator[Page]:
    (tmp_path / "board.html").write_text(board, encoding="utf-8")
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "board.html").as_uri())
        yield browser
    finally:
        browser.close()


def set_control(page: Page, name: str, value: str) -> None:
    kind = "value" if name == "named" else "checked"
    page.run(
        f"{CONTROLS}.{name}.{kind} = {value}, {CONTROLS}.{name}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )


def ours(page: Page) -> list[str]:
    return [name for name in page.run(NAMES)[0] if name in ("wren", "finch", "owl", "part")]


def test_filters(page: Page) -> None:
    everything = page.run(NAMES)
    assert ours(page) == ["wren", "owl", "finch", "part"] and everything[1] == ["fast", EVIL]
    set_control(page, "paper", "false")
    assert page.run(NAMES)[0] == ["wren", "owl", "finch", "part"]
    assert page.run("document.querySelector('output').textContent") == f"4 of {len(everything[0])} rows"
    set_control(page, "complete", "true")
    assert page.run(NAMES)[0] == ["wren", "owl", "finch"]
    set_control(page, "official", "true")
    assert page.run(NAMES) == [["wren", "finch"], ["fast"]]
    set_control(page, "named", "'FIN'")
    assert page.run(NAMES) == [["finch"], []]
    for name, value in (("named", "''"), ("official", "false"), ("complete", "false"), ("paper", "true")):
        set_control(page, name, value)
    assert page.run(NAMES) == everything


def test_sorting_by_any_column(page: Page) -> None:
    def click(title: str) -> None:
        page.run(
            f"[...document.querySelectorAll('th button')].find(b => b.textContent === '{title}').click()"
        )

    def values(column: int) -> list[str]:
        cells = f"r => r.cells[{column}].dataset.value"
        return list(page.run(f"[...document.querySelector('tbody').rows].map({cells})"))

    def known(column: int) -> list[float]:
        found = values(column)
        numbers = [float(value) for value in found if value]
        assert found[len(numbers) :] == [""] * (len(found) - len(numbers)), "those without a score come last"
        return numbers

    titles = page.run(f"{HEADERS}.map(c => c.textContent)")
    assert known(1) == sorted(known(1), reverse=True)
    click("HARES")
    assert known(1) == sorted(known(1))
    column = titles.index("ESC-50")
    click("ESC-50")
    assert known(column) == sorted(known(column), reverse=True)
    assert page.run(f"{HEADERS}.map(c => c.ariaSort)")[column] == "descending"
    click("Encoder")
    assert ours(page) == ["finch", "owl", "part", "wren"]
    page.run("document.querySelector('th button').focus()")
    page.key("Enter", "\r")
    assert ours(page) == ["wren", "part", "owl", "finch"]


def test_nothing_is_asked_for(page: Page) -> None:
    assert len(page.requests) == 1 and page.errors == []


@pytest.mark.parametrize("policy", ["its own", "none"])
def test_hostile_names_are_text(board: str, tmp_path: Path, policy: str) -> None:
    """Also without the page's policy, which would stop what the escaping let through."""
    if policy == "none":
        board, removed = re.subn(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", board)
        assert removed == 1
    (tmp_path / "board.html").write_text(board, encoding="utf-8")
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "board.html").as_uri())
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.run("document.title") == "HARES · leaderboard"
        assert browser.run("document.querySelectorAll('script').length") == 1
        assert browser.run("document.querySelectorAll('img, [onload], [onerror], [onmouseover]').length") == 0
        assert browser.run("document.querySelectorAll('tbody')[1].textContent.includes('<script>')")
    finally:
        browser.close()


def test_a_script_of_another_text_does_not_run(board: str, tmp_path: Path) -> None:
    (tmp_path / "board.html").write_text(board.replace("<script>", f"<script>{DO};", 1), encoding="utf-8")
    browser = Page(tmp_path / "profile")
    try:
        browser.ask("Page.navigate", url=(tmp_path / "board.html").as_uri())
        browser.run("new Promise(done => setTimeout(done, 500))")
        assert browser.run("document.title") == "HARES · leaderboard"
        assert browser.run("document.forms[0].hidden"), "no filter that does nothing"
        assert any("Content Security Policy" in error for error in browser.errors)
    finally:
        browser.close()
