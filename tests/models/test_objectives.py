"""Every objective trains an encoder, and each loss agrees with an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
import sklearn.metrics
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Replicas, load_objective, objective_names
from models.objectives._contrastive import project
from models.objectives.simclr import SimclrSettings
from models.training.config import TrainingConfig
from models.training.mixing import mix_log_mel, mixing_ratio
from models.training.step import replica_gradients

CONFIG = TrainingConfig(objective_settings={"projector_sizes": (12, 12, 12), "projection_size": 6})
CLIPS, FRAMES, MEL, CLASSES = 6, 20, 16, 3
CROP = (FRAMES, MEL)


class LinearEncoder(Encoder):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self._dense = tf.keras.layers.Dense(10, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self._dense(tf.reshape(inputs, [-1, FRAMES * MEL]))}


RECORD = EncoderRecord("linear", "log_mel", embedding_size=10, parameters=3210, build=LinearEncoder)


def random_batch(views: int, objective_noise_size: int = 0) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(1)

    def floats(values):
        return tf.constant(values, tf.float32)

    return {
        "clips": floats(rng.normal(size=(CLIPS, views, FRAMES, MEL))),
        "labels": floats(rng.integers(0, 2, (CLIPS, CLASSES))),
        "noise": floats(np.zeros((CLIPS, views, 0))),
        "objective_noise": floats(
            np.random.default_rng(2).uniform(size=(CLIPS, views, objective_noise_size))
        ),
        "partners": floats(rng.normal(size=(CLIPS, views, FRAMES, MEL))),
        "partner_labels": floats(rng.integers(0, 2, (CLIPS, views, CLASSES))),
        "ratio": floats(rng.beta(5, 2, (CLIPS, views))),
    }


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_learns(name):
    record = load_objective(name)
    assert record.name == name
    if record.input_kind != "log_mel":
        pytest.skip("its own test has a waveform encoder")
    encoder, objective = (
        RECORD.build(0),
        record.build(CONFIG if name == "simclr" else TrainingConfig(), RECORD, CLASSES, CROP),
    )
    encoder(tf.zeros([1, FRAMES, MEL, 1]))
    objective.begin(encoder)
    batch = random_batch(record.num_views, objective.noise_size)
    optimizer = tf.keras.optimizers.legacy.SGD(0.01)
    losses = []
    for _ in range(8):
        loss, metrics, gradients = replica_gradients(encoder, objective, batch)
        assert tuple(metrics) == record.metrics
        variables = [*encoder.trainable_variables, *objective.trainable_variables]
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_unknown_objective_lists_those_there_are():
    with pytest.raises(ValueError, match=r"unknown objective 'byol'; there are .*classification, .*simclr"):
        load_objective("byol")


def test_classification_needs_classes():
    with pytest.raises(ValueError, match="0 classes"):
        load_objective("classification").build(CONFIG, RECORD, 0, CROP)


def test_nt_xent_is_the_published_formula():
    record = load_objective("simclr")
    encoder, objective = RECORD.build(0), record.build(CONFIG, RECORD, CLASSES, CROP)
    batch = random_batch(2)
    loss, metrics = objective.loss(encoder, batch, Replicas())

    z = project(objective.projector, encoder(objective.views(batch))["embedding"]).numpy().astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-5)
    similarity = z @ z.T / SimclrSettings().temperature
    terms = []
    for i in range(2 * CLIPS):  # SimCLR, equation 1
        j = (i + CLIPS) % (2 * CLIPS)
        others = [k for k in range(2 * CLIPS) if k != i]
        terms.append(scipy.special.logsumexp(similarity[i, others]) - similarity[i, j])
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)

    first, second = z[:CLIPS], z[CLIPS:]
    assert float(metrics["alignment"]) == pytest.approx(((first - second) ** 2).sum(1).mean(), rel=1e-5)
    pairs = scipy.spatial.distance.pdist(first, "sqeuclidean")
    assert float(metrics["uniformity"]) == pytest.approx(np.log(np.exp(-2 * pairs).mean()), rel=1e-4)


def test_projector_has_the_papers_layers():
    projector = load_objective("simclr").build(TrainingConfig(), RECORD, 0, CROP).projector
    assert [layer.kernel.shape[1] for layer in projector] == [4096, 4096, 4096, 128]


def test_classification_is_mixed_cross_entropy():
    record = load_objective("classification")
    encoder, objective = RECORD.build(0), record.build(CONFIG, RECORD, CLASSES, CROP)
    batch = random_batch(1)
    loss, _ = objective.loss(encoder, batch, Replicas())
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)

    rng = np.random.default_rng(2)
    objective.head.kernel.assign(rng.normal(size=(10, CLASSES)))
    loss, _ = objective.loss(encoder, batch, Replicas())
    probability = scipy.special.expit(objective.head(encoder(objective.views(batch))["embedding"]).numpy())
    ratio = np.repeat(batch["ratio"].numpy(), CLASSES, axis=1).ravel()
    # Cross-entropy is linear in the labels: each label set counts with its share of the mixture.
    expected = sum(
        share.sum() / ratio.size
        * sklearn.metrics.log_loss(labels.ravel(), probability.ravel(), sample_weight=share, labels=[0, 1])
        for labels, share in (
            (batch["labels"].numpy(), ratio), (batch["partner_labels"].numpy()[:, 0], 1 - ratio),
        )
    )  # fmt: skip
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_views_are_standardised_and_in_order():
    objective = load_objective("simclr").build(CONFIG, RECORD, CLASSES, CROP)
    views = objective.views(random_batch(2)).numpy()
    assert views.shape == (2 * CLIPS, FRAMES, MEL, 1)
    np.testing.assert_allclose(views.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(views.std(axis=(1, 2, 3)), 1, atol=1e-3)


def test_mixing_adds_energies_at_equal_loudness():
    rng = np.random.default_rng(3)
    clips, others = rng.normal(-3, 2, (4, 2, 9, 5)), rng.normal(5, 1, (4, 2, 9, 5))
    ratio = rng.beta(5, 2, (4, 2))
    mixed = mix_log_mel(*(tf.constant(x, tf.float32) for x in (clips, others, ratio))).numpy()
    own = np.exp(clips) / np.exp(clips).mean((-2, -1), keepdims=True)
    other = np.exp(others) / np.exp(others).mean((-2, -1), keepdims=True)
    share = ratio[..., None, None]
    np.testing.assert_allclose(np.exp(mixed), share * own + (1 - share) * other, rtol=1e-4)


@pytest.mark.parametrize("loudness", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_mixing_stays_finite(loudness, ratio):
    clip = tf.fill([1, 1, 4, 3], loudness)
    mixed = mix_log_mel(clip, clip, tf.fill([1, 1], ratio)).numpy()
    np.testing.assert_allclose(mixed, 0.0, atol=1e-4)  # a flat crop at a mean energy of 1


def test_mixing_ratio_is_beta_5_2():
    draws = tf.map_fn(
        lambda i: mixing_ratio(2, 5.0, 2.0, tf.stack([7, i])), tf.range(2000), fn_output_signature=tf.float32
    )
    assert scipy.stats.kstest(draws.numpy().ravel(), "beta", args=(5, 2)).pvalue > 0.01
