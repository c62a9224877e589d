"""`preprocessing_fn` of TF Transform: a clip's PCM becomes its log-mel spectrogram.

The front end is `models.frontend`, the one that training, serving and evaluation use. A whole clip is
materialised as float16, (t, f); crops and example mixing are the input pipeline's. Clips differ in length and
tf.Example has no float16, so a spectrogram is written as one serialised tensor.

Shapes: `b` batch, `t` frames, `f` mel bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.frontend import FrontendConfig, log_mel, pcm16_to_float


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Raw features to training features.

    Args:
        inputs: batched features of `hares/example.py`.
        custom_config: "frontend", the settings of `FrontendConfig`; "input_kind", what the encoder takes.

    Returns:
        `clip_id`, `label`, `group`, and `log_mel` (b,) serialised float16 (t, f), or for an encoder of
        waveforms the unchanged `waveform` (b,).
    """
    outputs = {name: inputs[name] for name in ("clip_id", "label", "group")}
    if custom_config["input_kind"] == "waveform":
        return {**outputs, "waveform": inputs["waveform"]}
    frontend = FrontendConfig(**custom_config["frontend"])

    def serialised_log_mel(pcm: tf.Tensor) -> tf.Tensor:
        return tf.io.serialize_tensor(tf.cast(log_mel(pcm16_to_float(pcm), frontend), tf.float16))

    spectrograms = tf.map_fn(serialised_log_mel, inputs["waveform"], fn_output_signature=tf.string)
    return {**outputs, "log_mel": spectrograms}


class Pcm16ToLogMel(tf.Module):
    """From PCM bytes to a log-mel spectrogram through a Transform graph, for the export.

    Args:
        transform_layer: `TFTransformOutput.transform_features_layer()`.
        num_mel_bins: f.
    """

    def __init__(self, transform_layer: tf.keras.layers.Layer, num_mel_bins: int):
        super().__init__(name="pcm16_to_log_mel")
        self._transform_layer = transform_layer
        self._num_mel_bins = num_mel_bins

    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        """(b,) byte strings of int16 PCM, of one length, to (b, t, f) float32."""
        serialised = self._transform_layer({"waveform": pcm})["log_mel"]
        spec = tf.TensorSpec((None, self._num_mel_bins), tf.float16)

        def parse(one: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.io.parse_tensor(one, tf.float16), spec.shape)

        return tf.cast(tf.map_fn(parse, serialised, fn_output_signature=spec), tf.float32)


class Pcm16ToWaveform(tf.Module):
    """From PCM bytes to a waveform through a Transform graph that passes them on, for the export.

    Args:
        transform_layer: `TFTransformOutput.transform_features_layer()`.
    """

    def __init__(self, transform_layer: tf.keras.layers.Layer):
        super().__init__(name="pcm16_to_waveform")
        self._transform_layer = transform_layer

    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        """(b,) byte strings of int16 PCM, of one length, to (b, n) float32 in [-1, 1)."""
        return pcm16_to_float(self._transform_layer({"waveform": pcm})["waveform"])
