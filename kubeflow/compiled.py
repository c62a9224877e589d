"""A compiled pipeline read back from its file alone: steps in the order of their dependence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml


class CompiledFileError(ValueError):
    """Not a compiled pipeline that can be run here; the message names the file and what is wrong."""


@dataclass(frozen=True)
class CompiledStep:
    """One task of the compiled graph.

    Attributes:
        name: its id.
        task: the task: where inputs come from, dependencies, retry policy.
        component: its input and output definitions.
        executor: its container, or its importer.
    """

    name: str
    task: Mapping[str, Any]
    component: Mapping[str, Any]
    executor: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any] | None:
        """Image, command and arguments; None for an importer."""
        return self.executor.get("container")

    @property
    def upstream(self) -> set[str]:
        """Steps that come before it: those it names, and those whose outputs it takes."""
        sources = self.task.get("inputs", {}).get("artifacts", {}).values()
        producers = {source["taskOutputArtifact"]["producerTask"] for source in sources}
        return producers | set(self.task.get("dependentTasks", []))

    @property
    def retries(self) -> int:
        """How often a failed step is tried again."""
        return int(self.task.get("retryPolicy", {}).get("maxRetryCount", 0))


@dataclass(frozen=True)
class CompiledPipeline:
    """A file: the pipeline's name, its steps, and values of its parameters."""

    name: str
    steps: tuple[CompiledStep, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def read_compiled(path: Path) -> CompiledPipeline:
    """Reads a Vertex PipelineJob (JSON) or Kubeflow pipeline (YAML).

    Raises:
        CompiledFileError: it is not one, or has a step that no container and no importer does.
    """
    try:
        text = path.read_text(encoding="utf-8")
        documents = [json.loads(text)] if text.lstrip().startswith("{") else list(yaml.safe_load_all(text))
    except OSError as error:
        raise CompiledFileError(f"{path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise CompiledFileError(f"{path}: neither JSON nor YAML: {error}") from error
    job = documents[0] if documents and isinstance(documents[0], dict) else {}
    spec = job.get("pipelineSpec", job)
    try:
        executors = spec["deploymentSpec"]["executors"]
        steps = {
            name: _step(path, name, task, spec["components"], executors)
            for name, task in spec["root"]["dag"]["tasks"].items()
        }
        name = spec["pipelineInfo"]["name"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CompiledFileError(
            f"{path}: not a compiled pipeline: {error} is missing; make one with `hares compile`"
        ) from error
    order = {step.name: sorted(step.upstream) for step in steps.values()}
    unknown = sorted({before for befores in order.values() for before in befores} - set(steps))
    if unknown:
        raise CompiledFileError(f"{path}: steps wait for {', '.join(unknown)}, which are not in the file")
    try:
        names = list(TopologicalSorter(dict(sorted(order.items()))).static_order())
    except CycleError as error:
        raise CompiledFileError(f"{path}: its steps wait for one another: {error.args[1]}") from error
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = parameter_defaults(spec) | job.get("runtimeConfig", {}).get("parameterValues", {})
    missing = sorted(set(defined) - set(parameters))
    if missing:
        raise CompiledFileError(f"{path}: parameters {', '.join(missing)} have neither a value nor a default")
    return CompiledPipeline(name, tuple(steps[step] for step in names), parameters)


def parameter_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Name to default of the pipeline's own parameters; those without one are left out."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {key: entry["defaultValue"] for key, entry in defined.items() if "defaultValue" in entry}


def _step(
    path: Path,
    name: str,
    task: Mapping[str, Any],
    components: Mapping[str, Any],
    executors: Mapping[str, Any],
) -> CompiledStep:
    component = components[task["componentRef"]["name"]]
    executor = executors.get(component.get("executorLabel"))
    if executor is None or not ({"container", "importer"} & set(executor)):
        kinds = ", ".join(executor or ["none"])
        raise CompiledFileError(
            f"{path}: step {name} has executor {kinds}; containers and importers can be run"
        )
    return CompiledStep(name, task, component, executor)
