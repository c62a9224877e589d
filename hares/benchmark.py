"""The benchmark's loop: task by task, what the data are, and what the probes make of the embeddings; then the report.

`hares evaluate` and the pipeline's Evaluator feed it, each from its own storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.leakage import ClipIdentity, check_leakage
from hares.own_classifier import OwnClassifier
from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.scoring import SourceSummary, TaskScore, build_report, not_scored, score_task, source_summary
from hares.task import Slot, Task, load_task, task_names


class Benchmark:
    """The scores of one encoder, as they come in."""

    def __init__(self, settings: ProtocolSettings) -> None:
        self._settings = settings
        self._slots: dict[str, tuple[Slot, ...]] = {}
        self._sources: dict[str, SourceSummary] = {}
        self._scores: dict[str, TaskScore] = {}
        self._untrained: dict[str, TaskScore] = {}

    def describe(self, task: Task, manifest: Mapping[str, Any], clips: Iterable[ClipIdentity]) -> None:
        """Takes what ingestion found; comes before `score`.

        Args:
            task: the protocol's record.
            manifest: of the task (`hares.ingest.build_manifest`).
            clips: those that were used, which may be gone through several times.
        """
        self._slots[task.name] = tuple(
            Slot(slot["name"], tuple(slot["classes"])) for slot in manifest["slots"]
        )
        self._sources[task.name] = source_summary(manifest, check_leakage(task, clips))

    def score(
        self,
        task: Task,
        data: TaskEmbeddings,
        own_classifier: OwnClassifier | None = None,
        untrained: bool = False,
    ) -> None:
        """Scores the embeddings of a task; `untrained` are those of the same encoder with its initial weights.

        Raises:
            ValueError: as `hares.scoring.score_task`.
        """
        scores = self._untrained if untrained else self._scores
        scores[task.name] = score_task(task, self._slots[task.name], data, self._settings, own_classifier)

    def fail(self, task: Task, reason: str) -> None:
        """Records that a task has no score, and why."""
        self._scores[task.name] = not_scored(task, self._settings, reason)

    @property
    def predictions(self) -> dict[str, Predictions]:
        """The answers, clip by clip, of the tasks that are scored."""
        return {name: score.predictions for name, score in self._scores.items() if score.predictions}

    def report(self, encoder: Mapping[str, Any]) -> dict[str, Any]:
        """The report of all twelve tasks (`hares.scoring.build_report`)."""
        tasks = [load_task(name) for name in task_names()]
        return build_report(tasks, self._scores, self._untrained, self._sources, self._settings, encoder)
