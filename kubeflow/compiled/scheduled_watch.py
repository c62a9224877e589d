"""A pipeline of one step for a schedule: it submits a run for each span that has arrived, as `hares watch` does.

A compiled file is fixed: its spans, the model to start from and the baseline are those of the day it was compiled. So
the schedule's step compiles anew, in a pod that mounts what the runs mount, and waits until the run has ended. It calls
the cluster from inside, where none of the submitter's files and gateways are.

    python -m kubeflow.compiled.scheduled_watch CLUSTER_FILE_AS_JSON WORDS_OF_HARES_WATCH...
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kubeflow.cluster_file import ClusterConfig
from kubeflow.clusters import ClusterKind
from kubeflow.compiled.compile import complete, job_text
from kubeflow.compiled.file import SCHEMA

STEP = "watch"
# Where Kubeflow Pipelines' services are for pods, as its own client and launcher have it: kfp 2.5.0, client/client.py,
# _IN_CLUSTER_DNS_NAME, and kubeflow/pipelines 2.5.0, backend/src/v2/metadata/env.go.
_HOST = "http://ml-pipeline.kubeflow:8888"
_METADATA = "grpc://metadata-grpc-service.kubeflow:8080?plaintext=true"
_PROJECTED = "/var/run/secrets/kubeflow/pipelines/token"  # kfp 2.5.0, client/__init__.py
# Of a cluster file's `service`: what is true in a pod too. The rest is the submitter's way in.
_KEPT = ("namespace", "experiment", "project", "region", "endpoint", "service_account", "pipeline_root")
CLUSTER = "{CLUSTER}"  # in the words: the cluster file in the pod


def watch_words(target: ClusterKind, source: str, window: int, marker: str, workspace: str) -> list[str]:
    """The words of `hares watch` in a pod, up to the options of `hares compile` that the user gives.

    Args:
        target: kind of cluster.
        source: pattern of the spans' folders as the pods see them.
        window: how many of the newest spans a run takes.
        marker: file that marks a span as complete.
        workspace: folder of the ledger: that of the cluster file.
    """
    watch = [
        "hares", "watch", "--target", target, "--cluster", CLUSTER, "--source", source, "--marker", marker,
        "--workspace", workspace, "--once", "--wait",
    ]  # fmt: skip
    settings = ("source={SOURCE}", f"window={window}", "span={SPAN}")
    own = [word for setting in settings for word in ("--set", f"pretraining.{setting}")]
    return [
        *watch, "--", "hares", "compile", "--target", target, "--cluster", CLUSTER, "--output", "{OUTPUT}", *own,
    ]  # fmt: skip


def watch_pipeline(cluster: ClusterConfig, content: Mapping[str, Any], words: Sequence[str]) -> str:
    """The compiled file's text.

    Args:
        cluster: the cluster file's settings; `images.watch` and `resources.watch` are the step's.
        content: of the same file, as it was written.
        words: the command, as `watch_words` begins it.
    """
    label = f"{STEP}_executor"
    inside = json.dumps(_from_inside(content, cluster.target), sort_keys=True)
    container = {
        "command": ["python", "-m", "kubeflow.compiled.scheduled_watch"],
        "args": [inside, *words],
    }
    spec = {
        "pipelineInfo": {"name": f"hares-{STEP}"},
        "schemaVersion": SCHEMA,
        "components": {STEP: {"executorLabel": label}},
        "deploymentSpec": {"executors": {label: {"container": container}}},
        "root": {
            "dag": {
                "tasks": {STEP: {"componentRef": {"name": STEP}, "taskInfo": {"name": STEP}, "inputs": {}}}
            }
        },
    }
    return job_text(complete({"pipelineSpec": spec}, cluster, {}), cluster)


def _from_inside(content: Mapping[str, Any], target: ClusterKind) -> dict[str, Any]:
    service = {name: value for name, value in content["service"].items() if name in _KEPT}
    if target == "kubeflow":
        service |= {"host": _HOST, "metadata_store": _METADATA}
    return {**content, "service": service}


def main(arguments: Sequence[str]) -> None:
    """Writes the cluster file, and becomes the command."""
    content, *words = arguments
    cluster = json.loads(content)
    if Path(_PROJECTED).is_file():
        cluster["service"]["token_file"] = _PROJECTED
    path = Path(tempfile.mkdtemp(prefix="hares-watch-")) / "cluster.yaml"
    path.write_text(yaml.safe_dump(cluster), encoding="utf-8")
    command = [word.replace(CLUSTER, str(path)) for word in words]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
