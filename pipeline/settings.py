"""Settings from presets, YAML files and `--set key=value`, checked against the dataclasses they fill.

An error names the setting, the value it got and what it accepts, so that a wrong one costs seconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import types
import typing
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
# Control characters, bytes that are not UTF-8, line and paragraph ends.
_UNRECORDED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_PATTERN = "*?[]\\"
# What ML Metadata, Kubeflow Pipelines with Argo, and Vertex all take; Vertex alone wants the letter in front.
_PIPELINE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A password in an address, `key=value` or `"key": "value"` of a secret, and the forms that well-known keys have.
_SECRET = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@"
    r"|(secret|token|passw(or)?d|(access|account|api)_?key|sig|signature)[\"']?\s*[=:]\s*[\"']?[^\s\"'&;,{}\[\]]+"
    r"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bya29\.\w+|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)


class SettingError(ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


def override(config: T, values: Mapping[str, Any], where: str = "") -> T:
    """`config`, a frozen dataclass, with the (nested) values of a mapping in place of its own.

    Args:
        config: dataclass instance whose fields give names and types.
        values: field name to value; for a field that is itself a dataclass or a mapping, to a mapping, whose
            values take the place of those there.
        where: dotted name of `config` in the whole, for the messages.

    Raises:
        SettingError: an unknown field or a value of the wrong type.
    """
    hints = typing.get_type_hints(type(config))
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{where}{name}"
        if name not in names:
            close = difflib.get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {where}{close[0]!s}?" if close else "."
            raise SettingError(f"unknown setting {dotted}{hint} There are: {', '.join(names) or 'none'}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, Mapping):
                raise SettingError(f"{dotted}: got {value!r}; it is a group of settings, not one value")
            changes[name] = override(current, value, f"{dotted}.")
        elif isinstance(current, Mapping):
            if not isinstance(value, Mapping):
                raise SettingError(f"{dotted}: got {value!r}; accepted are settings by name, as in {{a: 1}}")
            changes[name] = {**current, **value}
        else:
            changes[name] = _convert(value, hints[name], dotted)
    try:
        return dataclasses.replace(config, **changes)  # type: ignore[type-var]
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"{where or 'settings: '}{error}") from error


def read_yaml(
    path: Path, where: str, expected: str = "settings as `key: value` lines", hint: str = ""
) -> dict[str, Any]:
    """A YAML file of `key: value` lines as plain data, for `override`.

    Args:
        path: the file.
        where: begins the message: the file, or the option and the file.
        expected: what the file should hold.
        hint: ends the message about a file that cannot be read.

    Raises:
        SettingError: it cannot be read, is not YAML, or holds something else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{where}: {error.strerror}{hint}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{where}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f"{where}: expected {expected}")
    return values


def check_pipeline_name(name: str) -> None:
    """Raises SettingError where a cluster would refuse the name of a pipeline."""
    if not _PIPELINE_NAME.fullmatch(name):
        raise SettingError(
            f"name: got {name!r}; accepted are up to 63 of a-z, 0-9 and -, with a letter in front and a letter or "
            "digit at the end: clusters name runs and pods after it"
        )


def check_path(what: str, path: str | os.PathLike[str], below_it_patterns: bool = False) -> None:
    """Checks that a path can be recorded: text in UTF-8, on one line.

    Args:
        what: the option or setting, for the message.
        path: the path.
        below_it_patterns: whether TFX looks for files below it by patterns, in which `[1]` is a choice of characters:
            it would find nothing, or with `*` the files of other folders.

    Raises:
        SettingError: a character cannot be in it.
    """
    text = os.fspath(path)
    refused = [
        c for c in text if unicodedata.category(c) in _UNRECORDED or (below_it_patterns and c in _PATTERN)
    ]
    if refused:
        accepted = f"no line break and none of {' '.join(_PATTERN)}" if below_it_patterns else "no line break"
        raise SettingError(
            f"{what}: got {text!r}, with {refused[0]!r} in it; accepted are paths in UTF-8 with {accepted}. Rename the "
            "folder, or give another one"
        )


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["training.steps=100"]` as the nested mapping `{"training": {"steps": 100}}`.

    Values are read as YAML, so that numbers, lists and null need no quoting rules of their own.

    Raises:
        SettingError: no `=`, or a value that is not YAML.
    """
    nested: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key.strip():
            raise SettingError(f"--set {assignment!r}: expected key=value, as in training.steps=100")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingError(f"--set {key}: {text!r} cannot be read as a value: {error}") from error
        level = nested
        *groups, leaf = key.strip().split(".")
        for group in groups:
            level = level.setdefault(group, {})
            if not isinstance(level, dict):
                raise SettingError(f"--set {key}: {group} is set both to a value and to a group")
        level[leaf] = value
    return nested


def checked_name(what: str, name: Any) -> str:
    """A name that may become a folder: of a study or a cell.

    Raises:
        SettingError: it is not 1 to 63 letters, digits, ".", "_" and "-", or begins with one of the last three.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingError(
            f"{what}: got {str(name)[:80]!r}; accepted are 1 to 63 letters, digits, '.', '_' and '-', with a letter or "
            "a digit first"
        )
    return name


def refuse_secrets(values: Any, where: str = "") -> None:
    """Looks for secrets in settings: all of them are recorded in the metadata store and shown on its pages.

    Args:
        values: settings as plain data.
        where: dotted name of `values` in the whole, for the message.

    Raises:
        SettingError: a text holds a secret; the message names the setting and leaves the text out.
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            refuse_secrets(value, f"{where}.{key}" if where else str(key))
    elif isinstance(values, list | tuple):
        for value in values:
            refuse_secrets(value, where)
    elif isinstance(values, str) and _SECRET.search(values):
        raise SettingError(
            f"{where}: it holds a password or a key, and settings are recorded with the run; leave it out and give it "
            "in the environment of the program that needs it"
        )


def as_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain data, ready for JSON or YAML."""
    plain = _plain(dataclasses.asdict(config))
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as type `hint`, or a SettingError that says what is accepted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _convert(value, inner, name)
    if origin is typing.Literal:
        if value not in arguments:
            raise SettingError(f"{name}: got {value!r}; accepted are {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise SettingError(f"{name}: got {value!r}; accepted is a list, as in [a, b]")
        inner_hints = arguments[:1] * len(value) if arguments[-1:] == (...,) else arguments
        if len(inner_hints) != len(value):
            raise SettingError(f"{name}: got {len(value)} values; accepted are {len(inner_hints)}")
        return tuple(
            _convert(v, h, f"{name}[{i}]") for i, (v, h) in enumerate(zip(value, inner_hints, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text.
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SettingError(f"{name}: got {value!r} ({type(value).__name__}); accepted is {hint.__name__}")
    return value
