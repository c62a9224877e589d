"""What a compiled pipeline needs to know of a cluster: images, storage, and what each step runs on.

One YAML file (`--cluster FILE`); its `service` group says how to reach the cluster and is read elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.settings import SettingError, override

Target = Literal["vertex", "kubeflow"]
# Kinds of steps, each with images and resources of its own; `pipeline.pipeline` names the steps.
STEP_KINDS = (
    "ingest",
    "base",
    "schema",
    "statistics",
    "transform",
    "trainer",
    "embed",
    "evaluator",
    "pusher",
)
_LABEL = re.compile(r"[a-z]([a-z0-9_-]{0,62})")
_MEMORY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Gi|G|Mi|M)")


@dataclass(frozen=True)
class Resources:
    """What a step's pod or machine has; "" and 0 leave it to the cluster.

    Attributes:
        cpu: cores, as in "4" or "0.5".
        memory: as in "16Gi" or "500M".
        accelerator: type, as in "nvidia-l4" or, on Kubeflow, the resource's name "nvidia.com/gpu" or
            "google.com/tpu".
        accelerator_count: how many.
        node_selector: labels that the node must have, Kubeflow only.
        retries: how often a failed step is tried again.
    """

    cpu: str = ""
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    retries: int = 2

    def __post_init__(self) -> None:
        if self.cpu and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", self.cpu):
            raise SettingError(f"cpu: got {self.cpu!r}; accepted are cores, as in '4' or '0.5'")
        if self.memory and not _MEMORY.fullmatch(self.memory):
            raise SettingError(f"memory: got {self.memory!r}; accepted are sizes, as in '16Gi' or '500M'")
        if bool(self.accelerator) != (self.accelerator_count > 0):
            raise SettingError(
                f"accelerator and accelerator_count: got {self.accelerator!r} and {self.accelerator_count}; "
                "give both or neither"
            )
        if not 0 <= self.retries <= 10:
            raise SettingError(f"retries: got {self.retries}; accepted are 0 to 10")


@dataclass(frozen=True)
class ClusterConfig:
    """Settings of `hares compile`.

    Attributes:
        target: "vertex" or "kubeflow".
        image: what every step runs in.
        images: kind of step (`STEP_KINDS`) to another image, as for a trainer on TPUs.
        pipeline_root: folder of all artifacts, as in "gs://bucket/hares".
        workspace: folder of checkpoints, pushed models and imported files, by a path that every step and the machine
            that compiles see: a mounted volume, or on Vertex the bucket's "/gcs/BUCKET/...".
        volumes: name of a persistent volume claim to the path at which every step has it, Kubeflow only.
        resources: kind of step to `Resources`.
        labels: put on the run, as in {"cost_centre": "audio"}.
    """

    target: Target = "kubeflow"
    image: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    pipeline_root: str = ""
    workspace: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Resources] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _EXAMPLES:
            if not getattr(self, name):
                raise SettingError(f"{name}: is missing; {_EXAMPLES[name]}")
        for group in ("images", "resources"):
            for kind in getattr(self, group):
                if kind not in STEP_KINDS:
                    raise SettingError(
                        f"{group}.{kind}: no such kind of step; there are {', '.join(STEP_KINDS)}"
                    )
        if self.volumes and self.target == "vertex":
            raise SettingError("volumes: Vertex mounts none; its steps see buckets below /gcs")
        for kind, resources in self.resources.items():
            if resources.node_selector and self.target == "vertex":
                raise SettingError(
                    f"resources.{kind}.node_selector: Vertex has no nodes to select; give an accelerator"
                )
        for key, value in self.labels.items():
            if not _LABEL.fullmatch(key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", str(value)):
                raise SettingError(
                    f"labels.{key}: {value!r}: accepted are up to 63 of a-z, 0-9, _ and -, keys starting with a letter"
                )

    def image_of(self, kind: str) -> str:
        """The image that steps of a kind run in."""
        return self.images.get(kind, self.image)

    def resources_of(self, kind: str) -> Resources:
        """What steps of a kind run on."""
        return self.resources.get(kind, Resources())


_EXAMPLES = {
    "image": "as in REGION-docker.pkg.dev/PROJECT/hares/pipeline:TAG",
    "pipeline_root": "as in gs://BUCKET/hares, or a folder that all pods mount",
    "workspace": "as in /gcs/BUCKET/hares on Vertex, or a folder that all pods mount",
}


def load_cluster(path: Path, target: Target) -> ClusterConfig:
    """The cluster file's settings for a target.

    Raises:
        SettingError: no such file, not YAML, or a wrong setting; the message names it.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"--cluster {path}: {error.strerror}; docs/compile.md shows one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"--cluster {path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f"--cluster {path}: expected settings as `key: value` lines")
    values = {key: value for key, value in values.items() if key != "service"}
    written = values.pop("target", target)
    if written != target:
        raise SettingError(f"--cluster {path}: it is for target {written}, and --target is {target}")
    try:
        return _cluster(values, target)
    except SettingError as error:
        raise SettingError(f"--cluster {path}: {error}") from error


def _cluster(values: dict[str, Any], target: Target) -> ClusterConfig:
    groups = values.get("resources") or {}
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        raise SettingError("resources: accepted are settings by kind of step, as in {trainer: {cpu: '8'}}")
    resources = {kind: override(Resources(), group, f"resources.{kind}.") for kind, group in groups.items()}
    known = ("image", "images", "pipeline_root", "workspace", "volumes", "labels", "resources")
    for name in values:
        if name not in known:
            raise SettingError(f"unknown setting {name}. There are: {', '.join(known)}, service, target")
    return ClusterConfig(
        target, str(values.get("image", "")), values.get("images") or {}, str(values.get("pipeline_root", "")),
        str(values.get("workspace", "")), values.get("volumes") or {}, resources, values.get("labels") or {},
    )  # fmt: skip


def step_kind(step: str) -> str:
    """The kind of a step, by its id in the pipeline: embed_esc50 is "embed"."""
    head = step.split("_", 1)[0]
    if head not in STEP_KINDS:
        raise ValueError(f"step {step}: no such kind; there are {', '.join(STEP_KINDS)}")
    return head
