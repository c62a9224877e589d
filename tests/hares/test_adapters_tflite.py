"""TensorFlow Lite models made here: any tensor in the graph, and no output guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hares.adapters import EncoderOptions, encode_crops, load_adapter
from kits.three_features import WAVES, features, tf_features

pytestmark = pytest.mark.slow


def tflite_file(path: Path, function, shape) -> str:
    concrete = tf.function(
        function, input_signature=[tf.TensorSpec(shape, tf.float32)]
    ).get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    return str(path)


@pytest.mark.parametrize("shape", [[1, 16_000], [16_000], [1, None]], ids=["batch-of-one", "flat", "free"])
def test_tflite(tmp_path, shape):
    encoder = load_adapter(f"tflite:{tflite_file(tmp_path / 'm.tflite', tf_features, shape)}")
    assert encoder.input_samples == (None if shape[-1] is None else 16_000)
    np.testing.assert_allclose(encode_crops(encoder)(WAVES), features(WAVES), atol=1e-6)


def test_tflite_tensor_inside_the_graph(tmp_path):
    """A classifier: its embedding is what its last layer takes."""
    weights = tf.constant(np.random.default_rng(0).standard_normal((3, 5)), tf.float32)
    path = tflite_file(tmp_path / "m.tflite", lambda x: tf.nn.sigmoid(tf_features(x) @ weights), [1, 16_000])
    inside = tf.lite.Interpreter(path)
    inside.allocate_tensors()
    names = [t["name"] for t in inside.get_tensor_details() if list(t["shape"]) == [1, 3]]
    encoder = load_adapter(f"tflite:{path}", EncoderOptions(output=names[-1]))
    np.testing.assert_allclose(encoder.embed(WAVES), features(WAVES), atol=1e-6)
    with pytest.raises(ValueError, match="no tensors 'nothing'; the outputs are"):
        load_adapter(f"tflite:{path}", EncoderOptions(output="nothing"))
    assert encoder.output == names[-1] and len(encoder.outputs) == 1


def test_tflite_with_two_outputs(tmp_path):
    path = tflite_file(tmp_path / "m.tflite", lambda x: (tf_features(x), 2 * x), [1, 16_000])
    with pytest.raises(ValueError, match=r"several outputs; .*--output-name NAME or NUMBER"):
        load_adapter(f"tflite:{path}")
    inside = tf.lite.Interpreter(path)
    number = next(t["index"] for t in inside.get_output_details() if list(t["shape"]) == [1, 3])
    encoder = load_adapter(f"tflite:{path}", EncoderOptions(output=str(number)))
    np.testing.assert_allclose(encoder.embed(WAVES), features(WAVES), atol=1e-6)


def test_tflite_file_that_is_none(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"not a flatbuffer")
    with pytest.raises(ValueError, match="not a model that TensorFlow Lite"):
        load_adapter(f"tflite:{tmp_path / 'm.tflite'}")
