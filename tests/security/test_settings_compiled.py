"""A stranger's compiled file: its programs are not run, and what is run finds no token."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.commands.run_compiled import _without_secrets
from cli.errors import CommandError
from cli.main import hares
from kits.hand_made import Quiet, step, write_file
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled
from kubeflow.compiled.trust import untrusted_parts

GOLDEN = Path(__file__).resolve().parents[1] / "kubeflow" / "compiled" / "golden"
TOKENS = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_SECRET_ACCESS_KEY",
    "HARES_METADATA",
    "KFP_TOKEN",
    "MY_PASSWORD",
)


@pytest.fixture
def spec() -> dict[str, Any]:
    """What `hares compile` writes."""
    return next(yaml.safe_load_all((GOLDEN / "kubeflow.yaml").read_text()))


def found_in(spec: dict[str, Any], path: Path) -> list[str]:
    path.write_text(yaml.safe_dump(spec))
    return untrusted_parts(read_compiled(path))


def test_what_compile_writes_is_ours(spec: dict[str, Any], tmp_path: Path) -> None:
    assert found_in(spec, tmp_path / "p.yaml") == []


def trainer(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"]["trainer_executor"]["container"]


def parameter(spec: dict[str, Any], step: str, name: str, value: Any) -> None:
    parameters = spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"]
    parameters[name] = {"runtimeValue": {"constant": value}}


def with_custom(spec: dict[str, Any], key: str, value: Any) -> None:
    given = spec["root"]["dag"]["tasks"]["trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]
    given["constant"] = json.dumps({**json.loads(given["constant"]), key: value})


def titled(spec: dict[str, Any], text: str) -> None:
    arguments = trainer(spec)["args"]
    at = next(n for n, word in enumerate(arguments) if "title" in word)
    arguments[at] = arguments[at].replace("title: tfx.", f"title: {text}.", 1)


def replaced(words: list[str], old: str, new: str) -> None:
    words[words.index(old)] = new


ATTACKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a shell": lambda s: trainer(s).update(command=["sh", "-c", "env > /tmp/x"]),
    "another module": lambda s: trainer(s).update(command=["python", "-m", "stranger"]),
    "code": lambda s: trainer(s).update(command=["python", "-c", "import os"]),
    "an option of python's": lambda s: trainer(s).update(command=["python", "-i", "-m", "kubeflow.entrypoint"]),
    "another python": lambda s: trainer(s).update(command=["/tmp/python", "-m", "kubeflow.entrypoint"]),
    "a custom job": lambda s: trainer(s).update(command=["python", "-m", "kubeflow.vertex.custom_job"]),
    "a registry": lambda s: trainer(s).update(command=["python", "-m", "kubeflow.vertex.model_registry"]),
    "no command": lambda s: trainer(s).pop("command"),
    "a driver": lambda s: trainer(s).update(lifecycle={"preCacheCheck": {"command": ["sh"], "args": []}}),
    "an environment": lambda s: trainer(s).update(env=[{"name": "LD_PRELOAD", "value": "/tmp/x.so"}]),
    "another class": lambda s: replaced(trainer(s)["args"], "components.trainer.executor.Executor", "os.Executor"),
    "a class of TFX's": lambda s: replaced(
        trainer(s)["args"], "components.trainer.executor.Executor", "tfx.components.trainer.executor.GenericExecutor"
    ),
    "a class by =": lambda s: trainer(s)["args"].append("--executor_class_path=stranger.Executor"),
    "an input of its own": lambda s: replaced(trainer(s)["args"], "{{$}}", '{"outputs": {}}'),
    "another function": lambda s: parameter(s, "trainer", "run_fn", "stranger.run_fn"),
    "a module's file": lambda s: parameter(s, "trainer", "module_file", "/tmp/stranger.py"),
    "a module's path": lambda s: parameter(s, "transform", "module_path", "stranger@/tmp/wheel"),
    "a function that updates options": lambda s: parameter(s, "transform", "stats_options_updater_fn", "a.b"),
    "a plugin": lambda s: with_custom(s, "plugins", [["/tmp/stranger.py", "0" * 64]]),
    "an object of TFX's": lambda s: with_custom(s, "x", {"__tfx_object_type__": "class", "__module__": "stranger"}),
    "a program for Beam": lambda s: trainer(s)["args"].extend(["--runner=PrismRunner", "--prism_location=/tmp/x"]),
    "a runner": lambda s: trainer(s)["args"].append("--runner=stranger.Runner"),
    "an artifact's class": lambda s: titled(s, "stranger"),
    "a default": lambda s: s["root"]["inputDefinitions"]["parameters"]["baseline"].update(
        defaultValue='{"plugins": [["/tmp/x.py", "0"]]}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_it_would_execute_is_found(
    attack: Callable[[dict[str, Any]], Any], spec: dict[str, Any], tmp_path: Path
) -> None:
    attack(spec)
    assert found_in(copy.deepcopy(spec), tmp_path / "p.yaml")


def test_a_vertex_file_speaks_to_vertex_with_the_users_account(tmp_path: Path) -> None:
    found = untrusted_parts(read_compiled(GOLDEN / "vertex.json"))
    assert [line for line in found if "step trainer" in line and "kubeflow.vertex.custom_job" in line]
    assert [line for line in found if "step pusher" in line and "kubeflow.vertex.model_registry" in line]
    assert [line for line in found if "DataflowRunner" in line]


def test_flags_that_only_tune_are_data(spec: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tfx")
    trainer(spec)["args"].append("--direct_num_workers=4")
    assert found_in(spec, tmp_path / "p.yaml") == []


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKENS:
        monkeypatch.setenv(name, "a secret")


def test_the_command_runs_nothing_of_a_strangers_file(tokens: None, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = write_file(
        tmp_path / "p.yaml", {"one": step(f"open({str(mark)!r}, 'w').write(str(dict(os.environ))); say()")}
    )
    words = ["run-compiled", str(path), "--folder", str(tmp_path / "run")]
    done = CliRunner().invoke(hares, words)
    assert (
        isinstance(done.exception, CommandError)
        and done.exception.code == 3
        and "--trust" in str(done.exception)
    )
    assert not mark.exists() and not (tmp_path / "run").exists()
    done = CliRunner().invoke(hares, [*words, "--trust"])
    assert done.exit_code == 0 and "a secret" in mark.read_text()


def test_steps_get_no_token_and_no_folder_of_the_users(
    tokens: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported from the current folder')")
    told = (
        "import importlib.util; write('out', json.dumps([dict(os.environ), os.getcwd(), "
        "importlib.util.find_spec('stranger') is None, sys.stdin.read()])); say()"
    )
    path = write_file(tmp_path / "p.yaml", {"one": step(told)})
    done = run_compiled(read_compiled(path), tmp_path / "run", Quiet(), _without_secrets())
    environment, folder, hidden, read = json.loads(Path(done["one"]["out"][0]["uri"], "data").read_text())
    assert not set(TOKENS) & set(environment) and "a secret" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    assert hidden and read == "" and folder == str(tmp_path / "run/one/attempt-1")
    assert "stranger" not in sys.modules
