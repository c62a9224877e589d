"""Answers to test clips and whole runs, of a chosen quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hares.benchmark import CorpusSummary, build_report
from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.report.runs import Run
from hares.scoring import TaskScore
from hares.statistics import draws_seed
from hares.task import Task, load_task, task_names

PAPER = ProtocolSettings()


def answers(task: Task, share: float, clips: int = 60, seed: int = 0) -> Predictions:
    """Test clips of which about a `share` is answered right, in two seeds of a probe."""
    labels = np.random.default_rng(0).integers(0, 2, clips)
    right = np.random.default_rng(seed).random((2, clips)) < share
    scores = np.zeros((2, clips, task.num_classes), np.float32)
    edges = np.cumsum([0] + [len(slot.classes) for slot in task.slots])[:-1]
    for place, clip in np.ndindex(2, clips):
        scores[place, clip, edges + (labels[clip] if right[place, clip] else 1 - labels[clip])] = 1
    ids = tuple((int(label),) * len(task.slots) for label in labels)
    names = tuple(f"{number}.wav" for number in range(clips))
    return Predictions(task.metric, task.slots, names, ("",) * clips, ids, scores, np.ones(clips))


def scored_run(
    name: str,
    share: float,
    settings: ProtocolSettings = PAPER,
    tasks: Sequence[str] = (),
    corpora: Mapping[str, CorpusSummary] | None = None,
    clips: int = 60,
) -> Run:
    """A report of an encoder that answers about a `share` of the clips right.

    Args:
        name: the encoder's.
        share: as `answers` takes it.
        settings: the protocol.
        tasks: that are scored; all if empty.
        corpora: what ingestion found, where it is not all of an official split.
        clips: test clips of each task.
    """
    scores = {}
    for task in map(load_task, tasks or task_names()):
        found = answers(task, share, clips)
        scores[task.name] = TaskScore(
            task=task, value=found.score(), chance=0.5, resampled=found.resampled(20, draws_seed(task, 0)),
            seed_scores=tuple(found.seed_scores()), clips=clips, train_clips=60, classes_trained=2,
            classes=task.num_classes, deviations=(), details={}, predictions=found, reason="",
        )  # fmt: skip
    whole = {task: CorpusSummary(clips, {}, True, (), clips, clips) for task in scores}
    report = build_report(
        list(map(load_task, task_names())),
        scores,
        {},
        {**whole, **(corpora or {})},
        settings,
        {"name": name, "digest": "d"},
    )
    return Run(
        f"{name}.zip",
        report,
        {task: score.predictions for task, score in scores.items() if score.predictions},
        {},
    )
