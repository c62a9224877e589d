"""What a person may ask about: an artifact by id or path, or a score of a run by its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import (
    HARES,
    PUSHED,
    PUSHED_DESTINATION,
    bound_keys,
    parse_key,
    score_key,
    task_of_input,
)
from hares.task import DOMAINS, load_task, task_names
from pipeline.lineage.graph import Step
from pipeline.lineage.record import REPORT_TYPE, SCORE
from pipeline.lineage.runs import LATEST, find_run
from pipeline.lineage.store import PUSHED_TYPE
from workarounds.ml_metadata import nodes

_DEPTH = 8  # how many folders above a file are searched for its artifact


@dataclass(frozen=True)
class LineageTarget:
    """An artifact, or one number of a report.

    Attributes:
        artifact: the artifact; of a score, its report.
        score: its name, or "" for the artifact itself.
        value, low, high: of the score, if there is one.
        tasks: the tasks that the score is made of.
    """

    artifact: pb.Artifact
    score: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    tasks: tuple[str, ...] = ()

    def keeps(self, step: Step, key: str) -> bool:
        """Whether this input contributed to the score: other tasks' embeddings did not."""
        if not self.score or self.artifact.id not in {link.artifact_id for link in step.outputs}:
            return True
        task = task_of_input(key)
        return task is None or task in self.tasks


def find_target(store: MetadataStore, text: str, run: str = LATEST) -> LineageTarget:
    """The target that a person names.

    Args:
        store: the store.
        text: a score ("hares", a domain, a task), an artifact's id, or a path: an artifact's folder, a file in it,
            or a pushed model.
        run: whose score, as `find_run` takes it.

    Raises:
        LookupError: nothing has this name; the message lists what there is.
    """
    if _tasks_of(text):
        return _score(store, text, run)
    if text.isdecimal():
        found = store.get_artifacts_by_id([int(text)])
        if not found:
            raise LookupError(f"artifact {text}: the store has none with this id")
        return LineageTarget(found[0])
    artifact = artifact_at(store, text)
    if artifact is None:
        names = ", ".join((HARES, *DOMAINS, *task_names()))
        raise LookupError(
            f"{text!r} is neither an artifact's id or folder nor a score; scores are {names}. Is it of "
            "another workspace?"
        )
    return LineageTarget(artifact)


def artifact_at(store: MetadataStore, path: str) -> pb.Artifact | None:
    """The artifact whose folder, or pushed copy, a path is or lies in; None if there is none."""
    folders = [path if "://" in path else str(Path(path).resolve())]
    while len(folders) < _DEPTH:
        folders.append(os.path.dirname(folders[-1]))
    for folder in folders:
        if found := store.get_artifacts_by_uri(folder):
            return found[0]
    pushed: dict[str, pb.Artifact] = {}
    for artifact in nodes(store, "artifact", PUSHED_TYPE, newest_first=True):
        if artifact.custom_properties[PUSHED].int_value:
            pushed.setdefault(artifact.custom_properties[PUSHED_DESTINATION].string_value, artifact)
    return next((pushed[folder] for folder in folders if folder in pushed), None)


def _score(store: MetadataStore, text: str, run_name: str) -> LineageTarget:
    run = find_run(store, run_name)
    name = _score_name(text)
    if name not in run.scores:
        has = ", ".join(run.scores) or "none: its evaluator did not end"
        raise LookupError(f"run {run.run_id} has no score {name!r}; it has {has}")
    reports = [a for a in store.get_artifacts_by_context(run.context_id) if a.type == REPORT_TYPE]
    report = max(reports, key=lambda a: a.id)
    properties = report.custom_properties
    value, low, high = (
        properties[key].double_value if key in properties else None
        for key in (score_key(name), *bound_keys(name))
    )
    return LineageTarget(report, name, value, low, high, _tasks_of(name))


def _tasks_of(text: str) -> tuple[str, ...]:
    """The tasks that a score is made of; none where `text` names no score."""
    name = _score_name(text)
    if name == HARES:
        return task_names()
    if name in DOMAINS:
        return tuple(task for task in task_names() if load_task(task).domain == name)
    return (name,) if name in task_names() else ()


def _score_name(text: str) -> str:
    """The name of a score, also where a person gives its property on a report or on a run."""
    return parse_key(text) or text.removeprefix(SCORE)
