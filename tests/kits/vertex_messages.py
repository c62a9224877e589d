"""What Vertex AI checks and does with the messages it is sent, for the server on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

from google.protobuf import field_mask_pb2, json_format

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, code: int, status: str, message: str):
        super().__init__(message)
        self.code, self.status = code, status


def parsed(kind: Any, body: Any) -> Any:
    return kind.wrap(json_format.ParseDict(body, kind.pb(kind())))


def as_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(type(message).pb(message), use_integers_for_enums=True)


def masked(item: Any, mask: str) -> Any:
    paths = field_mask_pb2.FieldMask()
    paths.FromJsonString(mask)
    kind = type(item)
    shown = kind.pb(kind())
    if not paths.IsValidForDescriptor(shown.DESCRIPTOR):
        raise Refused(400, "INVALID_ARGUMENT", f"read_mask {mask}")
    paths.MergeMessage(kind.pb(item), shown)
    return kind.wrap(shown)


def passes(item: Any, written: str) -> bool:
    for term in filter(None, written.split(" AND ")):
        match = re.fullmatch(r'labels\.(\w+)(:\*|="?([a-z0-9_-]*)"?)', term)
        if not match:
            raise Refused(400, "INVALID_ARGUMENT", f"filter {written}")
        key, _, value = match.groups()
        if key not in item.labels or (value is not None and item.labels[key] != value):
            return False
    return True


def when_due(schedule: Any, unended: int) -> str:
    """What a schedule does with a run that is due: "start", "queue" or "skip".

    As the fields' comments say (google/cloud/aiplatform_v1/types/schedule.py): `max_concurrent_run_count` limits
    "starting the scheduled requests and not the execution", so only `max_concurrent_active_run_count` counts runs that
    have not ended; `allow_queueing`: "new runs will be queued instead of skipped".
    """
    most = schedule.max_concurrent_active_run_count
    if not most or unended < most:
        return "start"
    return "queue" if schedule.allow_queueing else "skip"


def check_labels(labels: Any) -> None:
    if len(labels) > 64 or not all(
        _LABEL_KEY.fullmatch(k) and _LABEL_VALUE.fullmatch(v) for k, v in labels.items()
    ):
        raise Refused(400, "INVALID_ARGUMENT", f"labels {dict(labels)}")


def check_job(job: Any) -> None:
    check_labels(job.labels)
    if "root" not in job.pipeline_spec or not job.runtime_config.gcs_output_directory:
        raise Refused(
            400, "INVALID_ARGUMENT", "pipeline_spec and runtime_config.gcs_output_directory are required"
        )


def start_replicas(job: Any) -> list[subprocess.Popen[bytes]]:
    """Every replica as a process with the TF_CONFIG that Vertex sets: pool 0 is the chief, pool 1 the workers."""
    pools = job.job_spec.worker_pool_specs
    kinds = ("chief", "worker", "ps", "evaluator")
    cluster = {
        kinds[at]: [f"{kinds[at]}-{i}:2222" for i in range(p.replica_count)] for at, p in enumerate(pools)
    }
    processes = []
    for at, pool in enumerate(pools):
        spec = pool.container_spec
        for index in range(pool.replica_count):
            environment = {**os.environ, **{variable.name: variable.value for variable in spec.env}}
            if len(pools) > 1:
                task = {"type": kinds[at], "index": index}
                environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
            words = [
                word.replace("$$(", "$(") for word in spec.args
            ]  # Vertex fills in $(NAME); $$( is a plain $(
            processes.append(subprocess.Popen([*spec.command, *words], env=environment))
    return processes
