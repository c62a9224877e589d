"""What the Evaluator writes into ML Metadata, and for a cluster's own pages, is what its report says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("tfx")

from tfx.types import standard_artifacts

from components.artifacts import AudioManifest, Embeddings, ProbeReport, ReportPage, ScoreMetrics
from components.evaluator import executor
from components.evaluator.executor import (
    Executor,
    _compared_with,
    _copy_page,
    _describe_report,
    _tabulate_scores,
)
from components.properties import input_key, score_key
from hares.benchmark import CorpusSummary, build_report
from hares.blessing import BlessingConfig
from hares.leakage import ClipIdentity
from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.report import write_report
from hares.scoring import TaskScore
from hares.statistics import draws_seed
from hares.task import DOMAINS, load_task, task_names


def scored(task, share):
    labels = ((0,) * len(task.slots),) * 40
    scores = np.zeros((2, 40, task.num_classes), np.float32)
    scores[:, : int(40 * share), np.cumsum([0, *(len(slot.classes) for slot in task.slots)])[:-1]] = 1
    scores[:, int(40 * share) :, -1] = 1
    names = tuple(map(str, range(40)))
    answers = Predictions(task.metric, task.slots, names, ("",) * 40, labels, scores, np.ones(40))
    return TaskScore(
        task, answers.score(), 0.1, answers.resampled(50, draws_seed(task, 0)), tuple(answers.seed_scores()),
        40, 40, 2, task.num_classes, (), {}, answers, "",
    )  # fmt: skip


def test_scores_intervals_and_manifests_are_the_reports():
    tasks = [load_task(name) for name in task_names()]
    scores = {task.name: scored(task, 0.4 + 0.04 * number) for number, task in enumerate(tasks)}
    sources = {task.name: CorpusSummary(40, {"undecodable": 2}, True, (), 90, 85) for task in tasks}
    encoder = {"name": "x", "encoder": "x", "weights_digest": "d"}
    report = build_report(tasks, scores, {}, sources, ProtocolSettings(), encoder)
    artifact = ProbeReport()
    _describe_report(artifact, report, encoder, "key")
    number = artifact.get_float_custom_property
    for name, entry in report["tasks"].items():
        assert number(f"{name}/score") == entry["value"]
        assert [number(f"{name}/low"), number(f"{name}/high")] == entry["interval"]
        assert number(f"{name}/seed_deviation") == entry["seed_deviation"]
        for what in ("expected", "present", "missing", "unreadable"):
            assert artifact.get_int_custom_property(f"{name}/manifest_{what}") == entry["manifest"][what]
        assert artifact.get_string_custom_property(f"{name}/leakage") == "not checked"
    for domain in DOMAINS:
        assert number(f"domain/{domain}") == report["domains"][domain]
        assert [number(f"domain/{domain}/{s}") for s in ("low", "high")] == report["intervals"]["domains"][
            domain
        ]
    assert [number("hares"), number("hares/low"), number("hares/high")] == [
        report["hares"],
        *report["intervals"]["hares"],
    ]


def test_the_baseline_is_read_with_its_stored_answers(tmp_path):
    task = load_task("tut18")

    def made(share):
        scores = {"tut18": scored(task, share)}
        encoder = {"name": "x", "encoder": "x", "weights_digest": "d"}
        return build_report([task], scores, {}, {}, ProtocolSettings(), encoder), {
            "tut18": scores["tut18"].predictions
        }

    ours, before = made(0.5), made(0.75)
    write_report(*before, tmp_path)
    assert _compared_with("", *ours) is None
    comparison = _compared_with(str(tmp_path), *ours)
    assert (comparison.ours, comparison.theirs) == (0.5, 0.75)
    assert comparison.paired.difference == -0.25 and comparison.paired.high < 0 and comparison.note == ""
    (tmp_path / "predictions" / "tut18.npz").unlink()
    comparison = _compared_with(str(tmp_path), *ours)
    assert comparison.paired is None and "no answers of the latest" in comparison.note


def test_every_score_is_a_number_and_what_was_not_scored_is_none(tmp_path: Path) -> None:
    metrics = ScoreMetrics()
    metrics.uri = str(tmp_path / "metrics")
    report = {
        "tasks": {"esc50": {"value": 0.25}, "tut18": {"value": None}, "birdsong": {"value": 0.0}},
        "domains": {"environment": 0.125, "music": None},
        "hares": None,
    }
    _tabulate_scores(metrics, report)
    found = {name: value.double_value for name, value in metrics.mlmd_artifact.custom_properties.items()}
    assert found == {"esc50": 0.25, "birdsong": 0.0, "domain_environment": 0.125}
    assert json.loads((tmp_path / "metrics" / "scores.json").read_text()) == found


@pytest.mark.parametrize("local", [True, False])
def test_the_page_is_in_the_runners_folder_or_else_the_address_itself(tmp_path: Path, local: bool) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<html>all</html>")
    page = ReportPage()
    page.uri = str(tmp_path / "outputs" / "page")
    if local:
        Path(page.uri).mkdir(parents=True)
    _copy_page(page, str(report))
    file = Path(page.uri) / "report.html" if local else Path(page.uri)
    assert file.read_text() == "<html>all</html>"
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_the_executor_reads_each_tasks_inputs_and_fills_every_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark is a stand-in; what is read, and what is written to the artifacts, is the executor's."""
    esc50, seen = load_task("esc50"), []

    class Stub:
        predictions: ClassVar = {}

        def __init__(self, settings):
            pass

        def describe(self, task, manifest, clips):
            seen.append((task.name, manifest["used"], list(clips)))

        def score(self, task, data, classifier, untrained):
            seen.append((task.name, Path(data).name, untrained))

        def report(self, encoder):
            sources = {"esc50": CorpusSummary(40, {}, True, (), 40, 40)}
            return build_report(
                [esc50], {"esc50": scored(esc50, 0.5)}, {}, sources, ProtocolSettings(), encoder
            )

    monkeypatch.setattr(executor, "Benchmark", Stub)
    monkeypatch.setattr(executor, "own_classifier", lambda path: None)
    monkeypatch.setattr(executor, "read_metadata", lambda path: {"encoder": "x", "weights_digest": "d"})
    monkeypatch.setattr(executor, "_read_embeddings", lambda folder, memory_limit_mb: folder)
    manifest = artifact(AudioManifest, tmp_path / "manifest")
    (tmp_path / "manifest" / "manifest.json").write_text('{"used": 40}')
    clip = {"clip_id": "a", "labels": [1], "group": "g", "sha256": "0", "path": "/of/this/machine/a.wav"}
    (tmp_path / "manifest" / "clips-fold1-0.jsonl").write_text(json.dumps(clip) + "\n")
    (tmp_path / "manifest" / "rejected.jsonl").write_text('{"path": "b.wav"}\n')
    outputs = {
        "report": artifact(ProbeReport, tmp_path / "report"),
        "metrics": artifact(ScoreMetrics, tmp_path / "metrics"),
        "page": artifact(ReportPage, tmp_path / "page"),
        "blessing_artifact": artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing"),
    }
    Executor().Do(
        {
            "model": [artifact(standard_artifacts.Model, tmp_path / "model")],
            input_key("embeddings", "esc50"): [artifact(Embeddings, tmp_path / "embeddings")],
            input_key("manifest", "esc50"): [manifest],
        },
        {name: [one] for name, one in outputs.items()},
        {
            "protocol": json.dumps(asdict(ProtocolSettings())),
            "blessing": json.dumps(asdict(BlessingConfig())),
            "baseline": "",
            "run_key": "key",
        },
    )
    identities = [ClipIdentity("a", "fold1", "g", "0")]
    assert seen == [("esc50", 40, identities), ("esc50", "trained", False), ("esc50", "untrained", True)]
    assert outputs["report"].get_float_custom_property(score_key("esc50")) == 0.5
    assert outputs["metrics"].get_float_custom_property("esc50") == 0.5
    assert outputs["blessing_artifact"].get_string_custom_property("run_key") == "key"
    assert (tmp_path / "page" / "report.html").is_file()
    beside = tmp_path / "report" / "manifests"
    assert json.loads((beside / "esc50.json").read_text()) == {"used": 40}
    kept = {"clip_id": "a", "labels": [1], "group": "g", "sha256": "0", "split": "fold1"}
    assert json.loads((beside / "esc50.clips.jsonl").read_text()) == kept
    assert (beside / "esc50.rejected.jsonl").read_text() == '{"path": "b.wav"}\n'
    record = json.loads((tmp_path / "report" / "evaluate.json").read_text())
    assert record["encoder"]["weights_digest"] == "d" and {"tensorflow", "tfx", "numpy"} <= set(
        record["versions"]
    )
    assert all(one.get_string_custom_property("content_digest") for one in outputs.values())


def artifact(kind, folder):
    folder.mkdir()
    made = kind()
    made.uri = str(folder)
    return made
