"""The cluster file: what it may say, and what an error in it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kubeflow.config import STEP_KINDS, Resources, check_beam_flags, load_cluster
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
        ("workspace: /mnt/hares", "workspace: hares", "workspace: got 'hares'; accepted is a path from the root"),
        ("{trainer: images", "{trianer: images", "images.trianer: no such kind of step"),
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


def test_every_step_of_the_pipeline_has_a_kind() -> None:
    """The kinds are the first words of the ids that `pipeline.pipeline` gives."""
    from kubeflow.config import step_kind

    ids = ("ingest_esc50", "ingest_pretraining_span_3", "base_model", "schema", "statistics", "transform", "trainer",
           "embed_voxceleb1", "evaluator", "pusher")  # fmt: skip
    assert {step_kind(name) for name in ids} == set(STEP_KINDS)
    with pytest.raises(ValueError, match="no such kind"):
        step_kind("resolver_latest")


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
