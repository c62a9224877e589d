"""Reads the inputs of `hares doctor`, runs its checks and prints the findings."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click
import yaml

from cli.errors import CommandError, ExitCode
from cli.quiet import logging_to
from cli.terminal import say
from hares.version_lines import PROJECT, find_lock, version_lines
from kubeflow.doctor import all_checks, diagnose
from kubeflow.doctor.finding import Platform, Severity, Subject


def examine(
    target: str,
    cluster: Path | None,
    name: str,
    assignments: Sequence[str],
    compiled: Path | None,
    workspace: Path | None,
    metadata: str,
    as_json: bool,
) -> None:
    """Checks a set-up and prints the findings.

    Raises:
        CommandError: a file that cannot be read, a wrong setting, or a fatal finding.
    """
    (kind,) = (known for known in get_args(Platform) if known == target)
    try:
        lock = find_lock()
    except (LookupError, FileNotFoundError):
        lock = None
    given = _read(cluster) if cluster else {}
    subject = Subject(
        kind,
        workspace or Path(str(given.get("workspace") or "workspace")),
        metadata,
        lock=lock,
        project=PROJECT if any((PROJECT / line.lock).is_file() for line in version_lines()) else None,
        cluster=given,
        cluster_file=str(cluster or ""),
        compiled=_pipeline_spec(_read(compiled)) if compiled else {},
        compiled_file=str(compiled or ""),
        config=_settings(name, assignments) if name else {},
    )
    with logging_to(Path(os.devnull)):
        found = diagnose(subject)
    fatal = sum(finding.severity is Severity.FATAL for finding in found)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    else:
        for finding in found:
            say(
                f"{finding.severity.value}: {finding.where}: {finding.cause}", f"    remedy: {finding.remedy}"
            )
        click.echo(f"{len(all_checks())} checks, {len(found)} findings, {fatal} of them fatal")
    if fatal:
        raise CommandError(f"{fatal} of the findings would make the run fail", ExitCode.SETTINGS)


def _settings(name: str, assignments: Sequence[str]) -> dict[str, Any]:
    with logging_to(Path(os.devnull)):
        from pipeline.config import load_config
        from pipeline.settings import SettingError, as_dict

    try:
        return as_dict(load_config(name, assignments))
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error


def _read(path: Path) -> dict[str, Any]:
    """The first document of a YAML or JSON file."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text.lstrip().startswith("{") else next(yaml.safe_load_all(text), None)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.SETTINGS) from error
    except (ValueError, yaml.YAMLError) as error:
        raise CommandError(f"{path}: neither JSON nor YAML: {error}", ExitCode.SETTINGS) from error
    if not isinstance(content, dict):
        raise CommandError(f"{path}: expected `key: value` at its top", ExitCode.SETTINGS)
    return content


def _pipeline_spec(content: dict[str, Any]) -> dict[str, Any]:
    """The pipeline in a Vertex job; Kubeflow's file is the pipeline itself."""
    spec = content.get("pipelineSpec", content)
    return spec if isinstance(spec, dict) else {}
