"""Fills an ML Metadata store as Kubeflow's driver and launcher do, call by call.

After kubeflow/pipelines at 2.17: backend/src/v2/metadata/client.go (the lines are named below), driver/root_dag.go,
driver/container.go, component/launcher_v2.go and component/importer_launcher.go.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

SESSION = '{"Provider":"minio","Params":{"fromEnv":"false","secretName":"mlpipeline-minio-artifact"}}'
PUSHED = "/mnt/data/hares/pushed/7"
_COUNTER = itertools.count(1)


@dataclass
class KfpRun:
    """One run, as its pods record it."""

    store: MetadataStore
    run: str
    pipeline: str = "hares"
    root: str = "minio://mlpipeline/hares"
    artifacts: dict[str, pb.Artifact] = field(default_factory=dict)
    graph: int = 0

    def begin(self, **parameters: Any) -> KfpRun:
        """The root driver: contexts (GetPipeline, 410-470) and the graph's execution, which stays RUNNING."""
        about = {
            "namespace": "audio",
            "resource_name": "run-resource",
            "pipeline_root": f"{self.root}/{self.pipeline}/{self.run}",
            "store_session_info": SESSION,
        }
        pipeline = self._context("system.Pipeline", self.pipeline, {})
        run = self._context("system.PipelineRun", self.run, about)
        self.store.put_parent_contexts([pb.ParentContext(child_id=run.id, parent_id=pipeline.id)])
        graph = self._execution("system.DAGExecution", "", parameters, {})
        graph.name = f"run/{self.run}"
        self.graph = self._put(graph, [])
        return self

    def step(
        self,
        task: str,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
        state: str = "COMPLETE",
        **parameters: Any,
    ) -> int:
        """A container step: the driver's execution, then what the launcher publishes.

        Args:
            task: its name in the compiled file.
            inputs: the step's name for an artifact to TASK/KEY of what made it.
            outputs: name to the title of the type's schema and the metadata.
            state: "RUNNING" for a pod that was killed, which publishes nothing.
            parameters: of the step.
        """
        pod = {
            "pod_name": "",
            "pod_uid": "",
            "namespace": "",
            "image": "registry/hares:1",
            "cache_fingerprint": "f",
        }
        execution = self._execution("system.ContainerExecution", task, parameters, pod)
        events = [
            (self.artifacts[made], _event(pb.Event.INPUT, name)) for name, made in (inputs or {}).items()
        ]
        # CreateExecution (659-776): the inputs' events hold ids, and the key of a path without an index.
        execution.id = self._put(execution, events)
        pod_name = f"{self.run}-{task}"
        _set(
            execution, {"pod_name": pod_name, "pod_uid": "u", "namespace": "audio"}
        )  # PrePublishExecution (779-794)
        self.store.put_executions([execution])
        if state != "RUNNING":
            self._publish(execution, task, outputs if state != "FAILED" else {}, state)
        return execution.id

    def again(
        self, execution_id: int, task: str, outputs: Mapping[str, tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Argo's retry of the pod: the launcher publishes the same execution once more."""
        (execution,) = self.store.get_executions_by_id([execution_id])
        self._publish(execution, task, outputs, "COMPLETE")

    def cached(self, task: str, made: Sequence[str]) -> None:
        """A step that the driver answers from the cache (container.go, 216-238)."""
        about = {"pod_name": "", "cached_execution_id": "1", "cache_fingerprint": "f"}
        execution = self._execution("system.ContainerExecution", task, {}, about)
        execution.id = self._put(execution, [])
        execution.last_known_state = pb.Execution.CACHED
        outputs = [(self.artifacts[name], _event(pb.Event.OUTPUT, name.rpartition("/")[2])) for name in made]
        self._put(execution, outputs)

    def imports(self, task: str, title: str, uri: str, **metadata: Any) -> None:
        """An importer step (importer_launcher.go, 118-165)."""
        execution = self._execution("system.ImporterExecution", task, None, {})
        execution.custom_properties["display_name"].string_value = ""
        execution.id = self._put(execution, [])
        artifact = self._artifact(title, uri, {**metadata, "store_session_info": '{"Provider":"minio"}'})
        self.artifacts[f"{task}/result"] = artifact
        execution.last_known_state = pb.Execution.COMPLETE
        self._put(execution, [(artifact, _event(pb.Event.OUTPUT, "result"))])
        # Imported anew in each run (`reimport`), so there may be others at this address.
        self.artifacts[f"{task}/result"] = max(self.store.get_artifacts_by_uri(uri), key=lambda a: a.id)

    def _publish(
        self,
        execution: pb.Execution,
        task: str,
        outputs: Mapping[str, tuple[str, Mapping[str, Any]]],
        state: str,
    ) -> None:
        """RecordArtifact (1214-1275) for each output, then PublishExecution (558-612)."""
        salt = f"salt-{next(_COUNTER)}"
        logs = {"executor-logs": ("system.Artifact", {})}
        events = []
        for name, (title, metadata) in {**outputs, **logs}.items():
            uri = f"{self.root}/{self.pipeline}/{self.run}/{task}/{salt}/{name}"
            values = {"display_name": name, **metadata, "store_session_info": SESSION}
            artifact = self._artifact(title, uri, values)
            (artifact.id,) = self.store.put_artifacts([artifact])
            self.artifacts[f"{task}/{name}"] = artifact
            events.append((artifact, _event(pb.Event.OUTPUT, name)))
        execution.last_known_state = pb.Execution.State.Value(state)
        self._put(execution, events)

    def _artifact(self, title: str, uri: str, metadata: Mapping[str, Any]) -> pb.Artifact:
        type_id = self.store.put_artifact_type(
            pb.ArtifactType(name=title)
        )  # SchemaToArtifactType (1199-1211)
        artifact = pb.Artifact(type_id=type_id, uri=uri, state=pb.Artifact.LIVE)
        _set(artifact, metadata)
        return artifact

    def _execution(
        self, kind: str, task: str, parameters: Mapping[str, Any] | None, about: Mapping[str, Any]
    ) -> pb.Execution:
        type_id = self.store.put_execution_type(pb.ExecutionType(name=kind))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.RUNNING)
        _set(execution, {"display_name": task, "task_name": task, **about})
        if self.graph:
            execution.custom_properties["parent_dag_id"].int_value = self.graph
        if parameters is not None:
            execution.custom_properties["inputs"].struct_value.SetInParent()
            execution.custom_properties["inputs"].struct_value.update(dict(parameters))
        return execution

    def _put(self, execution: pb.Execution, events: list[tuple[pb.Artifact, pb.Event]]) -> int:
        contexts = [
            self.store.get_context_by_type_and_name("system.Pipeline", self.pipeline),
            self.store.get_context_by_type_and_name("system.PipelineRun", self.run),
        ]
        return int(self.store.put_execution(execution, events, contexts)[0])

    def _context(self, kind: str, name: str, about: Mapping[str, Any]) -> pb.Context:
        found = self.store.get_context_by_type_and_name(kind, name)
        if found is None:
            context = pb.Context(name=name, type_id=self.store.put_context_type(pb.ContextType(name=kind)))
            _set(context, about)
            self.store.put_contexts([context])
            found = self.store.get_context_by_type_and_name(kind, name)
        return found


def _set(node: Any, values: Mapping[str, Any]) -> None:
    """StructValueToMLMDValue (converter.go, 136-172): numbers are doubles, truths 0 or 1, lists in a structure."""
    for name, value in values.items():
        target = node.custom_properties[name]
        if isinstance(value, bool):
            target.int_value = int(value)
        elif isinstance(value, str):
            target.string_value = value
        elif isinstance(value, int | float):
            target.double_value = float(value)
        else:
            target.struct_value.update({"list" if isinstance(value, list) else "struct": value})


def _event(kind: int, name: str) -> pb.Event:
    """eventPath (540-549): a key, and no index."""
    event = pb.Event(type=kind)
    event.path.steps.add().key = name
    return event


def retraining(
    store: MetadataStore,
    run: str,
    evaluated: bool = True,
    parameters: Mapping[str, Any] = {"run_key": "k"},  # only read
    **blessing: Any,
) -> KfpRun:
    """Ingestion, a trainer whose first pod failed and which starts from an imported model, and an evaluator."""
    made = KfpRun(store, run).begin(**parameters)
    made.imports("base-model", "tfx.Model", "minio://mlpipeline/models/9", encoder="sf_nfnet_tiny")
    made.step(
        "ingest-esc50",
        {},
        {"examples": ("tfx.Examples", {"content_digest": "d0", "span": 2})},
        source="esc50",
    )
    model = {
        "model": ("tfx.Model", {"encoder": "sf_nfnet_tiny", "steps": 30, "step_hours": 1, "blob": {"a": [1]}})
    }
    reads = {"examples": "ingest-esc50/examples", "base_model": "base-model/result"}
    settings = json.dumps({"training": {"steps": 30}})
    trainer = made.step("trainer", reads, {}, "FAILED", custom_config=settings, train_args="{}")
    made.again(trainer, "trainer", model)
    if not evaluated:
        made.step("evaluator", {"model": "trainer/model"}, {}, "RUNNING", run_key="k")
        return made
    trained = made.artifacts["trainer/model"].uri
    key = f"{made.root}/{made.pipeline}/{run}/evaluator/report"
    says = {
        "blessed": 1,
        "reasons": "fine",
        "current_model": trained.replace("minio://", "/minio/"),
        "report": key.replace("minio://", "/minio/"),
        "run_key": run,
        **blessing,
    }
    scores = {"hares": 1, "esc50/score": 0.5, "esc50/clips": 40}
    made.step(
        "evaluator", {"model": "trainer/model"},
        {"report": ("components.ProbeReport", scores), "blessing": ("tfx.ModelBlessing", says)},
        run_key="k",
    )  # fmt: skip
    pushed = {"pushed_model": ("tfx.PushedModel", {"pushed": says["blessed"], "pushed_destination": PUSHED})}
    made.step("pusher", {"model": "trainer/model", "model_blessing": "evaluator/blessing"}, pushed)
    return made
