"""Packages of the user's that are called as ours are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.own_packages import OF_A_RUN, check_ours, hidden_package

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; sys.argv[0] = 'hares'; from cli.main import main; main()"


def hares(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, with the user's folder before ours on Python's path."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": f"{folder}:{PROJECT}", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    (folder / name / "mine.py").write_text("Net = 1\n")
    return folder / name


@pytest.mark.parametrize("name", ["pipeline", "models", "components", "hares"])
def test_a_package_that_hides_ours_is_named_with_both_places(tmp_path, name):
    place = package(tmp_path, name)
    done = hares(tmp_path, "run", "--workspace", str(tmp_path / "w"))
    assert done.returncode == 3 and str(place) in done.stderr and str(PROJECT / name) in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "w").exists()


def test_a_module_that_hides_ours_is_one_too(tmp_path):
    (tmp_path / "pipeline.py").write_text("")
    done = hares(tmp_path, "presets")
    assert done.returncode == 3 and str(tmp_path / "pipeline.py") in done.stderr


def test_ours_are_ours_here():
    check_ours(*OF_A_RUN, "kubeflow")


def test_what_a_plugin_imports_from_a_package_of_ours(tmp_path, monkeypatch):
    from models.plugin import load_plugin

    place = package(tmp_path, "models")
    monkeypatch.chdir(tmp_path)
    for number, line in enumerate(
        ("from models.mine import Net", "from models import mine", "import models.mine")
    ):
        (tmp_path / f"plugin{number}.py").write_text(line)
        with pytest.raises(ValueError, match="Error") as error:
            load_plugin(tmp_path / f"plugin{number}.py")
        text = hidden_package(error.value)
        assert str(place) in text and str(PROJECT / "models") in text


def test_other_errors_are_left_alone(tmp_path):
    assert hidden_package(ValueError("x")) == ""
    try:
        import no_such_package_anywhere  # noqa: F401
    except ImportError as error:
        assert hidden_package(error) == ""


def test_a_user_package_that_hides_ours_is_said_from_the_other_side(tmp_path, monkeypatch):
    place = package(tmp_path, "kubeflow")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "kubeflow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CommandError, match=str(place)):
        check_ours("kubeflow")
    __import__("kubeflow")
    # As where ours is installed as files; an editable installation finds its submodules all the same.
    error = ModuleNotFoundError(
        "No module named 'kubeflow.compiled.compile'", name="kubeflow.compiled.compile"
    )
    assert f"{place} hides that of hares in {PROJECT / 'kubeflow'}" in hidden_package(error)
    monkeypatch.delitem(sys.modules, "kubeflow")
