"""What the Evaluator writes into ML Metadata is what its report says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tfx")

from components.artifacts import ProbeReport
from components.evaluator.executor import _compared_with, _describe_report
from hares.benchmark import CorpusSummary, build_report
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
