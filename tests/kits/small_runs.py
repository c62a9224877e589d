"""A resolved run in which nothing depends on this machine or on today's code: what golden files are made of."""

from __future__ import annotations

from pathlib import Path

from kubeflow.cluster_file import ClusterConfig, Resources
from kubeflow.clusters import ServiceConfig
from kubeflow.vertex.settings import HardwareSpec, ModelRegistrySettings
from models.training.config import TrainingConfig
from models.warm_start import WarmStart
from pipeline.config import PipelineConfig
from pipeline.resolve import ResolvedRun, Source

SERVICE = ServiceConfig(
    project="audio", region="europe-west4", service_account="steps@audio.iam.gserviceaccount.com",
    pipeline_root="gs://bucket/hares", token_file="/home/of/the/submitter/token",
)  # fmt: skip
WORKSPACE_HERE = "/mnt/hares"
TASKS = ("esc50",)
CODE = (
    "ingest_esc50", "ingest_pretraining", "span_window", "transform", "trainer", "checkpoints", "embed_esc50",
    "evaluator",
)  # fmt: skip


def pushed_to(folder: str) -> WarmStart:
    """The model that an earlier run pushed below a folder: a volume's, or a bucket's at /gcs."""
    return WarmStart(f"{folder}/pushed/7/weights.npz", "weights-digest", f"{folder}/pushed/7")


def small_run(**changes) -> ResolvedRun:
    """One task, a window of two spans, a baseline and a warm start; digests are words."""
    given = {
        "config": PipelineConfig(
            name="hares-golden", tasks=TASKS, training=TrainingConfig(encoder="sf_nfnet_tiny")
        ),
        "workspace": Path("/submitted/from/elsewhere"),
        "tasks": {"esc50": Source({"esc50": "/mnt/corpora/esc50"}, ("fold-1", "fold-2"), "esc50-listing")},
        "pretraining": Source({"folder": "/mnt/corpora/span-2"}, ("train",), "span-2-listing", 2),
        "input_kind": "log_mel",
        "num_classes": 0,
        "label_task": "",
        "code": {name: f"{name}-sources" for name in CODE},
        "decoders": {},
        "baseline": "/mnt/hares/artifacts/evaluator/report/7",
        "older_spans": (Source({"folder": "/mnt/corpora/span-1"}, ("train",), "span-1-listing", 1),),
        "warm_start": pushed_to("/mnt/hares"),
    }
    return ResolvedRun(**(given | changes))


def small_cluster(target: str, workspace: Path) -> ClusterConfig:
    """A cluster with something of everything that its kind may have."""
    kubeflow = target == "kubeflow"
    pod = Resources(
        cpu="24", memory="96Gi", accelerator="google.com/tpu", accelerator_count=8,
        node_selector={"cloud.google.com/gke-tpu-topology": "2x4"}, retries=5,
    )  # fmt: skip
    job = Resources(custom_job=HardwareSpec("cloud-tpu", "TPU_V3", 8), retries=5)
    return ClusterConfig(
        target="kubeflow" if kubeflow else "vertex",
        image="images.example/hares:1",
        images={"trainer": "images.example/hares-tpu:1"},
        pipeline_root="minio://bucket/hares" if kubeflow else "gs://bucket/hares",
        workspace=str(workspace),
        volumes={"hares-data": "/mnt"} if kubeflow else {},
        resources={
            "trainer": pod if kubeflow else job,
            "embed": Resources(cpu="4", memory="16Gi", cache=False),
        },
        labels={"cost_centre": "audio"},
        beam_args=("--runner=DataflowRunner",) if not kubeflow else (),
        beam_image="images.example/hares-beam:1" if not kubeflow else "",
        model_registry=None if kubeflow else ModelRegistrySettings("hares-golden"),
        service=None if kubeflow else SERVICE,
    )
