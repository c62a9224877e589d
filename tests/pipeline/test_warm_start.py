"""What a run may start from: a model, a workspace, weights, a checkpoint; and what is said where it cannot."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from models.encoder import Encoder, built_encoder, load_encoder
from models.frontend import FrontendConfig
from models.warm_start import WarmStart, check_unchanged
from models.weights import load_weights, read_weights, save_weights, training_weights_path, weights_digest
from pipeline.config import load_config
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.run import prepare
from pipeline.settings import SettingError
from pipeline.warm_start import resolve_warm_start
from pipeline.workspace import Workspace

FRONTEND = FrontendConfig()
RECORD = load_encoder("sf_nfnet_tiny")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return built_encoder(RECORD, FRONTEND, seed=5)


@pytest.fixture
def model(encoder: Encoder, tmp_path: Path) -> Path:
    """A Trainer's Model artifact, as far as a warm start reads it."""
    serving = tmp_path / "model" / "Format-Serving"
    (serving / "assets.extra").mkdir(parents=True)
    (serving / "hares_metadata.json").write_text(json.dumps({"encoder": RECORD.name}))
    save_weights(encoder, training_weights_path(str(serving)))
    return tmp_path / "model"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def resolved(
    source: object, workspace: Workspace, record: object = RECORD, address: StoreAddress | None = None
) -> WarmStart | None:
    address = address or store_address("", workspace.store)
    return resolve_warm_start(str(source), record, FRONTEND, "retrained", workspace, address)  # type: ignore[arg-type]


def bless(path: Path, model: Path | str, pipeline: str, blessed: int = 1) -> None:
    """Enters a verdict into the SQLite store at `path`."""
    path.parent.mkdir(exist_ok=True)
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = MetadataStore(config)
    artifact_type = store.put_artifact_type(pb.ArtifactType(name="ModelBlessing"), can_add_fields=True)
    artifact = pb.Artifact(type_id=artifact_type, uri=str(model), state=pb.Artifact.LIVE)
    artifact.custom_properties["blessed"].int_value = blessed
    artifact.custom_properties["current_model"].string_value = str(model)
    artifact.custom_properties["report"].string_value = f"{model}/report"
    artifact.custom_properties["run_key"].string_value = "of an earlier run"
    (artifact_id,) = store.put_artifacts([artifact])
    type_id = store.put_context_type(pb.ContextType(name="pipeline"), can_add_fields=True)
    found = store.get_context_by_type_and_name("pipeline", pipeline)
    context = found.id if found else store.put_contexts([pb.Context(type_id=type_id, name=pipeline)])[0]
    store.put_attributions_and_associations([pb.Attribution(artifact_id=artifact_id, context_id=context)], [])


def test_every_form_gives_the_same_weights(
    encoder: Encoder, model: Path, workspace: Workspace, tmp_path: Path
) -> None:
    save_weights(encoder, tmp_path / "own.npz")
    tf.train.Checkpoint(encoder=encoder, step=tf.Variable(3)).save(str(tmp_path / "run" / "ckpt"))
    bless(workspace.store, model, "retrained")
    sources = {
        "model": model,
        "pushed": model / "Format-Serving",
        "weights": tmp_path / "own.npz",
        "checkpoints": tmp_path / "run",
        "checkpoint": tmp_path / "run" / "ckpt-1",
        "workspace": workspace.folder,
        "blessed": "latest_blessed",
    }
    for source in sources.values():
        found = resolved(source, workspace)
        assert found is not None and found.digest == weights_digest(encoder)
        check_unchanged(found)
        twin = built_encoder(RECORD, FRONTEND, seed=6)
        load_weights(twin, read_weights(found.weights))
        assert weights_digest(twin) == found.digest
    assert resolved("", workspace) is None


def test_a_checkpoints_encoder_outlives_the_checkpoint(
    encoder: Encoder, workspace: Workspace, tmp_path: Path
) -> None:
    tf.train.Checkpoint(encoder=encoder).save(str(tmp_path / "run" / "ckpt"))
    found = resolved(tmp_path / "run", workspace)
    shutil.rmtree(tmp_path / "run")
    assert found is not None and Path(found.weights).is_relative_to(workspace.folder)
    check_unchanged(found)


def test_the_latest_blessed_model_is_this_pipelines(model: Path, workspace: Workspace) -> None:
    assert resolved("latest_blessed", workspace) is None, "no store yet"
    bless(workspace.store, model.with_name("refused"), "retrained", blessed=0)
    bless(workspace.store, model.with_name("others"), "other")
    assert resolved("latest_blessed", workspace) is None, "none is blessed yet"
    bless(workspace.store, model, "retrained")
    found = resolved("latest_blessed", workspace)
    assert found is not None and found.model == str(model)


def test_the_latest_blessed_is_that_of_the_runs_store(
    model: Path, workspace: Workspace, tmp_path: Path
) -> None:
    """Whatever stands in the workspace's own, which is another where a run is given `--metadata`."""
    bless(workspace.store, model.with_name("own"), "retrained")
    given = store_address(str(tmp_path / "shared" / "store.sqlite"), workspace.store)
    assert resolved("latest_blessed", workspace, address=given) is None, "none is blessed there yet"
    bless(tmp_path / "shared" / "store.sqlite", model, "retrained")
    found = resolved("latest_blessed", workspace, address=given)
    assert found is not None and found.model == str(model)


def test_a_run_has_its_start_and_its_baseline_from_one_store(
    model: Path, workspace: Workspace, shared_corpus: Path, tmp_path: Path
) -> None:
    config = load_config("demo", ["tasks=[birdsong]", "pretraining.warm_start=latest_blessed"])
    given = store_address(str(tmp_path / "shared" / "store.sqlite"), workspace.store)
    bless(tmp_path / "shared" / "store.sqlite", model, config.name)
    bless(workspace.store, model.with_name("own"), config.name)
    with pytest.raises(SettingError, match=f"report in {model}/report, which cannot be read here"):
        prepare(config, shared_corpus, {}, workspace.folder, given)
    (model / "report").mkdir()
    (model / "report" / "report.json").write_text("{}")
    run = prepare(config, shared_corpus, {}, workspace.folder, given)
    assert run.warm_start is not None and run.warm_start.model == str(model)
    assert run.baseline == f"{model}/report"


@pytest.mark.parametrize("address", ["minio://mlpipeline/model", "s3://bucket/model"])
def test_a_model_where_only_a_cluster_sees_it_is_refused(workspace: Workspace, address: str) -> None:
    """As an import from Kubeflow records it; pushed to a volume, it is taken from there."""
    bless(workspace.store, address, "retrained")
    with pytest.raises(SettingError, match=r"pretraining\.warm_start: got 'latest_blessed'"):
        resolved("latest_blessed", workspace)


def test_a_workspace_whose_runs_are_recorded_elsewhere_says_so(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    other.folder.mkdir()
    other.note_store("postgresql://hares@db/hares")
    with pytest.raises(SettingError, match="postgresql://hares@db/hares"):
        resolved(other.folder, workspace)


def test_weights_that_changed_since_are_refused(model: Path, workspace: Workspace) -> None:
    found = resolved(model, workspace)
    assert found is not None
    save_weights(built_encoder(RECORD, FRONTEND, seed=9), found.weights)
    with pytest.raises(ValueError, match="have changed since the run was submitted"):
        check_unchanged(found)


def test_what_does_not_fit_says_why(model: Path, workspace: Workspace, tmp_path: Path) -> None:
    def refused(source: object, record: object = RECORD) -> str:
        with pytest.raises(SettingError, match=r"pretraining\.warm_start: got") as error:
            resolved(source, workspace, record)
        return str(error.value)

    assert "is of encoder sf_nfnet_tiny" in refused(model, dataclasses.replace(RECORD, name="sf_nfnet_f0"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "saved_model.pb").touch()
    assert "not exported by hares" in refused(tmp_path / "foreign")
    assert "holds no checkpoint" in refused(tmp_path / "nowhere")

    class Wide(tf.Module):
        """The encoder with two of its kernels wider."""

        def __init__(self, twin: Encoder) -> None:
            super().__init__()
            wider = {"slow/stem_conv0/w", "fast/stem_conv0/w"}
            shapes = {v.name.removesuffix(":0"): v.shape.as_list() for v in twin.variables}
            self.all = [
                tf.Variable(tf.zeros([*s[:-1], s[-1] + 1] if n in wider else s), name=n)
                for n, s in shapes.items()
            ]

    save_weights(Wide(built_encoder(RECORD, FRONTEND, 0)), tmp_path / "wide.npz")
    message = refused(tmp_path / "wide.npz")
    assert "misshapen: fast/stem_conv0/w (3, 3, 1, 2), expected (3, 3, 1, 1), slow/stem_conv0/w" in message
    Path(training_weights_path(str(model / "Format-Serving"))).unlink()
    assert "exported without its training weights" in refused(model)
