"""BYOL-A's augmentations of log-mel spectrograms, each a function of what is drawn for each row.

Resampling is a product with a matrix for each axis, so all shapes are static and no row depends on another.

Shapes: `b` spectrograms, `t` frames, `f` mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

_CUBIC = -0.75  # the free number of cubic convolution, as PyTorch and OpenCV have it


@dataclass(frozen=True)
class AxisCrop:
    """How one axis may be cut.

    Attributes:
        canvas: length of the area around the input, of the input's; zeros outside it.
        scales: shortest and longest cut, of the input's length.
    """

    canvas: float
    scales: tuple[float, float]


def log_mixup_exp(own: tf.Tensor, other: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """`log((1 - ratio) * exp(own) + ratio * exp(other))`.

    Args:
        own: (b, t, f) float32 log-mel.
        other: (b, t, f), the background of each.
        ratio: (b,) share of the background, in [0, 1).
    """
    share = ratio[:, tf.newaxis, tf.newaxis]
    parts = tf.stack([own + tf.math.log1p(-share), other + tf.math.log(share)])
    return tf.reduce_logsumexp(parts, axis=0)


def random_resize_crop(
    spectrograms: tf.Tensor, numbers: tf.Tensor, time: AxisCrop, frequency: AxisCrop
) -> tf.Tensor:
    """A rectangle of the area around each spectrogram, stretched or squeezed back to its size.

    Args:
        spectrograms: (b, t, f) float32.
        numbers: (b, 4) uniform in [0, 1): length of the cut in frequency and in time, start in each.
        time: how frames may be cut.
        frequency: how mel bins may be.

    Returns:
        (b, t, f) float32, by bicubic interpolation whose corners are the rectangle's.
    """
    frames, bins = spectrograms.shape[1:]
    over_time = resampling(frames, time, numbers[:, 1], numbers[:, 3])
    over_frequency = resampling(bins, frequency, numbers[:, 0], numbers[:, 2])
    return tf.matmul(tf.matmul(over_time, spectrograms), over_frequency, transpose_b=True)


def resampling(size: int, crop: AxisCrop, length: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The matrices (b, size, size) that cut one axis and bring the cut back to `size` by cubic convolution.

    Args:
        size: of the axis, before and after.
        crop: how it may be cut.
        length: (b,) uniform in [0, 1): how much is cut out.
        start: (b,) uniform in [0, 1): where.
    """
    canvas = int(size * crop.canvas)
    shortest, longest = crop.scales
    cut = tf.floor((shortest + length * (longest - shortest)) * size)
    cut = tf.clip_by_value(cut, 1.0, float(canvas))  # (b,)
    first = tf.floor(start * (canvas - cut + 1.0))
    # Where in the cut each place of the result lies: the ends on the ends.
    place = tf.range(size, dtype=tf.float32) * ((cut - 1.0) / max(size - 1, 1))[:, tf.newaxis]  # (b, size)
    before = tf.floor(place)
    after = place - before
    offset = (canvas - size) // 2  # of the input in the canvas
    matrices = []
    for tap, distance in ((-1, after + 1.0), (0, after), (1, 1.0 - after), (2, 2.0 - after)):
        inside = tf.clip_by_value(before + tap, 0.0, cut[:, tf.newaxis] - 1.0) + first[:, tf.newaxis]
        column = tf.cast(inside, tf.int32) - offset  # outside the input: a row of zeros
        matrices.append(_cubic(distance)[..., tf.newaxis] * tf.one_hot(column, size))
    return tf.add_n(matrices)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """The kernel of cubic convolution at distances in [0, 2]."""
    near = ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x**2 + 1.0
    far = ((_CUBIC * x - 5.0 * _CUBIC) * x + 8.0 * _CUBIC) * x - 4.0 * _CUBIC
    return tf.where(x <= 1.0, near, far)
