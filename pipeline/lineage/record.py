"""What is recorded of a run: who ran which code and settings, where and when, and what came out.

It stands in the custom properties of the run's `pipeline_run` context, the one that TFX makes too, so every step
and artifact of the run is one look-up away; artifacts carry their own facts, written by the components. Nothing here
is an execution property: a new revision or another hour must not spoil the cache.

The settings, whole, are in a context of type `hares.Config` named by their digest: thousands of runs of one config
hold them once. When a run has ended its scores stand on its context as well, so that one query finds runs by score.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from hares.digests import file_digest
from pipeline.lineage.store import BLESSING_TYPE, REPORT_TYPE

RUN_TYPE = "pipeline_run"  # TFX's
CONFIG_TYPE = "hares.Config"
UNKNOWN = "unknown"
SCORE = "score/"  # prefix of the scores on a run's context
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
        workspace: id of the workspace that it is of; "" where it has none, as on a cluster.
    """

    config: Mapping[str, Any]
    preset: str
    target: str
    run_key: str
    code: Mapping[str, str]
    workspace: str = ""


def begin_run(store: MetadataStore, run_id: str, facts: RunFacts, project: Path) -> None:
    """Records a run that is about to start.

    Args:
        store: the store.
        run_id: name of the run's context.
        facts: what is known of it.
        project: folder of the code, for its revision and its lock file.
    """
    digest = put_config(store, facts.config)
    revision, clean = revision_of(project)
    _update(
        store,
        run_id,
        {
            "config_digest": digest,
            "preset": facts.preset,
            "target": facts.target,
            "run_key": facts.run_key,
            "code": json.dumps(dict(facts.code), sort_keys=True),
            "git_revision": revision,
            "git_clean": clean,
            "lock_digest": _lock_digest(project),
            "user": _user(),
            "process": this_process(),
            "start": moment_text(datetime.now(timezone.utc)),
            "status": RUNNING,
            **({"workspace": facts.workspace} if facts.workspace else {}),
        },
    )


def end_run(store: MetadataStore, run_id: str, status: str) -> None:
    """Records that a run has ended, how, and what it came to.

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
                task, _, what = name.rpartition("/")
                if what == "score" or (name.startswith("domain/") and name.count("/") == 1):
                    found[SCORE + (task if what == "score" else what)] = properties[name].double_value
                elif name == "hares":
                    found[f"{SCORE}hares"] = properties[name].double_value
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

    Both are "unknown" where there is no git, or the code is in no repository: a repository that merely encloses
    an installed package does not track its files.
    """
    here = Path(__file__).resolve()
    if _git(project, "ls-files", "--error-unmatch", str(here)) is None:
        return UNKNOWN, UNKNOWN
    revision = _git(project, "rev-parse", "HEAD")
    changes = _git(project, "status", "--porcelain")
    if revision is None or changes is None:
        return UNKNOWN, UNKNOWN
    return revision.strip(), "no" if changes.strip() else "yes"


def this_process() -> str:
    """This process as `host pid start`, the start in clock ticks since boot where the system tells it."""
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())}"


def process_start(pid: int) -> str:
    """When a process of this machine started, "" where it is gone or the system does not tell."""
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
    try:  # a system that does not tell when a process started
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except PermissionError:
        return LIVE
    return LIVE


def running(store: MetadataStore) -> list[tuple[pb.Context, str]]:
    """Every run that is recorded as running, with the state of its process."""
    query = f"type = '{RUN_TYPE}' AND custom_properties.status.string_value = '{RUNNING}'"
    try:
        found = store.get_contexts(ListOptions(filter_query=query))
    except errors.NotFoundError:
        return []
    return [(run, process_state(run.custom_properties["process"].string_value)) for run in found]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _lock_digest(project: Path) -> str:
    lock = project / "requirements.lock"
    return file_digest(lock) if lock.is_file() else UNKNOWN


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id that has no name
        return UNKNOWN


def moment_text(moment: datetime) -> str:
    """A moment as runs record it, in UTC: texts in the order of their moments."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def put_config(store: MetadataStore, config: Mapping[str, Any]) -> str:
    """Puts settings, whole, into a context of their own, once; returns their digest, which is its name."""
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


def _update(store: MetadataStore, run_id: str, values: Mapping[str, str | int | float]) -> None:
    """Adds properties to the run's context, which is made where TFX has not made it yet."""
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id) or pb.Context(
        name=run_id, type_id=_context_type(store, RUN_TYPE)
    )
    for name, value in values.items():
        if isinstance(value, str):
            context.custom_properties[name].string_value = value
        elif isinstance(value, int):
            context.custom_properties[name].int_value = value
        else:
            context.custom_properties[name].double_value = value
    store.put_contexts([context])


def _context_type(store: MetadataStore, name: str) -> int:
    return int(store.put_context_type(pb.ContextType(name=name), can_add_fields=True))
