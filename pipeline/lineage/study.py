"""Studies in ML Metadata: one context of type `hares.Study` for a study, above the contexts of its runs.

A run's `pipeline_run` context becomes a child of the study's, and its executions and artifacts are the study's as well,
so that one look-up of the study's context gives everything that made its table. What the study needs to know when it
resumes stands on the run's own context: the cell, the run key (settings, data and code), how it ended, its report.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

STUDY_TYPE = "hares.Study"
RUN_TYPE = "pipeline_run"  # TFX's
COMPLETE, FAILED = "complete", "failed"


@dataclass(frozen=True)
class CellRecord:
    """How a run of one cell ended.

    Attributes:
        cell: the cell's name.
        run_key: digest of settings, data and code of the run.
        state: "complete" or "failed".
        report: folder of its report, or "".
        error: why it failed, or "".
        seconds: how long it took.
    """

    cell: str
    run_key: str
    state: str
    report: str
    error: str
    seconds: float


def study_context(store: MetadataStore, name: str) -> pb.Context:
    """The context of a study; the first call makes it."""
    found = store.get_context_by_type_and_name(STUDY_TYPE, name)
    if found is not None:
        return found
    type_id = store.put_context_type(pb.ContextType(name=STUDY_TYPE))
    (context_id,) = store.put_contexts([pb.Context(type_id=type_id, name=name)])
    (context,) = store.get_contexts_by_id([context_id])
    return context


def attach_run(store: MetadataStore, study: pb.Context, run_id: str, record: CellRecord) -> None:
    """Puts a run that has ended under its study. Doing it again changes nothing.

    Raises:
        LookupError: the store has no run of this id.
    """
    run = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    if run is None:
        raise LookupError(f"run {run_id} is not in the store, so it cannot be put under study {study.name}")
    store.put_attributions_and_associations(
        [
            pb.Attribution(artifact_id=a.id, context_id=study.id)
            for a in store.get_artifacts_by_context(run.id)
        ],
        [
            pb.Association(execution_id=e.id, context_id=study.id)
            for e in store.get_executions_by_context(run.id)
        ],
    )
    if run.id not in [context.id for context in store.get_children_contexts_by_context(study.id)]:
        store.put_parent_contexts([pb.ParentContext(child_id=run.id, parent_id=study.id)])
    properties = run.custom_properties
    for name in ("cell", "run_key", "state", "report", "error"):
        properties[f"study_{name}"].string_value = getattr(record, name)
    properties["study_seconds"].double_value = record.seconds
    store.put_contexts([run])  # last: where the state is, all the rest is


def complete_cells(store: MetadataStore, study: str) -> dict[str, CellRecord]:
    """The cells of a study that are done, by run key; the latest run of each. Nothing is made in the store."""
    found = {}
    context = store.get_context_by_type_and_name(STUDY_TYPE, study)
    runs = store.get_children_contexts_by_context(context.id) if context else []
    for run in sorted(runs, key=lambda run: run.id):
        properties = run.custom_properties
        if "study_state" in properties and properties["study_state"].string_value == COMPLETE:
            record = CellRecord(
                cell=properties["study_cell"].string_value,
                run_key=properties["study_run_key"].string_value,
                state=COMPLETE,
                report=properties["study_report"].string_value,
                error=properties["study_error"].string_value,
                seconds=properties["study_seconds"].double_value,
            )
            found[record.run_key] = record
    return found
