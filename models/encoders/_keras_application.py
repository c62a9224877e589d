"""An image network of Keras applications as an encoder of spectrograms.

Keras' model is read as a description, layer by layer, and made again with what an encoder needs and an image
network lacks:

- one input channel and no rescaling or normalisation of pixels: a spectrogram is standardised already;
- weights from a seed and the layer's name, by each layer's own initialiser (Keras draws from a global state);
- batch normalisation over the global batch (see `_batch_norm.py`);
- stochastic depth by given noise, as Keras does it: rescaled in training;
- no bias in front of a batch normalisation, which would take it off again, so that its gradient would be nothing
  but rounding;
- on request a fraction of the channels, for the tiny siblings, or another pooling.

It is read for inputs of unknown size, so its padding in front of a strided convolution is the one that Keras gives even
sizes, whatever comes: half the kernel, and one row and column less before than after.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.encoder import Encoder
from models.encoders._batch_norm import BatchNorm
from models.encoders._normalizer_free import global_average

_Layers = tf.keras.layers
_PIXEL_LAYERS = (_Layers.Rescaling, _Layers.Normalization)


@dataclass(frozen=True)
class _Step:
    """One layer of the network, and the layers whose outputs it takes."""

    name: str
    inputs: tuple[str, ...]
    drop_rate: float = 0.0


class KerasApplication(Encoder):
    """The network of a Keras application without its classifier.

    `encoder(x, training, noise)` takes standardised log-mel (b, t, f, 1), any t and f, and returns `embedding`:
    (b, c) float32, the last map pooled over time and frequency. Time is the image's height.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); statistics of batches and the
    pooling are always float32. Variables have Keras' names.

    Args:
        name: of the encoder.
        application: function of `tf.keras.applications`.
        width_divisor: what the channels of every layer are divided by.
        seed: of the initial weights, which depend on (seed, layer name) alone.
        pool: from the last map (b, t, f, c) to (b, c) float32.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self,
        name: str,
        application: Callable[..., tf.keras.Model],
        seed: int,
        *,
        width_divisor: int = 1,
        pool: Callable[[tf.Tensor], tf.Tensor] = global_average,
        dtype: tf.keras.mixed_precision.Policy | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        described = application(include_top=False, weights=None, input_shape=(None, None, 1))
        self._pool = pool
        self._steps: list[_Step] = []
        self.parts: dict[str, tf.keras.layers.Layer] = {}
        for layer in described.layers:
            inputs = tuple(node.layer.name for node in layer.inbound_nodes[0].parent_nodes)
            drop_rate = layer.rate if isinstance(layer, _Layers.Dropout) else 0.0
            self._steps.append(_Step(layer.name, inputs, drop_rate))
            if not isinstance(layer, (_Layers.InputLayer, _Layers.Dropout, *_PIXEL_LAYERS)):
                self.parts[layer.name] = self._made_again(layer, width_divisor, seed)
        self.noise_size = sum(step.drop_rate > 0 for step in self._steps)
        self._run(
            tf.zeros([1, 64, 64, 1], self.compute_dtype), training=False, noise=None
        )  # makes the variables
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: training without noise (b, noise_size), or an input that is not (b, t, f, 1).
        """
        if inputs.shape.rank != 4 or inputs.shape[-1] != 1:
            raise ValueError(
                f"{self.name}: input must be (b, t, f, 1), got {inputs.shape}; add a channel axis"
            )
        if training and self.noise_size and (noise is None or noise.shape[-1] not in (None, self.noise_size)):
            got = "none" if noise is None else noise.shape
            raise ValueError(f"{self.name}: training needs noise (b, {self.noise_size}) in [0, 1), got {got}")
        last = self._run(tf.cast(inputs, self.compute_dtype), training, noise)
        return {"embedding": self._pool(last)}

    def _run(self, x: tf.Tensor, training: bool, noise: tf.Tensor | None) -> tf.Tensor:
        """The last map (b, t, f, c)."""
        outputs: dict[str, tf.Tensor] = {}
        drops = 0
        for step in self._steps:
            given = [outputs[name] for name in step.inputs]
            layer = self.parts.get(step.name)
            if layer is None:
                y = given[0] if given else x
                if step.drop_rate and training and noise is not None:
                    y = _dropped(y, noise[:, drops], step.drop_rate)
                    drops += 1
            elif isinstance(layer, BatchNorm):
                y = layer(given[0], training=training)
            else:
                y = layer(given if len(given) > 1 else given[0])
            outputs[step.name] = y
        return outputs[self._steps[-1].name]

    def _made_again(self, layer: tf.keras.layers.Layer, divisor: int, seed: int) -> tf.keras.layers.Layer:
        if isinstance(layer, _Layers.BatchNormalization):
            channels = layer.gamma.shape[0] // divisor
            return BatchNorm(layer.name, channels, momentum=layer.momentum, epsilon=layer.epsilon)
        config: dict[str, Any] = {**layer.get_config(), "dtype": self.dtype_policy}
        if isinstance(layer, _Layers.Conv2D) and not isinstance(layer, _Layers.DepthwiseConv2D):
            config["filters"] //= divisor
            consumers = [node.layer for node in layer.outbound_nodes]
            if any(isinstance(consumer, _Layers.BatchNormalization) for consumer in consumers):
                config["use_bias"] = False
        if isinstance(layer, _Layers.Reshape):
            *places, channels = config["target_shape"]
            config["target_shape"] = (*places, channels // divisor)
        for key in ("kernel_initializer", "depthwise_initializer"):
            if config.get(key):
                initializer = tf.keras.initializers.get(config[key])
                own = {**initializer.get_config(), "seed": zlib.crc32(f"{seed}/{layer.name}".encode()) >> 1}
                config[key] = type(initializer).from_config(own)
        return type(layer).from_config(config)


def global_maximum(x: tf.Tensor) -> tf.Tensor:
    """(b, t, f, c) -> (b, c) float32."""
    return tf.cast(tf.reduce_max(x, axis=[1, 2]), tf.float32)


def _dropped(x: tf.Tensor, noise: tf.Tensor, rate: float) -> tf.Tensor:
    """Each example of (b, t, f, c) is 0 where its noise is at least 1 - rate, and else rescaled."""
    kept = tf.cast(tf.cast(noise, tf.float32) < 1.0 - rate, tf.float32) / (1.0 - rate)
    return x * tf.cast(kept, x.dtype)[:, tf.newaxis, tf.newaxis, tf.newaxis]
