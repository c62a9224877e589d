"""Runs as the components record them, with manifests and reports on the disk, for tests of the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hares.atomic_files import write_atomically
from hares.predictions import Predictions, encode_predictions
from hares.report.runs import PREDICTIONS_FOLDER, REPORT_FILE
from hares.task import load_task
from kits.lineage_stores import StoreWriter

CLIPS = 40


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class RunWriter:
    """Writes runs of ingestion, training, embedding and evaluation below a folder."""

    folder: Path
    writer: StoreWriter = field(default_factory=StoreWriter)

    def add(
        self,
        name: str,
        clips: Mapping[str, Mapping[str, str]],
        right: float | None,
        learning_rate: float = 0.001,
        **facts: str | int | float,
    ) -> int:
        """One run; the id of its report.

        Args:
            name: of the run, its start.
            clips: by task, the contents of its clips by name.
            right: which part of the test clips it answers rightly; None leaves no report on the disk.
            learning_rate: a setting.
            facts: what else is recorded on the run.
        """
        writer, own = self.writer, {"run": name}
        config = json.dumps({"training": {"learning_rate": learning_rate, "encoder": "sf_nfnet_tiny"}})
        writer.context("hares.Config", digest(config), config=config)
        score = 0.5 if right is None else right
        recorded = {
            "start": f"{name}+00:00", "end": "later", "status": "complete", "encoder": "sf_nfnet_tiny",
            "objective": "simclr", "git_revision": "abc", "config_digest": digest(config), "blessed": 1,
            "code": json.dumps({"trainer": digest(str(learning_rate))}),
            **{f"score/{task}": score for task in clips}, "score/hares": score, "score/environment": score,
            "score/speech": score, **facts,
        }  # fmt: skip
        writer.context("pipeline_run", name, **recorded)
        examples, manifests, embeddings = {}, {}, {}
        for task, content in clips.items():
            node = f"ingest_{task}"
            uri = _write_manifest(self.folder / name / node / "manifest" / "1", task, content)
            manifests[task] = writer.artifact(
                "components.AudioManifest", uri, content_digest=digest(str(content)), used=len(content), node=node,
                source=task, **own,
            )  # fmt: skip
            examples[task] = writer.artifact("Examples", f"/{name}/{node}", node=node, **own)
            writer.step(name, node, [], [("examples", examples[task]), ("manifest", manifests[task])])
        model = writer.artifact(
            "Model", f"/{name}/model", node="trainer", history='{"loss": NaN}', **facts, **own
        )
        writer.step(name, "trainer", [("examples", next(iter(examples.values())))], [("model", model)])
        for task in clips:
            embeddings[task] = writer.artifact(
                "components.Embeddings", f"/{name}/{task}", node=f"embed_{task}", **own
            )
            inputs = [("examples", examples[task]), ("model", model)]
            writer.step(name, f"embed_{task}", inputs, [("embeddings", embeddings[task])])
        inputs = [
            (f"{kind}_{task}", made[task])
            for task in clips
            for kind, made in (("embeddings", embeddings), ("manifest", manifests), ("examples", examples))
        ]
        uri = self.folder / name / "report"
        if right is not None:
            _write_report(uri, tuple(clips), right)
        numbers = {f"{task}/score": score for task in clips} | {"domain/speech": score, "hares": score}
        report = writer.artifact("components.ProbeReport", str(uri), node="evaluator", **numbers, **own)
        writer.step(name, "evaluator", [*inputs, ("model", model)], [("report", report)])
        return report


def _write_manifest(folder: Path, task: str, clips: Mapping[str, str]) -> str:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"sources": {task: f"/data/{task}"}}))
    lines = [
        json.dumps({"clip_id": name, "source": task, "path": name, "sha256": digest(text), "labels": [0]})
        for name, text in clips.items()
    ]
    (folder / "clips-train-00000-of-00001.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


def _write_report(folder: Path, tasks: tuple[str, ...], right: float) -> None:
    """What a comparison reads of a report: the tasks' values, and the answers of each."""
    (folder / PREDICTIONS_FOLDER).mkdir(parents=True)
    entries = {name: {"domain": load_task(name).domain, "value": right} for name in tasks}
    domains = {"environment": right, "speech": right, "music": None}
    report = {
        "tasks": entries,
        "domains": domains,
        "hares": right,
        "protocol": {},
        "encoder": {},
        "intervals": {},
    }
    (folder / REPORT_FILE).write_text(json.dumps(report))
    for name in tasks:
        task = load_task(name)
        width = sum(len(slot.classes) for slot in task.slots)
        scores = np.zeros((1, CLIPS, width), np.float32)
        scores[0, : round(right * CLIPS), 0] = 1  # the rest is answered as class 1, and wrong
        scores[0, round(right * CLIPS) :, 1] = 1
        names = tuple(f"{number}.wav" for number in range(CLIPS))
        answers = Predictions(
            task.metric, task.slots, names, ("",) * CLIPS, ((0,),) * CLIPS, scores, np.ones(CLIPS)
        )
        write_atomically(folder / PREDICTIONS_FOLDER / f"{name}.npz", encode_predictions(answers))
