"""Masked prediction: masks and negatives are as stated, the loss is computed again by hand, and starts as it must."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from models.encoder import load_encoder
from models.objective import Replicas, load_objective
from models.objectives.wav2vec2 import Wav2Vec2Settings, sample_negatives, span_mask
from models.training.config import TrainingConfig
from models.training.step import replica_gradients

SETTINGS = {"projection_size": 6, "mask_length": 3, "negatives": 7}
CLIPS, SAMPLES = 3, 8000
RECORD = load_encoder("wav2vec2_tiny")


def seeds(rows: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(5).integers(0, 2**23, (rows, 2)), tf.int32)


@pytest.fixture
def parts():
    config = TrainingConfig(objective="wav2vec2", objective_settings=SETTINGS)
    objective = load_objective("wav2vec2").build(config, RECORD, 0, (SAMPLES,))
    encoder = RECORD.build(1)
    batch = {
        "clips": tf.random.stateless_normal([CLIPS, 1, SAMPLES], [1, 2]),
        "noise": tf.zeros([CLIPS, 1, encoder.noise_size]),
        "objective_noise": tf.random.stateless_uniform([CLIPS, 1, objective.noise_size], [3, 4]),
    }
    return encoder, objective, batch


def test_equal_scores_lose_the_logarithm_of_the_candidates(parts):
    encoder, objective, batch = parts
    objective.target_projection.kernel.assign(tf.zeros_like(objective.target_projection.kernel))
    loss, metrics = objective.loss(encoder, batch, Replicas())
    assert float(metrics["contrastive"]) == pytest.approx(np.log(1 + 7), rel=1e-6)
    assert float(metrics["accuracy"]) == 0
    latents = encoder.latents(batch["clips"][:, 0]).numpy()
    assert float(metrics["penalty"]) == pytest.approx(np.mean(latents**2), rel=1e-5)
    assert float(loss) == pytest.approx(np.log(8) + 10 * np.mean(latents**2), rel=1e-5)


def test_the_contrastive_loss_is_the_one_computed_by_hand(parts):
    encoder, objective, batch = parts
    _, metrics = objective.loss(encoder, batch, Replicas())
    drawn = tf.cast(batch["objective_noise"][:, 0] * 2.0**23, tf.int32)
    normalised = encoder.normalised(encoder.latents(batch["clips"][:, 0]))
    mask = span_mask(drawn, normalised.shape[1], 0.65, 3)
    chosen = sample_negatives(drawn, mask, 7).numpy()
    context = encoder.contextualise(normalised, mask=mask).numpy()
    context = context @ objective.context_projection.kernel.numpy()
    targets = normalised.numpy() @ objective.target_projection.kernel.numpy()
    terms, found = [], []
    for clip, frame in np.argwhere(mask.numpy()):
        own = [frame, *chosen[clip, frame]]
        lengths = np.linalg.norm(targets[clip, own], axis=1) * np.linalg.norm(context[clip, frame])
        scores = targets[clip, own] @ context[clip, frame] / lengths / 0.1
        terms.append(scipy.special.logsumexp(scores) - scores[0])
        found.append(scores[0] > scores[1:].max())
    assert float(metrics["contrastive"]) == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(found), abs=1e-6)


def test_gradients_into_the_convolutions_are_a_tenth(parts):
    encoder, _, batch = parts
    found = []
    for factor in (1.0, 0.1):
        config = TrainingConfig(objective_settings={**SETTINGS, "encoder_gradient": factor})
        objective = load_objective("wav2vec2").build(config, RECORD, 0, (SAMPLES,))
        _, _, gradients = replica_gradients(encoder, objective, batch)
        found.append(dict(zip([v.name for v in encoder.trainable_variables], gradients, strict=False)))
    for name, full in found[0].items():
        scale = 0.1 if name.startswith("feature_extractor") else 1.0
        np.testing.assert_allclose(found[1][name], scale * full, atol=1e-4 * np.abs(full).max(), err_msg=name)
        if not name.endswith("k_proj.bias:0"):
            assert np.any(full), name  # the stand-in for masked frames is trained too


def test_spans_are_whole_and_start_anywhere():
    frames, length = 40, 10
    mask = span_mask(seeds(500), frames, 0.65, length).numpy()
    spans = round(0.65 * frames / length)
    for row in mask:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        runs = np.diff(edges)[::2]
        assert runs.min() >= length
        assert length + spans - 1 <= row.sum() <= spans * length
    # A lone span starts at each of 31 frames alike.
    starts = span_mask(seeds(2000), frames, 0.25, length).numpy().argmax(axis=1)
    counts = np.bincount(starts, minlength=frames - length + 1)
    assert len(counts) == frames - length + 1
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    with pytest.raises(ValueError, match="gives 9 frames and wav2vec2 masks spans of 10"):
        span_mask(seeds(1), 9, 0.65, 10)


def test_half_of_the_frames_of_ten_seconds_are_masked():
    mask = span_mask(seeds(20), 499, 0.65, 10).numpy()
    assert mask.mean() == pytest.approx(0.49, abs=0.02)  # the original's paper, section 4.2


def test_negatives_are_the_clips_other_masked_frames():
    mask = span_mask(seeds(4), 30, 0.5, 4)
    chosen = sample_negatives(seeds(4), mask, 400).numpy()
    for row in range(4):
        masked = np.flatnonzero(mask[row])
        for frame in masked:
            others = masked[masked != frame]
            counts = np.bincount(chosen[row, frame], minlength=30)
            assert counts[others].sum() == 400
            assert scipy.stats.chisquare(counts[others]).pvalue > 1e-6
    alone = sample_negatives(seeds(4)[2:3], mask[2:3], 400)
    np.testing.assert_array_equal(alone[0], chosen[2])  # whatever else is in the batch


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("mask_probability", 0.0),
        ("mask_length", 1),
        ("negatives", 0),
        ("temperature", 0.0),
        ("penalty", -1.0),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting}.*got"):
        Wav2Vec2Settings(**{setting: value})
