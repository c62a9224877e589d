"""Texts and orders that real servers, ML Metadata and TFX's cache make of a store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service

from kits.database_servers import KINDS, database_server
from kits.three_steps import SilentObserver, three_steps
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.lineage.graph import NODE, RUN
from pipeline.lineage.record import RunFacts
from pipeline.local_runner import Outcome, StepFailedError, StepResult, run_locally
from workarounds.ml_metadata import BACKSLASH, pages, replace_in

pytestmark = pytest.mark.slow

PASSWORD = "canary-e0a7"
FACTS = RunFacts({"training": {"steps": 1}}, "demo", "local", "key", {})
TEXTS = {
    "windows": r"C:\audio\take 1.wav",
    "json": '{"result": "a\\nb", "name": "\\u00e9\'s"}',
    "last": "ends with \\",
    "double": r"\\",
    "sql": """\\'); DROP TABLE "Artifact"; --""",
    "plain": "nothing 'special' $1 %s",
}


@pytest.fixture(scope="module", params=["sqlite", *KINDS])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreAddress]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("store") / "m.sqlite"
        path.touch()
        yield store_address("", path)
    else:
        with database_server(request.param, PASSWORD) as server:
            yield store_address(server.address(), Path())


def put(store: MetadataStore, kind: str, **texts: str) -> pb.Artifact:
    known = pb.ArtifactType(name=kind, properties=dict.fromkeys(texts, pb.STRING))
    artifact = pb.Artifact(type_id=store.put_artifact_type(known, can_add_fields=True), uri=f"/{kind}")
    for name, text in texts.items():
        artifact.properties[name].string_value = text
        artifact.custom_properties[f"own {name}"].string_value = text
    (artifact.id,) = store.put_artifacts([artifact])
    return artifact


def test_every_text_comes_back_as_it_was(address: StoreAddress) -> None:
    store = address.open()
    known = put(store, "Texts", **TEXTS)
    for text in TEXTS.values():
        known.uri = text
        store.put_artifacts([known])
        (found,) = address.open().get_artifacts_by_id([known.id])
        assert found.uri == text
        assert {name: value.string_value for name, value in found.properties.items()} == TEXTS
        assert {name: value.string_value for name, value in found.custom_properties.items()} == {
            f"own {name}": text for name, text in TEXTS.items()
        }
        assert [a.id for a in store.get_artifacts_by_uri(text)] == [known.id]


def test_names_of_contexts_and_of_properties(address: StoreAddress) -> None:
    store = address.open()
    kind = store.put_context_type(pb.ContextType(name="Place"))
    context = pb.Context(type_id=kind, name=r"a\b")
    context.custom_properties[r"key\of"].int_value = 3
    store.put_contexts([context])
    found = store.get_context_by_type_and_name("Place", r"a\b")
    assert found is not None and found.name == r"a\b"
    assert found.custom_properties[r"key\of"].int_value == 3


def test_answers_are_in_the_order_of_the_questions(address: StoreAddress) -> None:
    store = address.open()
    one, two, three = (put(store, kind) for kind in ("One", "Two", "Three"))
    for moved in (one, two):  # PostgreSQL writes a changed row anew, behind the others
        moved.state = pb.Artifact.LIVE
        store.put_artifacts([moved])
    for asked in ([one, two, three], [three, one, two], [two, three, one]):
        ids, types = [a.id for a in asked], [a.type_id for a in asked]
        assert [a.id for a in store.get_artifacts_by_id(ids)] == ids
        assert [t.id for t in store.get_artifact_types_by_id(types)] == types
    assert [a.id for a in store.get_artifacts_by_id([two.id, 10_000, one.id, two.id])] == [two.id, one.id]
    repeated = [two.type_id, one.type_id, two.type_id]
    assert [t.id for t in store.get_artifact_types_by_id(repeated)] == repeated


class LosesItsInput(SilentObserver):
    """An observer in whose hands what the step `ingest` has made is gone before `train` begins."""

    def __init__(self, address: StoreAddress) -> None:
        super().__init__()
        self._address = address

    def finish(self, result: StepResult) -> None:
        super().finish(result)
        if result.node == "ingest":
            store = self._address.open()
            (made,) = store.get_artifacts_by_type("Examples")
            made.state = pb.Artifact.DELETED
            store.put_artifacts([made])


def test_a_step_without_its_inputs_is_no_lost_store(address: StoreAddress, tmp_path: Path) -> None:
    """What TFX records of it is full of backslashes. Each execution names its run and node, and TFX asks no filter."""
    observer = LosesItsInput(address)
    with pytest.raises(
        StepFailedError, match="step train failed: its inputs could not be resolved"
    ) as raised:
        run_locally(three_steps(tmp_path, "p"), observer, FACTS, address)
    assert [result.outcome for result in observer.results] == [Outcome.RAN, Outcome.FAILED]
    (failed,) = [e for e in address.open().get_executions() if e.last_known_state == pb.Execution.FAILED]
    told = json.loads(failed.custom_properties["__execution_result__"].string_value)
    assert told["resultMessage"].startswith("Traceback (most recent call last):\n")
    own = [e for e in address.open().get_executions() if RUN in e.custom_properties]
    named = [(e.custom_properties[RUN].string_value, e.custom_properties[NODE].string_value) for e in own]
    assert named == [(raised.value.run_id, "ingest"), (raised.value.run_id, "train")]


def test_only_strings_that_have_it_are_touched() -> None:
    request = service.PutExecutionRequest()
    request.execution.name = r"a\b"
    request.execution.last_known_state = pb.Execution.FAILED
    request.execution.custom_properties["text"].string_value = r"\x\y"
    request.execution.custom_properties[r"k\k"].int_value = 5
    request.execution.custom_properties["nested"].struct_value["inner"] = r"c\d"
    pair = request.artifact_event_pairs.add()
    pair.artifact.uri = r"u\v"
    pair.event.path.steps.add().key = r"s\t"
    asked = service.GetArtifactsByURIRequest(uris=[r"m\n", "plain"])

    before = request.SerializeToString(deterministic=True)
    replace_in(request, "\\", BACKSLASH)
    assert "\\" not in str(request).replace("\\356\\201\\234", "")  # U+E05C as the text format shows it
    assert r"k\k" not in request.execution.custom_properties
    replace_in(request, BACKSLASH, "\\")
    assert request.SerializeToString(deterministic=True) == before

    replace_in(asked, "\\", BACKSLASH)
    assert list(asked.uris) == [f"m{BACKSLASH}n", "plain"]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_nodes_come_once_and_in_order(address: StoreAddress, newest_first: bool, size: int) -> None:
    """Of a type, of a context and of all, over a few pages and the rest, which is more than a page."""
    store = address.open()
    kind = f"Paged{newest_first}{size}"
    type_id = store.put_artifact_type(pb.ArtifactType(name=kind))
    ids = store.put_artifacts([pb.Artifact(type_id=type_id, uri=f"/{n}") for n in range(620)])
    context = pb.Context(type_id=store.put_context_type(pb.ContextType(name="Holds")), name=kind)
    (context.id,) = store.put_contexts([context])
    some = ids[:450:2]
    store.put_attributions_and_associations(
        [pb.Attribution(artifact_id=i, context_id=context.id) for i in some], []
    )

    def listed(**of: str | int) -> list[int]:
        found = pages(store, "artifact", newest_first=newest_first, size=size, **of)  # type: ignore[arg-type]
        return [artifact.id for page in found for artifact in page]

    assert listed(of_type=kind) == sorted(ids, reverse=newest_first)
    assert listed(in_context=context.id) == sorted(some, reverse=newest_first)
    assert listed(of_type="Nothing of it") == []
    everything = sorted((a.id for a in store.get_artifacts()), reverse=newest_first)
    assert size == 1 or listed() == everything
