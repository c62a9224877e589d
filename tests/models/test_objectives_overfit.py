"""Each objective alone makes a tiny encoder tell 64 real recordings apart: what is trained is what is asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from hares.corpus import dataset_root
from hares.decoding import decode
from hares.reading import scan
from hares.task import Clip, load_task
from kits import training_kit as KIT
from models.encoder import Encoder, EncoderRecord, load_encoder
from models.frontend import FrontendConfig, log_mel
from models.objective import load_objective
from models.training import loop
from models.training.config import TrainingConfig
from models.training.loop import train

pytestmark = pytest.mark.slow

CLIPS, SAMPLES = 64, 8000
FRAME_ENCODERS = {
    "cpc": "bidir_cpc_tiny",
    "wav2vec2": "wav2vec2_tiny",
}  # what trains single frames needs them


class TinyEncoder(Encoder):
    """What each mel band is like over time, and two dense layers."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="tiny")
        initializer = tf.keras.initializers.GlorotUniform
        self._hidden = tf.keras.layers.Dense(128, "gelu", kernel_initializer=initializer(seed=seed))
        self._dense = tf.keras.layers.Dense(64, kernel_initializer=initializer(seed=seed + 1))

    def call(self, inputs, training=False, noise=None):
        bands = tf.cast(inputs[..., 0], tf.float32)
        statistics = [tf.reduce_mean(bands, 1), tf.math.reduce_std(bands, 1), tf.reduce_max(bands, 1)]
        return {"embedding": tf.cast(self._dense(self._hidden(tf.concat(statistics, 1))), tf.float32)}


RECORD = EncoderRecord("tiny", "log_mel", embedding_size=64, parameters=39104, build=TinyEncoder)


@dataclasses.dataclass(frozen=True)
class Fit:
    """How an objective is made to overfit: what differs in the settings, and the loss it must come under."""

    loss_below: float
    steps: int
    rate: float = 3e-3
    settings: dict = dataclasses.field(default_factory=dict)


# Chance is the logarithm of the candidates: of the batch, or of the other views in it; BYOL-A's is 4.
FITS = {
    "simclr": Fit(
        0.25 * np.log(2 * CLIPS - 1), 150, settings={"projector_sizes": (64,), "projection_size": 32}
    ),
    "cola": Fit(0.25 * np.log(CLIPS), 150, settings={"projection_size": 64}),
    # Fewer filters and pitches than CLMR's: a tiny encoder cannot learn to hear through all of them in seconds.
    "clmr": Fit(
        0.35 * np.log(2 * CLIPS - 1),
        200,
        1e-2,
        {"temperature": 0.1, "projection_size": 32, "filter": 0.2, "pitch": 0.1},
    ),
    # Chance is the logarithm of the frames of a crop, 38, or of one more than the negatives. Frames of one sound
    # are alike, and behind a mask are two or more of them, so that wav2vec 2.0 cannot come near 0.
    "cpc": Fit(0.3 * np.log(38), 200, settings={"steps": 1}),
    "wav2vec2": Fit(
        0.7 * np.log(1 + 5),
        225,
        3e-3,
        {"mask_length": 2, "negatives": 5, "projection_size": 32, "penalty": 0.0, "encoder_gradient": 1.0},
    ),
    "byola": Fit(0.25 * 4, 150, settings={"hidden_size": 128, "projection_size": 32, "queue_size": 64}),
}
NUM_CLASSES = 527


@pytest.fixture(scope="module")
def clips(shared_corpus):
    """(samples of the first half second, labels) of 64 recordings."""
    root = dataset_root(shared_corpus, load_task("audioset"), {})
    listed = sorted((c for c in scan("audioset", root) if isinstance(c, Clip)), key=lambda c: c.clip_id)
    return [(decode(root / c.path, c.start)[:SAMPLES], c.labels) for c in listed[:CLIPS]]


@pytest.fixture(scope="module")
def files(clips, tmp_path_factory):
    """Records by input kind."""
    folder, found = tmp_path_factory.mktemp("clips"), {}
    for kind in ("log_mel", "waveform"):
        records = []
        for index, (samples, labels) in enumerate(clips):
            content = samples
            if kind == "log_mel":
                content = log_mel(tf.constant(samples / 32768.0, tf.float32), FrontendConfig()).numpy()
            records.append(KIT.serialize(str(index), content, labels, kind))
        found[kind] = KIT.write(folder / f"{kind}.tfrecord", records)
    return found


@pytest.mark.corpus
def test_classification_overfits(clips, files, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda encoder: RECORD)
    config = TrainingConfig(
        encoder=RECORD.name, objective="classification", steps=500, batch_size=CLIPS, warmup_steps=10,
        peak_learning_rate=5e-3, crop_seconds=0.4, mixing_alpha=1000.0, mixing_beta=1.0, steps_per_loop=25,
        checkpoint_every_steps=500,
    )  # fmt: skip
    result = train(config, [files["log_mel"]], NUM_CLASSES, str(tmp_path))
    disable_op_determinism()
    labels = np.zeros((CLIPS, NUM_CLASSES))
    for row, (_, classes) in enumerate(clips):
        labels[row, list(classes)] = 1
    shares = np.clip(labels.mean(0), 1e-12, 1 - 1e-12)
    same_for_all = -np.mean(shares * np.log(shares) + (1 - shares) * np.log(1 - shares))
    # log 2 at the start; how frequent each class is is soon learnt, so the mark is what hearing nothing gives.
    assert result.loss_history[-1][1] < 0.25 * same_for_all


@pytest.mark.corpus
@pytest.mark.parametrize("name", FITS)
def test_an_objective_overfits(name, files, tmp_path, monkeypatch):
    fit, kind = FITS[name], load_objective(name).input_kind
    record = KIT.WAVE_RECORD if kind == "waveform" else RECORD
    if name in FRAME_ENCODERS:
        record = load_encoder(FRAME_ENCODERS[name])
    monkeypatch.setattr(loop, "load_encoder", lambda encoder: record)
    config = TrainingConfig(
        encoder=record.name, objective=name, objective_settings=fit.settings, steps=fit.steps, batch_size=CLIPS,
        warmup_steps=10, peak_learning_rate=fit.rate, crop_seconds=0.4, mixing_alpha=1000.0, mixing_beta=1.0,
        steps_per_loop=25, checkpoint_every_steps=fit.steps,
    )  # fmt: skip
    result = train(config, [files[kind]], 0, str(tmp_path))
    disable_op_determinism()
    last = result.loss_history[-1][1]
    assert last < fit.loss_below
    if name == "byola":
        assert result.metrics["spread"] > 0.5  # it has not come under it by one answer for all
