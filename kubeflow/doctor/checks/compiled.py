"""Artifact types in the sources, and the compiled pipeline.

The sources show what the compiler would refuse, before it is called. The file shows what the cluster would refuse or
never execute, whoever compiled it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from kubeflow.compiled.executor_input import FOLDERS
from kubeflow.doctor.finding import Finding, Severity, Subject
from kubeflow.kubernetes_names import ARGO_TASK_NAME

# What the Kubeflow Pipelines compiler accepts as a type's name.
_TYPE_NAME = re.compile(r"^[a-z][a-z0-9-_]{2,20}[.][A-Z][a-zA-Z0-9-_]{2,49}$")


def check_artifact_types(subject: Subject) -> Iterator[Finding]:
    """Artifact types have names that clusters accept, and declare no properties."""
    seen: set[str] = set()
    for where, schema in _schemas(subject.compiled, ""):
        title = str(schema.get("schemaTitle") or "")
        properties: Mapping[str, Any] = {}
        if "instanceSchema" in schema:
            read = yaml.safe_load(str(schema["instanceSchema"]))
            if isinstance(read, dict):
                title, properties = str(read.get("title", title)), read.get("properties") or {}
        if title in seen:
            continue
        seen.add(title)
        where = f"{subject.compiled_file}: {where}"
        if not _TYPE_NAME.match(title):
            yield Finding("artifact_type", Severity.FATAL, where, *_bad_name(title))
        elif properties and not title.startswith(("tfx.", "system.", "google.")):
            yield Finding("artifact_type", Severity.FATAL, where, *_declared(title))


def check_own_types(subject: Subject) -> Iterator[Finding]:
    """The same for the artifact types in our sources, which are not imported."""
    for path in sorted(subject.components.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            values = {
                ast.unparse(target): statement.value
                for statement in node.body
                if isinstance(statement, ast.Assign)
                for target in statement.targets
            }
            name = values.get("TYPE_NAME")
            if not isinstance(name, ast.Constant):
                continue
            where = f"{path}: class {node.name}"
            if not _TYPE_NAME.match(str(name.value)):
                yield Finding("artifact_type", Severity.FATAL, where, *_bad_name(str(name.value)))
            elif "PROPERTIES" in values and ast.unparse(values["PROPERTIES"]) not in ("{}", "None"):
                yield Finding("artifact_type", Severity.FATAL, where, *_declared(str(name.value)))


def check_resolvers(subject: Subject) -> Iterator[Finding]:
    """No step is a resolver, which open-source Kubeflow does not execute."""
    for label, executor in subject.compiled.get("deploymentSpec", {}).get("executors", {}).items():
        if "resolver" in executor:
            yield Finding(
                "resolver", Severity.FATAL, f"{subject.compiled_file}: {label}",
                "it is a resolver, which open-source Kubeflow does not execute",
                "compile again with `hares compile`, which resolves spans, baseline and warm start before submission",
            )  # fmt: skip


def check_task_names(subject: Subject) -> Iterator[Finding]:
    """On Kubeflow, Argo accepts the names of all steps."""
    if subject.target != "kubeflow":
        return
    for name in subject.compiled.get("root", {}).get("dag", {}).get("tasks", {}):
        if not ARGO_TASK_NAME.fullmatch(name):
            yield Finding(
                "task_name", Severity.FATAL, f"{subject.compiled_file}: {name}",
                "Argo refuses the name of the step; accepted are letters, digits and -",
                "compile the file again with `hares compile --target kubeflow`",
            )  # fmt: skip


def check_retries(subject: Subject) -> Iterator[Finding]:
    """On Kubeflow, a step that may be retried says for how long; without it Kubeflow 2.14 and later never retry it."""
    if subject.target != "kubeflow":
        return
    for name, task in subject.compiled.get("root", {}).get("dag", {}).get("tasks", {}).items():
        policy = task.get("retryPolicy", {})
        if policy.get("maxRetryCount") and "backoffMaxDuration" not in policy:
            yield Finding(
                "retries", Severity.WARNING, f"{subject.compiled_file}: {name}",
                "it has no backoffMaxDuration, so Kubeflow 2.14 and later do not retry it",
                "compile the file again with `hares compile --target kubeflow`",
            )  # fmt: skip


def check_importers(subject: Subject) -> Iterator[Finding]:
    """On Kubeflow, importers have addresses in buckets."""
    if subject.target != "kubeflow":
        return
    for label, executor in subject.compiled.get("deploymentSpec", {}).get("executors", {}).items():
        uri = executor.get("importer", {}).get("artifactUri", {}).get("constant", "")
        if uri and not uri.startswith(tuple(FOLDERS)):
            yield Finding(
                "importer", Severity.FATAL, f"{subject.compiled_file}: {label}",
                f"Kubeflow imports only from gs://, s3:// and minio://, and this is {uri}",
                "compile the file again with `hares compile --target kubeflow`, which copies from a volume",
            )  # fmt: skip


def check_compiled_file(subject: Subject) -> Iterator[Finding]:
    """The given file is a compiled pipeline."""
    if subject.compiled_file and not {"deploymentSpec", "components", "root"} <= set(subject.compiled):
        yield Finding(
            "compiled", Severity.FATAL, subject.compiled_file, "it is not a compiled pipeline",
            "make one with `hares compile --target ... --output FILE`",
        )  # fmt: skip


def _schemas(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every `artifactType` and `typeSchema` below a node, with the path of names to it."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if key in ("artifactType", "typeSchema") and isinstance(value, Mapping):
            yield where, value
        else:
            yield from _schemas(value, f"{where}.{key}" if where else str(key))


def _bad_name(title: str) -> tuple[str, str]:
    return (
        f"the type {title!r} has a name that clusters refuse (accepted is {_TYPE_NAME.pattern})",
        "give the artifact class a TYPE_NAME of that form; it is also the import path",
    )


def _declared(title: str) -> tuple[str, str]:
    return (
        f"the type {title} declares properties, which break the compiler",
        "write them as custom properties and drop PROPERTIES from the artifact class",
    )
