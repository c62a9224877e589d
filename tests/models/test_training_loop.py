"""Runs repeat to the byte, go on exactly after any stop, and stop by themselves when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from kits import training_kit as KIT
from models.training import loop
from models.training.checkpoints import read_encoder_weights
from models.training.config import TrainingConfig
from models.training.loop import NonFiniteLossError, TrainingInterrupted, train
from models.training.pictures import ViewPictures
from models.weights import save_arrays, save_weights

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(
    encoder="toy", steps=10, batch_size=6, warmup_steps=2, peak_learning_rate=1e-3, crop_seconds=0.35,
    objective_settings={"projector_sizes": (12,), "projection_size": 6}, steps_per_loop=2, checkpoint_every_steps=4,
    seed=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
    yield
    disable_op_determinism()  # `train` turns it on for the process, which other tests share


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return KIT.write_random_clips(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def uninterrupted(files, tmp_path_factory):
    """Digest of the weights after a run in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
        folder = tmp_path_factory.mktemp("uninterrupted")
        return KIT.weights_digest(train(CONFIG, files, 4, str(folder))), folder


@pytest.fixture(scope="module")
def killed_run(files, tmp_path_factory):
    """What a run leaves that ended after step 6, with a checkpoint every 2 steps, before it saved step 6."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
        folder = tmp_path_factory.mktemp("killed")
        config = dataclasses.replace(CONFIG, checkpoint_every_steps=2)
        with pytest.raises(Crash):
            train(config, files, 4, str(folder), progress=crash_at(6))
    return folder


@pytest.fixture
def killed(killed_run, tmp_path):
    """A copy of it that a test may change."""
    return Path(shutil.copytree(killed_run, tmp_path / "run"))


class Crash(Exception):
    """Stands for the end of a process."""


def crash_at(step):
    def progress(report):
        if report.step == step:
            raise Crash

    return progress


def test_two_runs_are_the_same_to_the_byte(files, uninterrupted, tmp_path):
    config = dataclasses.replace(CONFIG, steps_per_loop=5, checkpoint_every_steps=100)
    again = train(config, files, 4, str(tmp_path / "again"))
    assert KIT.weights_digest(again) == uninterrupted[0]
    assert again.steps == 10
    other = train(dataclasses.replace(CONFIG, seed=4), files, 4, str(tmp_path / "other"))
    assert KIT.weights_digest(other) != uninterrupted[0]


def test_a_killed_run_goes_on_exactly(files, uninterrupted, killed):
    assert sorted(p.stem for p in killed.glob("*.index")) == ["ckpt-2", "ckpt-4"]
    steps = []
    resumed = train(CONFIG, files, 4, str(killed), progress=lambda report: steps.append(report.step))
    assert steps == [6, 8, 10]  # from step 4, where the checkpoint is
    assert KIT.weights_digest(resumed) == uninterrupted[0]


def test_sigterm_saves_between_checkpoints_and_the_run_goes_on_exactly(files, uninterrupted, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def terminate(report):
        if report.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as error:
        train(CONFIG, files, 4, str(tmp_path), progress=terminate)
    assert error.value.step == 6
    assert error.value.checkpoint.endswith("ckpt-6")
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = train(CONFIG, files, 4, str(tmp_path))
    assert KIT.weights_digest(resumed) == uninterrupted[0]


def test_sigterm_at_the_last_update_is_not_lost(files, uninterrupted, tmp_path):
    def terminate(report):
        if report.step == CONFIG.steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as error:
        train(CONFIG, files, 4, str(tmp_path), progress=terminate)
    assert error.value.step == CONFIG.steps
    steps = []
    resumed = train(CONFIG, files, 4, str(tmp_path), progress=lambda report: steps.append(report.step))
    assert steps == [] and KIT.weights_digest(resumed) == uninterrupted[0]


@pytest.mark.parametrize(("content", "said"), [("", "damaged"), ('{"seed": ', "damaged"), ("[1]", "damaged")])
def test_a_run_json_that_is_damaged_is_named_with_the_remedy(files, tmp_path, content, said):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=rf"run\.json is {said}.*step 0"):
        train(CONFIG, files, 4, str(tmp_path))


def test_a_run_json_appears_whole(files, tmp_path, monkeypatch):
    """Killed before it has its name nothing is there, and the run begins as if it had never begun."""
    rename = tf.io.gfile.rename

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.io.gfile, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, files, 4, str(tmp_path))
    assert not (tmp_path / "run.json").exists()
    monkeypatch.setattr(tf.io.gfile, "rename", rename)
    train(CONFIG, files, 4, str(tmp_path))
    assert json.loads((tmp_path / "run.json").read_text())


@pytest.mark.parametrize("damage", ["flipped byte", "truncated index", "no data"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(files, uninterrupted, killed, caplog, damage):
    data, index = killed / "ckpt-4.data-00000-of-00001", killed / "ckpt-4.index"
    if damage == "flipped byte":
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "truncated index":
        index.write_bytes(index.read_bytes()[:-100])
    else:
        data.unlink()
    with caplog.at_level(logging.WARNING, "models.training.checkpoints"):
        resumed = train(CONFIG, files, 4, str(killed))
    assert "ckpt-4 cannot be read" in caplog.text
    assert KIT.weights_digest(resumed) == uninterrupted[0]


def test_only_damaged_checkpoints_stop_the_run(files, killed):
    for index in killed.glob("*.index"):
        index.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 2 checkpoints"):
        train(CONFIG, files, 4, str(killed))


def test_a_run_of_other_settings_is_refused(files, uninterrupted):
    with pytest.raises(
        ValueError, match=r"run of other settings \(objective_settings .*'temperature': 0\.1.* -> .*0\.2"
    ):
        changed = {**CONFIG.objective_settings, "temperature": 0.2}
        train(dataclasses.replace(CONFIG, objective_settings=changed), files, 4, str(uninterrupted[1]))
    free = dataclasses.replace(CONFIG, steps_per_loop=7, keep_checkpoints=1)
    complete = train(free, files, 4, str(uninterrupted[1]))
    assert (complete.steps, complete.metrics) == (10, {})
    assert KIT.weights_digest(complete) == uninterrupted[0]


def test_warm_start_takes_the_encoder_alone(files, uninterrupted, tmp_path):
    first = train(CONFIG, files, 4, str(uninterrupted[1]))
    still = dataclasses.replace(CONFIG, steps=1, warmup_steps=1, seed=9)  # step 0 has learning rate 0
    warm = train(still, files, 4, str(tmp_path / "warm"), warm_start=str(uninterrupted[1]))
    for a, b in zip(first.encoder.variables, warm.encoder.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    kernels = [r.objective.projector[0].kernel.numpy() for r in (first, warm)]
    assert (kernels[0] != kernels[1]).any()
    weights = str(tmp_path / "weights.npz")
    save_weights(first.encoder, weights)
    again = train(still, files, 4, str(tmp_path / "again"), warm_start=weights)
    assert KIT.weights_digest(again) == KIT.weights_digest(warm)


def test_what_no_run_can_start_from_says_why(files, uninterrupted, tmp_path):
    def started_from(path):
        with pytest.raises(ValueError, match="warm_start=") as error:
            train(CONFIG, files, 4, str(tmp_path / "cold" / path.name), warm_start=str(path))
        return str(error.value)

    assert "holds no checkpoint" in started_from(tmp_path / "nowhere")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    assert "cannot be read" in started_from(tmp_path / "broken.npz")
    arrays = read_encoder_weights(str(uninterrupted[1]))
    assert sorted(arrays) == ["toy/conv/bias", "toy/conv/kernel", "toy/dense/bias", "toy/dense/kernel"]
    arrays["toy/dense/kernel"] = np.zeros((6, 11))
    save_arrays(arrays, tmp_path / "wider.npz")
    assert "misshapen: toy/dense/kernel (6, 11), expected (6, 10)" in started_from(tmp_path / "wider.npz")
    other = {name.replace("toy", "other"): array for name, array in arrays.items()}
    save_arrays(other, tmp_path / "other.npz")
    assert "missing: toy/conv/bias" in started_from(tmp_path / "other.npz")
    assert "from a run of the same encoder" in started_from(tmp_path / "other.npz")


def test_a_loss_that_is_not_finite_stops_the_run(files, tmp_path):
    config = dataclasses.replace(CONFIG, peak_learning_rate=1e38, warmup_steps=5, steps_per_loop=1)
    with pytest.raises(NonFiniteLossError, match="not finite at step") as error:
        train(dataclasses.replace(config, checkpoint_every_steps=1), files, 4, str(tmp_path))
    assert error.value.step >= 1
    assert error.value.checkpoint == str(tmp_path / f"ckpt-{error.value.step}")
    assert f"last good checkpoint is {error.value.checkpoint}" in str(error.value)
    assert (tmp_path / f"ckpt-{error.value.step}.index").exists()


def test_the_clips_of_the_update_that_broke_are_named(tmp_path):
    """A clip of NaN (2-5) in otherwise sound data; the run stops within the loop of two updates that meets it."""
    files = KIT.write_random_clips(tmp_path)
    content = np.full((40, 80), np.nan)
    kept = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(files[2])]
    kept[5] = KIT.serialize("2-5", content, [])
    KIT.write(Path(files[2]), kept)
    reports = []
    with pytest.raises(NonFiniteLossError) as error:
        train(CONFIG, files, 4, str(tmp_path / "run"), progress=reports.append)
    assert "2-5" in error.value.clip_ids
    assert len(set(error.value.clip_ids)) == CONFIG.batch_size
    assert all(clip_id in str(error.value) for clip_id in error.value.clip_ids)
    assert (
        error.value.step - CONFIG.steps_per_loop
        < max((r.step for r in reports), default=0)
        <= error.value.step
    )


def test_progress_tensorboard_and_result(files, tmp_path):
    reports = []
    places = (str(tmp_path / "run"), str(tmp_path / "logs"))
    result = train(CONFIG, files, 4, *places, reports.append, pictures=ViewPictures)
    assert [r.step for r in reports] == [2, 4, 6, 8, 10]
    assert reports[-1].eta_seconds == 0
    assert all(r.clips_per_second > 0 for r in reports)
    assert result.loss_history == tuple((r.step, r.loss) for r in reports)
    assert set(result.metrics) == {"loss", "gradient_norm", "alignment", "uniformity"}

    scalars: dict[str, dict[int, float]] = {}
    pictured: set[tuple[str, int]] = set()
    for path in (tmp_path / "logs").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    pictured.add((value.tag, event.step))
                    continue
                scalars.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert set(scalars) == {
        "loss", "gradient_norm", "alignment", "uniformity", "learning_rate", "clips_per_second", "input_wait_share",
    }  # fmt: skip
    # The update before each report is the one that is shown: the schedule at steps 1, 3, 5, ...
    assert scalars["learning_rate"][2] == pytest.approx(1e-3 / 2)
    assert scalars["learning_rate"][4] == pytest.approx(1e-3 * 0.5 * (1 + np.cos(np.pi / 8)), rel=1e-5)
    assert all(0 <= share <= 1 for share in scalars["input_wait_share"].values())
    assert pictured == {(f"clip/{name}", step) for name in ("crops", "views") for step in (0, 4, 8, 10)}


def test_run_json_says_what_decides_the_result(uninterrupted):
    settings = json.loads((uninterrupted[1] / "run.json").read_text())
    assert (settings["num_examples"], settings["crop_length"], settings["seed"]) == (21, 33, 3)
    assert "steps_per_loop" not in settings


def test_supervised_training_lowers_the_loss(files, tmp_path):
    config = dataclasses.replace(
        CONFIG, objective="classification", objective_settings={}, steps=60, steps_per_loop=20, peak_learning_rate=3e-2,
        checkpoint_every_steps=60, optimizer="lamb", compute_dtype="bfloat16",
    )  # fmt: skip
    result = train(config, files, 4, str(tmp_path))
    assert result.loss_history[-1][1] < result.loss_history[0][1] - 0.05
    assert {v.dtype for v in result.encoder.variables} == {tf.float32}
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_what_cannot_be_trained_says_why(files, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"batch_size=60 exceeds the 21 training clips"):
        train(dataclasses.replace(CONFIG, batch_size=60), files, 4, str(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"crop_seconds=0\.01 is shorter than one analysis window"):
        train(dataclasses.replace(CONFIG, crop_seconds=0.01), files, 4, str(tmp_path / "b"))
    wave = dataclasses.replace(KIT.RECORD, input_kind="waveform")
    monkeypatch.setattr(loop, "load_encoder", lambda name: wave)
    with pytest.raises(ValueError, match="takes log_mel and encoder='toy' waveform"):
        train(CONFIG, files, 4, str(tmp_path / "c"))


def test_simclr_learns_to_tell_clips_apart(tmp_path):
    rng = np.random.default_rng(0)
    colours = np.repeat(rng.normal(scale=2, size=(12, 1, 10)), 8, axis=2)  # what a clip's crops share
    contents = 0.3 * rng.normal(size=(12, 60, 80)) + colours
    records = [KIT.serialize(str(clip), content, []) for clip, content in enumerate(contents)]
    config = dataclasses.replace(
        CONFIG, batch_size=12, steps=90, steps_per_loop=30, checkpoint_every_steps=90, peak_learning_rate=3e-3,
        objective_settings={"projector_sizes": (32,), "projection_size": 16},
        mixing_alpha=1000.0, mixing_beta=1.0,  # hardly mixed
    )  # fmt: skip
    result = train(config, [KIT.write(tmp_path / "clips.tfrecord", records)], 0, str(tmp_path / "run"))
    assert result.loss_history[-1][1] < 0.25 * np.log(2 * 12 - 1)  # chance is the logarithm
    assert result.metrics["alignment"] < 0.5


def test_the_real_encoder_repeats_and_resumes_to_the_byte(files, tmp_path, monkeypatch):
    monkeypatch.undo()
    config = dataclasses.replace(CONFIG, encoder="sf_nfnet_tiny", steps=4, checkpoint_every_steps=2)
    whole = KIT.weights_digest(train(config, files, 4, str(tmp_path)))
    (tmp_path / "ckpt-4.index").write_bytes(b"")  # back to step 2
    assert KIT.weights_digest(train(config, files, 4, str(tmp_path))) == whole


def test_lamb_opens_closed_residual_branches_as_adam_does(files, tmp_path, monkeypatch):
    """The gains of a normaliser-free network's branches start at zero."""
    monkeypatch.undo()
    widest = {}
    for optimizer in ("adam", "lamb"):
        config = dataclasses.replace(CONFIG, encoder="sf_nfnet_tiny", steps=12, optimizer=optimizer)
        encoder = train(config, files, 4, str(tmp_path / optimizer)).encoder
        gains = [v.numpy() for v in encoder.trainable_variables if v.name.endswith("skip_gain:0")]
        widest[optimizer] = np.abs(gains).max()
    assert widest["adam"] / 3 < widest["lamb"] < widest["adam"] * 3
