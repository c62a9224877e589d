"""CLMR's augmentations against scipy and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from models.objectives._waveform_augmentations import add_delayed, add_noise, low_pass, shift_pitch

RATE = 16000


def constant(values):
    return tf.constant(values, tf.float32)


def waves(rows=3, samples=2000):
    return np.random.default_rng(0).normal(size=(rows, samples))


def filtered(row, cutoff):
    """A windowed sinc by scipy, over a row whose ends are held."""
    half = int(8 / cutoff / 2)
    taps = scipy.signal.firwin(2 * half + 1, cutoff, window="hann", fs=1.0)
    return np.convolve(np.pad(row, half, mode="edge"), taps, mode="valid")


def test_the_filter_is_scipys_windowed_sinc():
    x, cutoff = waves(), np.array([200.0, 1000.0, 3999.0]) / RATE
    low = low_pass(constant(x), constant(cutoff), 200 / RATE).numpy()
    expected = np.stack([filtered(row, c) for row, c in zip(x, cutoff, strict=True)])
    np.testing.assert_allclose(low, expected, atol=2e-5)


def test_a_filter_at_half_the_sample_rate_does_nothing():
    x = waves()
    np.testing.assert_allclose(low_pass(constant(x), constant([0.5] * 3), 0.3), x, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.6674, 1.0, 1.2, 1.4983])
def test_a_tone_is_heard_at_the_shifted_pitch(ratio):
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / RATE)[None]
    got = shift_pitch(constant(tone), constant([ratio]), 1.5)[0].numpy()
    played = int(8000 / max(ratio, 1.0)) - 20  # before it starts again
    expected = np.sin(2 * np.pi * 440 * ratio * np.arange(8000) / RATE)
    np.testing.assert_allclose(got[20:played], expected[20:played], atol=2e-3)


def test_what_would_alias_is_taken_out():
    tone = np.sin(2 * np.pi * 7000 * np.arange(8000) / RATE)[None]
    got = shift_pitch(constant(tone), constant([1.4983]), 1.5)[0].numpy()
    assert np.abs(got[50:5000]).max() < 0.05


def test_an_echo_comes_later_and_is_quieter():
    x = waves(rows=3, samples=50)
    got = add_delayed(constant(x), tf.constant([0, 7, 60]), 0.5).numpy()
    np.testing.assert_allclose(got[0], 0.75 * x[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], (x[1] + 0.5 * np.r_[np.zeros(7), x[1, :-7]]) / 2, rtol=1e-5)
    np.testing.assert_allclose(got[2], x[2] / 2, rtol=1e-6)  # it comes after the end


def test_noise_has_its_level_and_its_seed_decides_it():
    x = waves(rows=4, samples=20000) * np.array([[1.0], [1.0], [1.0], [5.0]])
    seeds = tf.constant([[1, 2], [1, 2], [3, 4], [5, 6]])
    noise = add_noise(constant(x), constant([0.1, 0.1, 0.1, 0.01]), seeds).numpy() - x
    np.testing.assert_allclose(noise[0] / x[0].std(), noise[1] / x[1].std(), atol=1e-5)
    assert abs(np.corrcoef(noise[0], noise[2])[0, 1]) < 0.05
    np.testing.assert_allclose(noise.std(axis=1) / x.std(axis=1), [0.1, 0.1, 0.1, 0.01], rtol=0.03)


def test_a_row_does_not_depend_on_its_place():
    x, cutoff, seeds = waves(), constant([0.02, 0.1, 0.2]), tf.constant([[1, 2], [3, 4], [5, 6]])
    steps = (
        lambda rows: low_pass(rows[0], rows[1], 0.02),
        lambda rows: shift_pitch(rows[0], 1.0 + rows[1], 1.5),
        lambda rows: add_noise(rows[0], rows[1], rows[2]),
    )
    for step in steps:
        forward = step((constant(x), cutoff, seeds)).numpy()
        backward = step((constant(x[::-1]), cutoff[::-1], seeds[::-1])).numpy()
        np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)
