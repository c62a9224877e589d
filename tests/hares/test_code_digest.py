from pathlib import Path

import pytest

from pipeline import code_digest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in place of ours: models.entry -> models.a -> hares.b; models.other stands apart."""
    for name, text in {
        "models/__init__.py": "",
        "models/entry.py": "from models import a\n",
        "models/a.py": "def late():\n    import hares.b\n",
        "models/other.py": "",
        "hares/__init__.py": "",
        "hares/b.py": "import json\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "requirements.lock").write_text("x==1")
    monkeypatch.setattr(code_digest, "PROJECT", tmp_path)
    code_digest._source.cache_clear()
    yield tmp_path
    code_digest._source.cache_clear()


@pytest.mark.parametrize("file", ["models/entry.py", "models/a.py", "hares/b.py", "requirements.lock"])
def test_a_changed_line_anywhere_behind_the_entry_changes_the_digest(project: Path, file: str) -> None:
    before = code_digest.code_digest("models.entry")
    (project / file).write_text((project / file).read_text() + "# changed\n")
    assert code_digest.code_digest("models.entry") != before


def test_what_the_entry_does_not_import_does_not_matter(project: Path) -> None:
    before = code_digest.code_digest("models.entry")
    (project / "models/other.py").write_text("changed = True\n")
    assert code_digest.code_digest("models.entry") == before
    assert code_digest.code_digest("models.entry", "models.other") != before


def test_a_module_that_is_not_there_is_an_error(project: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"models\.missing"):
        code_digest.code_digest("models.missing")
