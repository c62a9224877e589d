"""BYOL-A's augmentations against TensorFlow's bicubic resizing, numpy and hand computation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.objectives._log_mel_augmentations import AxisCrop, log_mixup_exp, random_resize_crop, resampling

TIME, FREQUENCY = AxisCrop(1.5, (0.6, 1.5)), AxisCrop(1.0, (0.6, 1.5))


def constant(values):
    return tf.constant(values, tf.float32)


def test_log_mixup_exp_adds_energies():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(2, 3, 7, 5))
    ratio = np.array([0.0, 0.17, 0.4])
    mixed = log_mixup_exp(*(constant(x) for x in (own, other, ratio))).numpy()
    share = ratio[:, None, None]
    np.testing.assert_allclose(np.exp(mixed), (1 - share) * np.exp(own) + share * np.exp(other), rtol=1e-5)
    np.testing.assert_allclose(mixed[0], own[0], rtol=1e-6)


def rectangle(size, crop, length, start):
    """First place and length of the cut in the canvas, as BYOL-A's authors draw them."""
    canvas = int(size * crop.canvas)
    low, high = crop.scales
    cut = int(np.clip(int((low + length * (high - low)) * size), 1, canvas))
    return canvas, int(start * (canvas - cut + 1)), cut


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_is_resized_as_bicubic_interpolation_with_aligned_corners(seed):
    rng = np.random.default_rng(seed)
    frames, bins = 24, 16
    crop, numbers = rng.normal(size=(frames, bins)), rng.uniform(size=4)
    got = random_resize_crop(constant(crop[None]), constant(numbers[None]), TIME, FREQUENCY)[0].numpy()

    height, top, tall = rectangle(frames, TIME, numbers[1], numbers[3])
    width, left, wide = rectangle(bins, FREQUENCY, numbers[0], numbers[2])
    canvas = np.zeros((height, width))
    first, start = (height - frames) // 2, (width - bins) // 2
    canvas[first : first + frames, start : start + bins] = crop
    cut = canvas[top : top + tall, left : left + wide]
    expected = tf.compat.v1.image.resize_bicubic(
        constant(cut[None, ..., None]), (frames, bins), align_corners=True
    )[0, ..., 0]
    # TensorFlow takes the kernel from a table of 1024 places.
    np.testing.assert_allclose(got, expected, atol=5e-3)


def test_a_cut_of_the_inputs_own_size_changes_nothing():
    whole = AxisCrop(1.0, (1.0, 1.0))
    matrix = resampling(9, whole, constant([0.3]), constant([0.7]))[0]
    np.testing.assert_allclose(matrix, np.eye(9), atol=1e-6)


def test_the_cubic_weights_are_those_of_the_published_kernel():
    # Of 5 places, 3 are cut out from the first on: result 1 lies at place 0.5, between 0 and 1, and the
    # neighbour before it is the cut's end, 0, again. Keys' kernel with a = -0.75 at distances 1.5 and 0.5:
    near, far = 0.59375, -0.09375
    matrix = resampling(5, AxisCrop(1.0, (0.6, 0.6)), constant([0.0]), constant([0.0]))[0].numpy()
    np.testing.assert_allclose(matrix[1], [near + far, near, far, 0, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[[0, 2, 4]], np.eye(5)[:3], atol=1e-6)


def test_cuts_stay_in_the_canvas_and_reach_its_ends():
    draws = constant(np.random.default_rng(0).uniform(size=(4000, 2)))
    matrices = resampling(10, TIME, draws[:, 0], draws[:, 1]).numpy()
    assert matrices.shape == (4000, 10, 10)
    total = matrices.sum(-1)  # 1 inside the input, 0 outside it
    assert (total < 1.4).all()
    assert (total > -0.4).all()
    inside = np.abs(total - 1) < 1e-5
    assert inside.all(axis=1).any()  # some cuts lie within
    assert (~inside[:, 0]).any()  # some begin before the input
    assert (~inside[:, -1]).any()  # and some end after it
