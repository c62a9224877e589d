"""A change in a source changes the digest of what it decides, and of nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hares import code_digest
from hares.code_digest import (
    FIRST_PARTY,
    LIBRARIES,
    PROJECT,
    closure,
    locked_versions,
    source_digest,
    versions_of,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in place of ours: models.entry -> models.a -> hares.b; models.other stands apart."""
    for name, text in {
        "models/__init__.py": "",
        "models/entry.py": (
            "from typing import TYPE_CHECKING\nfrom models import a\nimport numpy as np\n"
            "if TYPE_CHECKING:\n    from models import other\n"
        ),
        "models/a.py": "def late():\n    import hares.b\n",
        "models/other.py": "",
        "hares/__init__.py": "",
        "hares/b.py": '"""About b."""\nimport json\nDATA_FILES = ("hares/b.csv",)\nvalue = 1  # why\n',
        "hares/b.csv": "a,b\n",
        "components/__init__.py": "",
        "components/provenance.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code_digest, "PROJECT", tmp_path)
    return tmp_path


def digest(*modules: str) -> str:
    return code_digest.code_digest(*modules)


@pytest.mark.parametrize(
    "file, text",
    [
        ("models/entry.py", "x = 1\n"),
        ("models/a.py", "x = 1\n"),
        ("hares/b.py", "x = 1\n"),
        ("hares/b.csv", "1,2\n"),
        ("models/__init__.py", "x = 1\n"),
    ],
)
def test_a_change_anywhere_behind_the_entry_changes_the_digest(project: Path, file: str, text: str) -> None:
    before = digest("models.entry")
    (project / file).write_text((project / file).read_text() + text)
    assert digest("models.entry") != before


def test_comments_docstrings_and_form_do_not_count(project: Path) -> None:
    before = digest("models.entry")
    (project / "hares/b.py").write_text(
        '"""Another text\n\nof b."""\n\nimport json  # for later\n\n\nDATA_FILES = (\n    "hares/b.csv",\n)\n'
        '\nvalue = (1)\n"""What it is."""\n'
    )
    assert digest("models.entry") == before
    (project / "hares/b.py").write_text((project / "hares/b.py").read_text().replace("(1)", "(1.0)"))
    assert digest("models.entry") != before


def test_a_text_that_is_a_value_counts(project: Path) -> None:
    (project / "models/other.py").write_text('def f():\n    """About f."""\n    return "a"\n')
    before = digest("models.other")
    (project / "models/other.py").write_text('def f():\n    return "b"\n')
    assert digest("models.other") != before


def test_what_the_entry_does_not_import_does_not_matter(project: Path) -> None:
    before = digest("models.entry")
    (project / "models/other.py").write_text("changed = True\n")  # imported for type checkers alone
    assert digest("models.entry") == before
    assert digest("models.entry", "models.other") != before


def test_what_only_records_does_not_matter(project: Path) -> None:
    (project / "models/other.py").write_text(
        "from components.provenance import record\nfrom models import a\n"
    )
    before = digest("models.other")
    (project / "components/provenance.py").write_text("import models.entry\n")
    assert digest("models.other") == before
    assert set(closure("models.other").modules) == {"models", "models.other", "models.a", "hares", "hares.b"}


def test_only_libraries_that_are_imported_count(project: Path) -> None:
    pins = {"numpy": "1", "pytest": "1"}
    before = code_digest.code_digest("models.entry", pins=pins)
    assert code_digest.code_digest("models.entry", pins=pins | {"pytest": "2"}) == before
    assert code_digest.code_digest("models.entry", pins=pins | {"numpy": "2"}) != before
    assert closure("models.entry", "sklearn").libraries == {"numpy", "sklearn"}


def test_a_plugin_counts_by_its_bytes_and_by_what_it_imports(project: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("import scipy\nfrom models.a import late\n")
    assert set(closure(plugins=[plugin]).modules) == {"models", "models.a", "hares", "hares.b"}
    assert closure(plugins=[plugin]).libraries == {"scipy"}
    assert len({code_digest.code_digest(plugins=[(plugin, digest)]) for digest in ("1", "2")}) == 2


def test_a_module_that_is_not_there_is_an_error(project: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"models\.missing"):
        digest("models.missing")


def test_a_data_file_that_is_not_there_is_an_error(project: Path) -> None:
    (project / "hares/b.csv").unlink()
    with pytest.raises(FileNotFoundError):
        digest("models.entry")


# What no step of a run reads, each with why a change of it is seen all the same, or need not be.
READ_BY_NO_STEP = {
    "kubeflow": "submits and runs steps",
    "pipeline/grids": "settings of studies, which are in each step's properties",
    "pipeline/lineage/page": "shows what is recorded",
    "pipeline/schema": "imported under a path that holds its digest (`Workspace.keep`)",
}


def data_files() -> list[str]:
    """Files of our packages that are not Python."""
    found = (path for name in FIRST_PARTY for path in (PROJECT / name).rglob("*") if path.is_file())
    names = [path.relative_to(PROJECT).as_posix() for path in found if path.suffix not in (".py", ".pyc")]
    return [name for name in sorted(names) if not any(name.startswith(f"{at}/") for at in READ_BY_NO_STEP)]


def all_modules() -> dict[str, Path]:
    sources = (path for name in FIRST_PARTY for path in (PROJECT / name).rglob("*.py"))
    names = {path: ".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in sources}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def test_every_file_that_is_not_python_is_declared_by_whoever_names_it() -> None:
    files = data_files()
    assert "hares/tasks/data/audioset_labels.csv" in files and "hares/report/paper_tables.json" in files
    declared: set[str] = set()
    for name, path in all_modules().items():
        own = code_digest._parsed(path.read_bytes()).data
        declared |= set(own)
        text = path.read_text(encoding="utf-8")
        named = {file for file in files if f'"{Path(file).name}"' in text or f'/{Path(file).name}"' in text}
        assert named <= set(own), f"{name} names {named - set(own)} and has them not in DATA_FILES"
    assert declared == set(files)


def test_a_template_is_declared_with_those_that_it_takes_in() -> None:
    for name, path in all_modules().items():
        own = code_digest._parsed(path.read_bytes()).data
        for file in own:
            text = (PROJECT / file).read_text(encoding="utf-8") if file.endswith(".j2") else ""
            taken_in = {other for other in data_files() if f'"{Path(other).name}"' in text}
            assert taken_in <= set(own), f"{name}: {file} takes in {taken_in - set(own)}"


def test_every_library_of_a_step_is_a_decision() -> None:
    """A new import in a step has its versions chosen, or is said to decide nothing."""
    entries = [
        *(
            "components.audio_example_gen.executor",
            "components.span_window.executor",
            "workarounds.tfx_bsl",
        ),
        *("components.embedder.executor", "components.evaluator.executor", "pipeline.pretraining"),
        *("pipeline.preprocessing", "hares.embedding.cache"),
        *(name for name in all_modules() if name.startswith(("hares.tasks", "hares.probes", "models."))),
    ]
    assert closure(*entries).libraries <= set(LIBRARIES)


def test_the_lock_file_pins_every_library_that_counts() -> None:
    """But for CUDA's, which it leaves to images of their own, PyTorch, which is the user's, and the other line's."""
    pins = locked_versions()
    named = {package for packages in LIBRARIES.values() for package in packages}
    assert {name for name in named if name not in pins and not name.startswith("nvidia-")} in (
        {"torch", "tf-keras"},
        {"torch", "tensorflow-addons"},
    )
    assert versions_of(set(LIBRARIES), pins) == {name: pins[name] for name in named & set(pins)}
    assert versions_of(["numpy"])["numpy"] == sys.modules["numpy"].__version__


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("keys_of_")]:
        del sys.modules[name]


def test_a_users_module_counts_by_its_bytes_and_libraries(user_folder: Path, monkeypatch) -> None:
    module, helper = user_folder / "keys_of_mine.py", user_folder / "keys_of_help.py"
    module.write_text("import keys_of_help\nfrom models.frontend import FrontendConfig\n")
    helper.write_text("import librosa\n")
    digests = [source_digest("keys_of_mine")]
    helper.write_text("import librosa  # a user's file may read its own text\n")
    digests.append(source_digest("keys_of_mine"))
    monkeypatch.setattr(code_digest, "_installed_version", lambda package: f"another {package}")
    digests.append(source_digest("keys_of_mine"))
    assert len(set(digests)) == 3
    with pytest.raises(ValueError, match="keys_of_nothing"):
        source_digest("keys_of_nothing")


def test_a_users_folder_needs_no_init_file(user_folder: Path) -> None:
    (user_folder / "keys_of_space").mkdir()
    (user_folder / "keys_of_space" / "model.py").write_text("x = 1\n")
    before = source_digest("keys_of_space.model")
    (user_folder / "keys_of_space" / "model.py").write_text("x = 2\n")
    assert source_digest("keys_of_space.model") != before


def test_an_installed_package_counts_whole(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_digest, "_installed", lambda path: path.is_relative_to(user_folder))
    package = user_folder / "keys_of_package"
    (package / "__pycache__").mkdir(parents=True)
    for name, text in {"__init__.py": "", "model.py": "import librosa\n", "weights.npz": "1"}.items():
        (package / name).write_text(text)
    digests = [source_digest("keys_of_package.model")]
    (package / "__pycache__" / "model.pyc").write_text("")
    assert source_digest("keys_of_package.model") == digests[0]
    (package / "weights.npz").write_text("2")
    digests.append(source_digest("keys_of_package.model"))
    monkeypatch.setattr(code_digest, "_installed_version", lambda package: f"another {package}")
    digests.append(source_digest("keys_of_package.model"))
    assert len(set(digests)) == 3
