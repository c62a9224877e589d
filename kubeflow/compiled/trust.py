"""Whether a compiled file runs only our own steps, so that it can be run here without `--trust`.

A compiled file names programs, classes and modules: running a stranger's file runs the stranger's programs, with the
tokens in the environment. What `hares compile` writes always has one form: our entry point with one of our executors,
two functions by name, and data. This module finds everything else, without importing any of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeflow.compiled.executor_input import ACCELERATOR_FLAG
from kubeflow.compiled.file import CompiledPipeline, CompiledStep

_VOLUME_IMPORT = ["python", "-m", "kubeflow.kfp.volume_import"]
_COMMANDS = (
    ["python", "-m", "kubeflow.entrypoint"],
    _VOLUME_IMPORT,
)
_EXECUTOR = re.compile(r"components(\.[a-z_]+)+\.[A-Za-z]*Executor")
_CLASS, _INPUT, _SPEC = (
    "--executor_class_path",
    "--json_serialized_invocation_args",
    "--json_serialized_inputs_spec_args",
)
_CONTAINER = {"image", "command", "args", "resources"}
# Parameters of TFX's components that name code. The two functions are ours; files of modules are never given.
_CODE = re.compile(r".*_fn|module_(file|path)|.*updater.*|.*executor.*|.*class.*")
_FUNCTIONS = {
    "run_fn": "pipeline.entry_points.training.run_fn",
    "preprocessing_fn": "pipeline.entry_points.preprocessing.preprocessing_fn",
}
_NO_CODE = ("", "null", None)
_TITLE = re.compile(r"title\"?:\s*\\?\"?([^\s\"\\]+)")
_TITLES = ("tfx.", "components.", "system.")
_TFX_OBJECT = "__tfx_object_type__"  # an object with this key in TFX's JSON names a module to import


def untrusted_parts(pipeline: CompiledPipeline) -> list[str]:
    """What in a file `hares compile` does not write, or what calls a cloud: one line each, [] if all is ours."""
    found = [line for step in pipeline.steps for line in _of_step(step)]
    found += [
        f"parameter {name}: {line}"
        for name, value in pipeline.parameters.items()
        for line in _of_value(value)
    ]
    return found


def _of_step(step: CompiledStep) -> Iterator[str]:
    container = step.container
    lines: list[str] = []
    if container is not None:
        command = list(container.get("command", []))
        if command not in _COMMANDS:
            lines.append(f"it runs {' '.join(map(str, command))[:80]!r}")
        else:
            # The first argument of a volume import is data: the properties of what it copies.
            lines += _of_arguments(list(container.get("args", []))[command == _VOLUME_IMPORT :])
        lines += [f"it sets {name}" for name in sorted(set(container) - _CONTAINER)]
    for name, given in step.task.get("inputs", {}).get("parameters", {}).items():
        value = given.get("runtimeValue", {}).get("constant") if isinstance(given, Mapping) else given
        if _CODE.fullmatch(name) and value not in _NO_CODE and value != _FUNCTIONS.get(name):
            lines.append(f"its parameter {name} names code: {str(value)[:80]!r}")
        lines += [f"its parameter {name} {line}" for line in _of_value(value)]
    for text in _texts([step.component, step.executor]):
        titles = [title for title in _TITLE.findall(text) if not title.startswith(_TITLES)]
        lines += [f"it has an artifact of the class {title[:80]!r}" for title in titles]
    return (f"step {step.name}: {line}" for line in lines)


def _of_arguments(arguments: list[str]) -> Iterator[str]:
    """Unsafe arguments of our entry point: another class, or flags that make Beam run something."""
    flags = []
    words = iter(arguments)
    for word in words:
        name, sign, value = str(word).partition("=")
        if name in (_CLASS, _INPUT, _SPEC):
            value = value if sign else str(next(words, ""))
            if name == _CLASS and not _EXECUTOR.fullmatch(value):
                yield f"it runs the class {value[:80]!r}"
            if name == _INPUT and value != "{{$}}":
                yield "it does not use the executor input that it is given"
        elif name != ACCELERATOR_FLAG:
            flags.append(str(word))
    if flags:
        # Imported here: it takes seconds, and most files have no flags.
        from pipeline.beam_args import checked_beam_args
        from pipeline.settings import SettingError

        try:
            checked_beam_args(flags, from_file=flags)
        except SettingError as error:
            yield str(error)


def _of_value(value: Any) -> Iterator[str]:
    """What in a parameter's value would be executed: a plugin, or an object that TFX's JSON would import."""
    if isinstance(value, str):
        if _TFX_OBJECT in value:
            yield "holds an object to import"
        elif value[:1] in ("{", "["):
            try:
                yield from _of_value(json.loads(value))
            except ValueError:
                return
    elif isinstance(value, Mapping):
        if _TFX_OBJECT in value:
            yield "holds an object to import"
        if value.get("plugins"):
            yield f"names plugins: {str(value['plugins'])[:80]}"
        for inner in value.values():
            yield from _of_value(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _of_value(inner)


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain data; a value of `schemaTitle` as "title: VALUE"."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "schemaTitle":
                yield f"title: {inner}"
            else:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
