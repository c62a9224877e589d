"""COLA's loss: the logarithm of the batch at first, and the published formula after."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from kits import training_kit as KIT
from models.objective import Replicas, load_objective
from models.training.config import TrainingConfig

CLIPS, FRAMES, MEL, SIZE = 6, 20, 16, 4


@pytest.fixture
def parts():
    config = TrainingConfig(objective="cola", objective_settings={"projection_size": SIZE})
    objective = load_objective("cola").build(config, KIT.RECORD, 0, (FRAMES, MEL))
    rng = np.random.default_rng(0)
    batch = {
        "clips": tf.constant(rng.normal(3, 2, (CLIPS, 2, FRAMES, MEL)), tf.float32),
        "noise": tf.zeros([CLIPS, 2, 2]),  # the toy encoder halves nothing
    }
    return KIT.RECORD.build(0), objective, batch, rng


def test_at_first_every_candidate_is_as_likely(parts):
    encoder, objective, batch, _ = parts
    loss, _ = objective.loss(encoder, batch, Replicas())
    assert float(loss) == pytest.approx(np.log(CLIPS), rel=1e-6)


def test_clips_that_are_all_alike_cost_the_logarithm_of_the_batch(parts):
    encoder, objective, batch, rng = parts
    objective.bilinear.assign(rng.normal(size=(SIZE, SIZE)))
    batch["clips"] = tf.repeat(batch["clips"][:1], CLIPS, axis=0)
    loss, _ = objective.loss(encoder, batch, Replicas())
    assert float(loss) == pytest.approx(np.log(CLIPS), rel=1e-5)


def test_the_loss_is_the_softmax_over_bilinear_similarities(parts):
    encoder, objective, batch, rng = parts
    weight = rng.normal(size=(SIZE, SIZE))
    objective.bilinear.assign(weight)
    loss, metrics = objective.loss(encoder, batch, Replicas())

    clips = batch["clips"].numpy()
    views = np.concatenate([clips[:, 0], clips[:, 1]])
    views = (views - views.mean((1, 2), keepdims=True)) / views.std((1, 2), keepdims=True)
    embedding = encoder(tf.constant(views[..., None], tf.float32))["embedding"].numpy().astype(np.float64)
    hidden = embedding @ objective.projection.kernel.numpy() + objective.projection.bias.numpy()
    hidden -= hidden.mean(1, keepdims=True)
    hidden = np.tanh(hidden / np.sqrt(hidden.var(1, keepdims=True) + objective.normalisation.epsilon))
    similarity = hidden[:CLIPS] @ weight @ hidden[CLIPS:].T
    terms = scipy.special.logsumexp(similarity, axis=1) - np.diag(similarity)
    assert float(loss) == pytest.approx(terms.mean(), rel=1e-3)
    found = (similarity.argmax(1) == np.arange(CLIPS)).mean()
    assert float(metrics["accuracy"]) == pytest.approx(found)


def test_the_papers_projection_has_512_numbers():
    objective = load_objective("cola").build(TrainingConfig(objective="cola"), KIT.RECORD, 0, (FRAMES, MEL))
    assert objective.projection.kernel.shape == (10, 512)
    assert objective.bilinear.shape == (512, 512)


def test_a_setting_out_of_range_is_named():
    config = TrainingConfig(objective="cola", objective_settings={"projection_size": 0})
    with pytest.raises(ValueError, match=r"projection_size: got 0; accepted is 1 or more"):
        load_objective("cola").own_settings(config)
