"""What comes from elsewhere is data: nothing of ours unpickles or evaluates it, and settings hold no code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.settings import SettingError, parse_assignments

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds")
SOURCES = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
UNPICKLERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
# `exec` of a user's own plugin is what --plugin is for; its documentation says so first.
MAY_EXECUTE = {"hares/plugin.py"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What in a module could turn bytes into code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in UNPICKLERS
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLERS:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            yield from _dangerous_call(node)


def _dangerous_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if given.get("allow_pickle", "False") != "False":
        yield f"{name}(allow_pickle={given['allow_pickle']})"
    if name in ("eval", "exec"):
        yield name
    if name.startswith("yaml.") and name.split(".")[1] in ("load", "load_all", "unsafe_load", "full_load"):
        yield name
    if name.split(".")[-2:] == ["torch", "load"] and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if given.get("safe_mode") == "False":
        yield f"{name}(safe_mode=False)"
    if given.get("shell") == "True":
        yield f"{name}(shell=True)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    found = set(dangers(ast.parse(path.read_bytes())))
    if str(path.relative_to(PROJECT)) in MAY_EXECUTE:
        found -= {"exec"}
    assert not found, f"{path}: {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import dill as d", "np.load(p, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)", "torch.load(path)", "eval('1')",
        "torch.load(path, weights_only=False)", "keras.models.load_model(p, safe_mode=False)",
        "subprocess.run(c, shell=True)",
    ],
)  # fmt: skip
def test_the_scan_would_see_it(source: str) -> None:
    assert list(dangers(ast.parse(source)))


CODE = "!!python/object/apply:os.system ['touch {mark}']"


def test_a_settings_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for name, text in (
        ("tag", f"preset: demo\nname: {CODE.format(mark=mark)}\n"),
        ("module", "preset: demo\nname: !!python/name:os.system\n"),
        ("object", f"{CODE.format(mark=mark)}\n"),
    ):
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        with pytest.raises(SettingError):
            load_config(str(file))
    with pytest.raises(SettingError):
        load_config("demo", [f"name={CODE.format(mark=mark)}"])
    assert not mark.exists()


def test_a_setting_is_no_expression() -> None:
    assert parse_assignments(["name=1+1"]) == {"name": "1+1"}
    assert parse_assignments(["name=${HOME}"]) == {"name": "${HOME}"}


def test_the_longest_clip_is_a_setting() -> None:
    assert load_config("demo", ["longest_clip=120"]).longest_clip == 120
    with pytest.raises(SettingError, match="longest_clip"):
        load_config("demo", ["longest_clip=0"])
