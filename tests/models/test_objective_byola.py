"""BYOL-A: loss, normalisation, queue and moving average against numpy; runs resume with all of them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from kits import training_kit as KIT
from models.objective import Replicas, load_objective
from models.objectives._log_mel_augmentations import AxisCrop, log_mixup_exp, random_resize_crop
from models.training import loop
from models.training.config import TrainingConfig
from models.training.loop import train
from models.training.step import replica_gradients, trainable_variables

pytestmark = pytest.mark.slow

CLIPS, FRAMES, MEL = 6, 20, 16
SETTINGS = {"queue_size": 10, "hidden_size": 8, "projection_size": 4}


def built(**settings):
    config = TrainingConfig(objective="byola", objective_settings={**SETTINGS, **settings})
    encoder = KIT.RECORD.build(0)
    encoder(tf.zeros([1, FRAMES, MEL, 1]))
    objective = load_objective("byola").build(config, KIT.RECORD, 0, (FRAMES, MEL))
    objective.begin(encoder)
    return encoder, objective


def batch(seed=0, loudness=-4.0):
    rng = np.random.default_rng(seed)
    return {
        "clips": tf.constant(rng.normal(loudness, 2, (CLIPS, 1, FRAMES, MEL)), tf.float32),
        "noise": tf.constant(rng.uniform(size=(CLIPS, 1, 8)), tf.float32),
        "objective_noise": tf.constant(rng.uniform(size=(CLIPS, 1, 12)), tf.float32),
    }


def head(module, rows):
    """Projector or predictor by numpy."""
    hidden = rows @ module.layers[0].kernel.numpy()
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = np.maximum(hidden * module.scale.numpy() + module.offset.numpy(), 0)
    out = hidden @ module.layers[1].kernel.numpy()
    return out + module.layers[1].bias.numpy() if module.layers[1].use_bias else out


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_loss_is_symmetric_between_views_and_networks():
    encoder, objective = built()
    drawn = batch()
    rng = np.random.default_rng(1)
    for variable in objective.target_projector.variables:  # off the online network's weights
        variable.assign_add(rng.normal(size=variable.shape) * 0.3)
    views = objective.views(drawn).numpy()
    loss, metrics = objective.loss(encoder, drawn, Replicas())

    noise = np.split(drawn["noise"].numpy()[:, 0], 4, axis=1)
    predictions, targets = [], []
    for view, own, others in zip(np.split(views, 2), noise[:2], noise[2:], strict=True):
        online = encoder(view, training=True, noise=own)["embedding"].numpy()
        target = objective.target_encoder(view, training=True, noise=others)["embedding"].numpy()
        predictions.append(unit(head(objective.predictor, head(objective.projector, online))))
        targets.append(unit(head(objective.target_projector, target)))
    one = 2 - 2 * (predictions[0] * targets[1]).sum(1)
    other = 2 - 2 * (predictions[1] * targets[0]).sum(1)
    assert float(loss) == pytest.approx((one + other).mean(), rel=1e-4)
    assert float(metrics["spread"]) == pytest.approx(targets[0].var(0).sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("foretold", "expected"),
    [([1.0, 0, 0, 0], 0.0), ([0, 1.0, 0, 0], 4.0), ([-1.0, 0, 0, 0], 8.0), ([1.0, 3**0.5, 0, 0], 2.0)],
)
def test_the_loss_goes_from_nought_to_eight_with_the_angle(foretold, expected):
    encoder, objective = built()
    # Heads that put out one direction, whatever goes in.
    for module, direction in ((objective.predictor, foretold), (objective.target_projector, [1.0, 0, 0, 0])):
        module.scale.assign(tf.zeros_like(module.scale))
        module.offset.assign(tf.ones_like(module.offset))
        module.layers[1].kernel.assign(np.tile(direction, (8, 1)))
    assert float(objective.loss(encoder, batch(), Replicas())[0]) == pytest.approx(expected, abs=1e-5)


def test_statistics_are_those_of_all_crops_so_far():
    encoder, objective = built()
    seen = []
    for seed, loudness in enumerate((-4.0, 0.0, 3.0)):
        drawn = batch(seed, loudness)
        seen.append(drawn["clips"].numpy())
        objective.loss(encoder, drawn, Replicas())
    whole = np.concatenate(seen)
    assert float(objective.mean) == pytest.approx(whole.mean(), rel=1e-5)
    assert float(objective.variance) == pytest.approx(whole.var(), rel=1e-5)
    # What was queued last is the last batch, normalised by them.
    last = (seen[-1][:, 0] - whole.mean()) / whole.std()
    np.testing.assert_allclose(objective.queue.numpy()[-CLIPS:], last, atol=1e-4)
    assert int(objective.queued) == 10


def test_the_queue_gives_past_crops_as_background_and_fills_first():
    encoder, objective = built()
    first, second = batch(0), batch(1)
    # At first there is nothing to mix with: the share that is drawn does not matter.
    louder = {**first, "objective_noise": first["objective_noise"] * ([0.0, 0.0, *[1.0] * 4] * 2)}
    np.testing.assert_array_equal(objective.views(first), objective.views(louder))
    objective.loss(encoder, first, Replicas())
    assert int(objective.queued) == CLIPS

    views = objective.views(second).numpy()[..., 0]
    both = np.concatenate([first["clips"], second["clips"]])
    crops = (second["clips"].numpy()[:, 0] - both.mean()) / np.sqrt(both.var() + 1e-5)
    past = first["clips"].numpy()[:, 0]
    past = (past - past.mean()) / np.sqrt(past.var() + 1e-5)
    expected = []
    for numbers in np.split(second["objective_noise"].numpy()[:, 0], 2, axis=1):
        back = 1 + (numbers[:, 1] * CLIPS).astype(int)  # the newest crop is one back
        mixed = log_mixup_exp(
            *(tf.constant(x, tf.float32) for x in (crops, past[-back], 0.4 * numbers[:, 0]))
        )
        cuts = AxisCrop(1.5, (0.6, 1.5)), AxisCrop(1.0, (0.6, 1.5))
        expected.append(random_resize_crop(mixed, tf.constant(numbers[:, 2:]), *cuts).numpy())
    expected = np.concatenate(expected)
    np.testing.assert_allclose(views, (expected - expected.mean()) / expected.std(), atol=2e-4)
    assert views.mean() == pytest.approx(0, abs=1e-5)
    assert views.std() == pytest.approx(1, abs=1e-4)


def test_the_target_follows_and_learns_nothing_itself():
    encoder, objective = built(decay=0.9)
    online = [*encoder.variables, *objective.projector.variables]
    target = [*objective.target_encoder.variables, *objective.target_projector.variables]
    for a, b in zip(online, target, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())  # it starts where the online network does
    learnt = {id(variable) for variable in trainable_variables(encoder, objective)}
    assert not learnt & {id(variable) for variable in target}
    assert learnt >= {id(variable) for variable in online}

    before = [variable.numpy() for variable in target]
    _, _, gradients = replica_gradients(encoder, objective, batch())
    for variable, gradient in zip(trainable_variables(encoder, objective), gradients, strict=True):
        variable.assign_sub(0.1 * gradient)
    objective.after_update(encoder)
    for old, new, followed in zip(before, online, target, strict=True):
        np.testing.assert_allclose(followed.numpy(), 0.9 * old + 0.1 * new.numpy(), atol=1e-6)


def test_the_papers_numbers_are_the_defaults():
    objective = load_objective("byola").build(TrainingConfig(objective="byola"), KIT.RECORD, 0, (96, 64))
    for module, size in ((objective.projector, 10), (objective.predictor, 256)):
        assert [tuple(layer.kernel.shape) for layer in module.layers] == [(size, 4096), (4096, 256)]
    assert objective.queue.shape == (2048, 96, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queue_size": 0}, r"queue_size: got 0; accepted is 1 or more"),
        ({"mixup_ratio": 1.5}, r"mixup_ratio: got 1\.5; accepted is a share"),
        ({"decay": 1.0}, r"decay: got 1\.0; accepted is 0 or more"),
        ({"canvas": [1.0, 0.5]}, r"canvas: got \[1\.0, 0\.5\]"),
        ({"time_scale": [0.0, 1.0]}, r"time_scale: got 0\.0 to 1\.0"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        built(**settings)


RUN = TrainingConfig(
    encoder="toy", objective="byola", objective_settings=SETTINGS, steps=6, batch_size=4, warmup_steps=1,
    peak_learning_rate=1e-2, crop_seconds=0.2, steps_per_loop=2, checkpoint_every_steps=2, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run in one go: clips, folder, and what it left in every variable."""
    folder = tmp_path_factory.mktemp("byola")
    files = KIT.write_random_clips(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
        result = train(RUN, files, 0, str(folder / "run"))
    disable_op_determinism()
    return files, folder / "run", result


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_goes_on_exactly_with_all_its_state(finished, step, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
    files, run, whole = finished
    stopped = Path(shutil.copytree(run, tmp_path / "run"))
    for later in range(step + 2, 7, 2):
        (stopped / f"ckpt-{later}.index").write_bytes(b"")
    seen = []
    resumed = train(RUN, files, 0, str(stopped), progress=lambda report: seen.append(report.step))
    disable_op_determinism()
    assert seen == list(range(step + 2, 7, 2))
    assert {"queue", "queued", "updates", "mean", "variance"} <= {
        v.name.removesuffix(":0") for v in resumed.objective.variables
    }
    for a, b in zip(whole.objective.variables, resumed.objective.variables, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes(), a.name
    assert KIT.weights_digest(whole) == KIT.weights_digest(resumed)
    assert float(resumed.objective.updates) == 6


def test_a_warm_start_reaches_the_target(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda name: KIT.RECORD)
    files, run, whole = finished
    config = dataclasses.replace(RUN, steps=1, seed=4, objective_settings={**SETTINGS, "decay": 0.999999})
    result = train(config, files, 0, str(tmp_path), warm_start=str(run))
    disable_op_determinism()
    pairs = zip(whole.encoder.variables, result.objective.target_encoder.variables, strict=True)
    for trained, target in pairs:
        np.testing.assert_allclose(trained.numpy(), target.numpy(), atol=1e-5)
