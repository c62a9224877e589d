"""What a compiled pipeline needs to know of a cluster: images, storage, and what each step runs on.

One YAML file (`--cluster FILE`); its `service` group (`kubeflow.service_config`) says how to reach the cluster, and is
read here only for steps that speak to it themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import yaml

from kubeflow.hardware import HardwareSpec
from kubeflow.registration import Registration
from kubeflow.service_config import ServiceConfig, load_service
from pipeline.beam_args import DASK, checked_beam_args
from pipeline.hosts import without_user
from pipeline.settings import SettingError, check_path, override, refuse_secrets

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

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
# What Kubernetes and Vertex both take as a label.
_LABEL = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)?")
OWN_LABELS = ("revision", "run_key", "hares_key")
_MEMORY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Gi|G|Mi|M)")


@dataclass(frozen=True)
class Resources:
    """What a step's pod or machine has; "" and 0 leave it to the cluster.

    Attributes:
        cpu: cores, as in "4" or "0.5".
        memory: as in "16Gi" or "500M".
        accelerator: on Vertex a type, as in "NVIDIA_TESLA_T4" or "TPU_V3"; on Kubeflow the resource's name
            "nvidia.com/gpu" or "google.com/tpu".
        accelerator_count: how many.
        node_selector: labels that the node must have, Kubeflow only.
        retries: how often a failed step is tried again.
        cache: whether the cluster may take the result of an earlier, equal step.
        custom_job: machines that the step's command runs on, in a custom job for which the step waits; Vertex only.
    """

    cpu: str = ""
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    retries: int = 2
    cache: bool = True
    custom_job: HardwareSpec | None = None

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
        if self.custom_job and (self.cpu or self.memory or self.accelerator):
            raise SettingError(
                "custom_job: its machine_type and accelerator say what the step has; leave out cpu, memory and "
                "accelerator beside it"
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
        pipeline_root: address of all artifacts, as in "gs://bucket/hares".
        workspace: folder of checkpoints, pushed models and imported files, by a path that every step and the machine
            that compiles see: a mounted volume, or on Vertex the bucket's "/gcs/BUCKET/...".
        volumes: name of a persistent volume claim to the path at which every step has it, Kubeflow only.
        resources: kind of step to `Resources`.
        labels: put on the run, as in {"cost_centre": "audio"}.
        beam_args: flags for the Beam steps, after the pipeline's own, as in "--runner=DataflowRunner".
        beam_image: what Beam's workers run in, where they are others than the step's own pod; "" leaves it to Beam.
        model_registry: where pushed models become versions of a model, Vertex only; None for nowhere.
        service: how steps that speak to the cluster reach it: those with a custom job, and the pusher that registers.
    """

    target: Target = "kubeflow"
    image: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    pipeline_root: str = ""
    workspace: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Resources] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    beam_args: tuple[str, ...] = ()
    beam_image: str = ""
    model_registry: Registration | None = None
    service: ServiceConfig | None = None

    def __post_init__(self) -> None:
        for name in _EXAMPLES:
            if not getattr(self, name):
                raise SettingError(f"{name}: is missing; {_EXAMPLES[name]}")
        roots = ("gs://",) if self.target == "vertex" else ("gs://", "s3://", "minio://")
        if not self.pipeline_root.startswith(roots) or "@" in urlsplit(self.pipeline_root).netloc:
            raise SettingError(
                f"pipeline_root: got {without_user(self.pipeline_root)!r}; accepted on {self.target} are addresses "
                f"with {', '.join(roots)}, and no user or password in them"
            )
        if not Path(self.workspace).is_absolute():
            raise SettingError(
                f"workspace: got {self.workspace!r}; accepted is a path from the root, as steps see it"
            )
        check_path("workspace", self.workspace, below_it_patterns=True)
        for group in ("images", "volumes", "resources", "labels"):
            if not isinstance(getattr(self, group), Mapping):
                raise SettingError(f"{group}: got {getattr(self, group)!r}; accepted are settings by name")
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
            _check_accelerator(f"resources.{kind}.accelerator", resources.accelerator, self.target)
            _check_custom_job(f"resources.{kind}.custom_job", kind, resources.custom_job, self.target)
        if self.model_registry and self.target != "vertex":
            raise SettingError("model_registry: only Vertex has one; remove it")
        if self.speaks_to_cluster and self.service is None:
            raise SettingError("service: is missing; steps with a custom_job, and model_registry, need it")
        for key, value in self.labels.items():
            if key in OWN_LABELS:
                raise SettingError(f"labels.{key}: this one is set by hares itself; choose another")
            if not _LABEL.fullmatch(str(key)) or not _LABEL_VALUE.fullmatch(str(value)):
                raise SettingError(
                    f"labels.{key}: {value!r}: accepted are up to 63 of a-z, 0-9, _ and -, which begin and end with a "
                    "letter or digit, keys with a letter"
                )

    @property
    def speaks_to_cluster(self) -> bool:
        """Whether a step asks something of the cluster's own API."""
        return bool(self.model_registry) or any(r.custom_job for r in self.resources.values())

    @property
    def step_service(self) -> ServiceConfig:
        """How a step reaches the API: with its own account's credentials, since the submitter's files are not there."""
        assert self.service is not None  # __post_init__ has checked it
        return replace(self.service, token_file="", ca_file="")

    @property
    def beam_flags(self) -> tuple[str, ...]:
        """What the Beam steps are told beside the pipeline's own flags."""
        image = (f"--sdk_container_image={self.beam_image}",) if self.beam_image else ()
        return (*self.beam_args, *image)

    def image_of(self, kind: str) -> str:
        """The image that steps of a kind run in."""
        return self.images.get(kind, self.image)

    def resources_of(self, kind: str) -> Resources:
        """What steps of a kind run on."""
        return self.resources.get(kind, Resources())


_EXAMPLES = {
    "image": "as in REGION-docker.pkg.dev/PROJECT/hares/pipeline:TAG",
    "pipeline_root": "as in gs://BUCKET/hares",
    "workspace": "as in /gcs/BUCKET/hares on Vertex, or a folder that all pods mount",
}


def _check_accelerator(name: str, accelerator: str, target: str) -> None:
    """Kubernetes counts resources, which have a domain in their name; Vertex has types of its own."""
    if accelerator and ("/" in accelerator) != (target == "kubeflow"):
        example = "nvidia.com/gpu" if target == "kubeflow" else "NVIDIA_TESLA_T4"
        raise SettingError(f"{name}: got {accelerator!r}; accepted on {target} are names as in {example}")


def _check_custom_job(name: str, kind: str, hardware: HardwareSpec | None, target: str) -> None:
    if hardware and target != "vertex":
        raise SettingError(
            f"{name}: only Vertex has custom jobs; give cpu, memory, accelerator and node_selector"
        )
    if hardware and hardware.workers > 1 and kind != "trainer":
        raise SettingError(
            f"{name}.workers: got {hardware.workers}; only the trainer works on several machines"
        )


def load_cluster(path: Path, target: Target) -> ClusterConfig:
    """The cluster file's settings for a target.

    Raises:
        SettingError: no such file, not YAML, or a wrong setting; the message names it.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"--cluster {path}: {error.strerror}; docs/clusters.md shows one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"--cluster {path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f"--cluster {path}: expected settings as `key: value` lines")
    values.pop("service", None)
    written = values.pop("target", target)
    if written != target:
        raise SettingError(f"--cluster {path}: it is for target {written}, and --target is {target}")
    try:
        return _cluster(values, target, path)
    except SettingError as error:
        raise SettingError(f"--cluster {path}: {error}") from error


def _cluster(values: dict[str, Any], target: Target, path: Path) -> ClusterConfig:
    refuse_secrets(values)
    groups = values.get("resources") or {}
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        raise SettingError("resources: accepted are settings by kind of step, as in {trainer: {cpu: '8'}}")
    resources = {kind: _resources(kind, group) for kind, group in groups.items()}
    registration = _registration(values.get("model_registry"))
    known = [field.name for field in fields(ClusterConfig) if field.name not in ("target", "service")]
    beam_args = values.get("beam_args") or []
    if not isinstance(beam_args, list):
        raise SettingError(
            f"beam_args: got {beam_args!r}; accepted is a list, as in ['--runner=DataflowRunner']"
        )
    for name in values:
        if name not in known:
            raise SettingError(f"unknown setting {name}. There are: {', '.join(known)}, service, target")
    speaks = registration or any(resource.custom_job for resource in resources.values())
    return ClusterConfig(
        target, str(values.get("image", "")), values.get("images") or {}, str(values.get("pipeline_root", "")),
        str(values.get("workspace", "")), values.get("volumes") or {}, resources, values.get("labels") or {},
        tuple(map(str, beam_args)), str(values.get("beam_image") or ""), registration,
        _service(path, target) if speaks and target == "vertex" else None,
    )  # fmt: skip


def _resources(kind: str, group: dict[str, Any]) -> Resources:
    """A step's resources; `custom_job` is a group of its own and empty where nothing but the defaults is wanted."""
    given = dict(group)
    where = f"resources.{kind}."
    if "custom_job" in given:
        if not isinstance(given["custom_job"], dict):
            raise SettingError(
                f"{where}custom_job: got {given['custom_job']!r}; accepted are settings by name"
            )
        given["custom_job"] = override(HardwareSpec(), given["custom_job"], f"{where}custom_job.")
    return override(Resources(), given, where)


def _registration(group: Any) -> Registration | None:
    if group is None:
        return None
    if not isinstance(group, dict) or "model_id" not in group:
        raise SettingError(
            "model_registry: accepted is a group with model_id, as in {model_id: hares-sf-nfnet-f0}"
        )
    return override(Registration("hares"), group, "model_registry.")


def _service(path: Path, target: Target) -> ServiceConfig:
    try:
        return load_service(path, target)
    except ValueError as error:
        raise SettingError(str(error).removeprefix(str(path)).lstrip(": ")) from error


def check_beam_flags(cluster: ClusterConfig, config: PipelineConfig) -> None:
    """Checks what the Beam steps will be told: the pipeline's flags and the cluster's after them. Nothing is contacted.

    Raises:
        SettingError: Beam would refuse them, the cluster's are none that a file may set and the command line does not
            give either, or they name the DaskRunner, which cannot take every Beam step.
    """
    if not cluster.beam_flags:
        return  # the pipeline's own are checked when its settings are read
    try:
        own = cluster.beam_flags if set(cluster.beam_flags) - set(config.beam_args) else ()
        checked_beam_args((*config.beam_args, *cluster.beam_flags), own, cluster=True)
    except SettingError as error:
        raise SettingError(f"the cluster file's beam_args, after the pipeline's: {error}") from error
    from components.beam_runner import runner_of

    if runner_of(cluster.beam_flags) == DASK:
        raise SettingError(
            f"the cluster file's beam_args: got --runner={DASK}, and they go to every Beam step, of which it can take "
            "ingestion and embedding alone; give it in the pipeline's own beam_args"
        )


def step_kind(step: str) -> str:
    """The kind of a step, by its id in the pipeline: embed_esc50 is "embed"."""
    head = step.split("_", 1)[0]
    if head not in STEP_KINDS:
        raise ValueError(f"step {step}: no such kind; there are {', '.join(STEP_KINDS)}")
    return head
