"""CLMR: SimCLR on waveforms with augmentations of music (Spijkervet and Burgoyne, 2021).

Paper, table 4 (its column CLMR). Two random crops of a clip, each changed by a chain of augmentations, should
find each other among the crops of the global batch: NT-Xent as in `simclr`, at temperature 0.5, after a
projector of one hidden layer as wide as the embedding, without biases.

The chain, in CLMR's order, each with CLMR's probability: polarity inversion, Gaussian noise, gain, a high-pass
*or* a low-pass filter, one echo, and a shift of pitch. What differs:

- No reverberation (CLMR: probability 0.6): it is SoX's Freeverb, a bank of recursive filters, which neither
  runs in a graph of static shapes nor on a TPU.
- Pitch is shifted by resampling, so tempo changes with it; a crop that is played faster starts again to fill
  its time, as a short clip does. CLMR's is SoX's, which keeps the tempo.
- Filters are windowed sincs of eight zero crossings on each side, without phase.
- 16 kHz, as all our audio, where CLMR has 22.05 kHz.

All that is random comes with the batch; noise samples are drawn from seeds that do.

Shapes: `b` clips on this replica, `v` views a clip, `n` samples, `d` embedding, `p` projection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.objectives._contrastive import contrast, first_then_second, project, projector
from models.objectives._waveform_augmentations import add_delayed, add_noise, low_pass, shift_pitch
from models.training.config import TrainingConfig

_SEED_RANGE = 2.0**23  # a uniform float32 has 23 random bits


@dataclass(frozen=True)
class ClmrSettings:
    """CLMR's own settings; the numbers of its public code.

    Attributes:
        temperature: what cosine similarities are divided by.
        projection_size: p.
        polarity, noise, gain, filter, delay, pitch: probability of each augmentation of a crop.
        noise_levels: standard deviation of the noise, of the crop's own: from 80 to 40 dB below it.
        gain_decibels: from and to.
        high_pass_hertz, low_pass_hertz: from and to; which of the two filters is used is even odds.
        delays: milliseconds, one of which is taken.
        delay_volume: of the echo.
        pitch_semitones: from and to.

    Raises:
        ValueError: a setting is out of range.
    """

    temperature: float = 0.5
    projection_size: int = 64
    polarity: float = 0.8
    noise: float = 0.01
    gain: float = 0.3
    filter: float = 0.8
    delay: float = 0.3
    pitch: float = 0.6
    noise_levels: tuple[float, float] = (1e-4, 1e-2)
    gain_decibels: tuple[float, float] = (-20.0, -1.0)
    high_pass_hertz: tuple[float, float] = (200.0, 1200.0)
    low_pass_hertz: tuple[float, float] = (2200.0, 4000.0)
    delays: tuple[int, ...] = (200, 250, 300, 350, 400, 450, 500)
    delay_volume: float = 0.5
    pitch_semitones: tuple[float, float] = (-7.0, 7.0)

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.projection_size < 1:
            raise ValueError(
                f"temperature and projection_size: got {self.temperature} and {self.projection_size}; "
                "accepted are a number above 0 and 1 or more"
            )
        for name in ("polarity", "noise", "gain", "filter", "delay", "pitch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; accepted is a probability from 0 to 1")
        for name in (field.name for field in fields(self) if field.type == "tuple[float, float]"):
            low, high = getattr(self, name)
            if low > high or (name.endswith(("hertz", "levels")) and low <= 0):
                raise ValueError(
                    f"{name}: got {low} to {high}; accepted is a range from its lower end to its upper, "
                    "hertz and levels above 0"
                )
        if not self.delays or min(self.delays) < 0:
            raise ValueError(f"delays: got {list(self.delays)}; accepted are one or more, none below 0")


class Clmr(Objective):
    """The augmentations, the projector and the contrastive loss.

    Args:
        embedding_size: d.
        settings: the numbers.
        sample_rate: samples a second of the crops.
        seed: decides the projector's first weights.

    Raises:
        ValueError: a filter's range reaches half the sample rate.
    """

    noise_size = 14  # what `augment` takes apart

    def __init__(self, embedding_size: int, settings: ClmrSettings, sample_rate: float, seed: int) -> None:
        super().__init__(name="clmr")
        for name in ("high_pass_hertz", "low_pass_hertz"):
            if getattr(settings, name)[1] >= sample_rate / 2:
                raise ValueError(
                    f"training: objective_settings: {name} reaches {getattr(settings, name)[1]} Hz; accepted "
                    f"is less than half the sample rate of {sample_rate:.0f} Hz"
                )
        self._settings, self._sample_rate = settings, sample_rate
        sizes = [embedding_size, settings.projection_size]
        self.projector = projector(embedding_size, sizes, seed, use_bias=False)

    def augment(self, waves: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Each waveform (b, n) as its numbers (b, 14), uniform in [0, 1), say."""
        settings, rate = self._settings, self._sample_rate
        (polarity, noise, level, seed0, seed1, gain, amount, filtered, kind, frequency,
         delayed, which, pitched, shift) = tf.unstack(numbers, axis=1)  # fmt: skip

        def maybe(
            drawn: tf.Tensor, probability: float, change: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor
        ) -> tf.Tensor:
            return tf.where((drawn < probability)[:, tf.newaxis], change(rows), rows)

        def filter_(rows: tf.Tensor) -> tf.Tensor:
            ranges = settings.high_pass_hertz, settings.low_pass_hertz
            high = kind < 0.5
            cutoff = tf.where(high, *(_between(frequency, ends) / rate for ends in ranges))
            low = low_pass(rows, cutoff, min(ends[0] for ends in ranges) / rate)
            return tf.where(high[:, tf.newaxis], rows - low, low)

        seeds = tf.cast(tf.stack([seed0, seed1], axis=1) * _SEED_RANGE, tf.int32)
        factor = 10.0 ** (_between(amount, settings.gain_decibels) / 20.0)
        delays = tf.constant([round(ms * rate / 1000.0) for ms in settings.delays], tf.int32)
        delay = tf.gather(delays, tf.cast(which * len(settings.delays), tf.int32))
        # In float64: the last bit of a float32 power is another with TensorFlow 2.15, with 2.21 and with XLA, and a
        # sample's place is the ratio times its number.
        semitones = _between(tf.cast(shift, tf.float64), settings.pitch_semitones)
        ratio = tf.cast(2.0 ** (semitones / 12.0), tf.float32)
        highest = max(1.0, 2.0 ** (settings.pitch_semitones[1] / 12.0))

        waves = maybe(polarity, settings.polarity, tf.negative, waves)
        waves = maybe(
            noise,
            settings.noise,
            lambda x: add_noise(x, _between(level, settings.noise_levels), seeds),
            waves,
        )
        waves = maybe(gain, settings.gain, lambda x: x * factor[:, tf.newaxis], waves)
        waves = maybe(filtered, settings.filter, filter_, waves)
        waves = maybe(delayed, settings.delay, lambda x: add_delayed(x, delay, settings.delay_volume), waves)
        return maybe(pitched, settings.pitch, lambda x: shift_pitch(x, ratio, highest), waves)

    def views(self, batch: Batch) -> tf.Tensor:
        """(2b, n): the two crops of each clip, augmented."""
        waves, numbers = first_then_second(batch["clips"]), first_then_second(batch["objective_noise"])
        return self.augment(waves, numbers)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """NT-Xent over this replica's views, with alignment and uniformity of the projections."""
        noise = first_then_second(batch["noise"])
        embedding = encoder(self.views(batch), training=True, noise=noise)["embedding"]
        first, second = tf.split(project(self.projector, embedding), 2)
        return contrast(first, second, self._settings.temperature, replicas)


def _between(share: tf.Tensor, ends: tuple[float, float]) -> tf.Tensor:
    return ends[0] + share * (ends[1] - ends[0])


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Clmr:
    sample_rate = crop_shape[0] / config.crop_seconds
    return Clmr(encoder.embedding_size, OBJECTIVE.own_settings(config), sample_rate, config.seed)


OBJECTIVE = ObjectiveRecord(
    name="clmr",
    num_views=2,
    mixes=False,
    input_kind="waveform",
    metrics=("alignment", "uniformity"),
    build=_build,
    settings=ClmrSettings,
)
