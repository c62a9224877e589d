"""The cluster file (`--cluster FILE`, YAML): images, storage, and what each kind of step runs on.

Its group `service` says how the cluster is reached (`kubeflow.clusters`). It is read here only where steps call the
cluster's API themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubeflow.clusters import ClusterKind, ServiceConfig, checked_service
from kubeflow.kubernetes_names import check_label, check_volumes
from kubeflow.vertex.settings import HardwareSpec, ModelRegistrySettings
from pipeline.beam_args import DASK, checked_beam_args
from pipeline.hosts import without_user
from pipeline.settings import SettingError, check_path, override, read_yaml, refuse_secrets

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

# Kinds of steps; the cluster file gives images and resources by kind. `pipeline.pipeline` names the steps; "watch" is a
# schedule's.
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
    "watch",
)
# What Kubernetes and Vertex both take as a label.
_LABEL = re.compile(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)?")
OWN_LABELS = ("revision", "run_key", "hares_key")
_MEMORY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Gi|G|Mi|M)")


@dataclass(frozen=True)
class Resources:
    """What a step's pod or machine gets; "" and 0 leave it to the cluster.

    Attributes:
        cpu: cores, as in "4" or "0.5".
        memory: as in "16Gi" or "500M".
        accelerator: on Vertex a type, as in "NVIDIA_TESLA_T4" or "TPU_V3"; on Kubeflow the resource's name
            "nvidia.com/gpu" or "google.com/tpu".
        accelerator_count: how many.
        node_selector: labels that the node must have, Kubeflow only.
        retries: how often a failed step is repeated.
        cache: whether the cluster may reuse the result of an earlier step with the same inputs.
        custom_job: machines of a custom job that runs the step's command while the step waits; Vertex only.
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

    @property
    def accelerator_kind(self) -> str:
        """The accelerator that the step asks for, GPU or TPU; "" for none."""
        job = self.custom_job
        named = self.accelerator or (job and (job.accelerator or ("TPU" if job.tpu_topology else ""))) or ""
        return "" if not named else "TPU" if "tpu" in named.lower() else "GPU"


@dataclass(frozen=True)
class ClusterConfig:
    """Settings of `hares compile`.

    Attributes:
        target: "vertex" or "kubeflow".
        image: container image of every step.
        images: other images by kind of step (`STEP_KINDS`), as for a trainer on TPUs.
        pipeline_root: address of all artifacts, as in "gs://bucket/hares".
        workspace: folder of checkpoints, pushed models and imported files, at one path for every step and for the
            machine that compiles: a mounted volume, or on Vertex the bucket's "/gcs/BUCKET/...".
        volumes: name of a persistent volume claim to the path where every step mounts it, Kubeflow only.
        resources: kind of step to `Resources`.
        labels: put on the run, as in {"cost_centre": "audio"}.
        beam_args: flags for the Beam steps, after the pipeline's own, as in "--runner=DataflowRunner".
        beam_image: container image of Beam's workers, if they run outside the step's own pod; "" leaves it to Beam.
        model_registry: registers pushed models as versions of a model, Vertex only; None for no registration.
        service: how steps reach the cluster's API, if they call it: for custom jobs and the model registry.
    """

    target: ClusterKind = "kubeflow"
    image: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    pipeline_root: str = ""
    workspace: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Resources] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    beam_args: tuple[str, ...] = ()
    beam_image: str = ""
    model_registry: ModelRegistrySettings | None = None
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
                f"workspace: got {self.workspace!r}; accepted is an absolute path, as steps see it"
            )
        check_path("workspace", self.workspace, below_it_patterns=True)
        for group in ("images", "resources"):
            for kind in getattr(self, group):
                if kind not in STEP_KINDS:
                    raise SettingError(
                        f"{group}.{kind}: unknown kind of step; there are {', '.join(STEP_KINDS)}"
                    )
        if self.volumes and self.target == "vertex":
            raise SettingError("volumes: Vertex mounts none; remove it, its steps see buckets below /gcs")
        check_volumes(self.volumes)
        for kind, resources in self.resources.items():
            for key, value in resources.node_selector.items():
                check_label(f"resources.{kind}.node_selector", key, value)
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
        """Whether a step calls the cluster's own API."""
        return bool(self.model_registry) or any(r.custom_job for r in self.resources.values())

    @property
    def step_service(self) -> ServiceConfig:
        """How a step reaches the API: with its own account's credentials, since it lacks the submitter's files."""
        assert self.service is not None  # __post_init__ has checked it
        return self.service.without_own_files()

    @property
    def beam_flags(self) -> tuple[str, ...]:
        """The Beam steps' flags, beside the pipeline's own."""
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
    """Kubernetes names an accelerator by resource, with a domain in the name; Vertex has types of its own."""
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


def load_cluster(path: Path, target: ClusterKind) -> ClusterConfig:
    """Reads the cluster file for a target.

    Raises:
        SettingError: no such file, not YAML, or a wrong setting; the message names it.
    """
    values = read_yaml(path, f"--cluster {path}", hint="; docs/clusters.md shows one")
    service = values.pop("service", None)
    written = values.pop("target", target)
    if written != target:
        raise SettingError(f"--cluster {path}: it is for target {written}, and --target is {target}")
    try:
        return _cluster(values, service, target)
    except ValueError as error:
        raise SettingError(f"--cluster {path}: {error}") from error


def _cluster(values: dict[str, Any], service: Any, target: ClusterKind) -> ClusterConfig:
    refuse_secrets(values)
    given = {name: value for name, value in values.items() if value is not None}
    groups = given.get("resources", {})
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        raise SettingError("resources: accepted are settings by kind of step, as in {trainer: {cpu: '8'}}")
    given["resources"] = {kind: read_resources(kind, group) for kind, group in groups.items()}
    if "model_registry" in given:
        given["model_registry"] = _model_registry(given["model_registry"])
    speaks = "model_registry" in given or any(r.custom_job for r in given["resources"].values())
    if speaks and target == "vertex":
        given["service"] = checked_service(service, target)
    # image, pipeline_root and workspace have no default: these values are always replaced, by "" if the file lacks one.
    blank = ClusterConfig(target, image="-", pipeline_root="gs://-", workspace="/-")
    return override(blank, {**dict.fromkeys(_EXAMPLES, ""), **given})


def read_resources(kind: str, group: dict[str, Any]) -> Resources:
    """A step's resources; an empty `custom_job` asks for one with the defaults. Raises SettingError."""
    given = dict(group)
    where = f"resources.{kind}."
    if "custom_job" in given:
        if not isinstance(given["custom_job"], dict):
            raise SettingError(
                f"{where}custom_job: got {given['custom_job']!r}; accepted are settings by name"
            )
        given["custom_job"] = override(HardwareSpec(), given["custom_job"], f"{where}custom_job.")
    return override(Resources(), given, where)


def _model_registry(group: Any) -> ModelRegistrySettings:
    if not isinstance(group, dict) or "model_id" not in group:
        raise SettingError(
            "model_registry: accepted is a group with model_id, as in {model_id: hares-sf-nfnet-f0}"
        )
    return override(ModelRegistrySettings("hares"), group, "model_registry.")


def check_beam_flags(cluster: ClusterConfig, config: PipelineConfig) -> None:
    """Checks the flags of the Beam steps: the pipeline's, then the cluster's. Nothing is contacted.

    Raises:
        SettingError: Beam would refuse them; the cluster file sets one that only the command line may set; or it
            names the DaskRunner, which cannot run every Beam step.
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
            f"the cluster file's beam_args: got --runner={DASK}, and they go to every Beam step, but it can run "
            "ingestion and embedding alone; give it in the pipeline's own beam_args"
        )


def step_kind(step: str) -> str:
    """The kind of a step, by its id in the pipeline: embed_esc50 is "embed"."""
    head = step.split("_", 1)[0]
    if head not in STEP_KINDS:
        raise ValueError(f"step {step}: unknown kind; there are {', '.join(STEP_KINDS)}")
    return head
