"""What is recorded of a run and of a study: who ran which code and settings, where and when, and what came out.

It is in the custom properties of the run's `pipeline_run` context, which TFX makes too, so every step and artifact of
the run is one look-up away. ML Metadata reads every property of every context that it looks through, one row each, so
all that need not stand alone is one JSON text, the property `facts`. Artifacts carry their own facts, written by the
components. Nothing here is an execution property: a new revision or another hour must not spoil the cache.

The settings are whole in a context of type `hares.Config`, named by their digest, so thousands of runs of one config
share it. When a run ends its scores are recorded among its facts as well, so runs are found by score.

A study is a context of type `hares.Study` above the contexts of its runs; their executions and artifacts are the
study's as well. What a study needs to know to resume is on the run's own context: the cell, the run key, how the run
ended, and its report.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import parse_key
from hares.digests import file_digest
from hares.version_lines import this_lock

RUN_TYPE, PIPELINE_TYPE = "pipeline_run", "pipeline"  # TFX's
BLESSING_TYPE = "ModelBlessing"
REPORT_TYPE = "components.ProbeReport"
CONFIG_TYPE = "hares.Config"
STUDY_TYPE = "hares.Study"
UNKNOWN = "unknown"
IMAGE_REVISION = "HARES_REVISION"  # set by the Dockerfile
SCORE = "score/"  # prefix of the scores among a run's facts
FACTS = "facts"  # property of a run's context: a JSON object
RECORDED = "recorded"  # parameter of a compiled pipeline: what it brings of these facts, and its settings
_ALONE = frozenset(
    {"status", "start", "end", "process", "workspace"}
)  # facts that are properties of their own
RUNNING, COMPLETE, FAILED = "running", "complete", "failed"
LIVE, GONE, NOT_KNOWN = "live", "gone", "unknown"  # of a process


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run when it starts.

    Attributes:
        config: the settings, as plain data.
        preset: the preset that they started from.
        target: where the run runs, as in "local".
        run_key: digest of settings, data and code.
        code: digest of the code of each component.
        workspace: id of its workspace; "" if it has none, as on a cluster.
    """

    config: Mapping[str, Any]
    preset: str
    target: str
    run_key: str
    code: Mapping[str, str]
    workspace: str = ""


@dataclass(frozen=True)
class CellRecord:
    """How the run of a study's cell ended.

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


def begin_run(store: MetadataStore, run_id: str, pipeline: str, facts: RunFacts, project: Path) -> None:
    """Records a run that is about to start.

    Args:
        store: the store.
        run_id: name of the run's context.
        pipeline: the pipeline's name.
        facts: what is known of it.
        project: folder of the code, for its revision and its lock file.
    """
    _update(
        store,
        run_id,
        {
            "pipeline": pipeline,
            "config_digest": put_config(store, facts.config),
            "target": facts.target,
            "run_key": facts.run_key,
            **facts_of_start(facts.preset, facts.code, project),
            "process": this_process(),
            "start": moment_text(datetime.now(timezone.utc)),
            "status": RUNNING,
            **({"workspace": facts.workspace} if facts.workspace else {}),
        },
    )


def facts_of_start(preset: str, code: Mapping[str, str], project: Path) -> dict[str, str]:
    """Facts that are known where a run is started or compiled: who, from which preset, revision, lock and code."""
    revision, clean = revision_of(project)
    return {
        "preset": preset,
        "code": json.dumps(dict(code), sort_keys=True),
        "git_revision": revision,
        "git_clean": clean,
        "lock_digest": _lock_digest(project),
        "user": _user(),
    }


def end_run(store: MetadataStore, run_id: str, status: str) -> None:
    """Records that a run has ended, how, and its outcome.

    Args:
        store: the store.
        run_id: name of the run's context.
        status: "complete" or "failed".
    """
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    found = outcome_of(store.get_artifacts_by_context(context.id)) if context else {}
    _update(store, run_id, {**found, "end": moment_text(datetime.now(timezone.utc)), "status": status})


def outcome_of(artifacts: list[pb.Artifact]) -> dict[str, str | int | float]:
    """The scores, encoder, objective, span and verdict among the artifacts of one run."""
    found: dict[str, str | int | float] = {}
    for artifact in sorted(artifacts, key=lambda a: a.id):
        properties = artifact.custom_properties
        if artifact.type == REPORT_TYPE:
            found["report_id"] = str(artifact.id)
            for name in properties:
                if (score := parse_key(name)) is not None:
                    found[SCORE + score] = properties[name].double_value
        elif artifact.type == "Model":
            for name in ("encoder", "objective", "weights_digest"):
                if name in properties:
                    found[name] = properties[name].string_value
        elif artifact.type == BLESSING_TYPE and "blessed" in properties:
            found["blessed"] = int(properties["blessed"].int_value)
        elif artifact.type == "components.AudioManifest" and "span" in properties:
            found["span"] = properties["span"].string_value
    return found


def revision_of(project: Path) -> tuple[str, str]:
    """The git revision of the code, and "yes" or "no" for a tree without changes and untracked files.

    Without git, or if no repository tracks the code, as when one merely encloses an installed package, the revision is
    that of the image, and "unknown" outside one.
    """
    here = Path(__file__).resolve()
    if _git(project, "ls-files", "--error-unmatch", str(here)) is None:
        return os.environ.get(IMAGE_REVISION) or UNKNOWN, UNKNOWN
    revision = _git(project, "rev-parse", "HEAD")
    changes = _git(project, "status", "--porcelain")
    if revision is None or changes is None:
        return UNKNOWN, UNKNOWN
    return revision.strip(), "no" if changes.strip() else "yes"


def this_process() -> str:
    """This process as `host pid start`; the start is in clock ticks since boot, if the system reports it."""
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())}"


def process_start(pid: int) -> str:
    """When a process of this machine started; "" if it is gone or the system does not report it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def process_state(text: str) -> str:
    """Whether the process that a run recorded is "live", "gone", or "unknown" from here."""
    words = text.split(" ")
    if len(words) != 3 or words[0] != socket.gethostname() or not words[1].isdecimal():
        return NOT_KNOWN
    pid, start = int(words[1]), words[2]
    if start:
        return LIVE if process_start(pid) == start else GONE
    try:  # a system that does not report when a process started
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except PermissionError:
        return LIVE
    return LIVE


def running(runs: Iterable[pb.Context]) -> list[tuple[pb.Context, str]]:
    """Those of some runs that are recorded as running, each with the state of its process."""
    found = [(run, recorded_of(run)) for run in runs]
    return [
        (run, process_state(recorded.get("process", "")))
        for run, recorded in found
        if recorded.get("status") == RUNNING
    ]


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
    """Adds a finished run to its study. Repeating it changes nothing.

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
    store.put_contexts([run])  # last, so a recorded state means that the rest is recorded


def complete_cells(store: MetadataStore, study: str) -> dict[str, CellRecord]:
    """The finished cells of a study by run key, the latest run of each. Nothing is written."""
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


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _lock_digest(project: Path) -> str:
    lock = project / this_lock()
    return file_digest(lock) if lock.is_file() else UNKNOWN


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id that has no name
        return UNKNOWN


def moment_text(moment: datetime) -> str:
    """A moment as runs record it: text in UTC, which sorts by time."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def put_config(store: MetadataStore, config: Mapping[str, Any]) -> str:
    """Stores settings once, in a context that is named by their digest; returns the digest."""
    text = json.dumps(config, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if store.get_context_by_type_and_name(CONFIG_TYPE, digest) is None:
        context = pb.Context(name=digest, type_id=_context_type(store, CONFIG_TYPE))
        context.custom_properties["config"].string_value = text
        with contextlib.suppress(
            errors.AlreadyExistsError
        ):  # another run, at this moment, with the same settings
            store.put_contexts([context])
    return digest


def recorded_of(run: pb.Context) -> dict[str, Any]:
    """All that a run's context records, by name; a run of an earlier version has each fact in its own property."""
    values = {
        name: getattr(value, value.WhichOneof("value")) for name, value in run.custom_properties.items()
    }
    packed = json.loads(values.pop(FACTS, "{}"))
    return {**values, **packed}


def properties_of_facts(facts: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    """A run's facts as the properties of its context."""
    alone = {name: value for name, value in facts.items() if name in _ALONE}
    packed = {name: value for name, value in facts.items() if name not in _ALONE}
    return {**alone, FACTS: json.dumps(packed, sort_keys=True)}


def _update(store: MetadataStore, run_id: str, values: Mapping[str, str | int | float]) -> None:
    """Adds facts to the run's context, which is made if TFX has not made it yet."""
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id) or pb.Context(
        name=run_id, type_id=_context_type(store, RUN_TYPE)
    )
    there = json.loads(context.custom_properties[FACTS].string_value or "{}")
    for name, value in properties_of_facts({**there, **values}).items():
        context.custom_properties[name].string_value = str(value)
    store.put_contexts([context])


def _context_type(store: MetadataStore, name: str) -> int:
    return int(store.put_context_type(pb.ContextType(name=name), can_add_fields=True))
