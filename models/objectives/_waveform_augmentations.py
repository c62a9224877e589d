"""Augmentations of waveforms for `clmr`, each a function of what is to be done to each row and of nothing random.

All shapes are static where the waveforms' is, and nothing depends on a row's place in the batch.

Shapes: `b` waveforms, `n` samples.
"""

from __future__ import annotations

import math

import tensorflow as tf

_CROSSINGS = 8  # zero crossings of the sinc on each side of a low-pass filter's centre
_FRACTION_BITS = 20  # of a place between two samples, in `shift_pitch`


def add_noise(waves: tf.Tensor, level: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Gaussian noise of `level` times the waveform's own standard deviation.

    Args:
        waves: (b, n) float32.
        level: (b,) float32.
        seeds: (b, 2) int32; equal seeds draw equal noise. XLA's Philox draws other noise than TensorFlow's
            kernels do, so a run is repeatable on one kind of device.
    """
    samples = waves.shape[1]
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal([samples], seed, alg="philox"),
        seeds,
        fn_output_signature=tf.TensorSpec([samples], tf.float32),
    )
    deviation = tf.math.reduce_std(waves, axis=1)
    return waves + (level * deviation)[:, tf.newaxis] * noise


def low_pass(waves: tf.Tensor, cutoff: tf.Tensor, lowest: float) -> tf.Tensor:
    """Each row through a Hann-windowed sinc of gain 1 at 0 Hz; phase is kept, and the ends are held.

    Args:
        waves: (b, n) float32.
        cutoff: (b,) float32 cycles a sample, in [lowest, 0.5]; at 0.5 the filter does nothing.
        lowest: the lowest cutoff there is, which decides the filter's length.
    """
    samples = waves.shape[1]
    half = math.floor(_CROSSINGS / lowest / 2)
    reach = tf.floor(_CROSSINGS / cutoff / 2.0)[:, tf.newaxis]  # (b, 1) samples on each side
    place = tf.range(-half, half + 1, dtype=tf.float32)[tf.newaxis]  # (1, taps)
    window = tf.where(tf.abs(place) <= reach, 0.5 + 0.5 * tf.cos(math.pi * place / reach), 0.0)
    angle = 2.0 * math.pi * cutoff[:, tf.newaxis] * place
    sinc = tf.where(place == 0.0, 1.0, tf.sin(angle) / tf.where(place == 0.0, 1.0, angle))
    taps = window * sinc
    taps /= tf.reduce_sum(taps, axis=1, keepdims=True)
    held = tf.concat([tf.tile(waves[:, :1], [1, half]), waves, tf.tile(waves[:, -1:], [1, half])], axis=1)
    length = 2 ** math.ceil(math.log2(samples + 2 * half))
    spectrum = tf.signal.rfft(held, [length]) * tf.signal.rfft(taps, [length])
    return tf.signal.irfft(spectrum, [length])[:, 2 * half : 2 * half + samples]


def add_delayed(waves: tf.Tensor, delay: tf.Tensor, volume: float) -> tf.Tensor:
    """The mean of each row and of `volume` times itself, `delay` (b,) int32 samples later."""
    place = tf.range(waves.shape[1])[tf.newaxis] - delay[:, tf.newaxis]
    later = tf.gather(waves, tf.maximum(place, 0), axis=1, batch_dims=1)
    return 0.5 * (waves + volume * tf.where(place >= 0, later, 0.0))


def shift_pitch(waves: tf.Tensor, ratio: tf.Tensor, highest: float) -> tf.Tensor:
    """Each row played `ratio` times as fast, without aliasing; it starts again where it ends before its time.

    Args:
        waves: (b, n) float32.
        ratio: (b,) float32, in (0, highest].
        highest: the highest ratio there is; at least 1.
    """
    samples = waves.shape[1]
    waves = low_pass(waves, 0.5 / tf.maximum(ratio, 1.0), 0.5 / highest)
    # Places in whole numbers: in float32 they would be off by a sixtieth of a sample after ten seconds.
    step = tf.cast(tf.round(ratio * 2.0**_FRACTION_BITS), tf.int64)
    place = tf.range(samples, dtype=tf.int64)[tf.newaxis] * step[:, tf.newaxis]  # (b, n)
    before = place // 2**_FRACTION_BITS
    x = tf.cast(place - before * 2**_FRACTION_BITS, tf.float32) / 2.0**_FRACTION_BITS
    # The cubic through the two samples on each side (Catmull and Rom).
    weights = (
        0.5 * (-x + 2.0 * x**2 - x**3),
        0.5 * (2.0 - 5.0 * x**2 + 3.0 * x**3),
        0.5 * (x + 4.0 * x**2 - 3.0 * x**3),
        0.5 * (-(x**2) + x**3),
    )
    around = (
        tf.gather(waves, tf.cast((before + offset) % samples, tf.int32), axis=1, batch_dims=1)
        for offset in (-1, 0, 1, 2)
    )
    return tf.add_n([weight * sample for weight, sample in zip(weights, around, strict=True)])
