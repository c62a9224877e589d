"""CPC's loss is InfoNCE computed by hand, starts at its closed form, and knows time's direction."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from models.encoder import load_encoder
from models.objective import Replicas, load_objective
from models.objectives.cpc import CpcSettings
from models.training.config import TrainingConfig

STEPS, CLIPS, FRAMES = 3, 2, 20
RECORD = load_encoder("bidir_cpc_tiny")


@pytest.fixture
def parts():
    config = TrainingConfig(objective="cpc", objective_settings={"steps": STEPS})
    samples = 465 + 160 * (FRAMES - 1)
    objective = load_objective("cpc").build(config, RECORD, 0, (samples,))
    batch = {"clips": tf.random.stateless_normal([CLIPS, 1, samples], [1, 2])}
    return RECORD.build(1), objective, batch


def test_the_first_loss_is_the_logarithm_of_the_frames(parts):
    encoder, objective, batch = parts
    loss, _ = objective.loss(encoder, batch, Replicas())
    assert float(loss) == pytest.approx(np.log(FRAMES), rel=1e-6)


def test_loss_and_accuracy_are_those_computed_by_hand(parts):
    encoder, objective, batch = parts
    rng = np.random.default_rng(3)
    for predictor in (*objective.forward, *objective.backward):
        predictor.assign(rng.normal(size=(32, 32)) * 0.3)
    loss, metrics = objective.loss(encoder, batch, Replicas())
    latents = encoder.latents(batch["clips"][:, 0])
    contexts = [c.numpy().astype(float) for c in encoder.contexts(latents)]
    z = latents.numpy().astype(float)
    means, hits = [], []
    for context, predictors, sign in zip(
        contexts, (objective.forward, objective.backward), (1, -1), strict=True
    ):
        for k, predictor in enumerate(predictors, start=1):
            terms, found = [], []
            for clip in range(CLIPS):
                for i in range(FRAMES):
                    if not 0 <= i + sign * k < FRAMES:
                        continue
                    scores = z[clip] @ (context[clip, i] @ predictor.numpy()) / np.sqrt(32)
                    terms.append(-scipy.special.log_softmax(scores)[i + sign * k])
                    found.append(np.argmax(scores) == i + sign * k)
            means.append(np.mean(terms))
            hits.append(np.mean(found))
    assert float(loss) == pytest.approx(np.mean(means), rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(hits), abs=1e-6)


def test_settings_and_crops_that_cannot_work_are_refused(parts):
    encoder, objective, batch = parts
    with pytest.raises(ValueError, match="steps: got 0; accepted is 1 or more"):
        CpcSettings(steps=0)
    short = {"clips": batch["clips"][..., : 465 + 2 * 160]}
    with pytest.raises(ValueError, match="gives 3 frames and cpc predicts 3 steps"):
        objective.loss(encoder, short, Replicas())


def test_an_encoder_without_frames_is_refused():
    record = load_objective("cpc")
    assert record.trains(RECORD)
    assert not record.trains(load_encoder("wav2vec2_tiny"))
    assert not record.trains(load_encoder("sf_nfnet_tiny"))
    assert load_objective("clmr").trains(RECORD)
