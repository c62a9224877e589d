"""Our exports under the rules of the HEAR 2021 interface (https://hearbenchmark.com/hear-api.html)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import hear
from models.encoder import load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("export") / "model"
    record = load_encoder("sf_nfnet_tiny")
    export_saved_model(record.build(0), record, folder, FrontendConfig(), {"objective": "none"})
    return str(folder)


@pytest.fixture(scope="module")
def model(export) -> hear.HearModel:
    return hear.load_model(export)


def audio(sounds: int, samples: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(-1, 1, (sounds, samples)), tf.float32)


def test_the_model_is_what_hear_asks_for(model):
    assert isinstance(model, tf.Module)
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    for size in (model.scene_embedding_size, model.timestamp_embedding_size):
        assert type(size) is int and size > 0


def test_scene_embeddings(model, export):
    embeddings = hear.get_scene_embeddings(audio(3, 24_000), model)
    assert isinstance(embeddings, tf.Tensor) and embeddings.dtype == tf.float32
    assert embeddings.shape == (3, model.scene_embedding_size)
    signature = tf.saved_model.load(export).signatures["serving_default"]
    np.testing.assert_array_equal(embeddings, signature(waveform=audio(3, 24_000))["embedding"])


@pytest.mark.parametrize("samples", [1_000, 16_000, 16_799, 40_000])
def test_timestamps_are_regular_and_cover_the_sound(model, samples):
    embeddings, timestamps = hear.get_timestamp_embeddings(audio(2, samples), model)
    assert embeddings.dtype == timestamps.dtype == tf.float32
    count = timestamps.shape[1]
    assert timestamps.shape == (2, count)
    assert embeddings.shape == (2, count, model.timestamp_embedding_size)
    np.testing.assert_allclose(timestamps[0], 50.0 * np.arange(count))
    duration = 1000.0 * samples / model.sample_rate
    assert timestamps[0, 0] == 0.0 and duration - 50.0 < timestamps[0, -1] <= duration
    np.testing.assert_array_equal(timestamps[0], timestamps[1])
    assert np.isfinite(embeddings).all()


def test_a_timestamp_embeds_the_second_around_it(model):
    sound = audio(1, 32_000)
    embeddings, timestamps = hear.get_timestamp_embeddings(sound, model)
    position = 20  # 1000 ms: the window from 0.5 s to 1.5 s, without padding
    assert timestamps[0, position] == 1000.0
    around = hear.get_scene_embeddings(sound[:, 8_000:24_000], model)
    np.testing.assert_allclose(embeddings[:, position], around, rtol=1e-3, atol=1e-4)


def test_sounds_do_not_see_each_other(model):
    sounds = audio(2, 20_000)
    together, _ = hear.get_timestamp_embeddings(sounds, model)
    alone, _ = hear.get_timestamp_embeddings(sounds[1:], model)
    np.testing.assert_allclose(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_what_is_wrong_is_said(model, tmp_path):
    with pytest.raises(ValueError, match="give load_model the folder of an exported encoder"):
        hear.load_model()
    with pytest.raises(ValueError, match="not an encoder exported by HARES"):
        hear.load_model(str(tmp_path))
    with pytest.raises(ValueError, match=r"HEAR audio is \(n_sounds, n_samples\), got shape \(5,\)"):
        hear.get_scene_embeddings(tf.zeros(5), model)
