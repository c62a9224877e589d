"""TF-Hub modules made here: the embeddings that numpy computes, and no output guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hares.adapters import EncoderOptions, encode_crops, load_adapter
from kits.three_features import WAVES, features, tf_features

pytestmark = pytest.mark.slow


def callable_module(folder: Path, function, *spec) -> str:
    module = tf.Module()
    module.__call__ = tf.function(function, input_signature=spec)
    tf.saved_model.save(module, str(folder))
    return str(folder)


def test_hub_yamnet_like(tmp_path):
    """One waveform in; scores, embeddings and spectrogram out, in time."""

    def call(wave):
        embeddings = tf.stack([tf_features(wave), 3 * tf_features(wave)])
        return tf.zeros([2, 521]), embeddings, tf.zeros([96, 64])

    path = callable_module(tmp_path, call, tf.TensorSpec([None], tf.float32))
    encoder = load_adapter(f"hub:{path}")
    np.testing.assert_allclose(encode_crops(encoder)(WAVES), 2 * features(WAVES), atol=1e-6)
    assert (encoder.output, encoder.outputs) == ("1", ("0", "1", "2"))
    assert load_adapter(f"hub:{path}", EncoderOptions(output="0")).embed(WAVES).shape == (4, 521)


@pytest.mark.parametrize(
    "shape,outputs",
    [
        ([None], lambda f: (f, f)),
        ([None], lambda f: (f, f, f, f)),
        ([None], lambda f: (f, f, f[0])),
        ([None, None], lambda f: (f, f, f)),
        ([None, None], lambda f: {"x": f, "y": f}),
    ],
    ids=["two", "four", "a-vector", "batches", "names"],
)
def test_hub_outputs_of_no_known_form_are_not_guessed(tmp_path, shape, outputs):
    def call(waves):
        return outputs(tf_features(waves) if len(shape) == 2 else tf_features(waves)[tf.newaxis])

    path = callable_module(tmp_path, call, tf.TensorSpec(shape, tf.float32))
    with pytest.raises(ValueError, match=r"several outputs: .*--output-name"):
        load_adapter(f"hub:{path}")


def test_hub_module_of_two_waveforms(tmp_path):
    spec = [tf.TensorSpec([None, None], tf.float32, name=name) for name in ("left", "right")]
    path = callable_module(tmp_path, lambda left, right: tf_features(left + right), *spec)
    with pytest.raises(ValueError, match=r"several float tensors, left .*, right "):
        load_adapter(f"hub:{path}")


def test_hub_trill_like(tmp_path):
    """A batch and its sample rate in, a dictionary out."""

    def call(samples, sample_rate):
        scale = tf.cast(sample_rate, tf.float32) / 16_000
        return {"embedding": scale * tf_features(samples)[:, tf.newaxis], "layer19": samples}

    specs = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([], tf.int32, name="sample_rate")
    path = callable_module(tmp_path, call, *specs)
    np.testing.assert_allclose(load_adapter(f"hub:{path}").embed(WAVES), features(WAVES), atol=1e-6)
    doubled = load_adapter(f"hub:{path}", EncoderOptions(sample_rate=32_000))
    np.testing.assert_allclose(doubled.embed(WAVES), 2 * features(WAVES), atol=1e-6)
