"""wav2vec 2.0's masked prediction, with continuous inputs and targets: which latent was behind the mask?

Paper, sections 2.2 and 3, table 2 and appendix C (10 s crops, batch 256, no augmentation, continuous inputs and
targets); reference 16 for the numbers. Spans of the latents are masked, and the transformer's output at a masked
frame must be nearer to that frame's own latent than to those of 100 other masked frames of the clip. Both sides
are projected; nearness is the cosine over a temperature of 0.1.

- Continuous targets: no quantiser, so no loss of its codebooks' diversity.
- As the original's: the mean square of the latents is added with a weight of 10, and gradients into the
  convolutions are multiplied by 0.1.
- round(0.65 * frames / 10) spans of 10 frames start at different frames; spans may overlap (about half of the
  frames are masked). The original rounds up or down at random, and masks equally many frames of every clip.
- Every masked frame of the global batch counts the same.

What is drawn comes from seeds that are drawn with the batch, for each clip.

Shapes: `b` clips on this replica, `t` frames, `c` channels of latents, `p` projection, `k` negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.training.config import TrainingConfig

_SEED_RANGE = 2.0**23  # a uniform float32 has 23 random bits
_STRIDE = 0x9E3779B9  # odd, and far from any round number: neighbouring counters differ in all their bits


@dataclass(frozen=True)
class Wav2Vec2Settings:
    """wav2vec 2.0's own settings; its paper's numbers for Base.

    Attributes:
        mask_probability: masked frames over all frames, if spans did not overlap.
        mask_length: frames of a span.
        negatives: k.
        temperature: what cosine similarities are divided by.
        projection_size: p.
        penalty: weight of the mean square of the latents.
        encoder_gradient: what gradients into the convolutions are multiplied by.

    Raises:
        ValueError: a setting is out of range.
    """

    mask_probability: float = 0.65
    mask_length: int = 10
    negatives: int = 100
    temperature: float = 0.1
    projection_size: int = 256
    penalty: float = 10.0
    encoder_gradient: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability <= 1:
            raise ValueError(
                f"mask_probability: got {self.mask_probability}; accepted is a number above 0, up to 1"
            )
        if self.mask_length < 2:
            raise ValueError(f"mask_length: got {self.mask_length}; accepted is 2 or more")
        for name in ("negatives", "projection_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; accepted is 1 or more")
        if self.temperature <= 0 or self.encoder_gradient <= 0 or self.penalty < 0:
            raise ValueError(
                f"temperature, encoder_gradient and penalty: got {self.temperature}, {self.encoder_gradient} and "
                f"{self.penalty}; accepted are two numbers above 0, and one from 0"
            )


class Wav2Vec2Objective(Objective):
    """The mask, the two projections and the contrastive loss.

    Args:
        latent_size: c.
        embedding_size: d.
        settings: the numbers.
        seed: decides the projections' first weights.
    """

    noise_size = 2  # a seed

    def __init__(self, latent_size: int, embedding_size: int, settings: Wav2Vec2Settings, seed: int) -> None:
        super().__init__(name="wav2vec2")
        self._settings = settings
        self.target_projection, self.context_projection = (
            tf.keras.layers.Dense(
                settings.projection_size,
                kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed + index),
                dtype="float32",
                name=name,
            )
            for index, name in enumerate(("target_projection", "context_projection"))
        )
        self.target_projection.build((None, latent_size))
        self.context_projection.build((None, embedding_size))

    def views(self, batch: Batch) -> tf.Tensor:
        """(b, n): the one crop of each clip."""
        return batch["clips"][:, 0]

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """The contrastive loss and the penalty; both are metrics, and so is the share of frames found.

        Raises:
            ValueError: crops are shorter than a masked span.
        """
        settings = self._settings
        latents = _scaled_gradient(encoder.latents(self.views(batch)), settings.encoder_gradient)
        seeds = tf.cast(batch["objective_noise"][:, 0] * _SEED_RANGE, tf.int32)  # (b, 2)
        mask = span_mask(seeds, _frames(latents), settings.mask_probability, settings.mask_length)
        normalised = encoder.normalised(latents)
        context = encoder.contextualise(normalised, True, batch["noise"][:, 0], mask)
        targets = self.target_projection(tf.cast(normalised, tf.float32))
        logits = self.logits(self.context_projection(context), targets, mask, seeds)  # (b, t, 1 + k)
        weights = tf.cast(mask, tf.float32)
        masked = replicas.sum(tf.reduce_sum(weights))  # of the global batch
        entropy = tf.reduce_logsumexp(logits, axis=2) - logits[..., 0]
        contrastive = tf.reduce_sum(entropy * weights) / masked
        best = tf.reduce_all(logits[..., :1] > logits[..., 1:], axis=2)
        clips = tf.cast(tf.shape(mask)[0] * replicas.count, tf.float32)
        square = tf.reduce_mean(tf.square(tf.cast(latents, tf.float32)), axis=[1, 2])  # (b,)
        penalty = tf.reduce_sum(square) / clips
        return contrastive + settings.penalty * penalty, {
            "contrastive": contrastive,
            "penalty": penalty,
            "accuracy": tf.reduce_sum(tf.cast(best, tf.float32) * weights) / masked,
        }

    def logits(
        self, predicted: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> tf.Tensor:
        """Scores (b, t, 1 + k) of each frame's own target and its negatives; those of unmasked frames mean nothing.

        Args:
            predicted: (b, t, p).
            targets: (b, t, p).
            mask: (b, t) bool.
            seeds: (b, 2) int32.
        """
        predicted, targets = (tf.math.l2_normalize(rows, axis=2) for rows in (predicted, targets))
        # All pairs of frames: far smaller than k targets for each frame.
        scores = tf.einsum("btp,bsp->bts", predicted, targets) / self._settings.temperature
        negatives = tf.gather(scores, sample_negatives(seeds, mask, self._settings.negatives), batch_dims=2)
        return tf.concat([tf.linalg.diag_part(scores)[..., tf.newaxis], negatives], axis=2)


def span_mask(seeds: tf.Tensor, frames: int, probability: float, length: int) -> tf.Tensor:
    """Masked frames (b, t) bool: round(probability * frames / length) spans, at least one, at different starts.

    Raises:
        ValueError: there are fewer frames than a span has.
    """
    starts = frames - length + 1
    if starts < 1:
        raise ValueError(
            f"training: crop_seconds gives {frames} frames and wav2vec2 masks spans of {length}; set crop_seconds "
            "higher, or objective_settings.mask_length lower"
        )
    spans = min(starts, max(1, round(probability * frames / length)))
    ranked = tf.argsort(_uniform(seeds, 0, [starts]), axis=1)[:, :spans]  # (b, spans)
    begun = tf.reduce_sum(tf.one_hot(ranked, frames), axis=1)  # (b, t), 1 where a span starts
    since = tf.cumsum(begun, axis=1)
    before = tf.pad(since, [[0, 0], [length, 0]])[:, :frames]  # starts that are a whole span ago
    return since - before > 0.5


def sample_negatives(seeds: tf.Tensor, mask: tf.Tensor, count: int) -> tf.Tensor:
    """For each frame (b, t), `count` frames drawn with replacement from the clip's masked ones but itself.

    Returns:
        (b, t, count) int32 numbers of frames. They are right for masked frames, of which a clip has two or more.
    """
    frames = mask.shape[1]
    masked = tf.cast(mask, tf.int32)
    order = tf.argsort(1 - masked, axis=1, stable=True)  # masked frames first, in order
    others = tf.reduce_sum(masked, axis=1) - 1  # (b,)
    own = tf.cumsum(masked, axis=1) - 1  # place of a masked frame among the masked
    drawn = _uniform(seeds, 1, [frames, count]) * tf.cast(others, tf.float32)[:, tf.newaxis, tf.newaxis]
    places = tf.minimum(tf.cast(drawn, tf.int32), others[:, tf.newaxis, tf.newaxis] - 1)
    places += tf.cast(places >= own[..., tf.newaxis], tf.int32)  # steps over itself
    return tf.gather(order, places, batch_dims=1)


def _uniform(seeds: tf.Tensor, purpose: int, shape: list[int]) -> tf.Tensor:
    """(b, *shape) uniform in [0, 1), each row a function of its own seed and of the purpose alone.

    Hashed counters in integers: TensorFlow's own generators draw other numbers under XLA than without it.
    """
    keys = _hashed(
        tf.cast(seeds, tf.uint32) + tf.constant([2 * purpose, 2 * purpose + 1], tf.uint32) * _STRIDE
    )
    first, second = (key[:, tf.newaxis] for key in tf.unstack(keys, axis=1))  # (b, 1)
    counters = tf.range(math.prod(shape), dtype=tf.int32)[tf.newaxis]
    drawn = _hashed(_hashed(tf.cast(counters, tf.uint32) * _STRIDE + first) + second)
    high = tf.cast(tf.bitwise.right_shift(drawn, tf.constant(8, tf.uint32)), tf.int32)  # float32 has 24 bits
    return tf.reshape(tf.cast(high, tf.float32) * 2.0**-24, [-1, *shape])


def _hashed(x: tf.Tensor) -> tf.Tensor:
    """The finalising mix of MurmurHash3: uint32 to uint32, one to one."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        shifted = tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))
        x = tf.bitwise.bitwise_xor(x, shifted) * tf.constant(factor, tf.uint32)
    return x


def _scaled_gradient(x: tf.Tensor, factor: float) -> tf.Tensor:
    still = tf.stop_gradient(x)
    return still + factor * (x - still)


def _frames(latents: tf.Tensor) -> int:
    """The number of frames, which crops of one length fix."""
    return int(latents.shape[1])


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Wav2Vec2Objective:
    settings = OBJECTIVE.own_settings(config)
    return Wav2Vec2Objective(encoder.latent_size, encoder.embedding_size, settings, config.seed)


OBJECTIVE = ObjectiveRecord(
    name="wav2vec2",
    num_views=1,
    mixes=False,
    input_kind="waveform",
    metrics=("contrastive", "penalty", "accuracy"),
    build=_build,
    settings=Wav2Vec2Settings,
    frames="masked",
)
