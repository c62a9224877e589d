"""Retraining as users do it: a new span comes, the window moves on, training starts from the latest blessed model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import open_store
from kits.pipeline_runs import Finished, run
from models.export import read_metadata

pytestmark = pytest.mark.slow

BRIEF = (
    "tasks=[birdsong]",
    "compare_untrained=false",
    "training.steps=6",
    "training.batch_size=4",
)


@dataclass(frozen=True)
class Retrained:
    """Two runs in one workspace, read when each had ended."""

    first: Finished
    second: Finished
    digests: tuple[str, str]
    summary: dict
    windows: Path


@pytest.fixture(scope="module")
def retrained(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Retrained:
    folder = tmp_path_factory.mktemp("retrained")
    clips = sorted(path for path in (made_corpus / "pretrain").rglob("*.wav"))
    for number, part in ((1, clips[::2]), (2, clips[1::2])):
        (folder / f"span-{number}").mkdir()
        for clip in part:
            shutil.copy(clip, folder / f"span-{number}")
    source = f"pretraining.source={folder}/span-{{SPAN}}"

    def digest(finished: Finished) -> str:
        assert finished.code == 0, finished.stdout + finished.stderr
        return read_metadata(finished.artifact("trainer", "model") / "Format-Serving")["weights_digest"]

    first = run(made_corpus, folder / "w", *BRIEF, source, "pretraining.span=1")
    before = digest(first)
    moved_on = ("pretraining.window=2", "pretraining.warm_start=latest_blessed")
    second = run(made_corpus, folder / "w", *BRIEF, source, *moved_on)
    after = digest(second)
    summary = json.loads((second.artifact("trainer", "model_run") / "summary.json").read_text())
    return Retrained(
        first, second, (before, after), summary, second.artifact("ingest_pretraining", "examples")
    )


def test_only_the_new_span_is_ingested(retrained: Retrained) -> None:
    assert "ingest_pretraining_span_1" in retrained.first.steps("done")
    assert {"ingest_pretraining_span_1", "ingest_birdsong"} <= set(retrained.second.steps("cached"))
    assert {"ingest_pretraining_span_2", "ingest_pretraining", "transform"} <= set(
        retrained.second.steps("done")
    )


def test_the_window_holds_the_shards_of_both_spans(retrained: Retrained) -> None:
    joined = sorted(path.name for path in (retrained.windows / "Split-train").iterdir())
    expected = [
        f"span-{number}-{path.name}"
        for number in (1, 2)
        for path in (
            retrained.second.artifact(f"ingest_pretraining_span_{number}", "examples") / "Split-train"
        ).iterdir()
    ]
    assert joined == sorted(expected) and len(joined) >= 2


def test_training_started_from_the_blessed_model_and_the_store_knows(retrained: Retrained) -> None:
    assert retrained.summary["warm_start"] == retrained.digests[0] != retrained.digests[1]
    store = open_store(retrained.second.workspace / "metadata.sqlite")
    trainers = [e for e in store.get_executions() if e.type.endswith(".Trainer")]
    trainer = max(trainers, key=lambda e: e.id)
    events = store.get_events_by_execution_ids([trainer.id])
    read = store.get_artifacts_by_id({event.artifact_id for event in events if event.type == pb.Event.INPUT})
    (base,) = (artifact for artifact in read if artifact.type == "Model")
    # The very artifact that the first run's Trainer made, so that lineage goes on through it.
    assert base.custom_properties["weights_digest"].string_value == retrained.digests[0]
    assert base.custom_properties["encoder"].string_value == "cnn14_tiny"


def test_the_verdict_is_the_paired_intervals(retrained: Retrained) -> None:
    assert "no blessed model before this one" in retrained.first.stdout
    verdict = retrained.second.stdout.replace("\n", " ")
    assert "latest blessed" in verdict and "refused if wholly below 0" in verdict
