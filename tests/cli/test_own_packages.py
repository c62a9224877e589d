"""Packages of the user's that are called as ours are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.own_packages import OF_A_RUN, check_ours, hidden_package
from hares_command import PACKAGES, packages_of

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
    from pipeline.plugin import load_plugin

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


SCRIPT = "import sys; sys.argv[0] = 'hares'; from hares_command import main; main()"


def script(folder: Path, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """The console script, with the user's folder first on Python's path."""
    return subprocess.run(
        [sys.executable, "-c", f"{first}{SCRIPT}", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": f"{folder}:{PROJECT}", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", ["--help", "presets", "run --help"])
def test_the_script_runs_whatever_packages_the_user_has(tmp_path, arguments):
    for name in PACKAGES:
        package(tmp_path, name)
    done = script(tmp_path, *arguments.split())
    assert done.returncode == 0, done.stderr
    assert "paper_simclr" in done.stdout if arguments == "presets" else "Usage: hares" in done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_the_script_runs_beside_a_package_of_one_name(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')")
    done = script(tmp_path, "run", "--help")
    assert done.returncode == 0 and "--workspace" in done.stdout, done.stderr


def test_what_is_loaded_before_the_script_is_named(tmp_path):
    package(tmp_path, "cli")
    done = script(tmp_path, "--help", first="import cli; ")
    assert done.returncode == 3 and "'cli'" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_encoder_may_bring_packages_of_our_names():
    assert set(PACKAGES) - set(packages_of(["evaluate", "--encoder", "x"])) >= {"models", "pipeline"}
    assert packages_of(["run"]) == packages_of([]) == PACKAGES


def test_processes_of_a_command_find_ours_too(tmp_path):
    package(tmp_path, "models")
    ask = "import os, cli.main; cli.main.main = lambda: print(os.environ['PYTHONPATH']); "
    done = script(tmp_path, "run", first=ask)
    assert done.stdout.split(":")[0] == str(PROJECT), done.stderr
