"""SampleCNN: eleven short convolutions on the raw waveform.

Paper, table 4 (CLMR); Spijkervet and Burgoyne, "Contrastive learning of musical representations", and Lee et al.,
"Sample-level deep convolutional neural networks". `samplecnn` is CLMR's network without its projector: 2,368,512
parameters; `samplecnn_tiny` is the same code with small numbers.

- A convolution of 3 samples with stride 3, nine blocks (convolution of 3, normalisation, ReLU, maximum of 3 with
  stride 3), and a last convolution: 3^10 = 59049 samples become one frame, as in CLMR.
- Any length is taken. Every step rounds up (its last window may be part empty), where the original's rounds down and
  so would leave nothing of less than 59049 samples; the embedding is the mean of the frames that come out. At exactly
  59049 samples this is CLMR's function.
- Convolutions have a bias, as CLMR's do; in training the normalisation takes it away again.
- Ours is fed 16 kHz, where 59049 samples are 3.7 s; CLMR's was trained at 22.05 kHz.

Deviation from CLMR's network: the dropout (0.5) after the last convolution is left out, because CLMR evaluates
without it and the contrastive objective brings augmentations of its own. First kernels are normal, with the
variance of CLMR's uniform ones (He).

Shapes: `b` batch, `n` samples, `t` frames, `c` channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._batch_norm import BatchNorm
from models.encoders._normalizer_free import global_average
from models.encoders._plain_layers import HE_SCALE, Conv, pad_to_multiple

MOMENTUM = 0.9
EPSILON = 1e-5
KERNEL = (3, 1)


@dataclass(frozen=True)
class SampleCNNConfig:
    """Numbers of the network.

    Attributes:
        first: channels of the convolution on samples.
        widths: output channels of the blocks.
        last: channels of the last convolution, and d.
    """

    first: int = 128
    widths: tuple[int, ...] = (128, 128, 256, 256, 256, 256, 256, 256, 512)
    last: int = 512


class SampleCNN(Encoder):
    """CLMR's SampleCNN.

    `encoder(x, training)` takes waveforms (b, n) in [-1, 1], any n, and returns `embedding`: (b, d) float32. It
    needs no noise. It computes in the Keras policy it was built under; statistics and pooling over time are always
    float32.

    Args:
        config: the numbers.
        seed: of the first weights.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self, config: SampleCNNConfig, seed: int, dtype: tf.keras.mixed_precision.Policy | None = None
    ) -> None:
        super().__init__(name="samplecnn", dtype=dtype)
        channels = (1, config.first, *config.widths, config.last)
        self.convs, self.norms = [], []
        for i, (before, after) in enumerate(itertools.pairwise(channels)):
            stride = KERNEL if i == 0 else (1, 1)
            self.convs.append(
                Conv(f"conv{i}", before, after, KERNEL, seed=seed, scale=HE_SCALE, bias=True, stride=stride)
            )
            self.norms.append(BatchNorm(f"bn{i}", after, momentum=MOMENTUM, epsilon=EPSILON))
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: an input that is not (b, n).
        """
        if inputs.shape.rank != 2:
            raise ValueError(f"samplecnn: input must be waveforms (b, n), got {inputs.shape}")
        x = tf.cast(inputs, self.compute_dtype)[:, :, tf.newaxis, tf.newaxis]  # time is the only direction
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = tf.nn.relu(norm(conv(x), training=training))
            if 0 < i < last:
                # What is rectified is never below the zeros that fill the last window.
                x = tf.nn.max_pool2d(pad_to_multiple(x, KERNEL), KERNEL, KERNEL, "VALID")
        return {"embedding": global_average(x)}


def _record(name: str, config: SampleCNNConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="waveform",
        embedding_size=config.last,
        parameters=parameters,
        build=lambda seed: SampleCNN(config, seed),
        batch_normalised=True,
    )


ENCODERS = {
    record.name: record
    for record in (
        _record("samplecnn", SampleCNNConfig(), 2_368_512),
        _record("samplecnn_tiny", SampleCNNConfig(16, (16, 16, 32, 32, 32, 32, 32, 32, 64), 64), 38_016),
    )
}
