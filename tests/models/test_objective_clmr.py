"""CLMR: which augmentations a crop gets, and NT-Xent over what comes out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Replicas, load_objective
from models.objectives._contrastive import project
from models.objectives._waveform_augmentations import add_delayed, low_pass, shift_pitch
from models.training.config import TrainingConfig

CLIPS, SAMPLES, RATE, SIZE = 5, 4000, 16000, 6
NAMES = ("polarity", "noise", "gain", "filter", "delay", "pitch")
OFF = dict.fromkeys(NAMES, 0.0)


class WaveEncoder(Encoder):
    def __init__(self, seed: int) -> None:
        super().__init__()
        initializer = tf.keras.initializers.GlorotUniform(seed)
        self._dense = tf.keras.layers.Dense(10, kernel_initializer=initializer)

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self._dense(tf.signal.frame(inputs, 400, 400)[:, 0])}


RECORD = EncoderRecord("wave", "waveform", embedding_size=10, parameters=4010, build=WaveEncoder)


def objective_with(**settings):
    config = TrainingConfig(
        objective="clmr", crop_seconds=SAMPLES / RATE, objective_settings={"projection_size": SIZE, **settings}
    )  # fmt: skip
    return load_objective("clmr").build(config, RECORD, 0, (SAMPLES,))


def batch():
    rng = np.random.default_rng(0)
    return {
        "clips": tf.constant(0.1 * rng.normal(size=(CLIPS, 2, SAMPLES)), tf.float32),
        "noise": tf.zeros([CLIPS, 2, 0]),
        "objective_noise": tf.constant(rng.uniform(size=(CLIPS, 2, 14)), tf.float32),
    }


def test_equal_views_of_equal_clips_cost_the_logarithm_of_the_candidates():
    objective, alike = objective_with(**OFF), batch()
    alike["clips"] = tf.tile(alike["clips"][:1, :1], [CLIPS, 2, 1])
    loss, _ = objective.loss(RECORD.build(0), alike, Replicas())
    assert float(loss) == pytest.approx(np.log(2 * CLIPS - 1), rel=1e-6)


def test_the_loss_is_nt_xent_of_the_augmented_crops():
    objective, encoder, drawn = objective_with(), RECORD.build(0), batch()
    loss, _ = objective.loss(encoder, drawn, Replicas())
    embedding = encoder(objective.views(drawn))["embedding"]
    z = project(objective.projector, embedding).numpy().astype(np.float64)
    hidden = np.maximum(embedding.numpy() @ objective.projector[0].kernel.numpy(), 0)
    expected = hidden @ objective.projector[1].kernel.numpy()
    np.testing.assert_allclose(z, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    similarity = z @ z.T / 0.5
    terms = []
    for i in range(2 * CLIPS):
        others = [k for k in range(2 * CLIPS) if k != i]
        terms.append(
            scipy.special.logsumexp(similarity[i, others]) - similarity[i, (i + CLIPS) % (2 * CLIPS)]
        )
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)


def test_crops_stay_as_they_are_where_nothing_is_drawn():
    drawn = batch()
    views = objective_with(**OFF).views(drawn).numpy()
    np.testing.assert_array_equal(views[:CLIPS], drawn["clips"].numpy()[:, 0])
    np.testing.assert_array_equal(views[CLIPS:], drawn["clips"].numpy()[:, 1])


def numbers(**values):
    """The fourteen numbers of one crop: each augmentation's draw first, in CLMR's order."""
    order = (
        "polarity", "noise", "level", "seed0", "seed1", "gain", "amount", "filter", "kind", "frequency",
        "delay", "which", "pitch", "shift",
    )  # fmt: skip
    return tf.constant([[values.get(name, 0.999) for name in order]], tf.float32)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ({"polarity": 0.7}, lambda x: -x),
        ({"gain": 0.2, "amount": 0.5}, lambda x: x * 10 ** (-10.5 / 20)),
        ({"filter": 0.7, "kind": 0.4, "frequency": 0.25}, lambda x: x - low_pass(x, tf.constant([450 / RATE]), 0.0125)),
        ({"filter": 0.7, "kind": 0.6, "frequency": 0.5}, lambda x: low_pass(x, tf.constant([3100 / RATE]), 0.1375)),
        ({"delay": 0.2, "which": 0.0}, lambda x: add_delayed(x, tf.constant([3200]), 0.5)),
        ({"delay": 0.2, "which": 0.99}, lambda x: x / 2),  # 500 ms are longer than the crop
        ({"pitch": 0.5, "shift": 1.0}, lambda x: shift_pitch(x, tf.constant([2 ** (7 / 12)]), 1.5)),
        ({"pitch": 0.5, "shift": 0.0}, lambda x: shift_pitch(x, tf.constant([2 ** (-7 / 12)]), 1.5)),
        ({"polarity": 0.9, "gain": 0.4, "filter": 0.9, "delay": 0.4, "pitch": 0.7}, lambda x: x),
    ],
)  # fmt: skip
def test_each_draw_does_what_clmr_says(drawn, expected):
    x = batch()["clips"][:1, 0]
    got = objective_with().augment(x, numbers(**drawn))
    np.testing.assert_allclose(got, expected(x), atol=1e-5)


def test_noise_is_rare_and_faint():
    x, objective = batch()["clips"][:1, 0], objective_with()
    seeds = {"seed0": 0.5, "seed1": 0.25}
    np.testing.assert_array_equal(objective.augment(x, numbers(noise=0.011, **seeds)), x)
    added = (objective.augment(x, numbers(noise=0.009, level=0.0, **seeds)) - x).numpy()
    assert added.std() / x.numpy().std() == pytest.approx(1e-4, rel=0.1)  # 80 dB below


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": 1.5}, r"gain: got 1\.5; accepted is a probability"),
        ({"temperature": 0.0}, r"temperature and projection_size: got 0\.0"),
        ({"low_pass_hertz": (0.0, 3000.0)}, r"low_pass_hertz: got 0\.0 to 3000\.0; accepted is a range"),
        ({"pitch_semitones": (3.0, -3.0)}, r"pitch_semitones: got 3\.0 to -3\.0"),
        ({"delays": ()}, r"delays: got \[\]; accepted are one or more"),
        ({"low_pass_hertz": (2200.0, 8000.0)}, r"low_pass_hertz reaches 8000\.0 Hz; .* 16000 Hz"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        objective_with(**settings)
