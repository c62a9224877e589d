"""The cache's keys: the same wherever a workspace, a corpus and a plugin lie; another for all that makes numbers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2
from tfx.types.standard_artifacts import Examples, Model

from kits.lineage_stores import StoreWriter
from pipeline.cache import PortableCache
from pipeline.identity import Identity
from pipeline.relocation import note_workspace


@dataclass(frozen=True)
class Step:
    """What a key is made of; the defaults are a step of a workspace in `place`."""

    place: str = "/data/w"
    input_place: str = ""
    corpus: str = "/data/corpus"
    plugin: str = "/home/me/encoder.py"
    plugin_digest: str = "p1"
    fingerprint: str = "f1"
    reader: str = "esc50"
    code: str = "c1"
    number: int = 5
    digest: str = "d1"
    run: str = "2026-11-24"
    artifact_id: int = 7
    node: str = "trainer"
    pipeline: str = "hares"
    beam: str = "--direct_num_workers=2"
    checkpoints: str = "checkpoints"
    seed: int = 0
    kind: type = Examples

    def key(self, store: MetadataStore) -> str:
        identity = Identity("id", "family", "host", 1, (self.place,))
        cache = PortableCache(
            Path(self.place, "artifacts"),
            self.run,
            identity,
            {self.plugin: f"{{plugin {self.plugin_digest}}}"},
        )
        artifact = self.kind()
        input_place = self.input_place or self.place
        artifact.uri = f"{input_place}/artifacts/transform/examples/{self.number}"
        artifact.id = self.artifact_id
        artifact.mlmd_artifact.last_update_time_since_epoch = self.artifact_id
        for name, value in (
            ("content_digest", self.digest),
            ("run", self.run),
            ("manifest", f"{input_place}/artifacts/m/1"),
        ):
            artifact.set_string_custom_property(name, value)
        node = pipeline_pb2.PipelineNode()
        node.node_info.id = self.node
        spec = executable_spec_pb2.PythonClassExecutableSpec(
            class_path="components.Executor", extra_flags=[self.beam]
        )
        config = {"plugins": [[self.plugin, self.plugin_digest]], "seed": self.seed, "code": self.code,
                  "checkpoints": f"{self.place}/{self.checkpoints}"}  # fmt: skip
        parameters: dict[str, Any] = {
            "custom_config": json.dumps(config),
            "push_destination": json.dumps({"filesystem": {"base_directory": f"{self.place}/pushed"}}),
            "sources": json.dumps({self.reader: f"{self.corpus}/esc50"}),
            "fingerprint": self.fingerprint,
        }
        output = Model()
        output.uri = f"{self.place}/artifacts/trainer/model/{self.artifact_id}"
        handle: Any = SimpleNamespace(store=store)
        context = cache._context(
            handle, node, pipeline_pb2.PipelineInfo(id=self.pipeline), spec,
            {"examples": [artifact]}, {"model": [output]}, parameters,
        )  # fmt: skip
        return context.name


@pytest.fixture(scope="module")
def store() -> MetadataStore:
    return StoreWriter().store


@pytest.mark.parametrize(
    "change",
    [
        {"place": "/mnt/ä b/w"},
        {"corpus": "/mnt/corpus"},
        {"plugin": "/tmp/encoder.py"},
        {"run": "2026-11-25"},
        {"artifact_id": 8},
    ],
    ids=str,
)
def test_where_things_lie_and_when_they_were_made_is_in_no_key(
    store: MetadataStore, change: dict[str, Any]
) -> None:
    assert dataclasses.replace(Step(), **change).key(store) == Step().key(store)


@pytest.mark.parametrize(
    "change",
    [
        {"plugin_digest": "p2"},
        {"fingerprint": "f2"},
        {"reader": "birdsong"},
        {"code": "c2"},
        {"number": 6},
        {"digest": "d2"},
        {"node": "trainer2"},
        {"pipeline": "another"},
        {"beam": "--direct_num_workers=3"},
        {"checkpoints": "elsewhere"},
        {"seed": 1},
        {"kind": Model},
    ],
    ids=str,
)
def test_all_that_may_change_a_number_is_in_the_key(store: MetadataStore, change: dict[str, Any]) -> None:
    assert dataclasses.replace(Step(), **change).key(store) != Step().key(store)


def test_workspaces_share_what_copies_have_in_common() -> None:
    """An input that lies with the original is named as the copy's own; one of a stranger is not."""
    store = StoreWriter().store
    for name, family, place in (("w", "family", "/orig/w"), ("s", "another family", "/else/w")):
        note_workspace(store, Identity(name, family, "host", 1, (place,)), "mark")
    keys = [Step(input_place=place).key(store) for place in ("/data/w", "/orig/w", "/else/w")]
    assert keys[0] == keys[1] != keys[2]
