"""The cluster file: what it may say, and what an error in it names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kubeflow.cluster_file import STEP_KINDS, Resources, check_beam_flags, load_cluster, read_resources
from kubeflow.clusters import ClusterKind
from kubeflow.vertex.settings import HardwareSpec, ModelRegistrySettings
from pipeline.config import PipelineConfig
from pipeline.settings import SettingError

GOOD = """
target: kubeflow
image: images.example/hares:1
images: {trainer: images.example/hares-tpu:1}
pipeline_root: s3://bucket/hares
workspace: /mnt/hares
volumes: {hares-data: /mnt}
labels: {cost_centre: audio}
beam_args: [--runner=FlinkRunner]
beam_image: images.example/hares-beam:1
resources:
  trainer: {cpu: "24", memory: 96Gi, accelerator: google.com/tpu, accelerator_count: 8, retries: 5, cache: false}
service: {endpoint: "http://kfp.example"}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file(tmp_path: Path) -> None:
    cluster = load_cluster(written(tmp_path, GOOD), "kubeflow")
    assert cluster.image_of("trainer") == "images.example/hares-tpu:1"
    assert cluster.image_of("embed") == "images.example/hares:1"
    assert cluster.resources_of("trainer") == Resources(
        "24", "96Gi", "google.com/tpu", 8, {}, retries=5, cache=False
    )
    assert cluster.resources_of("embed") == Resources()
    assert cluster.beam_flags == (
        "--runner=FlinkRunner",
        "--sdk_container_image=images.example/hares-beam:1",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image: images", "imgae: images", "image: is missing|unknown setting imgae"),
        ("s3://bucket/hares", "/mnt/artifacts", "pipeline_root: got '/mnt/artifacts'; accepted on kubeflow"),
        ("workspace: /mnt/hares", "workspace: hares", "workspace: got 'hares'; accepted is an absolute path"),
        ("{trainer: images", "{trianer: images", "images.trianer: unknown kind of step"),
        ("workspace: /mnt/hares", "workspace: '/mnt/h [1]'", r"workspace: got '/mnt/h \[1\]'"),
        ("{hares-data: /mnt}", "{hares_data: /mnt}", "volumes.hares_data: no volume can have this name"),
        ("{hares-data: /mnt}", "{hares.data: /mnt}", "volumes.hares.data: no volume can have this name"),
        ("{hares-data: /mnt}", "{hares-data: /minio/}", "volumes.hares-data: another volume is mounted at /minio"),
        ("{hares-data: /mnt}", "{hares-data: mnt}", "volumes.hares-data: got 'mnt'; accepted is an absolute path"),
        ("{hares-data: /mnt}", "{a: /mnt, b: /mnt}", "volumes.b: another volume is mounted at /mnt"),
        ("retries: 5", "retries: 5, node_selector: {pool: 'a b'}", "resources.trainer.node_selector.pool: 'a b'"),
        ("retries: 5", "retries: 5, node_selector: {a/b/c: x}", "resources.trainer.node_selector.a/b/c"),
        ("labels: {cost_centre: audio}", "labels: [audio]", r"labels: got \['audio'\]; accepted are settings by name"),
        ("cost_centre: audio", "run_key: mine", "labels.run_key: this one is set by hares itself"),
        ("cost_centre: audio", "cost_centre: Audio Team", "labels.cost_centre: 'Audio Team'"),
        ("cost_centre: audio", "cost_centre: audio-", "labels.cost_centre: 'audio-'"),
        ("96Gi", "96 gigs", "memory: got '96 gigs'; accepted are sizes"),
        ("google.com/tpu", "TPU_V3", "resources.trainer.accelerator: got 'TPU_V3'; accepted on kubeflow"),
        ("accelerator_count: 8", "accelerator_count: 0", "give both or neither"),
        ("retries: 5", "retries: -1", "retries: got -1"),
        ("retries: 5", "retires: 5", "unknown setting resources.trainer.retires; did you mean"),
        ("[--runner=FlinkRunner]", "--runner=FlinkRunner", "beam_args: got '--runner=FlinkRunner'; accepted is a list"),
        ("target: kubeflow", "target: vertex", "it is for target vertex, and --target is kubeflow"),
        ("image: images", "image: [images", "not YAML"),
    ],
)  # fmt: skip
def test_an_error_names_file_setting_and_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SettingError, match=message) as caught:
        load_cluster(path, "kubeflow")
    assert str(path) in str(caught.value)


def test_vertex_takes_none_of_kubernetes_own(tmp_path: Path) -> None:
    text = GOOD.replace("target: kubeflow\n", "").replace("s3://", "gs://")
    for spoiled, message in (
        (text, "volumes: Vertex mounts none"),
        (text.replace("volumes: {hares-data: /mnt}", ""), "accepted on vertex are names as in NVIDIA"),
        (
            text.replace("volumes: {hares-data: /mnt}", "").replace("retries: 5", "node_selector: {a: b}"),
            "Vertex has no nodes to select",
        ),
    ):
        with pytest.raises(SettingError, match=message):
            load_cluster(written(tmp_path, spoiled), "vertex")


VERTEX = """
image: images.example/hares:1
pipeline_root: gs://bucket/hares
workspace: /gcs/bucket/hares
resources:
  trainer: {custom_job: {machine_type: ct5lp-hightpu-4t, tpu_topology: 2x2}, retries: 5}
model_registry: {model_id: hares-sf-nfnet-f0, aliases: [blessed, nightly]}
service: {project: audio, region: europe-west4, pipeline_root: "gs://bucket/hares", token_file: /home/me/token}
"""


def test_steps_that_speak_to_vertex(tmp_path: Path) -> None:
    cluster = load_cluster(written(tmp_path, VERTEX), "vertex")
    assert cluster.resources_of("trainer") == Resources(
        custom_job=HardwareSpec("ct5lp-hightpu-4t", tpu_topology="2x2"), retries=5
    )
    assert cluster.model_registry == ModelRegistrySettings("hares-sf-nfnet-f0", ("blessed", "nightly"))
    assert (cluster.step_service.project, cluster.step_service.token_file) == ("audio", "")
    plain = VERTEX.replace("custom_job: {machine_type: ct5lp-hightpu-4t, tpu_topology: 2x2}, ", "")
    plain = "\n".join(line for line in plain.splitlines() if not line.startswith(("model_", "service")))
    assert not load_cluster(written(tmp_path, plain), "vertex").speaks_to_cluster  # then no service is needed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tpu_topology: 2x2", "tpu_topology: 4x4", "resources.trainer.custom_job.machine_type: TPU v5e"),
        ("machine_type", "machine", "unknown setting resources.trainer.custom_job.machine"),
        ("{machine_type: ct5lp-hightpu-4t, tpu_topology: 2x2}", "big", "custom_job: got 'big'"),
        ("retries: 5", "cpu: '8'", "custom_job: its machine_type and accelerator say"),
        ("trainer: {custom_job: {machine_type: ct5lp-hightpu-4t, tpu_topology: 2x2}",
         "embed: {custom_job: {workers: 2}", "resources.embed.custom_job.workers: got 2; only the trainer"),
        ("project: audio, ", "", "service.project is not set"),
        ("service:", "labels: {} #", "no group 'service:'"),
        ("[blessed, nightly]", "[1st]", "model_registry.aliases: got '1st'"),
        ("hares-sf-nfnet-f0", "1-hares", "model_registry.model_id: got '1-hares'"),
        ("hares-sf-nfnet-f0", "HARES", "model_registry.model_id: got 'HARES'"),
        ("model_id: hares-sf-nfnet-f0, ", "", "model_registry: accepted is a group with model_id"),
    ],
)  # fmt: skip
def test_errors_of_steps_that_speak_to_vertex(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in VERTEX
    path = written(tmp_path, VERTEX.replace(old, new, 1))
    with pytest.raises(SettingError, match=message) as caught:
        load_cluster(path, "vertex")
    assert str(caught.value).count(str(path)) == 1


def test_kubeflow_has_no_custom_jobs_and_no_registry(tmp_path: Path) -> None:
    for old, new, message in (
        ("cpu: \"24\", memory: 96Gi, accelerator: google.com/tpu, accelerator_count: 8", "custom_job: {}",
         "resources.trainer.custom_job: only Vertex has custom jobs"),
        ("target: kubeflow", "model_registry: {model_id: hares}", "model_registry: only Vertex has one"),
    ):  # fmt: skip
        assert old in GOOD
        with pytest.raises(SettingError, match=message):
            load_cluster(written(tmp_path, GOOD.replace(old, new)), "kubeflow")


def test_every_step_of_the_pipeline_has_a_kind() -> None:
    """The kinds are the first words of the ids that `pipeline.pipeline` gives."""
    from kubeflow.cluster_file import step_kind

    ids = ("ingest_esc50", "ingest_pretraining_span_3", "base_model", "schema", "statistics", "transform", "trainer",
           "embed_voxceleb1", "evaluator", "pusher", "watch")  # fmt: skip
    assert {step_kind(name) for name in ids} == set(STEP_KINDS)
    with pytest.raises(ValueError, match="unknown kind"):
        step_kind("resolver_latest")


@pytest.mark.parametrize(
    "page, target", [("vertex", "vertex"), ("kubeflow", "kubeflow"), ("clusters", "kubeflow")]
)
def test_the_documents_cluster_files_are_taken(page: str, target: ClusterKind, tmp_path: Path) -> None:
    document = Path(__file__).resolve().parents[2] / "docs" / f"{page}.md"
    (text,) = re.findall(r"```yaml\n(target: .*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    cluster = load_cluster(written(tmp_path, text), target)
    assert cluster.resources_of("trainer").retries == 5
    assert (cluster.resources_of("trainer").custom_job is None) == (target == "kubeflow")


def test_beams_flags_are_checked_with_the_pipelines(tmp_path: Path) -> None:
    pytest.importorskip("tfx")
    pipeline = PipelineConfig(beam_args=("--flink_master=host:8081",))
    cluster = load_cluster(written(tmp_path, GOOD), "kubeflow")
    check_beam_flags(cluster, pipeline)
    check_beam_flags(replace(cluster, beam_args=("--runner", "flink", "--parallelism", "4")), pipeline)
    check_beam_flags(replace(cluster, beam_args=(), beam_image=""), pipeline)
    for flags, image, message in (
        (("--runner=FlinkRunner", "--paralelism=4"), cluster.beam_image, "did you mean --parallelism"),
        (("--runner=FlinkRunner",), "", "--sdk_container_image"),
        (("--runner=DataflowRunner",), cluster.beam_image, "--temp_location=gs://BUCKET/FOLDER"),
    ):
        with pytest.raises(SettingError, match="the cluster file's beam_args") as caught:
            check_beam_flags(replace(cluster, beam_args=flags, beam_image=image), pipeline)
        assert message in str(caught.value)


def test_dask_is_not_for_every_beam_step_of_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("tfx")
    pytest.importorskip("distributed", reason="Dask is not installed; it comes with hares-tfx[dask]")
    cluster = replace(load_cluster(written(tmp_path, GOOD), "kubeflow"), beam_args=("--runner=DaskRunner",))
    with pytest.raises(SettingError, match="ingestion and embedding alone"):
        check_beam_flags(cluster, PipelineConfig())


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, ""),
        ({"cpu": "4"}, ""),
        ({"accelerator": "nvidia.com/gpu", "accelerator_count": 1}, "GPU"),
        ({"accelerator": "google.com/tpu", "accelerator_count": 8}, "TPU"),
        ({"accelerator": "NVIDIA_L4", "accelerator_count": 1}, "GPU"),
        ({"custom_job": {"machine_type": "n1-standard-8"}}, ""),
        (
            {"custom_job": {"machine_type": "cloud-tpu", "accelerator": "TPU_V3", "accelerator_count": 8}},
            "TPU",
        ),
        ({"custom_job": {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x2"}}, "TPU"),
        (
            {
                "custom_job": {
                    "machine_type": "g2-standard-12",
                    "accelerator": "NVIDIA_L4",
                    "accelerator_count": 1,
                }
            },
            "GPU",
        ),
    ],
)
def test_which_accelerator_a_step_asks_for(given: dict, kind: str) -> None:
    """What the entry point then looks for in the pod, and the doctor in the image."""
    assert read_resources("trainer", given).accelerator_kind == kind
