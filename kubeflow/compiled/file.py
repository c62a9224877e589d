"""Reads and writes compiled pipelines."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from kubeflow.kubernetes_names import ARGO_TASK_NAME

SCHEMA = "2.1.0"


class CompiledFileError(ValueError):
    """The file is no compiled pipeline, or cannot be run here; the message names the file and the cause."""


@dataclass(frozen=True)
class CompiledStep:
    """One task of the compiled graph.

    Attributes:
        name: its id in the pipeline, as "embed_esc50" ("embed-esc50" in a file for Kubeflow).
        task: where inputs come from, dependencies, retry policy.
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
        """Steps that run before it: those it names, and those whose outputs it takes."""
        inputs = self.task.get("inputs", {})
        sources = [*inputs.get("artifacts", {}).values(), *inputs.get("parameters", {}).values()]
        outputs = [s.get("taskOutputArtifact", s.get("taskOutputParameter")) for s in sources]
        producers = {output["producerTask"] for output in outputs if output}
        return producers | set(self.task.get("dependentTasks", []))

    @property
    def retries(self) -> int:
        """How often a failed step is repeated."""
        return int(self.task.get("retryPolicy", {}).get("maxRetryCount", 0))

    def retried_by_argo(self, attempts: int, seconds: float) -> bool:
        """Whether Argo starts another attempt on Kubeflow.

        The wait before it must end within `backoffMaxDuration` of the first attempt's start (argo-workflows 3.5.14 and
        4.0.5, workflow/controller/operator.go, processNodeRetries). Kubeflow 2.14 to 2.17 take 0 where it is missing.

        Args:
            attempts: that failed so far.
            seconds: since the first one's start.
        """
        policy = self.task.get("retryPolicy", {})
        wait = _seconds(policy.get("backoffDuration")) * (policy.get("backoffFactor") or 1) ** (attempts - 1)
        return attempts <= self.retries and seconds + wait <= _seconds(policy.get("backoffMaxDuration"))


@dataclass(frozen=True)
class CompiledPipeline:
    """The content of a compiled file.

    Attributes:
        name: of the pipeline.
        steps: in an order in which they can run.
        parameters: name to value.
        for_vertex: whether the file is for Vertex. There a retried step gets the addresses of the attempt before, and
            finds what that one wrote; Kubeflow's pods start with empty folders.
    """

    name: str
    steps: tuple[CompiledStep, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    for_vertex: bool = False


def read_compiled(path: Path) -> CompiledPipeline:
    """Reads a Vertex PipelineJob (JSON) or Kubeflow pipeline (YAML).

    Raises:
        CompiledFileError: it is neither, has a step that is neither a container nor an importer, or, for Kubeflow,
            a step whose name Argo refuses.
    """
    documents = read_documents(path)
    job = documents[0] if documents and isinstance(documents[0], dict) else {}
    try:
        if "pipelineSpec" not in job:
            check_argo_names(path, job["root"]["dag"]["tasks"])
            job = with_node_names(job)
        spec = job.get("pipelineSpec", job)
        executors = spec["deploymentSpec"]["executors"]
        steps = {
            name: _step(path, name, task, spec["components"], executors)
            for name, task in spec["root"]["dag"]["tasks"].items()
        }
        if "pipelineSpec" not in job:
            _check_shared_containers(path, steps.values())
        name, schema = spec["pipelineInfo"]["name"], spec["schemaVersion"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CompiledFileError(
            f"{path}: not a compiled pipeline: {error} is missing; make one with `hares compile`"
        ) from error
    if schema != SCHEMA:
        raise CompiledFileError(
            f"{path}: its schema is {schema}, and `hares compile` writes {SCHEMA}; compile again"
        )
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
    return CompiledPipeline(name, tuple(steps[step] for step in names), parameters, "pipelineSpec" in job)


def pipeline_name(path: Path) -> str | None:
    """The pipeline's name in a compiled file; None if it is no such file, which is reported when it is run."""
    try:
        job = read_documents(path)[0]
        return str(job.get("pipelineSpec", job)["pipelineInfo"]["name"])
    except (CompiledFileError, IndexError, KeyError, TypeError, AttributeError):
        return None


def read_documents(path: Path) -> list[Any]:
    """The documents in the file: one of JSON, or those of YAML.

    Raises:
        CompiledFileError: it cannot be read, or is neither JSON nor YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(text)] if text.lstrip().startswith("{") else list(yaml.safe_load_all(text))
    except OSError as error:
        raise CompiledFileError(f"{path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise CompiledFileError(f"{path}: neither JSON nor YAML: {error}") from error


def with_argo_names(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline's specification with "-" for "_" in the names of tasks, as Argo requires."""
    done = copy.deepcopy(dict(spec))
    rename_tasks(done, {name: name.replace("_", "-") for name in done["root"]["dag"]["tasks"]})
    return done


def with_node_names(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `with_argo_names`; no node's id in our pipeline has a "-"."""
    done = copy.deepcopy(dict(spec))
    rename_tasks(done, {name: name.replace("-", "_") for name in done["root"]["dag"]["tasks"]})
    return done


def check_argo_names(path: Path, tasks: Mapping[str, Any]) -> None:
    """Raises CompiledFileError if Argo refuses the name of a task."""
    bad = [name for name in tasks if not ARGO_TASK_NAME.fullmatch(name)]
    if bad:
        raise CompiledFileError(
            f"{path}: Argo refuses the step names {', '.join(bad)}; it takes letters, digits and -. Compile the file "
            "again with `hares compile --target kubeflow`"
        )


def rename_tasks(spec: dict[str, Any], names: Mapping[str, str]) -> None:
    """Renames tasks in place, also where other tasks refer to them; components keep their names."""
    tasks = spec["root"]["dag"]["tasks"]
    for old in list(tasks):
        tasks[names.get(old, old)] = tasks.pop(old)
    for name, task in tasks.items():
        task["taskInfo"] = {**task.get("taskInfo", {}), "name": name}
        if "dependentTasks" in task:
            task["dependentTasks"] = sorted(names.get(before, before) for before in task["dependentTasks"])
        inputs = task.get("inputs", {})
        for given in (*inputs.get("artifacts", {}).values(), *inputs.get("parameters", {}).values()):
            output = given.get("taskOutputArtifact") or given.get("taskOutputParameter")
            if output:
                output["producerTask"] = names.get(output["producerTask"], output["producerTask"])


def compiled_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """A file's text: JSON for Vertex's job, YAML for Kubeflow's documents. Equal content gives equal bytes."""
    if "pipelineSpec" in documents[0]:
        return json.dumps(documents[0], indent=1, sort_keys=True) + "\n"
    text: str = yaml.dump_all(documents, Dumper=_Blocks, sort_keys=True, width=1 << 20)
    return text


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, for readable files and diffs."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _represent_text)


def parameter_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the pipeline's parameters, by name; parameters without one are left out."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {key: entry["defaultValue"] for key, entry in defined.items() if "defaultValue" in entry}


def _seconds(duration: str | None) -> float:
    """Seconds of a duration as protobuf writes it in JSON, as in "30s"."""
    return float(duration.removesuffix("s")) if duration else 0.0


def _check_shared_containers(path: Path, steps: Iterable[CompiledStep]) -> None:
    """Refuses steps with one container and different definitions.

    Kubeflow keeps a component's definitions under the digest of its container, so both would get those of one of them
    (kubeflow/pipelines 2.2 to 2.17, backend/src/v2/compiler/argocompiler/argo.go, hashComponentContainer).
    """
    first: dict[str, CompiledStep] = {}
    for step in steps:
        if step.container is None:
            continue
        other = first.setdefault(json.dumps(step.container, sort_keys=True), step)
        if {**other.component, "executorLabel": ""} != {**step.component, "executorLabel": ""}:
            raise CompiledFileError(
                f"{path}: steps {other.name} and {step.name} have equal containers and different inputs or outputs: "
                "Kubeflow would give both those of one"
            )


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
            f"{path}: step {name} has executor {kinds}; only containers and importers can be run"
        )
    return CompiledStep(name, task, component, executor)
