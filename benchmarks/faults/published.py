"""What a workspace's store says is published, held against what lies on the disk. Read with ML Metadata alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

Content = dict[str, str]  # path below a folder -> SHA-256 of its bytes
_EVENTS = re.compile(r"events\.out\.tfevents\..*$")  # TensorBoard's names hold time, host and process
# Outputs whose bytes hold a time, a path, a map in any order, or records in the order in which Beam came by them. Their
# files must be those of the undisturbed run by name, and those that were recorded by bytes; that nothing is missing in
# them shows in the weights and scores that are made of them.
LOOSE = {"transform/transformed_examples",
         "trainer/model", "trainer/model_run", "evaluator/report", "evaluator/page", "evaluator/metrics",
         "evaluator/blessing_artifact", "pusher/pushed_model", "transform/transform_graph"}  # fmt: skip
_INGESTION = "ingest_"  # its digest is one over the sound of the clips, not over the files


@dataclass(frozen=True)
class Published:
    """A live artifact: the step and output that made it, its folder, and the digest that the store has of it."""

    place: str
    folder: Path
    recorded: str


@dataclass(frozen=True)
class Reference:
    """What the undisturbed run came to."""

    scores: Mapping[str, float]
    weights: str
    contents: Mapping[str, Content]


def open_store(path: Path) -> MetadataStore:
    """The SQLite store at `path`, which must exist."""
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE
    return MetadataStore(config)


def published(store: MetadataStore, root: Path) -> list[Published]:
    """Live artifacts below `root`, each under the execution that made it and not those that had it from the cache."""
    executions = {e.id: e for e in store.get_executions()}
    nodes = _nodes(store)
    artifacts = {a.id: a for a in store.get_artifacts() if a.state == pb.Artifact.LIVE}
    found = []
    for event in store.get_events_by_artifact_ids(list(artifacts)) if artifacts else []:
        execution = executions[event.execution_id]
        if event.type != pb.Event.OUTPUT or execution.last_known_state != pb.Execution.COMPLETE:
            continue
        artifact = artifacts[event.artifact_id]
        properties = artifact.custom_properties
        not_pushed = "pushed" in properties and not properties["pushed"].int_value
        if not_pushed or root not in Path(artifact.uri).parents:
            continue
        place = f"{nodes[execution.id]}/{event.path.steps[0].key}"
        found.append(Published(place, Path(artifact.uri), properties["content_digest"].string_value))
    return found


def finished_steps(store: MetadataStore) -> Counter[str]:
    """How often each step was done, and not taken from the cache, in all runs."""
    nodes = _nodes(store)
    done = [e.id for e in store.get_executions() if e.last_known_state == pb.Execution.COMPLETE]
    return Counter(nodes[execution] for execution in done)


def partial(workspace: Path, artifacts: list[Published], reference: Reference | None) -> list[str]:
    """One sentence for each published thing that is not whole.

    Args:
        workspace: whose `pushed/` is looked at as well: a server takes models from there, whatever the store says.
        artifacts: what the store calls live.
        reference: the undisturbed run; None compares with the recorded digests alone.
    """
    found = []
    model: Content | None = None
    for artifact in artifacts:
        content = content_of(artifact.folder)
        if artifact.place == "trainer/model":
            model = content_of(artifact.folder / "Format-Serving")
        if not content:
            found.append(f"{artifact.place} has no files")
        elif not artifact.place.startswith(_INGESTION) and digest_of(artifact.folder) != artifact.recorded:
            found.append(f"{artifact.place} is not what was recorded")
        if reference is not None:
            expected = reference.contents[artifact.place]
            if set(content) != set(expected):
                found.append(f"{artifact.place} has other files than the undisturbed run's")
            elif artifact.place not in LOOSE and content != expected:
                found.append(f"{artifact.place} differs from the undisturbed run's")
    for version in sorted(workspace.glob("pushed/[!.]*")):
        if model is None or content_of(version) != model:
            found.append("pushed/ holds a version that is not the whole model")
    return found


def reference_of(workspace: Path, store: Path) -> Reference:
    """Scores, weights and contents of a finished run, which recorded into `store`."""
    artifacts = published(open_store(store), workspace / "artifacts")
    folders = {artifact.place: artifact.folder for artifact in artifacts}
    report = json.loads((folders["evaluator/report"] / "report.json").read_text(encoding="utf-8"))
    scores = {name: entry["value"] for name, entry in report["tasks"].items() if entry["value"] is not None}
    metadata = folders["trainer/model"] / "Format-Serving" / "hares_metadata.json"
    weights = json.loads(metadata.read_text(encoding="utf-8"))["weights_digest"]
    contents = {place: content_of(folder) for place, folder in folders.items()}
    return Reference(scores, weights, contents)


def content_of(folder: Path) -> Content:
    """Every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = _EVENTS.sub("events", str(path.relative_to(folder)))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def digest_of(folder: Path) -> str:
    """What docs/lineage.md calls a content digest: SHA-256 over the sorted paths, each with its file's SHA-256."""
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _nodes(store: MetadataStore) -> dict[int, str]:
    """The step of every execution, from TFX's contexts of type "node"."""
    return {
        execution.id: context.name.partition(".")[2]
        for context in store.get_contexts_by_type("node")
        for execution in store.get_executions_by_context(context.id)
    }
