"""Which workspace a run or artifact belongs to; one store may record several, even of several machines at one path.

A run's context names its workspace (`RunFacts.workspace`), an artifact names the run that made it. A workspace is a
context of type `hares.Workspace`, named by its id, with its family and its place.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.identity import Identity
from pipeline.lineage.record import RUN_TYPE
from workarounds.ml_metadata import nodes

WORKSPACE_TYPE = "hares.Workspace"
WORKSPACE = "workspace"  # on a run: the id of its workspace
PLACE, FAMILY = "place", "family"  # on a workspace


class Ownership:
    """Tells a workspace's own runs and artifacts from those of others.

    Args:
        store: the store.
        root: the workspace's pipeline root, resolved.
        identity: the workspace's; None for one in which no run was started since workspaces have identities.
    """

    def __init__(self, store: MetadataStore, root: Path, identity: Identity | None):
        self._store = store
        self._root = root
        self._id = identity.id if identity else ""
        self._of_run: dict[str, bool] = {}

    def has(self, run: pb.Context) -> bool:
        """Whether a run is this workspace's; one that names no workspace counts as its own."""
        properties = run.custom_properties
        return WORKSPACE not in properties or properties[WORKSPACE].string_value == self._id

    def _made(self, run: pb.Context) -> bool:
        """As `has`, but a run that names no workspace (of an earlier version) belongs to its machine."""
        properties = run.custom_properties
        host = properties["process"].string_value.split(" ")[0] if "process" in properties else ""
        return self.has(run) and (WORKSPACE in properties or host in ("", socket.gethostname()))

    def ours(self, artifact: pb.Artifact) -> bool:
        """Whether an artifact lies in this workspace, and does not belong to another one at the same path."""
        return is_local(artifact.uri) and self._inside(artifact.uri) and not self.of_another(artifact)

    def of_another(self, artifact: pb.Artifact) -> bool:
        """Whether a run of another workspace made an artifact, or uses it where no step made it (an imported model)."""
        properties = artifact.custom_properties
        name = properties["run"].string_value if "run" in properties else ""
        if name not in self._of_run:
            maker = self._store.get_context_by_type_and_name(RUN_TYPE, name) if name else None
            if maker is None:
                runs = [context for context in self._contexts(artifact) if context.type == RUN_TYPE]
                return bool(runs) and not any(self._made(run) for run in runs)
            self._of_run[name] = self._made(maker)
        return not self._of_run[name]

    def _contexts(self, artifact: pb.Artifact) -> list[pb.Context]:
        try:
            return list(self._store.get_contexts_by_artifact(artifact.id)) if artifact.id else []
        except errors.NotFoundError:  # what ML Metadata says of none
            return []

    def _inside(self, uri: str) -> bool:
        path = local_path(uri)
        return any(Path(p).is_relative_to(self._root) for p in (path, os.path.realpath(path)))


def runs_of(store: MetadataStore) -> list[pb.Context]:
    """Every run of a store."""
    return contexts_of_type(store, RUN_TYPE)


def contexts_of_type(store: MetadataStore, kind: str) -> list[pb.Context]:
    """Every context of a type; none where the store does not know the type."""
    return list(nodes(store, "context", kind))


def is_local(uri: str) -> bool:
    """Whether a URI is a path of a file system."""
    return bool(uri) and ("://" not in uri or uri.startswith("file://"))


def local_path(uri: str) -> str:
    """The absolute path of a local URI, without following links."""
    return os.path.abspath(uri.removeprefix("file://"))
