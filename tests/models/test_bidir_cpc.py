"""Bidirectional CPC's encoder: what each context sees, its count by hand, and clips that are too short."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from models.encoder import load_encoder
from models.encoders._waveform import Conv
from models.encoders.bidir_cpc import BidirCpc


@pytest.fixture(scope="module")
def tiny() -> BidirCpc:
    return load_encoder("bidir_cpc_tiny").build(1)


def waveform(rows: int) -> tf.Tensor:
    return tf.random.stateless_normal([rows, 8000], seed=[1, 2])


def test_parameters_are_as_counted_by_hand() -> None:
    convolutions = 512 * 10 + 512 * 512 * (8 + 4 + 4 + 4) + 5 * 2 * 512
    block = 2 * 512 + 6 * 512 * 512 + 512 * 512 + 512
    expected = convolutions + 2 * (9 * block + 2 * 512)
    assert load_encoder("bidir_cpc").parameters == expected
    assert expected == pytest.approx(38e6, rel=0.01)  # the paper's table 2


def test_a_context_sees_one_side_of_its_frame(tiny: BidirCpc) -> None:
    latents = tiny.latents(waveform(1))
    frame = 20
    changed = latents + 3.0 * tf.one_hot(frame, latents.shape[1])[tf.newaxis, :, tf.newaxis] * tf.range(32.0)
    for place, seen in ((0, lambda i: i >= frame), (1, lambda i: i <= frame)):
        before, after = tiny.contexts(latents)[place], tiny.contexts(changed)[place]
        difference = np.abs(after - before).max(axis=(0, 2))
        reach = 2 * (1 + 2)  # two more taps in each block, at dilations 1 and 2
        moved = [i for i in range(latents.shape[1]) if seen(i) and abs(i - frame) <= reach]
        assert np.flatnonzero(difference).tolist() == moved


def test_a_convolution_is_scipys() -> None:
    conv = Conv("conv", 2, 1, 3, stride=2, dilation=1, seed=0)
    x = np.random.default_rng(0).standard_normal((1, 11, 2)).astype(np.float32)
    kernel = conv.weight.numpy()
    expected = sum(scipy.signal.correlate(x[0, :, c], kernel[:, c, 0], "valid") for c in range(2))[::2]
    np.testing.assert_allclose(conv(x)[0, :, 0], expected, atol=1e-5)


def test_windows_and_frames(tiny: BidirCpc) -> None:
    assert tiny(waveform(1)[:, :465])["context"].shape == (1, 1, 64)
    assert tiny(waveform(1)[:, : 465 + 160])["context"].shape == (1, 2, 64)
    with pytest.raises(ValueError, match="bidir_cpc: clips must fill one window of 465 samples, got 464"):
        tiny(waveform(1)[:, :464])
    outputs = tiny(waveform(2))
    np.testing.assert_allclose(outputs["embedding"], outputs["context"].numpy().mean(axis=1), atol=1e-6)
